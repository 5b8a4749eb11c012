import json
import math

import numpy as np
import pandas as pd
import pytest

from sanity.analysis import intervals
from sanity.analysis.discrimination import TILE, blend, discrimination
from sanity.analysis.relative import relative, unrelated
from sanity.analysis.thresholds import Thresholds
from sanity.analysis.verdict_tables import wholly_random
from sanity.analysis.verdicts import early_scores, early_stages, verdicts
from sanity.analysis.wording import records, word
from sanity.config.job import compose
from sanity.errors import ConfigError
from sanity.metrics import Emprt, Hog, MeanSquaredError, Pearson, Spearman, Ssim, TopK, score
from sanity.results.folder import RunFolder
from sanity.results.recorded import begins_at_output

SSIM = Ssim()
NAMES = [f"image_{i}" for i in range(8)]


def scores_of(values, nulls, method="m", metric="ssim", seed=None, reasons=None):
    """A table from arrays images × stages, stage 0 the identity."""
    images, stages = np.shape(values)
    frame = pd.DataFrame(
        [
            {
                "image": f"image_{i}",
                "method": method,
                "stage": s,
                "layer": f"layer{s}" if s else "",
                "metric": metric,
                "value": float(values[i][s]),
                "null": float(nulls[i][s]),
                "reason": "" if reasons is None else reasons[i][s],
            }
            for i in range(images)
            for s in range(stages)
        ]
    )
    return frame if seed is None else frame.assign(seed=seed)


def predictions_of(share, stages, images=8):
    return pd.DataFrame(
        {
            "image": [f"image_{i}" for i in range(images)] * stages,
            "stage": np.repeat(np.arange(stages), images),
            "between_share": np.repeat(np.broadcast_to(share, stages), images),
        }
    )


def constant(value, images=8, stages=5, spread=0.01):
    around = spread * np.linspace(-1, 1, images)[:, None]
    return np.concatenate([np.ones((images, 1)), np.full((images, stages - 1), value) + around], 1)


def one(scores, share=0.3, metric=SSIM, order="cascading", **options):
    stages = int(scores["stage"].max()) + 1
    predictions = predictions_of(share, stages)
    found = verdicts(scores, predictions, {"ssim": metric}, order, **options)
    assert len(found) == 1
    return found.iloc[0]


@pytest.mark.parametrize(("last", "stop"), [(1, 1), (2, 1), (3, 1), (4, 2), (17, 6), (19, 7)])
def test_early_stages(last, stop):
    assert list(early_stages(last)) == list(range(1, stop + 1))
    assert list(early_stages(last, 1)) == list(range(1, last + 1))


def test_by_hand():
    """S = 4, so stages 1 and 2 count; images × (value, null) at each."""
    values = [[1, 0.8, 0.6, 0, 0], [1, 0.9, 0.7, 0, 0], [1, 0.7, 0.7, 9, 9]]
    nulls = [[0, 0.1, 0.3, 0, 0], [0, 0.2, 0.2, 0, 0], [0, 0.3, 0.1, 9, 9]]
    row = one(scores_of(values, nulls), thresholds=Thresholds(images=3))
    # means over stages: values 0.7, 0.8, 0.7, nulls 0.2 each: r = (2.2/3 - 0.2) / 0.8 = 2/3
    assert row["early"] == pytest.approx(2 / 3)
    assert row["score"] == pytest.approx(2.2 / 3) and row["null"] == pytest.approx(0.2)
    expected = intervals.ratio(np.array([0.5, 0.6, 0.5]), np.full(3, 0.8))
    assert (row["low"], row["high"]) == (expected.low, expected.high)
    p = intervals.p_value(np.array([0.5, 0.6, 0.5]), np.full(3, 0.8), 0.5)
    assert row["p"] == pytest.approx(p) and f"; p {p:.2g}" in row["evidence"]
    assert row["verdict"] == "inconclusive"
    assert row["images"] == 3 and row["seeds"] == 1
    assert (
        f"early similarity 0.67 [{row['low']:.2f}, {row['high']:.2f}] (score 0.73, null 0.20)"
        in row["evidence"]
    )
    assert "stages 1–2 of 4, 3 images, one draw of the weights" in row["evidence"]


