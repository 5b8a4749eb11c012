"""Progress of long work: a bar with the time left on a terminal, plain log lines elsewhere."""

import logging
import os
import sys
import time
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Literal, Protocol

Style = Literal["auto", "bar", "lines", "none"]
_LINE_EVERY = 15.0  # seconds
_UNKNOWN = 78  # columns of a terminal that does not say how many it has

log = logging.getLogger(__name__)
_style: ContextVar[Style] = ContextVar("style", default="auto")


class ForConsole(logging.Formatter):
    """What a record has for the console (`say`), the rest as it is."""

    def format(self, record: logging.LogRecord) -> str:
        """The text of a record."""
        text = getattr(record, "console", None)
        return super().format(record) if text is None else str(text)


def print_log() -> None:
    """What is logged goes to standard output from here on, as the command line has it."""
    handler = logging.StreamHandler(sys.stdout)
    handler.setFormatter(ForConsole("%(message)s"))
    logging.basicConfig(handlers=[handler])


def say(text: str, console: str) -> None:
    """Logs a text, of which the console shows another form: shorter, or in colours."""
    log.info("%s", text, extra={"console": console})


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


def in_notebook() -> bool:
    """Whether this process is the kernel of a notebook."""
    shell = sys.modules.get("IPython")
    return shell is not None and "IPKernelApp" in getattr(shell.get_ipython(), "config", ())


@contextmanager
def show_log() -> Iterator[None]:
    """Inside, what sanity logs is printed if nobody has set up logging: each line once.

    In a notebook to standard output, else to standard error. What other libraries log is left to
    them, and so is where they print what is logged.
    """
    own = logging.getLogger("sanity")
    ours = [*own.handlers, *logging.getLogger().handlers]
    # TensorFlow's logging is no set-up of the user's: absl's handler came with an import.
    if any(type(handler).__module__.partition(".")[0] != "absl" for handler in ours):
        yield
        return
    handler = logging.StreamHandler(sys.stdout if in_notebook() else sys.stderr)
    handler.setFormatter(ForConsole("%(message)s"))
    own.addHandler(handler)
    own.propagate = False
    try:
        yield
    finally:
        own.removeHandler(handler)
        own.propagate = True


def log_owners() -> list[logging.Logger]:
    """The loggers whose handlers get all that is logged: the root, and ours inside `show_log`."""
    own = logging.getLogger("sanity")
    return [logging.getLogger()] + ([] if own.propagate else [own])


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
        style = "bar" if sys.stderr.isatty() or in_notebook() else "lines"
    if style == "bar":
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # without ipywidgets the bar is one of text
            from tqdm.auto import tqdm
            from tqdm.contrib.logging import logging_redirect_tqdm
        with (
            logging_redirect_tqdm(log_owners()[-1:]),
            tqdm(
                total=total,
                desc=what,
                unit=f" {_plural(unit)}",
                smoothing=0.1,
                mininterval=0.2,
                ncols=_columns(),
            ) as bar,
        ):

            def tick(done: int) -> None:
                bar.update(done)

            yield tick
    else:
        yield _lines(total, what, unit) if style == "lines" else lambda done: None


def _columns() -> int | None:
    """Of a bar; None: as many as the terminal has, which tqdm finds out.

    A terminal that says 0, as one that a program opened for another does, would get no bar at all.
    """
    try:
        return None if os.get_terminal_size(sys.stderr.fileno()).columns else _UNKNOWN
    except (OSError, ValueError, AttributeError):  # no terminal, as in a notebook
        return None


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


def short(value: float) -> str:
    """A positive number for people: whole from 10 on, else with one digit, never 0."""
    return f"{value:,.0f}" if value >= 10 else f"{max(value, 0.1):.1f}"


def duration(seconds: float) -> str:
    """`"45 s"`, `"3 min 05 s"`, `"2 h 10 min"`."""
    seconds = round(seconds)
    if seconds < 60:
        return f"{seconds} s"
    if seconds < 3600:
        return f"{seconds // 60} min {seconds % 60:02d} s"
    return f"{seconds // 3600} h {seconds % 3600 // 60:02d} min"
