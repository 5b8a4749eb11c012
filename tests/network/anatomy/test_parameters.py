"""What variables are, told from the graph alone."""

import numpy as np
import pytest
import tensorflow as tf

from sanity.errors import ConfigError
from sanity.network.classifier import Classifier
from sanity.randomization import Randomization
from sanity.randomization.initializers import IDENTITY
from tests.network.anatomy.zoo import NETWORKS, Maker

LIES = ("moving_variance", "kernel", "gamma", "bias")


def made(name, lie="moving_variance"):
    build, shape = NETWORKS[name]
    make = Maker(lie)
    return make, Classifier(build(make), shape, name=name)


@pytest.mark.parametrize("name", NETWORKS)
def test_roles_are_told_from_the_graph(name):
    make, classifier = made(name)
    found = classifier.parameters
    assert {n: p.kind for n, p in found.items()} == make.kinds
    fans = {n: (found[n].fan_in, found[n].fan_out) for n, fans in make.fans.items() if fans}
    assert fans == {n: make.fans[n] for n in fans}
    assert [n for n in make.kinds if found[n].trainable] == make.trainable
    assert all(p.reaches for p in found.values())


@pytest.mark.parametrize("lie", LIES[1:])
def test_names_play_no_part(lie):
    make, classifier = made("batch norms", lie)
    assert {n: p.kind for n, p in classifier.parameters.items()} == make.kinds


@pytest.mark.parametrize("order", ["cascading", "full"])
@pytest.mark.parametrize("name", NETWORKS)
def test_a_full_cascade_takes_all_that_is_trainable(name, order):
    make, classifier = made(name)
    randomization = Randomization(order=order, moving_statistics="keep")
    stages = randomization.stages(classifier, classifier.blocks, 0)
    frozen = {n for n, p in classifier.parameters.items() if p.learned} - {*make.trainable}
    assert {*stages[-1].variables} == {*make.trainable} | frozen
    for variable in stages[-1].variables:  # so that what is set to an identity is seen to change
        assert (stages[-1].draw(variable) != classifier.trained[variable]).any(), variable
        kind = classifier.parameters[variable].kind
        if randomization.policy(kind) == "identity":
            assert (classifier.trained[variable] != IDENTITY[kind]).all(), variable
    blocks = {p.block for p in classifier.parameters.values() if p.learned}
    assert blocks == {*classifier.blocks}


@pytest.mark.parametrize("name", NETWORKS)
def test_a_randomized_network_computes(name):
    _, classifier = made(name)
    images = np.random.default_rng(0).random((4, *classifier.input_shape), np.float32)
    randomization = Randomization(order="full", moving_statistics="identity")
    stage = randomization.stages(classifier, classifier.blocks, 0)[1]
    trained = classifier.logits(images)
    with classifier.weights.restored():
        classifier.weights.put(stage.make_weights())
        logits = classifier.logits(images)
    assert np.isfinite(logits).all()
    assert not np.isclose(logits, trained).any(axis=1).all()
    np.testing.assert_array_equal(classifier.logits(images), trained)


def recurrent(layer, unroll, **options):
    import keras

    inputs = keras.Input((6, 5, 2))
    x = keras.layers.TimeDistributed(keras.layers.Flatten())(inputs)
    outputs = keras.layers.Dense(3)(getattr(keras.layers, layer)(4, unroll=unroll, **options)(x))
    return keras.Model(inputs, outputs)


