"""Perturbation methods against PAIR, the packages, exact values and formulas written out."""

import itertools
import math

import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given, settings
from hypothesis import strategies as st

from sanity.data import Images
from sanity.errors import ConfigError
from sanity.methods import KernelShap, Lime, Occlusion, Rise, ShapleySampling
from sanity.methods.baselines import baseline_image, baseline_key
from sanity.methods.segments import grid, segment, segment_means
from sanity.methods.subject import Subject
from sanity.network.classifier import Classifier
from sanity.randomness import generator
from tests.kernels import assert_images_equal

SEED = 5
SHAPES = [(12, 17, 3), (14, 11, 1)]


def pictures(shape, count=2, seed=1):
    """Smooth images, which superpixels can be found in."""
    from scipy.ndimage import gaussian_filter

    noise = np.random.default_rng(seed).random((count, *shape))
    x = np.stack([gaussian_filter(image, (2, 2, 0)) for image in noise])
    x = ((x - x.min()) / (x.max() - x.min())).astype(np.float32)
    names = [f"image_{i}" for i in range(count)]
    return Images(x, names, [None] * count, [None] * count, [""] * count)


def linear(shape, weights):
    """Logits Σ weights · image: (H, W, C, classes)."""
    kernel = tf.Variable(weights.reshape(-1, weights.shape[-1]).astype(np.float32))
    size = math.prod(shape)
    return Classifier(lambda x: tf.reshape(x, [-1, size]) @ kernel, shape, name="linear")


def curved(shape, classes=4, seed=2, **options):
    """A small network of one convolution, whose segments interact."""
    draw = np.random.default_rng(seed)
    kernel = tf.Variable(0.6 * draw.standard_normal((3, 3, shape[2], 6)).astype(np.float32))
    dense = tf.Variable(draw.standard_normal((6, classes)).astype(np.float32))

    def network(x):
        hidden = tf.nn.relu(tf.nn.conv2d(x, kernel, 2, "SAME") - 0.1)
        return 10 * tf.square(tf.reduce_mean(hidden, [1, 2])) @ dense

    return Classifier(network, shape, name="curved", **options)


@pytest.fixture(scope="module", params=SHAPES, ids=str)
def case(request):
    """A network, its images, and the classes explained."""
    return curved(request.param), pictures(request.param), np.array([3, 1], np.int32)


# Occlusion


def pairs_occlusion(classifier, image, target, **options):
    from saliency.core import Occlusion as Pair
    from saliency.core.base import OUTPUT_LAYER_VALUES

    def call_model(x, call_model_args=None, expected_keys=None):
        return {OUTPUT_LAYER_VALUES: classifier.logits(np.asarray(x, np.float32))[:, target]}

    return Pair().GetMask(image, call_model, **options)


@pytest.mark.parametrize(("size", "value"), [(1, 0.0), (4, 0.0), (5, 0.5), (11, 1.0)])
def test_occlusion_of_stride_1_is_pairs(case, size, value):
    classifier, images, targets = case
    mine = Occlusion(size=size, value=value, stride=1).masks(classifier, images, targets, SEED)
    assert mine.shape == images.x.shape[:3]
    for mask, image, target in zip(mine, images.x, targets, strict=True):
        theirs = pairs_occlusion(
            classifier, image.astype(np.float64), target, size=size, value=value
        )
        scale = np.abs(theirs).max()
        assert scale > 0
        np.testing.assert_allclose(
            np.broadcast_to(mask[..., None], image.shape), theirs, atol=1e-6 * scale, rtol=1e-6
        )
        single = pairs_occlusion(classifier, image, target, size=size, value=value)
        np.testing.assert_allclose(mask, single[..., 0], atol=2e-5 * scale)


