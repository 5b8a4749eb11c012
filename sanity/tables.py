"""Tables of several runs: means with their intervals, differences, verdicts."""

import difflib
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from sanity import statistics
from sanity.config import Thresholds, instantiate, make
from sanity.errors import ConfigError
from sanity.load import load_masks, load_predictions, load_runs
from sanity.reference import calibrate, unrelated
from sanity.storage import flatten, read_json
from sanity.verdict import is_control, verdicts

_CALIBRATED = 20  # images whose masks metrics are calibrated with, at the most
# What differs between runs that belong together: draws, parts of the images, names.
_TOGETHER = ("seed", "name", "run", "path", "status", "data.shard", "masks.keep")
_SCORES = ("image", "target", "method", "stage", "layer", "metric", "value", "null", "reason")


def load(paths: Sequence[str | Path]) -> pd.DataFrame:
    """The scores of completed runs with a column `scheme`: what sets them apart beside the seed.

    A run that is there twice, under two names, counts once. `scheme` names the keys in which runs
    differ, and their values, of those that can matter for a row's method and metric; "" if none do.

    Raises:
        ConfigError: There is no run, none is completed, or a file is damaged.
    """
    scores = load_runs(list(paths), status="completed")
    if scores.empty:
        raise ConfigError(f"no run below {', '.join(map(str, paths))} is completed")
    first = scores.drop_duplicates("run").set_index("run")["path"].astype(str)
    scores = scores[scores["path"].astype(str) == scores["run"].map(first).astype(str)]
    keys = [c for c in scores.columns if c not in _SCORES + _TOGETHER]
    kinds = scores.drop_duplicates(["path", "method", "metric"])[
        ["path", "method", "metric", *keys]
    ].reset_index(drop=True)
    schemes = pd.Series("", index=kinds.index)
    for key in sorted(keys, key=lambda key: "." in key):  # choices first: they are the short names
        owner = key.split(".")
        values = kinds[key].astype(object).where(kinds[key].notna(), "–").astype(str)
        if len(owner) > 1 and owner[0] in ("method", "metric"):
            values = values.where(kinds[owner[0]].astype(str) == owner[1], "")
        groups = values.groupby([kinds["method"], kinds["metric"], schemes], observed=True)
        # A key that says nothing that the ones before it have not said is left out.
        if (groups.nunique() > 1).any():
            schemes = schemes + np.where(
                values == "", "", np.where(schemes == "", "", ", ") + f"{key}=" + values
            )
    schemes = schemes.groupby([kinds["method"], kinds["metric"]], observed=True).transform(
        lambda part: part if part.nunique() > 1 else ""
    )
    kinds["scheme"] = schemes
    return scores.merge(kinds[["path", "method", "metric", "scheme"]], how="left")