@pytest.mark.parametrize(
    ("value", "spread", "verdict"),
    [
        (0.9, 0.01, "insensitive"),
        (0.2, 0.01, "sensitive"),
        (0.55, 0.01, "inconclusive"),  # (0.55 - 0.1) / 0.9 = 0.5
        (0.6, 0.3, "inconclusive"),
    ],
)
def test_verdict_by_the_interval(value, spread, verdict):
    row = one(scores_of(constant(value, spread=spread), constant(0.1, spread=0)))
    assert row["verdict"] == verdict
    assert row["early"] == pytest.approx((value - 0.1) / 0.9)
    assert ("holds 0.5" in row["evidence"]) == (verdict == "inconclusive")


def test_what_is_high_is_relative_to_the_null():
    """0.75 is little where unrelated masks have 0.7."""
    row = one(scores_of(constant(0.75), constant(0.7, spread=0)))
    assert row["verdict"] == "sensitive" and row["early"] == pytest.approx(1 / 6)


@pytest.mark.parametrize(
    ("metric", "null", "verdict"),
    [
        (SSIM, 0.97, "same_for_every_image"),
        (SSIM, 0.85, "sensitive"),
        (MeanSquaredError(), 0.06, "same_for_every_image"),  # of 2 for unrelated masks
        (MeanSquaredError(scale="none"), 0.06, "sensitive"),  # whose scale nobody knows
    ],
)
def test_the_same_mask_for_every_image_is_no_verdict(metric, null, verdict):
    """A fixed pattern with noise: scores are like the nulls, and both are near the identity."""
    row = one(scores_of(constant(null, spread=0), constant(null, spread=0)), metric=metric)
    assert row["verdict"] == verdict
    assert ("different images are nearly the same" in row["evidence"]) == (verdict[:4] == "same")
    if verdict[:4] == "same":
        assert math.isnan(row["p"]) and word(row) == "same for every image"
    lower = Thresholds(alike=0.8)
    assert one(scores_of(constant(0.85), constant(0.85)), thresholds=lower)["verdict"][:4] == "same"


def test_a_distance_is_judged_the_same_way():
    """Identity 0, null 2: a score of 0.2 is a similarity of 0.9."""
    row = one(scores_of(constant(0.2), constant(2.0, spread=0)), metric=MeanSquaredError())
    assert row["verdict"] == "insensitive" and row["early"] == pytest.approx(0.9)


def test_too_few_images_are_inconclusive():
    few = scores_of(constant(0.9, images=4), constant(0.1, images=4))
    row = one(few)
    assert row["verdict"] == "inconclusive" and "4 images are fewer than 5" in row["evidence"]
    assert one(few, thresholds=Thresholds(images=4))["verdict"] == "insensitive"
    single = one(scores_of(constant(0.9, images=1, stages=4), constant(0.1, images=1, stages=4)))
    assert single["verdict"] == "inconclusive" and "1 image is fewer" in single["evidence"]
    assert "over stage 1 of 3, 1 image, one draw of the weights" in single["evidence"]


def test_what_lacks_images_leans_and_says_how_many_it_takes():
    """As many images like these as the least number, or as the correction over methods takes."""
    values = {"near": 0.55, "high": 0.95, "low": 0.1}  # not in the order of their p-values
    methods = [
        scores_of(constant(value, images=3), constant(0.0, images=3, spread=0), method=name)
        for name, value in values.items()
    ]
    found = verdicts(pd.concat(methods), None, {"ssim": SSIM}, "cascading").set_index("method")
    assert (found["verdict"] == "inconclusive").all() and found["p"].isna().all()
    assert found["leans"].to_dict() == {"high": "insensitive", "low": "sensitive"} | {
        "near": "insensitive"
    }
    enough = {name: int(count) for name, count in found["enough"].items()}
    assert word(found.loc["high"]) == f"leans insensitive, 3 of {enough['high']} images"
    assert enough["near"] > enough["low"] > 3
    for images, decided in ((enough["low"], True), (enough["low"] - 1, False)):
        more = [
            scores_of(constant(value, images=images), constant(0.0, images=images, spread=0), name)
            for name, value in values.items()
        ]
        then = verdicts(pd.concat(more), None, {"ssim": SSIM}, "cascading").set_index("method")
        assert (then.loc["low", "verdict"] == "sensitive") == decided
        assert then.loc["low", "leans"] == ("" if decided else "sensitive")


