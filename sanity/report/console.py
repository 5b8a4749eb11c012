"""What is said in a terminal: at most `WIDTH` columns, in colours where these are welcome."""

import io
import os
import re
import shlex
import shutil
import sys
import textwrap
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import TYPE_CHECKING, TextIO

from rich.cells import cell_len
from rich.console import Console, RenderableType
from rich.table import Table
from rich.text import Text

from sanity.report.tables import by_heading

if TYPE_CHECKING:
    import pandas as pd

WIDTH = 78  # columns, at the most
_LEAST = 30  # narrower terminals break lines themselves
_PLAIN = str.maketrans({"–": "-", "≠": "!", "─": "-", "━": "=", "●": "o", "┼": "|", "◂": "<"})
_PLAIN |= str.maketrans({"▸": ">", "…": "~", "×": "x", "→": ">", "−": "-"})  # noqa: RUF001


def columns() -> int:
    """How many columns there are: the terminal's, or COLUMNS, but at most `WIDTH`."""
    return max(_LEAST, min(WIDTH, shutil.get_terminal_size((WIDTH, 24)).columns))


def for_console(
    parts: Callable[[int], Iterable[RenderableType]], stream: TextIO | None = None
) -> str:
    """The text of some parts for a stream, by default standard output.

    That for a terminal is coloured, unless NO_COLOR is set, and no wider than the terminal.

    Args:
        parts: Makes them for a width.
        stream: Where they will be written.
    """
    stream = stream or sys.stdout
    color = stream.isatty() and os.environ.get("TERM") != "dumb"
    return _rendered(parts(columns()), columns(), color, stream.encoding or "utf-8")


def for_file(parts: Callable[[int], Iterable[RenderableType]]) -> str:
    """The text of some parts for a file: without colours, `WIDTH` columns."""
    return _rendered(parts(WIDTH), WIDTH, color=False, encoding="utf-8")


def wrapped(text: str) -> str:
    """A sentence broken so that it fits."""
    return "\n".join(textwrap.wrap(text, columns(), break_on_hyphens=False))


def command_lines(command: str, width: int) -> list[str]:
    """A command line broken for a terminal so that a shell still takes it.

    Between words if possible, else after commas, where the next line must not be indented.
    """
    lines = [" "]
    for word in map(shlex.quote, shlex.split(command)):
        if lines[-1].strip() and len(lines[-1]) + len(word) + 3 > width:
            lines[-1] += " \\"
            lines.append("   ")
        first, *more = _broken(word, width)
        lines[-1] += f" {first}"
        for piece in more:
            lines[-1] += "\\"
            lines.append(piece)
    return lines


def _broken(word: str, width: int) -> list[str]:
    """A quoted word, in pieces that a shell joins if it is longer than a line."""
    if len(word) + 6 <= width:
        return [word]
    pieces = [""]
    for part in re.split("(?<=,)", shlex.split(word)[0]):
        if pieces[-1] and len(shlex.quote(pieces[-1] + part)) + 6 > width:
            pieces.append("")
        pieces[-1] += part
    return [shlex.quote(piece) for piece in pieces]


def from_here(folder: Path) -> str:
    """A folder as it is said: from here if it lies below."""
    folder, here = folder.absolute(), Path.cwd()
    return str(folder.relative_to(here) if folder.is_relative_to(here) else folder)


def bare_table() -> Table:
    """A table without lines."""
    return Table(box=None, padding=(0, 2, 0, 0), pad_edge=False, header_style="underline")


def folded(name: str, width: int) -> str:
    """A long name on several lines, broken after an underscore where there is one."""
    lines = [""]
    for part in re.split("(?<=[_ ·.,-])", name):
        if lines[-1] and cell_len(lines[-1] + part) > width:
            lines.append("")
        lines[-1] += part
    return "\n".join(lines)


def means_parts(wide: "pd.DataFrame", width: int) -> Iterable[RenderableType]:
    """A table of means, in blocks of columns that fit; what rows share is said once.

    Args:
        wide: See `analysis.means.pivot`.
        width: Columns of text that there are.
    """
    names = [str(name) for name in wide.columns]
    for heading, table in by_heading(wide):
        if heading:
            yield Text(heading, "bold")
        labels = [str(label) for label in table.index]
        cells = table.astype(str)
        left = max(map(cell_len, labels))
        sizes = [max(map(cell_len, cells.iloc[:, k])) for k in range(len(names))]
        heads = [folded(name, size) for name, size in zip(names, sizes, strict=True)]
        sizes = [
            max([size, *map(cell_len, head.splitlines())])
            for size, head in zip(sizes, heads, strict=True)
        ]
        for block in _blocks(sizes, width - left):
            grid = bare_table()
            grid.add_column("", overflow="fold")
            for k in block:
                grid.add_column(Text(heads[k]), justify="right", overflow="fold")
            for label, row in zip(labels, cells.to_numpy().tolist(), strict=True):
                grid.add_row(Text(label), *(Text(row[k]) for k in block))
            yield grid


def _blocks(sizes: list[int], room: int) -> list[list[int]]:
    """Columns by the block in which they fit side by side."""
    blocks: list[list[int]] = [[]]
    left = room
    for k, size in enumerate(sizes):
        if blocks[-1] and size + 2 > left:
            blocks.append([])
            left = room
        blocks[-1].append(k)
        left -= size + 2
    return blocks


def _rendered(parts: Iterable[RenderableType], width: int, color: bool, encoding: str) -> str:
    buffer = io.StringIO()
    console = Console(
        file=buffer,
        force_jupyter=False,  # in a notebook, rich would show it there and then
        width=width,
        force_terminal=color,
        color_system="standard" if color else None,
        highlight=False,
        markup=False,
        emoji=False,
        legacy_windows=False,
    )
    for part in parts:
        console.print(part)
    text = "\n".join(line.rstrip() for line in buffer.getvalue().splitlines())
    try:
        text.encode(encoding)
    except UnicodeEncodeError:
        return text.translate(_PLAIN)
    return text
