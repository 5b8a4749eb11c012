"""Runs the command line as a user does."""

import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[1]


def sanity(*arguments, cwd, check=True, module="sanity", **environment):
    """The completed process of `python -m sanity …`; by default it must exit with 0."""
    return command([sys.executable, "-m", module, *arguments], cwd, check, **environment)


def command(words, cwd, check=True, **environment):
    env = {**os.environ, "PYTHONPATH": str(ROOT), **environment}
    done = subprocess.run(words, cwd=cwd, env=env, capture_output=True, text=True, timeout=900)
    if check:
        assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    return done
