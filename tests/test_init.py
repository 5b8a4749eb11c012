import subprocess
import sys
from importlib import import_module
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


@pytest.mark.parametrize(
    ("lines", "wrong"),
    [
        ("sanity.run(1)", 'Argument 1 to "run" has incompatible type "int"'),
        ("sanity.explane", 'Module has no attribute "explane"'),
        ("sanity.load_runs('outputs').loc", ""),
    ],
)
@pytest.mark.slow
def test_type_checkers_see_the_api(lines, wrong, tmp_path):
    """By the repository's settings and cache, which `scripts/test` has filled."""
    file = tmp_path / "mine.py"
    file.write_text(f"import sanity\n{lines}\n")
    words = [sys.executable, "-m", "mypy", str(file)]
    done = subprocess.run(words, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == (1 if wrong else 0), done.stdout
    if wrong:
        assert f"{file}:2: error: {wrong}" in done.stdout
    else:
        assert "Success" in done.stdout


def test_the_package_says_that_it_has_types():
    assert (ROOT / "sanity" / "py.typed").is_file()
