"""The house's order: imports go down from floor to floor, and no file is large."""

import ast
from pathlib import Path

import pytest

from tests.command import ROOT

PACKAGE = ROOT / "sanity"
DOORS = {"__init__", "__main__", "app", "commands", "compare", "inspect", "sweeping", "tracking"}
GROUND = {"arguments", "checked", "contents", "errors", "files", "progress", "randomness"}
# From top to bottom; what stands on one floor must not import its neighbours there.
FLOORS = (
    DOORS,
    {"experiment"},
    {"config", "report"},
    {"analysis"},
    {"models", "randomization", "methods", "metrics"},
    {"network", "data", "results"},
    GROUND,
)
FREE = (DOORS, GROUND)  # whose rooms may import each other
LEVEL = {room: level for level, floor in enumerate(FLOORS) for room in floor}
FILES = sorted(PACKAGE.rglob("*.py"))


def room_of(path: Path) -> str:
    """The package or loose file of `sanity` that a file belongs to."""
    return path.relative_to(PACKAGE).parts[0].removesuffix(".py")


def imported(path: Path) -> set[str]:
    """The rooms that a file imports, in functions and for types as well."""
    rooms = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            assert not node.level, f"{path}: a relative import"
            names = [f"{node.module}.{alias.name}" for alias in node.names]
        else:
            continue
        parts = [name.split(".") for name in names]
        rooms |= {part[1] for part in parts if part[0] == "sanity" and len(part) > 1}
    return rooms & LEVEL.keys()


def misdirected(room: str, rooms: set[str]) -> list[str]:
    """Those rooms that lie above a room or beside it."""
    beside = next(floor for floor in FLOORS if room in floor)
    free = beside if beside in FREE else {room}
    return sorted(r for r in rooms - free if LEVEL[r] <= LEVEL[room])


def test_every_file_has_a_floor():
    assert {room_of(path) for path in FILES} - {"conf"} == set(LEVEL)


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.relative_to(PACKAGE).as_posix())
def test_imports_go_down(path):
    wrong = misdirected(room_of(path), imported(path))
    assert not wrong, f"{path.relative_to(ROOT)} imports {wrong}, above it or beside it"


def test_an_import_that_goes_up_or_sideways_is_seen(tmp_path):
    file = tmp_path / "bad.py"
    file.write_text(
        "from typing import TYPE_CHECKING\n"
        "if TYPE_CHECKING:\n    from sanity.config.job import Job\n"
        "def f():\n    import sanity.methods.base\n    from sanity import errors\n"
    )
    assert imported(file) == {"config", "methods", "errors"}
    assert misdirected("metrics", imported(file)) == ["config", "methods"]
    assert misdirected("errors", {"files"}) == []
    assert misdirected("sweeping", {"app", "experiment"}) == []


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.relative_to(PACKAGE).as_posix())
def test_no_file_is_large(path):
    assert len(path.read_text(encoding="utf-8").splitlines()) <= 420


def test_few_files_lie_loose():
    assert len(list(PACKAGE.glob("*.py"))) <= 14


def test_no_module_is_called_like_a_public_function():
    import sanity

    loose = {path.stem for path in PACKAGE.glob("*.py")}
    assert not loose & set(sanity.__all__)


PRIVATE = {"_return_value", "_query", "_instances", "_get_root", "_get_node", "_value"}


def private_names(path: Path) -> set[str]:
    """What a file uses of Hydra that other versions need not have."""
    tree = ast.walk(ast.parse(path.read_text(encoding="utf-8")))
    found = set()
    for node in tree:
        if isinstance(node, ast.ImportFrom) and str(node.module).startswith("hydra._internal"):
            found.add(str(node.module))
        elif isinstance(node, ast.Import):
            found |= {a.name for a in node.names if a.name.startswith("hydra._internal")}
        elif isinstance(node, ast.Attribute) and node.attr in PRIVATE:
            found.add(node.attr)
        elif isinstance(node, ast.keyword) and node.arg in {*PRIVATE, "version_base"}:
            found.add(node.arg)
    return found


def test_what_is_private_of_hydra_stands_in_one_file():
    files = [*FILES, *(ROOT / "hydra_plugins").rglob("*.py")]
    found = {path.name: names for path in files if (names := private_names(path))}
    assert found == {
        "hydra_api.py": {"hydra._internal.utils", *PRIVATE},
        "sanity_sweeper.py": {"hydra._internal.core_plugins.basic_sweeper"},
    }