def test_what_no_number_of_images_decides_leans_nowhere():
    """Two draws of the weights that disagree: more images tell nothing of other draws."""
    parts = [
        scores_of(constant(value, images=3), constant(0.0, images=3, spread=0), seed=seed)
        for seed, value in enumerate((0.95, 0.3))
    ]
    row = one(pd.concat(parts))
    assert (row["verdict"], row["leans"]) == ("inconclusive", "") and math.isnan(row["enough"])


def test_a_metric_that_cannot_tell_leans_nowhere():
    blends = pd.DataFrame(
        [{"method": "m", "metric": "ssim", "mostly_own": 0.4, "mostly_other": 0.1}]
    )
    few = scores_of(constant(0.1, images=3), constant(0.0, images=3))
    row = one(few, discrimination=blends)
    assert (row["leans"], math.isnan(row["enough"])) == ("", True)
    assert word(row) == "inconclusive"


def test_what_metrics_contradict_leans_to_depend_on_the_metric():
    parts = [
        scores_of(constant(value, images=3), constant(0.0, images=3), metric=metric)
        for metric, value in (("ssim", 0.05), ("pearson", 0.95))
    ]
    metrics = {"ssim": SSIM, "pearson": Pearson()}
    found = verdicts(pd.concat(parts), None, metrics, "cascading")
    assert word(found.iloc[0]).startswith("may depend on the metric, 3 of ")
    assert word(found.iloc[1]).startswith("leans insensitive, 3 of ")


def test_a_dead_network_says_nothing():
    """The median over the early stages (1 and 2 of 4) counts, not the later ones."""
    scores = scores_of(constant(0.1), constant(0.0))
    dead, alive = [0.97, 0.01, 0.02, 0.9, 0.9], [0.97, 0.3, 0.3, 0.0, 0.0]
    row = one(scores, share=dead)
    assert row["verdict"] == "invalid" and "dead network: 0.015 of" in row["evidence"]
    assert one(scores, share=alive)["verdict"] == "sensitive"
    assert one(scores, share=dead, thresholds=Thresholds(dead=0.01))["verdict"] == "sensitive"
    assert one(scores, share=np.nan)["verdict"] == "sensitive"  # of one image nothing is known
    found = verdicts(scores, None, {"ssim": SSIM}, "cascading")
    assert found["verdict"].tolist() == ["sensitive"]


def test_constant_masks():
    values, nulls = constant(0.1), constant(0.0)
    reasons = np.full(values.shape, "", object)
    values[:3, 2], reasons[:3, 2] = np.nan, "constant mask"
    row = one(scores_of(values, nulls, reasons=reasons), thresholds=Thresholds(images=5))
    assert row["verdict"] == "sensitive" and row["images"] == 5
    assert "3 left out (constant mask)" in row["evidence"]
    late = values.copy()  # what is wrong after the early stages is no reason
    late[:, 4], reasons[:, 4] = np.nan, "mask has NaN"
    row = one(scores_of(late, nulls, reasons=reasons))
    assert "3 left out (constant mask)" in row["evidence"]
    values[:5, 2], reasons[:5, 2] = np.nan, "constant mask"
    row = one(scores_of(values, nulls, reasons=reasons))
    assert row["verdict"] == "invalid" and "constant mask in 5 of 8 images" in row["evidence"]
    values[:, 1] = np.nan
    row = one(scores_of(values, nulls))
    assert row["verdict"] == "invalid" and math.isnan(row["early"])


@pytest.mark.parametrize("order", ["independent", "cascading_bottom_up", "full", None])
def test_other_orders_get_no_verdict(order):
    row = one(scores_of(constant(0.9), constant(0.1)), order=order)
    assert row["verdict"] == "none" and "no cascade" in row["evidence"]
    assert math.isnan(row["early"])


def test_a_cascade_that_leaves_the_last_layer_gets_no_verdict():
    row = one(scores_of(constant(0.9), constant(0.1)), begins_at_output=False)
    assert row["verdict"] == "none" and math.isnan(row["early"])
    assert "begins at layer1, and the network's last layer goes on deciding" in row["evidence"]