@pytest.mark.parametrize(("size", "stride"), [(3, 2), (4, 4), (5, 3), (2, 5)])
def test_occlusion_of_larger_strides(case, size, stride):
    classifier, images, targets = case
    mine = Occlusion(size=size, value=0.3, stride=stride).masks(classifier, images, targets, SEED)
    for mask, image, target in zip(mine, images.x, targets, strict=True):
        expected = np.zeros(image.shape[:2])
        whole = classifier.logits(image[None])[0, target]
        for row in range(0, image.shape[0] - size + 1, stride):
            for column in range(0, image.shape[1] - size + 1, stride):
                covered = image.copy()
                covered[row : row + size, column : column + size] = 0.3
                fall = float(whole) - float(classifier.logits(covered[None])[0, target])
                expected[row : row + size, column : column + size] += fall
        np.testing.assert_allclose(mask, expected, atol=1e-6 * np.abs(expected).max())


def test_occlusion_leaves_the_images_alone(case):
    classifier, images, targets = case
    before = images.x.copy()
    Occlusion(size=5, value=1.0, stride=3).masks(classifier, images, targets, SEED)
    np.testing.assert_array_equal(images.x, before)


def test_what_is_not_finite_stays_in_its_window():
    """A network that breaks where one pixel is black."""
    classifier = Classifier(
        lambda x: tf.reduce_mean(x, [1, 2, 3])[:, None] * [[1.0, 2.0]] + 0 / x[:, 5, 5, :2],
        (12, 12, 3),
    )
    images = pictures((12, 12, 3), 1)
    images.x[:] = 0.1 + 0.8 * images.x
    (mask,) = Occlusion(size=3, stride=1).masks(classifier, images, np.array([1]), SEED)
    near = np.zeros((12, 12), bool)
    near[3:8, 3:8] = True
    np.testing.assert_array_equal(np.isnan(mask), near)


def test_a_window_larger_than_the_image(case):
    classifier, images, targets = case
    side = min(classifier.input_shape[:2])
    Occlusion(size=side).check(classifier)
    with pytest.raises(ConfigError, match=rf"size={side + 1} must be at most {side}"):
        Occlusion(size=side + 1).check(classifier)
    with pytest.raises(ConfigError, match="must be at most"):
        Occlusion(size=side + 1).masks(classifier, images, targets, SEED)


# RISE


def rise_masks(method, shape, seed, name):
    """The masks made one by one as the paper's section 3.2 says, with skimage's enlargement."""
    from skimage.transform import resize

    cells = method.cells
    draws = generator("rise", seed, name).random((method.samples, cells * cells + 2))
    cell = [math.ceil(side / cells) for side in shape[:2]]
    for draw in draws:
        coarse = (draw[2:] < method.probability).reshape(cells, cells).astype(np.float64)
        size = [(cells + 1) * side for side in cell]
        fine = resize(coarse, size, order=1, mode="reflect", anti_aliasing=False)
        row, column = (int(u * side) for u, side in zip(draw[:2], cell, strict=True))
        yield fine[row : row + shape[0], column : column + shape[1]]


@pytest.mark.parametrize("value", [0.0, 0.4])
@pytest.mark.parametrize("cells", [1, 3, 8])
def test_rise_is_its_equation(case, cells, value):
    classifier, images, targets = case
    method = Rise(samples=23, cells=cells, probability=0.4, value=value)
    mine = method.masks(classifier, images, targets, SEED)
    for mask, image, name, target in zip(mine, images.x, images.names, targets, strict=True):
        expected = 0
        for seen in rise_masks(method, image.shape, SEED, name):
            x = seen[..., None] * image + (1 - seen[..., None]) * value
            logit = classifier.logits(x[None].astype(np.float32))[0, target]
            expected = expected + float(logit) * seen / (23 * 0.4)
        np.testing.assert_allclose(mask, expected, atol=2e-5 * np.abs(expected).max())


def test_rise_masks_show_a_pixel_with_the_probability_asked_for():
    method = Rise(samples=4000, cells=5, probability=0.3)
    seen = np.concatenate(list(method.windows((20, 30, 3), 0, "a", 64)))
    assert seen.shape == (4000, 20, 30)
    assert seen.min() >= 0
    assert seen.max() <= 1 + 1e-6
    # the standard error of a cell's mean is 0.007
    np.testing.assert_allclose(seen.mean(0), 0.3, atol=0.035)
    fewer = np.concatenate(
        list(Rise(samples=9, cells=5, probability=0.3).windows((20, 30, 3), 0, "a", 4))
    )
    np.testing.assert_array_equal(fewer, seen[:9])


