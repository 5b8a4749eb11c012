"""A process that draws a run's figures beside it, each image's masks as soon as they are stored."""

import math
import os
import subprocess
import sys
from pathlib import Path
from types import TracebackType
from typing import Self, TextIO

LARGE = 10**8  # bytes of masks from which a process is worth its start
_CODE = """
import sys
from pathlib import Path
from sanity.report.finish import draw_as_told
draw_as_told(Path(sys.argv[1]), stages=sys.argv[2] == "stages")
"""
_ALL = "all"
_SETTINGS = {"MALLOC_ARENA_MAX": "1"}  # glibc's: less memory, see `network.tensorflow`
_NICE = 3  # gradients come first; but on a busy machine figures must not take for ever


class Drawing:
    """Figures that another process draws; without one, nothing happens.

    Leaving the `with` ends it, if it is not done, and removes what it had not finished.

    Args:
        run: The run's folder.
    """

    def __init__(self, run: Path):
        self._run = run
        self._process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> Self:
        return self

    def start(self, *, stages: bool) -> None:
        """Starts the process, where one can be started and there is none.

        Args:
            stages: See `finish.draw`.
        """
        if self._process is not None:
            return
        package = str(Path(__file__).resolve().parents[2])
        paths = [package, *filter(None, [os.environ.get("PYTHONPATH")])]
        try:
            self._process = subprocess.Popen(
                [sys.executable, "-c", _CODE, str(self._run), "stages" if stages else "grids"],
                env={**_SETTINGS, **os.environ, "PYTHONPATH": os.pathsep.join(paths)},
                stdin=subprocess.PIPE,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                bufsize=0,
            )
        except (OSError, ValueError):
            self._process = None

    def tell(self, images: float) -> None:
        """Says how many images, from the first on, have all their masks; infinity: the run is done.

        What is said last counts.
        """
        if self._process is None or self._process.stdin is None:
            return
        try:
            self._process.stdin.write(f"{_ALL if images == math.inf else images}\n".encode())
        except OSError:
            pass  # it has ended: `wait` says so

    def wait(self) -> bool:
        """Waits until all is drawn; whether it is."""
        return self._process is not None and self._process.wait() == 0

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._process is None:
            return
        with self._process as process:
            if process.poll() is None:
                process.kill()
        for left in (self._run / "figures").glob(f".*.{process.pid}*"):
            left.unlink(missing_ok=True)


def step_back() -> None:
    """Lets what this process works for come first."""
    if hasattr(os, "nice"):  # not on Windows
        os.nice(_NICE)


class Told:
    """What the process hears of its run.

    Args:
        stream: Where it is told.
    """

    def __init__(self, stream: TextIO):
        self._stream, self._whole = stream, 0.0

    def wait(self, images: float) -> None:
        """Returns once so many images have all their masks; infinity: once the run is done.

        Raises:
            SystemExit: There will be no more.
        """
        while self._whole < images:
            said = self._stream.readline().strip()
            if not said:
                raise SystemExit(1)
            self._whole = math.inf if said == _ALL else float(said)
