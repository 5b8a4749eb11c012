"""What the objects of a configuration are made from: digests of files, and of code of one's own.

They stand in a run's identity where paths stood, so that the same content by another path is the
same, and changed content is not.
"""

import hashlib
import inspect
import json
import logging
import os
import sys
import time
from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress
from functools import cache
from pathlib import Path
from typing import Any

from sanity.errors import ConfigError
from sanity.files import cache_folder, read_json

log = logging.getLogger(__name__)

# A file or folder, or several by names that count as well; text stands for itself.
Content = Path | Mapping[str, Path | str]
_SETTLED = 2 * 10**9  # ns after which a change of a file is sure to change its time
_MOST = 500_000  # files that are remembered
_ELSEWHERE = (
    "builtins",
    "abc",
    "typing",
    "sanity",
)  # whose code counts otherwise, or never changes


class Made:
    """What a configuration makes, and what that is made from."""

    def sources(self) -> Mapping[str, Content]:
        """What fields lead to, by the field: its digest counts in place of the field's value.

        By default every text among the fields that is the path of a file or a folder leads to it.
        """
        return paths_among(vars(self))

    def origin(self) -> Any:
        """The object that the configuration names, of which this may be a wrapper."""
        return self


def paths_among(values: Mapping[str, Any]) -> dict[str, Content]:
    """The values that are paths of files or folders; a bare word is none."""
    return {
        name: Path(value).expanduser()
        for name, value in values.items()
        if isinstance(value, str)
        and ("/" in value or os.sep in value or "." in value)
        and os.path.exists(os.path.expanduser(value))
    }


def by_content(node: Any, made: Any) -> Any:
    """A configuration with digests in place of paths, and of code that is not this package's.

    Args:
        node: The configuration of an object.
        made: The object.
    """
    if not isinstance(node, Mapping):
        return node
    own = made.origin() if isinstance(made, Made) else made
    values = {name: vars(own)[name] for name in node if name in getattr(own, "__dict__", {})}
    found = {name: _inside(inner, values.get(name)) for name, inner in node.items()}
    sources = own.sources() if isinstance(own, Made) else paths_among(values)
    for name, content in sources.items():
        digest = digest_of(content)
        if digest is not None:
            found[name] = digest
    code = code_of(type(own))
    return {**found, "_code": code} if code else found


def _inside(node: Any, made: Any) -> Any:
    """A field, which may be made by a configuration of its own or from a path."""
    if isinstance(node, Mapping):
        return by_content(node, made)
    if isinstance(node, str) and isinstance(made, Made):
        found = {name: digest_of(content) for name, content in made.sources().items()}
        return found or node
    return node


def digest_of(content: Content) -> str | None:
    """The digest of some content; None of a path where there is nothing.

    Raises:
        ConfigError: A file cannot be read.
    """
    if isinstance(content, Path):
        if content.is_file():
            return hash_files([content])[0]
        if not content.is_dir():
            return None
        content = {path.relative_to(content).as_posix(): path for path in _files_below(content)}
    paths = [value for value in content.values() if isinstance(value, Path)]
    hashes = iter(hash_files(paths))
    parts = [[k, next(hashes) if isinstance(v, Path) else v] for k, v in content.items()]
    return hashlib.sha256(json.dumps(parts).encode()).hexdigest()


def hash_files(paths: Iterable[Path]) -> list[str]:
    """SHA-256 of files; of those that have not changed since it was last asked for, from an index.

    Raises:
        ConfigError: A file cannot be read.
    """
    return _index(cache_folder() / "digests.json").hashes(paths)


def code_of(cls: type) -> list[str]:
    """Hashes of the files that a class and those it inherits from stand in, none of this package's.

    As they were when first asked for: what is imported does not change with its file. What those
    files import does not count.
    """
    return [text for text in _code(cls) if text]


def code_is_known(cls: type) -> bool:
    """Whether the code of a class and of those it inherits from can be read."""
    return all(_code(cls))


@cache
def _code(cls: type) -> list[str]:
    """One hash a class, "" of one whose code cannot be read."""
    found = []
    for base in cls.__mro__:
        if base.__module__.partition(".")[0] in _ELSEWHERE:
            continue
        path = getattr(sys.modules.get(base.__module__), "__file__", None)
        try:
            content = Path(path).read_bytes() if path else inspect.getsource(base).encode()
            found.append(hashlib.sha256(content).hexdigest())
        except (OSError, TypeError):
            log.warning(
                "The code of %s cannot be read, so a run does not know it from a changed one.",
                f"{base.__module__}.{base.__qualname__}",
            )
            found.append("")
    return found


class _Index:
    """Hashes of files by path, size and times, kept in a file that any process may replace."""

    def __init__(self, path: Path):
        self._path = path
        self._known: dict[str, list[Any]] = dict(read_json(path) or {})

    def hashes(self, paths: Iterable[Path]) -> list[str]:
        """SHA-256 of each file."""
        found, new = [], {}
        now = time.time_ns()
        for path in paths:
            name = os.path.abspath(path)
            try:
                stat = os.stat(name)
                key = [stat.st_size, stat.st_mtime_ns, stat.st_ctime_ns]
                known = self._known.get(name)
                if isinstance(known, list) and known[:3] == key:
                    found.append(known[3])
                    continue
                with open(name, "rb") as file:
                    digest = hashlib.file_digest(file, "sha256").hexdigest()
            except OSError as error:
                raise ConfigError(f"Cannot read {path}: {error.strerror or error}") from error
            found.append(digest)
            # One changed just now may change again without another time.
            if max(key[1:]) < now - _SETTLED:
                new[name] = [*key, digest]
        if new:
            self._known |= new
            self._save(new)
        return found

    def _save(self, new: dict[str, list[Any]]) -> None:
        """Adds entries to those that other processes may have added; nothing depends on it."""
        entries = {**(read_json(self._path) or {}), **new}
        if len(entries) > _MOST:
            entries = new
        temporary = self._path.with_name(f".{self._path.name}.{os.getpid()}.tmp")
        with suppress(OSError):
            self._path.parent.mkdir(parents=True, exist_ok=True)
            temporary.write_text(json.dumps(entries))
            os.replace(temporary, self._path)


@cache
def _index(path: Path) -> _Index:
    return _Index(path)


def _files_below(folder: Path) -> Iterator[Path]:
    """The files below a folder, sorted, without hidden ones."""
    for here, folders, files in os.walk(folder):
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        yield from (Path(here) / name for name in sorted(files) if not name.startswith("."))
