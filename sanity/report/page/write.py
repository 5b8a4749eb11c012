"""One self-contained HTML page on one run or several: `report.html`.

The page is `files/page.html` with the style, the scripts and the data in it; it asks for
nothing over the network, and its content policy forbids it. Names come from users: Jinja2 escapes
them in the HTML, `as_json` in the data, and the scripts put text nowhere but into text nodes and
attributes.
"""

import base64
import hashlib
import json
import math
import os
import re
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pandas as pd

from sanity.analysis.schemes import differing
from sanity.analysis.wording import word
from sanity.errors import ConfigError
from sanity.files import replace_file, writing
from sanity.report.page.collect import Run, collect
from sanity.report.page.remarks import doubts, facts, headline
from sanity.report.style import DOTTED, method_style

if TYPE_CHECKING:
    from jinja2 import Template
    from markupsafe import Markup

_FILES = Path(__file__).parent / "files"
_SCRIPTS = ("base", "charts", "masks", "scheme", "table", "main")  # in this order, in one scope
_SYMBOLS = {
    **{"insensitive": "■", "sensitive": "●", "depends_on_metric": "◆"},
    **{"same_for_every_image": "≡", "inconclusive": "◐", "invalid": "×", "none": "–"},
}
_FROM, _TO = -0.25, 1.1  # of the axis of early similarities


def write(
    file: str | os.PathLike[str],
    scores: pd.DataFrame,
    verdicts: Mapping[str, pd.DataFrame] | None = None,
    *,
    thresholds: Mapping[str, float] | None = None,
    title: str = "",
) -> Path:
    """Writes a page on some runs.

    Args:
        file: Where to; its folder is made.
        scores: See `analysis.schemes`; perhaps not all metrics and methods.
        verdicts: By scheme, see `analysis.verdict_tables`; without, those in run.json.
        thresholds: That verdicts were made by, where they are not the runs' own.
        title: Of the page; by default the run's id, or how many runs there are.

    Raises:
        ConfigError: The file cannot be written, a run is damaged, or there are no scores.
    """
    if scores.empty:
        raise ConfigError("there are no scores to report on")
    path = Path(file)
    content = render(collect(scores, verdicts, thresholds), title).encode(errors="replace")
    with writing(path):
        path.parent.mkdir(parents=True, exist_ok=True)
    replace_file(path, content)
    return path


def render(data: dict[str, Any], title: str = "") -> str:
    """The page as text.

    Args:
        data: See `sanity.report.page.collect.collect`.
        title: See `write`.
    """
    runs = [Run.read(Path(run["path"])) for run in data["runs"]]
    title = title or (data["runs"][0]["id"] if len(runs) == 1 else f"{len(runs)} runs compared")
    looks = {name: _look(name, name in data["controls"]) for name in data["methods"]}
    script = _script()
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    return _template().render(
        title=title,
        data=data,
        looks=looks,
        symbols=_SYMBOLS,
        verdicts=[_by_metric(group, data) for group in data["groups"]],
        headlines=[
            {metric: headline(group, metric, data["controls"]) for metric in data["metrics"]}
            for group in data["groups"]
        ],
        facts=facts(runs, differing([run.shown for run in runs]), data),
        doubts=doubts(runs, data),
        style=(_FILES / "page.css").read_text(encoding="utf-8"),
        script=script,
        digest=digest,
        json=as_json({**data, "looks": looks, "coolwarm": _coolwarm()}),
    )


def as_json(value: Any) -> str:
    """JSON that can stand in a script element: without markup, NaN as null, infinity as a word."""
    plain = json.dumps(_finite(value), ensure_ascii=False, allow_nan=False, separators=(",", ":"))
    for character in "<>&\u2028\u2029":
        plain = plain.replace(character, f"\\u{ord(character):04x}")
    return plain


def _finite(value: Any) -> Any:
    if isinstance(value, float) and not math.isfinite(value):
        return None if math.isnan(value) else "Infinity" if value > 0 else "-Infinity"
    if isinstance(value, dict):
        return {str(key): _finite(inside) for key, inside in value.items()}
    if isinstance(value, (list, tuple)):
        return [_finite(inside) for inside in value]
    return value.item() if hasattr(value, "item") else value


@cache
def _script() -> str:
    parts = [(_FILES / f"{name}.js").read_text(encoding="utf-8") for name in _SCRIPTS]
    return '"use strict";\n(() => {\n' + "\n".join(parts) + "})();\n"


@cache
def _template() -> "Template":
    from jinja2 import Environment, FileSystemLoader, StrictUndefined

    environment = Environment(
        loader=FileSystemLoader(_FILES),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["percent"] = _percent
    environment.filters["word"] = word
    environment.filters["breakable"] = _breakable
    return environment.get_template("page.html")


def _breakable(text: str) -> "Markup":
    """A name that may be broken where its parts meet."""
    from markupsafe import Markup

    return Markup("<wbr>").join(re.split(r"(?<=[-_/.])", str(text)))  # joining escapes


def _percent(value: float) -> str:
    """Where an early similarity stands on its axis, as CSS has it."""
    return f"{100 * (min(max(value, _FROM), _TO) - _FROM) / (_TO - _FROM):.2f}%"


def _by_metric(group: dict[str, Any], data: dict[str, Any]) -> dict[str, list[dict[str, Any]]]:
    """A group's verdicts in the page's order of methods."""
    rows = {(row["metric"], row["method"]): row for row in group["verdicts"]}
    empty = {"verdict": "none", "early": None, "low": None, "high": None}
    return {
        metric: [
            rows.get((metric, method))
            or {**empty, "method": method, "metric": metric, "evidence": "no verdict was recorded"}
            for method in data["methods"]
            if method in group["curves"].get(metric, {})
        ]
        for metric in data["metrics"]
    }


def _look(name: str, control: bool) -> dict[str, Any]:
    style = method_style(name, control)
    d, filled = _marker(style.marker)
    return {
        "color": style.color,
        "dash": style.dasharray(2),
        "dotted": " ".join(f"{length * 1.3:g}" for length in DOTTED),
        "marker": d,
        "filled": filled,
        "control": control,
    }


@cache
def _marker(code: str) -> tuple[str, bool]:
    """Matplotlib's marker as an SVG path of about one unit's size, and whether it is filled."""
    from matplotlib.markers import MarkerStyle

    style = MarkerStyle(code)
    path = style.get_path().transformed(style.get_transform())
    words: list[str] = []
    for points, kind in path.iter_segments(curves=True, simplify=False):
        letter = {1: "M", 2: "L", 3: "Q", 4: "C", 79: "Z"}[int(kind)]
        pairs = [] if letter == "Z" else points.reshape(-1, 2).tolist()
        words.append(letter + " ".join(f"{x:.3g},{-y:.3g}" for x, y in pairs))
    return "".join(words), style.is_filled()


@cache
def _coolwarm() -> str:
    """256 colours, six hexadecimal digits each."""
    import matplotlib

    colors = matplotlib.colormaps["coolwarm"](range(256), bytes=True)[:, :3]
    return "".join(f"{r:02x}{g:02x}{b:02x}" for r, g, b in colors.tolist())
