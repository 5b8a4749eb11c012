"""PyTorch networks, exported to ONNX by a process of their own."""

import hashlib
import json
import logging
import math
import os
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import numpy as np
from pydantic import Field, field_validator

from sanity.checked import Text, checked
from sanity.contents import Content, digest_of, files_among
from sanity.errors import ConfigError
from sanity.files import FolderLock, cache_folder, writing
from sanity.models.compared import check_outputs
from sanity.models.importing import export
from sanity.models.importing.file import read
from sanity.models.importing.weights import Named
from sanity.models.kinds import DETAILS
from sanity.models.source import Positive, ScaledSource

if TYPE_CHECKING:
    from sanity.models.module import Entry
    from sanity.network.classifier import Classifier

log = logging.getLogger(__name__)

_SEED = 0  # of weights that the code itself draws
_SAID = ".json"  # what the network gives in PyTorch and calls its own, beside its ONNX file


@checked
class Torch(ScaledSource):
    """A PyTorch network that a function of one's own returns.

    The function's code runs, in a process of its own; what it exports is kept by content.

    Attributes:
        module: `package.module:function`; the function takes nothing and returns an `nn.Module`.
        checkpoint: A file of its state dict, read as weights only; None for those that it has.
        python: The interpreter that has PyTorch; None for this one.
        input_shape: [height, width, channels] of its images.
    """

    input_shape: Annotated[list[Positive], Field(min_length=3, max_length=3)]
    module: Text
    checkpoint: Text | None = None
    python: str | None = None

    @field_validator("module")
    @classmethod
    def _names_a_function(cls, module: str) -> str:
        parts = module.split(":")
        if len(parts) != 2 or not all(p.isidentifier() for p in [*parts[0].split("."), parts[1]]):
            raise ValueError("must be package.module:function, as in nets.small:make")
        return module

    def sources(self) -> dict[str, Content]:
        """The code around the function, the checkpoint, and the file of class names."""
        own = {"module": code_around(self.module)}
        return {**super().sources(), **own, **files_among(checkpoint=self.checkpoint)}

    def load(self) -> "Classifier":
        """The classifier.

        Raises:
            ConfigError: The code fails, the checkpoint does not fit, the network cannot be exported
                or converted, or is no image classifier.
        """
        from sanity.models.importing.entry import entry

        key, path = f"model.module={self.module}", self._exported()
        said = json.loads(path.with_suffix(_SAID).read_text(encoding="utf-8"))
        found = entry(read(path, key), self.input_shape, key, Named(**said["weights"]))
        _compare(found, said["outputs"], self.input_shape, key)
        return self.classifier_of(found, self.module.replace(":", "."), key)

    def _exported(self) -> Path:
        """The network's ONNX file, from the cache or exported now."""
        checkpoint = self.checkpoint and Path(self.checkpoint).expanduser()
        if checkpoint and not checkpoint.is_file():
            raise ConfigError(f"model.checkpoint={self.checkpoint} is no file")
        made_from = {
            "code": digest_of(code_around(self.module)),
            "checkpoint": checkpoint and digest_of(checkpoint),
            "exporter": digest_of(Path(export.__file__)),
            "python": self.python or sys.executable,
            "module": self.module,
            "shape": self.input_shape,
        }
        digest = hashlib.sha256(json.dumps(made_from, sort_keys=True).encode()).hexdigest()
        path = cache_folder() / "exported" / f"{digest[:32]}.onnx"
        if path.is_file() and path.with_suffix(_SAID).is_file():
            log.info("model.module=%s was exported before: %s", self.module, path)
            return path
        with writing(path):
            path.parent.mkdir(parents=True, exist_ok=True)
        lock = FolderLock(path)
        lock.acquire(wait=True)
        try:
            # The process waited for may have exported it.
            if not (path.is_file() and path.with_suffix(_SAID).is_file()):
                log.info("model.module=%s: its code runs now, in a process of its own", self.module)
                self._export(path, str(checkpoint.resolve()) if checkpoint else None)
        finally:
            lock.release()
        return path

    def _export(self, path: Path, checkpoint: str | None) -> None:
        height, width, channels = self.input_shape
        module, function = self.module.split(":")
        temporary = path.with_suffix(f".{os.getpid()}.tmp")
        said = path.with_suffix(f".{os.getpid()}{_SAID}.tmp")
        task = {
            "module": module,
            "function": function,
            "checkpoint": checkpoint,
            "shape": [channels, height, width],
            "seed": _SEED,
            "out": str(temporary),
            "said": str(said),
        }
        python = self.python or sys.executable
        try:
            done = subprocess.run(
                [python, export.__file__, json.dumps(task)],
                capture_output=True,
                text=True,
                errors="replace",
            )
            log.debug("%s%s", done.stdout, done.stderr)
            if done.returncode or not (temporary.is_file() and said.is_file()):
                raise ConfigError(self._why_not(_last_said(done.stdout)))
            with writing(path):
                os.replace(said, path.with_suffix(_SAID))
                os.replace(temporary, path)
        except OSError as error:
            raise ConfigError(
                f"model.python={python} cannot be run: {error.strerror or error}"
            ) from error
        finally:
            temporary.unlink(missing_ok=True)
            said.unlink(missing_ok=True)

    def _why_not(self, said: dict[str, str]) -> str:
        """What stands in the way of an export, in a sentence."""
        key, why = f"model.module={self.module}", said.get("why", "")
        module, function = self.module.split(":")
        return {
            "torch": f"{key} needs PyTorch, which {self.python or 'this Python'} does not have: "
            "model.python=PATH names the interpreter that has it, or pip install torch",
            "module": f"{key} fails when it is run: {why}",
            "function": f"{key}: {module} has no function {function}",
            "network": f"{key} must return a torch.nn.Module, not {why}",
            "no state dict": f"model.checkpoint={self.checkpoint} holds no weights alone (what "
            "torch.save(network.state_dict(), FILE) writes), and nothing else in it is run",
            "checkpoint": f"model.checkpoint={self.checkpoint} does not fit {key}: {why}",
            "export": f"{key} cannot be exported to ONNX with images of model.input_shape="
            f"{self.input_shape}: {why}",
        }.get(
            said.get("what", ""), f"{key} cannot be exported: its process ended early ({DETAILS})"
        )


