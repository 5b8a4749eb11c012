import logging
import re
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
import tensorflow as tf
from scipy import stats

from sanity.config.job import compose
from sanity.errors import ConfigError
from sanity.network.classifier import Classifier
from sanity.randomization.initializers import (
    IDENTITY,
    INITIALIZERS,
    Glorot,
    He,
    Noise,
    Normal,
    Permutation,
    TruncatedNormal,
    Uniform,
    Variable,
)
from sanity.randomization.weights import Randomization
from tests.networks import small_classifier

ORDERS = ["cascading", "cascading_bottom_up", "independent", "full", "random_order"]
KEPT = {"biases": "keep", "batch_norm": "keep", "moving_statistics": "keep"}
SELECTIONS = {
    "all kernels": KEPT,
    "first kernels": {**KEPT, "kernels": "first"},
    "drawn": {"biases": "draw", "batch_norm": "draw", "moving_statistics": "keep"},
    "identity": {"moving_statistics": "identity"},
    "re-estimated": {},
    "biases only": {"kernels": "keep", "batch_norm": "keep", "moving_statistics": "keep"},
    "scale and offset only": {**KEPT, "kernels": "keep", "batch_norm": "draw"},
}
BLOCKS = ["top", "b", "a", "stem"]
# Variables that this network has in every block: kernels in their order in the graph.
KERNELS = {
    "stem": ["stem/kernel"],
    "a": ["a/kernel", "a/pointwise/kernel"],
    "b": ["b/kernel"],
    "top": ["top/kernel"],
}
NORMS = {"stem": "x * scale + shift", "a": "(x - mean) * scale", "b": "fused"}


@pytest.fixture(scope="module")
def net():
    """Two blocks side by side between a stem and a dense layer; three ways to write batch norm."""
    draw = np.random.default_rng(1)

    def variable(name, *shape, around=0.0):
        values = (around + 0.4 * draw.standard_normal(shape)).astype(np.float32)
        with tf.name_scope(""):
            return tf.Variable(values, name=name)

    kernels = {
        "stem": variable("stem/kernel", 3, 3, 3, 8),
        "a": variable("a/kernel", 3, 3, 8, 8),
        "a/pointwise": variable("a/pointwise/kernel", 1, 1, 8, 8),
        "b": variable("b/kernel", 3, 3, 8, 8),  # of the same shape as a's
        "top": variable("top/kernel", 8, 7),
    }
    biases = {"top": variable("top/bias", 7), "b": variable("b/bias", 8)}
    norms = {}
    for block in NORMS:
        variance = tf.Variable(draw.random(8, np.float32) + 0.5, name=f"{block}/moving_variance")
        norms[block] = (
            variable(f"{block}/gamma", 8, around=1),
            variable(f"{block}/beta", 8),
            variable(f"{block}/moving_mean", 8),
            variance,
        )

    def conv(x, block):
        return tf.nn.conv2d(x, kernels[block], 1, "SAME")

    @tf.function
    def network(images):
        gamma, beta, mean, variance = norms["stem"]
        scale = gamma * tf.math.rsqrt(variance + 1e-3)
        x = tf.nn.relu(conv(images, "stem") * scale + (beta - mean * scale))
        gamma, beta, mean, variance = norms["a"]
        left = (conv(x, "a") - mean) * (gamma / tf.sqrt(variance + 1e-3)) + beta
        left = conv(tf.nn.relu(left), "a/pointwise")
        gamma, beta, mean, variance = norms["b"]
        right = tf.nn.bias_add(conv(x, "b"), biases["b"])
        right = tf.raw_ops.FusedBatchNormV3(
            x=right, scale=gamma, offset=beta, mean=mean, variance=variance, is_training=False
        ).y
        x = tf.nn.relu(left + right)
        return tf.nn.bias_add(tf.reduce_mean(x, [1, 2]) @ kernels["top"], biases["top"])

    return Classifier(network, (16, 16, 3), name="two paths", blocks=BLOCKS)


@pytest.fixture(scope="module")
def calibration():
    from sanity.data import ImageNetSamples

    return ImageNetSamples(limit=None).load((16, 16, 3)).x


def selected(block, selection):
    """What a selection chooses in a block of `net`, told from the variables' names alone."""
    policy = {"kernels": "all", "biases": "identity", "batch_norm": "identity", **selection}
    chosen = {"all": KERNELS[block], "first": KERNELS[block][:1], "keep": []}[policy["kernels"]]
    chosen = set(chosen)
    if policy["biases"] != "keep":
        chosen |= {f"{block}/bias"} & {"top/bias", "b/bias"}
    if policy["batch_norm"] != "keep" and block in NORMS:
        chosen |= {f"{block}/gamma", f"{block}/beta"}
    if policy.get("moving_statistics", "reestimate") in ("draw", "identity") and block in NORMS:
        chosen |= {f"{block}/moving_mean", f"{block}/moving_variance"}
    return chosen


