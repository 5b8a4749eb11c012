"""A network's blocks, found from the names of its variables and the order of its graph."""

import re
from collections.abc import Collection, Mapping
from itertools import zip_longest

from sanity.network.anatomy.parameters import UNKNOWN, Parameter, meeting
from sanity.network.graph import FlatGraph, op_of

# Keras names the layers of a residual block alike, without a folder: block2a_expand_conv.
# But `blocks_token_only` beside `blocks` is a row of blocks of its own.
_RESIDUAL = re.compile(
    r"^(.*?(?:block|expanded_conv)(?:s?_?\d+[a-z]?|_[a-z]|[a-rt-z])?)(?=_|$)", re.IGNORECASE
)

# What a name gets that is there already: `conv/kernel_1`.
_NUMBERED = re.compile(r"^(.+/.+)_(\d+)$")

Path = tuple[str, ...]
Block = tuple[Path, list[Parameter]]  # and its kernels
Children = dict[str, list[tuple[Path, Parameter]]]  # kernels by the next part of their path


def find_blocks(
    graph: FlatGraph, names: Mapping[str, str], parameters: Mapping[str, Parameter]
) -> tuple[list[str], dict[str, str]]:
    """Names of the blocks from output to input, and the block of each variable that is in one.

    A block is what follows the names' common beginning, e.g. `conv1` of `resnet/conv1/kernel`;
    a chain of numbered parts, `encoder/layer_0`, `encoder/layer_1`, is taken apart, and so is a row
    of numbered layers that has most of the kernels, as VGG's `features/0`. Layers without
    a kernel (batch norm) belong to the block whose kernel stands before them in the graph, and
    those before all kernels to the first block. What the output does not depend on is in no block.
    Parts of one name, as of models within a model whose own names were lost, are blocks each, in
    the graph's order: `conv` with `conv/kernel`, `conv_1` with `conv/kernel_1`.

    Args:
        graph: The network, as far as it computes the explained output.
        names: The variable behind each placeholder.
        parameters: The network's, by name.
    """
    reaching = {name: p for name, p in parameters.items() if p.reaches}
    kernels = {name: p for name, p in reaching.items() if p.kind == "kernel"}
    if not kernels:
        known = {name: p for name, p in reaching.items() if p.kind not in UNKNOWN}
        kernels = {name: p for name, p in known.items() if p.learned}
    if not kernels:
        return [], {}
    scopes = {
        name: (meeting(graph, placeholder) or "").rpartition("/")[0]
        for placeholder, name in names.items()
        if name in kernels
    }
    paths = [(_path(name), p) for name, p in kernels.items()]
    found, repeated = _apart(_divided(paths, 0, len(kernels) / 2, top=True), scopes)
    start = _common([path for path, _ in found])
    labels = {path: "/".join(path[start:]) for path, _ in found}
    found.sort(key=lambda block: (-min(p.depth for p in block[1]), labels[block[0]]))
    member = {p.name: labels[path] for path, inside in found for p in inside}
    prefixes = sorted(labels, key=len, reverse=True)
    before = _kernels_before(graph, names, kernels)
    after = min(kernels.values(), key=lambda p: (p.depth, p.name)).name  # of what is before all
    for name in reaching:
        if name in member:
            continue
        near = before.get(name, after)
        prefix = next((p for p in prefixes if _path(name)[: len(p)] == p), None)
        if prefix is not None and prefix not in repeated:
            member[name] = labels[prefix]
        else:
            member[name] = member[near]
    return [labels[path] for path, _ in found], member


def _path(name: str) -> Path:
    parts = name.split("/")
    return tuple(parts[:-1] or parts)


def _apart(blocks: list[Block], scopes: Mapping[str, str]) -> tuple[list[Block], Collection[Path]]:
    """Blocks, those that are there several times as often; and the paths of these."""
    taken = {path for path, _ in blocks}
    found: list[Block] = []
    repeated = set()
    for path, inside in blocks:
        first, *later = _times(inside, scopes)
        found.append((path, first))
        for number, again in enumerate(later, 1):
            repeated.add(path)
            found.append((_numbered(path, number, taken), again))
    return found, repeated


def _times(inside: list[Parameter], scopes: Mapping[str, str]) -> list[list[Parameter]]:
    """A block's kernels by the time at which they are there, where it is there several times.

    What is there again has the same name, with a number; its ops are in another scope, and behind
    those of the time before.
    """
    named = {p.name: p for p in inside}
    alike: dict[str, list[Parameter]] = {}
    for p in inside:
        numbered = _NUMBERED.match(p.name)
        alike.setdefault(numbered[1] if numbered and numbered[1] in named else p.name, []).append(p)
    for some in alike.values():
        known = [scope for p in some if (scope := scopes[p.name])]
        if len(set(known)) < len(known):
            return [inside]
        some.sort(key=lambda p: (p.depth, p.name))
    times = [[p for p in each if p] for each in zip_longest(*alike.values())]
    depths = [[p.depth for p in each] for each in times]
    apart = all(max(a) < min(b) for a, b in zip(depths, depths[1:], strict=False))
    return times if apart else [inside]


def _numbered(path: Path, number: int, taken: set[Path]) -> Path:
    *above, last = path
    while (new := (*above, f"{last}_{number}")) in taken:
        number += 1
    taken.add(new)
    return new


def _common(paths: list[Path]) -> int:
    """How many components all paths begin with, leaving at least one of each."""
    shortest = min(len(path) for path in paths) - 1
    same = [len({path[i] for path in paths}) == 1 for i in range(shortest)]
    return same.index(False) if False in same else max(shortest, 0)


