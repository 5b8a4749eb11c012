"""Means of scores with their intervals, as tables."""

from collections.abc import Sequence

import numpy as np
import pandas as pd

from sanity.analysis import intervals
from sanity.errors import ConfigError, did_you_mean
from sanity.results.listing import TRAINED


def means(scores: pd.DataFrame, by: Sequence[str]) -> pd.DataFrame:
    """Means over images and seeds with their 95 % intervals (`intervals.mean`).

    Args:
        scores: See `analysis.schemes`.
        by: Columns whose values are told apart, beside metrics and methods where there are several;
            `stage` brings `layer` along. Without it, what is
            averaged is the area under each image's curve over all stages, in units of the scores.

    Returns:
        The columns of `by` (`scheme` first where schemes would be mixed), mean, low, high, images,
        seeds.

    Raises:
        ConfigError: There is no such column, or different things would be averaged.
    """
    by = list(dict.fromkeys(by))
    for name in by:
        if name not in scores.columns or name in ("value", "null", "reason"):
            known = [c for c in scores.columns if c not in ("value", "null", "reason")]
            hint = did_you_mean(name, known)
            short = ", ".join(c for c in known if "." not in c)
            raise ConfigError(
                f"--by {name} is no column of these runs{hint} (columns: {short}, and keys of the"
                " configuration)"
            )
    if "stage" in by and "layer" not in by:
        by.insert(by.index("stage") + 1, "layer")
    if "scheme" not in by and _mixed(scores, by, "scheme"):
        by = ["scheme", *by]
    for name in ("method", "metric"):  # whose scores mean different things
        if name not in by and _mixed(scores, by, name):
            by = [name, *by]
    staged = bool({"stage", "layer"} & set(by))
    keys = by[0] if len(by) == 1 else by
    originals = _originals(scores)
    found, tables, scales = [], [], []
    for key, part in scores.groupby(keys, observed=True, sort=False):
        later, kind = part[part["stage"] > 0], (part["metric"].iloc[0], part["method"].iloc[0])
        scales.append(
            intervals.scale(later["null"].to_numpy(float), originals.get(kind, np.empty(0)))
        )
        tables.append(by_image(part, staged).unstack("seed").to_numpy())
        found.append(key if isinstance(key, tuple) else (key,))
    rows = [
        {
            **dict(zip(by, values, strict=True)),
            "mean": estimate.mean,
            "low": estimate.low,
            "high": estimate.high,
            "images": estimate.images,
            "seeds": estimate.seeds,
        }
        for values, estimate in zip(found, intervals.means(tables, scales), strict=True)
    ]
    table = pd.DataFrame(rows)
    # As the runs have them, one key after the other; stages by number.
    order = [table[k] if k == "stage" else pd.factorize(table[k].astype(str))[0] for k in by]
    rows_in_order: np.ndarray = np.lexsort(order[::-1])
    return table.iloc[rows_in_order].reset_index(drop=True)


def pivot(table: pd.DataFrame, digits: int = 2) -> pd.DataFrame:
    """The means as text `0.30 [0.25, 0.35]`, the last of `by` as columns.

    Where cells differ in their number of images, each names its own.
    """
    keys = [c for c in table.columns if c not in ("mean", "low", "high", "images", "seeds")]
    several = table["images"].nunique() > 1
    cells = []
    for mean, low, high, n in table[["mean", "low", "high", "images"]].to_numpy():
        if np.isnan(mean):
            text = "–"
        elif np.isnan(low):
            text = f"{mean:z.{digits}f}"
        else:
            text = f"{mean:z.{digits}f} [{low:z.{digits}f}, {high:z.{digits}f}]"
        cells.append(f"{text} n={n:.0f}" if several else text)
    shown = table[keys].astype(object)
    if {"stage", "layer"} <= set(keys):
        names = shown["layer"].where(shown["layer"] != "", TRAINED).astype(str)
        # The number keeps one layer's stages of several schemes apart.
        shown["stage"] = shown["stage"].astype(str) + " " + names
        shown = shown.drop(columns="layer")
    keys = list(shown.columns)
    shown["cell"] = cells
    if len(keys) == 1:
        return shown.set_index(keys)
    rows, column = keys[:-1], keys[-1]
    orders = {key: list(dict.fromkeys(shown[key])) for key in keys}
    wide = shown.set_index(keys)["cell"].unstack(column)[orders[column]]
    order = list(dict.fromkeys(shown[rows].itertuples(index=False, name=None)))
    wide = wide.loc[order if len(rows) > 1 else [key for (key,) in order]]
    return wide.fillna("–")


def caption(table: pd.DataFrame) -> str:
    """What the numbers are."""
    images = sorted(table["images"].unique())
    n = f"{images[0]}" if len(images) == 1 else f"{images[0]} to {images[-1]}"
    seeds = sorted(table["seeds"].unique())
    draws = f"{seeds[0]}" if len(seeds) == 1 else f"{seeds[0]} to {seeds[-1]}"
    what = "mean" if "layer" in table else "area under the curve"
    plural = "" if n == "1" else "s", "" if draws == "1" else "s"
    return f"{what} and 95 % interval over {n} image{plural[0]}, {draws} seed{plural[1]}"


def by_image(part: pd.DataFrame, staged: bool) -> pd.Series:
    """Scores of one method, metric and scheme, by image and seed; NaN where a stage has none.

    Args:
        part: The rows.
        staged: The mean over their stages; else the area under the curve over them.
    """
    seed = part["seed"].to_numpy() if "seed" in part else 0
    table = part[["stage", "value"]].assign(image=part["image"].astype(str), seed=seed)
    wide = table.pivot_table(
        index=["image", "seed"], columns="stage", values="value", dropna=False, aggfunc="first"
    )
    wide = wide.loc[~wide.index.duplicated()]
    if staged:
        return wide.mean(axis=1, skipna=False)
    curves = wide.to_numpy()
    area = intervals.area(curves) if curves.shape[1] > 1 else curves[:, 0]
    return pd.Series(area, index=wide.index)


def _originals(scores: pd.DataFrame) -> dict[tuple[str, str], np.ndarray]:
    """The scores at stage 0, of masks with themselves, by metric and method."""
    trained = scores[scores["stage"] == 0].groupby(["metric", "method"], observed=True)["value"]
    return {key: part.to_numpy(float) for key, part in trained}  # type: ignore[misc]  # two keys each


def _mixed(scores: pd.DataFrame, by: Sequence[str], name: str) -> bool:
    """Whether a group would hold several values of a column."""
    if not by:
        return scores[name].nunique() > 1
    return bool((scores.groupby(list(by), observed=True)[name].nunique() > 1).any())
