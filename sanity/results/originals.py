"""Masks of the network as trained, kept beside the runs for all jobs that share them.

Jobs of a sweep that differ in how they randomize or in the seed of the weights explain the same
network first, with the same noise. Each mask is a file of its own, named by a hash of all that
determines its bits; files are replaced at once and checked on reading, so that processes may share
them, and whatever is missing or damaged is computed again.
"""

import io
import itertools
import logging
import os
import platform
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from pathlib import Path

import numpy as np

log = logging.getLogger(__name__)


FOLDER = ".originals"  # in the folder of results
LIMIT = 4 * 2**30  # bytes of all files; those that were not used for longest go first
_ABANDONED = 3600.0  # seconds after which an unfinished file is some killed process's
_numbers = itertools.count()


class Room:
    """The room that masks take in a folder; what was not used for longest makes way for others.

    Args:
        folder: Where the files are.
        limit: The most bytes of all files.
    """

    def __init__(self, folder: Path, limit: int = LIMIT):
        self._folder, self._limit = folder, limit
        self._size: int | None = None  # of all files, as far as this process knows

    def make(self, size: int) -> None:
        """Removes what was not used for longest, if files of this size would exceed the limit."""
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


class Originals:
    """The masks of a job's images at stage 0, by method, as far as some job has computed them.

    Args:
        folder: Where the files are; made when one is written.
        keys: By method, the file's name for each image; a method that is not there is not kept.
        fresh: Find nothing, and replace what is there.
        limit: The most bytes of all files.
        room: What several of one folder share, in place of a limit.
    """

    def __init__(
        self,
        folder: Path,
        keys: Mapping[str, Sequence[str]],
        *,
        fresh: bool = False,
        limit: int = LIMIT,
        room: Room | None = None,
    ):
        self._folder, self._keys, self._fresh = folder, keys, fresh
        self._room = room or Room(folder, limit)

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
                mask: np.ndarray = file["mask"]  # NumPy compares the checksum
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
        self._room.make(len(content))
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary = path.with_name(f".{platform.node()}-{os.getpid()}-{next(_numbers)}.tmp")
        try:
            temporary.write_bytes(content)
            os.replace(temporary, path)
        except BaseException:
            with suppress(OSError):
                temporary.unlink()
            raise
