"""Frozen graphs from files: their placeholders, outputs, switches, and what is said of others."""

import numpy as np
import pytest
import tensorflow as tf

from sanity.errors import ConfigError
from sanity.models import Frozen

v1 = tf.compat.v1
X = np.random.default_rng(0).random((3, 8, 6, 3), np.float32)
TRAINING = {"net/training": False}
NAMES = ["conv/weights", "norm/beta", "norm/mean", "norm/variance", "top/weights"]


def write(path, batch=None, *, loose=False, switch=True):
    """A graph of TensorFlow 1 for X, perhaps with a training switch; its logits and gradient."""
    random, x = np.random.default_rng(1), {}
    with tf.Graph().as_default() as graph, v1.Session() as session:
        images = v1.placeholder(tf.float32, [batch, 8, 6, 3], name="net/images")
        training = (
            v1.placeholder(tf.bool, [], name="net/training") if switch else tf.constant(False)
        )
        shapes = {"conv/weights": [3, 3, 3, 4], "top/weights": [48 * 4, 5]}
        for name in NAMES:
            value = random.random(shapes.get(name, [4])).astype(np.float32) - 0.3 * (name in shapes)
            x[name] = v1.get_variable(name, initializer=value, use_resource=False)
        y = tf.tanh(tf.nn.conv2d(images, x["conv/weights"], 1, "SAME"))
        mean, variance = v1.cond(
            training,
            lambda: tf.nn.moments(y, [0, 1, 2]),
            lambda: (tf.identity(x["norm/mean"]), tf.identity(x["norm/variance"])),
        )
        y = tf.nn.batch_normalization(y, mean, variance, x["norm/beta"], None, 1e-3)
        y = v1.cond(training, lambda: tf.nn.dropout(y, 0.5), lambda: y)
        y = tf.reshape(y, [batch or -1, 48 * 4])
        logits = tf.identity(y @ x["top/weights"], name="net/logits")
        tf.nn.softmax(logits, name="net/probabilities")
        gradient = tf.gradients(logits[:, 2], images)[0]
        session.run(v1.global_variables_initializer())
        feeds = [
            {images: X[i : i + 1], **({training: False} if switch else {})} for i in range(len(X))
        ]
        own = zip(*(session.run([logits, gradient], feed) for feed in feeds), strict=True)
        graph_def = graph.as_graph_def()
        if not loose:
            ends = ["net/probabilities"]
            graph_def = v1.graph_util.convert_variables_to_constants(session, graph_def, ends)
    tf.io.write_graph(graph_def, str(path.parent), path.name, as_text=path.suffix == ".pbtxt")
    return [np.concatenate(part) for part in own]


@pytest.mark.parametrize("flow", ["switches", "branches"])
@pytest.mark.parametrize("batch", [None, 1])
def test_a_frozen_graph_gives_its_own_logits_and_gradients(flow, batch, tmp_path):
    path = tmp_path / ("net.pb" if batch else "net.pbtxt")
    if flow == "switches":
        v1.disable_control_flow_v2()
    try:
        logits, gradient = write(path, batch)
    finally:
        v1.enable_control_flow_v2()
    classifier = Frozen(path=str(path), inputs=TRAINING).load()
    assert sorted(classifier.parameters) == NAMES
    assert classifier.blocks == ["top", "conv"]
    assert classifier.ending.taken_off == "Softmax"
    np.testing.assert_allclose(classifier.logits(X), logits, rtol=1e-5, atol=1e-5)
    found = classifier.gradients(X, np.full(len(X), 2))
    np.testing.assert_allclose(found, gradient, rtol=0, atol=1e-5 * np.abs(gradient).max())


def test_any_tensor_may_be_the_output(tmp_path):
    logits, _ = write(tmp_path / "net.pb")
    for output in ("net/logits", "net/logits:0"):
        path = str(tmp_path / "net.pb")
        classifier = Frozen(path=path, inputs=TRAINING, output=output).load()
        assert classifier.ending.output == output and not classifier.ending.taken_off
        np.testing.assert_allclose(classifier.logits(X), logits, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({}, "must have one input, .* net/training: bool .*'model.inputs={net/training: VALUE}'"),
        ({"inputs": {"net/mode": 1}}, "model.inputs.net/mode is no input .*net/images"),
        ({"output": "net/nothing"}, "output=net/nothing is no tensor .*: net/probabilities$"),
        ({"output": "net/training"}, "output=net/training is no vector output"),
    ],
)
def test_mistakes_about_a_frozen_graph(options, message, tmp_path):
    write(tmp_path / "net.pb")
    given = {"inputs": TRAINING, **options} if options else {}
    with pytest.raises(ConfigError, match=message) as refused:
        Frozen(path=str(tmp_path / "net.pb"), **given).load()
    assert "\n" not in str(refused.value)


def broken(kind, folder):
    path = folder / "net.pb"
    if kind == "text":
        path = folder / "net.pbtxt"
        path.write_text("node { name: ")
    elif kind == "cut":
        write(path)
        path.write_bytes(path.read_bytes()[:1000])
    elif kind == "empty":
        path.write_bytes(b"")
    elif kind == "loose":
        write(path, loose=True)
    else:
        path = folder / "net.pbtxt"
        images = 'node { name: "x" op: "Placeholder" attr { key: "dtype" value { type: DT_FLOAT } }'
        path.write_text(images + ' } node { name: "y" op: "NoSuchOp" input: "x" }')
    return path


@pytest.mark.parametrize(
    ("kind", "message"),
    [
        ("text", "is no frozen graph, or is cut off"),
        ("cut", "is no frozen graph, or is cut off"),
        ("empty", "there are no ops in it"),
        ("loose", r"is a graph that is not frozen: it has 5 variables \(conv/weights, .*, …\)"),
        ("op", "needs the op NoSuchOp, which this TensorFlow does not have"),
    ],
)
def test_what_is_no_frozen_graph_is_refused(kind, message, tmp_path):
    path = broken(kind, tmp_path)
    with pytest.raises(ConfigError, match=message) as refused:
        Frozen(path=str(path)).load()
    assert "\n" not in str(refused.value)