def expected_blocks(order, layers, stage):
    return {
        "cascading": layers[:stage],
        "cascading_bottom_up": layers[::-1][:stage],
        "independent": [layers[stage - 1]],
        "full": layers,
    }[order]


@pytest.mark.parametrize("selection", SELECTIONS)
@pytest.mark.parametrize("initializer", INITIALIZERS)
@pytest.mark.parametrize("order", ORDERS)
def test_exactly_what_is_selected_changes(net, order, initializer, selection):
    options = SELECTIONS[selection]
    # Blocks without any bias have nothing to randomize where only biases are.
    layers = {"biases only": ["top", "b"], "scale and offset only": ["b", "a", "stem"]}.get(
        selection, BLOCKS
    )
    randomization = Randomization(order=order, initializer=initializer, **options)
    stages = randomization.stages(net, layers, 0)
    again = randomization.stages(net, layers, 0)
    other = randomization.stages(net, layers, 1)
    assert len(stages) == (2 if order == "full" else len(layers) + 1)
    done = []
    with net.weights.restored():
        for stage, repeated, reseeded in zip(stages, again, other, strict=True):
            weights = stage.make_weights()
            net.weights.put(weights)
            if stage.index == 0:
                assert not weights
                continue
            done.append(stage.layer)
            blocks = (
                done if order == "random_order" else expected_blocks(order, layers, stage.index)
            )
            wanted = set().union(*(selected(block, options) for block in blocks))
            drawn = {n: v for n, v in weights.items() if n in wanted}
            assert drawn.keys() == wanted
            rest = weights.keys() - wanted
            assert all("/moving_" in name for name in rest)
            assert not rest or selection == "re-estimated"
            current = net.weights.read()
            for name, trained in net.trained.items():
                if name not in weights:
                    np.testing.assert_array_equal(current[name], trained)
                else:
                    np.testing.assert_array_equal(current[name], weights[name])
                    assert weights[name].dtype == trained.dtype
                    changed = (current[name] != trained).any()
                    assert changed, name
            for name, value in repeated.make_weights().items():
                np.testing.assert_array_equal(value, weights[name])
            kernels = [n for n in drawn if n.endswith("kernel")]
            if initializer != "zeros" and order != "random_order":
                for name in kernels:
                    assert (reseeded.draw(name) != drawn[name]).any(), name
            if initializer != "zeros" and {"a/kernel", "b/kernel"} <= drawn.keys():
                assert not np.isclose(drawn["a/kernel"], drawn["b/kernel"]).all()
                assert abs(np.corrcoef(drawn["a/kernel"].flat, drawn["b/kernel"].flat)[0, 1]) < 0.2
    for name, value in net.weights.read().items():
        np.testing.assert_array_equal(value, net.trained[name])


@pytest.mark.parametrize("order", ORDERS)
def test_stages_know_their_place(net, order):
    stages = Randomization(order=order).stages(net, BLOCKS, 0)
    depths = {p.block: p.depth for p in reversed(net.parameters.values())}  # the least of each
    names = [stage.layer for stage in stages]
    if order == "full":
        assert names == ["", "all"]
        assert stages[1].depth == depths["stem"]
    else:
        assert sorted(names[1:]) == sorted(BLOCKS)
        assert [stage.depth for stage in stages[1:]] == [depths[name] for name in names[1:]]
        assert all(set(s.new) == selected(s.layer, {}) for s in stages[1:])
    if order == "cascading":
        assert names[1:] == BLOCKS
    if order == "cascading_bottom_up":
        assert names[1:] == BLOCKS[::-1]


def test_survivors_are_what_no_option_keeps(net):
    def survivors(blocks=BLOCKS, layers=None, **options):
        chosen = {
            n: p if p.block in blocks else replace(p, block="") for n, p in parameters.items()
        }
        seen = SimpleNamespace(blocks=blocks, parameters=chosen)
        return Randomization(**options).survivors(seen, layers or blocks)

    parameters = net.parameters
    assert survivors() == survivors(**KEPT) == survivors(kernels="first") == []
    assert survivors(order="independent") is None
    assert survivors(layers=["top"]) is None
    left = ["stem/kernel", "stem/gamma", "stem/beta"]
    assert survivors(blocks=BLOCKS[:-1]) == left
    assert survivors(blocks=BLOCKS[:-1], kernels="first") == left[1:]
    assert survivors(blocks=BLOCKS[:-1], **KEPT, order="full") == left[:1]


