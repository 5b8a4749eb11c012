"""What folding and the chain cost in accuracy, on the embedded model at every stage."""

from dataclasses import replace

import numpy as np
import pytest
import tensorflow as tf
from tensorflow.core.framework.graph_pb2 import GraphDef

from sanity.config.job import compose
from sanity.randomization.weights import Randomization
from tests.network.passes.test_segments import whole_gradient

FLOAT, DOUBLE = tf.float32.as_datatype_enum, tf.float64.as_datatype_enum


def in_float64(graph):
    """The same network in double precision, on the same variables."""
    new = GraphDef(versions=graph.graph_def.versions)
    for node in graph.graph_def.node:
        copy = new.node.add()
        copy.CopyFrom(node)
        if node.op == "ReadVariableOp":
            copy.name = f"{node.name}/float32"
            cast = new.node.add(name=node.name, op="Cast", input=[copy.name])
            cast.attr["SrcT"].type, cast.attr["DstT"].type = FLOAT, DOUBLE
            continue
        for attribute in copy.attr.values():
            if attribute.type == FLOAT:
                attribute.type = DOUBLE
        if node.op == "Const" and node.attr["dtype"].type == FLOAT:
            values = tf.make_ndarray(node.attr["value"].tensor).astype(np.float64)
            copy.attr["value"].tensor.CopyFrom(tf.make_tensor_proto(values))
    return replace(graph, graph_def=new)


@pytest.mark.slow
def test_as_near_to_float64_as_the_plain_graph(lite0, samples):
    """The median error is at most twice the plain graph's, and mean scores are the same.

    Of the medians of the images, their median: where a rounding moves one value over the kink of a
    ReLU, all of an image's gradient changes, in either graph.
    """
    x = samples.x[:9]
    targets = lite0.logits(x).argmax(1).astype(np.int32)
    exact_graph = in_float64(lite0.graph)
    spec = tf.TensorSpec([None, *lite0.input_shape], tf.float64)

    @tf.function(input_signature=[spec, tf.TensorSpec([None], tf.int32)])
    def exact(images, targets):
        (logits,) = exact_graph.build(images, [lite0.logits_tensor])
        return tf.gradients(tf.gather(logits, targets, batch_dims=1), images)[0]

    metrics = compose(["metric=[ssim,spearman,spearman_abs,hog]"]).metrics.values()
    stages = Randomization().stages(lite0, lite0.blocks, 0)
    fast = lite0.batch_gradient(x)
    originals: list = []
    with lite0.weights.restored():
        for stage in [stages[i] for i in (0, 1, 10, 19)]:
            lite0.weights.put(stage.make_weights())
            truth = exact(x.astype(np.float64), targets).numpy()
            found = [fast(targets), whole_gradient(lite0, x, targets)]
            ours, plain = (
                np.median(np.median(np.abs(masks - truth), axis=(1, 2, 3))) for masks in found
            )
            assert ours <= 2 * plain
            features = [[metric.features(masks) for metric in metrics] for masks in found]
            originals = originals or features
            ours, plain = (
                [np.mean(m.compare(o, f)) for m, o, f in zip(metrics, *pair, strict=True)]
                for pair in zip(originals, features, strict=True)
            )
            np.testing.assert_allclose(ours, plain, rtol=0, atol=0.01)
