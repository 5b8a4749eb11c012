"""Methods of one's own with something about them that is easily done wrong."""

import numpy as np
import pytest

from sanity.data import Images
from sanity.errors import ConfigError
from sanity.experiment.explaining import explain
from sanity.methods import Cost, Denoised, Gradient, GradientMethod, Method, Noisy, Original
from sanity.methods.masks import sound_masks
from sanity.methods.points import noisy
from sanity.randomization.stage import Stage
from tests.networks import small_classifier

TARGETS = np.array([1, 5, 2])
BESIDE = {"before": Gradient(), "after": Gradient()}


class Own(Method):
    """A gradient, of which `change` makes something else; it sees all that the method is given."""

    def __init__(self, change, gradients=0):
        self.change, self.gradients = change, gradients

    def masks(self, classifier, images, targets, seed, stage=0):
        return self.change(classifier.gradients(images.x, targets), images, targets)

    def cost(self, classifier, images):
        return Cost(gradients=self.gradients)


@pytest.fixture(scope="module")
def network():
    return small_classifier()


def masks_of(network, method, classes=None):
    """The method's masks of three images, and those of a method on either side of it."""
    x = np.random.default_rng(0).random((3, 16, 16, 3), np.float32)
    images = Images(x, ["a", "b", "c"], [None] * 3, [None] * 3, [""] * 3)
    methods = {"before": BESIDE["before"], "mine": method, "after": BESIDE["after"]}
    stage = Stage(0, "", (), network.trained.__getitem__, classes=classes)
    (found,) = explain(network, images, TARGETS, methods, [stage])
    np.testing.assert_array_equal(x, np.random.default_rng(0).random(x.shape, np.float32))
    assert found.targets.tolist() == TARGETS.tolist()
    plain = network.gradients(x, TARGETS)
    for name in BESIDE:
        np.testing.assert_allclose(found.masks[name], plain, rtol=1e-4, atol=1e-5)
    return found.masks["mine"], plain


def test_a_method_may_write_to_what_it_is_given(network):
    def change(gradients, images, targets):
        images.x[...] = 0
        targets[...] = 0
        images.names[0] = "other"
        return gradients

    found, plain = masks_of(network, Own(change))
    np.testing.assert_allclose(found, plain, rtol=1e-4, atol=1e-5)


def test_a_method_may_give_one_array_again_and_again(network):
    kept = np.zeros((1, 16, 16, 3), np.float32)

    def change(gradients, images, targets):
        kept[...] = gradients
        return kept

    found, plain = masks_of(network, Own(change, gradients=100))  # image by image
    np.testing.assert_allclose(found, plain, rtol=1e-4, atol=1e-5)


def test_infinite_masks_are_the_same_when_asked_again(network):
    found, plain = masks_of(network, Own(lambda g, images, targets: g + np.inf))
    assert np.isinf(found).all()


def test_a_method_that_gives_other_masks_when_asked_again_is_refused(network):
    seen = []

    def remember(gradients, images, targets):
        seen.append(gradients.mean())
        return gradients + len(seen)

    draw = np.random.default_rng(0)
    for change in (remember, lambda g, images, targets: draw.standard_normal(g.shape)):
        with pytest.raises(ConfigError, match=r"method\.mine gives other masks of the same images"):
            masks_of(network, Own(change))


class Kept(GradientMethod):
    """A gradient method of one's own, whose term depends on more than the gradient."""

    def __init__(self, change):
        self.change, self.kept, self.draw = change, [], np.random.default_rng(0)

    def points(self):
        return {Original(): 1.0}

    def term(self, gradient, point, subject):
        return self.change(self, gradient, subject)

    def keep(self, gradient):
        self.kept.append(gradient)
        return self.kept[0]


class Beside(Kept):
    """One whose masks depend on those beside."""

    def complete(self, masks, classifier, subjects, targets):
        return masks - masks.mean(0)