def test_random_orders_are_keyed_by_the_seed(net):
    def order(seed):
        stages = Randomization(order="random_order").stages(net, BLOCKS, seed)
        return tuple(stage.layer for stage in stages[1:])

    orders = [order(seed) for seed in range(40)]
    assert orders == [order(seed) for seed in range(40)]
    assert len(set(orders)) > 12  # of 24
    assert {names[0] for names in orders} == set(BLOCKS)


@pytest.mark.parametrize("selection", ["re-estimated", "identity", "drawn"])
def test_cascades_meet_at_the_end(net, selection):
    first, *others = (
        Randomization(order=order, **SELECTIONS[selection])
        .stages(net, BLOCKS, 3)[-1]
        .make_weights()
        for order in ("cascading", "cascading_bottom_up", "random_order", "full")
    )
    for weights in others:
        assert weights.keys() == first.keys()
        for name, value in first.items():
            np.testing.assert_array_equal(weights[name], value)


def test_a_cascade_is_nested_and_shares_its_arrays(net):
    stages = Randomization(**KEPT).stages(net, BLOCKS, 0)
    before = {}
    for stage in stages:
        weights = stage.make_weights()
        assert all(weights[name] is value for name, value in before.items())
        before = weights


def test_fresh_draws_differ_from_stage_to_stage(net):
    stages = Randomization(draws="fresh", **KEPT).stages(net, BLOCKS, 0)
    values = [stage.draw("top/kernel") for stage in stages[1:]]
    for index, value in enumerate(values):
        np.testing.assert_array_equal(value, stages[index + 1].draw("top/kernel"))
        assert not any(np.isclose(value, other).any() for other in values[:index])


def test_weights_return_after_an_exception(net):
    stages = Randomization().stages(net, BLOCKS, 0)
    broken = {
        **stages[-1].make_weights(),
        "top/bias": np.zeros(3, np.float32),
    }  # of the wrong shape
    for weights in (stages[-1].make_weights(), broken):
        with pytest.raises((ZeroDivisionError, ValueError)), net.weights.restored():
            net.weights.put(weights)
            raise ZeroDivisionError
        for name, value in net.weights.read().items():
            np.testing.assert_array_equal(value, net.trained[name])


# Distributions


def draw_of(net, initializer, name="a/kernel", **options):
    return Randomization(initializer=initializer, **options).stages(net, BLOCKS, 0)[-1].draw(name)


FAN_IN, FAN_OUT = 72, 72
STD = np.sqrt(2 / FAN_IN)
UNIT = stats.truncnorm(-2, 2).std()


@pytest.mark.parametrize(
    ("initializer", "distribution"),
    [
        ("truncated_normal", stats.truncnorm(-2, 2, scale=STD / UNIT)),
        (TruncatedNormal(std=0.01), stats.truncnorm(-2, 2, scale=0.01)),
        ("normal", stats.norm(0, STD)),
        (Normal(mean=1.0, std=0.1), stats.norm(1, 0.1)),
        ("uniform", stats.uniform(-1, 2)),
        (Uniform(low=0.0, high=3.0), stats.uniform(0, 3)),
        ("he", stats.norm(0, STD)),
        (He(distribution="uniform"), stats.uniform(-np.sqrt(6 / 72), 2 * np.sqrt(6 / 72))),
        (
            He(distribution="truncated_normal"),
            stats.truncnorm(-2, 2, scale=STD / UNIT),
        ),
        ("glorot", stats.uniform(-np.sqrt(6 / 144), 2 * np.sqrt(6 / 144))),
        (Glorot(distribution="normal"), stats.norm(0, np.sqrt(2 / 144))),
        ("reinitialize", stats.truncnorm(-2, 2, scale=STD / UNIT)),
    ],
    ids=lambda value: str(value) if not hasattr(value, "cdf") else value.dist.name,
)
def test_distributions(net, initializer, distribution):
    value = draw_of(net, initializer).ravel()
    assert stats.kstest(value, distribution.cdf).pvalue > 0.01
    assert abs(value.std() / distribution.std() - 1) < 5 / np.sqrt(value.size)


@pytest.mark.parametrize(
    ("initializer", "std"),
    [
        (TruncatedNormal(), STD),
        (TruncatedNormal(std=0.01), 0.01 * UNIT),
        (He(distribution="truncated_normal"), STD),
        (Glorot(distribution="truncated_normal"), np.sqrt(2 / 144)),
        (Normal(), None),
        (He(distribution="normal"), None),
        (Glorot(distribution="normal"), None),
    ],
    ids=repr,
)
def test_what_is_truncated_ends_at_two_deviations_and_what_is_not_goes_on(initializer, std):
    shape = (3, 3, 8, 800)
    variable = Variable("a/kernel", shape, "kernel", FAN_IN, FAN_OUT, np.zeros(shape))
    values = initializer(np.random.default_rng(0), variable)
    greatest = np.abs(values).max()
    if std is None:
        assert greatest > 3 * values.std()
    else:
        assert values.std() == pytest.approx(std, rel=0.02)
        assert 1.99 * std / UNIT < greatest <= 2 * std / UNIT


