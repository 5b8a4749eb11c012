"""What the objects of a configuration are made from: digests of files, and of code of one's own.

They stand in a run's identity where paths stood, so that the same content by another path is the
same, and changed content is not.
"""

import ast
import hashlib
import inspect
import json
import logging
import os
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from copy import deepcopy
from functools import cache
from pathlib import Path
from typing import Any, TypeVar

from sanity.errors import ConfigError
from sanity.files import cache_folder, read_json

log = logging.getLogger(__name__)

# A file or folder, or several by names that count as well; text stands for itself.
Content = Path | Mapping[str, Path | str]
_SETTLED = 2 * 10**9  # ns after which a change of a file is sure to change its time
_MOST = 500_000  # files that are remembered
_MANY = 2_000  # files that take a while to read
_THREADS = 4
_INSTALLED = {"site-packages", "dist-packages"}
T = TypeVar("T")
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


def files_among(**values: str | None) -> dict[str, Content]:
    """The values that are paths of files; what lies below a folder given by mistake is not read."""
    found = {name: os.path.expanduser(value) for name, value in values.items() if value is not None}
    return {name: Path(value) for name, value in found.items() if os.path.isfile(value)}


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


def hash_files(paths: Iterable[Path], option: str = "") -> list[str]:
    """SHA-256 of files; of those that have not changed since it was last asked for, from an index.

    Args:
        paths: Of the files.
        option: Of the configuration, which messages name.

    Raises:
        ConfigError: A file cannot be read.
    """
    return _index(cache_folder() / "digests.json").of(paths, _sha256, option)


def check_files(paths: Iterable[Path], check: Callable[[Path], None], option: str) -> None:
    """Checks files, those of them that have changed since they last passed the check.

    Args:
        paths: Of the files.
        check: Raises what is wrong with one; it may be called by several threads at a time.
        option: Of the configuration, which messages name.

    Raises:
        ConfigError: A file cannot be read.
    """

    def passes(name: str) -> bool:
        check(Path(name))
        return True

    _index(cache_folder() / "checked.json").of(paths, passes, option)


def hash_parts(
    content: Content,
    what: str,
    numbers: Sequence[int],
    compute: Callable[[Sequence[int]], Iterable[str]],
) -> list[str]:
    """SHA-256 of parts of files; of those that were asked for before, from an index.

    Args:
        content: The files.
        what: Is hashed of them.
        numbers: Of the parts.
        compute: Gives the hashes of parts, by their positions in `numbers`.

    Raises:
        ConfigError: A file cannot be read.
    """
    key = hashlib.sha256(f"{digest_of(content)} {what}".encode()).hexdigest()
    path = cache_folder() / "digests" / f"{key[:32]}.json"
    known = {k: v for k, v in (read_json(path) or {}).items() if isinstance(v, str)}
    missing = [place for place, number in enumerate(numbers) if str(number) not in known]
    missing.sort(key=numbers.__getitem__)  # in the order of the files, however they were chosen
    if missing:
        found = zip(missing, compute(missing), strict=True)
        new = {str(numbers[place]): digest for place, digest in found}
        known |= new
        _add_entries(path, new, _MOST)
    return [known[str(number)] for number in numbers]


def is_own(made: Made) -> bool:
    """Whether an object is of a class that is not this package's."""
    return bool(_bases_of(type(made.origin())))


def untouched(made: T) -> T:
    """A copy of an object as it is now; the object itself where it cannot be copied."""
    try:
        return deepcopy(made)
    except Exception:  # as of what holds a lock, or a tensor with a gradient
        return made


def code_of(cls: type) -> list[str]:
    """Hashes of the files that a class and those it inherits from stand in, none of this package's.

    With the files that these import, and so on, of no installed package. As they were when first
    asked for: what is imported does not change with its file.
    """
    return [text for text in _code(cls) if text]


def code_is_known(cls: type) -> bool:
    """Whether all code of a class and of those it inherits from can be read, as that of files."""
    return all(map(_file_of, _bases_of(cls))) and all(_code(cls))


@cache
def _code(cls: type) -> list[str]:
    """One hash a class, "" of one whose code cannot be read."""
    found = []
    for base in _bases_of(cls):
        path = _file_of(base)
        try:
            found.append(_hash_code(path) if path else _sha256_of(inspect.getsource(base).encode()))
        except (OSError, TypeError):
            log.warning(
                "The code of %s cannot be read, so a run does not know it from a changed one.",
                f"{base.__module__}.{base.__qualname__}",
            )
            found.append("")
    return found


def _bases_of(cls: type) -> list[type]:
    """A class and those it inherits from, none of this package's."""
    return [b for b in cls.__mro__ if b.__module__.partition(".")[0] not in _ELSEWHERE]


def _file_of(cls: type) -> Path | None:
    """The file that a class stands in; None of one that was typed in, as in a notebook."""
    path = getattr(sys.modules.get(cls.__module__), "__file__", None)
    return Path(path) if path else None


