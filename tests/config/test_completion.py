"""Tab completion, of lines as a shell hands them over."""

import os
import shutil
import subprocess
import sys

import pytest

from sanity.config.completion import SCRIPT, complete
from tests.command import ROOT, sanity_here


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("sanity method=[grad", "method=[gradient_x_input"),
        ("sanity seed=1 method=[gradient,smoothgrad_s", "method=[gradient,smoothgrad_squared"),
        ("python -m sanity method=[guided_b", "method=[guided_backprop"),
        ("/x/.venv/bin/python3.11 -m sanity -m 'metric=[ssim,ho", "'metric=[ssim,hog"),
        ("A=1 sanity randomization=indep", "randomization=independent"),
        ("sanity runtime.batch", "runtime.batch_size="),
        ("sanity-inspect model=incep", "model=inception_v3"),
    ],
)
def test_a_line_is_gone_on_with(line, expected):
    found = complete(line)
    assert expected in found
    assert all(word.startswith(line.split()[-1]) for word in found)


def test_what_is_in_the_list_already_is_not_offered_again():
    assert "method=[gradient,gradient" not in complete("sanity method=[gradient,grad")


def test_options_of_ones_own_are_offered(tmp_path):
    (tmp_path / "method").mkdir()
    (tmp_path / "method" / "own_one.yaml").write_text("own_one: {}\n")
    for option in ("-cd ", "--config-dir ", "--config-dir="):
        assert complete(f"sanity {option}{tmp_path} method=[own") == ["method=[own_one"]
    assert complete("sanity -cd nowhere method=[own") == []


def test_the_command_prints_script_and_words(tmp_path):
    assert sanity_here("-sc", "install=bash", cwd=tmp_path).stdout == SCRIPT
    line = "sanity method=[smoothgrad_"
    done = sanity_here("-sc", "query=bash", cwd=tmp_path, COMP_LINE=line)
    assert done.stdout.split() == ["method=[smoothgrad_squared"]


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("bash") is None, reason="needs bash")
def test_bash_completes_inside_a_list(tmp_path):
    line = f"{sys.executable} -m sanity method=[smoothgrad_"
    call = f"COMP_LINE={line!r} COMP_POINT={len(line)}; _sanity_complete; echo ${{COMPREPLY[@]}}"
    done = subprocess.run(
        ["bash", "-c", f"{SCRIPT}\n{call}"],
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.strip() == "method=[smoothgrad_squared"