# Segments


def test_a_grid_is_made_of_equal_rectangles():
    numbers = grid(12, 18, 6)
    assert numbers.max() == 5
    np.testing.assert_array_equal(np.bincount(numbers.ravel()), 36)
    for number in range(6):
        rows, columns = np.nonzero(numbers == number)
        assert (np.ptp(rows) + 1) * (np.ptp(columns) + 1) == 36


@given(st.integers(1, 30), st.integers(1, 30), st.integers(2, 200))
@settings(deadline=None)
def test_segments_are_numbered_without_gaps(height, width, count):
    numbers = grid(height, width, count)
    assert numbers.shape == (height, width)
    np.testing.assert_array_equal(np.unique(numbers), np.arange(numbers.max() + 1))
    rows, columns = (len(np.unique(side)) for side in (numbers[:, 0], numbers[0]))
    assert rows * columns == numbers.max() + 1
    if 1 < rows < height and 1 < columns < width:  # else the image is too small or too narrow
        # columns are count / rows, rounded: off by a half at the most, in each row
        assert abs(rows * columns - count) <= rows / 2
        assert 1 / 3 < (height / rows) / (width / columns) < 3  # nearly squares


@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_superpixels_are_skimages(shape):
    from skimage.segmentation import slic

    image = pictures(shape).x[0]
    mine = segment(image, "slic", 9, 0.1)
    theirs = slic(image, n_segments=9, compactness=0.1, channel_axis=-1)
    np.testing.assert_array_equal(np.unique(mine), np.arange(mine.max() + 1))
    assert mine.max() > 1
    assert len({*zip(mine.ravel(), theirs.ravel(), strict=True)}) == mine.max() + 1


def test_superpixels_are_found_once_an_image(case, monkeypatch):
    import skimage.segmentation

    classifier, _, targets = case
    images = pictures(classifier.input_shape, seed=77)  # not seen before
    found = []
    slic = skimage.segmentation.slic
    monkeypatch.setattr(
        skimage.segmentation,
        "slic",
        lambda *args, **kwargs: found.append(1) or slic(*args, **kwargs),
    )
    chosen = {"segments": 6, "compactness": 0.1}
    for _ in range(3):
        for method in (
            ShapleySampling(samples=2, **chosen),
            Lime(samples=9, **chosen),
            KernelShap(samples=30, **chosen),
        ):
            method.masks(classifier, images, targets, SEED)
    assert len(found) == len(images)


def test_mean_colours_of_segments():
    image = pictures((8, 6, 3)).x[0]
    segments = grid(8, 6, 4)
    local = segment_means(image, segments)
    for number in range(4):
        inside = segments == number
        expected = np.broadcast_to(image[inside].mean(0), image[inside].shape)
        np.testing.assert_allclose(local[inside], expected, rtol=1e-5)


@pytest.mark.parametrize(
    "absent", ["black", "white", "mean", "blurred", "uniform", 0.25, [0.1, 0.5, 0.9]]
)
def test_a_segment_that_is_off_shows_the_baseline_of_all_methods(curved_rgb, absent):
    classifier, images = curved_rgb
    subject = Subject(images.x[0], "a", SEED)
    method = ShapleySampling(samples=1, segmentation="grid", segments=4, baseline=absent)
    method.check(classifier)
    game = method.game(classifier, subject, 1)
    expected = baseline_image(baseline_key(absent), subject)
    np.testing.assert_array_equal(game.shown(np.zeros((1, 4)))[0], expected)
    with pytest.raises(ConfigError, match="has 2 values"):
        ShapleySampling(baseline=[0.1, 0.2]).check(classifier)


# Shapley values


