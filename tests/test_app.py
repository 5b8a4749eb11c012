"""The command line, as a process of its own where one is what is tested."""

import os
import re
import subprocess
import sys

import numpy as np
import pytest

import sanity as library
from tests.command import ROOT, sanity, sanity_here
from tests.pieces import ANY

QUICK = ["data.limit=1", "layers.names=[logits,head]", "metric=[ssim,spearman]"]


@pytest.mark.parametrize("arguments", [["--help"], ["--cfg", "job"], ["--info", "defaults-tree"]])
def test_help_does_not_load_tensorflow(arguments, tmp_path):
    code = (
        f"import sys; sys.argv = ['sanity', *{arguments!r}]\n"
        "from sanity.app import main\n"
        "main()\n"
        "loaded = {'tensorflow', 'keras', 'pandas', 'skimage', 'matplotlib'} & set(sys.modules)\n"
        "assert not loaded, loaded"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert "smoothgrad" in done.stdout
    assert not list(tmp_path.iterdir())


ELSEWHERE = "hydra_plugins.hydra_elsewhere_launcher.Launcher"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["method=[nonsense]"], "method=nonsense is none of"),
        (["seed=-1"], "seed=-1 should be"),
        (["seed=0,1"], "of which -m makes a job each; in brackets they are a list: 'seed=[0,1]'"),
        (["seed=range(3)"], "of which -m makes a job each"),
        (["--mulitrun"], "--mulitrun is no option; did you mean --multirun?"),
        (["--cfg", "jbo"], "--cfg/-c: invalid choice: 'jbo'"),
        (["-cd", "nowhere"], "--config-dir nowhere: there is no such folder"),
        (["method=[gradient,", "vargrad]"], "write 'method=[gradient,vargrad]'"),
        (["hydra.run.dir=x"], "output=FOLDER and name=NAME say where"),
        (["-m", "seed=0,1", "hydra.sweep.dir=x"], "output=FOLDER and name=NAME say where"),
        (["hydra.job.chdir=true"], "output=FOLDER and name=NAME say where"),
        (["objective=early.gradiant.ssim"], "did you mean early.gradient.ssim?"),
        (["-m", "hydra/sweeper=optina"], "hydra/sweeper=optina is"),
        (["-m", "seed=interval(0,2)"], "interval(…) is for hydra/sweeper=optuna"),
        (["+method.smoothgrad.smaples=3"], "method.smoothgrad.smaples=3 is no key here"),
        (["layers.names=[nonsense]"], "block15"),
        (["data=folder", "data.path=nowhere"], "nowhere"),
        (["-m", "seed=0,1", "method=[nonsense]"], "method=nonsense is none of"),
        (["output=/dev/null/x"], "output=/dev/null/x says so: output=FOLDER takes another"),
        (["-m", "seed=0,1", "output=/dev/null/x"], "output=/dev/null/x cannot be written"),
        (["-m", "seed=range(2,1)"], "seed=range(2,1) has no values: a sweep over it has no job"),
        (["-m", "hydra.sweeper.max_batch_size=0"], "=0 must be a whole number, at least 1"),
        (["-m", "hydra.sweeper.params=x"], "must be keys with what each takes in turn"),
        (["-m", "hydra/launcher=local_joblib", "hydra.launcher.n_jobs=x"], "n_jobs=x must be a wh"),
        (["hydra.searchpath=[nowhere]"], "hydra.searchpath=nowhere: there is no such folder"),
        (["hydra/callbacks=wandb"], "sanity: hydra/callbacks=wandb needs wandb: pip install"),
        (["hydra.mode=BOTH"], "sanity: hydra.mode=BOTH is not taken: Invalid value 'BOTH'"),
        (["name=${.}"], "sanity: name=${.} cannot be read as KEY=VALUE"),
        (["--cfg", "job", "--resolve", "name=${nope}"], "nope is no key"),
        (["seed=${nope}"], "sanity: seed=${nope}: nope is no key"),
        (["-m", "hydra/launcher=nonsense"], "hydra/launcher=nonsense is none of"),
        (
            ["-m", "hydra/launcher=local_joblib", f"hydra.launcher._target_={ELSEWHERE}"],
            "needs the plugin hydra-elsewhere-launcher, which is not installed; sanity's extra [el",
        ),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_a_mistake_is_a_sentence_and_exit_code_2(arguments, message, tmp_path):
    done = sanity_here(*arguments, cwd=tmp_path, check=False)
    assert done.returncode == 2
    assert message in done.stderr
    assert "Traceback" not in done.stderr
    assert len(done.stderr.strip().splitlines()) == 1
    assert not list(tmp_path.glob("outputs/*/*/*"))


def test_so_it_is_of_a_process(tmp_path):
    done = sanity("seed=-1", cwd=tmp_path, check=False)
    assert done.returncode == 2 and not done.stdout
    assert done.stderr.startswith("sanity: seed=-1 should be") and done.stderr.count("\n") == 1


