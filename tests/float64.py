"""Networks in double precision, where no rounding moves a value over the kink of a ReLU.

Float32 gradients of a deep ReLU network differ from one processor to another: where a value lies
within rounding of zero, a ReLU opens or closes, and all of an image's gradient with it. So what is
to be equal is compared here, to all the digits that float32 has.
"""

import copy
from contextlib import contextmanager
from dataclasses import replace

import numpy as np
import tensorflow as tf
from tensorflow.core.framework.graph_pb2 import GraphDef

from sanity.network.flatten import flatten
from sanity.network.graph import op_of, tensor_of, trace_graph

FLOAT, DOUBLE = tf.float32.as_datatype_enum, tf.float64.as_datatype_enum
READS = ("ReadVariableOp", "ResourceGather", "VariableV2")  # variables stay what they are
CONVOLUTIONS = ("Conv2D", "Conv2DBackpropInput")


def twin(classifier):
    """A classifier of the same variables that computes logits and gradients in double precision.

    It folds, cuts and joins as the classifier does, and takes and gives float32.
    """
    other = copy.copy(classifier)
    other._readers, other._chains, other._gradients_at = {}, {}, {}  # traced ones
    images, outputs = other.network.images, [other.logits_tensor]
    other._computed = lambda graph: in_float64(graph, images, outputs)
    return other


@contextmanager
def as_it_is():
    """Graphs that run in here are not rewritten first, which takes longer than to run them once.

    In double precision, no value is another for that.
    """
    options = tf.config.optimizer
    before = options.get_experimental_options().get("disable_meta_optimizer", False)
    options.set_experimental_options({"disable_meta_optimizer": True})
    try:
        yield
    finally:
        options.set_experimental_options({"disable_meta_optimizer": before})


def tape_gradient(function, images, targets, double=True):
    """The gradient (n, H, W, C) of each image's target output by a tape, as one graph.

    Args:
        function: From images to outputs (n, classes), computed by any means of TensorFlow.
        images: (n, H, W, C), float32.
        targets: (n,).
        double: In double precision.
    """
    spec = tf.TensorSpec(images.shape, tf.float32)

    @tf.function(input_signature=[spec])
    def taped(images):
        with tf.GradientTape() as tape:
            tape.watch(images)
            explained = tf.gather(function(images), targets, batch_dims=1)
        return {"gradient": tape.gradient(explained, images)}

    if not double:
        return taped(tf.constant(images))["gradient"].numpy()
    graph = flatten(taped.get_concrete_function())
    output = graph.outputs["gradient"]
    exact = in_float64(graph, spec).between([graph.input], [output])
    traced = trace_graph(lambda x: exact.build(x, [output])[0], [spec])
    with as_it_is():
        return traced(tf.constant(images)).numpy()


def near(actual, expected, tolerance=1e-6):
    """Makes sure that all values are near, in shares of the greatest."""
    expected = np.asarray(expected)
    greatest = np.abs(expected).max()
    assert greatest > 1e-8
    np.testing.assert_allclose(actual, expected, rtol=0, atol=tolerance * greatest)


def in_float64(graph, images, outputs=()):
    """The same flat graph in double precision between its input, its variables and its outputs.

    Args:
        graph: A `FlatGraph`, which may hold gradients as well.
        images: What it takes, a `TensorSpec` of float32.
        outputs: Tensors that stay float32; all others become float64.
    """
    new = GraphDef(versions=graph.graph_def.versions, library=graph.graph_def.library)
    groups = _groups(graph, images)
    given = [name for name, tensor in graph.captures.items() if tensor.dtype == tf.float32]
    casts = {name: f"{name}/float64" for name in [graph.input, *given]}
    for name, cast in casts.items():
        _cast(new, cast, name, FLOAT, DOUBLE)
    for node in graph.graph_def.node:
        copied = new.node.add()
        copied.CopyFrom(node)
        copied.input[:] = [casts.get(i.removesuffix(":0"), i) for i in node.input]
        if node.op in READS:
            copied.name = f"{node.name}/float32"
            _cast(new, node.name, copied.name, FLOAT, DOUBLE)
            continue
        _double(copied)
        # Of these, there is no more than float32.
        if node.op in CONVOLUTIONS and (kernel := _origin(graph, node.input[1])) in groups:
            copied.input[1] = _of_one_group(new, node.name, kernel, *groups[kernel])
        if node.op.startswith("FusedBatchNorm"):
            _unfused(new, copied)
    for output in map(op_of, outputs):
        (node,) = (node for node in new.node if node.name == output)
        node.name = f"{output}/float64"
        for reader in new.node:
            reader.input[:] = [node.name if op_of(i) == output else i for i in reader.input]
        _cast(new, output, node.name, DOUBLE, FLOAT)
    return replace(graph, graph_def=new)