def exact_shapley(worth, players):
    """φᵢ = Σ_S |S|! (n − |S| − 1)! / n! · (f(S ∪ {i}) − f(S)), over all S without i."""
    values = {
        on: worth(np.array([on]))[0] for on in itertools.product([False, True], repeat=players)
    }
    phi = np.zeros(players)
    for on, value in values.items():
        size = sum(on)
        weight = (
            math.factorial(size) * math.factorial(players - size - 1) / math.factorial(players)
            if size < players
            else 0
        )
        for i in range(players):
            if not on[i]:
                phi[i] += weight * (values[(*on[:i], True, *on[i + 1 :])] - value)
    return phi


def test_shapley_sampling_approaches_the_exact_values(case):
    classifier, images, targets = case
    method = ShapleySampling(segmentation="grid", segments=6, samples=2000)
    game = method.game(classifier, Subject(images.x[0], "a", SEED), int(targets[0]))
    exact = exact_shapley(game.worth, game.players)
    found = method.values(game, SEED, "zebra")
    few = [
        ShapleySampling(segmentation="grid", segments=6, samples=20).values(game, seed, "zebra")
        for seed in range(30)
    ]
    error = np.std(few, axis=0) * np.sqrt(20 / 2000)
    assert (error > 0).all()  # segments interact: it matters in which order they come
    assert (np.abs(found - exact) < 4 * error + 1e-6).all()


def test_the_contributions_of_one_order(case):
    """One order at a time against a sum written out."""
    classifier, images, targets = case
    method = ShapleySampling(segmentation="grid", segments=3, samples=1)
    game = method.game(classifier, Subject(images.x[0], "a", SEED), int(targets[0]))
    n = game.players
    orders = set()
    for seed in range(40):
        draws = generator("shapley_sampling", seed, "a").random((1, n))
        order = draws.argsort()[0]
        orders.add(tuple(order))
        on = np.zeros(n, bool)
        expected = np.zeros(n)
        for i in order:
            before = game.worth(on[None])[0]
            on[i] = True
            expected[i] = game.worth(on[None])[0] - before
        np.testing.assert_allclose(method.values(game, seed, "a"), expected, atol=1e-6)
    assert len(orders) > 5


@given(
    samples=st.integers(1, 5),
    segments=st.integers(2, 12),
    kind=st.sampled_from(["slic", "grid"]),
    absent=st.sampled_from(["black", 0.7, "mean", "blurred", "uniform", "segment_mean"]),
    seed=st.integers(0, 100),
)
@settings(max_examples=30, deadline=None)
def test_shapley_values_sum_to_the_difference(curved_rgb, samples, segments, kind, absent, seed):
    classifier, images = curved_rgb
    chosen = {"segmentation": kind, "segments": segments, "compactness": 0.1, "baseline": absent}
    for method in (
        ShapleySampling(samples=samples, **chosen),
        KernelShap(samples=20 * segments, **chosen),
    ):
        game = method.game(classifier, Subject(images.x[0], "a", SEED), 1)
        whole, nothing = classifier.logits(np.stack([images.x[0], game.absent]))[:, 1]
        total = method.values(game, seed, "a").sum()
        assert abs(total - (float(whole) - float(nothing))) < 1e-5 * max(1, abs(whole))


@pytest.fixture(scope="module")
def curved_rgb():
    return curved(SHAPES[0]), pictures(SHAPES[0])


# Packages


@pytest.mark.parametrize("absent", ["segment_mean", "black"])
def test_lime_is_the_packages(curved_rgb, absent):
    from lime.lime_image import LimeImageExplainer

    classifier, images = curved_rgb
    method = Lime(samples=60, segments=8, compactness=0.1, kernel_width=0.3, baseline=absent)
    segments = segment(images.x[0], "slic", 8, 0.1)
    random_state = int(generator("lime", SEED, "image_0").integers(2**32))
    theirs = LimeImageExplainer(0.3, random_state=random_state).explain_instance(
        images.x[0],
        lambda x: classifier.logits(np.asarray(x, np.float32)),
        labels=(3,),
        top_labels=None,
        hide_color=None if absent == "segment_mean" else 0,
        num_samples=60,
        segmentation_fn=lambda image: segments,
    )
    expected = np.zeros(segments.shape)
    for number, weight in theirs.local_exp[3]:
        expected[segments == number] = weight
    mine = method.masks(classifier, images, np.array([3, 3]), SEED)[0]
    assert np.abs(expected).max() > 0
    np.testing.assert_allclose(mine, expected, atol=2e-5 * np.abs(expected).max())


