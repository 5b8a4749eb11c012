"""Sweeps: through every launcher, past failed jobs, in shards, killed and gone on with.

Run as a script, this file is the process that gets killed: see `zygote`.
"""

import importlib
import json
import os
import re
import socket
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import pandas as pd
import pytest

import sanity as library
from sanity.config.job import compose
from sanity.models import kept as classifiers
from sanity.network.classifier import Classifier
from sanity.network.tensorflow import import_tensorflow
from sanity.randomness import generator
from sanity.results import load_masks, load_predictions
from sanity.results.tables import SCORES
from sanity.sweeping import (
    Outcome,
    at_once,
    describe,
    introduce,
    lost,
    report,
    tag,
    threads,
    took,
)
from tests.command import ROOT, sanity, sanity_here
from tests.pieces import ANY, PICTURES, QUICK
from tests.report.test_page import data_of
from tests.results.killing import finish, launch

SHARDS = ["data.shard=0,1", "data.shards=2"]
SWEEP = ["randomization=cascading,independent", "seed=0,1", *SHARDS]
LEAN = ["masks.keep=none", "layers.last=2"]
SPY = [*ANY, "+hydra.callbacks.spy._target_=tests.pieces.Spy", "report=true"]


def scores_below(path):
    scores = library.load_runs(path)
    assert (scores["status"] == "completed").all()
    columns = [c for c in scores if c not in ("name", "path", "hydra/launcher")]
    keys = ["run", "image", "method", "stage", "metric"]
    return scores[columns].sort_values(keys, ignore_index=True)


def assert_equal(ours, theirs):
    pd.testing.assert_frame_equal(
        ours, theirs, check_categorical=False, check_dtype=False, check_exact=True
    )


def of_the_same_runs(scores, others):
    return scores[scores["run"].isin(others["run"])].reset_index(drop=True)


# Launchers


def needs(extra):
    """Skips the test where Hydra's plugin for a launcher is not installed."""
    plugin = f"hydra_plugins.hydra_{extra}_launcher"
    pytest.importorskip(plugin, reason=f"needs pip install .[{extra}]")


@pytest.fixture(scope="session")
def basic(tmp_path_factory):
    cwd = tmp_path_factory.mktemp("basic")
    done = sanity_here("-m", *QUICK, *LEAN, *SWEEP, cwd=cwd)
    assert done.stdout.splitlines()[-1] == "sweep of 8 jobs: 8 finished"
    return scores_below(cwd / "outputs")


@pytest.mark.slow
@pytest.mark.parametrize(
    ("launcher", "sweep"),
    [
        # New processes, which load the model: parts of the sweep will do.
        ("joblib", ["randomization=cascading", "seed=0,1", *SHARDS]),
        ("submitit", ["randomization=independent", "seed=1", *SHARDS]),
    ],
)
def test_launchers_give_the_same_scores(launcher, sweep, basic, tmp_path):
    needs(launcher)
    done = sanity("-m", *QUICK, *LEAN, *sweep, f"hydra/launcher=local_{launcher}", cwd=tmp_path)
    scores = scores_below(tmp_path / "outputs")
    jobs = scores["run"].nunique()
    assert jobs == len(sweep[1].split(",")) * 2
    assert f"sweep of {jobs} jobs: {jobs} finished" in done.stdout
    assert_equal(scores, of_the_same_runs(basic, scores))


@pytest.fixture(scope="class")
def ray_cluster():
    """Options for a Ray cluster of one node, which ends with the tests that have it."""
    needs("ray")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("RAY_AUTH_MODE", "disabled")  # the user's token is none of a test's business
        node = subprocess.Popen(
            [Path(sys.executable).with_name("ray"), "start", "--head", "--block"]
            + ["--node-ip-address=127.0.0.1", f"--port={port}", "--num-cpus=2"]
            + ["--include-dashboard=false", "--disable-usage-stats"],
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            env={**os.environ, "PYTHONPATH": str(ROOT)},
        )
        lines = []
        for line in node.stdout:
            lines.append(line)
            if "Ray runtime started" in line:
                break
        else:
            pytest.fail("".join(lines))
        with node:
            yield [
                "hydra/launcher=ray_cluster",
                f"hydra.launcher.ray.init.address=127.0.0.1:{port}",
                "hydra.launcher.ray.remote.num_cpus=1",
            ]
            node.terminate()


