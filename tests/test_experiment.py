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