def test_kernel_shap_is_the_packages(case):
    import shap

    classifier, images, targets = case
    method = KernelShap(samples=60, segmentation="grid", segments=9)
    segments = grid(*classifier.input_shape[:2], 9)
    image, target = images.x[0], targets[0]

    def worth(on):
        return classifier.logits(
            np.stack([image * row[segments][..., None] for row in on]).astype(np.float32)
        )[:, target]

    np.random.seed(int(generator("kernel_shap", SEED, "image_0").integers(2**32)))  # noqa: NPY002
    n = segments.max() + 1
    theirs = shap.KernelExplainer(worth, np.zeros((1, n))).shap_values(
        np.ones((1, n)), nsamples=60, l1_reg=False, silent=True
    )[0]
    mine = method.masks(classifier, images, targets, SEED)[0]
    np.testing.assert_allclose(mine, theirs[segments], atol=1e-4 * np.abs(theirs).max())


def test_kernel_shap_with_every_coalition_is_exact(case):
    classifier, images, targets = case
    method = KernelShap(samples=1000, segmentation="grid", segments=6)
    game = method.game(classifier, Subject(images.x[1], "a", SEED), int(targets[1]))
    exact = exact_shapley(game.worth, game.players)
    found = method.values(game, SEED, "a")
    np.testing.assert_allclose(found, exact, atol=1e-5 * np.abs(exact).max())


@pytest.mark.parametrize(("segments", "least"), [(4, 14), (20, 80)])
def test_kernel_shap_asks_for_four_coalitions_a_segment_or_all(case, segments, least):
    KernelShap(samples=least, segments=segments).check(case[0])
    said = rf"={least - 1} coalitions are too few .*={segments}: at least {least} are needed"
    with pytest.raises(ConfigError, match=said):
        KernelShap(samples=least - 1, segments=segments).check(case[0])


@pytest.mark.parametrize("samples", [4, 9, 15])
def test_coalitions_that_leave_kernel_shap_open_are_refused(case, samples):
    classifier, images, targets = case
    method = KernelShap(samples=samples, segmentation="grid", segments=9)
    with pytest.raises(ConfigError, match="do not tell the values of the 9 segments of image_0:"):
        method.masks(classifier, images, targets, SEED)


def test_numpys_global_generator_is_left_as_it_was(case):
    classifier, images, targets = case
    broken = curved(classifier.input_shape)
    broken.weights.put({name: value * np.nan for name, value in broken.trained.items()})
    for network in (classifier, broken):
        np.random.seed(11)  # noqa: NPY002
        expected = np.random.random(5)  # noqa: NPY002
        np.random.seed(11)  # noqa: NPY002
        for method in every_method().values():
            method.masks(network, images, targets, SEED)
        np.testing.assert_array_equal(np.random.random(5), expected)  # noqa: NPY002


@pytest.mark.parametrize(("package", "method"), [("lime", "lime"), ("shap", "kernel_shap")])
def test_a_package_that_is_not_there(package, method, monkeypatch):
    from importlib.util import find_spec

    from sanity.checked import instantiate
    from sanity.methods import segmented

    monkeypatch.setattr(
        segmented, "find_spec", lambda name: None if name == package else find_spec(name)
    )
    cls = {"lime": "Lime", "shap": "KernelShap"}[package]
    with pytest.raises(ConfigError, match=rf"method\.{method} needs .*: pip install {package} "):
        instantiate({"_target_": f"sanity.methods.{cls}"}, f"method.{method}")


# All of them


