import subprocess
import sys
from importlib import import_module
from pathlib import Path
from types import ModuleType

import pytest

import sanity
from tests.command import ROOT


def test_dir_shows_the_api():
    assert dir(sanity) == sorted(sanity.__all__) == sorted([*sanity._HOMES, "__version__"])


@pytest.mark.parametrize("name", sanity._HOMES)
def test_a_name_is_what_it_is_however_often_it_is_touched(name):
    first = getattr(sanity, name)
    import_module(sanity._HOMES[name])
    assert getattr(sanity, name) is first
    assert callable(first) and not isinstance(first, ModuleType)


def test_a_name_that_is_not_there():
    with pytest.raises(AttributeError, match="'explane'"):
        sanity.explane  # noqa: B018


# Lines of a user's, and what a type checker says of them.
CHECKED = {
    "sanity.run(1)": 'Argument 1 to "run" has incompatible type "int"',
    "sanity.explane": 'Module has no attribute "explane"',
    "sanity.load_runs('outputs').loc": "",
}


@pytest.fixture(scope="module")
def complaints(tmp_path_factory):
    """By the line, by the repository's settings and cache, which `scripts/test` has filled."""
    folder = tmp_path_factory.mktemp("mine")
    files = {line: folder / f"mine{number}.py" for number, line in enumerate(CHECKED)}
    for line, file in files.items():
        file.write_text(f"import sanity\n{line}\n")
    words = [sys.executable, "-m", "mypy", *map(str, files.values())]
    done = subprocess.run(words, cwd=ROOT, capture_output=True, text=True)
    said = done.stdout.splitlines()
    assert done.returncode == 1 and f"(checked {len(files)} source files)" in said[-1], done.stdout
    # By names: of a file with the same text mypy repeats from its cache where that lay before.
    return {
        line: [text for text in said if Path(text.partition(":")[0]).name == file.name]
        for line, file in files.items()
    }


@pytest.mark.slow
@pytest.mark.parametrize("line", CHECKED)
def test_type_checkers_see_the_api(line, complaints):
    found, wrong = complaints[line], CHECKED[line]
    if wrong:
        (said,) = found
        assert f":2: error: {wrong}" in said
    else:
        assert not found


def test_the_package_says_that_it_has_types():
    assert (ROOT / "sanity" / "py.typed").is_file()