@pytest.mark.parametrize(
    ("layer", "options"),
    [("GRU", {}), ("GRU", {"reset_after": False}), ("LSTM", {}), ("SimpleRNN", {})],
    ids=["GRU", "GRU of 2014", "LSTM", "SimpleRNN"],
)
@pytest.mark.parametrize("unroll", [True, False], ids=["unrolled", "loop"])
def test_recurrent_cells(layer, options, unroll):
    model = recurrent(layer, unroll, **options)
    variables = {v.path: v.value for v in model.variables}
    classifier = Classifier(lambda x: model(x), (6, 5, 2), variables=variables)
    found = classifier.parameters
    stage = Randomization(order="full").stages(classifier, classifier.blocks, 0)[1]
    assert {*stage.variables} == {v.path for v in model.trainable_variables}
    kinds = {n.split("/")[-1]: p.kind for n, p in found.items() if "dense" not in n}
    assert kinds == {"kernel": "kernel", "recurrent_kernel": "kernel", "bias": "bias"}
    gates = {"GRU": 3, "LSTM": 4, "SimpleRNN": 1}[layer]
    fans = {n.split("/")[-1]: (p.fan_in, p.fan_out) for n, p in found.items() if p.fan_in}
    assert fans["recurrent_kernel"][0] == 4
    assert gates * 4 % fans["recurrent_kernel"][1] == 0


def test_towers_of_equal_names_are_told_apart():
    draw = np.random.default_rng(0)

    def tower():
        values = {"kernel": draw.random((1, 1, 3, 4))}
        values |= {"gamma": draw.random(4), "beta": draw.random(4)}
        values |= {"moving_mean": draw.random(4), "moving_variance": draw.random(4) + 1}
        return [
            tf.Variable(value, name=name, dtype=tf.float32, trainable="moving" not in name)
            for name, value in values.items()
        ]

    towers = tower(), tower()
    head = tf.Variable(draw.random((8, 3)), name="kernel", dtype=tf.float32)

    def function(x):
        sides = []
        for kernel, gamma, beta, mean, variance in towers:
            y = tf.nn.conv2d(x, kernel, 1, "SAME")
            sides.append(tf.nn.batch_normalization(y, mean, variance, beta, gamma, 1e-3))
        return tf.reduce_mean(tf.nn.relu(tf.concat(sides, -1)), [1, 2]) @ head

    classifier = Classifier(function, (4, 4, 3))
    found = {n: p.kind for n, p in classifier.parameters.items()}
    twice = {"kernel": "kernel", "gamma": "scale", "beta": "offset"}
    twice |= {"moving_mean": "moving_mean", "moving_variance": "moving_variance"}
    expected = twice | {f"{name}_1": kind for name, kind in twice.items()} | {"kernel_2": "kernel"}
    assert found == expected
    assert len(classifier.batch_norms) == 2
    stage = Randomization(order="full").stages(classifier, classifier.blocks, 0)[1]
    assert {*stage.variables} == {*expected}


def test_only_what_reaches_the_explained_output_counts():
    draw = np.random.default_rng(0)
    kernels = [
        tf.Variable(draw.random(shape), name=f"{name}/kernel", dtype=tf.float32)
        for name, shape in (("stem", (1, 1, 3, 4)), ("own", (4, 5)), ("other", (4, 5)))
    ]
    scale, shared, statistics = (
        tf.Variable(draw.random(4) + 1, name=name, dtype=tf.float32)
        for name in ("other/gamma", "stem/bias", "other/moving_variance")
    )

    def function(x):
        x = tf.nn.relu(tf.nn.conv2d(x, kernels[0], 1, "SAME") + shared)
        y = tf.reduce_mean(x, [1, 2]) * scale * tf.math.rsqrt(statistics)
        return {"own": tf.reduce_mean(x, [1, 2]) @ kernels[1], "other": y @ kernels[2]}

    classifier = Classifier(function, (4, 4, 3), output="own")
    assert classifier.blocks == ["own", "stem"]
    reach = {n: p.reaches for n, p in classifier.parameters.items()}
    assert reach == {n: not n.startswith("other") for n in reach}
    assert len(reach) == 6
    assert classifier.parameters["other/kernel"].kind == "kernel"
    assert classifier.parameters["other/kernel"].block == ""
    assert not classifier.batch_norms  # another output's would need a mean
    stages = Randomization().stages(classifier, classifier.blocks, 0)
    assert {*stages[-1].variables} == {"own/kernel", "stem/kernel", "stem/bias"}
    with pytest.raises(ConfigError, match=r"other/moving_variance normalises nothing"):
        Randomization().stages(Classifier(function, (4, 4, 3), output="other"), ["other"], 0)


