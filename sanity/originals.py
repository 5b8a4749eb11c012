"""Masks of the network as trained, kept beside the runs for all jobs that share them.

Jobs of a sweep that differ in how they randomize, or in the seed where a method draws nothing,
explain the same network first. Each mask is a file of its own, named by a hash of all that
determines its bits; files are replaced at once and checked on reading, so that processes may
share them, and whatever is missing or damaged is computed again.
"""

import hashlib
import io
import itertools
import json
import logging
import os
import platform
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from sanity.classifiers import files
from sanity.config import RESULTS_FORMAT
from sanity.verdict import is_control

if TYPE_CHECKING:
    from sanity.classifier import Classifier
    from sanity.config import Job
    from sanity.data import Images

log = logging.getLogger(__name__)

FOLDER = ".originals"  # in the folder of results
_LIMIT = 4 * 2**30  # bytes of all files; those that were not used for longest go first
_ABANDONED = 3600.0  # seconds after which an unfinished file is some killed process's
_PACKAGES = (
    "tensorflow", "keras", "numpy", "scipy", "scikit-image", "saliency", "lime", "shap", "foolbox"
)  # fmt: skip
_SWITCHES = ("TF_ENABLE_", "TF_XLA", "XLA_", "ONEDNN_", "DNNL_")  # environment variables
_numbers = itertools.count()


class Originals:
    """The masks of a job's images at stage 0, by method, as far as some job has computed them.

    Args:
        folder: Where the files are; made when one is written.
        keys: By method, the file's name for each image; a method that is not there is not kept.
        fresh: Find nothing, and replace what is there.
        limit: The most bytes of all files.
    """

    def __init__(
        self,
        folder: Path,
        keys: Mapping[str, Sequence[str]],
        *,
        fresh: bool = False,
        limit: int = _LIMIT,
    ):
        self._folder, self._keys, self._fresh, self._limit = folder, keys, fresh, limit
        self._size: int | None = None  # of all files, as far as this process knows

    def get(self, method: str, images: Sequence[int]) -> np.ndarray | None:
        """The masks (n, H, W[, C]) float32 of images at these positions; None unless all are there.

        They equal, to the bit, what the method would compute on this machine.
        """
        if self._fresh or method not in self._keys:
            return None
        found = []
        for image in images:
            mask = self._read(self._path(method, image))
            if mask is None:
                return None
            found.append(mask)
        return np.stack(found) if len({mask.shape for mask in found}) == 1 else None

    def put(self, method: str, images: Sequence[int], masks: np.ndarray) -> None:
        """Keeps the masks (n, H, W[, C]) of images at these positions, if that is possible.

        Nothing depends on it: a full disk or a folder that cannot be written is logged and passed
        over.
        """
        if method not in self._keys:
            return
        if len(images) != len(masks):
            raise ValueError(f"{len(images)} images, but {len(masks)} masks")
        for image, mask in zip(images, masks, strict=True):
            path = self._path(method, image)
            if not self._fresh and path.exists():
                continue
            try:
                self._write(path, mask)
            except OSError as error:
                log.info("%s is not kept: %s", path, error.strerror or error)
                return

    def _path(self, method: str, image: int) -> Path:
        key = self._keys[method][image]
        return self._folder / key[:2] / f"{key[2:]}.npz"

    def _read(self, path: Path) -> np.ndarray | None:
        try:
            content = path.read_bytes()
        except OSError:
            return None
        try:
            with np.load(io.BytesIO(content), allow_pickle=False) as file:
                mask = file["mask"]  # NumPy compares the checksum
        except Exception as error:  # a damaged file can lead to any
            log.info("%s is damaged; the mask is computed again: %s", path, error)
            with suppress(OSError):
                path.unlink()
            return None
        with suppress(OSError):
            os.utime(path)
        return mask

    def _write(self, path: Path, mask: np.ndarray) -> None:
        buffer = io.BytesIO()
        np.savez(buffer, mask=np.ascontiguousarray(mask, np.float32))
        content = buffer.getvalue()
        self._make_room(len(content))
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary = path.with_name(f".{platform.node()}-{os.getpid()}-{next(_numbers)}.tmp")
        try:
            temporary.write_bytes(content)
            os.replace(temporary, path)
        except BaseException:
            with suppress(OSError):
                temporary.unlink()
            raise

    def _make_room(self, size: int) -> None:
        """Removes what was not used for longest, if the files would exceed the limit."""
        if self._size is not None and self._size + size <= self._limit:
            self._size += size
            return
        kept = sorted(self._files())
        self._size = sum(nbytes for _, nbytes, _ in kept) + size
        # More than needed, so that not every mask looks through all files.
        bound = 0.9 * self._limit if self._size > self._limit else self._limit
        for _, nbytes, path in kept:
            if self._size <= bound:
                break
            with suppress(OSError):
                path.unlink()
                self._size -= nbytes

    def _files(self) -> Iterator[tuple[float, int, Path]]:
        """When each file was last used, its size and path; removes abandoned ones."""
        for path in self._folder.glob("*/*"):
            with suppress(OSError):
                stat = path.stat()
                if path.suffix == ".npz":
                    yield stat.st_mtime, stat.st_size, path
                elif time.time() - stat.st_mtime > _ABANDONED:
                    path.unlink()


