"""What results take on the disk, and removing some of it: never what is not sanity's own.

A run is what lies in a folder with a run.json that names the folder. Of it go the files that runs
write (`recorded.OWNED`, the log, unfinished files), and the folder only if nothing else is in it.
Links are not followed.
"""

import hashlib
import json
import os
import re
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from sanity.errors import ConfigError
from sanity.files import FolderLock, cache_folder, read_json, remove, size_of
from sanity.results import originals, recorded
from sanity.results.columns import RESULTS_FORMAT

KINDS = {  # what can be removed, and what it is
    "interrupted": "runs that the same command would go on with",
    "failed": "runs that stopped at an error",
    "old": "completed runs of an earlier format, which no command finds again",
    "masks": "masks of completed runs, whose scores and pages stay",
    "originals": "masks kept for other jobs, which would be computed again",
    "cache": "trained and converted networks, which would be made again",
}
_MASKS = ("masks.zarr", "references.npz")
# In the cache folder; downloads are left alone.
_CACHED = ("trained", "models", "exported", "digests", "digests.json", "checked.json")
_MASK_FILE = re.compile(r"[0-9a-f]{2}/[0-9a-f]+\.npz|[0-9a-f]{2}/\.[\w.-]+\.tmp")


@dataclass
class Part:
    """Some files of one kind.

    Attributes:
        kind: One of `KINDS`, or `completed`.
        folder: A run, a folder of originals, or the cache.
        files: What would be removed, files and whole folders.
        size: Their bytes.
        count: How many things they are: 1 for a run.
    """

    kind: str
    folder: Path
    files: list[Path] = field(default_factory=list)
    size: int = 0
    count: int = 1


def find_parts(path: str | os.PathLike[str]) -> list[Part]:
    """What lies below a folder of results, and in the cache.

    Raises:
        ConfigError: There is no such folder, or nothing of sanity's in it.
    """
    top = Path(path).expanduser()
    if not top.is_dir():
        raise ConfigError(f"{top} is no folder: PATH is a folder of results")
    found = []
    for folder in _folders(top):
        if folder.name == originals.FOLDER:
            files = [f for f in folder.glob("*/*") if _is_original(f, folder)]
            found += [_part("originals", folder, files, len(files))] if files else []
        elif (info := _own_info(folder)) is not None:
            found += _of_run(folder, info)
    if not found:
        raise ConfigError(f"there is nothing of sanity's below {top}")
    cache = cache_folder()
    kept = [cache / name for name in _CACHED if (cache / name).exists()]
    count = sum(1 for folder in kept for file in folder.glob("*"))
    return [*found, _part("cache", cache, kept, count)] if kept else found


def clean(parts: Collection[Part], kinds: Collection[str]) -> tuple[list[Part], list[str]]:
    """Removes the parts of some kinds.

    Args:
        parts: See `find_parts`.
        kinds: Of `KINDS`.

    Returns:
        What was removed, and a sentence on each that was not.

    Raises:
        ConfigError: There is no such kind.
    """
    for kind in kinds:
        if kind not in KINDS:
            raise ConfigError(f"{kind} is none of {', '.join(KINDS)}")
    done, left = [], []
    for part in parts:
        if part.kind not in kinds:
            continue
        try:
            _remove(part)
            done.append(part)
        except ConfigError as error:
            left.append(str(error))
        except OSError as error:
            left.append(f"Cannot remove {error.filename}: {error.strerror or error}")
            continue
        if part.folder.is_dir() and part.kind not in ("masks", "cache", "originals"):
            others = ", ".join(sorted(entry.name for entry in part.folder.iterdir())[:5])
            left.append(f"{part.folder} stays: {others} are not sanity's")
    return done, left


def _remove(part: Part) -> None:
    if part.kind in ("cache", "originals"):
        for file in part.files:
            remove(file)
        for folder in {file.parent for file in part.files if part.kind == "originals"}:
            _remove_empty(folder)
        return
    lock = FolderLock(part.folder)
    lock.acquire(wait=False)  # or its run is at work
    try:
        status = str((read_json(part.folder / "run.json") or {}).get("status"))
        if (part.kind in ("masks", "old")) != (status == "completed"):
            raise ConfigError(f"{part.folder} stays: its run has gone on in the meantime")
        for file in part.files:
            remove(file)
        _remove_empty(part.folder / ".hydra")
        _remove_empty(part.folder)
    finally:
        lock.release()


def _remove_empty(folder: Path) -> None:
    try:
        folder.rmdir()
    except OSError:  # something is left in it, which is somebody else's
        return


def _folders(top: Path) -> Iterator[Path]:
    """The folders below one, itself among them, but none inside runs, and none behind links."""
    if (top / "run.json").is_file() or top.name == originals.FOLDER:
        yield top
        return
    with os.scandir(top) as entries:
        folders = sorted(e.name for e in entries if e.is_dir(follow_symlinks=False))
    for name in folders:
        if not name.startswith(".") or name == originals.FOLDER:
            yield from _folders(top / name)


def _own_info(folder: Path) -> dict[str, Any] | None:
    """What run.json says, if it is a run's."""
    try:
        info = read_json(folder / "run.json")
    except ConfigError:
        return None
    # A run that was moved has another folder's name, so its own configuration is asked for too.
    known = info is not None and isinstance(info.get("run"), str) and "status" in info
    return info if known and (folder / ".hydra" / "config.yaml").is_file() else None


def _of_run(folder: Path, info: Mapping[str, Any]) -> list[Part]:
    """The parts of a run: itself, and of a completed one its masks."""
    owned = [folder / name for name in (*recorded.OWNED, "sanity.log")]
    owned += [*folder.glob(".*.tmp"), *folder.glob(".hydra/.*.tmp")]
    owned = [path for path in owned if path.exists() or path.is_symlink()]
    status = info.get("status")
    if status != "completed":
        return [_part("failed" if status == "failed" else "interrupted", folder, owned)]
    if is_old(info):
        return [_part("old", folder, owned)]
    masks = [folder / name for name in _MASKS if (folder / name).exists()]
    whole = _part("completed", folder, [path for path in owned if path not in masks])
    return [whole, *([_part("masks", folder, masks)] if masks else [])]


def is_old(info: Mapping[str, Any]) -> bool:
    """Whether a run is of an earlier format, so that the same command would make another one.

    Args:
        info: What run.json says.
    """
    if "format" in info:
        return bool(info["format"] != RESULTS_FORMAT)
    if "content" not in info:
        return True
    # Before it was recorded: the id is made of format and content.
    text = json.dumps([RESULTS_FORMAT, info["content"]], sort_keys=True, default=str)
    return not str(info["run"]).endswith(hashlib.sha256(text.encode()).hexdigest()[:10])


def _is_original(file: Path, folder: Path) -> bool:
    return bool(_MASK_FILE.fullmatch(file.relative_to(folder).as_posix())) and not file.is_dir()


def _part(kind: str, folder: Path, files: list[Path], count: int = 1) -> Part:
    return Part(kind, folder, files, sum(map(size_of, files)), count)