def every_method():
    chosen = {"segments": 6, "compactness": 0.1}
    return {
        "occlusion": Occlusion(size=4, stride=3),
        "rise": Rise(samples=19, cells=3),
        "shapley_sampling": ShapleySampling(samples=4, **chosen),
        "lime": Lime(samples=40, **chosen),
        "kernel_shap": KernelShap(samples=40, segments=12, compactness=0.1),
    }


NAMES = list(every_method())


@pytest.mark.parametrize("name", NAMES)
def test_a_linear_models_weights_come_back(name):
    """Of each segment the weight is Σ weights · (image − baseline); occlusion sums windows."""
    shape = (12, 12, 3)
    weights = np.random.default_rng(4).standard_normal((*shape, 2))
    classifier, images = linear(shape, weights), pictures(shape)
    effect = (weights[..., 1] * images.x[0]).sum(-1)
    chosen = {"segmentation": "grid", "segments": 4, "baseline": "black"}
    segments = grid(12, 12, 4)
    sums = np.bincount(segments.ravel(), effect.ravel())[segments]
    method, expected, tolerance = {
        "occlusion": (Occlusion(size=6, stride=6), sums, 1e-5),
        "rise": (None, None, None),
        "shapley_sampling": (ShapleySampling(samples=1, **chosen), sums, 1e-5),
        "lime": (Lime(samples=2000, **chosen), sums, 0.02),  # its ridge penalty shrinks
        "kernel_shap": (KernelShap(**chosen), sums, 1e-5),
    }[name]
    if name == "rise":  # its expectation: Σ over μ of effect(μ) · E[M(λ) M(μ)] / p
        method = Rise(samples=5000, cells=2)
        masks = [np.concatenate(list(method.windows(shape, s, "b", 99))) for s in (1, 2)]
        seen = np.concatenate(masks).reshape(10000, -1).astype(np.float64)
        expected = (seen.T @ (seen @ effect.ravel()) / 10000 / 0.5).reshape(12, 12)
        (mask,) = method.masks(classifier, images.take([0]), np.array([1]), SEED)
        assert np.corrcoef(mask.ravel(), expected.ravel())[0, 1] > 0.95
        np.testing.assert_allclose(mask, expected, atol=0.1 * np.abs(expected).max())
        return
    mask = method.masks(classifier, images, np.array([1, 0]), SEED)[0]
    np.testing.assert_allclose(mask, expected, atol=tolerance * np.abs(expected).max())


@pytest.mark.parametrize("name", [name for name in NAMES if name != "rise"])
def test_what_the_network_ignores_gets_nothing(name):
    """Half of the image, in a network that squares the rest."""
    shape = (12, 12, 3)
    classifier = Classifier(
        lambda x: tf.square(tf.reduce_sum(x[:, :, :6], [1, 2])) @ tf.eye(3), shape
    )
    chosen = {"segmentation": "grid", "segments": 4}
    method = {
        "occlusion": Occlusion(size=6, stride=6),
        "shapley_sampling": ShapleySampling(samples=5, **chosen),
        "lime": Lime(samples=3000, **chosen),
        "kernel_shap": KernelShap(**chosen),
    }[name]
    mask = method.masks(classifier, pictures(shape), np.array([0, 2]), SEED)
    scale = np.abs(mask[:, :, :6]).max()
    assert scale > 0
    exact = name != "lime"  # a regression: near zero
    assert np.abs(mask[:, :, 6:]).max() <= (1e-6 if exact else 0.05) * scale


@pytest.mark.parametrize("name", NAMES)
def test_order_company_and_batch_size_change_nothing(case, name, monkeypatch):
    classifier, images, targets = case
    method = every_method()[name]
    expected = method.masks(classifier, images, targets, SEED)
    assert expected.dtype == np.float32
    assert expected.shape == images.x.shape[:3]
    assert np.ptp(expected[0]) > 0
    alone = method.masks(classifier, images.take([1]), targets[1:], SEED)
    assert_images_equal(alone, expected[1:])
    back = method.masks(classifier, images.take([1, 0]), targets[::-1], SEED)
    assert_images_equal(back[::-1], expected)
    for size in (2, 3, 7):
        monkeypatch.setattr(classifier, "batch_size", size)
        now = method.masks(classifier, images, targets, SEED)
        assert_images_equal(now, expected, f"batches of {size}")


