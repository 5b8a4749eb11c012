import shlex
import sys

import pandas as pd
import pytest

from sanity.analysis.settling import other_draws, settling
from sanity.config.job import compose
from sanity.files import write_json
from sanity.results.recorded import SWEEP, write_config
from sanity.sweeping import NUMBER

LIMITED = {"limit": 3, "names": None}


def verdicts_of(enough=(6, 8), leans="sensitive", images=3, seeds=1, p=float("nan")):
    known = {"verdict": "inconclusive", "leans": leans, "images": images, "seeds": seeds, "p": p}
    rows = [{"primary": True, **known, "enough": count} for count in enough]
    return pd.DataFrame([*rows, {"primary": False, "leans": leans, "images": 3, "enough": 99}])


def run_of(folder, overrides=(), data=None, seed=0, available=20, images=3, hydra=None):
    folder.mkdir(parents=True, exist_ok=True)
    write_config(folder, {"data": data or LIMITED, "seed": seed}, list(overrides), hydra)
    names = {f"image_{k}": "" for k in range(images)}
    write_json(
        folder / "run.json", {"counts": {"available": available}, "sha256": {"images": names}}
    )
    return folder


def command_of(run, **options):
    found = settling([run], verdicts_of(**options))
    assert found is not None and found.command == found.said
    words = shlex.split(found.said)
    assert words[1:3] == ["-m", "sanity"]
    return words[3:]


@pytest.mark.parametrize(
    ("overrides", "repeated"),
    [
        ([], []),
        (["method=[gradient,smoothgrad]", "data.limit=2"], ["method=[gradient,smoothgrad]"]),
        (["+data.limit=2", "seed=4", "force=true", "name=a b"], ["name=a b", "seed=4"]),
        (["experiment=quick", "data.shard=1", "data.shards=2"], ["experiment=quick"]),
    ],
)
def test_the_command_is_the_runs_with_as_many_images_as_it_takes(overrides, repeated, tmp_path):
    seed = 4 if "seed=4" in overrides else 0
    words = command_of(run_of(tmp_path / "run", overrides, seed=seed))
    assert words == [*repeated, "data.limit=8"]
    if "name=a b" not in words:
        assert compose(words).data.limit == 8


def test_on_a_page_it_is_what_is_typed_anywhere(tmp_path):
    found = settling([run_of(tmp_path / "run", ["seed=4"], seed=4)], verdicts_of(), elsewhere=True)
    assert found is not None and found.said == "python -m sanity seed=4 data.limit=8"


def test_it_is_run_by_this_python_and_with_its_folder_of_configurations(tmp_path):
    sources = [{"path": "conf", "provider": "main"}, {"path": "mine", "provider": "command-line"}]
    path = "hydra.searchpath=[file:///their own,pkg://theirs.conf]"
    given = {"hydra": ["hydra.mode=RUN", path]}
    hydra = {"runtime": {"config_sources": sources}, "overrides": given}
    run = run_of(tmp_path / "run", hydra=hydra)
    found = settling([run], verdicts_of())
    assert found is not None
    program, *rest = shlex.split(found.said)
    assert program == "python" or sys.executable.endswith(program)
    assert rest == ["-m", "sanity", "--config-dir", "mine", path, "data.limit=8"]


def test_seeds_of_a_scheme_are_one_command(tmp_path):
    runs = [
        run_of(tmp_path / str(seed), ["layers.last=4", f"seed={seed}"], seed=seed)
        for seed in (0, 1)
    ]
    found = settling(runs, verdicts_of())
    assert found is not None and found.command is not None
    assert shlex.split(found.command)[3:] == ["-m", "layers.last=4", "seed=0,1", "data.limit=8"]
    apart = [runs[0], run_of(tmp_path / "2", ["layers.last=4", "noise_seed=1"], seed=2)]
    found = settling(apart, verdicts_of())
    assert found is not None and found.command is None
    assert found.said == "data.limit=8 in each of the runs"


def test_images_without_a_score_are_made_up_for(tmp_path):
    assert command_of(run_of(tmp_path / "run", images=4), images=2)[-1] == "data.limit=16"


@pytest.mark.parametrize(
    ("data", "available", "enough", "said"),
    [
        ({"limit": None, "names": None}, None, (8,), "8 images like these"),
        ({"limit": 3, "names": None}, 5, (8,), "8 images like these: the data has 5"),
        ({"limit": 3, "names": ["a", "b"]}, 20, (8,), "8 images in data.names"),
        ({"other": 1}, None, (8,), "8 images like these"),
    ],
)
def test_where_no_override_brings_more_it_says_what_would(data, available, enough, said, tmp_path):
    found = settling(
        [run_of(tmp_path / "run", data=data, available=available)], verdicts_of(enough)
    )
    assert found is not None and (found.command, found.said) == (None, said)


