"""ONNX's operators that arrange values anew, and those that compute shapes."""

import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import tensorflow as tf

from sanity.models.importing.elementwise import DTYPES
from sanity.models.importing.values import (
    Node,
    Operator,
    Unsupported,
    Value,
    entries,
    first,
    last,
    numbers,
    tensor,
)

_END = 2**31 - 1  # exporters say "to the end" with some large number


def as_shape(parts: Any) -> np.ndarray:
    """Numbers and scalar tensors as an array: of whole numbers, where there are no tensors."""
    found: np.ndarray
    if tf.is_tensor(parts):
        found = np.empty((), object)
        found[()] = parts
    elif isinstance(parts, list):
        found = np.empty(len(parts), object)
        for k, one in enumerate(parts):
            found[k] = tf.cast(one, tf.int64) if tf.is_tensor(one) else int(one)
    else:
        found = np.asarray(parts)
        if found.dtype != object:
            return found
    return found if any(map(tf.is_tensor, found.ravel())) else found.astype(np.int64)


def shape_of(node: Node, x: Value) -> Value:
    """Shape: of what is open a tensor."""
    given: Any = tf.shape(x.data, out_type=tf.int64) if None in x.sizes else ()
    sizes = [given[x.axis(k)] if one is None else one for k, one in enumerate(x.sizes)]
    return Value(as_shape(sizes[slice(node.get("start", 0), node.get("end"))]))


def size_of(node: Node, x: Value) -> Value:
    """Size."""
    if None in x.sizes:
        return Value(tf.size(x.data, out_type=tf.int64))
    return Value(np.array(math.prod(int(one or 0) for one in x.sizes), np.int64))


def reshape(node: Node, x: Value, shape: Value | None = None) -> Value:
    """Reshape: 0 keeps a length, -1 is what is left."""
    if node.sizes is not None and (node.opened or sum(size is None for size in node.sizes) < 2):
        lengths = [-1 if size is None else size for size in node.sizes]
        return _opened(x, lengths) if node.opened else Value(tf.reshape(first(x), lengths))
    wanted = entries(shape) if shape is not None else [*node.get("shape")]
    kept = [isinstance(one, int) and one == 0 for one in wanted]
    if not node.get("allowzero", 0):
        wanted = [x.sizes[k] if kept[k] else one for k, one in enumerate(wanted)]
    return Value(_to_shape(first(x), wanted))


