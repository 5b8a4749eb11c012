"""Models of TensorFlow Lite: rebuilt, each gives what the function gives that it was made of."""

import numpy as np
import pytest
import tensorflow as tf

from sanity.errors import ConfigError
from sanity.models import TFLite
from tests.models.test_fitting import same

X = np.random.default_rng(1).random((4, 12, 8, 3), np.float32)
DRAW = np.random.default_rng(0)


def weight(*shape):
    return tf.constant(DRAW.normal(0, 0.4, shape).astype(np.float32))


KERNELS = {
    name: weight(*shape)
    for name, shape in {
        "conv": (3, 3, 3, 8),
        "bias": (8,),
        "depthwise": (3, 3, 8, 1),
        "point": (1, 1, 8, 8),
        "grow": (3, 3, 8, 8),
        "slope": (1, 1, 8),
        "scale": (8,),
        "dense": (96, 8),
        "query": (8, 8),
        "top": (8, 5),
    }.items()
}


def convolutional(x):
    w = KERNELS
    x = tf.nn.relu6(tf.nn.conv2d(x * 2.0 - 1.0, w["conv"], 2, "SAME") + w["bias"])
    y = tf.nn.depthwise_conv2d(
        tf.pad(x, [[0, 0], [1, 1], [1, 1], [0, 0]]), w["depthwise"], [1] * 4, "VALID"
    )
    y = tf.nn.conv2d(tf.tanh(y), w["point"], 1, "SAME")
    x = tf.concat([x + y, tf.nn.max_pool2d(x, 3, 1, "SAME")], 3)
    left, right = tf.split(x, 2, 3)
    x = tf.nn.relu(left) - w["slope"] * tf.nn.relu(-left) + right * tf.sigmoid(right)
    x = tf.nn.conv2d_transpose(x, w["grow"], [tf.shape(x)[0], 12, 8, 8], 2)
    x = tf.nn.avg_pool2d(tf.nn.elu(x), 2, 2, "VALID")
    x = tf.reduce_mean(x, [1, 2], keepdims=True) * x
    x = x * tf.nn.relu6(x + 3.0) * (1 / 6)
    x = tf.image.resize(x, [3, 4]) + tf.nn.leaky_relu(x[:, ::2], 0.1)
    x = tf.reshape(x, [-1, 96]) @ w["dense"]
    return x @ w["top"]


def attentive(x):
    w = KERNELS
    x = tf.nn.space_to_depth(x, 4)[..., :8]
    mean, variance = tf.nn.moments(x, [3], keepdims=True)
    x = (x - mean) * tf.math.rsqrt(variance + 1e-3) * w["scale"]
    x = tf.reshape(tf.nn.gelu(tf.nn.conv2d(x, w["point"], 1, "SAME")), [-1, 6, 8])
    rows = tf.matmul(x, w["query"])
    mixed = tf.matmul(tf.nn.softmax(tf.matmul(rows, x, transpose_b=True)), x)
    x = tf.transpose(mixed, [0, 2, 1]) + tf.stack(tf.unstack(mixed, axis=1), 2)
    x = tf.reduce_max(x, 2) + tf.gather(
        tf.squeeze(x[:, :, 1:2], 2), [7, 6, 5, 4, 3, 2, 1, 0], axis=1
    )
    x = tf.math.l2_normalize(x, 1, 1e-6) + tf.math.squared_difference(x, tf.maximum(x, 0.5))
    return tf.exp(-tf.abs(x)) @ w["top"]


def convert(function, path, shape=(12, 8, 3), batch=None, kind="float32"):
    """Writes what a function of images computes as a model of TensorFlow Lite."""
    from tensorflow.python.framework.convert_to_constants import convert_variables_to_constants_v2

    spec = tf.TensorSpec([batch, *shape], tf.float32, name="images")
    concrete = tf.function(lambda images: {"out": function(images)}).get_concrete_function(spec)
    concrete = convert_variables_to_constants_v2(concrete)
    converter = tf.lite.TFLiteConverter.from_concrete_functions([concrete])
    if kind != "float32":
        converter.optimizations = [tf.lite.Optimize.DEFAULT]
    if kind == "float16":
        converter.target_spec.supported_types = [tf.float16]
    if kind == "flex":
        converter.target_spec.supported_ops = [tf.lite.OpsSet.SELECT_TF_OPS]
    path.write_bytes(converter.convert())
    return TFLite(path=str(path))


@pytest.mark.parametrize("batch", [None, 1])
@pytest.mark.parametrize(
    ("network", "end"), [(convolutional, tf.nn.softmax), (attentive, tf.nn.log_softmax)]
)
def test_a_model_gives_logits_and_gradients_of_what_it_was_made_of(network, end, batch, tmp_path):
    model = convert(lambda x: end(network(x)), tmp_path / "net.tflite", batch=batch)
    classifier = model.load()
    assert classifier.ending.output == "Identity" and classifier.ending.taken_off.endswith(
        "Softmax"
    )
    same(classifier, network, X)
    kinds = [p.kind for p in classifier.parameters.values()]
    assert kinds.count("kernel") == (6 if network is convolutional else 3)
    assert kinds.count("slope") == (network is convolutional)


def test_weights_in_float16_are_taken(tmp_path):
    whole = convert(convolutional, tmp_path / "net.tflite").load()
    half = convert(convolutional, tmp_path / "half.tflite", kind="float16").load()
    assert {n: p.shape for n, p in half.parameters.items()} == {
        n: p.shape for n, p in whole.parameters.items()
    }
    for name, value in half.weights.trained.items():
        expected = whole.weights.trained[name].astype(np.float16).astype(np.float32)
        np.testing.assert_array_equal(value, expected, name)
    logits = whole.logits(X)
    np.testing.assert_allclose(half.logits(X), logits, atol=0.01 * np.abs(logits).max())


def flat(x):
    wide = tf.constant(np.ones((288, 16), np.float32))
    return tf.matmul(tf.reshape(x, [-1, 288]), wide)


def summed(x):
    return tf.cumsum(flat(x), 1)


@pytest.mark.parametrize(
    ("network", "kind", "message"),
    [
        (flat, "int8", r"is quantised \(INT8 at \S+\), and has no gradients: convert it without"),
        (summed, "float32", "has operators that are not known here: CUMSUM; export it as a"),
        (
            flat,
            "flex",
            "has operators that are not known here: FlexReshape, FlexMatMul, FlexIdentity; export",
        ),
        (flat, "cut", "is no model of TensorFlow Lite, or is cut off"),
    ],
)
def test_what_cannot_be_rebuilt_is_refused(network, kind, message, tmp_path):
    path = tmp_path / "net.tflite"
    model = convert(network, path, kind="float32" if kind == "cut" else kind)
    if kind == "cut":
        path.write_bytes(path.read_bytes()[:300])
    with pytest.raises(ConfigError, match=message) as refused:
        model.load()
    assert "\n" not in str(refused.value)


def test_another_result_than_the_interpreters_is_refused(tmp_path, monkeypatch):
    from sanity.models import tflite_ops

    model = convert(flat, tmp_path / "net.tflite")
    own = tflite_ops.OPS["FULLY_CONNECTED"]
    wrong = {**tflite_ops.OPS, "FULLY_CONNECTED": lambda op: own(op) * 1.01}
    monkeypatch.setattr(tflite_ops, "OPS", wrong)
    with pytest.raises(ConfigError, match="its output Identity differs; have another converter"):
        model.load()
