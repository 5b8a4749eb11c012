"""Reads PyTorch's legacy weight files without PyTorch and without running what is in them."""

import pickle
from collections import OrderedDict
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

_MAGIC = 0x1950A86A20F9469CFC6C
_DTYPES: dict[str, np.dtype] = {
    "FloatStorage": np.dtype("<f4"),
    "LongStorage": np.dtype("<i8"),
}


@dataclass(frozen=True)
class _View:
    storage: str
    offset: int
    shape: tuple[int, ...]
    strides: tuple[int, ...]


def _rebuild(
    storage: tuple[Any, ...], offset: int, shape: tuple[int, ...], strides: tuple[int, ...], *_: Any
) -> _View:
    return _View(storage[2], offset, shape, strides)


class _Restricted(pickle.Unpickler):
    """Admits the four names that a state dict of tensors needs; anything else is refused."""

    def find_class(self, module: str, name: str) -> Any:
        if (module, name) == ("collections", "OrderedDict"):
            return OrderedDict
        if (module, name) == ("torch._utils", "_rebuild_tensor_v2"):
            return _rebuild
        if module == "torch" and name in _DTYPES:
            return name
        raise pickle.UnpicklingError(f"{module}.{name} has no place in a file of weights")

    def persistent_load(self, pid: tuple[Any, ...]) -> tuple[Any, ...]:
        return pid


def _storage(file: BinaryIO, dtype: np.dtype) -> np.ndarray:
    count = int(np.frombuffer(file.read(8), "<i8")[0])
    return np.frombuffer(file.read(count * dtype.itemsize), dtype)


def read_state_dict(path: Path) -> dict[str, np.ndarray]:
    """The tensors of a legacy `.pth` state dict, by name, in PyTorch's axis order.

    Raises:
        pickle.UnpicklingError: The file is not of that format, or holds anything but tensors.
    """
    with open(path, "rb") as file:
        if _Restricted(file).load() != _MAGIC:
            raise pickle.UnpicklingError(f"{path} is no PyTorch file of the legacy format")
        _Restricted(file).load()  # protocol version
        _Restricted(file).load()  # sizes of C types
        dtypes: dict[str, np.dtype] = {}

        class Tensors(_Restricted):
            def persistent_load(self, pid: tuple[Any, ...]) -> tuple[Any, ...]:
                dtypes[pid[2]] = _DTYPES[pid[1]]
                return pid

        views = Tensors(file).load()
        storages = {key: _storage(file, dtypes[key]) for key in _Restricted(file).load()}
    return {
        name: np.lib.stride_tricks.as_strided(
            storages[view.storage][view.offset :],
            view.shape,
            [stride * storages[view.storage].itemsize for stride in view.strides],
        )
        for name, view in views.items()
    }