def _double(node):
    for attribute in node.attr.values():
        if attribute.type == FLOAT:
            attribute.type = DOUBLE
        if FLOAT in attribute.list.type:
            attribute.list.type[:] = [DOUBLE if t == FLOAT else t for t in attribute.list.type]
    if node.op == "Const" and node.attr["dtype"].type == DOUBLE:
        values = tf.make_ndarray(node.attr["value"].tensor).astype(np.float64)
        node.attr["value"].tensor.CopyFrom(tf.make_tensor_proto(values))


def _cast(graph_def, name, source, before, after):
    node = graph_def.node.add(name=name, op="Cast", input=[source])
    node.attr["SrcT"].type, node.attr["DstT"].type = before, after


def _constant(graph_def, name, value):
    proto = tf.make_tensor_proto(value)
    node = graph_def.node.add(name=name, op="Const")
    node.attr["dtype"].type = proto.dtype
    node.attr["value"].tensor.CopyFrom(proto)
    return name


def _groups(graph, images):
    """The number of groups and the shape of each kernel whose convolution has several."""
    convolutions = [node for node in graph.nodes.values() if node.op == "Conv2D"]
    tensors = [tensor_of(i) for node in convolutions for i in node.input[:2]]
    specs = graph.specs(tensors, images)
    found = {}
    for node in convolutions:
        depth, kernel = (specs[tensor_of(i)].shape for i in node.input[:2])
        if depth[3] != kernel[2]:
            found[_origin(graph, node.input[1])] = (depth[3] // kernel[2], kernel)
    return found


def _origin(graph, tensor):
    while op_of(tensor) in graph.nodes and graph.nodes[op_of(tensor)].op == "Identity":
        tensor = graph.nodes[op_of(tensor)].input[0]
    return tensor


def _of_one_group(graph_def, name, kernel, groups, shape):
    """A kernel that has zeros where channels of other groups meet."""
    scope = f"{name}/one_group"
    met = np.kron(np.eye(groups), np.ones([shape[2], shape[3] // groups]))
    times = _constant(graph_def, f"{scope}/times", np.array([1, 1, groups, 1], np.int32))
    tiled = graph_def.node.add(name=f"{scope}/tiled", op="Tile", input=[kernel, times])
    tiled.attr["T"].type, tiled.attr["Tmultiples"].type = DOUBLE, tf.int32.as_datatype_enum
    inputs = [tiled.name, _constant(graph_def, f"{scope}/met", met)]
    graph_def.node.add(name=scope, op="Mul", input=inputs).attr["T"].type = DOUBLE
    return scope


def _unfused(graph_def, node):
    """Puts products and sums in the place of a batch norm, or of its gradient, at inference."""
    assert not node.attr["is_training"].b
    assert node.attr["data_format"].s == b"NHWC"
    name, scope, back = node.name, f"{node.name}/unfused", "Grad" in node.op
    upper = node.input[0]
    x, scale, third, *moments = node.input[1 if back else 0 :]
    mean, variance = (third, moments[0]) if back else moments[:2]

    def add(op, *inputs, name=None):
        made = graph_def.node.add(name=name or f"{scope}/{op}", op=op, input=inputs)
        made.attr["T"].type = DOUBLE
        return made.name

    epsilon = _constant(graph_def, f"{scope}/epsilon", np.float64(node.attr["epsilon"].f))
    factor = add("Mul", scale, add("Rsqrt", add("AddV2", variance, epsilon)))
    graph_def.node.remove(node)
    if back:
        add("Mul", upper, factor, name=name)
    else:
        scaled = add("Mul", add("Sub", x, mean), factor, name=f"{scope}/scaled")
        add("AddV2", scaled, third, name=name)
