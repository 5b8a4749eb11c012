"""Models that cannot take a batch of floating-point images, entered where they could.

A model of whole numbers casts them; one of JPEG bytes decodes them. Neither has a gradient, so the
network begins at the first floating-point images that all its outputs depend on.
"""

import logging
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import tensorflow as tf

from sanity.errors import ConfigError
from sanity.models.inputs import Fitted, Input, arrangement
from sanity.models.opening import open_batch
from sanity.network.anatomy.channels import channel_axis
from sanity.network.channels_last import put_channels_last
from sanity.network.flatten import flatten
from sanity.network.graph import FlatGraph, find_needed, op_of, trace_graph
from sanity.network.products import stack_rightly

log = logging.getLogger(__name__)

_OPEN = (
    "export it with an open batch size: keras.Input(shape) without batch_size, or a signature of "
    "tf.TensorSpec([None, height, width, channels])"
)
_TOLERANCE = 1e-4  # of the greatest output, between a batch size and another
_PROBE = 16  # height and width of the files that a decoder is tried with


def enter(
    function: Callable[[Any], dict[str, Any]],
    image: Input,
    asked: Sequence[int] | None,
    key: str,
) -> Fitted:
    """A model of whole numbers, of encoded files, or of a fixed number of images.

    Args:
        function: From what the input takes to outputs by name.
        image: The input.
        asked: `model.input_shape`.
        key: What messages call it.

    Raises:
        ConfigError: There is no such place, or the number of images is a part of the network.
    """
    spec = tf.TensorSpec(image.shape, image.dtype, name="images")
    concrete = tf.function(function).get_concrete_function(spec)
    graph = put_channels_last(flatten(concrete), spec)
    image = replace(image, channels=channel_axis(graph))
    wanted = [k for k, out in concrete.structured_outputs.items() if out.dtype.is_floating]
    graph = replace(graph, outputs={k: graph.outputs[k] for k in wanted})
    batch, fixed = image.shape[0] if image.shape else None, graph
    if batch is not None:
        assert image.shape is not None
        graph = open_batch(graph, tf.TensorSpec(image.shape, image.dtype))
        image = replace(image, shape=(None, *image.shape[1:]))
    if image.dtype == tf.string:
        fitted = _decoded(graph, image, key)
    elif image.dtype.is_floating:
        shape, arranged = arrangement(image, asked, key)
        fitted = Fitted(lambda x: _built(graph, tf.cast(arranged(x), image.dtype)), shape)
    else:
        fitted = _after_cast(graph, image, asked, key)
    if batch is not None:
        _check_opened(fixed, graph, batch, image, asked, key)
    fitted.function.alive = function, concrete  # type: ignore[attr-defined]  # own the variables
    used = {variable.name.split(":")[0]: variable for variable in concrete.graph.variables}
    return replace(fitted, variables=used)


def _built(graph: FlatGraph, images: Any, replaced: dict[str, Any] | None = None) -> dict[str, Any]:
    tensors = graph.build(images, list(graph.outputs.values()), replace=replaced)
    return dict(zip(graph.outputs, tensors, strict=True))


def _check_opened(
    fixed: FlatGraph,
    graph: FlatGraph,
    batch: int,
    image: Input,
    asked: Sequence[int] | None,
    key: str,
) -> None:
    """Makes sure that a batch of another size gives each image the outputs it had."""
    refused = ConfigError(
        f"{key} takes exactly {batch} image{'s' * (batch > 1)} at a time, and of another number "
        f"outputs would be none or others: {_OPEN}"
    )
    random = np.random.Generator(np.random.PCG64(0))
    if image.dtype == tf.string:
        noise = random.integers(0, 256, (2 * batch, _PROBE, _PROBE, 3), np.uint8)
        x = tf.stack([tf.io.encode_png(one) for one in noise])
    else:
        shape, arranged = arrangement(image, asked, key)
        images = random.random((2 * batch, *(asked or [size or 32 for size in shape])))
        scale = 1.0 if image.dtype.is_floating else 255.0
        x = tf.cast(arranged(tf.constant(scale * images, tf.float32)), image.dtype)
    one, any_number = (tf.TensorSpec([size, *x.shape[1:]], x.dtype) for size in (batch, None))
    try:
        fixed, graph = stack_rightly(fixed, one), stack_rightly(graph, any_number)
        by_part = trace_graph(lambda images: _built(fixed, images), [one])
        parts = [by_part(x[:batch]), by_part(x[batch:])]
        whole = trace_graph(lambda images: _built(graph, images), [any_number])(x)
    except (tf.errors.OpError, ValueError) as error:
        log.debug("%s", error)
        raise refused from error
    for name, found in whole.items():
        own = np.concatenate([part[name] for part in parts])
        limit = _TOLERANCE * np.abs(own).max()
        if own.shape != found.shape or not np.allclose(own, found, rtol=0, atol=limit):
            raise refused
    log.info("%s takes exactly %d at a time: opened, with equal outputs", key, batch)