@pytest.mark.parametrize(("left", "verdict"), [(30, "invalid"), (10, "insensitive")])
def test_a_cascade_that_leaves_parameters_gets_no_verdict(left, verdict):
    survives = {"parameters": left, "of": 1000, "variables": [f"v{i}" for i in range(7)]}
    row = one(scores_of(constant(0.9), constant(0.1)), survives=survives)
    assert row["verdict"] == verdict
    said = (
        f"{left} of 1,000 trainable parameters survive the full cascade: v0, v1, v2, v3, v4 and 2"
    )
    assert (said in row["evidence"]) == (verdict == "invalid")


def test_what_old_runs_say_of_where_they_begin():
    config = {"model": {"blocks": ["logits", "block8", "stem"]}}
    assert begins_at_output({"layers": ["", "logits", "stem"]}, config)
    assert not begins_at_output({"layers": ["", "block8", "stem"]}, config)
    assert begins_at_output({"layers": ["", "block8"], "begins_at_output": True}, config)
    assert not begins_at_output({"layers": ["", "logits"], "begins_at_output": False}, config)
    for nothing in ({}, {"model": None}, {"model": {"blocks": None}}):
        assert begins_at_output({"layers": ["", "block8"]}, nothing)
    assert begins_at_output({}, config)


def test_metrics_without_identity_and_controls_get_no_verdict():
    scores = scores_of(constant(0.9), constant(0.1))
    row = one(scores, metric=Emprt())
    assert (row["verdict"], row["images"], row["seeds"]) == ("none", 0, 0)
    control = one(scores, controls=["m"])
    assert control["verdict"] == "none" and control["early"] == pytest.approx(8 / 9)
    assert control["evidence"].startswith("a control; early similarity 0.89")


def test_a_null_as_high_as_the_identity():
    equal = scores_of(constant(0.0, spread=0) * [0, 1, 1, 1, 1], constant(0.0, spread=0))
    row = one(equal, metric=MeanSquaredError(scale="none"))
    assert row["verdict"] == "inconclusive"
    assert row["evidence"] == row["why"] == "the null is as high as the identity"


def test_seeds_are_crossed_with_images():
    """Seeds that disagree widen the interval."""
    nulls = constant(0.1, spread=0)
    parts = [scores_of(constant(v), nulls, seed=s) for s, v in enumerate([0.95, 0.9, 0.2])]
    shares = pd.concat([predictions_of(0.3, 5).assign(seed=s) for s in range(3)])
    found = verdicts(pd.concat(parts), shares, {"ssim": SSIM}, "cascading").iloc[0]
    assert found["verdict"] == "inconclusive" and found["seeds"] == 3
    assert found["early"] == pytest.approx((2.05 / 3 - 0.1) / 0.9)
    assert "3 draws of the weights" in found["evidence"]
    alone = verdicts(parts[0], shares, {"ssim": SSIM}, "cascading").iloc[0]
    assert alone["verdict"] == "insensitive" and "one draw" in alone["evidence"]


def test_final_similarity_is_relative_to_unrelated_networks():
    scores = scores_of(constant(0.6, spread=0), constant(0.1))
    assert math.isnan(one(scores)["final"])
    null = pd.DataFrame({"method": "m", "metric": "ssim", "image": NAMES, "value": 0.5})
    row = one(scores, unrelated=null)
    assert row["final_score"] == pytest.approx(0.6) and row["unrelated"] == pytest.approx(0.5)
    assert row["final"] == pytest.approx(0.2)
    assert "final similarity 0.20 (score 0.60, unrelated networks 0.50)" in row["evidence"]


def test_no_final_similarity_where_unrelated_networks_agree():
    """0.95 of unrelated networks: (0.6 - 0.95) / 0.05 is -7 and says nothing."""
    scores = scores_of(constant(0.6, spread=0), constant(0.1))
    null = pd.DataFrame({"method": "m", "metric": "ssim", "image": NAMES, "value": 0.95})
    row = one(scores, unrelated=null)
    assert row["unrelated"] == pytest.approx(0.95) and math.isnan(row["final"])
    assert "final" not in row["evidence"]


@pytest.mark.parametrize(("random", "whole"), [((9, 5), True), ((9, 0), False), ((9, 2), False)])
def test_networks_that_share_trained_blocks_are_not_unrelated(random, whole):
    blocks = [{"name": str(k), "parameters": 9, "randomized": [0, n]} for k, n in enumerate(random)]
    assert wholly_random({"blocks": [*blocks, {"name": "x", "parameters": 0}]}) == whole


