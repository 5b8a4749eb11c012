"""Progress of long work: a bar with the time left on a terminal, plain log lines elsewhere."""

import logging
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Literal, Protocol

Style = Literal["auto", "bar", "lines", "none"]
_LINE_EVERY = 15.0  # seconds

log = logging.getLogger(__name__)
_style: ContextVar[Style] = ContextVar("style", default="auto")


class Tick(Protocol):
    """Says that so many units of work are done."""

    def __call__(self, done: int) -> None:
        """Adds to what is done."""
        ...


@contextmanager
def show_progress(style: Style) -> Iterator[None]:
    """Shows all progress inside in one style; `auto` is a bar on a terminal, elsewhere lines."""
    token = _style.set(style)
    try:
        yield
    finally:
        _style.reset(token)


@contextmanager
def progress(total: int, what: str, unit: str = "gradient") -> Iterator[Tick]:
    """Shows how far some work is, in the style of `shown`.

    Args:
        total: Units of work.
        what: What is being done.
        unit: Name of one unit.
    """
    style = _style.get()
    if style == "auto":
        style = "bar" if sys.stderr.isatty() else "lines"
    if style == "bar":
        from tqdm import tqdm
        from tqdm.contrib.logging import logging_redirect_tqdm

        with (
            logging_redirect_tqdm(),
            tqdm(
                total=total, desc=what, unit=f" {_plural(unit)}", smoothing=0.1, mininterval=0.2
            ) as bar,
        ):

            def tick(done: int) -> None:
                bar.update(done)

            yield tick
    else:
        yield _lines(total, what, unit) if style == "lines" else lambda done: None


def _lines(total: int, what: str, unit: str) -> Tick:
    start = last = time.monotonic()
    finished = 0

    def tick(done: int) -> None:
        nonlocal last, finished
        finished += done
        now = time.monotonic()
        if now - last >= _LINE_EVERY and finished < total:
            last = now
            left = (now - start) / finished * (total - finished)
            units, left_for = _plural(unit), duration(left)
            log.info("%s: %d of %d %s, %s left", what, finished, total, units, left_for)

    return tick


def _plural(unit: str) -> str:
    return f"{unit}es" if unit.endswith("s") else f"{unit}s"


def duration(seconds: float) -> str:
    """`"45 s"`, `"3 min 05 s"`, `"2 h 10 min"`."""
    seconds = round(seconds)
    if seconds < 60:
        return f"{seconds} s"
    if seconds < 3600:
        return f"{seconds // 60} min {seconds % 60:02d} s"
    return f"{seconds // 3600} h {seconds % 3600 // 60:02d} min"
