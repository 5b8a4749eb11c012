"""Runs the command line as a user does: in a process of its own, or in this one."""

import io
import logging
import os
import subprocess
import sys
import traceback
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from importlib import import_module
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
# TensorFlow's variables for an op's threads, and for ops side by side: a worker's processes have
# one as it has, as two of them wait for each other where the other worker has the other core.
THREADS = ("TF_NUM_INTRAOP_THREADS", "TF_NUM_INTEROP_THREADS")


def sanity(*arguments, cwd, check=True, module="sanity", **environment):
    """The completed process of `python -m sanity …`; by default it must exit with 0."""
    return command([sys.executable, "-m", module, *arguments], cwd, check, **environment)


def command(words, cwd, check=True, **environment):
    env = {**os.environ, "PYTHONPATH": str(ROOT), **environment}
    done = subprocess.run(words, cwd=cwd, env=env, capture_output=True, text=True, timeout=1800)
    if check:
        assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    return done


def sanity_here(*arguments, cwd, check=True, module="sanity", path=(), **environment):
    """As `sanity`, without the seconds that a process takes to start and to load a model.

    Args:
        path: Folders whose modules can be imported.
    """
    main = import_module("sanity.app" if module == "sanity" else module).main
    out, err, code = io.StringIO(), io.StringIO(), 0
    with (
        pytest.MonkeyPatch.context() as patch,
        _left_as_found(path),
        redirect_stdout(out),
        redirect_stderr(err),
    ):
        patch.chdir(cwd)
        patch.setattr(sys, "argv", [module, *map(str, arguments)])
        patch.setattr(sys, "path", [*map(str, path), *sys.path])
        for name, value in {"HYDRA_FULL_ERROR": "0", **environment}.items():
            patch.setenv(name, value)
        try:
            main()
        except SystemExit as ended:
            code = ended.code or 0
        except Exception:
            traceback.print_exc()
            code = 1
    done = subprocess.CompletedProcess(arguments, code, out.getvalue(), err.getvalue())
    if check:
        assert not code, done.stdout[-3000:] + done.stderr[-3000:]
    return done


@contextmanager
def _left_as_found(path):
    """Hydra configures logging, and what was imported from the folders stays."""
    root = logging.getLogger()
    handlers, level = [*root.handlers], root.level
    # It closes all handlers that logging knows, and absl's would close pytest's own files.
    known = logging._handlerList[:]
    logging._handlerList.clear()
    try:
        yield
    finally:
        root.handlers[:] = handlers
        logging._handlerList[:0] = known
        root.setLevel(level)
        theirs = {file.stem for folder in path for file in Path(folder).iterdir()}
        for name in [name for name in sys.modules if name.split(".")[0] in theirs]:
            del sys.modules[name]