@pytest.mark.parametrize(
    ("value", "kept", "lost", "verdict"),
    [
        (0.9, 0.7, 0.2, "insensitive"),
        (0.9, 0.4, 0.1, "insensitive"),  # too strict a metric only strengthens it
        (0.9, 0.9, 0.6, "inconclusive"),
        (0.1, 0.7, 0.2, "sensitive"),
        (0.1, 0.4, 0.1, "inconclusive"),
        (0.1, 0.9, 0.6, "sensitive"),
        (0.9, 0.7, math.nan, "inconclusive"),
    ],
)
def test_what_a_metric_cannot_tell_is_withheld_and_only_that(value, kept, lost, verdict):
    blends = pd.DataFrame(
        {"method": ["m"], "metric": ["ssim"], "mostly_own": [kept], "mostly_other": [lost]}
    )
    scores = scores_of(constant(value), constant(0.0))
    row = one(scores, discrimination=blends)
    assert row["verdict"] == verdict
    assert ("too strict" in row["evidence"]) == (verdict == "inconclusive" and value < 0.5)
    assert ("too lenient" in row["evidence"]) == (verdict == "inconclusive" and value > 0.5)
    assert one(scores, discrimination=blends.assign(method="x"))["verdict"] != "inconclusive"


def several(values, metrics, methods=None, images=8):
    """Scores of methods × metrics with null 0."""
    parts = [
        scores_of(constant(v, images), constant(0.0, images), method=method, metric=metric)
        for method, row in (methods or {"m": values}).items()
        for metric, v in zip(metrics, row, strict=True)
    ]
    return pd.concat(parts)


def test_metrics_that_contradict_each_other_are_the_result():
    metrics = {"ssim": SSIM, "pearson": Pearson(), "hog": Hog()}
    scores = several([0.1, 0.9, 0.5], metrics)
    found = verdicts(scores, None, metrics, "cascading").set_index("metric")
    assert found["verdict"].tolist() == ["depends_on_metric", "insensitive", "inconclusive"]
    said = found.loc["ssim", "evidence"]
    assert said.startswith("sensitive by ssim (magnitude), insensitive by pearson (sign); early")
    assert word(found.loc["ssim"]) == "depends on the metric"
    assert found["primary"].tolist() == [True, False, False]
    assert found["speaks_for"].tolist() == ["magnitude", "sign", "structure"]
    other = verdicts(
        scores, None, metrics, "cascading", thresholds=Thresholds(primary="hog")
    ).set_index("metric")
    assert other["verdict"].tolist() == ["sensitive", "insensitive", "inconclusive"]
    assert other["primary"].tolist() == [False, False, True]


def test_metrics_say_what_they_speak_for():
    assert Ssim(channels="keep", sign="abs").speaks_for == "magnitude"
    assert Ssim(channels="keep").speaks_for == Spearman().speaks_for == "sign"
    assert Hog().speaks_for == "structure"
    assert TopK(fraction=0.2).unrelated == 0.2 and Emprt().unrelated is None


def test_the_primary_metric_is_corrected_for_the_number_of_methods():
    """A p of 0.03 alone is none of 4, and stays by the metric beside it."""
    methods = {f"m{k}": [0.62, 0.62] for k in range(4)}
    metrics = {"ssim": SSIM, "pearson": Pearson()}
    scores = several(None, metrics, methods, images=20)
    noise = 0.4 * np.sin(np.arange(len(scores)) * 2.7)
    scores["value"] = np.where(scores["stage"] > 0, scores["value"] + noise, 1)
    found = verdicts(scores, None, metrics, "cascading")
    first, beside = (found[found["primary"] == which] for which in (True, False))
    alone = np.array(
        [
            verdicts(part, None, metrics, "cascading")["p"].iloc[0]
            for _, part in scores[scores["metric"] == "ssim"].groupby("method")
        ]
    )
    np.testing.assert_allclose(first["p"], intervals.holm(alone))
    assert first["evidence"].str.contains("corrected for 4").all()
    assert not beside["evidence"].str.contains("corrected").any()
    by_interval = (beside["low"] > 0.5).map({True: "insensitive", False: "inconclusive"})
    assert beside["verdict"].tolist() == by_interval.tolist()
    assert (first["p"].to_numpy() >= alone).all() and (first["p"].to_numpy() > alone).any()


