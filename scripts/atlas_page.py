"""Draws the atlas of verdicts and writes its page's tables, from docs/data/atlas.parquet.

`python scripts/atlas_page.py`; scripts/atlas.py, which makes the file, ends with it.
"""

import argparse
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import matplotlib
import numpy as np
import pandas as pd
from PIL import Image

from sanity.analysis.judged import (
    ALIKE,
    DEPENDS,
    INCONCLUSIVE,
    INSENSITIVE,
    INVALID,
    NONE,
    SENSITIVE,
)
from sanity.config.options import options

DOCS = Path(__file__).parents[1] / "docs"

OUTPUT, INPUT = ORDERS = ("from the output", "from the input")
LEFT_OUT = "left_out"
SIGNS = {
    **{INSENSITIVE: "■", SENSITIVE: "□", DEPENDS: "◧", ALIKE: "≡", INCONCLUSIVE: "?"},
    **{INVALID: "×", NONE: "", LEFT_OUT: "–"},
}
KNOWN = {"known_blind", "known_constant", "known_noisy_constant", "known_perfect"}  # of one model
NO_SCORE = "no score"  # of masks that are constant
LEANS = {INSENSITIVE: "▪", SENSITIVE: "▫"}  # of inconclusive ones that lack images only


def short(model: str) -> str:
    """A model's name as it stands above a column."""
    return model.removeprefix("efficientnet_")


def sign(row: Mapping[Any, Any]) -> str:
    """A verdict's sign and the similarity: "■ 0.94"."""
    mark = LEANS.get(row["leans"]) or SIGNS[row["verdict"]]
    return f"{mark} {number(row['similarity'])}".strip() or NO_SCORE


def grid(table: pd.DataFrame, order: str) -> pd.DataFrame:
    """The deciding rows of an order as methods × models, each cell a row's `sign`; else blank."""
    rows = table[(table["order"] == order) & table["primary"].astype(bool)]
    cells = rows.assign(cell=[sign(row) for row in rows.to_dict("records")])
    wide = cells.pivot(index="method", columns="model", values="cell")
    return wide.reindex(index=names(table), columns=models(table)).astype(object).fillna("")


def names(table: pd.DataFrame) -> list[str]:
    """The methods that some model has a use for."""
    return list(dict.fromkeys(table.loc[table["verdict"] != LEFT_OUT, "method"]))


def models(table: pd.DataFrame) -> list[str]:
    """The models."""
    return list(dict.fromkeys(table["model"]))


def draw(table: pd.DataFrame, output: Path) -> None:
    """The similarity of each method on each model as a colour, under the verdict's sign."""
    matplotlib.use("agg")
    import matplotlib.pyplot as plt

    rows, columns = names(table), models(table)
    size = (10, 1.1 + 0.235 * len(rows))
    figure, axes = plt.subplots(1, 2, figsize=size, sharey=True, layout="constrained")
    deciding = table[table["primary"].astype(bool)]
    for axis, order in zip(axes, ORDERS, strict=True):
        part = deciding[deciding["order"] == order]
        wide = part.pivot(index="method", columns="model", values="similarity")
        values = wide.reindex(index=rows, columns=columns).to_numpy(float)
        shown = axis.imshow(values, cmap="cividis", vmin=0, vmax=1, aspect="auto")
        for (y, x), text in np.ndenumerate(grid(table, order).to_numpy()):
            dark = np.isfinite(values[y, x]) and values[y, x] < 0.5
            axis.text(x, y, text, ha="center", va="center", fontsize=8, color="wk"[not dark])
        axis.set_title(f"randomized {order}", fontsize=10)
        axis.set_xticks(range(len(columns)), [short(m) for m in columns], fontsize=9)
        axis.set_yticks(range(len(rows)), rows, fontsize=8)
        axis.tick_params(length=0, labeltop=True, labelbottom=False)
        axis.spines[:].set_visible(False)
        axis.set_facecolor("0.94")  # of what is not computed or left out
    bar = figure.colorbar(shown, ax=axes, location="bottom", shrink=0.4, aspect=40, pad=0.01)
    bar.set_label("early similarity: 1 masks as they were, 0 as those of other images", fontsize=8)
    bar.ax.tick_params(labelsize=8)
    figure.savefig(output, dpi=150)
    plt.close(figure)
    with Image.open(output) as picture:  # a third of the size, and nobody sees it
        picture.convert("RGB").quantize(256).save(output, optimize=True)