@pytest.mark.slow
class TestRayCluster:
    def test_it_gives_the_same_scores(self, ray_cluster, basic, tmp_path):
        where = f"output={tmp_path}/outputs"
        done = sanity("-m", *QUICK, *LEAN, "seed=0,1", *SHARDS, *ray_cluster, where, cwd=tmp_path)
        assert "sweep of 4 jobs: 4 finished" in done.stdout
        scores = scores_below(tmp_path / "outputs")
        assert_equal(scores, of_the_same_runs(basic, scores))

    def test_a_worker_that_dies_fails_its_job_and_not_the_sweep(self, ray_cluster, tmp_path):
        never = [*ray_cluster, "hydra.launcher.ray.remote.max_retries=0"]
        check_that_a_worker_dies(never, 0, "WorkerCrashedError", tmp_path)


@pytest.mark.slow
def test_optuna_searches_by_a_jobs_number(tmp_path):
    pytest.importorskip("hydra_plugins.hydra_optuna_sweeper", reason="needs the extra optuna")
    search = ["hydra/sweeper=optuna", "hydra.sweeper.n_trials=2", "hydra.sweeper.n_jobs=1"]
    jobs = ["-m", *ANY, *LEAN, "method=[smoothgrad]", *search]
    jobs += ["method.smoothgrad.samples=range(2,6)"]
    done = sanity(*jobs, cwd=tmp_path, check=False)
    assert done.returncode == 2 and "objective=early.gradient.ssim" in done.stderr
    done = sanity(*jobs, "objective=early.smoothgrad.ssim", cwd=tmp_path)
    assert done.stdout.splitlines()[-1].startswith("sweep of 2 jobs: ")
    (found,) = (tmp_path / "outputs" / ".hydra").glob("*/optimization_results.yaml")
    best = float(re.search(r"best_value: (\S+)", found.read_text())[1])
    scores = library.load_runs(tmp_path / "outputs").query("metric == 'ssim' and stage == 1")
    assert best == pytest.approx(scores.groupby("run", observed=True)["value"].mean().min())


def test_slurm_is_asked_for_an_array_that_is_requeued(tmp_path):
    """What sbatch would be given, without one."""
    needs("submitit")
    from hydra.core.plugins import Plugins
    from omegaconf import OmegaConf
    from submitit.slurm.slurm import _make_sbatch_string

    node = OmegaConf.load(ROOT / "conf" / "hydra" / "launcher" / "slurm_submitit.yaml")
    assert node.pop("_target_") in Plugins.instance().class_name_to_class
    given = OmegaConf.to_container(OmegaConf.merge({"hydra": {"sweep": {"dir": "out"}}}, node))
    assert given["max_num_timeout"] > 0
    text = _make_sbatch_string(
        command="job",
        folder=tmp_path,
        map_count=12,
        time=given["timeout_min"],
        **{k: given[k] for k in ("cpus_per_task", "array_parallelism", "additional_parameters")},
    )
    assert "#SBATCH --array=0-11%" in text
    assert "#SBATCH --requeue" in text
    assert "#SBATCH --open-mode=append" in text


@pytest.mark.parametrize(
    ("launcher", "expected"),
    [
        ({}, None),
        ({"n_jobs": 2}, 4),
        ({"n_jobs": 3}, 2),
        ({"n_jobs": 100}, 1),
        ({"n_jobs": -1}, 1),
        ({"n_jobs": -5}, 2),
        ({"cpus_per_task": 3}, 3),
        ({"cpus_per_task": None}, None),
        ({"ray": {"remote": {"num_cpus": 2}}}, 2),
        ({"ray": {"remote": {}}}, 1),
    ],
)
def test_threads_are_divided(launcher, expected, monkeypatch):
    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: set(range(8)), raising=False)
    assert threads(launcher) == expected