def test_what_takes_more_than_there_are_is_left_to_the_others(tmp_path):
    assert command_of(run_of(tmp_path / "run"), enough=(6, 8, 300))[-1] == "data.limit=8"


@pytest.mark.parametrize("page", [False, True])
def test_a_share_of_the_images_waits_for_the_others(page, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    shares = [
        run_of(tmp_path / "a sweep" / f"run{k}", data={**LIMITED, "shard": k, "shards": 2})
        for k in range(2)
    ]
    found = settling(shares[:1], verdicts_of(), elsewhere=page)
    by = "" if page else " by sanity-compare 'a sweep'"
    assert found is not None and found.command is None
    assert found.said == f"the images of all 2 shards, judged together{by}"
    both = settling(shares, verdicts_of(), elsewhere=page)
    assert both is not None and both.command is not None


@pytest.mark.parametrize(
    ("model", "told", "waits"),
    [({}, "2 seed", True), ({}, "2 noise_seed", False), ({"seed": 0}, "2 seed", False)],
)
def test_a_draw_of_a_sweep_waits_for_the_others(model, told, waits, tmp_path):
    """Of a network that is trained here, each draw is of another one and judged by itself."""
    run = run_of(tmp_path / "run")
    hydra = {"job": {"env_set": {SWEEP: told, NUMBER: "0"}}}
    write_config(run, {"data": LIMITED, "seed": 0, "model": model}, [], hydra)
    found = settling([run], verdicts_of(), elsewhere=True)
    assert found is not None and (found.command is None) is waits
    if waits:
        assert found.said == "all draws of the sweep, judged together"


def test_nothing_leans(tmp_path):
    assert settling([run_of(tmp_path / "run")], verdicts_of(leans="")) is None


@pytest.mark.parametrize(("seed", "seeds"), [(0, "0,1,2"), (1, "1,0,2"), (7, "7,0,1")])
def test_other_draws_are_three_with_the_one_there_is(seed, seeds, tmp_path):
    run = run_of(tmp_path / "run", ["data.limit=6", f"seed={seed}"], seed=seed)
    found = other_draws([run])
    assert found is not None and found.command is not None and found.draws == 3
    assert shlex.split(found.command)[1:] == ["-m", "sanity", "-m", "data.limit=6", f"seed={seeds}"]


@pytest.mark.parametrize("told", [[], ["model.seed=3"]])
def test_other_draws_are_of_the_same_network_where_it_is_trained_here(told, tmp_path):
    run = run_of(tmp_path / "run", ["model=mlp", *told], seed=3)
    config = {"data": LIMITED, "seed": 3, "model": {"seed": 3}}
    write_config(run, config, ["model=mlp", *told], None)
    found = other_draws([run])
    assert found is not None and found.command is not None
    words = shlex.split(found.command)
    assert words[-3:] == ["model=mlp", "model.seed=3", "seed=3,0,1"]


def test_where_there_are_several_draws_no_others_are_named(tmp_path):
    runs = [run_of(tmp_path / str(seed), [f"seed={seed}"], seed=seed) for seed in (7, 8)]
    assert other_draws(runs) is None


@pytest.mark.parametrize(("told", "asked"), [("3 seed data.limit", False), ("3 noise_seed", True)])
def test_a_job_of_a_sweep_over_seeds_does_not_ask_for_others(told, asked, tmp_path):
    hydra = {"job": {"env_set": {SWEEP: told, NUMBER: "0"}}}
    assert (other_draws([run_of(tmp_path / "run", hydra=hydra)]) is not None) == asked


@pytest.mark.parametrize(("p", "draws"), [(0.3, 4), (float("nan"), 4), (0.01, None)])
def test_where_draws_differ_too_much_more_of_them_are_next(p, draws, tmp_path):
    """Not where the metric cannot tell, which has a small p."""
    runs = [
        run_of(tmp_path / str(seed), ["data.limit=6", f"seed={seed}"], seed=seed) for seed in (0, 2)
    ]
    found = settling(runs, verdicts_of(leans="", seeds=2, p=p), elsewhere=True)
    if draws is None:
        assert found is None
        return
    assert found is not None and found.draws == draws
    assert found.said == "python -m sanity -m data.limit=6 seed=0,2,1,3"
    apart = [runs[0], run_of(tmp_path / "other", ["noise_seed=1"], seed=2)]
    found = settling(apart, verdicts_of(leans="", seeds=2, p=p))
    assert found is not None and found.said == "seed=0,2,1,3 in each of the runs"


def test_masks_made_elsewhere_come_by_no_command_of_ours(tmp_path):
    run = run_of(tmp_path / "run", ["model=theirs"])
    write_config(run, {"seed": 0, "source": {"file": "masks.npz"}}, ["model=theirs"], None)
    for found in (settling([run], verdicts_of()), other_draws([run])):
        assert found is not None and found.command is None and "sanity" not in found.said
    assert "a file each, with seed=0, seed=1, seed=2" in found.said
