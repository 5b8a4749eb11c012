"""Which constants of an ONNX graph are weights, and what they are called."""

import logging
import re
from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from sanity.errors import name_some
from sanity.network.anatomy.formulas import follows_formula, has_two_values, say_made_up
from sanity.network.anatomy.single_numbers import may_be_learned, say_untold, was_variable

if TYPE_CHECKING:
    from onnx import ModelProto, NodeProto

log = logging.getLogger(__name__)

PRODUCTS = frozenset("Conv ConvTranspose MatMul Gemm Einsum".split())
NORMS = frozenset(
    "BatchNormalization InstanceNormalization LayerNormalization GroupNormalization "
    "RMSNormalization SimplifiedLayerNormalization".split()
)
_LATER = frozenset("Add Sub Sum Mul Div Concat Gather Where Pow".split())
_SLOPES = frozenset({"PRelu"})
_OF_WEIGHTS = PRODUCTS | NORMS | _SLOPES  # they take nothing else beside values
_VALUELESS = frozenset("Shape Size".split())
_SHOWN = 5  # names in a message
_FEW, _MASK = 2, 8  # entries of what has two values: without and with a name of its own
# What exporters call a constant that has no name in the code that it was exported from.
_ANONYMOUS = re.compile(r"^(onnx::|_?val_?\d|const|/|\d+$|.*_output_\d+$|.*::)")
_ENDS: dict[str, tuple[str, ...]] = {  # of the inputs behind the first, as PyTorch calls them
    **dict.fromkeys(("Conv", "ConvTranspose", "Gemm", *NORMS), ("weight", "bias", "mean", "var")),
    "MatMul": ("weight",),
    "Add": ("bias",),
}


@dataclass(frozen=True)
class Named:
    """What a network that was exported to ONNX calls its own.

    Attributes:
        parameters: What is learned.
        measured: What may be measured, as running means are.
        tables: What else it keeps.
        computed: Constants that were computed of parameters before the export.
    """

    parameters: Collection[str]
    measured: Collection[str]
    tables: Collection[str]
    computed: Collection[str] = ()


@dataclass(frozen=True)
class Weight:
    """A constant that is a weight.

    Attributes:
        name: A path, as TensorFlow's variables have it.
        value: In ONNX's order of axes.
        groups: Of the convolutions that alone take it as their kernel; 0 where others do, too.
    """

    name: str
    value: np.ndarray
    groups: int


def find_weights(
    model: "ModelProto",
    constants: Mapping[str, np.ndarray],
    images: Iterable[str],
    key: str,
    named: Named | None = None,
) -> dict[str, Weight]:
    """The constants that are weights, by their names in the graph.

    As in `sanity.network.promoting`: arrays that products and norms of the images' values take, and
    those that meet these values behind the first product; what stands before is preprocessing.
    Single numbers are more often of a formula than learned: they are weights where products, norms
    and slopes take them as they are, and where PyTorch or TensorFlow names them as parameters. Of
    others that no formula would have it is said that nothing tells. What a formula gives is none,
    as coordinates, unless PyTorch names it so.

    Args:
        model: With the graph.
        constants: Its constants.
        images: The names of its inputs.
        key: What messages call the model.
        named: What the network that it was exported from calls its own, if known.
    """
    graph = model.graph
    valued, after = set(images), set[str]()
    readers: dict[str, list[tuple[NodeProto, int]]] = {}
    for node in graph.node:
        inputs = [*node.input]
        for index, name in enumerate(inputs):
            readers.setdefault(name, []).append((node, index))
        if node.op_type in _VALUELESS or not valued.intersection(inputs):
            continue
        valued.update(node.output)
        if node.op_type in PRODUCTS or after.intersection(inputs):
            after.update(node.output)
    learned, maybe = _parameters(model)
    own = {*named.parameters} if named else set[str]()
    computed = {*named.computed} if named else set[str]()
    learned = {*learned, *own, *computed}
    untold: dict[str, np.ndarray] = {}
    made_up: list[str] = []
    found: dict[str, Weight] = {}
    taken: set[str] = set()
    for name, value in constants.items():
        if not value.size or value.dtype.kind not in "fV":
            continue
        met = [*_meetings(name, readers, valued)]
        if not any(_takes_weights(node, after) for node, _ in met):
            continue
        if value.size == 1 and name not in learned and not _is_taken(name, met):
            if not named and (name in maybe or may_be_learned(value)):
                untold[name] = value
            continue
        if name not in own and name not in computed and _is_made_up(name, value, met):
            made_up += [name] if (value != value.flat[0]).any() else []
            continue
        path = unique(_path(name, met, anonymous=name in computed), taken)
        found[name] = Weight(path, value, _groups(readers[name]))
    say_untold(key, untold)
    say_made_up(key, made_up)
    return found


def without_tables(found: Mapping[str, Weight], named: Named, key: str) -> dict[str, Weight]:
    """The weights found that are none of a network's tables, which stay as they are.

    What has no name in the network is one, too, where all of its parameters are found by theirs.

    Args:
        found: The weights, by their names in the graph.
        named: What the network calls its own.
        key: What messages call the model.
    """
    whole = all(name in found for name in named.parameters)
    known = {*named.parameters, *named.measured, *named.computed}
    stay = {
        name: weight.name
        for name, weight in found.items()
        if name not in known and (whole or name in named.tables)
    }
    if stay:
        log.info(
            "%s: not randomized, as no parameters of the network: %s (nn.Parameter makes one)",
            key,
            name_some([*stay.values()], _SHOWN),
        )
    return {name: weight for name, weight in found.items() if name not in stay}