def originals(
    job: "Job", classifier: "Classifier", images: "Images", targets: np.ndarray
) -> Originals | None:
    """What is kept of a job's masks at stage 0; None where it is asked to keep nothing.

    Args:
        job: `force=true` finds nothing.
        classifier: The job's network; its trained weights count, not those in place.
        images: All images of the job, whose positions `Originals` takes.
        targets: (n,), the class explained of each.
    """
    settings = job.settings
    if not settings.originals:
        return None
    shared = [
        RESULTS_FORMAT,
        _package(),
        _machine(),
        {name: _version(name) for name in _PACKAGES},
        classifier.sha256,
        _graph(classifier),
        settings.precision,
        classifier.batch_size,
    ]
    pixels = [hashlib.sha256(np.ascontiguousarray(x).data).hexdigest() for x in images.x]
    keys = {}
    for name, method in job.methods.items():
        node = job.config["method"][name]
        code = [_code(type(part)) for part in _parts(method)]
        if None in code or is_control(name, node["_target_"]):
            continue  # its code cannot be told, or it is computed faster than it is read
        own = [*shared, node, list(files(node)), code]
        drawn = [[settings.seed, image] if draws(method) else [] for image in images.names]
        keys[name] = [
            _digest([*own, list(images.x.shape[1:]), shown, int(target), draw])
            for shown, target, draw in zip(pixels, targets, drawn, strict=True)
        ]
    return Originals(Path(settings.output) / FOLDER, keys, fresh=settings.force)


def draws(method: Any) -> bool:
    """Whether a method's masks may depend on the seed and the image's name.

    They do not if the method's own class says `draws = False` (a class that inherits from it has
    to say so again) and its baseline is not drawn.
    """
    own = vars(type(method)).get("draws", True)
    return bool(own) or getattr(method, "baseline", None) == "uniform"


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
    yield method
    for field in getattr(method, "__dataclass_fields__", ()):
        value = getattr(method, field)
        if hasattr(value, "__dataclass_fields__"):
            yield from _parts(value)


def _code(cls: type) -> list[str] | None:
    """Hashes of the files that a method's class and those it inherits from stand in.

    Those of this package count as a whole, see `_package`. None if one stands in no file.
    """
    found = []
    for base in cls.__mro__:
        if base.__module__.partition(".")[0] in ("builtins", "abc", "typing", "sanity"):
            continue
        path = getattr(sys.modules.get(base.__module__), "__file__", None)
        if path is None or not Path(path).is_file():
            return None
        found.append(hashlib.sha256(Path(path).read_bytes()).hexdigest())
    return found


@cache
def _package() -> str:
    """Hash of this package's code: masks that other code has made are not these."""
    top, digest = Path(__file__).parent, hashlib.sha256()
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