def test_a_primary_metric_that_is_none_of_the_runs():
    with pytest.raises(ConfigError, match=r"verdict.primary=hog must be a metric .*: ssim"):
        one(scores_of(constant(0.9), constant(0.1)), thresholds=Thresholds(primary="hog"))
    with pytest.raises(ConfigError, match=r"verdict.primary=emprt must be .*: ssim$"):
        compose(["metric=[ssim,emprt]", "verdict.primary=emprt"])
    assert compose(["verdict.primary=hog"]).settings.verdict.primary == "hog"


def test_records():
    scores = pd.concat(
        [
            scores_of(constant(0.1), constant(0.0), method="gradient"),
            scores_of(constant(0.9), constant(0.0), method="guided_backprop"),
            scores_of(constant(1.0), constant(0.0), method="edge_detector"),
        ]
    )
    found = verdicts(scores, None, {"ssim": SSIM}, "cascading", controls=["edge_detector"])
    rows = json.loads(json.dumps(records(found), allow_nan=False, default=lambda v: v.item()))
    assert rows[0]["verdict"] == "sensitive" and rows[0]["final"] is None


def test_relative_leaves_out_what_has_no_score():
    values, nulls = np.array([0.8, np.nan, 0.6, 0.5]), np.array([0.2, 0.1, np.nan, 0.1])
    found = relative(values, nulls, 1.0)
    assert found.images == 2 and found.mean == pytest.approx((0.6 + 0.4) / (0.8 + 0.9))
    assert math.isnan(relative(values[1:2], nulls[1:2], 1.0).mean)
    assert relative(np.full((2, 3), np.nan), np.zeros((2, 3)), 1.0).seeds == 3
    single = relative(values[:1], nulls[:1], 1.0)
    assert single.mean == pytest.approx(0.75) and math.isnan(single.low)