@pytest.mark.parametrize("name", NAMES)
def test_every_stage_sees_the_same_inputs(case, name, monkeypatch):
    """And another seed or image others, where they are drawn."""
    classifier, images, targets = case
    method = every_method()[name]
    logits = classifier.logits
    seen = []

    def spy(x):
        seen.append(np.array(x))
        return logits(x)

    def inputs(images, seed):
        seen.clear()
        method.masks(classifier, images, targets[: len(images)], seed)
        return np.concatenate(seen)

    monkeypatch.setattr(classifier, "logits", spy)
    trained = inputs(images, SEED)
    with classifier.weights.restored():
        changed = {k: -0.5 * v for k, v in classifier.trained.items()}
        classifier.weights.put(changed)
        np.testing.assert_array_equal(inputs(images, SEED), trained)
    drawn = name != "occlusion"
    other = inputs(images, SEED + 1)
    assert np.array_equal(other, trained) != drawn
    first = images.take([0])
    renamed = Images(first.x, ["other"], [None], [None], [""])
    assert np.array_equal(inputs(renamed, SEED), inputs(first, SEED)) != drawn


@pytest.mark.parametrize("name", NAMES)
def test_the_cost_said_is_the_cost_paid(case, name, monkeypatch):
    classifier, images, targets = case
    method = every_method()[name]
    if hasattr(method, "segmentation"):
        method = type(method)(segmentation="grid", segments=6, samples=method.samples)
    batched = classifier._batched
    passes = []

    def counting(function, x, *more):
        passes.append(len(x))
        assert not more
        return batched(function, x, *more)

    monkeypatch.setattr(classifier, "_batched", counting)
    method.masks(classifier, images, targets, SEED)
    cost = method.cost(classifier, images)
    assert cost.gradients == 0
    assert sum(passes) == cost.forward * len(images)
    full = [n for n in passes if n >= classifier.batch_size]
    assert sum(full) >= sum(passes) - (classifier.batch_size - 1) * len(images) - 4 * len(images)


@pytest.mark.parametrize("name", NAMES)
def test_a_dead_network_gives_constants_and_a_broken_one_nan(case, name):
    classifier, images, targets = case
    method = every_method()[name]
    if name == "occlusion":  # so that windows reach every pixel
        method = Occlusion(size=4, stride=1)
    with classifier.weights.restored():
        classifier.weights.put({k: np.zeros_like(v) for k, v in classifier.trained.items()})
        dead = method.masks(classifier, images, targets, SEED)
        np.testing.assert_array_equal(dead, 0)
        for bad in (np.nan, np.inf):
            broken = {k: np.full_like(v, bad) for k, v in classifier.trained.items()}
            classifier.weights.put(broken)
            assert np.isnan(classifier.logits(images.x)).all() or np.isinf(bad)
            assert not np.isfinite(method.masks(classifier, images, targets, SEED)).any()


@pytest.mark.parametrize(
    ("cls", "values", "message"),
    [
        (Occlusion, {"size": 0}, "size"),
        (Occlusion, {"stride": 0}, "stride"),
        (Occlusion, {"value": 1.5}, "value"),
        (Rise, {"samples": 0}, "samples"),
        (Rise, {"probability": 0.0}, "probability"),
        (Rise, {"cells": 0}, "cells"),
        (ShapleySampling, {"segments": 1}, "segments"),
        (ShapleySampling, {"baseline": "grey"}, "baseline"),
        (Lime, {"kernel_width": 0.0}, "kernel_width"),
        (Lime, {"segmentation": "quickshift"}, "segmentation"),
        (KernelShap, {"samples": 1}, "samples"),
        (KernelShap, {"compactness": -1.0}, "compactness"),
    ],
)
def test_mistakes_are_refused(cls, values, message):
    from sanity.checked import make

    with pytest.raises(ConfigError, match=rf"method\.x\.{message}="):
        make(cls, values, "method.x")
