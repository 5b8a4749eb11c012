import numpy as np
import pytest

from sanity import methods
from sanity.data import Dataset, ImageNetSamples, Images
from sanity.methods import Plan, Subject
from sanity.methods.baselines import baseline_image, baseline_key
from sanity.methods.gradients import quadrature
from sanity.methods.points import FromReference, Noisy, Original, References, noisy, on_path

STEPS = 25


def subject(name="a", seed=0, shape=(16, 16, 3)):
    return Subject(np.random.default_rng(7).random(shape, np.float32), name, seed)


def distinct(**chosen):
    plan = Plan(chosen)
    return sum(plan.asked.values()), plan.distinct


def test_what_is_the_same_point_is_computed_once():
    noise = {"samples": 25, "noise": 0.15}
    assert distinct(
        a=methods.SmoothGrad(**noise), b=methods.SmoothGradSquared(**noise), c=methods.VarGrad()
    ) == (75, 25)
    assert distinct(
        gradient=methods.Gradient(),
        endpoints=methods.IntegratedGradients(),
        local=methods.IntegratedGradients(multiplier=False),
        trapezoid=methods.IntegratedGradients(quadrature="trapezoid"),
        zero=methods.IntegratedGradients(baseline=0),
        zeros=methods.IntegratedGradients(baseline=[0, 0.0, 0]),
    ) == (126, 25)
    assert distinct(
        a=methods.GuidedBackprop(), b=methods.GuidedGradCam(), c=methods.Deconvnet()
    ) == (3, 2)
    assert distinct(
        a=methods.DeepLiftRescale(),
        b=methods.DeepLiftRescale(multiplier=False, baseline=0.0),
        c=methods.DeepLiftRescale(baseline="white"),
    ) == (3, 2)
    assert distinct(
        a=methods.EpsilonLRP(),
        b=methods.EpsilonLRP(multiplier=False),
        c=methods.EpsilonLRP(epsilon=1),
    ) == (3, 2)
    assert distinct(
        a=methods.ExpectedGradients(), b=methods.ExpectedGradients(multiplier=False)
    ) == (50, 25)
    # The paths to 4 noisy images share their start, and end where SmoothGrad looks.
    smoothed = methods.IntegratedGradientsSmoothGrad(steps=5, samples=4)
    assert distinct(a=smoothed) == (17, 17)
    assert distinct(
        a=smoothed, b=methods.SmoothGrad(samples=4), c=methods.IntegratedGradients(steps=5)
    ) == (17 + 4 + 5, 17 + 4)


def test_without_noise_there_is_one_point():
    assert methods.SmoothGrad(noise=0).points() == {Original(): pytest.approx(1)}
    smoothed = methods.IntegratedGradientsSmoothGrad(noise=0).points()
    assert smoothed == pytest.approx(dict(methods.IntegratedGradients().points()))


@pytest.mark.parametrize("name", ["endpoints", "midpoint", "trapezoid", "gauss_legendre"])
def test_quadrature(name):
    for steps in (2, 5, 25):
        nodes = quadrature(name, steps)
        assert len(nodes) == steps
        assert sum(weight for _, weight in nodes) == pytest.approx(1)
        degree = 2 * steps - 1 if name == "gauss_legendre" else 1
        for power in range(min(degree, 9) + 1):
            integral = sum(weight * alpha**power for alpha, weight in nodes)
            assert integral == pytest.approx(1 / (power + 1)), (steps, power)


def test_a_path_ends_exactly():
    image = subject()
    start = baseline_image("blurred", image)
    assert on_path("blurred", 1.0) == Original()
    assert on_path("blurred", 0.3 + 0.7, Noisy(0.1, 2)) == Noisy(0.1, 2)
    assert on_path("blurred", 0.1 + 0.2) == on_path("blurred", 0.3)
    np.testing.assert_array_equal(on_path("blurred", 0).at(image), start)
    half = on_path("blurred", 0.5, noisy(0.1, 2)).at(image)
    np.testing.assert_allclose(half, (start + Noisy(0.1, 2).at(image)) / 2, atol=1e-7)
    assert half.dtype == np.float32


