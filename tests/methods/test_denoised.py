"""Any gradient method averaged over noisy copies."""

import numpy as np
import pytest

from sanity import methods
from sanity.config.job import compose
from sanity.errors import ConfigError
from sanity.methods import Denoised, Noisy, Plan, Subject
from sanity.methods.denoised import noisy_subject

TARGETS = np.array([2, 5])


def subjects(shape=(16, 16, 3)):
    draw = np.random.default_rng(7)
    return [Subject(draw.random(shape, np.float32), name, 0) for name in "ab"]


def masks(classifier, subjects, **chosen):
    return Plan(chosen).prepare(subjects, TARGETS, 8).explain(classifier)


def test_denoised_gradient_is_smoothgrad(small):
    chosen = {
        "smoothgrad": methods.SmoothGrad(samples=6, noise=0.1),
        "denoised": Denoised(samples=6),
        "times_image": Denoised(method=methods.GradientXInput(), samples=6),
    }
    found = masks(small, subjects(), **chosen)
    np.testing.assert_array_equal(found["denoised"], found["smoothgrad"])
    assert Plan(chosen).distinct == 6


@pytest.mark.parametrize(
    "method",
    [
        methods.GradientXInput(),
        methods.SmoothGradSquared(samples=2),
        methods.GuidedBackprop(),
        methods.EpsilonLRP(),
        methods.DeepLiftRescale(baseline="mean"),
        methods.IntegratedGradients(steps=4, baseline="blurred"),
        methods.IntegratedGradientsSmoothGrad(steps=3, samples=2),
        methods.ExpectedGradients(samples=3),
    ],
    ids=lambda method: type(method).__name__,
)
def test_denoised_is_the_mean_mask_of_the_noisy_copies(small, method):
    """Against the method itself on images that are noisy."""
    denoised = Denoised(method=method, samples=3, noise=0.2)
    denoised.check(small)
    found = masks(small, subjects(), m=denoised)["m"]
    expected = np.mean(
        [
            masks(small, [noisy_subject(Noisy(0.2, i), s) for s in subjects()], m=method)["m"]
            for i in range(3)
        ],
        axis=0,
    )
    np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-5 * np.abs(expected).max())
    plain = masks(small, subjects(), m=method)["m"]
    assert np.abs(found - plain).max() > 0.01 * np.abs(plain).max()


def test_a_copys_own_noise_is_not_that_of_the_copy():
    (image, _) = subjects()
    copy = noisy_subject(Noisy(0.1, 0), image)
    first, again = (Noisy(0.1, 0).at(s) - s.image for s in (image, copy))
    assert abs(np.corrcoef(first.ravel(), again.ravel())[0, 1]) < 0.15
    np.testing.assert_array_equal(copy.image, Noisy(0.1, 0).at(image))


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("method._target_=sanity.methods.Occlusion", r"\.method=Occlusion.* made of gradients$"),
        ("method._target_=sanity.methods.GuidedGradCam", r"\.method=.* gradients alone$"),
        ("method=gradient", r"\.method=gradient must have the _target_"),
        ("samples=0", r"\.samples=0"),
        ("noise=0", r"\.noise=0"),
    ],
)
def test_mistakes(override, message):
    name = "denoised_guided_backprop"
    with pytest.raises(ConfigError, match=rf"method\.{name}{message}") as refused:
        compose([f"method=[{name}]", f"method.{name}.{override}"])
    assert "\n" not in str(refused.value)


def test_what_is_no_sum_over_gradients_is_refused(small):
    with pytest.raises(ConfigError, match=r"method=VarGrad makes masks that are no sums"):
        Denoised(method=methods.VarGrad()).check(small)
    with pytest.raises(ConfigError, match=r"baseline=\[0\.1\] has 1 values"):
        Denoised(method=methods.IntegratedGradients(baseline=[0.1])).check(small)