@pytest.mark.parametrize(
    ("launcher", "jobs"),
    [
        ({}, 1),
        ({"n_jobs": 3}, 3),
        ({"n_jobs": -1}, 8),
        ({"cpus_per_task": 3}, 1),
        ({"ray": {"init": {"num_cpus": None}, "remote": {"num_cpus": 2}}}, 4),
        ({"ray": {"init": {"num_cpus": 6}, "remote": {"num_cpus": 3}}}, 2),
    ],
)
def test_how_many_jobs_run_at_once(launcher, jobs, monkeypatch):
    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: set(range(8)), raising=False)
    assert at_once(launcher) == jobs


# One sweep, from start to end


@pytest.fixture(scope="module")
def swept(tmp_path_factory):
    """Two jobs that finish and two that fail, with a callback of Hydra's that sees them end."""
    cwd = tmp_path_factory.mktemp("swept")
    done = sanity_here(
        "-m", *SPY, *LEAN, "method=[gradient],[broken]", "seed=0,1", cwd=cwd, check=False
    )
    return done, cwd


def test_a_sweep_says_where_it_is_and_what_came_of_it(swept):
    done, _ = swept
    assert done.returncode == 1
    lines = done.stdout.splitlines()
    # How much is left of the first job is known where this process has had one like it.
    first = re.compile(r"job 1 of 4(, .* left)?: method=\[gradient\] seed=0")
    assert any(map(first.fullmatch, lines))
    assert any(re.match(r"job 2 of 4, .* left: method=\[gradient\] seed=1", line) for line in lines)
    failed = [f"  failed: method=[broken] seed={i}: ZeroDivisionError: by nought" for i in (0, 1)]
    assert [line for line in lines if line.startswith("  failed")] == failed
    assert lines[-1] == "sweep of 4 jobs: 2 finished, 2 failed"
    assert not [line for line in lines if "HYDRA" in line]


def test_callbacks_get_folder_scores_and_status(swept):
    _, cwd = swept
    seen = [json.loads(line) for line in (cwd / "seen.jsonl").read_text().splitlines()[:6]]
    assert [one["event"] for one in seen] == ["multirun_start", *["job_end"] * 4, "multirun_end"]
    ends = seen[1:-1]
    assert [one["status"] for one in ends] == ["COMPLETED", "COMPLETED", "FAILED", "FAILED"]
    for one in ends[:2]:
        assert Path(one["folder"], "run.json").exists()
        assert one["rows"] == 4 * 3 * 2  # images, stages, metrics
    assert ends[2]["error"] == "ZeroDivisionError: by nought"


def test_what_a_sweep_writes(swept):
    _, cwd = swept
    outputs = cwd / "outputs"
    assert {path.name for path in cwd.iterdir()} == {"outputs", "seen.jsonl"}
    assert {path.name for path in outputs.iterdir()} == {"default", ".hydra", ".originals"}
    (record,) = (outputs / ".hydra").iterdir()
    assert [path.name for path in record.iterdir()] == ["multirun.yaml"]
    (group,) = data_of(outputs / "default" / "index.html")["groups"]
    rows = [(row["method"], row["metric"]) for row in group["verdicts"]]
    assert len(rows) == len(set(rows)) > 0
    assert {row["seeds"] for row in group["verdicts"]} == {2}  # together
    empty = [path for path in cwd.rglob("*") if path.is_dir() and not any(path.iterdir())]
    assert not empty
    again = sanity_here(
        "-m", *SPY, *LEAN, "method=[gradient]", "seed=0,1", "report=false", cwd=cwd, check=False
    )
    assert again.returncode == 0 and "index.html" not in again.stdout
    assert not list(outputs.glob("*/*/figures"))
    more = sanity_here(
        *ANY, *LEAN, "method=[gradient]", "figures=grids", cwd=cwd, check=False
    )  # asked for later
    assert "is there already" in more.stdout
    assert len(list(outputs.glob("*/*/figures/curves.png"))) == 1
    assert len(list((outputs / ".hydra").iterdir())) == 2