def side_by_side(table: pd.DataFrame) -> pd.DataFrame:
    """A row a method and model, from the output: the verdict and the metrics side by side."""
    rows = table[(table["order"] == OUTPUT) & (table["verdict"] != LEFT_OUT)]
    wide = rows.pivot(index=["method", "model"], columns="metric", values="similarity")
    found = []
    for row in rows[rows["primary"].astype(bool)].to_dict("records"):
        others = wide.loc[(row["method"], row["model"])]
        interval = "" if pd.isna(row["low"]) else f"{number(row['low'])} to {number(row['high'])}"
        found.append(
            {"method": f"`{row['method']}`", "model": short(row["model"])}
            | {"verdict": word(row)}
            | {"ssim": number(row["similarity"]), "interval": interval, "null": number(row["null"])}
            | {name: number(others[name]) for name in ("spearman_abs", "spearman", "hog")}
            | {"images": f"{row['images']:.0f}", "seeds": f"{row['seeds']:.0f}"}
        )
    return pd.DataFrame(found)


def word(row: Mapping[Any, Any]) -> str:
    """A verdict as it is read; an inconclusive one with the word that it leans to."""
    said = "none" if row["verdict"] == NONE else str(row["verdict"]).replace("_", " ")
    return f"leans {row['leans'].replace('_', ' ')}" if row["leans"] else said


def number(value: float) -> str:
    """To two places; nothing where there is none."""
    return "" if pd.isna(value) else f"{value:z.2f}".replace("-", "−")


def cuts(table: pd.DataFrame) -> pd.DataFrame:
    """What each part computed less of than a default job, and how long it took."""
    found = []
    for name, rows in table[table["verdict"] != LEFT_OUT].groupby("part", sort=False):
        first = rows.iloc[0]
        less: dict[str, list[str]] = {}
        for row in rows.drop_duplicates("method").to_dict("records"):
            less.setdefault(row["settings"], []).append(f"`{row['method']}`")
        less.pop("", None)
        found.append(
            {"part": name, "methods": rows["method"].nunique()}
            | {"images": f"{rows['images'].max():.0f}", "seeds": f"{rows['seeds'].max():.0f}"}
            | {"stages": f"{first['stages']} of {first['blocks']}", "early": first["early"]}
            | {"minutes": f"{rows.groupby('order')['minutes'].first().sum():.0f}"}
            | {"settings": "; ".join(f"{', '.join(m)}: {s}" for s, m in less.items())}
        )
    return pd.DataFrame(found)


def missing(table: pd.DataFrame) -> pd.DataFrame:
    """What no run has yet: of each order and model the methods."""
    found = []
    for order in ORDERS:
        for model, cells in grid(table, order).items():
            names = [f"`{name}`" for name, cell in cells.items() if not cell]
            if names:
                said = "all" if len(names) == len(cells) else ", ".join(names)
                found.append({"order": order, "model": short(str(model)), "methods": said})
    seen = set(table["method"])
    never = [f"`{name}`" for name in options("method") if name not in seen | KNOWN]
    if never:
        found.append({"order": "either", "model": "all", "methods": ", ".join(never)})
    return pd.DataFrame(found, columns=["order", "model", "methods"])


def tables(table: pd.DataFrame) -> dict[str, str]:
    """The page's tables in Markdown, by the name that stands in its comments."""
    found = {
        order: grid(table, order).rename(columns=short).rename_axis("method").reset_index()
        for order in ORDERS
    }
    for one in found.values():
        one["method"] = [f"`{name}`" for name in one["method"]]
    found |= {"side by side": side_by_side(table), "cuts": cuts(table), "missing": missing(table)}
    made = {name: markdown(one) for name, one in found.items()}
    return made if len(found["missing"]) else made | {"missing": "Nothing."}


def markdown(table: pd.DataFrame) -> str:
    """A table whose columns are as wide as they are, so that a change is a line's change."""
    lines = [table.columns, ["---"] * len(table.columns), *table.to_numpy()]
    return "\n".join(f"| {' | '.join(map(str, line))} |" for line in lines)


def write(table: pd.DataFrame, page: Path) -> None:
    """Puts the tables into the page, between comments of their names."""
    text = page.read_text("utf-8")
    for name, made in tables(table).items():
        begin, end = f"<!-- {name} -->\n", f"\n<!-- end of {name} -->"
        inside = re.compile(f"(?<={re.escape(begin)}).*?(?={re.escape(end)})", re.DOTALL)
        text = inside.sub(f"\n{made}\n".replace("\\", r"\\"), text)
    page.write_text(text, "utf-8")


def main() -> None:
    """Reads the command line, and does what it says."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--docs", type=Path, default=DOCS, help="where the atlas is (%(default)s)")
    docs = parser.parse_args().docs
    table = pd.read_parquet(docs / "data/atlas.parquet")
    draw(table, docs / "atlas.png")
    write(table, docs / "atlas.md")


if __name__ == "__main__":
    main()