def _takes_weights(node: "NodeProto", after: set[str]) -> bool:
    """Whether the images' values meet weights here; `after` is what is behind a product."""
    return node.op_type in _OF_WEIGHTS or (
        node.op_type in _LATER and not after.isdisjoint(node.input)
    )


def _is_taken(name: str, met: list[tuple["NodeProto", int]]) -> bool:
    """Whether what takes nothing but weights beside values takes this constant as it is."""
    return any(node.op_type in _OF_WEIGHTS and name in node.input for node, _ in met)


def _parameters(model: "ModelProto") -> tuple[set[str], set[str]]:
    """Initializers that exporters name as parameters, and those that may be.

    PyTorch's older one has constants as nodes; the newer one calls what it has computed beforehand
    like the op that did, so that only a module's name before it tells.
    """
    if model.producer_name != "pytorch":
        return {one.name for one in model.graph.initializer if was_variable(one.name)}, set()
    named = {one.name for one in model.graph.initializer if not _ANONYMOUS.match(one.name)}
    newer = any(
        entry.key.startswith("pkg.torch")
        for node in model.graph.node
        for entry in node.metadata_props
    )
    known = {name for name in named if "." in name} if newer else named
    return known, named - known


def _is_made_up(name: str, value: np.ndarray, met: list[tuple["NodeProto", int]]) -> bool:
    """Whether a constant is none that was learned.

    So are coordinates and sinusoids of positions, what has two values where no product takes it, as
    a mask of attention, and without a name of its own a single number, if but a product takes it
    as it is: exporters write group norm as instance norm that scales by 1, and then scale.
    """
    few = _FEW if _ANONYMOUS.match(name) else _MASK
    if (value == value.flat[0]).all():
        direct = {node.op_type for node, _ in met if name in node.input}
        return few == _FEW and not direct & (PRODUCTS | _SLOPES)
    if not {node.op_type for node, _ in met} & _OF_WEIGHTS and value.size >= few:
        if has_two_values(value):
            return True
    return follows_formula(value)


def unique(name: str, taken: set[str]) -> str:
    """A name that is not taken yet, and is from then on."""
    free = name
    count = 1
    while free in taken:
        free = f"{name}_{count}"
        count += 1
    taken.add(free)
    return free


def scope_of(node: "NodeProto") -> str:
    """The module that a node stands in, as a path: `/layer1/layer1.0/conv1/Conv` in `layer1/0`."""
    for entry in node.metadata_props:
        if entry.key == "pkg.torch.onnx.name_scopes":
            scopes = re.findall(r"'([^']*)'", entry.value)
            return as_path(scopes[-2] if len(scopes) > 1 else "")
    modules: list[str] = []
    for part in node.name.strip("/").split("/")[:-1]:
        if modules and part.startswith(f"{modules[-1]}."):
            modules.pop()  # a Sequential's part, called by its whole path
        modules.append(part)
    return as_path(".".join(modules))


def as_path(name: str) -> str:
    """A name of ONNX's as TensorFlow takes it: modules are folders."""
    path = re.sub(r"[^A-Za-z0-9_/>-]+", "_", name.replace(".", "/").replace(":0", ""))
    return re.sub(r"/+", "/", path).strip("/_")


def _path(name: str, met: list[tuple["NodeProto", int]], *, anonymous: bool) -> str:
    """What a weight is called: by its own name, or by where it is taken where it has none."""
    if not (anonymous or _ANONYMOUS.match(name)):
        return as_path(name) or "weight"
    node, index = met[0]
    ends = _ENDS.get(node.op_type, ())
    end = ends[min(max(index, 1), len(ends)) - 1] if ends else node.op_type.lower()
    scope = scope_of(node)
    return f"{scope}/{end}" if scope else as_path(f"{node.name or node.output[0]}/{end}")


def _meetings(
    name: str, readers: Mapping[str, list[tuple["NodeProto", int]]], valued: set[str]
) -> Iterator[tuple["NodeProto", int]]:
    """Where a constant meets the images' values, and as which input."""
    waiting, seen = [name], {name}
    while waiting:
        for node, index in readers.get(waiting.pop(), ()):
            if {*node.output} & valued:
                yield node, index
            elif node.op_type not in _VALUELESS:
                new = {*node.output} - seen
                seen |= new
                waiting += new


def _groups(readers: list[tuple["NodeProto", int]]) -> int:
    """The groups of the convolutions that alone take a constant as their kernel, else 0."""
    groups = {
        groups_of(node) if node.op_type == "Conv" and index == 1 else 0 for node, index in readers
    }
    return groups.pop() if len(groups) == 1 else 0


def groups_of(node: "NodeProto") -> int:
    """The groups of a convolution."""
    found: list[Any] = [entry.i for entry in node.attribute if entry.name == "group"]
    return int(found[0]) if found else 1
