import os
import shlex
import subprocess
import sys

import pytest

from sanity.arguments import Parser
from sanity.compare import _parser
from sanity.errors import ConfigError
from tests.command import ROOT


@pytest.mark.parametrize(
    ("line", "sentence"),
    [
        ("runs --fgiure x", "--fgiure is no option; did you mean --figure? (sanity-compare --help"),
        ("runs --quit", "--quit is no option; did you mean --quiet?"),
        ("runs --nothing=3", "--nothing is no option (sanity-compare --help shows them)"),
        ("runs --digits many", "--digits=many must be a whole number"),
        ("runs --digits 9", "--digits=9 must be one of 0, 1, 2, 3, 4, 5, 6"),
        ("runs --width wide", "--width=wide must be a number"),
        ("runs --csv", "--csv needs a value"),
        ("--rescore", "--rescore needs a value"),
        ("--diff a", "--diff needs 2 values"),
        ("runs --quiet=3", "argument --quiet: ignored explicit argument '3' (sanity-compare"),
    ],
)
def test_a_mistake_is_a_sentence(line, sentence):
    with pytest.raises(ConfigError) as refused:
        _parser().read(line.split())
    assert str(refused.value).startswith(sentence)


def test_options_stand_anywhere_and_overrides_are_words():
    parser = Parser("sanity-inspect", "")
    parser.add_argument("overrides", nargs="*")
    parser.add_argument("--json", action="store_true")
    for line in ("--json model=cnn +a.b=3 ~c", "model=cnn --json +a.b=3 ~c"):
        options = parser.read(line.split())
        assert options.json and options.overrides == ["model=cnn", "+a.b=3", "~c"]


@pytest.mark.parametrize("module", ["inspect", "compare"])
def test_exit_code_and_program(module, tmp_path):
    words = [sys.executable, "-m", f"sanity.{module}", "--jsn"]
    done = subprocess.run(words, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 2 and not done.stdout
    (sentence,) = done.stderr.splitlines()
    assert sentence.startswith(f"sanity-{module}: --jsn is no option")


def test_a_terminal_without_our_characters_or_none_at_all_is_no_traceback():
    code = "from sanity.arguments import mistakes_told\nwith mistakes_told('x'): print('été')"
    words = [sys.executable, "-c", code]
    env = {**os.environ, "PYTHONIOENCODING": "ascii"}
    done = subprocess.run(words, cwd=ROOT, capture_output=True, text=True, env=env)
    assert (done.returncode, done.stdout, done.stderr) == (0, "?t?\n", "")
    closed = subprocess.run(["bash", "-c", f"{shlex.join(words)} >&-"], cwd=ROOT, env=env)
    assert closed.returncode == 0


@pytest.mark.parametrize("lines", [1, 100_000])
def test_a_closed_pipe_is_no_traceback(lines):
    """`| head`: whether it closes before the program ends or only its last flush finds out."""
    code = (
        "from sanity.arguments import mistakes_told\n"
        f"with mistakes_told('x'):\n    for _ in range({lines}): print('line')\n"
    )
    command = f'{shlex.quote(sys.executable)} -c "{code}" | sleep 0'
    done = subprocess.run(["bash", "-c", command], capture_output=True, text=True, timeout=60)
    assert done.stderr == ""
