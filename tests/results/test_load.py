"""Runs read back as tables."""

import json
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from omegaconf import OmegaConf

from sanity.errors import ConfigError
from sanity.randomness import generator
from sanity.results import RunFolder, load_masks, load_predictions, load_runs
from sanity.results import load as load_module
from sanity.results.listing import find_runs
from sanity.results.tables import PREDICTIONS, SCORES
from tests.results.runs import (
    CHOICES,
    CONFIG,
    GROUPS,
    HYDRA,
    IMAGES,
    INFO,
    LAYERS,
    METHODS,
    ROOT,
    predictions_of,
    scores_of,
)


def make_run(path: Path, seed: int, complete: bool = True, **changes) -> pd.DataFrame:
    """A run with values of its own; returns its scores."""
    config = {**CONFIG, "seed": seed, "name": path.parent.name, **changes}
    choices = {**CHOICES, "randomization": "independent" if seed % 2 else "cascading"}
    scores = [scores_of(range(3), stage, seed) for stage in range(2)]
    run = RunFolder.open(path, config, [], {"hydra": {"runtime": {"choices": choices}}})
    run.start(INFO)
    for stage, frame in enumerate(scores):
        run.write_unit(f"s{stage}", frame, predictions_of(range(3), stage))
    if complete:
        run.complete()
    run.close()
    return pd.concat(scores, ignore_index=True)


@pytest.fixture(scope="module")
def runs(tmp_path_factory) -> Path:
    """Five runs, one of them not completed, one with another method's configuration."""
    top = tmp_path_factory.mktemp("outputs")
    for seed in range(3):
        make_run(top / "a" / f"run{seed}", seed)
    make_run(top / "b" / "run3", 3, complete=False)
    method = {"smoothgrad": {"samples": 10, "square": False, "noise": "gauss"}}
    make_run(top / "b" / "run4", 4, method=method, target=340)
    return top


def slow_load(top: Path) -> pd.DataFrame:
    """All runs by the obvious means: the files that Hydra's users know, and pandas."""
    frames = []
    for folder in sorted(p.parent for p in top.rglob("run.json")):
        files = [folder / "scores.parquet"]
        if not files[0].exists():
            files = [p for p in sorted(folder.glob("parts/*")) if "predictions" not in p.name]
        frame = pd.concat([pd.read_parquet(f) for f in files], ignore_index=True)
        frame["layer"] = frame["layer"].where(frame["layer"] != "", "trained")
        config = OmegaConf.to_container(OmegaConf.load(folder / ".hydra" / "config.yaml"))
        choices = OmegaConf.load(folder / ".hydra" / "hydra.yaml").hydra.runtime.choices
        for group in ("model", "data", "layers", "randomization"):
            frame[group] = choices[group]
        for key in ("name", "seed", "precision"):
            frame[key] = config[key]
        frame["target_rule"] = str(config["target"])
        frame["model.scale"] = config["model"]["scale"]
        frame["model.blocks"] = f"[{','.join(config['model']['blocks'])}]"
        frame["data.limit"] = np.nan
        frame["data.shard"], frame["data.shards"] = 0, 1
        if sigma := config["method"].get("edges", {}).get("sigma"):
            frame["method.edges.sigma"] = sigma
        for key, value in config["method"].get("smoothgrad", {}).items():
            frame[f"method.smoothgrad.{key}"] = value
        frame["metric.ssim.window"] = 5
        frame["metric.spearman.absolute"] = True
        frame["run"], frame["path"] = folder.name, str(folder)
        status = json.loads((folder / "run.json").read_text())["status"]
        frame["status"] = "interrupted" if status == "running" else status  # it is not
        frames.append(frame)
    return pd.concat(frames, ignore_index=True)


