"""One self-contained HTML page on one run or several: `report.html`.

The page is `files/page.html` with the style, the scripts and the data (see `page.data`) in it; it
asks for nothing over the network, and its content policy forbids it. Names come from users: Jinja2
escapes them in the HTML, `as_json` in the data, and the scripts put text nowhere but into text
nodes and attributes.
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
from sanity.errors import ConfigError
from sanity.files import replace_file, writing
from sanity.report.page.collect import collect, deciding
from sanity.report.page.data import Page
from sanity.report.page.remarks import doubts, facts
from sanity.report.page.run import Run
from sanity.report.page.words import (
    GLOSSARY,
    PAPERS,
    certainty,
    explanation,
    headline,
    title_of,
)
from sanity.report.style import DOTTED, family, method_style

if TYPE_CHECKING:
    from jinja2 import Template
    from markupsafe import Markup

_FILES = Path(__file__).parent / "files"
# In this order, in one scope.
_SCRIPTS = (
    *("base", "state", "names", "masks", "answer", "chances", "judge", "whatif"),
    *(
        "strips",
        "enlarge",
        "chart",
        "export",
        "curves",
        "images",
        "many",
        "scheme",
        "table",
        "main",
    ),
)
_STYLES = ("base", "answer", "charts", "masks", "tables", "media")
_SYMBOLS = {
    **{"insensitive": "■", "sensitive": "●", "depends_on_metric": "◆"},
    **{"same_for_every_image": "≡", "inconclusive": "◐", "invalid": "×", "none": "–"},
}
_ROLES = {
    "typical": "typical",
    "best": "keeps the most",
    "worst": "keeps the least",
}


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
        title: Of the page; by default model, images and scheme in words.

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


def render(data: Page, title: str = "") -> str:
    """The page as text.

    Args:
        data: See `sanity.report.page.collect.collect`.
        title: See `write`.
    """
    runs = [Run.read(Path(run["path"])) for run in data["runs"]]
    looks = {name: _look(name, name in data["controls"]) for name in data["methods"]}
    controls, first = data["controls"], data["metrics"][0]["name"]
    judged = [(group, deciding(group["verdicts"], first)) for group in data["groups"]]
    script = _script()
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    beside = {"looks": looks, "coolwarm": _coolwarm(), "symbols": _SYMBOLS, "roles": _ROLES}
    return _template().render(
        title=title or title_of(runs, data["images"]),
        subtitle=data["runs"][0]["id"] if len(runs) == 1 else f"{len(runs)} runs compared",
        data=data,
        headlines=[headline(group, metric, controls) for group, metric in judged],
        certainties=[certainty(group, metric, controls) for group, metric in judged],
        explanations=[explanation(group, metric, controls) for group, metric in judged],
        glossary=GLOSSARY,
        papers=PAPERS,
        facts=facts(runs, differing([run.shown for run in runs]), data),
        doubts=doubts(runs, data),
        style=_joined("style", _STYLES, "css"),
        script=script,
        digest=digest,
        json=as_json({**data, **beside}),
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
def _joined(folder: str, names: tuple[str, ...], suffix: str) -> str:
    files = (_FILES / folder / f"{name}.{suffix}" for name in names)
    return "\n".join(file.read_text(encoding="utf-8") for file in files)


def _script() -> str:
    return '"use strict";\n(() => {\n' + _joined("script", _SCRIPTS, "js") + "})();\n"


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
    environment.filters["breakable"] = _breakable
    return environment.get_template("page.html")


def _breakable(text: str) -> "Markup":
    """A name that may be broken where its parts meet."""
    from markupsafe import Markup

    return Markup("<wbr>").join(re.split(r"(?<=[-_/.])", str(text)))  # joining escapes


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
        "family": family(name, control),
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