def test_what_does_nothing_does_nothing():
    """Each kind of variable, where it is set to what does nothing: y = scale·x + offset, …"""
    x = np.array([-2.0, 3.0])
    normalized = (x - IDENTITY["moving_mean"]) / np.sqrt(IDENTITY["moving_variance"])
    np.testing.assert_array_equal(IDENTITY["scale"] * normalized + IDENTITY["offset"], x)
    rectified = np.where(x > 0, x, IDENTITY["slope"] * x)
    np.testing.assert_array_equal(rectified, np.maximum(x, 0))  # a PReLU is a ReLU
    for added in ("bias", "token", "position"):
        np.testing.assert_array_equal(x + IDENTITY[added], x)
    assert len(IDENTITY) == 8


def test_distributions_of_what_was_trained(net):
    trained = net.trained["a/kernel"].astype(float)
    value = draw_of(net, "matched_normal").ravel()
    assert stats.kstest(value, stats.norm(trained.mean(), trained.std()).cdf).pvalue > 0.01
    damage = (draw_of(net, Noise(sigma=0.2)) - trained).ravel()
    assert stats.kstest(damage, stats.norm(0, 0.2 * trained.std()).cdf).pvalue > 0.01
    assert not draw_of(net, "zeros").any()


@pytest.mark.parametrize("name", ["a/kernel", "a/pointwise/kernel", "top/kernel"])
def test_permutation_moves_all_entries(net, name):
    trained, value = net.trained[name], draw_of(net, "permutation", name)
    np.testing.assert_array_equal(np.sort(value, None), np.sort(trained, None))
    assert (value != trained).mean() > 0.9
    first = draw_of(net, Permutation(axis=0), name)
    if trained.shape[0] == 1:
        np.testing.assert_array_equal(first, trained)  # what Quantus does to 1x1 kernels
    else:
        firsts = [
            Randomization(initializer=Permutation(axis=0)).stages(net, BLOCKS, seed)[-1].draw(name)
            for seed in range(5)
        ]
        assert any((value != trained).any() for value in firsts)  # of 3 rows: 1 in 6 stay
        rows = {row.tobytes() for row in trained}
        assert {row.tobytes() for row in first} == rows


@pytest.mark.parametrize(
    "name", ["logits/kernel", "block15/expand/kernel", "block15/depthwise/kernel"]
)
def test_truncated_normal_on_a_real_network(lite0, name):
    value = Randomization().stages(lite0, lite0.blocks, 0)[-1].draw(name).ravel()
    fan_in = {"logits/kernel": 1280, "block15/expand/kernel": 192, "block15/depthwise/kernel": 9}
    deviation = np.sqrt(2 / fan_in[name])
    assert stats.kstest(value, stats.truncnorm(-2, 2, scale=deviation / UNIT).cdf).pvalue > 0.01
    assert abs(value.std() / deviation - 1) < 5 / np.sqrt(value.size)
    assert abs(value).max() <= 2 * deviation / UNIT


def test_identity_is_where_a_variable_does_nothing(net):
    weights = Randomization(moving_statistics="identity").stages(net, BLOCKS, 0)[-1].make_weights()
    for name, value in weights.items():
        wanted = {"gamma": 1, "moving_variance": 1}.get(name.split("/")[-1], 0)
        if not name.endswith("kernel"):
            np.testing.assert_array_equal(value, np.full_like(net.trained[name], wanted))


# Re-estimated statistics


def _fused(net):
    return next(n for n, node in net.graph.nodes.items() if node.op == "FusedBatchNormV3")


@pytest.fixture(scope="module")
def inputs_of_norms(net):
    found = {norm.mean.split("/")[0]: norm.tensor for norm in net.batch_norms}
    assert found.keys() == NORMS.keys()
    return {block: tensor if ":" in tensor else f"{tensor}:0" for block, tensor in found.items()}


def test_batch_norms_are_found(net, inputs_of_norms):
    ops = {block: net.graph.nodes[t.split(":")[0]].op for block, t in inputs_of_norms.items()}
    assert ops == {"stem": "Conv2D", "a": "Conv2D", "b": "BiasAdd"}
    assert len({*inputs_of_norms.values()}) == 3
    assert inputs_of_norms["b"].split(":")[0] == net.graph.nodes[_fused(net)].input[0]


