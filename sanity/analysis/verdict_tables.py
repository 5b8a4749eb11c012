"""The verdicts of several runs, seeds together."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from sanity.analysis.discrimination import calibrate
from sanity.analysis.relative import unrelated
from sanity.analysis.thresholds import Thresholds
from sanity.analysis.verdicts import verdicts
from sanity.checked import instantiate, make
from sanity.files import read_json
from sanity.metrics import MaskMetric, as_metric
from sanity.results.load import load_masks, load_predictions
from sanity.results.recorded import begins_at_output, configuration, controls, metric_nodes

_CALIBRATED = 20  # images whose masks metrics are calibrated with, at the most


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
        known: set[str] = set()
        for run, info in zip(runs, infos, strict=True):
            nodes |= metric_nodes(run, info)
            known |= set(controls(info, configuration(run)))
        metrics = {
            name: as_metric(instantiate(nodes[name], f"metric.{name}"), f"metric.{name}")
            for name in names
            if name in nodes
        }
        passive = [name for name in dict.fromkeys(part["method"]) if name in known]
        stored = [row for info in infos for row in info.get("calibration", [])]
        if thresholds != made_with:
            stored = []  # what a metric can tell depends on the threshold
        calibration = _calibration(runs[0], part, metrics, passive, stored, thresholds)
        seeds = part.drop_duplicates("path")
        alike = seeds["seed"].nunique() == len(seeds) if "seed" in seeds else False
        found[str(scheme)] = verdicts(
            part,
            predictions[predictions["path"].astype(str).isin([str(run) for run in runs])],
            {name: metric.identity for name, metric in metrics.items()},
            (config.get("randomization") or {}).get("order"),
            begins_at_output=begins_at_output(infos[0], config),
            thresholds=thresholds,
            calibration=calibration,
            unrelated=unrelated(runs, _bounded(metrics)) if alike else None,
            controls=passive,
        )
    return found


def _bounded(metrics: dict[str, MaskMetric]) -> dict[str, MaskMetric]:
    """Those metrics whose scores can be held against a null, from masks alone."""
    return {
        name: metric
        for name, metric in metrics.items()
        if metric.identity is not None and not metric.needs_regions
    }


def _calibration(
    run: Path,
    scores: pd.DataFrame,
    metrics: dict[str, MaskMetric],
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