def test_statistics_folded_into_a_kernel_are_not_estimated_again():
    make = Maker()
    kernel, (gamma, beta, mean, variance) = make("kernel", 3, 3, 3, 4), make.norm(4)
    head = make("kernel", 4, 3)

    def function(x):
        factor = gamma * tf.math.rsqrt(variance + 1e-3)
        x = tf.nn.conv2d(x, kernel * factor, 1, "SAME") + (beta - mean * factor)
        return tf.reduce_mean(tf.nn.relu(x), [1, 2]) @ head

    classifier = Classifier(function, (4, 4, 3))
    assert {n: p.kind for n, p in classifier.parameters.items()} == make.kinds
    with pytest.raises(ConfigError, match="moving_statistics=keep leaves it"):
        Randomization().stages(classifier, classifier.blocks, 0)


def test_kernels_of_whole_numbers_survive_and_are_named():
    """As Keras' `quantize("int8")` makes them: nothing is drawn for them, their scales stay."""
    draw = np.random.default_rng(0)
    conv = tf.Variable(draw.normal(size=(3, 3, 3, 4)).astype(np.float32), name="conv/kernel")
    whole = draw.integers(-99, 99, (4, 5)).astype(np.int8)
    head = tf.Variable(whole, trainable=False, name="head/kernel")
    scale = tf.Variable(np.full(5, 50, np.float32), trainable=False, name="head/scale")

    def network(x):
        x = tf.reduce_mean(tf.nn.relu(tf.nn.conv2d(x, conv, 1, "SAME")), [1, 2])
        return x @ tf.cast(head, tf.float32) / scale

    classifier = Classifier(network, (8, 8, 3))
    kinds = {name: p.kind for name, p in classifier.parameters.items()}
    expected = {"conv/kernel": "kernel", "head/kernel": "quantized", "head/scale": "range"}
    assert kinds == expected
    assert Randomization().survivors(classifier, classifier.blocks) == ["head/kernel"]
    (full,) = Randomization(order="full").stages(classifier, classifier.blocks, 0)[1:]
    assert full.variables == ("conv/kernel",)


BITS = np.random.default_rng(1).random((3, 3, 3, 4)) > 0.5
BESIDE = {
    "mask": (BITS.astype(np.float32), lambda kernel, beside: kernel * beside),
    "bits": (BITS.astype(np.int8), lambda kernel, beside: kernel * tf.cast(beside, tf.float32)),
    "switches": (BITS, lambda kernel, beside: tf.where(beside, kernel, 0.0)),
    "order": (np.int32([2, 0, 3, 1]), lambda kernel, beside: tf.gather(kernel, beside, axis=3)),
}


@pytest.mark.parametrize("name", BESIDE)
def test_what_chooses_of_a_kernel_is_not_drawn_and_no_kernel(name):
    values, chosen = BESIDE[name]
    draw = np.random.default_rng(0)
    kernel = tf.Variable(draw.normal(size=(3, 3, 3, 4)).astype(np.float32), name="conv/kernel")
    beside = tf.Variable(values, trainable=False, name="conv/beside")

    def network(x):
        x = tf.nn.conv2d(x, chosen(kernel, beside), 1, "SAME")
        return tf.reduce_mean(tf.nn.relu(x), [1, 2])

    parameters = Classifier(network, (8, 8, 3)).parameters
    assert (parameters["conv/beside"].kind, parameters["conv/beside"].learned) == ("other", False)
    assert parameters["conv/kernel"].fan_in == 27


def fans_of(function, shape, *variables):
    classifier = Classifier(function, shape, variables={v.name: v for v in variables})
    return {n: (p.kind, p.fan_in, p.fan_out) for n, p in classifier.parameters.items()}


def drawn(name, *shape):
    return tf.Variable(np.random.default_rng(0).normal(size=shape).astype(np.float32), name=name)