def _divided(
    kernels: list[tuple[Path, Parameter]],
    depth: int,
    most: float,
    *,
    top: bool = False,
    part: bool = False,
) -> list[Block]:
    """The blocks of kernels that share the first `depth` components of their path.

    What is part of a chain already is taken apart only into layers of several kernels each: a
    convolution with its batch norm is none. Where a part holds a chain, as a stage its blocks, what
    stands before or behind that is a block as well. A row of layers is where it has `most` of the
    kernels.
    """
    whole = [(kernels[0][0][:depth], [p for _, p in kernels])]
    if any(len(path) <= depth for path, _ in kernels):
        return whole
    children = _children(kernels, depth)
    chain = _is_chain(children, depth)
    single = part and any(len(inside) < 2 for inside in children.values())
    row = not part and len(kernels) >= most and _is_row(children, depth)
    if len(children) > 1 and not (top or row or _holds_chain(children, depth, most)):
        if single or not chain:
            return whole
    parts = []
    for unit, inside in children.items():
        if len({path[depth] for path, _ in inside}) > 1:  # several layers of one residual block
            parts.append((inside[0][0][:depth] + (unit,), [p for _, p in inside]))
        else:
            first = top and len(children) == 1
            inner = part or (chain and not first)
            parts += _divided(inside, depth + 1, most, top=first, part=inner)
    return parts if len(parts) > 1 or top else whole


def _children(kernels: list[tuple[Path, Parameter]], depth: int) -> Children:
    children: Children = {}
    for path, parameter in kernels:
        children.setdefault(_unit(path[depth]), []).append((path, parameter))
    return children


def _unit(component: str) -> str:
    residual = _RESIDUAL.match(component)
    return residual[1] if residual else component


def _holds_chain(children: Children, depth: int, most: float) -> bool:
    """Whether parts stand one after the other, and a chain of parts of several layers is in one.

    Two rows of parts may take turns, as embeddings of patches and the blocks behind each.
    """
    ranges = sorted(one for inside in children.values() for one in _ranges(inside, depth + 1))
    if any(a[1] >= b[0] for a, b in zip(ranges, ranges[1:], strict=False)):
        return False
    return any(_leads_to_chain(inside, depth + 1, most) for inside in children.values())


def _leads_to_chain(kernels: list[tuple[Path, Parameter]], depth: int, most: float) -> bool:
    """Whether a part is a chain, or one stands in it, however deep.

    Parts that are numbered alone, as in a list of modules, may be of a single layer: some of them,
    or all where they have `most` of the kernels.
    """
    if any(len(path) <= depth for path, _ in kernels):
        return False
    inner = _children(kernels, depth)
    if _is_chain(inner, depth):
        several = [len(some) > 1 for some in inner.values()]
        numbers = all(unit.isdigit() for unit in inner)
        if all(several) or (numbers and (any(several) or len(kernels) >= most)):
            return True
    if len(inner) == 1:
        return _leads_to_chain(kernels, depth + 1, most)
    return _holds_chain(inner, depth, most)


def _ranges(kernels: list[tuple[Path, Parameter]], depth: int) -> list[tuple[int, int]]:
    """First and last depth of a part, or of each of its own parts where these are a chain."""
    parts = [kernels]
    if all(len(path) > depth for path, _ in kernels):
        children = _children(kernels, depth)
        if len(children) == 1:
            return _ranges(kernels, depth + 1)
        parts = [*children.values()] if _is_chain(children, depth) else parts
    depths = [[p.depth for _, p in part] for part in parts]
    return [(min(some), max(some)) for some in depths]


def _is_chain(children: Children, depth: int) -> bool:
    """Whether there are numbered parts, each with layers of its own, one after the other.

    That tells a stack of encoder layers from the branches of an Inception block (which stand side
    by side) and from the convolutions of a residual block (which are layers themselves).
    """
    stems: dict[str, list[list[int]]] = {}
    for unit, inside in children.items():
        if re.search(r"\d", unit) and all(len(path) > depth + 1 for path, _ in inside):
            depths = [p.depth for _, p in inside]
            stems.setdefault(re.sub(r"\d+", "#", unit), []).append([min(depths), max(depths)])
    for ranges in stems.values():
        ranges.sort()
        if len(ranges) > 1 and all(a[1] < b[0] for a, b in zip(ranges, ranges[1:], strict=False)):
            return True
    return False


def _is_row(children: Children, depth: int) -> bool:
    """Whether there are numbered layers of one kernel each, one after the other."""
    layers = [path for inside in children.values() for path, _ in inside]
    depths = {p.depth for inside in children.values() for _, p in inside}
    numbered = all(len(path) == depth + 1 and path[depth].isdigit() for path in layers)
    return numbered and len(layers) == len(children) == len(depths)


def _kernels_before(
    graph: FlatGraph, names: Mapping[str, str], kernels: Mapping[str, Parameter]
) -> dict[str, str]:
    """For each other variable, the kernel that the images meet last before it."""
    met = {
        node: name
        for placeholder, name in names.items()
        if name in kernels and (node := meeting(graph, placeholder))
    }
    before = {}
    for placeholder, name in names.items():
        node = meeting(graph, placeholder)
        if name in kernels or node is None:
            continue
        level, seen = [node], {node}
        while level:
            hits = [n for n in level if n in met]
            if hits:
                before[name] = met[max(hits, key=lambda n: (graph.depths[n], n))]
                break
            above = dict.fromkeys(op_of(i) for n in level for i in graph.nodes[n].input)
            level = [n for n in above if n in graph.depths and n in graph.nodes and n not in seen]
            seen.update(level)
    return before
