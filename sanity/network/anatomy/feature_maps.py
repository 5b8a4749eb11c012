"""The feature maps of a network, of which Grad-CAM and its like explain one."""

from collections.abc import Mapping, Sequence

import tensorflow as tf

from sanity.errors import ConfigError
from sanity.network.anatomy.grids import find_maps
from sanity.network.graph import FlatGraph, op_of, tensor_of

_SHOWN = 30  # candidates that an error names


def feature_maps(
    graph: FlatGraph, path: Sequence[str], images: tf.TensorSpec
) -> dict[str, tuple[int, ...]]:
    """Name and shape (h, w, channels) of the tensors (n, h, w, channels) of more than one pixel.

    Their rows and columns are the image's: attention's (n, tokens, heads, channels) are no maps.

    Args:
        graph: The network.
        path: The nodes among whose first outputs they are, in their order.
        images: What the network takes.
    """
    maps = find_maps(graph, path, images)
    return {name: shape for name, shape in maps.items() if shape[:2] != (1, 1)}


def choose_map(
    maps: Mapping[str, tuple[int, ...]], name: str | None, graph: FlatGraph, model: str
) -> str:
    """The last of the feature maps, or the one of this name.

    Args:
        maps: See `feature_maps`.
        name: Of a tensor (`"a/b:0"`, or `"a/b"`), of one of the graph's outputs, or None.
        graph: The network.
        model: Its name, for errors.

    Raises:
        ConfigError: There is no such map.
    """
    if name is None:
        if not maps:
            raise ConfigError(
                f"layer=null finds nothing: {model} has no tensor (n, h, w, channels) between "
                "image and logits"
            )
        return list(maps)[-1]
    tensor = graph.outputs.get(name, tensor_of(name))
    if tensor not in maps:
        there = "is no map" if op_of(tensor) in graph.nodes else "is not there"
        outputs = {tensor: output for output, tensor in graph.outputs.items()}
        candidates = [outputs.get(tensor, op_of(tensor)) for tensor in reversed(list(maps))]
        shown = [c for c in candidates if c in graph.outputs] or candidates
        more = f" and {len(shown) - _SHOWN} more" if len(shown) > _SHOWN else ""
        raise ConfigError(
            f"layer={name} {there}; a layer must be a tensor (n, h, w, channels) between image "
            f"and logits of {model}, such as {', '.join(shown[:_SHOWN])}{more}"
        )
    return tensor
