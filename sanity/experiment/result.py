"""What `sanity.run` gives: the run's folder, and what is in it, read when it is asked for."""

import base64
import os
from collections.abc import Mapping, Sequence
from functools import cached_property
from html import escape
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from sanity.analysis.wording import word
from sanity.errors import ConfigError
from sanity.files import read_json
from sanity.report.console import from_here
from sanity.results.listing import status_of
from sanity.results.load import load_images, load_masks, load_predictions, load_runs

if TYPE_CHECKING:
    import pandas as pd
    import xarray as xr

_FIGURE = "figures/curves.png"


class Result(os.PathLike[str]):
    """A run's folder and its results; it serves wherever a path does.

    A notebook shows it as the answer, a line for each method, and the curves.

    Attributes:
        path: The run's folder. After a dry run there is none yet.
    """

    def __init__(self, path: Path):
        self.path = path

    def __fspath__(self) -> str:
        return str(self.path)

    def __str__(self) -> str:
        return str(self.path)

    def __truediv__(self, name: str) -> Path:
        return self.path / name

    @property
    def status(self) -> str:
        """`completed`, `interrupted`, `failed` or `running`; `new` where there is nothing."""
        info = self.info
        return status_of(self.path, info) if "status" in info else "new"

    @property
    def info(self) -> dict[str, Any]:
        """What run.json says."""
        return read_json(self.path / "run.json") or {}

    @property
    def report(self) -> Path:
        """The page."""
        return self.path / "report.html"

    @cached_property
    def scores(self) -> "pd.DataFrame":
        """See `sanity.load_runs`."""
        return load_runs(self.path)

    @cached_property
    def predictions(self) -> "pd.DataFrame":
        """See `sanity.load_predictions`."""
        return load_predictions(self.path)

    @property
    def masks(self) -> "xr.Dataset":
        """See `sanity.load_masks`."""
        return load_masks(self.path)

    @property
    def images(self) -> dict[str, np.ndarray]:
        """See `sanity.load_images`."""
        return load_images(self.path)

    @property
    def verdicts(self) -> "pd.DataFrame":
        """A row a method and metric; of the rows that are `primary` is the answer.

        Raises:
            ConfigError: The run is not completed.
        """
        import pandas as pd

        info = self.info
        if info.get("status") != "completed":
            raise ConfigError(f"{self.path} has no verdicts: it is {self.status}")
        return pd.DataFrame(info.get("verdicts", []))

    def __repr__(self) -> str:
        return f"Result({from_here(self.path)!r}, {self._said()})"

    def _said(self) -> str:
        """Its state and size."""
        counts = self.info.get("counts", {})
        sizes = [f"{counts[key]} {key}" for key in ("images", "stages", "methods") if key in counts]
        return f"{self.status}: {', '.join(sizes)}" if sizes else self.status

    def _repr_html_(self) -> str:
        parts = [f"<p><code>{escape(from_here(self.path))}</code><br>{escape(self._said())}</p>"]
        if self.status == "completed":
            parts += [answer_html(self.info.get("verdicts", [])), _figure(self.path / _FIGURE)]
        elif self.status == "new":
            parts.append("<p>nothing was computed</p>")
        return "\n".join(part for part in parts if part)


def answer_html(verdicts: Sequence[Mapping[str, Any]], about: str = "") -> str:
    """The verdicts by the primary metric, as a table.

    Args:
        verdicts: Rows, see `analysis.verdicts`.
        about: What they are of.
    """
    rows = [row for row in verdicts if row.get("primary")]
    if not rows:
        return ""
    cells = [(str(row["method"]), word(row), str(row.get("evidence", ""))) for row in rows]
    left = '<td style="text-align:left">'
    body = "".join(
        f"<tr>{''.join(f'{left}{escape(text)}</td>' for text in row)}</tr>" for row in cells
    )
    caption = escape(f"{about}: by {rows[0]['metric']}" if about else f"by {rows[0]['metric']}")
    return f"<table><caption>{caption}</caption><tbody>{body}</tbody></table>"


def _figure(path: Path) -> str:
    """A figure of the run as it lies there; nothing where it was not drawn."""
    try:
        content = base64.b64encode(path.read_bytes()).decode()
    except OSError:
        return ""
    source = f"data:image/png;base64,{content}"
    return f'<img alt="similarity by stage" style="max-width:100%" src="{source}">'
