"""`data.shards=auto`: who computes which images."""

import pytest

from sanity import ConfigError
from sanity.config.job import compose
from sanity.config.shares import count_places, take_share
from tests.pieces import ANY


def array(number, first, last, step, count, **more):
    names = ("ID", "MIN", "MAX", "STEP", "COUNT")
    values = (number, first, last, step, count)
    return {f"SLURM_ARRAY_TASK_{n}": str(v) for n, v in zip(names, values, strict=True)} | more


def task(number, count):
    return {"SLURM_PROCID": str(number), "SLURM_STEP_NUM_TASKS": str(count)}


@pytest.mark.parametrize(
    ("environ", "share"),
    [
        ({}, (0, 1)),
        (array(3, 0, 7, 1, 8), (3, 8)),
        (array(3, 1, 4, 1, 4), (2, 4)),
        (array(10, 4, 10, 2, 4), (3, 4)),
        (array(5, 5, 5, 1, 1), (0, 1)),
        (task(2, 4), (2, 4)),
        (array(1, 0, 2, 1, 3, **task(3, 4)), (7, 12)),
        # a batch script that was given tasks and starts none of them by srun is one process
        ({"SLURM_PROCID": "0", "SLURM_NTASKS": "4"}, (0, 1)),
    ],
)
def test_the_share_of_a_process(environ, share):
    found = take_share({"path": "here", "shard": 0, "shards": "auto"}, environ)
    assert found == {"path": "here", "shard": share[0], "shards": share[1]}


def test_all_shares_are_dealt_out_once():
    shares = [
        take_share({"shards": "auto"}, array(n, 2, 8, 3, 3, **task(t, 2)))
        for n in (2, 5, 8)
        for t in range(2)
    ]
    assert [s["shard"] for s in shares] == list(range(6))
    assert {s["shards"] for s in shares} == {6}


@pytest.mark.parametrize(
    "environ", [array(7, 1, 7, 1, 3), array(3, 0, 7, 1, 3), {"SLURM_ARRAY_TASK_ID": "3"}]
)
def test_an_array_with_gaps_is_refused(environ):
    with pytest.raises(ConfigError, match="array without gaps"):
        take_share({"shards": "auto"}, environ)


def test_variables_that_hold_no_number_are_named():
    with pytest.raises(ConfigError, match="variable SLURM_PROCID=x is no whole number"):
        take_share({"shards": "auto"}, task("x", 2))


def test_a_number_of_shards_is_taken_as_it_is():
    data = {"shard": 1, "shards": 2}
    assert take_share(data, array(3, 0, 7, 1, 8)) == data


def test_an_element_is_the_run_that_the_numbers_name(monkeypatch):
    for name, value in array(1, 0, 1, 1, 2).items():
        monkeypatch.setenv(name, value)
    job = compose([*ANY, "data.shards=auto"])
    assert job.config["data"]["shard"] == 1 and job.config["data"]["shards"] == 2
    assert job.run_id == compose([*ANY, "data.shard=1", "data.shards=2"]).run_id
    with pytest.raises(ConfigError, match=r"data\.shard=1 is not for data\.shards=auto"):
        compose([*ANY, "data.shards=auto", "data.shard=1"])


@pytest.mark.parametrize(
    ("launcher", "gpus_per_job", "places"),
    [
        ({"n_jobs": 3}, None, 3),
        ({"n_jobs": 3}, 1, 5),
        ({"n_jobs": 3}, 2, 2),
        ({"array_parallelism": 64, "cpus_per_task": 8}, 1, 64),
        ({"ray": {"init": {"address": "local"}}}, 1, 5),
    ],
)
def test_a_launcher_has_so_many_places(launcher, gpus_per_job, places, monkeypatch):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "0,1,2,3,4")
    assert count_places(launcher, 3, gpus_per_job) == places


def test_a_machine_without_gpus_is_told(monkeypatch):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    with pytest.raises(ConfigError, match="this machine has 0 GPUs"):
        count_places({"n_jobs": 2}, 2, 1)


@pytest.mark.parametrize(
    ("there", "remote", "places"),
    [
        ({"CPU": 16.0}, {"num_cpus": 4}, 4),
        ({"CPU": 16.0, "GPU": 3.0}, {"num_cpus": 4, "num_gpus": 1}, 3),
        ({"CPU": 8.0, "GPU": 3.0}, {"num_cpus": 4, "num_gpus": 1}, 2),
        ({"CPU": 16.0}, {"num_cpus": 4, "num_gpus": 1}, None),
    ],
)
def test_a_ray_cluster_is_asked(there, remote, places, monkeypatch):
    ray = pytest.importorskip("ray", reason="needs pip install .[ray]")
    asked = []
    monkeypatch.setattr(ray, "init", lambda **given: asked.append(given))
    monkeypatch.setattr(ray, "cluster_resources", lambda: there)
    monkeypatch.setattr(ray, "shutdown", lambda: asked.append("ended"))
    launcher = {"ray": {"init": {"address": "auto", "runtime_env": None}, "remote": remote}}
    if places is None:
        with pytest.raises(ConfigError, match="no job fits"):
            count_places(launcher, 1, None)
    else:
        assert count_places(launcher, 1, None) == places
    assert asked == [{"address": "auto", "log_to_driver": False}, "ended"]