def means(scores: pd.DataFrame, by: Sequence[str]) -> pd.DataFrame:
    """Means over images and seeds with their 95 % intervals.

    Args:
        scores: See `load`.
        by: Columns whose values are told apart; `stage` brings `layer` along. Without it, what is
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
            near = difflib.get_close_matches(name, known, 1)
            hint = f"; did you mean {near[0]}?" if near else ""
            short = ", ".join(c for c in known if "." not in c)
            raise ConfigError(
                f"--by {name} is no column of these runs{hint} (columns: {short}, and keys of the"
                " configuration)"
            )
    if "stage" in by and "layer" not in by:
        by.insert(by.index("stage") + 1, "layer")
    if "scheme" not in by and _mixed(scores, by, "scheme"):
        by = ["scheme", *by]
    for name in ("metric", "method"):
        if name not in by and _mixed(scores, by, name):
            raise ConfigError(f"--by must name {name}, of which there are several")
    staged = bool({"stage", "layer"} & set(by))
    keys = by[0] if len(by) == 1 else by
    rows = []
    for key, part in scores.groupby(keys, observed=True, sort=False):
        estimate = statistics.mean(_images_by_seeds(part, staged))
        values = key if isinstance(key, tuple) else (key,)
        rows.append(
            {
                **dict(zip(by, values, strict=True)),
                "mean": estimate.mean,
                "low": estimate.low,
                "high": estimate.high,
                "images": estimate.images,
                "seeds": estimate.seeds,
            }
        )
    table = pd.DataFrame(rows)
    # As the runs have them, one key after the other; stages by number.
    order = [table[k] if k == "stage" else pd.factorize(table[k].astype(str))[0] for k in by]
    return table.iloc[np.lexsort(order[::-1])].reset_index(drop=True)


def pivoted(table: pd.DataFrame, digits: int = 2) -> pd.DataFrame:
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
        names = shown["layer"].where(shown["layer"] != "", "original").astype(str)
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


def verdict_tables(
    paths: Sequence[str | Path], scores: pd.DataFrame, changes: dict[str, Any] | None = None
) -> dict[str, pd.DataFrame]:
    """The verdicts of each scheme, seeds together.

    Args:
        paths: Where the runs are.
        scores: See `load`.
        changes: Of the thresholds that the runs were made with.

    Raises:
        ConfigError: A threshold is out of range, or a metric cannot be made any more.
    """
    predictions = load_predictions(list(paths), status="completed")
    found = {}
    for scheme, part in scores.groupby("scheme", observed=True, sort=False):
        runs = [Path(path) for path in dict.fromkeys(part["path"].astype(str))]
        infos = [read_json(run / "run.json") or {} for run in runs]
        config = configuration(runs[0])
        made_with = make(Thresholds, config.get("verdict") or {}, "verdict")
        thresholds = make(
            Thresholds, {**(config.get("verdict") or {}), **(changes or {})}, "verdict"
        )
        names = list(dict.fromkeys(part["metric"].astype(str)))
        nodes: dict[str, Any] = {}
        targets: dict[str, str] = {}
        for run, info in zip(runs, infos, strict=True):
            nodes |= metric_nodes(run, info)
            methods = configuration(run).get("method") or {}
            targets |= {name: node.get("_target_", "") for name, node in methods.items()}
        metrics = {n: instantiate(nodes[n], f"metric.{n}") for n in names if n in nodes}
        controls = [n for n in dict.fromkeys(part["method"]) if is_control(n, targets.get(n, ""))]
        stored = [row for info in infos for row in info.get("calibration", [])]
        if thresholds != made_with:
            stored = []  # what a metric can tell depends on the threshold
        calibration = _calibration(runs[0], part, metrics, controls, stored, thresholds)
        seeds = part.drop_duplicates("path")
        alike = seeds["seed"].nunique() == len(seeds) if "seed" in seeds else False
        found[str(scheme)] = verdicts(
            part,
            predictions[predictions["path"].astype(str).isin([str(run) for run in runs])],
            {name: getattr(metric, "identity", None) for name, metric in metrics.items()},
            (config.get("randomization") or {}).get("order"),
            begins_at_output=_begins_at_output(infos[0], config),
            thresholds=thresholds,
            calibration=calibration,
            unrelated=unrelated(runs, _bounded(metrics)) if alike else None,
            controls=controls,
        )
    return found


def configuration(run: Path) -> dict[str, Any]:
    """A run's configuration.

    Raises:
        ConfigError: It is not there or damaged.
    """
    import yaml

    path = run / ".hydra" / "config.yaml"
    try:
        content = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, yaml.YAMLError) as error:
        raise ConfigError(f"{path} cannot be read, so {run} cannot be compared") from error
    return content if isinstance(content, dict) else {}


def _begins_at_output(info: dict[str, Any], config: dict[str, Any]) -> bool:
    """Whether a cascade begins with the network's last block, as far as a run says.

    Of a run made before this was recorded: unless the model's configuration lists blocks of which
    its first one is another.
    """
    if "begins_at_output" in info:
        return info["begins_at_output"]
    blocks, layers = (config.get("model") or {}).get("blocks") or [], info.get("layers", [])
    return not (layers[1:] and layers[1] in blocks[1:])


def metric_nodes(run: Path, info: dict[str, Any]) -> dict[str, Any]:
    """A run's metrics with their settings, those added by rescoring among them."""
    return {**(configuration(run).get("metric") or {}), **info.get("rescored", {})}