def test_a_transposed_convolution_sums_over_what_its_strides_leave():
    kernel, head = drawn("up", 4, 4, 5, 3), drawn("head", 5, 6)

    def function(x):
        x = tf.nn.conv2d_transpose(x, kernel, [tf.shape(x)[0], 16, 16, 5], 2)
        return tf.nn.tanh(tf.reduce_mean(x, [1, 2])) @ head

    assert fans_of(function, (8, 8, 3), kernel, head)["up:0"] == ("kernel", 2 * 2 * 3, 4 * 4 * 5)


def test_groups_of_a_sum_have_fans_of_their_own():
    kernel, head = drawn("groups", 4, 12, 7), drawn("head", 28, 6)

    def function(x):
        x = tf.reshape(tf.reduce_mean(x, 1), [-1, 4, 12])
        x = tf.einsum("ngi,gio->ngo", x, kernel)
        return tf.reshape(tf.nn.tanh(x), [-1, 28]) @ head

    assert fans_of(function, (8, 16, 3), kernel, head)["groups:0"] == ("kernel", 12, 7)


@pytest.mark.parametrize("turned", [False, True])
def test_a_learned_querys_kernel_sums_over_its_channels(turned):
    """With heads, which a transpose puts before the queries; keys may come transposed."""
    query, own = drawn("query", 5, 24), drawn("own", 24, 8)
    key, head = drawn("key", 3, 8), drawn("head", 80, 6)

    def function(x):
        q = tf.transpose(tf.reshape(query @ own, [5, 2, 4]), [1, 0, 2])[None]
        k = tf.reshape(tf.reshape(x, [-1, 3]) @ key, [-1, 16, 2, 4])
        if turned:
            scores = tf.matmul(q, tf.transpose(k, [0, 2, 3, 1]))
        else:
            scores = tf.matmul(q, tf.transpose(k, [0, 2, 1, 3]), transpose_b=True)
        rows = tf.matmul(tf.nn.softmax(scores), tf.transpose(k, [0, 2, 1, 3]))
        return tf.reshape(rows, [-1, 40]) @ head[:40]

    found = fans_of(function, (4, 4, 3), query, own, key, head)
    assert found["own:0"] == ("kernel", 24, 8)
    assert found["query:0"][1] == 24


def test_gains_and_offsets_of_a_standardized_kernel_are_no_kernels():
    kernel, gain, offset = drawn("kernel", 3, 3, 3, 6), drawn("gain", 6), drawn("offset", 6)

    def function(x):
        flat = tf.reshape(kernel, [1, 1, 27, 6])
        mean, variance = tf.nn.moments(flat, [0, 1, 2])
        made = tf.raw_ops.FusedBatchNormV3(
            x=flat, scale=gain, offset=offset, mean=mean, variance=variance, is_training=False
        ).y
        return tf.reduce_mean(
            tf.nn.tanh(tf.nn.conv2d(x, tf.reshape(made, kernel.shape), 1, "SAME")), [1, 2]
        )

    found = fans_of(function, (8, 8, 3), kernel, gain, offset)
    assert [found[f"{name}:0"][0] for name in ("kernel", "gain", "offset")] == [
        "kernel",
        "scale",
        "bias",
    ]


def test_what_makes_positions_of_coordinates_is_a_kernel():
    """As Swin V2's continuous positions: a network on a grid, added to scores of attention."""
    first, bias, second = drawn("first", 2, 32), drawn("bias", 32), drawn("second", 32, 3)
    conv, head = drawn("conv", 2, 2, 3, 3), drawn("head", 16, 6)
    grid = np.stack(np.meshgrid(np.arange(4.0), np.arange(4.0)), -1).astype(np.float32)

    def function(x):
        places = tf.nn.relu(tf.reshape(grid, [-1, 2]) @ first + bias) @ second
        x = tf.reshape(tf.nn.conv2d(x, conv, 2, "SAME"), [-1, 3, 16]) + tf.transpose(places)
        return tf.reduce_mean(tf.nn.tanh(x), 1) @ head

    found = fans_of(function, (8, 8, 3), first, bias, second, conv, head)
    assert found["first:0"] == ("kernel", 2, 32)
    assert found["second:0"] == ("kernel", 32, 3)
    assert found["bias:0"][0] == "bias"
