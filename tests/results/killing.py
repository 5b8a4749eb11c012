"""Processes that kill themselves in the midst of their work."""

import builtins
import io
import itertools
import os
import signal
import sys
import traceback
from collections.abc import Callable
from pathlib import Path

from tests.results.runs import experiment


def launch(
    path: Path,
    moment: int | None = None,
    torn: bool = False,
    work: Callable[[Path], None] = experiment,
) -> tuple[int, int]:
    """Forks a process that does the work and kills itself at a moment.

    Args:
        path: Where it works.
        moment: The change of its folder or beside it that it dies before: a file opened, renamed
            or removed, a folder made or removed; None lets it live.
        torn: Count writes instead, and die with half of one written.
        work: What it does.

    Returns:
        The process and the pipe it reports to, for `finish`.
    """
    ours, theirs = os.pipe()
    pid = os.fork()
    if pid == 0:
        changes, writes = itertools.count(), itertools.count()  # exact even where threads write
        writing = os.O_WRONLY | os.O_RDWR | os.O_CREAT
        opened = io.open

        def hook(event: str, args: tuple) -> None:
            changing = event in ("os.rename", "os.mkdir", "os.remove", "os.rmdir", "os.link")
            if changing or (event == "open" and args[2] and args[2] & writing):
                target = Path(str(args[0]))
                if not target.is_absolute() or target.is_relative_to(path.parent):
                    if next(changes) == moment and not torn:
                        os.kill(os.getpid(), signal.SIGKILL)

        def open_hooked(file, mode="r", *args, **kwargs):
            stream = opened(file, mode, *args, **kwargs)
            if mode in ("wb", "xb"):
                write = stream.write

                def write_half(data):
                    if next(writes) == moment and torn:
                        content = memoryview(data).cast("B")
                        write(content[: len(content) // 2])
                        stream.flush()
                        os.kill(os.getpid(), signal.SIGKILL)
                    return write(data)

                stream.write = write_half
            return stream

        os.write(theirs, b"!")
        builtins.open = io.open = open_hooked
        os.fsync = lambda file: None  # what was written outlives the process, if not the machine
        sys.addaudithook(hook)
        try:
            work(path)
            os.write(theirs, f"{next(changes)} {next(writes)}".encode())
        except BaseException:
            traceback.print_exc()
        finally:
            os._exit(0)
    os.close(theirs)
    os.read(ours, 1)  # it runs
    return pid, ours


def finish(pid: int, pipe: int) -> tuple[int, int] | None:
    """The changes and writes that a launched process made; None if it was killed."""
    with open(pipe) as file:
        text = file.read()
    _, status = os.waitpid(pid, 0)
    if os.WIFSIGNALED(status):
        assert os.WTERMSIG(status) == signal.SIGKILL
        return None
    changes, writes = text.split()
    return int(changes), int(writes)
