"""Files that are replaced at once, JSON, locks, the cache, and what Zarr may open."""

import itertools
import json
import logging
import os
import shutil
import socket
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, BinaryIO

from platformdirs import user_cache_path

from sanity.errors import ConfigError

log = logging.getLogger(__name__)

# Of both formats; none of them makes anything but numbers and text.
_CODECS = {
    *("bytes", "transpose", "sharding_indexed", "vlen-utf8", "crc32c", "crc32", "adler32"),
    *("zstd", "blosc", "gzip", "zlib", "bz2", "lzma", "lz4", "delta", "shuffle"),
}


def cache_folder() -> Path:
    """The user's cache folder for `sanity`, or `SANITY_CACHE` where that is set."""
    return Path(os.environ.get("SANITY_CACHE") or user_cache_path("sanity"))


@contextmanager
def writing(path: Path) -> Iterator[None]:
    """Turns the operating system's errors into a sentence that names the path."""
    try:
        yield
    except OSError as error:
        cached = path.is_relative_to(cache_folder())
        elsewhere = "; the variable SANITY_CACHE names another folder for the cache" * cached
        raise ConfigError(f"Cannot write {path}: {error.strerror or error}{elsewhere}") from error


def replace_file(path: Path, content: bytes) -> None:
    """Replaces a file at once and on the disk: readers see the old content or the new.

    Raises:
        ConfigError: It cannot be written.
    """
    replace_by(path, lambda file: file.write(content))


def replace_by(path: Path, write: Callable[[BinaryIO], object]) -> None:
    """Replaces a file likewise, by what a function writes.

    Raises:
        ConfigError: It cannot be written.
    """
    temporary = path.with_name(f".{path.name}.tmp")
    with writing(path):
        try:
            temporary.unlink(missing_ok=True)  # it may be a link to somewhere else
            with open(temporary, "xb") as file:
                write(file)
                file.flush()
                os.fsync(file.fileno())
            os.replace(temporary, path)
        except BaseException:
            with suppress(OSError):
                temporary.unlink()
            raise
        if os.name == "posix":
            sync(path.parent)  # the new name, not only the content


def sync(path: Path) -> None:
    """Waits until a file or a folder is on the disk."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def remove(path: Path) -> None:
    """Removes a file, a link or a whole folder, if it is there."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


def size_of(path: Path) -> int:
    """Bytes of a file or of all files below a folder; of a link its own.

    What another process removes meanwhile counts for nothing.
    """
    try:
        if path.is_symlink() or not path.is_dir():
            return path.lstat().st_size
        with os.scandir(path) as entries:
            inside = [Path(entry.path) for entry in entries]
    except (FileNotFoundError, NotADirectoryError):
        return 0
    return sum(map(size_of, inside))


def read_json(path: Path) -> dict[str, Any] | None:
    """A JSON object from a file; None if there is no file or no whole object in it.

    Raises:
        ConfigError: The file is there but cannot be read.
    """
    try:
        content = json.loads(path.read_bytes())
    except (FileNotFoundError, NotADirectoryError, ValueError, RecursionError):
        return None
    except OSError as error:
        raise ConfigError(f"Cannot read {path}: {error.strerror or error}") from error
    return content if isinstance(content, dict) else None


def write_json(path: Path, content: dict[str, Any]) -> None:
    """Replaces a JSON file; NumPy's scalars become numbers, what else is foreign its text."""

    def plain(value: Any) -> Any:
        return value.item() if hasattr(value, "item") else str(value)

    replace_file(path, json.dumps(content, indent=2, default=plain).encode())


class FolderLock:
    """Lets one process at a time write a folder; it ends with the process, however that ends.

    It lies beside the folder, in `.locks/`, so that what is refused before it starts leaves no
    folder, with the name of its holder.
    """

    def __init__(self, folder: Path):
        self.folder = folder
        self._holder = folder.parent / ".locks" / f"{folder.name}.json"
        self._lock: Any = None

    def acquire(self, wait: bool) -> None:
        """Takes the lock.

        Args:
            wait: If another process has it, say so in the log and wait; otherwise raise.

        Raises:
            ConfigError: Another process has it, or there cannot be a lock here.
        """
        from filelock import FileLock, Timeout

        path = self._holder.with_suffix(".lock")
        with writing(self.folder.parent):
            path.parent.mkdir(parents=True, exist_ok=True)
            lock = FileLock(path, thread_local=False)
            try:
                lock.acquire(timeout=0)
            except Timeout:
                holder = read_json(self._holder) or {}
                who = (
                    f"process {holder['pid']} on {holder['host']}" if holder else "another process"
                )
                if not wait:
                    raise ConfigError(f"{self.folder} is in use by {who}") from None
                log.info("Waiting for %s, which works on %s.", who, self.folder)
                lock.acquire(poll_interval=0.2)
        self._lock = lock
        try:
            holder = {"pid": os.getpid(), "host": socket.gethostname(), "since": now()}
            write_json(self._holder, holder)
        except BaseException:
            self.release()
            raise

    def is_held(self) -> bool | None:
        """Whether a process has the lock; None where that cannot be told from here.

        So it is of a folder that was moved, and of one that was locked on another machine last.
        """
        from filelock import FileLock, Timeout

        path = self._holder.with_suffix(".lock")
        holder = read_json(self._holder)
        if not path.exists() or (holder and holder.get("host") != socket.gethostname()):
            return None
        try:
            with FileLock(path, timeout=0):
                return False
        except Timeout:
            return True
        except OSError:
            return None

    def release(self) -> None:
        """Gives the lock back, if it is held."""
        if self._lock is not None:
            with suppress(OSError):
                self._holder.unlink(missing_ok=True)
            self._lock.release()
            self._lock = None


def now() -> str:
    """The time, UTC, to the second."""
    return datetime.now(UTC).isoformat(timespec="seconds")


@contextmanager
def quiet() -> Iterator[None]:
    """Without Zarr's warnings that strings and consolidated metadata are not in its format 3.

    Which of them it gives, and whether on writing or on reading too, differs between versions.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


def check_codecs(path: Path) -> None:
    """Refuses a store, of either of Zarr's formats, whose codecs could do more than decode numbers.

    A store may come from anybody, and in format 2 it may ask for its chunks to be unpickled.

    Raises:
        ConfigError: A codec is none of those known to be harmless.
    """
    arrays = [
        path.glob(f"{place}{name}") for place in ("", "*/") for name in ("zarr.json", ".zarray")
    ]
    for file in itertools.chain.from_iterable(arrays):
        described = read_json(file) or {}
        chain = [described.get(key) for key in ("codecs", "filters", "compressor")]
        for name in _codecs(chain):
            if name not in _CODECS:
                raise ConfigError(f"{file} asks for the codec {name}, which is not read")


def _codecs(node: Any) -> Iterator[Any]:
    """The names of codecs, those within others among them."""
    if isinstance(node, dict):
        if "name" in node or "id" in node:
            yield node.get("name", node.get("id"))
        node = list(node.values())
    for item in node if isinstance(node, list) else ():
        yield from _codecs(item)
