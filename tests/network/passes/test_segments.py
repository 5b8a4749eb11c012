"""The chain against plain gradients of the whole graph, under any sequence of weights."""

from dataclasses import replace

import numpy as np
import pytest
import tensorflow as tf

from sanity.network.classifier import Classifier
from sanity.network.graph import tensor_of
from sanity.network.passes.backprop_rules import rule as rule_of
from sanity.network.passes.segments import chain_segments
from sanity.randomization.weights import Randomization
from tests.float64 import near, twin
from tests.networks import small_classifier

TARGETS = np.array([0, 3, 6, 2, 2], np.int32)


def whole_gradient(classifier, x, targets, rule="plain"):
    """Without folding and without segments."""

    if (classifier, rule) not in _whole:
        _whole[classifier, rule] = traced_whole(classifier, rule)
    return _whole[classifier, rule](x, targets).numpy()


_whole = {}


def traced_whole(classifier, rule):
    graph, output = classifier._computed(classifier.graph), classifier.logits_tensor
    graph = rule_of(rule).applied(graph, output, "it")

    @tf.function(input_signature=[classifier.network.images, tf.TensorSpec([None], tf.int32)])
    def gradient(images, targets):
        (logits,) = graph.build(images, [output])
        return tf.gradients(tf.gather(logits, targets, batch_dims=1), images)[0]

    return gradient


def variables(seed):
    """Makes small random variables."""
    draw = np.random.default_rng(seed)

    def variable(name, *shape):
        return tf.Variable((0.4 * draw.standard_normal(shape)).astype(np.float32), name=name)

    return variable


def residual_classifier():
    """Blocks with branches: cut only between them."""
    variable = variables(1)
    stem = variable("stem/kernel", 3, 3, 3, 6)
    inner = [variable(f"block{i}/{n}/kernel", 3, 3, 6, 6) for i in range(3) for n in "ab"]
    dense = variable("top/kernel", 6, 7)

    @tf.function
    def network(images):
        x = tf.nn.conv2d(2 * images - 1, stem, 2, "SAME")
        for i in range(3):
            branch = tf.nn.relu(tf.nn.conv2d(x, inner[2 * i], 1, "SAME"))
            x = tf.nn.relu(x + tf.nn.conv2d(branch, inner[2 * i + 1], 1, "SAME"))
        return tf.reduce_mean(x, [1, 2]) @ dense

    return Classifier(network, (16, 16, 3), name="residual")


def skipping_classifier():
    """The images are read again at the end: it can be cut after that only."""
    draw = np.random.default_rng(2)
    kernel = tf.Variable(draw.standard_normal((3, 3, 3, 4)).astype(np.float32), name="a/kernel")
    dense = tf.Variable(draw.standard_normal((7, 7)).astype(np.float32), name="b/kernel")

    @tf.function
    def network(images):
        x = tf.reduce_mean(tf.nn.relu(tf.nn.conv2d(images, kernel, 1, "SAME")), [1, 2])
        return tf.concat([x, tf.reduce_mean(images, [1, 2])], 1) @ dense

    return Classifier(network, (16, 16, 3), name="skipping")


def pooling_classifier():
    """Max pools in a row, over windows that overlap, and averages that are better taken late."""
    variable = variables(5)
    stem, narrow = variable("stem/kernel", 3, 3, 3, 8), variable("narrow/kernel", 1, 1, 8, 4)
    last, dense = variable("last/kernel", 3, 3, 4, 6), variable("top/kernel", 6, 7)

    @tf.function
    def network(images):
        x = tf.nn.max_pool2d(tf.nn.conv2d(images - 0.5, stem, 1, "SAME"), 3, 2, "SAME")
        x = tf.nn.max_pool2d(x, 3, 2, "VALID")
        x = tf.nn.relu(tf.nn.conv2d(tf.nn.avg_pool2d(x, 3, 1, "SAME"), narrow, 1, "SAME"))
        x = tf.nn.max_pool2d(tf.nn.relu(tf.nn.conv2d(x, last, 1, "SAME")), 3, 2, "SAME")
        return tf.reduce_mean(x, [1, 2]) @ dense

    return Classifier(network, (16, 16, 3), name="pooling")


