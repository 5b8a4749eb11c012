"""The names of a job's original masks in the store: hashes of all that determines their bits."""

import hashlib
import json
import os
import platform
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, fields, is_dataclass
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

import numpy as np

from sanity.contents import by_content, code_is_known
from sanity.methods.base import AdaptedMethod, Method
from sanity.results.columns import RESULTS_FORMAT
from sanity.results.originals import FOLDER, Originals, Room

if TYPE_CHECKING:
    from sanity.config.job import Job
    from sanity.data import Images
    from sanity.network.classifier import Classifier


_PACKAGES = (
    "tensorflow", "keras", "numpy", "scipy", "scikit-image", "saliency", "lime", "shap", "foolbox"
)  # fmt: skip
_SWITCHES = ("TF_ENABLE_", "TF_XLA", "XLA_", "ONEDNN_", "DNNL_")  # environment variables


@dataclass(frozen=True)
class Keeping:
    """What of a job says where its original masks are kept, and which are its.

    Attributes:
        output: The folder for results.
        methods: By name.
        nodes: Their configurations.
        noise_seed: Of what they draw.
        fresh: Whether nothing is to be found, but all to be computed.
    """

    output: Path
    methods: Mapping[str, Method]
    nodes: Mapping[str, Any]
    noise_seed: int
    fresh: bool

    @classmethod
    def of(cls, job: "Job") -> Self | None:
        """That of a job; None where it is asked to keep nothing."""
        settings = job.settings
        if not settings.originals:
            return None
        nodes = job.config["method"]
        return cls(Path(settings.output), job.methods, nodes, settings.noise_seed, settings.force)


def originals(
    keeping: Keeping, classifier: "Classifier"
) -> Callable[["Images", np.ndarray], Originals]:
    """What gives what is kept of some images' masks at stage 0.

    It takes the images, to whose positions `Originals` keeps, and the class explained of each.

    Args:
        keeping: Where, and of which methods.
        classifier: The job's network; its trained weights count, not those in place.
    """
    shared = [
        RESULTS_FORMAT,
        _package(),
        _machine(),
        {name: _version(name) for name in _PACKAGES},
        classifier.weights.sha256,
        _graph(classifier),
        classifier.precision,
        classifier.batch_size,
    ]
    owns = {
        name: [*shared, by_content(keeping.nodes[name], method)]
        for name, method in keeping.methods.items()
        # else its code cannot be told, or it is computed faster than it is read
        if not method.control and all(code_is_known(type(part)) for part in _parts(method))
    }
    room = Room(keeping.output / FOLDER)

    def of(images: "Images", targets: np.ndarray) -> Originals:
        pixels = [hashlib.sha256(np.ascontiguousarray(x).data).hexdigest() for x in images.x]
        keys = {}
        for name, own in owns.items():
            seeded = keeping.methods[name].depends_on_seed()
            drawn = [[keeping.noise_seed, image] if seeded else [] for image in images.names]
            keys[name] = [
                _digest([*own, list(images.x.shape[1:]), shown, int(target), draw])
                for shown, target, draw in zip(pixels, targets, drawn, strict=True)
            ]
        return Originals(keeping.output / FOLDER, keys, fresh=keeping.fresh, room=room)

    return of


def _digest(content: Any) -> str:
    return hashlib.sha256(json.dumps(content, sort_keys=True, default=str).encode()).hexdigest()


def _graph(classifier: "Classifier") -> str:
    """Hash of the network's graph, without what differs between two loads of one model."""
    graph = classifier.graph
    names = {placeholder: own for own, placeholder in classifier.placeholders.items()}
    digest = hashlib.sha256(
        json.dumps([graph.input, classifier.logits_tensor, sorted(graph.outputs.items())]).encode()
    )
    for number, (placeholder, captured) in enumerate(graph.captures.items()):
        if placeholder not in names:
            names[placeholder] = f"captured {number}"
            if hasattr(captured, "numpy") and captured.dtype.name != "resource":
                digest.update(np.asarray(captured.numpy()).tobytes())

    def renamed(tensor: str) -> str:
        control, name = tensor.startswith("^"), tensor.removeprefix("^")
        op, colon, output = name.partition(":")
        return f"{'^' * control}{names.get(op, op)}{colon}{output}"

    for name, node in graph.nodes.items():
        digest.update(json.dumps([renamed(name), node.op, *map(renamed, node.input)]).encode())
        for key in sorted(node.attr):
            digest.update(key.encode() + node.attr[key].SerializeToString(deterministic=True))
    return digest.hexdigest()


def _parts(method: Any) -> Iterator[Any]:
    """A method and what its fields hold, such as the method that another one wraps."""
    if isinstance(method, AdaptedMethod):
        yield from _parts(method.own)
        return
    yield method
    if is_dataclass(method):
        for field in fields(method):
            value = getattr(method, field.name)
            if is_dataclass(value):
                yield from _parts(value)


@cache
def _package() -> str:
    """Hash of this package's code: masks that other code has made are not these."""
    top, digest = Path(__file__).parents[1], hashlib.sha256()
    for path in sorted(top.rglob("*.py")):
        digest.update(f"{path.relative_to(top).as_posix()}\0".encode() + path.read_bytes() + b"\0")
    return digest.hexdigest()


@cache
def _machine() -> list[str]:
    """What decides how sums are rounded: processor, system, graphics cards and TensorFlow's own."""
    import tensorflow as tf

    info = Path("/proc/cpuinfo")
    lines = info.read_text(errors="replace").splitlines() if info.exists() else []
    processor = {line for line in lines if line.startswith(("model name", "flags", "Features"))}
    cards = [
        str(tf.config.experimental.get_device_details(device))
        for device in tf.config.list_physical_devices("GPU")
    ]
    switches = [f"{k}={v}" for k, v in os.environ.items() if k.startswith(_SWITCHES)]
    return [platform.platform(), *sorted(processor), *cards, *sorted(switches)]


@cache
def _version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None