def test_a_preset_that_is_a_sweep_takes_several_values_as_it_is(tmp_path):
    wrong = ["experiment=paper", "seed=0,1", "name=a/b"]
    done = sanity_here(*wrong, cwd=tmp_path, check=False)
    assert done.stdout.splitlines()[-1] == "sweep of 4 jobs: 4 failed" and done.returncode == 2


def test_help_may_be_cut_off(tmp_path):
    words = f"{sys.executable} -m sanity --help | head -1"
    env = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run(words, shell=True, cwd=tmp_path, capture_output=True, text=True, env=env)
    assert done.stdout.startswith("sanity - ") and done.stderr == ""


def test_the_version_is_ours(tmp_path):
    said = sanity_here("--version", cwd=tmp_path, check=False).stdout
    assert said.startswith(f"sanity {library.__version__} (Hydra 1.")


def test_a_runs_record_is_no_configuration_of_ones_own(tmp_path):
    record = tmp_path / "run" / ".hydra"
    record.mkdir(parents=True)
    for name in ("config", "overrides", "hydra"):
        (record / f"{name}.yaml").write_text("{}")
    done = sanity_here("--config-dir", record, "--config-name", "config", cwd=tmp_path, check=False)
    assert done.returncode == 2
    assert f"sanity-rerun {tmp_path}/run repeats it" in done.stderr
    assert (
        sanity_here("--experimental-rerun", "x.pickle", cwd=tmp_path, check=False).returncode == 2
    )


def test_hydra_full_error_shows_the_traceback(tmp_path):
    done = sanity("model=nonsense", cwd=tmp_path, check=False, HYDRA_FULL_ERROR="1")
    assert done.returncode == 1
    assert "Traceback" in done.stderr


@pytest.mark.slow
def test_a_class_beyond_the_models_is_refused_after_loading(tmp_path):
    done = sanity_here(*QUICK, "target=zebrah", cwd=tmp_path, check=False)
    assert done.returncode == 2
    assert "target=zebrah" in done.stderr
    assert "zebra" in done.stderr.replace("zebrah", "")
    assert "Traceback" not in done.stderr
    assert not list(tmp_path.glob("outputs/default/*/run.json"))


@pytest.mark.slow
def test_sweep_seeds_and_running_again(tmp_path):
    chosen = ["method=[gradient,smoothgrad,edge_detector]", "method.smoothgrad.samples=3", *ANY]
    chosen += ["layers.last=2"]
    sanity_here("-m", "seed=0,1", "name=first", *chosen, cwd=tmp_path)
    again = sanity_here("-m", "seed=0,1", "name=first", *chosen, cwd=tmp_path)
    assert again.stdout.count("is there already") == 2
    sanity_here("seed=0", "name=second", *chosen, cwd=tmp_path)
    scores = library.load_runs(tmp_path / "outputs")
    assert (scores["status"] == "completed").all()
    assert scores["run"].nunique() == 2
    table = scores[scores["metric"] == "ssim"].pivot_table(
        index=["method", "stage"], columns=["name", "seed"], values="value", observed=True
    )
    keys = ["image", "method", "stage", "metric"]
    one, other = (
        library.load_runs(tmp_path / "outputs" / name, seed=0).sort_values(keys)["value"].to_numpy()
        for name in ("first", "second")
    )
    np.testing.assert_array_equal(one, other)  # a run that is there twice counts once above
    np.testing.assert_allclose(table.xs(0, level="stage"), 1, atol=1e-12)
    for stage in (1, 2):
        differs = table["first", 0].xs(stage, level="stage") != table["first", 1].xs(
            stage, level="stage"
        )
        assert differs.to_dict() == {"gradient": True, "smoothgrad": True, "edge_detector": False}


@pytest.mark.slow
def test_just_what_was_asked_for(tmp_path):
    chosen = ["method=[smoothgrad]", "method.smoothgrad.samples=10", "data.limit=1"]
    chosen.append("layers.names=[logits,head]")
    told = sanity_here("dry_run=true", *chosen, cwd=tmp_path).stdout
    assert re.search(r"smoothgrad +10 +0$", told, re.MULTILINE)
    sanity_here(*chosen, cwd=tmp_path)
    (run,) = tmp_path.glob("outputs/default/[!.]*")
    assert {path.name for path in run.iterdir()} == {
        ".hydra",
        "figures",
        "images.npz",
        "masks.zarr",
        "predictions.parquet",
        "report.html",
        "run.json",
        "sanity.log",
        "scores.parquet",
    }
    scores = library.load_runs(run)
    assert scores["method"].unique().tolist() == ["smoothgrad"]
    assert (scores["method.smoothgrad.samples"] == 10).all()
    assert scores.groupby("stage")["layer"].first().tolist() == ["trained", "logits", "head"]
    assert set(scores["metric"]) == {"ssim", "spearman", "spearman_abs", "hog"}
    masks = library.load_masks(run)
    assert masks.smoothgrad.shape == (1, 3, 224, 224, 3)
    log = (run / "sanity.log").read_text()
    assert "stage  1  logits: 2 variables randomized; predicted" in log
    again = sanity_here("--cfg", "job", cwd=tmp_path).stdout
    assert "samples: 25" in again  # the run changed nothing but its folder