@pytest.mark.parametrize("shape", [(64, 80), (64, 80, 3), (50, 33), (9, 5)])
@pytest.mark.parametrize("share", [0.25, 0.75])
def test_blends_have_whole_tiles_of_the_next_mask(shape, share):
    n = 4
    masks = np.broadcast_to(np.arange(n).reshape(n, *[1] * len(shape)), (n, *shape))
    found = blend(masks, NAMES[:n], share)
    side = min(TILE, min(shape[:2]) // 4)
    tiles = 0
    for i, image in enumerate(found):
        assert set(np.unique(image)) <= {i, (i + 1) % n}
        taken = 0
        for y in range(0, shape[0], side):
            for x in range(0, shape[1], side):
                tile = image[y : y + side, x : x + side]
                assert len(np.unique(tile)) == 1
                taken += tile.flat[0] != i
        tiles = -(-shape[0] // side) * -(-shape[1] // side)
        assert taken == round(share * tiles)
    np.testing.assert_array_equal(found, blend(masks, NAMES[:n], share))
    if tiles >= 16:
        kept = {(image == i).tobytes() for i, image in enumerate(found)}
        assert len(kept) > 2  # another choice for each image, or nearly


@pytest.mark.parametrize("n", [1, 2])
def test_few_images_are_blended_with_flipped_masks(n):
    masks = np.random.default_rng(0).random((n, 64, 64))
    found = blend(masks, NAMES[:n], 0.75)
    other = masks[(np.arange(n) + 1) % n][:, ::-1]
    assert ((found == masks) | (found == other)).all()
    assert (found == other).mean() == pytest.approx(0.75)


def test_blends_of_noise_have_the_share_of_pixels_kept():
    """Correlations of independent noise are just that."""
    masks = {"m": np.random.default_rng(0).standard_normal((8, 64, 64, 3)).astype(np.float32)}
    metrics = {"pearson": Pearson(), "spearman": Spearman(), "mse": MeanSquaredError()}
    found = discrimination(masks, NAMES, metrics)
    assert len(found) == 3
    np.testing.assert_allclose(found["mostly_own"], 0.75, atol=0.03)
    np.testing.assert_allclose(found["mostly_other"], 0.25, atol=0.03)


def test_metrics_that_do_not_discriminate():
    class Blind(Pearson):
        """Sees a tenth of the difference."""

        def similarity(self, a, b):
            return 0.9 + 0.1 * super().similarity(a, b)

    class Strict(Pearson):
        """Sees nothing but equality."""

        def similarity(self, a, b):
            return (super().similarity(a, b) > 0.999).astype(float)

    class Lenient(Pearson):
        """Sees nothing but unrelated masks."""

        def similarity(self, a, b):
            return (super().similarity(a, b) > 0.15).astype(float)

    class Unbounded(Pearson):
        identity = None

    masks = {"m": np.random.default_rng(0).standard_normal((8, 64, 64)).astype(np.float32)}
    kinds = {"blind": Blind, "strict": Strict, "lenient": Lenient, "unbounded": Unbounded}
    found = discrimination(masks, NAMES, {name: kind() for name, kind in kinds.items()})
    found = found.set_index("metric")
    assert set(found.index) == {"blind", "strict", "lenient"}
    # What the blind one sees is relative to its null.
    assert found.loc["blind", ["mostly_own", "mostly_other"]].tolist() == pytest.approx(
        [0.75, 0.25], abs=0.03
    )
    assert found.loc["strict", "mostly_own"] == 0 and found.loc["lenient", "mostly_other"] == 1


def test_constant_masks_discriminate_nothing():
    masks = {"m": np.ones((6, 64, 64), np.float32)}
    found = discrimination(masks, NAMES[:6], {"ssim": Ssim()})
    assert found[["mostly_own", "mostly_other"]].isna().all(axis=None)


def write_masks(path, masks, images):
    with RunFolder.open(path, {"seed": 0}) as run:
        run.start({})
        run.create_masks(images, ["", "top"], {"m": masks.shape[2:]})
        for stage in range(2):
            run.write_masks("m", range(len(images)), stage, masks[stage])
        run.write_unit("a", scores_of([[1.0, 0.5]], [[0, 0]]).assign(target=0))
        run.complete()


def test_unrelated_networks_masks_are_compared_image_by_image(tmp_path):
    draws = np.random.default_rng(0).standard_normal((3, 2, 2, 16, 16)).astype(np.float32)
    for name, masks in zip("abc", draws, strict=True):
        write_masks(tmp_path / name, masks, ["x", "y"])
    runs = [tmp_path / name for name in "abc"]
    metrics = {"pearson": Pearson()}
    assert unrelated(runs[:1], metrics) is None
    two = unrelated(runs[:2], metrics)
    assert two is not None
    np.testing.assert_allclose(two["value"], score(Pearson(), draws[0, 1], draws[1, 1]))
    three = unrelated(runs, metrics)
    assert three is not None
    assert three["image"].tolist() == ["x", "y"]
    pairs = [score(Pearson(), draws[a, 1], draws[b, 1]) for a, b in [(0, 1), (1, 2), (2, 0)]]
    np.testing.assert_allclose(three["value"], np.mean(pairs, axis=0))


def test_thresholds_are_configured_and_change_no_run_id():
    job = compose(["verdict.threshold=0.7", "verdict.images=4", "verdict.early=2"])
    assert job.settings.verdict == Thresholds(threshold=0.7, images=4, early=2)
    assert job.run_id == compose().run_id


@pytest.mark.parametrize(("key", "value"), [("threshold", 1.5), ("images", 1), ("dead", -1)])
def test_thresholds_that_cannot_be(key, value):
    with pytest.raises(ConfigError, match=rf"verdict\.{key}={value}"):
        compose([f"verdict.{key}={value}"])


def test_scores_are_averaged_over_stages_as_pandas_pivots_them():
    """Rows in any order; an image that lacks one at a stage is left out."""
    draw = np.random.default_rng(0)
    keys = [(i, s, k) for i in ("b", "é", "a") for s in (1, 0) for k in range(21)]
    table = pd.DataFrame(keys, columns=["image", "seed", "stage"])
    table = table.assign(value=draw.random(len(keys)), null=0.1).sample(frac=1, random_state=0)
    lost = (table["image"] == "b") & (table["seed"] == 1) & (table["stage"] == 7)
    values, nulls = early_scores(table[~lost], range(1, 20))
    early = table[table["stage"].between(1, 19) & (table["image"] != "b")]
    expected = early.pivot_table("value", "image", "seed")  # their mean
    np.testing.assert_allclose(values, expected, rtol=1e-14)
    np.testing.assert_allclose(nulls, np.full((2, 2), 0.1), rtol=1e-14)
    with pytest.raises(ValueError, match="several scores of one image"):
        early_scores(pd.concat([table, table]), range(1, 20))