def test_a_job_by_itself_that_fails_has_its_status_too(tmp_path):
    done = sanity_here(*SPY, "method=[broken]", "seed=-1", cwd=tmp_path, check=False)
    assert done.returncode == 2
    assert done.stderr == "sanity: seed=-1 should be greater than or equal to 0\n"
    (seen,) = map(json.loads, (tmp_path / "seen.jsonl").read_text().splitlines())
    assert seen["status"] == "FAILED" and seen["error"].startswith("seed=-1")
    assert [path.name for path in tmp_path.iterdir()] == ["seen.jsonl"]


# Failed jobs


@pytest.mark.slow
def test_a_sweep_goes_on_past_failed_jobs(tmp_path):
    jobs = ["-m", *ANY, "method=[broken],[gradient]", "layers.names=[top]"]
    done = sanity_here(*jobs, "target=predicted,7", cwd=tmp_path, check=False)
    assert done.returncode == 1
    assert done.stdout.splitlines()[-1] == "sweep of 4 jobs: 1 finished, 3 failed"
    assert "Traceback" in done.stdout  # of the fault, not of the mistakes
    assert done.stdout.count("Traceback") == 1
    failed = [
        "  failed: method=[broken] target=predicted: ZeroDivisionError: by nought",
        *(
            f"  failed: method=[{name}] target=7: target=7 is not among the model's classes, 0 to 6"
            for name in ("broken", "gradient")
        ),
    ]
    assert done.stderr.splitlines()[-3:] == failed
    assert [line for line in done.stdout.splitlines() if line.startswith("  failed")] == failed
    runs = library.load_runs(tmp_path / "outputs")
    assert runs["method"].unique().tolist() == ["gradient"]
    again = ["-m", *ANY, "method=[gradient]", "layers.names=[top]", "target=predicted,7"]
    done = sanity_here(*again, cwd=tmp_path, check=False)
    assert done.returncode == 2
    assert done.stdout.splitlines()[-1] == "sweep of 2 jobs: 1 there already, 1 failed"


def check_that_a_worker_dies(options, retries, error, folder):
    """One of two jobs kills its worker, which fails that job, and not the sweep."""
    asked = [*ANY, "method=[gradient],[killed]", "layers.names=[top]", f"output={folder}/outputs"]
    asked += [*options, f"hydra.sweeper.retries={retries}"]
    done = sanity("-m", *asked, cwd=folder, check=False)
    assert done.returncode == 1
    assert done.stdout.count("starting again: job 2") == retries
    assert "sweep of 2 jobs: 1 finished, 1 failed" in done.stdout.splitlines()
    assert f"failed: method=[killed]: the launcher lost it: {error}" in done.stderr


@pytest.mark.slow
def test_a_worker_that_dies_fails_its_job_and_not_the_sweep(tmp_path):
    needs("joblib")
    options = ["hydra/launcher=local_joblib", "hydra.sweeper.max_batch_size=1"]
    check_that_a_worker_dies(options, 1, "TerminatedWorkerError", tmp_path)


