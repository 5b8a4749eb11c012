"""`scripts/test` with stand-ins of what it runs: what is said, its exit code, and its end."""

import os
import shutil
import signal
import subprocess
import sys
import time
from functools import partial

import pytest

from tests.command import ROOT

STANDIN = """#!{python} -ES
import os, sys, time
name = os.path.basename(sys.argv[0])
code, seconds = os.environ.get(name, "0 0").split()
print(name, *sys.argv[1:], flush=True)
try:
    time.sleep(float(seconds))
except KeyboardInterrupt:
    sys.exit(2)
print(name, "ended", flush=True)
sys.exit(int(code))
"""
TESTS = "python -m pytest -n 2 --dist loadfile --no-loadscope-reorder"


@pytest.fixture
def project(tmp_path):
    """A project whose environment is there already, of programs that say that they ran."""
    programs = tmp_path / ".venv" / "bin"
    programs.mkdir(parents=True)
    for name in ("ruff", "mypy", "python"):
        (programs / name).write_text(STANDIN.format(python=sys.executable))
        (programs / name).chmod(0o755)
    (tmp_path / "scripts").mkdir()
    for name in ("test", "setup"):
        shutil.copy(ROOT / "scripts" / name, tmp_path / "scripts")
    for name in ("requirements-dev.lock", "pyproject.toml"):
        (tmp_path / name).touch()
    summed = subprocess.check_output(["cksum"], input=b"").decode().strip()
    (tmp_path / ".venv" / ".stamp-requirements-dev.lock").write_text(f"{summed} {tmp_path}\n")
    return tmp_path


def start(project, *words, pass_fds=(), **ends):
    """Starts it; of each program a code and the seconds that it takes."""
    return subprocess.Popen(
        [project / "scripts" / "test", *words],
        env={**os.environ, **ends, "TMPDIR": str(project)},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
        pass_fds=pass_fds,
        # In the background of a script SIGINT is ignored, and stays so.
        preexec_fn=partial(signal.signal, signal.SIGINT, signal.default_int_handler),
    )


@pytest.mark.parametrize(
    ("ends", "code"),
    [
        ({}, 0),
        ({"mypy": "1 0.2"}, 1),
        ({"python": "3 0"}, 3),
        ({"python": "3 0", "mypy": "1 0"}, 3),
    ],
)
def test_types_are_told_after_the_tests(project, ends, code):
    said, _ = (process := start(project, **ends)).communicate(timeout=60)
    assert process.returncode == code
    lines = said.splitlines()
    assert lines[:4:2] == ["ruff check .", "ruff format --check ."]
    assert lines[4:] == [TESTS, "python ended", "mypy", "mypy ended"]


def test_nothing_is_tested_where_style_is_wrong(project):
    said, _ = (process := start(project, ruff="1 0")).communicate(timeout=60)
    assert process.returncode == 1 and "python" not in said and "mypy" not in said


def test_words_go_to_pytest_alone(project):
    said, _ = (process := start(project, "-k", "one two", python="5 0")).communicate(timeout=60)
    assert process.returncode == 5
    assert said.splitlines() == ["python -m pytest -k one two", "python ended"]


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_nothing_goes_on_after_it(project, number):
    """Ctrl-C goes to all that a terminal runs, other signals to the script alone."""
    ours, theirs = os.pipe()  # which all that runs has open
    process = start(project, python="0 90", mypy="0 90", pass_fds=[theirs])
    os.close(theirs)
    while process.stdout.readline().strip() != TESTS:
        pass
    began = time.perf_counter()
    if number == signal.SIGINT:
        os.killpg(process.pid, number)
    else:
        process.send_signal(number)
    process.communicate()
    with open(ours, "rb") as pipe:
        assert pipe.read() == b""  # to its end
    assert process.returncode != 0 and time.perf_counter() - began < 60
    assert not list(project.glob("tmp.*"))  # mypy writes there
