"""The default job's findings: Adebayo et al.'s on the embedded model."""

import json

import numpy as np
import pytest

import sanity

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def scores(default_run):
    return sanity.load_runs(default_run.folder)


@pytest.fixture(scope="module")
def ssim(scores):
    """Means over the images, stages × methods."""
    chosen = scores[scores["metric"] == "ssim"]
    return chosen.pivot_table(
        index="layer", columns="method", values="value", observed=True, sort=False
    )


def test_guided_backprop_does_not_notice(ssim):
    assert ssim.loc["logits", "guided_backprop"] >= 0.9
    assert ssim.loc["logits", "gradient"] <= 0.5
    assert ssim.loc["block8", "guided_backprop"] - ssim.loc["block8", "gradient"] >= 0.25
    assert (ssim.loc["stem", ["guided_backprop", "gradient"]] < 0.3).all()


def test_it_decides(default_run):
    """By the primary metric, corrected over five methods, with no more images than that takes."""
    rows = json.loads((default_run.folder / "run.json").read_text())["verdicts"]
    found = {row["method"]: row["verdict"] for row in rows if row["primary"]}
    assert found["guided_backprop"] == "insensitive"
    assert found["gradient"] == found["smoothgrad"] == "sensitive"
    assert not {"inconclusive", "invalid"} & set(found.values())


def test_controls(scores):
    edges = scores[scores["method"] == "edge_detector"]
    np.testing.assert_allclose(edges["value"], 1, atol=1e-9)
    chance = scores[
        (scores["method"] == "random_mask")
        & scores["metric"].isin(["spearman", "spearman_abs"])
        & (scores["stage"] > 0)
    ]
    assert chance["value"].abs().max() < 0.02


def test_every_method_is_itself_at_stage_0(scores):
    np.testing.assert_allclose(scores.loc[scores["stage"] == 0, "value"], 1, atol=1e-9)


def test_everything_is_there(default_run, scores):
    assert len(scores) == 7 * 7 * 20 * 4
    assert not scores["value"].isna().any()
    info = json.loads((default_run.folder / "run.json").read_text())
    assert info["status"] == "completed"
    assert info["counts"]["gradients"] == 51 * 7 * 20
    predictions = sanity.load_predictions(default_run.folder)
    assert len(predictions) == 7 * 20
    assert (predictions.loc[predictions["stage"] == 0, "between_share"] > 0.9).all()
    masks = sanity.load_masks(default_run.folder)
    assert set(masks.data_vars) == set(scores["method"].unique())
    assert np.isfinite(masks.integrated_gradients.sel(stage=19)).all()
    assert {path.name for path in (default_run.folder / "figures").iterdir()} >= {
        "curves.pdf",
        "curves.png",
        "imagenet_00_signed.png",
        "imagenet_02_signed.png",
    }


def test_the_log_says_what_happened(default_run):
    log = (default_run.folder / "sanity.log").read_text()
    for stage, layer in enumerate(["logits", "head", "block15"], start=1):
        assert f"stage {stage:2d}  {layer}: " in log
    assert "evidence (run.json) are in" in log
    assert "glyph" not in log