@pytest.mark.parametrize("draws", ["nested", "fresh"])
@pytest.mark.parametrize("order", ORDERS)
def test_reestimated_statistics_fit_the_activations(
    net, calibration, inputs_of_norms, order, draws
):
    """The moments that a pass with a stage's weights in place finds are those weights."""
    randomization = Randomization(order=order, draws=draws)
    with net.weights.restored():
        for stage in randomization.stages(net, BLOCKS, 0):
            weights = stage.make_weights()
            net.weights.put(weights)
            read = net.read(calibration, list(inputs_of_norms.values()))
            for block, x in zip(inputs_of_norms, read, strict=True):
                if f"{block}/moving_mean" not in weights:
                    continue
                x = x.astype(np.float64)
                mean, variance = x.mean((0, 1, 2)), x.var((0, 1, 2))
                scale = np.abs(x).max()
                np.testing.assert_allclose(
                    weights[f"{block}/moving_mean"], mean, rtol=1e-5, atol=1e-6 * scale
                )
                np.testing.assert_allclose(
                    weights[f"{block}/moving_variance"], variance, rtol=1e-4, atol=1e-6 * scale**2
                )


@pytest.mark.parametrize(
    ("layer", "behind"),
    [("top", ""), ("a", "a"), ("b", "b"), ("stem", "stem a b")],
)
def test_only_what_lies_behind_is_reestimated(net, layer, behind):
    stages = Randomization(order="independent").stages(net, BLOCKS, 0)
    (stage,) = (stage for stage in stages if stage.layer == layer)
    moved = {name.split("/")[0] for name in stage.variables if "/moving_" in name}
    assert moved == set(behind.split())


def test_a_real_network_normalises_what_it_sees(lite0, samples):
    """Every batch norm behind the cascade gets mean 0 and variance 1 on the calibration images."""
    stage = Randomization().stages(lite0, lite0.blocks, 0)[12]
    weights = stage.make_weights()
    norms = [norm for norm in lite0.batch_norms if norm.mean in weights]
    assert len(norms) == 31  # the head's, and three in each of blocks 15 to 6
    with lite0.weights.restored():
        lite0.weights.put(weights)
        read = lite0.read(samples.x, [f"{norm.tensor.split(':')[0]}:0" for norm in norms])
    for norm, x in zip(norms, read, strict=True):
        z = (x - weights[norm.mean]) / np.sqrt(weights[norm.variance] + 1e-12)
        np.testing.assert_allclose(z.mean((0, 1, 2), dtype=float), 0, atol=2e-3)
        alive = weights[norm.variance] > 1e-8
        assert alive.mean() > 0.5
        np.testing.assert_allclose(z.std((0, 1, 2), dtype=float)[alive], 1, atol=2e-3)


def test_keras_finds_the_same_moments(calibration):
    """With momentum 0, a training pass of Keras stores the batch's own mean in its place."""
    import keras

    layer = keras.layers.BatchNormalization(momentum=0.0, name="norm")
    model = keras.Sequential(
        [keras.layers.Input((16, 16, 3)), keras.layers.Conv2D(4, 3, name="conv"), layer]
        + [keras.layers.GlobalAveragePooling2D(), keras.layers.Dense(5, name="dense")]
    )
    net = Classifier(lambda x: model(x, training=False), (16, 16, 3), blocks=["dense", "conv"])
    names = [n for n in net.parameters if "/moving_" in n]
    found = net.batch_moments(calibration)(names)
    model(calibration, training=True)
    for name in names:
        expected = getattr(layer, name.split("/")[-1]).numpy()
        np.testing.assert_allclose(found[name], expected, rtol=1e-4, atol=1e-6)


def test_calibration_leaves_the_weights_in_place_as_they_were(net):
    stages = Randomization().stages(net, BLOCKS, 0)
    with net.weights.restored():
        net.weights.put({"top/bias": net.trained["top/bias"] + 1})
        before = net.weights.read()
        stages[-1].make_weights()
        for name, value in net.weights.read().items():
            np.testing.assert_array_equal(value, before[name])
        net.weights.put(stages[-1].make_weights())
    for name, value in net.weights.read().items():
        np.testing.assert_array_equal(value, net.trained[name])


def test_calibration_does_not_depend_on_the_shard_or_the_batch_size(net):
    def statistics(*overrides, size=32):
        net.batch_size = size
        job = compose([*overrides, "randomization.calibration=${data}", "data.limit=6"])
        return job.randomization.stages(net, BLOCKS, 0)[-1].make_weights()

    whole = statistics()
    for other in (statistics("data.shards=3", "data.shard=1"), statistics(size=2)):
        for name, value in whole.items():
            np.testing.assert_array_equal(other[name], value)
    embedded = Randomization().stages(net, BLOCKS, 0)[-1].make_weights()
    assert not np.isclose(embedded["b/moving_mean"], whole["b/moving_mean"]).all()
    net.batch_size = 32
    with pytest.raises(ConfigError, match="one image only"):
        job = compose(["randomization.calibration=${data}", "data.limit=1"])
        job.randomization.stages(net, BLOCKS, 0)[-1].make_weights()