def _opened(x: Value, wanted: Sequence[int]) -> Value:
    """A value of any number of images in a shape for one image.

    As much stands before that number as did before. Where that is between two axes, it is an axis
    of length 1 there; else the end of the one before where axes become fewer, and the beginning of
    the other where they don't.

    Args:
        x: Of sizes one of which is open.
        wanted: For one image.
    """
    if None not in x.sizes:
        return Value(tf.reshape(first(x), wanted))
    before = x.inner * math.prod(size for size in x.sizes[: x.sizes.index(None)] if size)
    starts = [math.prod(wanted[:k]) for k in range(len(wanted) + 1)]
    fresh = [k for k in range(len(wanted)) if starts[k] == before]
    ended = [k for k in range(len(wanted)) if starts[k + 1] == before and wanted[k] > 1]
    inside = [k for k in range(len(wanted)) if starts[k] < before < starts[k + 1]]
    alone = [k for k in fresh if wanted[k] == 1]
    fewer = len(wanted) < x.rank
    places = alone or (ended if fewer else []) or fresh or ended or inside
    if not places or before % starts[places[0]]:
        raise Unsupported("the number of images is lost in it")
    axis = places[0]
    shape = [*wanted[:axis], -1, *wanted[axis + 1 :]]
    return Value(tf.reshape(first(x), shape), inner=before // starts[axis])


def _to_shape(data: Any, wanted: Sequence[Any]) -> Any:
    """A tensor of a shape; what is open but once is left to TensorFlow, which then knows the rest.

    Args:
        data: The tensor.
        wanted: Numbers, scalar tensors, None for what is open, at most one -1.
    """
    opened = [one is None or tf.is_tensor(one) for one in wanted]
    if sum(opened) == 1 and -1 not in [one for one in wanted if isinstance(one, int)]:
        wanted = [-1 if is_open else one for is_open, one in zip(opened, wanted, strict=True)]
    given = tf.shape(data)
    parts = [given[k] if one is None else one for k, one in enumerate(wanted)]
    return tf.reshape(data, _stacked(parts))


def flatten(node: Node, x: Value) -> Value:
    """Flatten: two axes."""
    axis, data = node.get("axis", 1), first(x)
    axis = axis + x.rank if axis < 0 else axis
    sizes = x.sizes
    rest = math.prod(int(one) for one in sizes[axis:] if one) if None not in sizes[axis:] else None
    if rest is not None:
        return Value(tf.reshape(data, [-1, rest]))
    return Value(tf.reshape(data, [tf.reduce_prod(tf.shape(data)[:axis]), -1]))


def transpose(node: Node, x: Value) -> Value:
    """Transpose; one that puts channels first again only says so."""
    order = node.get("perm", [*range(x.rank)][::-1])
    if x.rank > 2 and not x.last and order == [0, x.rank - 1, *range(1, x.rank - 1)]:
        return Value(x.data, last=True)
    if x.last:
        here = [x.axis(axis) for axis in order]
        data = x.data if here == [*range(x.rank)] else tf.transpose(x.data, here)
        return Value(data)
    return Value(tf.transpose(tensor(x), order))


def squeeze(node: Node, x: Value, axes: Value | None = None) -> Value:
    """Squeeze."""
    chosen = node.get("axes") if axes is None else numbers(axes, "its axes")
    if chosen is None:
        chosen = [k for k, size in enumerate(x.sizes) if size == 1]
    return Value(tf.squeeze(first(x), [axis % x.rank for axis in chosen]) if chosen else first(x))


def unsqueeze(node: Node, x: Value, axes: Value | None = None) -> Value:
    """Unsqueeze."""
    chosen = node.get("axes") if axes is None else numbers(axes, "its axes")
    data = first(x)
    rank = x.rank + len(chosen)
    for axis in sorted(axis % rank for axis in chosen):
        data = tf.expand_dims(data, axis)
    return Value(data)


def concat(node: Node, *values: Value) -> Value:
    """Concat, of maps with channels last where one is."""
    if len(values) == 1:
        return values[0]
    turned = any(value.last for value in values)
    axis = (Value(last(values[0]), True) if turned else values[0]).axis(node.get("axis", 1))
    parts = [last(value) if turned else first(value) for value in values]
    if node.opened:
        parts = _repeated(parts, axis)
    return Value(tf.concat(parts, axis), turned)


def _repeated(parts: Sequence[Any], axis: int) -> list[Any]:
    """What stands beside values of any number of images, as a class token, once for each."""
    found = [*parts]
    for k in range(len(parts[0].shape)):
        many = [part for part in found if part.shape[k] is None]
        if k != axis and many:
            count = tf.shape(many[0])[k]
            found = [p if p.shape[k] is None else tf.repeat(p, count, k) for p in found]
    return found


def split(node: Node, x: Value, sizes: Value | None = None) -> list[Value]:
    """Split: into parts of given or equal lengths, the last of which may be shorter."""
    axis = x.axis(node.get("axis", 0))
    lengths = node.get("split") if sizes is None else numbers(sizes, "their lengths")
    if lengths is None:
        whole = x.data.shape[axis]
        if whole is None:
            raise Unsupported("it needs the size of the image")
        each = -(-whole // node.outputs)
        lengths = [min(each, whole - k * each) for k in range(node.outputs)]
    return [x.like(part) for part in tf.split(tensor(x), lengths, axis)]


def slice_of(node: Node, x: Value, *inputs: Value | None) -> Value:
    """Slice."""
    given = dict(zip(("starts", "ends", "axes", "steps"), inputs, strict=False))

    def read(name: str, default: Any) -> list[Any]:
        value = given.get(name)
        return [*node.get(name, default)] if value is None else entries(value)

    starts = read("starts", [])
    axes = read("axes", range(len(starts)))
    steps = read("steps", [1] * len(starts))
    places = [slice(None)] * x.rank
    for axis, start, end, step in zip(axes, starts, read("ends", []), steps, strict=True):
        here = x.axis(axis)
        size = x.data.shape[here]
        if isinstance(end, int):
            end = None if abs(end) >= _END else end
        if isinstance(start, int) and size is not None:
            start = max(start, -size)
        if isinstance(start, int) and abs(start) >= _END:
            start = None
        places[here] = slice(start, end, step)
    part = x.data[tuple(places)]
    return x.like(as_shape(part) if part.dtype == object else part)


def gather(node: Node, x: Value, indices: Value) -> Value:
    """Gather: a known place is cut out."""
    axis = node.get("axis", 0) % x.rank
    if isinstance(x.data, np.ndarray) and indices.known:
        return Value(np.take(x.data, indices.data, axis))
    if indices.known and indices.rank == 0:
        place = int(indices.data)
        return Value(first(x)[(slice(None),) * axis + (place,)])
    if indices.known and indices.rank == 1:
        size = x.sizes[axis]
        places = np.asarray(indices.data)
        places = places if size is None else places % size
        return x.like(tf.gather(tensor(x), places, axis=x.axis(axis)))
    where = tensor(indices)
    where = tf.where(where < 0, where + tf.shape(first(x), where.dtype)[axis], where)
    return Value(tf.gather(first(x), where, axis=axis))


def gather_elements(node: Node, x: Value, indices: Value) -> Value:
    """GatherElements."""
    axis, data, places = node.get("axis", 0) % x.rank, first(x), first(indices)
    size = tf.shape(data, places.dtype)[axis]
    return Value(
        tf.experimental.numpy.take_along_axis(
            data, tf.where(places < 0, places + size, places), axis
        )
    )


def gather_nd(node: Node, x: Value, indices: Value) -> Value:
    """GatherND."""
    return Value(tf.gather_nd(first(x), first(indices), node.get("batch_dims", 0)))


def scatter_nd(node: Node, x: Value, indices: Value, updates: Value) -> Value:
    """ScatterND, which replaces."""
    if node.get("reduction", b"none") != b"none":
        raise Unsupported("it adds up")
    return Value(tf.tensor_scatter_nd_update(first(x), first(indices), first(updates)))


def expand(node: Node, x: Value, shape: Value) -> Value:
    """Expand: broadcast to a shape, and that to its own."""
    wanted = entries(shape)
    own: list[int | None] = [*[1] * (len(wanted) - x.rank), *x.sizes]
    wanted = [*[1] * (len(own) - len(wanted)), *wanted]
    given = tf.shape(first(x)) if None in own else ()
    parts: list[Any] = []
    for k, (size, length) in enumerate(zip(own, wanted, strict=True)):
        if size == 1:
            parts.append(length)
        elif size is not None:  # the other is 1, or the same
            parts.append(size)
        else:
            here = given[k - len(own) + x.rank]
            parts.append(
                here
                if isinstance(length, int) and length == 1
                else tf.maximum(here, tf.cast(length, here.dtype))
            )
    if len(own) == x.rank and all(
        isinstance(p, int) and p == o for p, o in zip(parts, own, strict=True)
    ):
        return x
    return Value(tf.broadcast_to(first(x), _stacked(parts)))


def _stacked(parts: Sequence[Any]) -> Any:
    """Numbers and scalar tensors as a shape."""
    if any(map(tf.is_tensor, parts)):
        return tf.stack([tf.cast(one, tf.int32) for one in parts])
    return [*parts]


def tile(node: Node, x: Value, repeats: Value) -> Value:
    """Tile."""
    times = entries(repeats)
    if all(isinstance(one, int) and one == 1 for one in times):
        return x
    return Value(tf.tile(first(x), _stacked(times)))


def constant_of_shape(node: Node, shape: Value) -> Value:
    """ConstantOfShape."""
    fill = node.get("value")
    value = np.zeros(1, np.float32) if fill is None else fill
    wanted = entries(shape)
    if not any(map(tf.is_tensor, wanted)):
        return Value(np.full(wanted, value.ravel()[0], value.dtype))
    return Value(tf.fill(_stacked(wanted), value.ravel()[0]))


def arange(node: Node, start: Value, limit: Value, step: Value) -> Value:
    """Range."""
    ends = [
        entries(value)[0] if value.data.dtype == object else tensor(value)
        for value in (start, limit, step)
    ]
    return Value(tf.range(*ends))


def one_hot(node: Node, indices: Value, depth: Value, values: Value) -> Value:
    """OneHot."""
    off, on = tf.unstack(tensor(values))
    count = numbers(depth, "its depth")[0]
    return Value(tf.one_hot(first(indices), count, on, off, node.get("axis", -1)))


def triangle(node: Node, x: Value, shift: Value | None = None) -> Value:
    """Trilu."""
    k = 0 if shift is None else numbers(shift, "its diagonal")[0]
    upper = bool(node.get("upper", 1))
    rows, columns = x.sizes[-2:]
    if rows is None or columns is None:
        raise Unsupported("it needs the size of the image")
    kept = np.triu(np.ones((rows, columns)), k) if upper else np.tril(np.ones((rows, columns)), k)
    data = first(x)
    return Value(tf.where(kept > 0, data, tf.zeros_like(data)))


OPERATORS: dict[str, Operator] = {
    "Concat": concat,
    "ConstantOfShape": constant_of_shape,
    "Expand": expand,
    "Flatten": flatten,
    "Gather": gather,
    "GatherElements": gather_elements,
    "GatherND": gather_nd,
    "OneHot": one_hot,
    "Range": arange,
    "Reshape": reshape,
    "ScatterND": scatter_nd,
    "Shape": shape_of,
    "Size": size_of,
    "Slice": slice_of,
    "Split": split,
    "Squeeze": squeeze,
    "Tile": tile,
    "Transpose": transpose,
    "Trilu": triangle,
    "Unsqueeze": unsqueeze,
}


def _cast(node: Node, x: np.ndarray) -> np.ndarray:
    """Cast to whole numbers."""
    if not DTYPES[node.get("to")].is_integer:
        raise Unsupported("it makes sizes of the image something else than whole numbers")
    return x


def _equal(node: Node, x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Equal: no length is below 0."""
    pairs = np.broadcast(x, y)
    found = []
    for a, b in pairs:
        if tf.is_tensor(a) or tf.is_tensor(b):
            number = b if tf.is_tensor(a) else a
            if tf.is_tensor(number) or number >= 0:
                raise Unsupported("it compares sizes of the image")
            found.append(False)
        else:
            found.append(a == b)
    return np.array(found).reshape(pairs.shape)


# The same of shapes of which a part is not known: arrays of numbers and scalar tensors.
OF_SHAPES: dict[str, Callable[..., Any]] = {
    "Add": lambda node, x, y: x + y,
    "Cast": _cast,
    "Concat": lambda node, *parts: np.concatenate(parts, node.get("axis")),
    "Div": lambda node, x, y: x // y,
    "Equal": _equal,
    "Gather": lambda node, x, places: np.take(x, places.astype(int), node.get("axis", 0)),
    "Identity": lambda node, x: x,
    "Mod": lambda node, x, y: x % y,
    "Mul": lambda node, x, y: x * y,
    "Reshape": lambda node, x, shape: x.reshape(shape.astype(int)),
    "Squeeze": lambda node, x, axes=None: np.squeeze(x, _axes(node, axes) or None),
    "Sub": lambda node, x, y: x - y,
    "Unsqueeze": lambda node, x, axes=None: np.expand_dims(x, _axes(node, axes)),
    "Where": lambda node, condition, x, y: np.where(condition, x, y),
}


def _axes(node: Node, given: Any) -> tuple[int, ...]:
    chosen = node.get("axes", ()) if given is None else given
    return tuple(int(one) for one in np.ravel(chosen))