def differing_keys(a: Path, b: Path) -> list[tuple[str, str, str]]:
    """Key and both values, as JSON, "–" where there is no such key, of what differs."""
    left, right = flatten(configuration(a)), flatten(configuration(b))
    rows = []
    for key in dict.fromkeys([*left, *right]):
        old, new = (json.dumps(side[key]) if key in side else "–" for side in (left, right))
        if old != new:
            rows.append((key, old, new))
    return rows


def differences(a: Path, b: Path) -> pd.DataFrame:
    """How much the scores of two runs differ, b - a, one row a metric and method in both.

    Returns:
        Columns metric, method, mean (over randomized stages and images, of the difference), low,
        high, p (of no difference, corrected by Holm for the number of rows), largest (absolute
        difference of any one score), images.

    Raises:
        ConfigError: A run is not completed, or they share no scores.
    """
    keys = ["metric", "method", "image", "stage"]
    sides = [load([run])[[*keys, "value"]].astype({k: str for k in keys[:3]}) for run in (a, b)]
    both = sides[0].merge(sides[1], on=keys, suffixes=("_a", "_b"))
    if both.empty:
        raise ConfigError(f"{a} and {b} share no image, method, stage and metric")
    rows = []
    for (metric, method), part in both.groupby(["metric", "method"], sort=False):
        apart = (part["value_b"] - part["value_a"]).abs()
        later = part[part["stage"] > 0].groupby("image")[["value_a", "value_b"]].mean()
        estimate, p = statistics.difference(
            later["value_b"].to_numpy(), later["value_a"].to_numpy()
        )
        rows.append(
            (metric, method, estimate.mean, estimate.low, estimate.high, p, apart.max())
            + (estimate.images,)
        )
    columns = ["metric", "method", "mean", "low", "high", "p", "largest", "images"]
    table = pd.DataFrame(rows, columns=columns)
    table["p"] = statistics.holm(table["p"].tolist())
    return table


def _mixed(scores: pd.DataFrame, by: Sequence[str], name: str) -> bool:
    """Whether a group would hold several values of a column."""
    if not by:
        return scores[name].nunique() > 1
    return bool((scores.groupby(list(by), observed=True)[name].nunique() > 1).any())


def _images_by_seeds(part: pd.DataFrame, staged: bool) -> np.ndarray:
    """Scores of one method, metric and scheme, images × seeds."""
    seed = part["seed"].to_numpy() if "seed" in part else 0
    table = part[["stage", "value"]].assign(image=part["image"].astype(str), seed=seed)
    wide = table.pivot_table(
        index=["image", "seed"], columns="stage", values="value", dropna=False, aggfunc="first"
    )
    wide = wide.loc[~wide.index.duplicated()]
    if staged:
        each = wide.mean(axis=1, skipna=False)
    else:
        curves = wide.to_numpy()
        area = statistics.area(curves) if curves.shape[1] > 1 else curves[:, 0]
        each = pd.Series(area, index=wide.index)
    return each.unstack("seed").to_numpy()


def _bounded(metrics: dict[str, Any]) -> dict[str, Any]:
    """Those metrics whose scores can be held against a null, from masks alone."""
    return {
        name: metric
        for name, metric in metrics.items()
        if getattr(metric, "identity", None) is not None and not hasattr(metric, "of")
    }


def _calibration(
    run: Path,
    scores: pd.DataFrame,
    metrics: dict[str, Any],
    controls: Sequence[str],
    stored: list[dict[str, Any]],
    thresholds: Thresholds,
) -> pd.DataFrame | None:
    """What run.json has of it, the rest from the stored masks where there are any."""
    known = {(row["method"], row["metric"]) for row in stored}
    methods = [m for m in dict.fromkeys(scores["method"].astype(str)) if m not in controls]
    missing = {
        name: metric
        for name, metric in _bounded(metrics).items()
        if any((method, name) not in known for method in methods)
    }
    parts = [pd.DataFrame(stored)] if stored else []
    if missing and (run / "masks.zarr").exists():
        dataset = load_masks(run).isel(stage=0, image=slice(_CALIBRATED))
        names = dataset.image.values.tolist()
        masks = {m: dataset[m].values for m in methods if m in dataset.data_vars}
        parts.append(calibrate(masks, names, missing, thresholds))
    if not parts:
        return None
    return pd.concat(parts, ignore_index=True).drop_duplicates(["method", "metric"])