def test_what_is_said_at_the_end(capsys):
    ended = [Outcome("finished"), Outcome("already"), Outcome("finished"), Outcome("shown")]
    report([([f"seed={i}", "name=x"], outcome) for i, outcome in enumerate(ended)])
    said = capsys.readouterr()
    assert said.out.splitlines() == [
        "in all: about 0 s, masks of up to 0 MB",
        "sweep of 4 jobs: 2 finished, 1 there already, 1 only shown",
    ]
    assert said.err == ""
    fault = Outcome.of(ValueError("first\nsecond"))
    mistake = Outcome.of(library.ConfigError("seed=-1 should be positive"))
    for failed, code in [([fault, mistake], 1), ([mistake, mistake], 2), ([fault], 1)]:
        jobs = [([f"seed={i}", "name=x"], outcome) for i, outcome in enumerate(failed)]
        assert report(jobs) == code
    said = capsys.readouterr()
    for lines in (said.out.splitlines(), said.err.splitlines()):
        assert lines[:2] == [
            "  failed: seed=0: ValueError: first",
            "  failed: seed=1: seed=-1 should be positive",
        ]
    assert Outcome.of(MemoryError()).reason == "MemoryError"


def test_where_results_are_is_said_without_a_page_too(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    folders = [tmp_path / "out" / name / "run" for name in ("a", "a", "b c")]
    ended = [Outcome("finished", folder=folder, page=False) for folder in folders]
    report([(["seed=1"], one) for one in [*ended, Outcome("failed", folder=tmp_path / "d" / "x")]])
    assert [line for line in capsys.readouterr().out.splitlines() if "compare" in line] == [
        "sanity-compare out/a prints its verdicts, seeds together",
        "sanity-compare 'out/b c' prints its verdicts, seeds together",
    ]


def test_dry_runs_are_added_up(capsys):
    shown = [Outcome("shown", seconds=100, disk=2_000_000)] * 3
    assert report([([f"seed={i}"], outcome) for i, outcome in enumerate(shown)]) is None
    assert capsys.readouterr().out.splitlines() == [
        "in all: about 5 min 00 s, masks of up to 6 MB",
        "sweep of 3 jobs: 3 only shown",
    ]


def test_dry_runs_are_dealt_out_to_devices(capsys):
    """Of jobs of 100 to 500 s, the longest first: 500, 400 + 100, 300 + 200."""
    shown = [Outcome("shown", seconds=n * 100, shared=n * 40, devices=3) for n in range(1, 6)]
    report([([f"seed={i}"], outcome) for i, outcome in enumerate(shown)])
    assert capsys.readouterr().out.splitlines()[0] == (
        "in all: about 25 min 00 s, masks of up to 0 MB; on 3 devices about 8 min 20 s with a job "
        "on each at a time, 10 min 00 s if they share each job's images (data.shards)"
    )


def test_a_job_is_introduced_with_what_is_left(caplog, monkeypatch):
    monkeypatch.setattr("sanity.sweeping._took", [])
    jobs = [["name=x", f"seed={i}"] for i in range(10)]
    with caplog.at_level("INFO", "sanity"):
        introduce(0, describe(jobs), jobs[0], {})
        took(60)
        took(120)
        introduce(2, describe(jobs), jobs[2], {})
        introduce(2, describe(jobs), jobs[2], {"n_jobs": 2})
        introduce(0, "20", ["seed=1"], {})  # of Optuna's trials
        introduce(0, "", ["seed=1"], {})
    assert caplog.messages == [
        "job 1 of 10: seed=0",
        "job 3 of 10, 12 min 00 s left: seed=2",
        "job 3 of 10, 6 min 00 s left: seed=2",
        "job 1 of 20, 30 min 00 s left: seed=1",
    ]


def test_lines_of_parallel_jobs_name_their_job(monkeypatch, capsys):
    import logging

    handler = logging.StreamHandler(sys.stdout)
    monkeypatch.setattr(logging.getLogger(), "handlers", [handler])
    tag(2)
    logging.getLogger("sanity").error("one\ntwo")
    assert capsys.readouterr().out == "[3] one\n[3] two\n"


def test_the_folder_tells_of_a_job_that_the_launcher_lost(tmp_path):
    gone = RuntimeError("node lost")
    assert lost(tmp_path, gone).reason == "the launcher lost it: RuntimeError: node lost"
    for info, outcome in [
        ({"status": "completed"}, Outcome("finished", folder=tmp_path)),
        (
            {"status": "failed", "error": "OSError: full"},
            Outcome("failed", "OSError: full", folder=tmp_path),
        ),
    ]:
        (tmp_path / "run.json").write_text(json.dumps(info))
        assert lost(tmp_path, gone) == outcome


# Many jobs in one process


@pytest.fixture
def here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(classifiers, "_classifiers", {})
    return tmp_path


def test_a_second_job_loads_and_traces_nothing(here, monkeypatch):
    import tensorflow as tf

    library.run(overrides=[*QUICK, "seed=0"])
    (first,) = classifiers._classifiers.values()
    trained = first.weights.read()
    before = first._chain("plain")  # of functions that cannot be traced again
    monkeypatch.setattr(tf, "function", None)  # nothing is made into a graph again
    library.run(overrides=[*QUICK, "seed=1", "runtime.batch_size=3"])
    (second,) = classifiers._classifiers.values()
    assert second is first
    assert first._chain("plain") is before
    for name, value in first.weights.read().items():
        assert (value == trained[name]).all()
    monkeypatch.undo()
    fresh = here / "fresh"
    monkeypatch.setattr(classifiers, "_classifiers", {})
    library.run(overrides=[*QUICK, "seed=1", f"output={fresh}"])
    assert_equal(
        scores_below(fresh),
        scores_below(here / "outputs").query("seed == 1").reset_index(drop=True),
    )


def test_originals_are_computed_once_for_all_jobs(here, monkeypatch):
    """Jobs that differ in their randomization only; the scores are those of jobs by themselves."""
    computed = []
    gradients = Classifier.batch_gradient

    def counting(self, images, rule="plain", baselines=None):
        compute = gradients(self, images, rule, baselines)

        def counted(targets):
            computed.append(bool(self.weights.changed))
            return compute(targets)

        return counted

    monkeypatch.setattr(Classifier, "batch_gradient", counting)
    orders = ["cascading", "independent"]
    for order in orders:
        library.run(overrides=[*QUICK, f"randomization={order}"])
        assert (False in computed) == (order == orders[0])
        assert True in computed
        computed.clear()
    fresh = here / "fresh"
    for order in orders:
        library.run(
            overrides=[*QUICK, f"randomization={order}", f"output={fresh}", "originals=false"]
        )
        assert 0 in computed
        computed.clear()
    assert_equal(scores_below(here / "outputs"), scores_below(fresh))


def test_originals_without_gradients_are_kept_as_well(here):
    """Of Occlusion alone, and of Occlusion beside gradients that are there already."""
    kept = here / "outputs" / ".originals"
    quick = [*ANY, "data.limit=1", "layers.last=1"]
    for methods, masks in [("occlusion", 1), ("gradient", 2), ("gradient,rise", 3)]:
        library.run(overrides=[*quick, f"method=[{methods}]"])
        assert len(list(kept.glob("*/*.npz"))) == masks


def load_of(job):
    return classifiers.load_kept(job.model, job.config["model"])


def test_models_are_kept_by_their_configuration_and_files(here):
    file = here / "weights.bin"
    file.write_bytes(b"one")
    job = compose([*QUICK, f"+model.path={file}"])
    other = compose([*QUICK, "model.blocks=[top,middle]"])
    first = load_of(job)
    first.weights.put({"top/bias": first.trained["top/bias"] + 1})
    assert load_of(job) is first
    assert (first.weights.read()["top/bias"] == first.trained["top/bias"]).all()
    assert load_of(other) is not first
    assert load_of(job) is first
    file.write_bytes(b"three")
    changed = load_of(job)
    assert changed is not first
    assert len(classifiers._classifiers) == classifiers._KEPT
    assert load_of(job) is changed


def test_shards_join_to_the_whole(here):
    quick = [*QUICK, "data.limit=5", "masks.keep=none"]
    library.run(overrides=[*quick, "name=whole"])
    for shard in range(2):
        library.run(overrides=[*quick, "name=shards", f"data.shard={shard}", "data.shards=2"])
    # A null is a comparison with another image of the same run.
    columns = [name for name in SCORES if name not in ("null", "reason")]
    keys = ["image", "method", "stage", "metric"]
    whole, shards = (
        library.load_runs(here / "outputs" / name, columns=columns)
        .astype({name: str for name in ("image", "method", "layer", "metric")})
        .sort_values(keys, ignore_index=True)
        for name in ("whole", "shards")
    )
    assert whole["image"].nunique() == 5
    assert_equal(shards, whole)


# Killed


def computed(path: Path, more: Sequence[str] = ()) -> None:
    """A real job, from start to completion."""
    from sanity.experiment.run import execute

    quiet = [f"output={path}", "runtime.threads=1", "runtime.log_level=error"]
    execute(compose([*QUICK, *more, *quiet]))


def drawn(path: Path) -> None:
    """A real job with its pictures, which come after completion."""
    computed(path, PICTURES)


def zygote(top: str, count: str) -> None:
    """Kills real jobs so many times between writes and within them, and completes them all.

    A job is killed, gone on with, killed again, and so on until it is through, as every start of
    one costs a second; then comes the next. The last one is killed once more as it draws its
    pictures. Prints what was done.

    This is a process of its own, which imports much and computes nothing before it forks:
    TensorFlow does not survive a fork once it has computed something.
    """
    import_tensorflow()
    for module in (
        "matplotlib.backends.backend_agg",
        "skimage.metrics",
        "scipy.stats",
        "sanity.experiment.run",
        "tests.networks",
        "zarr",
    ):
        importlib.import_module(module)
    ends = finish(*launch(Path(top, "unharmed"), work=computed))
    random = generator("kill", "real")
    kills, path = [0], Path(top, "killed1")  # of each job; the last is the one under way
    while sum(kills) < int(count):
        torn = bool(sum(kills) % 2)
        # At first anywhere, then early, so that a job is killed more than once on its way.
        moment = int(random.integers(1, ends[torn] if kills[-1] == 0 else ends[torn] // 3))
        if finish(*launch(path, moment, torn, computed)) is None:
            kills[-1] += 1
        else:
            kills.append(0)
            path = Path(top, f"killed{len(kills)}")
    for moment in (ends[0] + 10, None):  # among the pictures, then through
        finish(*launch(path, moment, work=drawn))
    print(json.dumps({"ends": ends, "kills": kills}))


@pytest.mark.slow
@pytest.mark.skipif(not hasattr(os, "fork"), reason="forks")
def test_killed_jobs_are_resumed_to_the_same_bits(tmp_path):
    done = subprocess.run(
        [sys.executable, __file__, str(tmp_path), "8"],
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=600,
    )
    assert done.returncode == 0, done.stderr
    result = json.loads(done.stdout.splitlines()[-1])
    assert sum(result["kills"]) == 8
    runs = {path.name: next(path.glob("default/small-*")) for path in tmp_path.iterdir()}
    last = runs[f"killed{len(result['kills'])}"]
    assert (last / "report.html").exists() and list(last.glob("figures/curves.*"))
    whole = runs.pop("unharmed")
    masks = load_masks(whole)
    resumed = 0
    for run in runs.values():
        info = json.loads((run / "run.json").read_text())
        resumed += len(info.get("resumed", []))
        assert info["status"] == "completed"
        for table in ("scores.parquet", "predictions.parquet"):
            assert (run / table).read_bytes() == (whole / table).read_bytes()
        assert len(load_predictions(run)) == 16
        for name in masks:
            assert (load_masks(run)[name].to_numpy().tobytes()) == masks[name].to_numpy().tobytes()
    print(result, resumed)
    assert resumed >= 4  # the others were killed before they began


if __name__ == "__main__":
    zygote(*sys.argv[1:])
