"""Sweeps whose workers are killed: nothing that was finished is computed again, no job is lost."""

import json

import hydra
import pytest
from hydra.utils import instantiate
from omegaconf import OmegaConf

import sanity as library
from sanity.config.options import own_hydra
from tests import slurm
from tests.command import ROOT, sanity, sanity_here
from tests.pieces import ANY
from tests.test_sweeping import needs

SMALL = [*ANY, "method=[killed_once]", "metric=[pearson]", "layers.last=3", "null_model=shuffled"]
SHARED = ["data.limit=2", "masks.keep=none", "originals=false"]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("launcher", "options"),
    [
        ("local_joblib", ["hydra.launcher.n_jobs=2"]),
        ("slurm_submitit", ["hydra.launcher.array_parallelism=2", "hydra.launcher.mem_gb=1"]),
        ("local_ray", ["hydra.launcher.ray.init.num_cpus=2"]),
    ],
)
def test_a_lost_worker_costs_no_finished_unit(launcher, options, tmp_path, monkeypatch):
    """Two shards of an image at four stages each; a worker dies at the third randomized one."""
    needs(launcher.partition("_")[2])
    start, environment = sanity, {}
    if launcher.startswith("slurm"):
        from submitit import Job

        # All jobs are processes of their own, and this one need not wait for a slow file system.
        start, environment = sanity_here, slurm.install(tmp_path / "slurm")
        environment["PYTHONPATH"] = str(ROOT)
        monkeypatch.setattr(Job, "_results_timeout_s", 1)
    log = tmp_path / "calls"
    asked = [*SMALL, *SHARED, f"hydra/launcher={launcher}"]
    asked += ["data.shards=auto", *options, "hydra.sweeper.retries=3"]
    done = start("-m", *asked, cwd=tmp_path, KILLED_ONCE=str(log), **environment)
    assert "data.shards=auto: 2 shards" in done.stdout
    assert "sweep of 2 jobs: 2 finished" in done.stdout
    if "ray" not in launcher:  # which starts it again by itself
        assert "starting again: job" in done.stdout
    scores = library.load_runs(tmp_path / "outputs")
    assert set(scores["status"]) == {"completed"} and len(scores) == 2 * 4
    records = [json.loads(p.read_text()) for p in (tmp_path / "outputs").glob("*/*/run.json")]
    assert sum(bool(record.get("resumed")) for record in records) >= 1
    # Three randomized stages of both images; again are those under way when workers fell, two at
    # most: with what was finished before it would be four or more.
    said = log.read_text().splitlines()
    assert 6 + 1 <= said.count("randomized") <= 6 + 2
    # A method of one's own is asked thrice for a job's first mask, as often as a job is begun.
    assert 2 * 3 <= said.count("trained") <= 2 * 6


@pytest.mark.parametrize(
    ("options", "at_once"),
    [
        (["hydra/launcher=local_submitit"], 2),
        (["hydra/launcher=local_submitit", "hydra.sweeper.max_batch_size=5"], 5),
        (["hydra/launcher=slurm_submitit"], None),
        (["hydra/launcher=local_joblib"], None),
    ],
)
def test_jobs_at_once_are_as_many_as_is_said(options, at_once):
    """Submitit's own launcher starts all that it is given, each with a network of its own."""
    needs(options[0].rpartition("_")[2])
    with own_hydra():
        config = hydra.compose("config", options, return_hydra_config=True)
    OmegaConf.set_struct(config, False)
    sweeper = instantiate(config.hydra.sweeper)
    sweeper.launcher, sweeper.config = object(), config
    assert sweeper.places_at_once() == at_once


def test_mistakes_are_not_tried_again(tmp_path, capfd):
    needs("joblib")
    asked = [*SMALL, *SHARED, "target=7,8"]
    done = sanity("-m", *asked, "hydra/launcher=local_joblib", cwd=tmp_path, check=False)
    assert done.returncode == 2
    assert "starting again" not in done.stdout and "2 failed" in done.stdout