def test_a_network_without_batch_norm_needs_no_calibration():
    kernel = tf.Variable(np.ones((12, 3), np.float32), name="dense/kernel")
    net = Classifier(lambda x: tf.reshape(x, [-1, 12]) @ kernel, (2, 2, 3), blocks=["dense"])
    stage = Randomization().stages(net, ["dense"], 0)[1]
    assert stage.variables == ("dense/kernel",)


def test_statistics_shared_by_two_tensors_are_refused():
    mean, variance, gamma = (
        tf.Variable(np.full(3, value, np.float32), name=f"norm/{name}")
        for name, value in (("moving_mean", 0), ("moving_variance", 1), ("gamma", 2))
    )

    def network(x):
        for _ in range(2):
            x = tf.nn.relu(tf.nn.batch_normalization(x, mean, variance, None, gamma, 1e-3))
        return tf.reduce_mean(x, [1, 2])

    net = Classifier(network, (4, 4, 3), blocks=["norm"])
    with pytest.raises(ConfigError, match=r"several tensors.*moving_statistics=keep"):
        Randomization().stages(net, ["norm"], 0)


# Reinitialize


def test_reinitialize_asks_the_layers_within_layers():
    """Of wrappers, recurrent layers, attention: as a new model has them."""
    import keras

    from sanity.models.keras_variables import own_initializers

    layers, wide = keras.layers, keras.initializers.RandomNormal(stddev=0.5)

    def build():
        given = keras.Input((8, 8, 3))
        x = layers.SpectralNormalization(layers.Conv2D(8, 3, kernel_initializer=wide))(given)
        x = layers.Reshape((36, 8))(x)
        x = layers.TimeDistributed(layers.Dense(8, kernel_initializer=wide))(x)
        x = layers.MultiHeadAttention(2, 4, kernel_initializer="he_uniform")(x, x)
        x = layers.Bidirectional(layers.LSTM(6, kernel_initializer="ones"))(x)
        return keras.Model(given, layers.Dense(3)(x))

    model = build()
    own = own_initializers(model)
    by_path = {weight.path: np.asarray(weight) for weight in model.trainable_weights}
    assert by_path.keys() <= own.keys()
    for path, values in by_path.items():
        drawn = own[path](np.random.default_rng(0), values.shape)
        if values.size > 60:
            assert 0.7 <= (drawn.std() + 1e-9) / (values.std() + 1e-9) <= 1.4, path
        elif "lstm" in path:
            np.testing.assert_array_equal(drawn, values)  # the forget gate's biases are 1


def test_reinitialize_asks_the_layers(caplog):
    import keras

    from sanity.models.keras_variables import own_initializers

    model = keras.Sequential(
        [
            keras.layers.Input((8, 8, 3)),
            keras.layers.Conv2D(8, 3, name="conv", kernel_initializer="lecun_uniform"),
            keras.layers.BatchNormalization(name="norm", gamma_initializer="zeros"),
            keras.layers.DepthwiseConv2D(3, name="depthwise", depthwise_initializer="he_uniform"),
            keras.layers.SeparableConv2D(5, 3, name="separable", pointwise_initializer="ones"),
            keras.layers.Flatten(),
            keras.layers.Dense(3, name="dense", bias_initializer=keras.initializers.Constant(0.3)),
        ]
    )
    blocks = ["dense", "separable", "depthwise", "norm", "conv"]
    net = Classifier(lambda x: model(x, training=False), (8, 8, 3), blocks=blocks)
    net.initializers = own_initializers(model)
    assert net.initializers.keys() == net.parameters.keys()
    randomization = Randomization(
        order="full",
        initializer="reinitialize",
        biases="draw",
        batch_norm="draw",
        moving_statistics="draw",
    )
    with caplog.at_level(logging.INFO, "sanity.randomization"):
        first, again, other = (
            randomization.stages(net, blocks, seed)[1].make_weights() for seed in (0, 0, 1)
        )
    assert "13 variables as their layers do, 0 by what they are" in caplog.text
    named = {name.split("/", 1)[1]: value for name, value in first.items()}
    assert np.abs(named["conv/kernel"]).max() <= np.sqrt(3 / 27)
    assert (
        stats.kstest(named["conv/kernel"].ravel(), stats.uniform(-1 / 3, 2 / 3).cdf).pvalue > 0.01
    )
    assert not named["norm/gamma"].any()
    assert (named["norm/moving_variance"] == 1).all()
    assert 0 < np.abs(named["depthwise/kernel"]).max() <= np.sqrt(6 / 9) + 1e-6
    assert (named["separable/pointwise_kernel"] == 1).all()
    assert (named["dense/bias"] == np.float32(0.3)).all()
    for name, value in first.items():
        np.testing.assert_array_equal(again[name], value)
    assert not np.isclose(
        *(w[next(n for n in w if "conv/kernel" in n)] for w in (first, other))
    ).any()