def test_baselines():
    image = subject()
    expected = {
        "black": 0.0,
        "white": 1.0,
        0.25: 0.25,
        "mean": image.image.mean((0, 1)),
    }
    for baseline, value in expected.items():
        found = baseline_image(baseline_key(baseline), image)
        assert (found.shape, found.dtype) == (image.image.shape, np.float32)
        np.testing.assert_allclose(found, np.broadcast_to(value, found.shape), atol=1e-6)
    channels = baseline_image(baseline_key([0.1, 0.2, 0.3]), image)
    np.testing.assert_allclose(channels[3, 4], [0.1, 0.2, 0.3], atol=1e-7)
    blurred = baseline_image("blurred", image)
    assert blurred.std() < 0.3 * image.image.std()
    np.testing.assert_allclose(blurred.mean((0, 1)), image.image.mean((0, 1)), atol=0.02)
    uniform = baseline_image("uniform", image)
    assert 0 <= uniform.min() < 0.05 < 0.95 < uniform.max() <= 1
    assert abs(uniform.mean() - 0.5) < 0.05


def test_draws_are_keyed_by_seed_and_image():
    references = References(ImageNetSamples())
    for draw in (
        lambda s: baseline_image("uniform", s),
        Noisy(0.1, 3).at,
        FromReference(references, 3).at,
    ):
        np.testing.assert_array_equal(draw(subject()), draw(subject()))
        assert not np.array_equal(draw(subject()), draw(subject(name="b")))
        assert not np.array_equal(draw(subject()), draw(subject(seed=1)))
    one, other = (FromReference(references, i).at(subject()) for i in (0, 1))
    assert not np.array_equal(one, other)


@pytest.mark.parametrize("shape", [(16, 16, 3), (28, 28, 1)])
def test_expected_gradients_draw_from_all_embedded_images(shape):
    references = References(ImageNetSamples())
    assert references == References(ImageNetSamples())
    assert references != References(ImageNetSamples(limit=3))
    images = references.images(shape)
    assert images.shape == (20, *shape)
    image = subject(shape=shape)
    starts, alphas = set(), []
    for sample in range(200):
        point = FromReference(references, sample)
        start = point.start(image)
        (number,) = (i for i, other in enumerate(images) if np.array_equal(start, other))
        starts.add(number)
        way = image.image - start
        alpha = ((point.at(image) - start) * way).sum() / (way**2).sum()
        np.testing.assert_allclose(point.at(image), start + alpha * way, atol=1e-5)
        alphas.append(alpha)
    assert starts == set(range(20))
    assert 0 <= min(alphas) < 0.05 < 0.95 < max(alphas) <= 1
    assert abs(np.mean(alphas) - 0.5) < 0.06


def test_expected_gradients_are_the_mean_of_the_draws(small):
    """Written out, on references of one's own."""

    class Spec(Dataset):
        def __repr__(self):
            return "Spec"

        def read(self, spec):
            x = np.random.default_rng(3).random((4, *spec.shape), np.float32)
            n = [None] * 4
            return Images(x, list("abcd"), n, n, [""] * 4)

    image, references = subject(shape=small.input_shape), References(Spec())
    for multiplier in (True, False):
        method = methods.ExpectedGradients(samples=6, references=Spec(), multiplier=multiplier)
        found = Plan({"m": method}).prepare([image], np.array([2]), 4).explain(small)["m"][0]
        expected = np.zeros(small.input_shape)
        for sample in range(6):
            point = FromReference(references, sample)
            gradient = small.gradients(point.at(image)[None], np.array([2], np.int32))[0]
            way = image.image - point.start(image) if multiplier else 1
            expected += gradient.astype(np.float64) * way / 6
        np.testing.assert_allclose(found, expected, atol=1e-7, rtol=1e-5)