def assert_same_rows(ours: pd.DataFrame, theirs: pd.DataFrame) -> None:
    assert sorted(ours) == sorted(theirs)
    theirs = theirs.reset_index(drop=True)
    assert len(ours) == len(theirs)
    for column in theirs:
        a, b = ours[column], theirs[column]
        assert (a.isna() == b.isna()).all(), column
        assert (a.dropna().astype(object) == b.dropna().astype(object)).all(), column


@pytest.mark.parametrize(
    "filters",
    [
        {},
        {"metric": "ssim"},
        {"method": ["edges"], "metric": "spearman", "stage": 1},
        {"stage": [0, 1], "image": IMAGES[1]},
        {"stage": range(1, 5), "layer": "logits"},
        {"seed": [0, 3, 99]},
        {"randomization": "independent", "method": "gradient"},
        {"method.smoothgrad.samples": 10},
        {"name": ("a",), "seed": 2},
        {"target_rule": "predicted", "target": 341},
        {"reason": "constant"},
        {"reason": None},
        {"run": {"run3", "run4"}},
    ],
)
def test_load_runs_equals_the_obvious_way(runs, filters):
    expected = slow_load(runs)
    columns = set(expected)
    for name, value in filters.items():
        values = list(value) if isinstance(value, (list, tuple, set, range)) else [value]
        hit = expected[name].isin(values) | (expected[name].isna() & (None in values))
        expected = expected[hit]
    found = load_runs(runs, **filters)
    assert set(found) <= columns
    missing = expected.columns.difference(found.columns)
    assert expected[missing].isna().all(axis=None)  # keys of runs that were filtered out
    assert_same_rows(found, expected.drop(columns=missing))
    assert len(found) > 0


def test_columns_and_their_types(runs):
    frame = load_runs(runs, categories=True)
    assert list(frame)[:9] == list(SCORES)
    assert list(frame)[-3:] == ["run", "path", "status"]
    numbers = {
        "target": "int32",
        "stage": "int32",
        "value": "float64",
        "null": "float64",
        "seed": "int64",
        "data.shard": "int64",
        "data.shards": "int64",
        "data.limit": "category",
        "model.scale": "float64",
        "method.edges.sigma": "float64",
        "method.smoothgrad.samples": "float64",  # some runs have none
        "method.smoothgrad.square": "boolean",
        "metric.ssim.window": "int64",
        "metric.spearman.absolute": "bool",
    }
    for name, dtype in frame.dtypes.items():
        assert str(dtype) == numbers.get(name, "category"), name
    # In the order of the files, so that layers come from output to input and methods as given.
    assert list(frame.layer.cat.categories) == ["trained", *LAYERS[1:]]
    assert list(frame.method.cat.categories) == list(METHODS)
    assert list(load_runs(runs, method="edges", categories=True).method.cat.categories) == ["edges"]
    # No result depends on these.
    assert not [c for c in frame if c.startswith(("runtime", "force", "output", "hydra"))]
    assert not [c for c in frame if c.endswith("_target_")]
    means = frame.groupby(["method", "seed"], observed=True)["value"].mean()
    assert len(means) == 10


def test_only_some_columns(runs):
    frame = load_runs(runs, columns=["seed", "value"], metric="ssim")
    assert list(frame) == ["value", "seed"]
    pd.testing.assert_frame_equal(frame, load_runs(runs, metric="ssim")[["value", "seed"]])
    assert len(load_runs(runs, columns=["seed"])) == len(load_runs(runs))


def test_status(runs):
    frame = load_runs(runs)
    counts = frame.groupby("run", observed=True)["status"].first().value_counts()
    assert counts.to_dict() == {"completed": 4, "interrupted": 1}
    assert set(load_runs(runs, status="completed").run) == {"run0", "run1", "run2", "run4"}
    assert set(load_runs(runs, status=["interrupted", "failed"]).run) == {"run3"}


