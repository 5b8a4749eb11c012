import importlib
import itertools
import math
import subprocess
import sys
from collections import Counter
from dataclasses import fields, replace
from functools import cache
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from saliency.core import VisualizeImageDiverging, VisualizeImageGrayscale
from scipy.ndimage import gaussian_filter, uniform_filter
from scipy.spatial.distance import cosine
from scipy.stats import pearsonr, rankdata, spearmanr
from skimage.feature import hog
from skimage.measure import block_reduce
from skimage.metrics import structural_similarity
from sklearn.metrics import mean_squared_error, normalized_mutual_info_score

from sanity.checked import checked
from sanity.errors import ConfigError
from sanity.metrics import (
    Cosine,
    Features,
    Hog,
    MeanSquaredError,
    Metric,
    MutualInformation,
    Pearson,
    Preparation,
    Spearman,
    Ssim,
    TopK,
    reasons,
    score,
)
from sanity.metrics.base import all_features, check_sizes
from sanity.metrics.directions import average_ranks
from sanity.metrics.oriented import describe
from sanity.metrics.preparation import _percentile
from sanity.metrics.windows import gaussian, windowed

CONF = Path(__file__).parents[2] / "conf" / "metric"
# All similarities of two masks; tests/test_regions.py and tests/test_emprt.py have the others.
OPTIONS = sorted({path.stem for path in CONF.glob("*.yaml")} - {"region_share", "emprt"})
SCALES = ["none", "min_max", "max_abs", "percentile", "diverging", "second_moment"]


@cache
def node(name: str) -> dict:
    return yaml.safe_load((CONF / f"{name}.yaml").read_text())


def metric(name: str, **changes):
    """The metric of an option, as its YAML says but for some changes."""
    values = node(name)[name] | changes
    module, _, cls = values.pop("_target_").rpartition(".")
    return getattr(importlib.import_module(module), cls)(**values)


def make(kind: str, shape=(3, 56, 60, 3), seed: int = 0) -> np.ndarray:
    random = np.random.default_rng([seed, sum(kind.encode())])
    masks = {
        "normal": lambda: random.standard_normal(shape),
        "positive": lambda: random.random(shape) + 0.1,
        "negative": lambda: -random.random(shape) - 0.1,
        "cauchy": lambda: random.standard_cauchy(shape),
        "tied": lambda: random.integers(-2, 3, shape),
        "sparse": lambda: random.standard_normal(shape) * (random.random(shape) < 0.15),
        "tiny": lambda: random.standard_normal(shape) * 1e-38,
        "huge": lambda: random.uniform(-3e38, 3e38, shape),
    }[kind]()
    return masks.astype(np.float32)


KINDS = ["normal", "positive", "negative", "cauchy", "tied", "sparse", "tiny", "huge"]
SHAPES = [(3, 56, 60, 3), (3, 56, 60)]


# Preparation


