"""What a run says at its end: verdicts that cannot be given, and scores that are NaN."""

import json
import time
from threading import Thread

import numpy as np
import pandas as pd
import pytest
import tensorflow as tf

import sanity
from sanity.compare import main as compare
from sanity.errors import ConfigError
from sanity.report.summary import missing
from tests.pieces import ANY, PICTURES, QUICK


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """The last block stays as trained; one method's masks are constant."""
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(tmp_path_factory.mktemp("ends"))
        chosen = ["method=[gradient,constant]", "layers.names=[middle,stem]"]
        return sanity.run(overrides=[*ANY, *chosen])


def test_without_the_last_block_there_is_no_verdict(run, capsys):
    said = "no cascade from the output: it begins at middle, and the network's last layer"
    info = json.loads((run / "run.json").read_text())
    assert info["begins_at_output"] is False
    (ssim,) = [v for v in info["verdicts"] if (v["method"], v["metric"]) == ("gradient", "ssim")]
    assert ssim["verdict"] == "none" and said in ssim["evidence"] and ssim["early"] is None
    compare([str(run)])
    assert said in " ".join(capsys.readouterr().out.split())


def test_the_log_accounts_for_every_nan(run):
    scores = sanity.load_runs(run)
    (line,) = [x for x in (run / "sanity.log").read_text().splitlines() if "are NaN" in x]
    assert line.endswith("24 of 48 scores are NaN: constant 24 (constant mask)")
    assert (scores["value"].isna() == (scores["method"] == "constant")).all()


def test_missing_by_method_and_reason():
    scores = pd.DataFrame(
        {
            "method": ["a", "a", "b", "b", "b", "c"],
            "metric": ["ssim", "hog", "ssim", "ssim", "hog", "hog"],
            "value": [np.nan, np.nan, np.nan, 1.0, np.nan, 1.0],
            "null": [np.nan, 0.1, 0.1, np.nan, 0.1, 0.1],
            "reason": ["mask has NaN", "mask has NaN", "constant mask", "", "", ""],
        }
    )
    assert missing(scores) == (
        "4 of 6 scores are NaN: a 2 (mask has NaN), b 1 (constant mask), b 1 (no reason known to "
        "hog); 1 of 6 nulls are NaN, because the other image's mask is constant or not finite: b 1"
    )
    assert missing(scores[scores["method"] == "c"]) is None


def test_both_cascades_end_in_the_same_scores(tmp_path, monkeypatch):
    """Nested draws: at the last stage all blocks have the same weights, whatever came first."""
    monkeypatch.chdir(tmp_path)
    chosen = ["method=[gradient,smoothgrad,guided_backprop,grad_cam,occlusion,random_mask]"]
    chosen += ["method.smoothgrad.samples=3", "method.occlusion.size=4"]
    keys = ["method", "image", "stage", "metric"]
    tables, masks = [], []
    for order in ("cascading", "cascading_bottom_up"):
        path = sanity.run(overrides=[*ANY, *chosen, f"randomization={order}"])
        tables.append(sanity.load_runs(path).sort_values(keys).set_index("stage"))
        masks.append(sanity.load_masks(path))
    down, up = tables
    assert down["layer"].loc[3].iloc[0] == "stem" and up["layer"].loc[3].iloc[0] == "top"
    for column in ("value", "null"):
        np.testing.assert_array_equal(down[column].loc[3], up[column].loc[3])
        assert np.isfinite(down[column].loc[3]).all()
    for method in masks[0].data_vars:
        np.testing.assert_array_equal(*(m[method].sel(stage=3).values for m in masks))
    of_gradient = down["method"] == "gradient"
    for stage in (1, 2):  # and not before
        assert (down[of_gradient]["value"].loc[stage] != up[of_gradient]["value"].loc[stage]).all()


class Floored(tf.Module):
    """A network of which one variable does what nobody has a word for: it is a lower bound."""

    def __init__(self, bounds):
        super().__init__()
        draw = np.random.default_rng(0)
        self.kernel = tf.Variable(
            draw.normal(0, 0.3, (3, 3, 3, 8)), name="conv/kernel", dtype="float32"
        )
        self.floor = tf.Variable(draw.random(bounds), name="floor/bound", dtype="float32")
        self.head = tf.Variable(draw.normal(0, 0.5, (8, 4)), name="head/kernel", dtype="float32")

    @tf.function(input_signature=[tf.TensorSpec((None, 16, 16, 3), tf.float32)])
    def __call__(self, x):
        x = tf.maximum(tf.nn.conv2d(x, self.kernel, 1, "SAME"), self.floor)
        return {"logits": tf.reduce_mean(x, [1, 2]) @ self.head}