def test_predictions(runs):
    frame = load_predictions(runs, stage=1, seed=[1, 3])
    assert list(frame)[: len(PREDICTIONS)] == list(PREDICTIONS)
    assert frame.groupby("run", observed=True).size().to_dict() == {"run1": 3, "run3": 3}
    assert set(frame.status) == {"completed", "interrupted"}
    expected = predictions_of(range(3), 1)
    np.testing.assert_array_equal(frame.entropy, [*expected.entropy, *expected.entropy])


def test_several_paths_and_links(runs, tmp_path):
    frame = load_runs(runs)
    for paths in (
        [runs / "a", runs / "b"],
        [str(runs / "a"), runs],
        (p for p in [runs, runs / "b" / "run3"]),
        str(runs),
    ):
        assert len(load_runs(paths)) == len(frame)
    one = load_runs(runs / "a" / "run1")
    assert set(one.run) == {"run1"}
    assert set(one.path) == {str(runs / "a" / "run1")}
    (tmp_path / "link").symlink_to(runs / "a")
    (tmp_path / "circle").symlink_to(tmp_path)
    (tmp_path / ".hidden").symlink_to(runs / "b")
    assert set(load_runs(tmp_path).run) == {"run0", "run1", "run2"}


def test_nothing_matches(runs):
    frame = load_runs(runs, metric="hog")
    assert len(frame) == 0
    assert list(frame) == list(load_runs(runs))
    assert len(load_runs(runs, seed=99)) == 0
    assert len(load_runs(runs, seed="1")) == 0
    assert len(load_runs(runs, status="done")) == 0


def test_mistakes_in_loading(runs, tmp_path):
    with pytest.raises(ConfigError, match=r"^metrics is no column of these runs \(columns: image"):
        load_runs(runs, metrics="ssim")
    with pytest.raises(ConfigError, match="^sead is no column"):
        load_runs(runs, columns=["sead"])
    with pytest.raises(ConfigError, match=r"^Cannot read .*nowhere: No such file"):
        load_runs(tmp_path / "nowhere")
    with pytest.raises(ConfigError, match=f"^There is no run below {tmp_path}$"):
        load_runs(tmp_path)
    with pytest.raises(ConfigError, match="holds no masks"):
        load_masks(tmp_path)


def test_shards_join(tmp_path):
    for shard in range(2):
        with RunFolder.open(
            tmp_path / f"run{shard}", {"seed": 0, "data": {"shard": shard, "shards": 2}}
        ) as run:
            run.start(INFO)
            run.write_unit("u", scores_of(GROUPS[shard], 0))
            run.complete()
    frame = load_runs(tmp_path, seed=0, method="edges", metric="ssim")
    assert dict(zip(frame.image, frame["data.shard"], strict=True)) == dict(
        zip(IMAGES, [0, 0, 1], strict=True)
    )


def test_a_run_completed_while_it_is_read(tmp_path, monkeypatch):
    """Its parts vanish under the reader, before or after they are listed."""
    for when in ("before", "after"):
        path = tmp_path / when
        make_run(path, 0, complete=False)
        files = load_module._files

        def complete_meanwhile(run, table, path=path, when=when, files=files):
            monkeypatch.undo()
            listed = files(run, table) if when == "after" else None
            with RunFolder.open(path, CONFIG) as own:
                own.start(INFO)
                own.complete()
            return listed or files(run, table)

        monkeypatch.setattr(load_module, "_files", complete_meanwhile)
        frame = load_runs(path)
        assert len(frame) == 24
        assert set(frame.status) == {"completed"}


def test_a_run_removed_while_it_is_read(tmp_path, monkeypatch):
    make_run(tmp_path / "a", 0)
    make_run(tmp_path / "b", 1)
    files = load_module._files

    def remove_meanwhile(run, table):
        if run.folder.name == "a":
            for name in ("run.json", "scores.parquet"):
                (run.folder / name).unlink(missing_ok=True)
        return files(run, table)

    monkeypatch.setattr(load_module, "_files", remove_meanwhile)
    assert set(load_runs(tmp_path).run) == {"b"}


