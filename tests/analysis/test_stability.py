import numpy as np
import pandas as pd
import pytest

from sanity.analysis.intervals import ratio
from sanity.analysis.schemes import load_schemes
from sanity.analysis.stability import TRIED, by_threshold, for_width
from sanity.analysis.verdict_tables import evidence
from sanity.analysis.verdicts import Measured, early_scores
from tests.report.runs import make_run

IMAGES = [f"image_{k}" for k in range(8)]


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    folder = tmp_path_factory.mktemp("runs")
    for seed in (0, 1, 2):
        make_run(folder / str(seed), seed=seed, images=IMAGES)
    return folder


@pytest.fixture(scope="module")
def known(runs):
    (found,) = evidence([runs], load_schemes([runs])).values()
    return found


def test_each_threshold_is_moved_alone(known, monkeypatch):
    found = by_threshold(known).set_index(["threshold", "value"])
    assert len(found) == sum(map(len, TRIED.values()))
    assert (
        found.loc[[("threshold", "0.5"), ("early", "3"), ("dead", "0.05")], "changed"].eq(0).all()
    )
    assert found.loc[("threshold", "0.5"), "guided_backprop"] == "insensitive"
    assert found.loc[("images", "10"), "guided_backprop"] == "leans insensitive, 8 of 10 images"
    assert found.loc[("images", "10"), "changed"] == 2
    assert "edge_detector" not in found
    monkeypatch.setattr("sanity.analysis.stability.TRIED", {"early": (3,)})
    strict = by_threshold(known, {"threshold": 0.95}).set_index(["threshold", "value"])
    assert strict.loc[("early", "3"), "guided_backprop"] != "insensitive"


def test_verdicts_by_what_was_measured_before_are_the_same(known):
    measured = Measured()
    for changes in ({}, {"early": 1}, {"alike": 0.1}, {"early": 1, "threshold": 0.95}):
        found = known.verdicts(changes, measured)
        pd.testing.assert_frame_equal(found, known.verdicts(changes), check_exact=True)


def test_images_and_seeds_for_a_width(known):
    found = for_width(known, 0.1).set_index("method")
    assert list(found.index) == ["gradient", "guided_backprop"]
    assert found["seeds"].tolist() == [3, 3] and found["images"].tolist() == [8, 8]
    part = known.scores[(known.scores["metric"] == "ssim") & (known.scores["method"] == "gradient")]
    values, nulls = early_scores(part, range(1, 2))
    count = int(found.loc["gradient", "with 5 seeds"])
    rows = np.resize(np.arange(8), count - count % 8)
    five = np.resize(np.arange(3), 6)
    got = ratio((values - nulls)[rows][:, five], (1 - nulls)[rows][:, five])
    assert got.high - got.low == pytest.approx(0.1, abs=0.03)


def test_one_seed_does_not_say_how_seeds_differ(tmp_path):
    run = make_run(tmp_path / "one", images=IMAGES)
    (known,) = evidence([run], load_schemes([run])).values()
    found = for_width(known, 0.1).iloc[0]
    assert int(found["with 1 seed"]) > 8 and found["with 2 seeds"] == "–"
