"""What is shown of how far some work is, on terminals and elsewhere."""

import fcntl
import io
import logging
import os
import struct
import sys
import termios
from contextlib import suppress

import pytest

from sanity.progress import print_log, progress, show_progress


def shown(columns, monkeypatch):
    """What a terminal of so many columns is sent."""
    ours, theirs = os.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 24, columns, 0, 0))
    with os.fdopen(theirs, "w") as stderr:
        monkeypatch.setattr(sys, "stderr", stderr)
        with show_progress("auto"), progress(4, "explaining") as tick:
            tick(4)
    found = b""
    with suppress(OSError):  # once all is read: there is nobody at the other end any more
        while part := os.read(ours, 10_000):
            found += part
    os.close(ours)
    return found.decode()


@pytest.mark.parametrize("columns", [60, 0])
def test_a_terminal_has_a_bar_though_it_may_not_say_how_wide_it_is(columns, monkeypatch):
    for name in ("COLUMNS", "LINES"):
        monkeypatch.delenv(name, raising=False)
    found = shown(columns, monkeypatch)
    assert "explaining: 100%" in found and "4/4" in found
    assert max(map(len, found.replace("\n", "\r").split("\r"))) <= (columns or 78)


def test_elsewhere_there_is_none(monkeypatch):
    monkeypatch.setattr(sys, "stderr", io.StringIO())
    with show_progress("auto"), progress(4, "explaining") as tick:
        tick(4)
    assert sys.stderr.getvalue() == ""


def test_the_log_is_printed_in_the_form_for_the_console(monkeypatch, capsys):
    root = logging.getLogger()
    monkeypatch.setattr(root, "handlers", [])
    print_log()
    root.warning("a long line", extra={"console": "a short one"})
    root.warning("another")
    assert capsys.readouterr().out == "a short one\nanother\n"
