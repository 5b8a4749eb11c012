"""What a run says at its end: verdicts that cannot be given, and scores that are NaN."""

import json

import numpy as np
import pandas as pd
import pytest

import sanity
from sanity.compare import main as compare
from sanity.report.summary import missing
from tests.pieces import ANY


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
    assert said in capsys.readouterr().out


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