class OfSeveralShapes(Kept):
    """One that takes all channels of one gradient, and the first one of another."""

    def points(self):
        return {Original(): 0.5, Noisy(0.1, 0): 0.5}

    def term(self, gradient, point, subject):
        return gradient if isinstance(point, Original) else gradient[..., :1]


def test_terms_of_several_shapes_are_not_added_up(network):
    said = r"^method\.mine: term\(\) gives arrays of several shapes, .* cannot be added up$"
    with pytest.raises(ConfigError, match=said):
        masks_of(network, OfSeveralShapes(None))


AGAIN = "other masks of the same images when it is asked again"
ALONE = "another mask of (a|c) by itself than in a group of images"


@pytest.mark.parametrize(
    ("method", "said"),
    [
        (Kept(lambda m, g, s: g + 0.01 * g.max() * m.draw.standard_normal(g.shape)), AGAIN),
        (Kept(lambda m, g, s: g + m.keep(g) * len(m.kept)), AGAIN),
        (Kept(lambda m, g, s: g + m.keep(g)), ALONE),
        (Beside(lambda m, g, s: g), ALONE),
    ],
)
def test_a_gradient_methods_mask_depends_on_its_image_alone(network, method, said):
    with pytest.raises(ConfigError, match=rf"^method\.mine gives {said}"):
        masks_of(network, method)


def test_a_method_of_ones_own_that_is_averaged_is_held_to_it_too(network):
    drawing = Kept(lambda m, g, s: g * m.draw.random(g.shape))
    with pytest.raises(ConfigError, match=rf"^method\.mine gives {AGAIN}"):
        masks_of(network, Denoised(method=drawing, samples=2))


def test_a_gradient_method_may_draw_for_an_image_and_remember_it(network):
    def change(method, gradient, subject):
        method.keep(gradient)
        return gradient * subject.random("mine").random(gradient.shape)

    found, plain = masks_of(network, Kept(change))
    assert (np.abs(found) <= np.abs(plain) + 1e-5).all()


class First:
    """A gradient, less that of the first image that it ever saw."""

    first = None

    def __call__(self, gradients, images, targets):
        self.first = gradients[0] if self.first is None else self.first
        return gradients - self.first


@pytest.mark.parametrize(
    "method", [Own(lambda g, images, targets: g / np.abs(g).max()), Own(First(), gradients=100)]
)
def test_a_mask_that_depends_on_other_images_is_refused(network, method):
    """In its group, or where images are explained one by one."""
    with pytest.raises(ConfigError, match=rf"^method\.mine gives {ALONE}"):
        masks_of(network, method)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda g: g[:, ::2, ::2], r"masks of the shape \(3, 8, 8, 3\)"),
        (lambda g: g.transpose(0, 3, 1, 2), r"masks of the shape \(3, 3, 16, 16\)"),
        (lambda g: g[:1], r"masks of the shape \(1, 16, 16, 3\)"),
        (lambda g: g[0], r"masks of the shape \(16, 16, 3\)"),
        (lambda g: g + 1j, "ndarray"),
        (lambda g: None, "NoneType"),
        (lambda g: (one for one in g), "generator"),
        (lambda g: [g[0], g[1, :2]], "list"),
    ],
)
def test_masks_that_are_none_of_the_images(network, change, said):
    with pytest.raises(ConfigError, match=rf"^method\.mine gives {said} for 3 images of 16 × 16:"):
        masks_of(network, Own(lambda g, images, targets: change(g)))


def test_masks_of_other_kinds_are_taken_as_float32():
    values = np.random.default_rng(0).standard_normal((2, 4, 4))
    for masks in (list(values), values, values.astype(np.float16), (9 * values).astype(int)):
        found = sound_masks(masks, "mine", 2, (4, 4, 3))
        assert found.dtype == np.float32
        np.testing.assert_array_equal(found, np.asarray(masks).astype(np.float32))
    masked = sound_masks(np.ma.masked_less(values, 0), "mine", 2, (4, 4, 3))
    assert (np.isnan(masked) == (values < 0)).all()
    large = sound_masks(1e300 * values, "mine", 2, (4, 4, 3))  # float32 has none of these
    assert np.isfinite(large).all() and (1 <= np.abs(large).max((1, 2))).all()