def test_values_of_mixed_kinds(tmp_path):
    values = [True, 3, 2.5, "text", None, 2**70]
    for i, value in enumerate(values):
        make_run(
            tmp_path / f"run{i}", 0, mixed=value, number=[1, 2.5][i % 2], big=2**70 + i, maybe=None
        )
    frame = load_runs(tmp_path, metric="ssim", method="edges", stage=0, image=IMAGES[0])
    assert frame.mixed.astype(object).tolist()[:4] == ["True", "3", "2.5", "text"]
    assert pd.isna(frame.mixed[4])
    assert frame.number.tolist() == [1, 2.5] * 3
    assert frame.big.dtype == float
    assert frame.maybe.isna().all()


def test_find_runs_does_not_look_into_runs(runs):
    assert [p.name for p in find_runs(runs)] == [f"run{i}" for i in range(5)]


def test_importing_is_quick():
    """Asking whether a run is completed, or `--help`, must not wait for these."""
    code = "import sanity.results, sys; print([m for m in sys.modules if '.' not in m])"
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True
    )
    for module in ("pandas", "pyarrow", "zarr", "xarray", "tensorflow", "omegaconf"):
        assert f"'{module}'" not in done.stdout


SCALE = f"""
import re, sys, time
sys.path.insert(0, {str(ROOT)!r})
from sanity import load_runs
start = time.perf_counter()
frame = load_runs(sys.argv[1], method="gradient", metric="ssim", categories=True)
seconds = time.perf_counter() - start
# The parent's peak stands in getrusage's, as it was when it forked.
status = open("/proc/self/status").read()
peak = int(re.search(r"VmHWM:\\s+(\\d+)", status)[1]) / 2**20
print(len(frame), frame.seed.nunique(), frame.shape[1], peak, seconds)
"""


@pytest.mark.slow
def test_a_thousand_runs(tmp_path):
    """1,000 runs of 10,000 rows: memory is asserted, the time only printed."""
    keys = [
        (f"i{i:02}", i, m, s, f"block{s}", k)
        for i in range(25)
        for s in range(20)
        for m in ("gradient", "edges", "smoothgrad", "noise", "vargrad")
        for k in ("ssim", "hog", "spearman", "pearson")
    ]
    frame = pd.DataFrame(keys, columns=["image", "target", "method", "stage", "layer", "metric"])
    assert len(frame) == 10_000
    first, many = tmp_path / "first", tmp_path / "many"
    frame["value"] = generator(0).random(len(frame))
    with RunFolder.open(first, CONFIG, [], HYDRA) as run:
        run.start(INFO)
        run.write_unit("u", frame)
        run.complete()
    config = (first / ".hydra" / "config.yaml").read_text()
    assert config.count("\nseed: 3\n") == 1
    info = json.loads((first / "run.json").read_text())
    for seed in range(1000):  # copies that say they are of other seeds: tables take long to write
        folder = shutil.copytree(first, many / f"name{seed % 3}" / f"run{seed:04}")
        own = config.replace("\nseed: 3\n", f"\nseed: {seed}\n")
        (folder / ".hydra" / "config.yaml").write_text(own)
        said = {**info, "run": folder.name, "columns": {**info["columns"], "seed": seed}}
        (folder / "run.json").write_text(json.dumps(said))
    done = subprocess.run(
        [sys.executable, "-c", SCALE, str(many)], capture_output=True, text=True, check=True
    )
    rows, seeds, columns, peak, seconds = (float(v) for v in done.stdout.split())
    print(f"{rows:.0f} of 10,000,000 rows in {seconds:.1f} s, peak {peak:.2f} GiB")
    assert rows == 1000 * 25 * 20
    assert seeds == 1000
    assert columns > 20
    assert peak < 0.93  # 1 GB, interpreter and libraries included