def branching_classifier():
    """Convolutions of one size side by side, after a block and before one."""
    variable = variables(4)
    stem, dense = variable("stem/kernel", 3, 3, 3, 8), variable("top/kernel", 13, 7)
    branches = [variable(f"mixed/{n}/kernel", 1, 1, 8, 4) for n in "abc"]
    wide = variable("mixed/wide/kernel", 3, 3, 4, 5)

    @tf.function
    def network(images):
        x = tf.nn.relu(tf.nn.conv2d(images - 0.5, stem, 2, "SAME"))
        a, b, c = (tf.nn.relu(tf.nn.conv2d(x, kernel, 1, "SAME")) for kernel in branches)
        b = tf.nn.relu(tf.nn.conv2d(b, wide, 1, "SAME"))
        x = tf.concat([a, b, tf.nn.max_pool2d(c, 3, 1, "SAME")], -1)
        return tf.reduce_mean(x, [1, 2]) @ dense

    return Classifier(network, (16, 16, 3), name="branching")


NETWORKS = {
    "branching": (branching_classifier, 3),
    "pooling": (pooling_classifier, 4),
    "small": (small_classifier, 3),
    "residual": (residual_classifier, 5),
    "skipping": (skipping_classifier, 2),
}


@pytest.fixture(scope="module", params=NETWORKS)
def network(request):
    make, count = NETWORKS[request.param]
    classifier = make()
    assert len(classifier._chain("plain").segments) == count
    return classifier


@pytest.fixture(scope="module")
def exact(network):
    return twin(network)


@pytest.mark.parametrize("rule", ["plain", "guided_backprop", "deconvnet"])
def test_equals_the_gradient_of_the_whole(network, exact, noise_images, rule):
    x = noise_images.x
    wanted = whole_gradient(exact, x, TARGETS, rule)
    near(exact.gradients(x, TARGETS, rule), wanted)
    near(network.gradients(x, TARGETS, rule), wanted, 1e-2)


def test_max_pools_are_beside_their_gradients():
    """Alone, TensorFlow's gradient of a max pool takes some ten times as long."""
    backward = pooling_classifier()._chain("plain").backward
    ops = [op.type for op in backward.graph.get_operations()]
    assert ops.count("MaxPool") == ops.count("MaxPoolGrad") == 3


def test_parallel_convolutions_have_one_gradient():
    backward = branching_classifier()._chain("plain").backward
    ops = [op.type for op in backward.graph.get_operations()]
    # Of the stem, of the wide one, and of the others together.
    assert ops.count("Conv2DBackpropInput") == 3


@pytest.mark.parametrize("batch_size", [1, 2, 3, 5, 6, 7])
def test_batches_of_any_size_have_baselines(noise_images, batch_size):
    x, baselines = noise_images.x, np.zeros_like(noise_images.x)
    whole, cut = small_classifier(), small_classifier()
    cut.batch_size = batch_size
    expected, found = (c.gradients(x, TARGETS, "deeplift_rescale", baselines) for c in (whole, cut))
    np.testing.assert_array_equal(found, expected)


ORDERS = ["cascading", "cascading_bottom_up", "independent", "random_order", "full"]


@pytest.mark.parametrize("order", ORDERS)
@pytest.mark.parametrize("rule", ["plain", "guided_backprop"])
def test_what_is_kept_changes_nothing(network, exact, noise_images, order, rule):
    """One walk through the stages, forth and back, is equal to the bit to fresh ones."""
    x = noise_images.x
    stages = Randomization(order=order).stages(network, network.blocks, 0)
    with network.weights.restored():
        gradient, exactly = network.batch_gradient(x, rule), exact.batch_gradient(x, rule)
        for stage in [*stages, *reversed(stages), stages[1], stages[0]]:
            network.weights.put(stage.make_weights())
            fresh = network.gradients(x, TARGETS, rule)
            np.testing.assert_array_equal(gradient(TARGETS), fresh)
            near(exactly(TARGETS), whole_gradient(exact, x, TARGETS, rule))


def test_what_has_not_changed_is_not_computed_again(noise_images):
    network = residual_classifier()
    counted = []
    chain = network._chain("plain")

    def counting(index, segment):
        def forward(x):
            counted.append(index)
            return segment.forward(x)

        return replace(segment, forward=forward)

    counted_ones = [counting(i, segment) for i, segment in enumerate(chain.segments)]
    network._chains[network.precision, "plain"] = replace(chain, segments=counted_ones)
    assert [list(segment.variables) for segment in chain.segments] == [
        ["stem/kernel"],
        *([f"block{i}/a/kernel", f"block{i}/b/kernel"] for i in range(3)),
        ["top/kernel"],
    ]
    gradient = network.batch_gradient(noise_images.x)
    with network.weights.restored():
        for changed, wanted in [
            ([], [0, 1, 2, 3, 4]),
            (["top/kernel"], [4]),
            (["top/kernel"], []),
            (["top/kernel", "block2/b/kernel"], [3, 4]),
            (["block2/b/kernel"], [4]),
            ([], [3, 4]),
            (["block0/a/kernel"], [1, 2, 3, 4]),
        ]:
            network.weights.put({name: ZEROED(network, name) for name in changed})
            counted.clear()
            gradient(TARGETS)
            assert counted == wanted, changed