def test_a_gradient_methods_own_masks_are_asked_for(network):
    class Absolute(Gradient):
        def masks(self, *given, **more):
            return np.abs(super().masks(*given, **more))

    found, plain = masks_of(network, Absolute())
    np.testing.assert_allclose(found, np.abs(plain), rtol=1e-4, atol=1e-5)


def writes_gradient(self, gradient, point, subject):
    gradient *= 0
    return gradient


def writes_image(self, gradient, point, subject):
    subject.image[...] = 0
    return gradient


def writes_copy(self, gradient, point, subject):
    noisy(0.1, 0).at(subject)[...] = 0
    return gradient


@pytest.mark.parametrize("term", [writes_gradient, writes_image, writes_copy])
def test_a_term_that_writes_to_what_others_see_is_refused(network, term):
    with pytest.raises(ConfigError, match=r"method\.mine writes to an array that it is given"):
        masks_of(network, type("Writes", (Gradient,), {"term": term})())


@pytest.mark.parametrize(
    ("points", "said"),
    [
        ([{}], "must give at least one point"),
        ([[Original()]], "must give at least one point"),
        ([{"image": 1.0}], "must give at least one point"),
        ([{Original(): np.nan}], "must give at least one point"),
        ([{Noisy(0.1, n): 1.0} for n in (1, 2)], "gives other points when it is asked again"),
    ],
)
def test_points_that_are_none(network, points, said):
    given = iter(points * 2)
    wrong = type("Wrong", (Gradient,), {"points": lambda self: next(given)})
    with pytest.raises(ConfigError, match=rf"^method\.mine: points\(\) {said}"):
        masks_of(network, wrong())


@pytest.mark.parametrize(
    ("field", "value", "said"),
    [
        ("term", lambda self, g, point, subject: None, r": term\(\) must give an array of real"),
        ("finish", lambda self, total, subject: total[::2], r" gives a mask of the shape \(8, 16"),
        ("finish", lambda self, total, subject: None, " gives NoneType for an image of 16 × 16"),
        ("complete", lambda self, masks, *more: masks[:1], " gives masks of the shape "),
    ],
)
def test_what_a_gradient_method_makes_of_gradients(network, field, value, said):
    with pytest.raises(ConfigError, match=f"^method.mine{said}"):
        masks_of(network, type("Wrong", (Gradient,), {field: value})())


@pytest.mark.parametrize("targets", [[0, 1, 7], [0, 1], [0.0, 1.0, 2.0], [-1, 0, 1], 3])
def test_targets_are_a_class_of_each_image(network, targets):
    images = Images(np.zeros((3, 16, 16, 3), np.float32), [*"abc"], *[[None] * 3] * 3)
    stage = Stage(0, "", (), network.trained.__getitem__)
    with pytest.raises(ConfigError, match="^targets must give a class from 0 to 6 for each of 3"):
        next(explain(network, images, targets, BESIDE, [stage]))


@pytest.mark.parametrize(
    "classes", [lambda c, images, targets: targets + 100, lambda *given: 3, lambda *given: None]
)
def test_a_stage_explains_a_class_of_each_image(network, classes):
    with pytest.raises(ConfigError, match="must give a class from 0 to 6 for each of 3 images"):
        masks_of(network, Gradient(), classes)


def test_a_stage_that_writes_to_the_classes_is_refused(network):
    def classes(classifier, images, targets):
        targets[...] = 0
        return targets

    with pytest.raises(ConfigError, match="writes to an array that it is given"):
        masks_of(network, Gradient(), classes)