def test_reinitialize_says_what_it_infers(net, caplog):
    with caplog.at_level(logging.INFO, "sanity.randomization"):
        compose(["randomization=paper_code"]).randomization.stages(net, BLOCKS, 0)
    assert "0 variables as their layers do, 13 by what they are (2 bias, 5 kernel" in caplog.text


@pytest.mark.parametrize(
    ("filters", "named"),
    [
        ("frequencies", r"filter \(scale, to 1\); .*\.batch_norm=draw"),
        ("angles", r"\(bias, to 0\)"),
    ],
)
def test_filters_that_are_reset_and_not_drawn_are_said(filters, named, caplog):
    gains = tf.Variable(np.ones((8, 8, 3), np.float32), name="filter")
    angles = tf.Variable(np.arange(6, dtype=np.float32), name="filter")
    rates = tf.Variable(np.arange(6, dtype=np.float32), name="rates")
    head = tf.Variable(np.ones((3 if filters == "frequencies" else 6, 4), np.float32), name="head")
    grid = np.linspace(-1, 1, 75, dtype=np.float32).reshape(5, 5, 3, 1)

    def function(x):
        if filters == "frequencies":
            waves = tf.transpose(x * gains, [0, 3, 1, 2])
            x = tf.nn.relu(tf.transpose(waves, [0, 2, 3, 1]))
        else:
            x = tf.nn.relu(tf.nn.conv2d(x, tf.cos(rates * grid + angles), 1, "SAME"))
        return tf.reduce_mean(x, [1, 2]) @ head

    network = Classifier(function, (8, 8, 3))
    blocks = list(network.blocks)
    Randomization(moving_statistics="keep").stages(network, blocks, 0)
    assert re.search(f"may be filters: .*{named}", caplog.text)
    caplog.clear()
    keys = {"biases": "draw", "batch_norm": "draw"}
    Randomization(moving_statistics="keep", **keys).stages(network, blocks, 0)
    assert "filters" not in caplog.text


# Presets and one's own


@pytest.mark.parametrize(
    "preset",
    ["article", "paper_code", "paper_text", "quantus", "quantus_0_3_5", "xplique", *ORDERS],
)
def test_presets(net, preset):
    stages = compose([f"randomization={preset}"]).randomization.stages(net, BLOCKS, 0)
    last = stages[-1].make_weights()
    trained = net.trained
    if preset == "article":
        assert set(last) == {names[0] for names in KERNELS.values()}
        assert all(0.9 < np.abs(v).max() <= 1 for n, v in last.items() if v.size > 100)
    elif preset == "paper_code":
        assert set(last) == {n for n in trained if "/moving_" not in n}
        assert all((last[f"{block}/gamma"] == 1).all() for block in NORMS)
        assert not last["top/bias"].any()
        assert not np.isclose(stages[1].draw("top/kernel"), stages[2].draw("top/kernel")).any()
    elif preset == "paper_text":
        assert set(last) == set(trained)
        assert np.abs(last["a/kernel"]).max() <= 0.02
        assert (last["a/moving_variance"] == 1).all()
    elif preset.startswith("quantus"):
        assert [stage.layer for stage in stages[1:]] == BLOCKS
        stem = {n for n in trained if n.startswith("stem/")}
        assert set(last) == (set(trained) if preset == "quantus" else stem)
        for name, value in last.items():
            np.testing.assert_array_equal(np.sort(value, None), np.sort(trained[name], None))
    elif preset == "xplique":
        assert [stage.layer for stage in stages] == ["", "all"]
        assert set(last) == set(trained)
        assert all(0 <= value.min() and value.max() < 1 for value in last.values())
    else:
        assert len(stages) == (2 if preset == "full" else 5)


def halved(random, variable):
    """An initializer of one's own."""
    return variable.trained / 2


class Halved:
    """One with a `_target_`."""

    def __init__(self, by: int):
        self.by = by

    def __call__(self, random, variable):
        return variable.trained / self.by


def test_an_initializer_of_ones_own(net):
    np.testing.assert_array_equal(draw_of(net, halved), net.trained["a/kernel"] / 2)
    own = "{_target_: tests.randomization.test_weights.Halved, by: 4}"
    randomization = compose([f"randomization.initializer={own}"]).randomization
    stage = randomization.stages(net, BLOCKS, 0)[-1]
    np.testing.assert_array_equal(stage.draw("a/kernel"), net.trained["a/kernel"] / 4)