_zeroed = {}


def ZEROED(network, name):  # noqa: N802 - one array a variable, as nested draws give
    return _zeroed.setdefault(name, np.zeros_like(network.trained[name]))


def test_an_equal_estimate_is_no_change(noise_images):
    """Moving statistics are estimated anew at each stage; where they come out equal, they hold."""
    network = small_classifier()
    mean = network.trained["stem/moving_mean"]
    calls = []
    chain = network._chain("plain")
    counted = [
        replace(s, forward=lambda x, s=s: calls.append(1) or s.forward(x)) for s in chain.segments
    ]
    network._chains[network.precision, "plain"] = replace(chain, segments=counted)
    gradient = network.batch_gradient(noise_images.x)
    with network.weights.restored():
        for value, count in [(mean + 1, len(counted)), (mean + 1, 0), (mean + 2, len(counted))]:
            network.weights.put({"stem/moving_mean": value})
            calls.clear()
            gradient(TARGETS)
            assert len(calls) == count


def test_weights_read_by_two_segments(noise_images):
    """A shared kernel belongs to both."""
    draw = np.random.default_rng(3)
    shared = tf.Variable(draw.standard_normal((3, 3, 3, 3)).astype(np.float32), name="a/kernel")
    middle = tf.Variable(draw.standard_normal((3, 3, 3, 3)).astype(np.float32), name="b/kernel")
    dense = tf.Variable(draw.standard_normal((3, 7)).astype(np.float32), name="c/kernel")

    @tf.function
    def function(images):
        x = tf.nn.relu(tf.nn.conv2d(images, shared, 1, "SAME"))
        x = tf.nn.relu(tf.nn.conv2d(x, middle, 1, "SAME"))
        x = tf.nn.relu(tf.nn.conv2d(x, shared, 1, "SAME"))
        return tf.reduce_mean(x, [1, 2]) @ dense

    network = twin(Classifier(function, (16, 16, 3), name="shared"))
    readers = [
        i for i, s in enumerate(network._chain("plain").segments) if "a/kernel" in s.variables
    ]
    assert len(readers) == 2
    gradient = network.batch_gradient(noise_images.x)
    gradient(TARGETS)
    with network.weights.restored():
        network.weights.put({"a/kernel": network.trained["a/kernel"] + 0.5})
        near(gradient(TARGETS), whole_gradient(network, noise_images.x, TARGETS))


def test_without_groups_there_is_one_segment(small):
    parts = (small.graph, [small.logits_tensor], small.network.images, small.placeholders)
    (segment,) = chain_segments(*parts).segments
    assert set(segment.variables) == set(small.parameters)


@pytest.mark.parametrize("order", ["cascading", "cascading_bottom_up", "independent"])
def test_moments_are_those_of_a_fresh_pass(lite0, samples, order):
    """To the bit, whatever passed before."""
    layers = ["head", "block15", "block8", "block1", "stem"]
    stages = Randomization(order=order, moving_statistics="keep").stages(lite0, layers, 0)
    names = [name for norm in lite0.batch_norms[3:] for name in (norm.mean, norm.variance)]
    x = samples.x[:3]
    moments = lite0.batch_moments(x)
    with lite0.weights.restored():
        for stage in [*stages, stages[2], stages[0]]:
            lite0.weights.put(stage.make_weights())
            found, fresh = moments(names), lite0.batch_moments(x)(names)
            for name in names:
                np.testing.assert_array_equal(found[name], fresh[name], err_msg=name)
        some = moments(names[-4:])  # the first of these are the moving ones now
        (fresh,) = lite0.read(x, [tensor_of(lite0.batch_norms[-2].tensor)])
        np.testing.assert_allclose(
            some[names[-4]], fresh.mean((0, 1, 2), np.float64), rtol=1e-4, atol=1e-5
        )