def prepared(m: Preparation, mask: np.ndarray) -> np.ndarray:
    """One mask (H, W[, C]) prepared step by step, (H', W', C)."""
    x = mask.astype(np.float64)
    x = x if x.ndim == 3 else x[..., None]
    x = {
        "keep": lambda: x,
        "sum": lambda: x.sum(-1, keepdims=True),
        "sum_abs": lambda: np.abs(x).sum(-1, keepdims=True),
        "max_abs": lambda: np.abs(x).max(-1, keepdims=True),
    }[m.channels]()
    x = np.abs(x) if m.sign == "abs" else x
    whole = x[: x.shape[0] // m.pool * m.pool, : x.shape[1] // m.pool * m.pool]
    x = block_reduce(whole, (m.pool, m.pool, 1), np.mean)
    p = np.percentile(x, m.percentile)
    x = {
        "none": lambda: x,
        "min_max": lambda: (x - x.min()) / (x.max() - x.min()),
        "max_abs": lambda: x / np.abs(x).max(),
        "percentile": lambda: (x - x.min()) / (p - x.min()),
        "diverging": lambda: (x + abs(p)) / (2 * abs(p)),
        "second_moment": lambda: x / np.sqrt(np.mean(x**2)),
    }[m.scale]()
    return x if m.clip is None else np.clip(x, *m.clip)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("scale", SCALES)
@pytest.mark.parametrize("channels", ["sum", "sum_abs", "max_abs", "keep"])
def test_preparation_is_what_its_definition_says(channels, scale, kind):
    for sign, pool, clip, shape in itertools.product(
        ["signed", "abs"], [1, 4], [None, [-0.5, 0.75]], [(2, 26, 29, 3), (2, 26, 29)]
    ):
        m = Preparation(channels=channels, sign=sign, pool=pool, scale=scale, clip=clip)
        masks = make(kind, shape)
        found, problems = m.prepare(masks)
        expected = np.stack([prepared(m, mask) for mask in masks])
        constant = np.array([np.ptp(x, (0, 1)).max() == 0 for x in expected])  # by the clip
        assert list(problems) == ["constant mask" if c else "" for c in constant]
        assert found.dtype == np.float64
        np.testing.assert_allclose(
            np.moveaxis(found, 1, -1)[~constant], expected[~constant], rtol=1e-12, atol=1e-12
        )
        assert not found[constant].any()


@pytest.mark.parametrize("channels", ["sum", "sum_abs", "max_abs", "keep"])
@pytest.mark.parametrize("kind", [np.int8, np.uint8, np.int16, np.float16, bool])
def test_masks_of_any_type_are_numbers(kind, channels):
    """Also the least number of a type, whose absolute value it cannot hold."""
    masks = np.array([[[-128, 127], [0, 1]], [[5, -128], [3, 2]]]).astype(kind)[..., None]
    m = Preparation(channels=channels)
    assert np.array_equal(m.prepare(masks)[0], m.prepare(masks.astype(np.float64))[0])


@pytest.mark.parametrize("kind", ["normal", "cauchy", "tied", "negative"])
def test_scales_of_pair(kind):
    masks = make(kind).astype(np.float64)
    for m, pair in [
        (metric("spearman_abs_paper_code"), VisualizeImageGrayscale),
        (metric("spearman_paper_code"), VisualizeImageDiverging),
    ]:
        found, _ = m.prepare(masks)
        np.testing.assert_allclose(found[:, 0], [pair(x) for x in masks], rtol=1e-12, atol=1e-12)


def test_preparation_by_hand():
    mask = np.array([[[[1, -2], [-3, 1]], [[0, 4], [5, -1]]]], np.float32)
    expected = {
        "sum": [-1, -2, 4, 4],
        "sum_abs": [3, 4, 4, 6],
        "max_abs": [2, 3, 4, 5],
        "keep": [1, -3, 0, 5, -2, 1, 4, -1],
    }
    for channels, values in expected.items():
        assert Preparation(channels=channels).prepare(mask)[0].ravel().tolist() == values
    absolute = Preparation(sign="abs").prepare(mask)[0]
    assert absolute.ravel().tolist() == [1, 2, 4, 4]  # of the sum, unlike sum_abs
    halves = {"min_max": [1 / 6, 0, 1, 1], "max_abs": [-0.25, -0.5, 1, 1]}
    for scale, values in halves.items():
        assert Preparation(scale=scale).prepare(mask)[0].ravel().tolist() == values
    pooled = Preparation(pool=2, channels="keep").prepare(np.repeat(mask, 3, axis=2))[0]
    np.testing.assert_allclose(pooled[0, :, 0], [[0.5, 0.75, 1], [1, 0.5, 0]])


def test_order_of_preparation():
    mask = np.array([[[-3, 1, 1, 1], [1, 1, 2, 4]]], np.float32)
    # Absolute values before the mean, the mean before the scale, the scale before the clip.
    m = Preparation(sign="abs", pool=2, scale="max_abs", clip=[0, 0.9])
    np.testing.assert_allclose(m.prepare(mask)[0].ravel(), [0.75, 0.9])
    np.testing.assert_allclose(replace(m, clip=None).prepare(mask)[0].ravel(), [0.75, 1])
    np.testing.assert_allclose(
        replace(m, clip=None, sign="signed").prepare(mask)[0].ravel(), [0, 1]
    )


# Each option against libraries


def reference(m: Metric, a: np.ndarray, b: np.ndarray) -> float:
    """The score of one mask with one other, by the libraries."""
    x, y = prepared(m, a), prepared(m, b)
    correlation = {"pearson": pearsonr, "spearman": spearmanr}
    if isinstance(m, Ssim):
        window = {} if m.gaussian_weights else {"win_size": m.window}
        return structural_similarity(
            x,
            y,
            data_range=m.data_range,
            gaussian_weights=m.gaussian_weights,
            sigma=m.sigma,
            use_sample_covariance=m.use_sample_covariance,
            channel_axis=-1,
            **window,
        )
    if isinstance(m, Hog):
        options = {
            "orientations": m.orientations,
            "pixels_per_cell": (m.pixels_per_cell,) * 2,
            "cells_per_block": (m.cells_per_block,) * 2,
            "block_norm": m.block_norm,
            "channel_axis": -1,
        }
        return correlation[m.correlation](hog(x, **options), hog(y, **options))[0]
    if isinstance(m, MutualInformation):
        labels = [
            np.digitize(v, np.linspace(v.min(), v.max(), m.bins + 1)[1:-1])
            for v in (x.ravel(), y.ravel())
        ]
        return normalized_mutual_info_score(*labels)
    x, y = x.ravel(), y.ravel()
    if isinstance(m, TopK):
        return 1 - cosine(belonging(x, m.fraction), belonging(y, m.fraction))
    if isinstance(m, Cosine):
        return 1 - cosine(x, y)
    if isinstance(m, MeanSquaredError):
        return mean_squared_error(x, y)
    return correlation[type(m).__name__.lower()](x, y)[0]


def belonging(values: np.ndarray, fraction: float) -> list[float]:
    """How far each value belongs to the k largest."""
    k = max(1, round(fraction * len(values)))
    counts = Counter(values.tolist())
    share, left = {}, k
    for value in sorted(counts, reverse=True):
        taken = min(counts[value], left)
        share[value], left = taken / counts[value], left - taken
    return [share[value] for value in values.tolist()]


CHANGES = {
    "ssim": [{"gaussian_weights": False}, {"sigma": 0.8, "use_sample_covariance": True}],
    "ssim_paper_text": [{"window": 9, "channels": "keep"}],
    "hog": [
        {"pixels_per_cell": 7, "cells_per_block": 2, "orientations": 5, "block_norm": "L1"},
        {"block_norm": "L2", "channels": "keep", "correlation": "spearman"},
    ],
    "pearson": [{"channels": "keep", "pool": 3}],
    "spearman": [{"channels": "keep"}, {"sign": "abs", "pool": 2}],
    "top_k": [{"fraction": 0.01}, {"channels": "keep", "fraction": 0.5}],
    "mse": [{"scale": "none"}, {"channels": "keep", "scale": "min_max"}],
    "mutual_information": [{"bins": 5, "channels": "keep"}, {"scale": "none", "clip": None}],
}
CASES = [(name, {}) for name in OPTIONS] + [(n, c) for n, cs in CHANGES.items() for c in cs]


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(("name", "changes"), CASES, ids=[f"{n}-{c}" for n, c in CASES])
def test_option_equals_the_libraries(name, changes, kind):
    m = metric(name, **changes)
    for shape in SHAPES:
        a, b = make(kind, shape), make(kind, shape, seed=1)
        b[1] = a[1] / 2 + b[1] / 4  # related
        b[2] = -a[2]
        found = score(m, a, b)
        assert found.dtype == np.float64 and found.shape == (3,)
        if kind == "huge" and m.scale == "none" and isinstance(m, MeanSquaredError):
            assert np.isfinite(found).all()
            continue
        expected = [reference(m, x, y) for x, y in zip(a, b, strict=True)]
        np.testing.assert_allclose(found, expected, rtol=1e-11, atol=_tolerance(m, kind))


def _tolerance(m: Metric, kind: str) -> float:
    """scikit-image adds up histograms in single precision, which gives ties an order by chance."""
    if not isinstance(m, Hog):
        return 1e-11
    return 2e-3 if m.correlation == "spearman" and kind == "tied" else 1e-6


def test_paper_code():
    """The notebook's lines, with its normalization in double precision."""
    a, b = make("cauchy"), make("cauchy", seed=1) / 9 + make("cauchy")

    def normalize_image(x):
        return (x - x.min()) / (x.max() - x.min())

    for x, y, *found in zip(
        a.astype(np.float64),
        b.astype(np.float64),
        score(metric("ssim_paper_code"), a, b),
        score(metric("hog_paper_code"), a, b),
        score(metric("spearman_paper_code"), a, b),
        score(metric("spearman_abs_paper_code"), a, b),
        strict=True,
    ):
        unit, other = normalize_image(x), normalize_image(y)
        options = {"pixels_per_cell": (16, 16), "channel_axis": -1}
        expected = [
            structural_similarity(
                unit, other, gaussian_weights=True, channel_axis=-1, data_range=2
            ),
            spearmanr(hog(unit, **options), hog(other, **options))[0],
            spearmanr(VisualizeImageDiverging(x).ravel(), VisualizeImageDiverging(y).ravel())[0],
            spearmanr(VisualizeImageGrayscale(x).ravel(), VisualizeImageGrayscale(y).ravel())[0],
        ]
        for one, other, atol in zip(found, expected, (0, 1e-6, 0, 0), strict=True):
            np.testing.assert_allclose(one, other, rtol=1e-12, atol=atol)


# By hand


def test_directions_by_hand():
    a = np.array([[[1, 2], [2, 4]]], np.float32)
    b = np.array([[[4, 1], [3, 2]]], np.float32)
    assert score(Cosine(), a, b) == pytest.approx(20 / math.sqrt(25 * 30))
    # Deviations (-1.25, -0.25, -0.25, 1.75) and (1.5, -1.5, 0.5, -0.5).
    assert score(Pearson(), a, b) == pytest.approx(-2.5 / math.sqrt(4.75 * 5))
    # Ranks (1, 2.5, 2.5, 4) and (4, 1, 3, 2).
    assert score(Spearman(), a, b) == pytest.approx(-3 / math.sqrt(4.5 * 5))


def test_top_k_by_hand():
    a = np.array([[[9, 8, 1, 2, 3, 4, 5, 6]]], np.float32)
    b = np.array([[[9, 1, 8, 2, 3, 4, 5, 6]]], np.float32)
    assert score(TopK(fraction=0.25), a, b) == pytest.approx(1 / 2)
    assert score(TopK(fraction=0.5), a, b) == pytest.approx(3 / 4)
    assert score(TopK(fraction=0.01), a, b) == pytest.approx(1)  # at least one pixel
    tied = np.array([[[9, 5, 5, 5, 0, 0, 0, 0]]], np.float32)
    # The second place is shared by three: (1, 1/3, 1/3, 1/3, 0, …) with (1, 1, 0, 0, 0, …).
    assert score(TopK(fraction=0.25), tied, a) == pytest.approx(4 / 3 / math.sqrt(4 / 3 * 2))
    assert score(TopK(fraction=0.25), tied, tied) == pytest.approx(1)


def test_top_k_shares_a_tie_as_random_tie_breaks_would():
    values = np.array([3, 1, 2, 2, 1, 2], np.float32)
    members = np.zeros(6)
    orders = list(itertools.permutations(range(6)))
    for order in orders:
        members[sorted(order, key=lambda i: -values[i])[:3]] += 1 / len(orders)
    kept = TopK(fraction=0.5).features(values[None, None]).parts["direction"][0]
    np.testing.assert_allclose(kept, members / np.linalg.norm(members))


def test_mean_squared_error_by_hand():
    a = np.array([[[1, -1], [1, -1]]], np.float32)
    b = np.array([[[3, 3], [-3, 3]]], np.float32)
    assert score(MeanSquaredError(scale="none"), a, b) == (4 + 16 + 16 + 16) / 4
    assert score(MeanSquaredError(), a, 2 * a) == 0
    assert score(MeanSquaredError(), a, -2 * a) == 4
    m = make("normal"), make("normal", seed=1)
    np.testing.assert_allclose(score(MeanSquaredError(), *m), 2 - 2 * score(Cosine(), *m))


def test_mutual_information_by_hand():
    a = np.array([[[0, 0, 1, 1]]], np.float32)
    b = np.array([[[0, 1, 0, 1]]], np.float32)
    c = np.array([[[0, 0, 0, 1]]], np.float32)
    m = MutualInformation(scale="none", bins=2, clip=None)
    np.testing.assert_allclose(score(m, a, b), 0, atol=1e-15)
    half, quarter, rest = (-p * math.log(p) for p in (0.5, 0.25, 0.75))
    h_a, h_c, h_ac = 2 * half, quarter + rest, half + 2 * quarter
    np.testing.assert_allclose(score(m, a, c), 2 * (h_a + h_c - h_ac) / (h_a + h_c))


def test_ssim_by_hand():
    """One window of 3 pixels a side, so one product."""
    a = np.arange(9, dtype=np.float32).reshape(1, 3, 3)
    b = a[:, ::-1] * 2
    m = Ssim(scale="none", clip=None, gaussian_weights=False, window=3, data_range=10)
    x, y = a.ravel().astype(float), b.ravel().astype(float)
    c1, c2 = 0.1**2, 0.3**2
    luminance = (2 * x.mean() * y.mean() + c1) / (x.mean() ** 2 + y.mean() ** 2 + c1)
    structure = (2 * np.mean((x - 4) * (y - 8)) + c2) / (x.var() + y.var() + c2)
    assert score(m, a, b) == pytest.approx(luminance * structure, rel=1e-12)


def test_hog_by_hand():
    """Edges of one direction only share it with themselves."""
    ramp = np.tile(np.arange(16, dtype=np.float32), (1, 16, 1))
    m = Hog(pixels_per_cell=16, cells_per_block=1, orientations=4, block_norm="L2")
    across = np.swapaxes(ramp, 1, 2)
    np.testing.assert_allclose(score(m, ramp, ramp * 3), 1)
    # (1, 0, 0, 0) with (0, 0, 1, 0): deviations 3/4 and -1/4.
    np.testing.assert_allclose(score(m, ramp, across), -1 / 3)


@given(
    arrays(
        np.float64,
        st.tuples(st.integers(1, 3), st.integers(1, 40)),
        elements=st.one_of(st.integers(-3, 3).map(float), st.floats(-1e300, 1e300)),
    )
)
def test_average_ranks_are_scipys(values):
    np.testing.assert_array_equal(average_ranks(values), rankdata(values, axis=1))


def test_ranks_of_values_that_differ_in_their_last_bits():
    values = 1 + np.random.default_rng(0).integers(-40, 40, (3, 2000)) * 2.0**-52
    values[1] *= -1
    values[2, ::2] = -0.0
    np.testing.assert_array_equal(average_ranks(values), rankdata(values, axis=1))
    np.testing.assert_array_equal(average_ranks(values[:, ::3]), rankdata(values[:, ::3], axis=1))


@given(
    arrays(np.float64, (2, 37), elements=st.floats(-1e300, 1e300)),
    st.one_of(st.sampled_from([0.001, 50.0, 99.0, 100.0]), st.floats(0.001, 100)),
)
def test_percentiles_are_numpys_to_the_bit(values, percentile):
    for n in (1, 2, 37):
        expected = np.percentile(values[:, :n], percentile, axis=1)
        np.testing.assert_array_equal(_percentile(values[:, :n], percentile), expected)


@pytest.mark.parametrize("shape", [(11, 11), (11, 40), (27, 12), (64, 43)])
@pytest.mark.parametrize("side", [3, 11])
def test_windows_are_scipys(shape, side):
    x = np.random.default_rng(0).standard_normal((2, *shape))
    inside = np.s_[:, side // 2 : shape[0] - side // 2, side // 2 : shape[1] - side // 2]
    uniform = uniform_filter(x, side, axes=(1, 2))[inside]
    np.testing.assert_allclose(windowed(x, (1 / side,) * side), uniform, atol=1e-14)
    smooth = gaussian_filter(x, 1.5, radius=side // 2, axes=(1, 2))[inside]
    np.testing.assert_allclose(windowed(x, gaussian(1.5, side)), smooth, atol=1e-14)


@pytest.mark.parametrize("orientations", [2, 4, 9, 12, 300])
def test_gradients_along_the_axes_and_diagonals(orientations):
    """Where angles lie on the edges of bins, and opposite directions are one orientation."""
    steps = np.random.default_rng(0).integers(-2, 3, (3, 1, 40, 33)).astype(float)
    for norm in ("L1", "L1-sqrt", "L2", "L2-Hys"):
        expected = [hog(x[0], orientations, (8, 8), (2, 2), norm) for x in steps]
        found = describe(steps, orientations, 8, 2, norm)
        np.testing.assert_allclose(found, expected, atol=1e-6)


@pytest.mark.parametrize("channels", [1, 2, 3])
@pytest.mark.parametrize("norm", ["L1", "L2-Hys"])
def test_faint_gradients_are_described_as_by_scikit_image(channels, norm):
    """By which its epsilon is not small, so that the size of a cell matters."""
    x = 3e-5 * np.random.default_rng(0).standard_normal((2, channels, 32, 32))
    expected = [hog(np.moveaxis(m, 0, -1), 9, (8, 8), (2, 2), norm, channel_axis=-1) for m in x]
    np.testing.assert_allclose(describe(x, 9, 8, 2, norm), expected, atol=1e-6)


# What has no score


BAD = {
    "constant mask": lambda x: np.full_like(x, 0.1),
    "mask has NaN": lambda x: np.where(np.arange(x.shape[1])[:, None, None] == 2, np.nan, x),
    "mask has infinity": lambda x: np.where(x == x.max(), -np.inf, x),
}


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("reason", BAD)
@pytest.mark.parametrize("name", OPTIONS)
def test_bad_masks_have_a_reason_and_no_score(name, reason, shape):
    m = metric(name)
    good, other = make("cauchy", (4, *shape[1:])), make("cauchy", (4, *shape[1:]), seed=1)
    bad = good.copy()
    bad[1] = BAD[reason](good[1:2] if good.ndim == 4 else good[1:2, ..., None]).reshape(shape[1:])
    expected = score(m, good, other)
    found = m.features(bad), m.features(other)
    for pair in (found, found[::-1]):
        values = m.compare(*pair)
        assert np.isnan(values[1])
        np.testing.assert_allclose(np.delete(values, 1), np.delete(expected, 1), rtol=1e-12)
        assert reasons(*pair) == ["", reason, "", ""]
    assert reasons(found[0]) == ["", reason, "", ""]
    assert reasons(found[1]) == [""] * 4
    assert np.isnan(m.compare(found[0], found[0])[1])  # nor with itself


@pytest.mark.parametrize("name", OPTIONS)
def test_masks_may_all_be_bad(name):
    m = metric(name)
    zeros = np.zeros((2, 64, 64, 3), np.float32)
    assert np.isnan(score(m, zeros, zeros)).all()
    assert reasons(m.features(zeros)) == ["constant mask"] * 2


def test_first_problem_is_the_reason():
    m = Pearson()
    a = m.features(np.stack([np.full((4, 4), np.nan), np.eye(4), np.eye(4)]))
    b = m.features(np.stack([np.ones((4, 4)), np.ones((4, 4)), np.eye(4)]))
    assert reasons(a, b) == ["mask has NaN", "constant mask", ""]


@pytest.mark.parametrize("name", ["ssim", "hog", "spearman_paper_code", "mutual_information"])
def test_mask_without_spread_to_scale_by(name):
    m, other = metric(name), make("normal", (1, 64, 64))
    spike = np.zeros((1, 64, 64), np.float32)
    spike[0, 30, 30] = 1  # the 99th percentile is the minimum
    assert np.isnan(score(m, spike, other)).all()
    assert reasons(m.features(spike)) == ["mask cannot be scaled"]
    assert np.isfinite(score(metric(name, scale="min_max"), spike, other)).all()


def test_clip_can_make_a_mask_constant():
    assert reasons(Pearson(clip=[10, 11]).features(make("normal"))) == ["constant mask"] * 3


def test_channels_that_differ_but_are_constant():
    masks = np.broadcast_to(np.float32([1, 2, 3]), (1, 8, 8, 3))
    assert reasons(Pearson(channels="keep").features(masks)) == ["constant mask"]


def test_hog_of_a_mask_without_gradients():
    board = (np.indices((64, 64)).sum(0) % 2)[None].astype(np.float32)
    m = metric("hog")  # central differences do not see a pattern of period 2; only borders remain
    inner = np.isnan(score(m, board, make("normal", (1, 64, 64))))
    assert inner.all() and reasons(m.features(board)) == ["constant HOG"]


# Properties


SIDE = 12  # of what is drawn number by number, as few as windows of 11 take
SMALL = {"hog": {"pixels_per_cell": 4}}
SMALL |= {name: SMALL["hog"] for name in OPTIONS if name.startswith("hog")}


def small(name: str, **changes):
    return metric(name, **(SMALL.get(name, {}) | changes))


@st.composite
def masks(draw, channels=(None, 3)):
    shape = (1, SIDE, SIDE) + ((c,) if (c := draw(st.sampled_from(channels))) else ())
    kind = draw(st.sampled_from(["ints", "floats", "drawn"]))
    if kind == "drawn":
        return make(draw(st.sampled_from(KINDS)), shape, draw(st.integers(0, 10**6)))
    elements = (
        st.integers(-3, 3).map(float)
        if kind == "ints"
        else st.floats(-(2.0**60), 2.0**60, width=32, allow_subnormal=False)
    )
    return draw(arrays(np.float32, shape, elements=elements))


@pytest.mark.parametrize("name", OPTIONS)
@given(data=st.data())
@settings(max_examples=15, deadline=None)
def test_identity_and_symmetry(name, data):
    m = small(name)
    a = data.draw(masks())
    b = data.draw(masks())
    x, y = m.features(a), m.features(b)
    if reasons(x) == [""]:
        np.testing.assert_allclose(m.compare(x, x), m.identity, rtol=1e-12, atol=1e-12)
    else:
        assert np.isnan(m.compare(x, x)).all()
    value = m.compare(x, y)
    np.testing.assert_allclose(value, m.compare(y, x), rtol=1e-12, atol=1e-12)
    assert np.isfinite(value) == (reasons(x, y) == [""])
    if np.isfinite(value):
        low, high = {"MeanSquaredError": (0, np.inf), "MutualInformation": (0, 1)}.get(
            type(m).__name__, (-1 - 1e-12, 1 + 1e-12)
        )
        assert low <= value <= high


@pytest.mark.parametrize("name", OPTIONS)
@given(data=st.data())
@settings(max_examples=15, deadline=None)
def test_no_option_sees_a_positive_scale(name, data):
    m = small(name)
    a, b = data.draw(masks()), data.draw(masks())
    scaled = a.astype(np.float64) * 2.0 ** data.draw(st.integers(-20, 20))  # ties stay ties
    np.testing.assert_allclose(score(m, scaled, b), score(m, a, b), rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("sign", ["channels=sum_abs", "channels=max_abs", "sign=abs"])
@pytest.mark.parametrize("name", ["ssim", "hog", "pearson", "mse", "top_k"])
@given(data=st.data())
@settings(max_examples=12, deadline=None)
def test_absolute_preparation_does_not_see_the_sign(name, sign, data):
    key, value = sign.split("=")
    m = small(name, **{key: value})
    a = data.draw(masks())
    b = data.draw(masks())
    np.testing.assert_array_equal(score(m, -a, b), score(m, a, b))


@pytest.mark.parametrize("name", OPTIONS)
def test_sign_is_seen_where_it_is_kept(name):
    m = metric(name)
    a = make("cauchy", seed=2)
    b = a + make("normal", seed=3) / 10
    same, flipped = score(m, a, b), score(m, -a, b)
    if m.channels == "sum_abs":
        np.testing.assert_array_equal(same, flipped)
    elif isinstance(m, Hog):  # its angles have no sign; clipping or scaling does not change that
        np.testing.assert_allclose(same, flipped, atol=0.05)
    else:
        assert (np.abs(same - flipped) > 0.01).all()


@pytest.mark.parametrize("name", ["ssim", "mse"])
def test_scale_is_seen_where_it_is_kept(name):
    m = metric(name, scale="none", clip=None)
    a, b = make("positive") / 100, make("positive", seed=1) / 100
    assert (np.abs(score(m, a / 2, b) - score(m, a, b)) > 1e-6).all()


def test_offset_is_seen_by_cosine_alone():
    a, b = make("normal"), make("normal", seed=1)
    for m in (Pearson(), Spearman(), metric("mutual_information", channels="sum")):
        np.testing.assert_allclose(score(m, a + 3, b + 3), score(m, a, b), atol=1e-3)
    assert (score(Cosine(), a + 3, b + 3) - score(Cosine(), a, b) > 0.5).all()


@pytest.mark.parametrize("name", OPTIONS)
def test_place_is_seen_by_all(name):
    m, a = metric(name), make("cauchy")
    moved = score(m, np.roll(a, 17, axis=1), a)
    assert (np.abs(moved - m.identity) > 0.005).all()


# Features


@pytest.mark.parametrize("name", OPTIONS)
def test_features_are_taken_by_image(name):
    m = metric(name)
    a, b = make("cauchy", (5, 64, 64, 3)), make("cauchy", (5, 64, 64, 3), seed=1)
    b[3] = 7
    x, y = m.features(a), m.features(b)
    assert len(y) == 5
    shifted = (np.arange(5) + 1) % 5
    null = m.compare(x, y.take(shifted))
    np.testing.assert_array_equal(null, score(m, a, b[shifted]))
    assert np.isnan(null).tolist() == [False, False, True, False, False]
    assert reasons(y.take([3, 0, 3])) == ["constant mask", "", "constant mask"]
    one = m.compare(x.take([4]), y.take([2]))
    np.testing.assert_allclose(one, score(m, a[4:], b[2:3]), rtol=1e-14)


def test_other_numbers_of_masks_are_refused():
    m = Pearson()
    with pytest.raises(ValueError, match="3 masks cannot be compared with 2"):
        score(m, make("normal"), make("normal")[:2])
    with pytest.raises(ValueError, match="must be"):
        m.features(make("normal")[0, ..., 0])


@pytest.mark.parametrize("name", OPTIONS)
def test_masks_are_left_as_they_are(name):
    masks, m = make("normal"), metric(name)
    before = masks.copy()
    first = score(m, masks, masks)
    np.testing.assert_array_equal(masks, before)
    np.testing.assert_array_equal(score(m, masks, masks), first)


@pytest.mark.parametrize("name", OPTIONS)
def test_scores_do_not_depend_on_the_others(name):
    m = metric(name)
    a, b = make("cauchy", (5, 64, 64, 3)), make("cauchy", (5, 64, 64, 3), seed=1)
    together = score(m, a, b)
    for n in (1, 2):
        np.testing.assert_allclose(score(m, a[:n], b[:n]), together[:n], rtol=1e-13)


# Metrics of one's own


def test_a_metric_made_from_parts():
    @checked
    class MeanDifference(Metric):
        weight: float = 1.0

        def parts(self, masks):
            return {"mean": masks.mean((1, 2, 3))}

        def similarity(self, a, b):
            return self.weight * np.abs(a["mean"] - b["mean"])

    m = MeanDifference(weight=2.0, channels="sum_abs")
    a, b = make("normal"), make("normal", seed=1)
    b[1] = np.nan
    means = [np.abs(x.astype(np.float64)).sum(-1).mean((1, 2)) for x in (a, b)]
    np.testing.assert_allclose(score(m, a, b), 2 * np.abs(means[0] - means[1]), rtol=1e-12)
    assert m.identity is None
    with pytest.raises(ConfigError):
        MeanDifference(weigth=2.0)


def test_metrics_that_prepare_masks_alike_share_it(monkeypatch):
    """And none of them sees what another one writes to what it was given."""

    @checked
    class Writes(Metric):
        def parts(self, masks):
            masks *= 0
            return {"zero": masks}

        def similarity(self, a, b):
            return np.zeros(len(a["zero"]))

    some = {f"{k} {pool}": c(pool=pool) for k, c in enumerate([Writes, Pearson, Writes, Cosine])
            for pool in (1, 2)}  # fmt: skip
    masks = make("normal")
    alone = {name: m.features(masks).parts for name, m in some.items()}
    calls, own = [], Preparation.prepare
    monkeypatch.setattr(Metric, "prepare", lambda m, x: calls.append(m.pool) or own(m, x))
    together = all_features(some, masks)
    assert sorted(calls) == [1, 2]
    for name, parts in alone.items():
        for key, value in parts.items():
            np.testing.assert_array_equal(together[name].parts[key], value)


def test_a_metric_from_scratch():
    class Same:
        identity = 1.0

        def features(self, masks):
            return Features({"masks": masks})

        def compare(self, a, b):
            return (a.parts["masks"] == b.parts["masks"]).mean((1, 2)).astype(np.float64)

    a = np.eye(3)[None].repeat(2, 0)
    x = Same().features(a)
    assert score(Same(), a, a).tolist() == [1, 1]
    assert reasons(x, x.take([1, 0])) == ["", ""]
    assert reasons([1, 2, 3]) == ["", "", ""]  # features that know no problems
    assert reasons(SimpleNamespace(problems=["", "odd"]), x) == ["", "odd"]


# Configuration


@pytest.mark.parametrize("name", OPTIONS)
def test_option_lists_every_key(name):
    (key, values), *rest = node(name).items()
    assert key == name and not rest
    assert values["_target_"] == f"sanity.metrics.{type(metric(name)).__name__}"
    assert list(values)[1:] == [field.name for field in fields(metric(name))]
    lines = (CONF / f"{name}.yaml").read_text().splitlines()
    assert all("#" in line for line in lines if line.startswith("  ") and "_target_" not in line)
    assert max(map(len, lines)) <= 100


@pytest.mark.parametrize(
    ("name", "default"),
    [
        ("ssim", Ssim()),
        ("spearman", Spearman()),
        ("hog", Hog()),
        ("pearson", Pearson()),
        ("cosine", Cosine()),
        ("top_k", TopK()),
        ("mse", MeanSquaredError()),
        ("mutual_information", MutualInformation()),
    ],
)
def test_class_defaults_are_the_options(name, default):
    assert metric(name) == default


def test_there_are_the_options_that_were_promised():
    presets = {"ssim_paper_code", "ssim_paper_text", "hog_paper_code", "hog_paper_text"}
    presets |= {"spearman_paper_code", "spearman_abs_paper_code"}
    ours = {"ssim", "spearman", "spearman_abs", "hog", "pearson", "cosine", "top_k", "mse"}
    assert set(OPTIONS) == presets | ours | {"mutual_information"}


@pytest.mark.parametrize(
    ("name", "shape", "message"),
    [
        ("ssim", (8, 30), "metric.ssim.sigma=1.5 needs masks of at least 11×11 pixels, but they"),
        ("ssim_paper_text", (4, 4, 3), "metric.ssim_paper_text.window=5 needs .* have 4×4$"),
        ("hog", (28, 28), "hog.pixels_per_cell=16 with cells_per_block=3 needs .* 48×48 .* 28×28$"),
    ],
)
def test_small_masks_are_refused_in_a_sentence(name, shape, message):
    with pytest.raises(ConfigError, match=message):
        metric(name).check(shape, f"metric.{name}")
    with pytest.raises(ConfigError):
        metric(name).features(np.zeros((2, *shape), np.float32))
    metric(name).check((48, 48, 3))


@pytest.mark.parametrize(
    ("one", "said"),
    [
        (
            Ssim(window=9),
            "x.window=9 has no effect: it is taken with gaussian_weights=false",
        ),
        (Ssim(gaussian_weights=False, sigma=2), "x.sigma=2.0 has no effect"),
        (Pearson(percentile=95), "x.percentile=95.0 has no effect: .* scale=percentile or diver"),
    ],
)
def test_settings_without_effect_are_refused(one, said):
    with pytest.raises(ConfigError, match=said):
        one.check_settings("metric.x")


def test_settings_with_an_effect_are_not():
    for one in (
        *map(metric, OPTIONS),
        Ssim(gaussian_weights=False, window=9, percentile=95),
        Ssim(sigma=2),
    ):
        one.check_settings("metric.x")


def test_what_fits_small_masks_is_said():
    chosen = {name: metric(name) for name in ("ssim", "hog", "spearman")}
    with pytest.raises(ConfigError, match=r"28×28; 'metric=\[ssim,spearman\]' leaves it out$"):
        check_sizes(chosen, (28, 28))


def test_pooling_counts_when_masks_are_small():
    with pytest.raises(ConfigError, match="metric.pool=9 needs masks of at least 9×9 pixels"):
        Pearson(pool=9).check((8, 20))
    with pytest.raises(ConfigError, match="sigma=1.5 with pool=4 needs masks of at least 44×44"):
        Ssim(pool=4).check((40, 40))
    Ssim(pool=4).check((44, 44))
    assert np.isfinite(score(Ssim(pool=4), *2 * [make("normal", (1, 44, 47))])).all()


@pytest.mark.parametrize(
    ("cls", "changes"),
    [
        (Ssim, {"window": 4}),
        (Ssim, {"window": 1}),
        (Ssim, {"sigma": 0.1}),
        (Ssim, {"sigma": math.inf}),
        (Ssim, {"data_range": 0}),
        (Ssim, {"clip": [1, 0]}),
        (Ssim, {"clip": [0]}),
        (Ssim, {"clip": [0, math.nan]}),
        (Ssim, {"clip": 1}),
        (Ssim, {"percentile": 0}),
        (Ssim, {"percentile": 101}),
        (Ssim, {"pool": 0}),
        (Ssim, {"channels": "mean"}),
        (Ssim, {"scale": "z_score"}),
        (Ssim, {"sign": True}),
        (Hog, {"pixels_per_cell": 1}),
        (Hog, {"correlation": "kendall"}),
        (TopK, {"fraction": 0}),
        (TopK, {"fraction": 1}),
        (MutualInformation, {"bins": 1}),
    ],
)
def test_values_out_of_range_are_refused(cls, changes):
    with pytest.raises(ConfigError):
        cls(**changes)


def test_import_is_light():
    code = (
        "import sys, sanity.metrics; print([m for m in ('scipy', 'skimage') if m in sys.modules])"
    )
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert out.stdout.strip() == "[]"


# Why the normalization must be stated


def test_ssim_of_unrelated_masks_depends_on_the_normalization():
    shape = (4, 96, 96, 3)
    a, b = make("cauchy", shape, seed=5), make("cauchy", shape, seed=6)
    values = {name: score(metric(name), a, b) for name in OPTIONS if "ssim" in name}
    assert (np.abs(values["ssim"]) < 0.1).all()
    assert (values["ssim_paper_text"] > 0.85).all()
    # The minimum and the maximum of a signed map are two outliers: what they are decides.
    assert values["ssim_paper_code"].min() < 0.2 and values["ssim_paper_code"].max() > 0.9
    # The data range alone, which scikit-image used to guess: 1 instead of 2.
    narrow = score(metric("ssim_paper_code", data_range=1), a, b)
    assert (values["ssim_paper_code"] > narrow).all()


@pytest.mark.parametrize(
    "name", ["spearman", "spearman_abs", "spearman_paper_code", "spearman_abs_paper_code"]
)
def test_rank_correlations_of_unrelated_masks_are_zero(name):
    shape = (4, 224, 224, 3)
    a, b = make("cauchy", shape, seed=5), make("cauchy", shape, seed=6)
    assert (np.abs(score(metric(name), a, b)) < 0.02).all()