def _hash_code(path: Path) -> str:
    """Hash of a file; with those that it imports, in no order, so that no path counts."""
    seen: set[Path] = set()
    left, hashes = [path.resolve()], []
    while left:
        file = left.pop()
        if file not in seen:
            seen.add(file)
            content = file.read_bytes()
            hashes.append(_sha256_of(content))
            left += _imported(file, content)
    return hashes[0] if len(hashes) == 1 else _sha256_of("".join(sorted(hashes)).encode())


def _imported(file: Path, content: bytes) -> Iterator[Path]:
    """The files of one's own that a file's import statements name, packages' own among them."""
    try:
        nodes = list(ast.walk(ast.parse(content)))
    except (SyntaxError, ValueError):
        return
    for node in nodes:
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield from _files_of(alias.name.split("."))
        elif isinstance(node, ast.ImportFrom):
            place = file.parents[node.level - 1] if node.level else None
            for alias in node.names:  # each of which may be a module
                parts = [*(node.module or "").split("."), alias.name]
                yield from _files_of([part for part in parts if part], place)


def _files_of(parts: Sequence[str], place: Path | None = None) -> Iterator[Path]:
    """The files that are run to import `a.b.c`, from a place or the first that has an `a`.

    None of what is installed, or comes with Python.
    """
    if place is None:
        if parts[0] in sys.stdlib_module_names or parts[0] in _ELSEWHERE:
            return
        places = [p for p in map(Path, sys.path) if not _INSTALLED & {*p.parts}]
        there = [p for p in places if (p / parts[0]).is_dir() or (p / f"{parts[0]}.py").is_file()]
        if not there:
            return
        place = there[0]
    for end in range(1, len(parts) + 1):
        module = place.joinpath(*parts[:end])
        files = (module / "__init__.py", module.with_name(f"{module.name}.py"))
        yield from (file.resolve() for file in files if file.is_file())


def _sha256_of(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


class _Index:
    """What is known of files by path, size and times, in a file that any process may replace."""

    def __init__(self, path: Path):
        self._path = path
        self._known: dict[str, list[Any]] = dict(read_json(path) or {})

    def of(self, paths: Iterable[Path], find: Callable[[str], Any], option: str) -> list[Any]:
        """What is known of each file; `find` tells it of those that have changed.

        Raises:
            ConfigError: A file cannot be read.
        """
        now = time.time_ns()
        names = [os.path.abspath(path) for path in paths]
        keys = [_read(name, _stamp, option) for name in names]
        known = [self._known.get(name) for name in names]
        missing = [
            place
            for place, (entry, key) in enumerate(zip(known, keys, strict=True))
            if not isinstance(entry, list) or entry[:3] != key
        ]
        if len(missing) > _MANY:
            log.info("reading %s files once, to know them again", f"{len(missing):,}")
        with ThreadPoolExecutor(_THREADS) as pool:
            made = pool.map(lambda place: _read(names[place], find, option), missing)
            found = {
                place: [*keys[place], value] for place, value in zip(missing, made, strict=True)
            }
        # One changed just now may change again without another time.
        settled = {names[p]: e for p, e in found.items() if max(keys[p][1:]) < now - _SETTLED}
        if settled:
            self._known |= settled
            _add_entries(self._path, settled, _MOST)
        return [(found.get(place) or known[place] or [None])[-1] for place in range(len(names))]


def _stamp(name: str) -> list[int]:
    stat = os.stat(name)
    return [stat.st_size, stat.st_mtime_ns, stat.st_ctime_ns]


def _sha256(name: str) -> str:
    with open(name, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _read(name: str, find: Callable[[str], T], option: str) -> T:
    """What is found in a file (ConfigError: it cannot be read)."""
    try:
        return find(name)
    except OSError as error:
        said = f"{option}: {name} cannot be read" if option else f"Cannot read {name}"
        link = ", it is a link that leads nowhere: remove it" if _is_dangling(name) else ""
        raise ConfigError(f"{said}: {error.strerror or error}{link}") from error


def _is_dangling(name: str) -> bool:
    return os.path.islink(name) and not os.path.exists(name)


def _add_entries(path: Path, new: dict[str, Any], most: int) -> None:
    """Adds entries to those that other processes may have added; nothing depends on it."""
    entries = {**(read_json(path) or {}), **new}
    if len(entries) > most:
        entries = new
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    with suppress(OSError):
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary.write_text(json.dumps(entries))
        os.replace(temporary, path)


@cache
def _index(path: Path) -> _Index:
    return _Index(path)


def _files_below(folder: Path) -> Iterator[Path]:
    """The files below a folder, sorted, without hidden ones."""
    for here, folders, files in os.walk(folder):
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        yield from (Path(here) / name for name in sorted(files) if not name.startswith("."))