def _compare(found: "Entry", said: Mapping[str, Any], shape: Sequence[int], key: str) -> None:
    """Makes sure that a converted network gives what PyTorch said of it, on two images."""
    expected = {
        name: np.reshape(np.asarray(one["values"]), one["shape"]) for name, one in said.items()
    }
    height, width, channels = shape
    multiples = np.arange(2 * math.prod(shape)) * export.GOLDEN
    images = (multiples % 1).astype(np.float32).reshape(2, channels, height, width)
    (given,) = found.inputs
    if given.shape is not None and given.shape[1:] != images.shape[1:]:
        images = np.moveaxis(images, 1, -1)
    check_outputs(expected, found, {given.name: images}, key, "PyTorch")


def code_around(function: str) -> dict[str, Path | str]:
    """The Python files of the package that a function stands in, without importing it.

    Of an installed package the function's module alone. What a single file imports does not count.

    Args:
        function: `package.module:function`.
    """
    module = function.split(":")[0]
    top, *rest = module.split(".")
    found: dict[str, Path | str] = {"function": function}
    places = [Path(), *map(Path, filter(None, sys.path))]
    for place in places:
        package, single = place / top, place / f"{top}.py"
        installed = "site-packages" in place.parts
        if package.is_dir() and (rest or (package / "__init__.py").is_file()):
            inner = package.joinpath(*rest)
            own = [p for p in (inner.with_suffix(".py"), inner / "__init__.py") if p.is_file()]
            files = own if installed else sorted(package.rglob("*.py"))
            if own:
                return found | {p.relative_to(place).as_posix(): p for p in files}
        if single.is_file() and not rest:
            return found | {single.name: single}
    return found


def _last_said(output: str) -> dict[str, Any]:
    """What the export said on its last line."""
    lines = output.strip().splitlines()
    try:
        said = json.loads(lines[-1]) if lines else {}
    except ValueError:
        said = {}
    return said if isinstance(said, dict) else {}