def _after_cast(graph: FlatGraph, image: Input, asked: Sequence[int] | None, key: str) -> Fitted:
    """A model of whole numbers, from where it has made them floating point."""
    shape, arranged = arrangement(replace(image, dtype=tf.float32), asked, key)
    sizes = None if image.shape is None else [None, *image.shape[1:]]
    cut = next(_bottlenecks(graph, tf.TensorSpec(sizes, image.dtype)), None)
    if cut is None or cut[1].shape.rank not in (None, None if sizes is None else len(sizes)):
        raise ConfigError(
            f"{key} takes whole numbers ({image}), which have no gradient, and uses them in "
            "several places: export it from the floating-point images on"
        )
    name, spec = cut
    log.info("%s takes %s: explained from where these are %s", key, image, spec.dtype.name)
    begin = _from(graph, name, spec.dtype, lambda x: tf.cast(x, image.dtype))
    return Fitted(
        lambda x: begin(arranged(x)), shape, (np.zeros(1, np.float32), np.full(1, 255, np.float32))
    )


def _decoded(graph: FlatGraph, image: Input, key: str) -> Fitted:
    """A model of encoded files, from the decoded images on, which it scales in its own way."""
    if image.shape is not None and len(image.shape) != 1:
        raise ConfigError(f"{key} takes no images (files as strings, one an image), but {image}")
    for name, spec in _bottlenecks(graph, tf.TensorSpec([None], tf.string)):
        if spec.shape.rank == 4 or (spec.shape.rank is None and "TensorListStack" in name):
            scale = _scale(graph, name)
            if scale is not None:
                log.info("%s decodes files: explained from the decoded images on", key)
                shape = (None, None, None) if spec.shape.rank is None else tuple(spec.shape[1:])
                begin = _from(graph, name, spec.dtype, lambda x: tf.fill([tf.shape(x)[0]], ""))
                return Fitted(begin, shape, scale, decodes=True)
    raise ConfigError(
        f"{key} takes no images (float32, batch × height × width × channels), but {image}, and "
        "does not decode these into images of three colours: export it from the decoded images on"
    )


def _scale(graph: FlatGraph, name: str) -> tuple[np.ndarray, np.ndarray] | None:
    """What black and white become in a decoder, if all other colours lie between in proportion."""
    red_green_blue = [[255, 0, 0], [0, 255, 0], [0, 0, 255]]
    colours = np.array([[0, 0, 0], [255, 255, 255], *red_green_blue, [51, 102, 204]], np.uint8)
    decoder = graph.between([graph.input], [f"{name}:0"])
    decode = trace_graph(
        lambda files: decoder.build(files, [f"{name}:0"])[0], [tf.TensorSpec([None], tf.string)]
    )
    files = [
        tf.io.encode_png(np.broadcast_to(colour, (_PROBE, _PROBE, 3)).copy()) for colour in colours
    ]
    for encoded in (lambda file: file, tf.io.encode_base64):
        try:
            found = decode(tf.stack([encoded(file) for file in files])).numpy()
        except tf.errors.OpError as error:
            log.debug("%s", error)
            continue
        if found.shape[-1] != 3 or np.ptp(found, axis=(1, 2)).max() > 1e-3 * np.abs(found).max():
            return None
        values = found.mean(axis=(1, 2))
        low, high = values[0], values[1]
        expected = low + colours / 255 * (high - low)
        fits = np.allclose(values, expected, atol=0.01 * np.abs(high - low).max())
        return (low, high) if fits and np.all(high > low) else None
    return None


def _bottlenecks(graph: FlatGraph, images: tf.TensorSpec) -> Iterator[tuple[str, tf.TensorSpec]]:
    """The floating-point tensors through which all outputs depend on the images, from there on."""
    outputs = list(graph.outputs.values())
    reached = graph.valued
    above = find_needed(graph.graph_def, outputs)
    path = [name for name in graph.nodes if name in reached and name in above]
    waiting = {op_of(output): 1 for output in outputs}  # reads of each node that are to come
    for name in path:
        for source in {op_of(i) for i in graph.nodes[name].input}:
            waiting[source] = waiting.get(source, 0) + 1
    specs = graph.specs([f"{name}:0" for name in path], images)
    open_ends = {graph.input}
    for name in path:
        for source in {op_of(i) for i in graph.nodes[name].input}:
            waiting[source] -= 1
            if not waiting[source]:
                open_ends.discard(source)
        open_ends.add(name)
        spec = specs[f"{name}:0"]
        if open_ends == {name} and spec.dtype.is_floating:
            yield name, spec


def _from(
    graph: FlatGraph, name: str, dtype: tf.DType, original: Callable[[Any], Any]
) -> Callable[[Any], dict[str, Any]]:
    """The network from one of its tensors on.

    Args:
        graph: The network.
        name: The tensor's node.
        dtype: Its type.
        original: From images to as many of what the model takes, whose size is still read.
    """
    part = graph.between([name, graph.input], list(graph.outputs.values()))
    part = replace(part, outputs=graph.outputs)
    reads = any(graph.input == op_of(i) for node in part.graph_def.node for i in node.input)

    def begin(images: Any) -> dict[str, Any]:
        replaced = {graph.input: original(images)} if reads else None
        return _built(part, tf.cast(images, dtype), replaced)

    return begin