@pytest.mark.parametrize(
    ("bounds", "said", "verdict"),
    [
        ((16, 16, 8), "2,048 of 2,296 trainable parameters survive the full cascade", "invalid"),
        ((1,), "1 of 249 trainable parameters survive the full cascade", "inconclusive"),
    ],
    ids=["most of it", "hardly anything"],
)
def test_what_survives_is_said(tmp_path, monkeypatch, bounds, said, verdict):
    monkeypatch.chdir(tmp_path)
    tf.saved_model.save(Floored(bounds), "floored")
    model = ["model=saved_model", "model.path=floored"]
    quick = ["method=[gradient]", "metric=[ssim]", "data.limit=2", "verdict.dead=0.001"]
    folder = sanity.run(overrides=[*model, *quick])
    info = json.loads((folder / "run.json").read_text())
    size = int(np.prod(bounds))
    assert info["survives"] == {"parameters": size, "of": 248 + size, "variables": ["floor/bound"]}
    (line,) = [x for x in (folder / "sanity.log").read_text().splitlines() if "survive" in x][:1]
    assert f"{said}: floor/bound" in line
    assert ("no verdict is given" in line) == (verdict == "invalid")
    (found,) = info["verdicts"]
    assert found["verdict"] == verdict
    assert (said in found["evidence"]) == (verdict == "invalid")
    assert f"{said}: floor/bound" in (folder / "report.html").read_text()


def test_a_finished_run_says_what_it_was_not_made_with(tmp_path, caplog):
    overrides = [*QUICK, *PICTURES, f"output={tmp_path}", "data.limit=2", "layers.last=1"]
    sanity.run(overrides=overrides)
    caplog.clear()
    sanity.run(overrides=overrides)
    assert "other thresholds" not in caplog.text
    sanity.run(overrides=[*overrides, "verdict.threshold=0.7", "figures=stages"])
    assert "other thresholds" in caplog.text and "drawn with figures=grids" in caplog.text


def test_an_output_that_cannot_be_written_is_named(tmp_path):
    file = tmp_path / "file"
    file.touch()
    for output in (file, file / "below"):
        with pytest.raises(ConfigError, match=r"^Cannot .*; output=\S+ says so: output=FOLDER"):
            sanity.run([*QUICK, f"output={output}"])
    with pytest.raises(ConfigError, match=r"^output=\S+… is no name that a file can have"):
        sanity.run([*QUICK, f"output={tmp_path / ('n' * 300)}"])


def test_seeds_share_noise_and_originals(tmp_path, monkeypatch):
    """`seed` draws the weights, `noise_seed` all else."""
    chosen = [*ANY, "method=[smoothgrad,random_mask]", "method.smoothgrad.samples=2"]
    monkeypatch.chdir(tmp_path)

    def masks(*overrides):
        found = sanity.load_masks(sanity.run(overrides=[*chosen, *overrides]))
        return {name: found[name].values for name in ("smoothgrad", "random_mask")}

    first, other, noisier = masks(), masks("seed=1"), masks("noise_seed=1")
    kept = list(tmp_path.glob("outputs/.originals/*/*.npz"))
    assert len(kept) == 2 * 4  # of two noise seeds, four images
    for name, changes in (("smoothgrad", True), ("random_mask", False)):
        np.testing.assert_array_equal(other[name][:, 0], first[name][:, 0])
        assert (other[name][:, 1:] != first[name][:, 1:]).any() == changes
        assert (noisier[name][:, 0] != first[name][:, 0]).any()


def test_jobs_of_several_threads_take_turns(tmp_path, monkeypatch):
    """They share the network that is kept, whose weights each of them changes."""
    monkeypatch.chdir(tmp_path)
    at_work, together, errors = [], [], []

    def execute(job, hydra):
        at_work.append(job.settings.seed)
        time.sleep(0.05)
        together.append(len(at_work))
        at_work.remove(job.settings.seed)

    def run(seed):
        try:
            sanity.run(overrides=[*ANY, "method=[gradient]", f"seed={seed}"])
        except Exception as error:
            errors.append(error)

    monkeypatch.setattr("sanity.experiment.run._execute", execute)
    threads = [Thread(target=run, args=(seed,)) for seed in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not errors
    assert together == [1, 1, 1]