def test_an_initializer_that_gives_other_values_when_asked_again_is_refused(net):
    draw = np.random.default_rng(0)
    with pytest.raises(ConfigError, match="gives other values of a/kernel when it is asked again"):
        draw_of(net, lambda random, variable: draw.standard_normal(variable.shape))


@pytest.mark.parametrize(
    ("initializer", "message"),
    [
        (
            lambda random, variable: np.zeros(2),
            r"a/kernel the shape \(2,\).* must be \(3, 3, 8, 8\)",
        ),
        (lambda random, variable: variable.trained * np.nan, "not finite in float32"),
        (lambda random, variable: np.full(variable.shape, 1e39), "not finite in float32"),
    ],
)
def test_what_no_network_can_compute_with_is_refused(net, initializer, message):
    with pytest.raises(ConfigError, match=message):
        draw_of(net, initializer)


@pytest.mark.parametrize("initializer", ["uniform", "truncated_normal", Noise(sigma=5.0)])
@pytest.mark.parametrize("draws", ["nested", "fresh"])
def test_a_negative_variance_is_refused_at_once(net, initializer, draws):
    randomization = Randomization(initializer=initializer, draws=draws, moving_statistics="draw")
    with pytest.raises(
        ConfigError, match=r"moving_variance a negative variance .*must be identity"
    ):
        randomization.stages(net, BLOCKS, 0)


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("initializer=unifrom", r"randomization\.initializer=unifrom is none of .*mean uniform\?"),
        ("initializer=3", r"randomization\.initializer=3 must name one of"),
        (
            "initializer={_target_: sanity.randomization.initializers.Uniform, low: 1.0}",
            r"randomization\.initializer is not accepted: low=1\.0 must be below high=1\.0",
        ),
        (
            "initializer={_target_: sanity.randomization.initializers.Noise, sigma: 0}",
            r"randomization\.initializer\.sigma=0",
        ),
        ("order=upwards", r"randomization\.order=upwards"),
        ("kernels=none", r"randomization\.kernels=none"),
        ("biases=zeros", r"randomization\.biases=zeros"),
        ("moving_statistics=new", r"randomization\.moving_statistics=new"),
        ("calibration=zebras", r"randomization\.calibration=zebras must be samples"),
    ],
)
def test_mistakes(override, message):
    with pytest.raises(ConfigError, match=message):
        compose([f"randomization.{override}"])


def test_a_block_with_nothing_to_randomize_is_refused(net, small):
    with pytest.raises(ConfigError, match="nothing of small has nothing to randomize"):
        Randomization().stages(small, ["nothing"], 0)
    with pytest.raises(ConfigError, match="block a of two paths .*kernels=keep biases=identity"):
        options = SELECTIONS["biases only"]
        Randomization(**options).stages(net, BLOCKS, 0)


# Health


def test_health_of_a_stage(noise_images):
    from sanity.analysis.health import complaint
    from sanity.experiment.predictions import predictions

    net = small_classifier()
    stage = Randomization().stages(net, ["top"], 0)[1]
    targets = np.zeros(5, int)
    trained = net.trained

    def said(**weights):
        with net.weights.restored():
            net.weights.put({name.replace("__", "/"): value for name, value in weights.items()})
            return complaint(predictions(net, noise_images, targets, stage), dead=1e-3)

    kernel = trained["top/kernel"]
    assert said() is None
    assert "vanished: its logits spread" in said(
        top__kernel=np.zeros_like(kernel), top__bias=np.zeros(7, np.float32)
    )
    assert "dead network: 0 of its logits' variance" in said(top__kernel=np.zeros_like(kernel))
    alive = predictions(net, noise_images, targets, stage)
    share = alive["between_share"].iloc[0]
    assert complaint(alive, share) is None
    assert complaint(alive, share * 1.01).startswith("dead network: 0.00")
    assert "exploded" in said(top__kernel=kernel * np.float32(1e9))
    assert "of 5 of 5 images are not finite" in said(top__kernel=kernel * np.float32(np.inf))
    # A ReLU takes NaN for 0 or leaves it, by the processor's kernels: a negative variance shows by
    # its images being all alike, or by what is not finite.
    found = said(stem__moving_variance=-np.ones_like(trained["stem/moving_variance"]))
    assert re.search("dead network: 0 of its logits' variance|5 of 5 images are not finite", found)


def test_health_of_the_default_against_kept_statistics(lite0, samples):
    """The share of the logits' variance between images: some 0.1 re-estimated, below 1e-3 kept."""
    from sanity.analysis.spread import between_share

    def share(**options):
        stage = Randomization(order="full", **options).stages(lite0, lite0.blocks, 0)[1]
        with lite0.weights.restored():
            lite0.weights.put(stage.make_weights())
            return between_share(lite0.logits(samples.x).astype(float))

    assert share() > 0.05
    assert share(moving_statistics="keep") < 1e-3
