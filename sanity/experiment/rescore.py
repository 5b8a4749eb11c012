"""Scores from stored masks: checks those of a run, and adds new metrics to it."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from sanity.analysis.health import unsound
from sanity.arguments import in_list
from sanity.config.job import compose
from sanity.errors import ConfigError
from sanity.experiment.references import read_references
from sanity.files import FolderLock, now, read_json, write_json
from sanity.metrics import MaskMetric, check_sizes
from sanity.metrics.recorded import Recorded
from sanity.metrics.scoring import Scorer
from sanity.results.columns import config_columns, flatten
from sanity.results.load import load_masks, load_predictions
from sanity.results.masks import layout_of
from sanity.results.recorded import configuration, metric_nodes
from sanity.results.tables import SCORES, arrow_schema, mark, read_table, write_table

_GROUP = 8  # images whose masks are held at a time
_EQUAL = 1e-9  # what another machine's arithmetic may change in a score


def chosen_metrics(
    overrides: Sequence[str], config_dir: str | None = None
) -> tuple[dict[str, Any], dict[str, Any]]:
    """The metrics that overrides such as `metric=[mse]` choose, and their settings, by name.

    Args:
        overrides: As on the command line; a name alone, `mse`, chooses that metric.
        config_dir: A folder of YAMLs of one's own.

    Raises:
        ConfigError: They are wrong, or override something else.
    """
    named = [name for text in overrides if "=" not in text for name in in_list(text)]
    overrides = [text for text in overrides if "=" in text]
    if named and any(text.startswith("metric=") for text in overrides):
        raise ConfigError(f"--rescore {named[0]} belongs into the list of metric=[…]")
    if named:
        overrides = [f"metric=[{','.join(named)}]", *overrides]
    for override in overrides:
        key = override.lstrip("+~").split("=", 1)[0]
        if key.split(".")[0] != "metric":
            raise ConfigError(
                f"--rescore {override} must be a metric's name, metric=[…] or metric.NAME.KEY=…"
            )
    job = compose(overrides, config_dir)
    for name, metric in job.metrics.items():
        if metric.needs_regions:
            raise ConfigError(f"--rescore cannot compute metric.{name}, which needs the images")
    return job.metrics, job.config["metric"]


def rescore(run: Path, metrics: dict[str, Any], nodes: dict[str, Any]) -> pd.DataFrame:
    """Computes scores from a run's masks; adds those of metrics that it does not have.

    The file is replaced at once, under the run's lock; scores that are there are left as they are.

    Args:
        run: Folder of a completed run with stored masks.
        metrics: By name.
        nodes: Their settings, as in a configuration.

    Returns:
        Columns metric, rows (computed), added (bool), largest (absolute difference from a stored
        score, 0 if all are equal; infinite if one of two is missing; NaN if there were none).

    Raises:
        ConfigError: The run is not completed, has no masks, or has a metric of the same name with
            other settings; or something is damaged or in use.
    """
    run = run.absolute()
    lock = FolderLock(run)
    lock.acquire(wait=False)
    try:
        info = read_json(run / "run.json")
        if info is None or info.get("status") != "completed":
            raise ConfigError(f"{run} is not completed, so it cannot be rescored")
        known = metric_nodes(run, info)
        for name, node in nodes.items():
            if name in known and flatten(known[name]) != flatten(node):
                changed = [k for k, v in flatten(node).items() if flatten(known[name]).get(k) != v]
                raise ConfigError(
                    f"{run} has metric.{name} with another {', '.join(changed) or 'set of keys'};"
                    f" give the new one another name: '+metric.NAME={{_target_: …}}'"
                )
        stored = read_table(run / "scores.parquet", SCORES).to_pandas()
        found = compute_scores(run, stored, metrics)
        new = [name for name in metrics if name not in known]
        if new:
            added = found[found["metric"].isin(new)]
            _add(run, info, stored, added, {name: (metrics[name], nodes[name]) for name in new})
    finally:
        lock.release()
    rows = []
    for name in metrics:
        mine = found[found["metric"] == name]
        largest = np.nan if name in new else _largest(stored, mine)
        rows.append((name, len(mine), name in new, largest))
    return pd.DataFrame(rows, columns=["metric", "rows", "added", "largest"])


def compute_scores(run: Path, stored: pd.DataFrame, metrics: dict[str, Any]) -> pd.DataFrame:
    """The scores of the images whose masks are stored, as in scores.parquet.

    Nulls are those of the run, from the masks of other images stored beside it; where there are
    none, as in runs of former versions, they are NaN.
    """
    dataset = load_masks(run)
    config = configuration(run)
    names = list(dict.fromkeys(stored["image"]))
    kept = dataset.image.values.tolist()
    if names[: len(kept)] != kept:
        raise ConfigError(f"{run}: masks.zarr and scores.parquet are not of the same images")
    # In the order of the run: that of a store's variables is the disk's, and changes.
    methods = [str(m) for m in dict.fromkeys(stored["method"]) if m in dataset.data_vars]
    shapes = {m: dataset[m].shape[2:] for m in methods}
    layout_of(names, [], shapes)
    for shape in shapes.values():
        check_sizes(metrics, shape)
    classes = stored.drop_duplicates(["stage", "image"]).set_index(["stage", "image"])["target"]
    null = config.get("null_model", "other_image")
    scorer = Scorer(metrics, names, null, references=read_references(run))
    parts = []
    for start in range(0, len(kept), _GROUP):
        group = range(start, min(start + _GROUP, len(kept)))
        for stage, layer in enumerate(dataset.layer.values.tolist()):
            chosen = dataset.isel(stage=stage)
            masks = {m: chosen[m][group.start : group.stop].values for m in shapes}
            targets = classes[[(stage, names[i]) for i in group]].to_numpy()
            parts.append(scorer.score(group, stage, layer, masks, targets))
    return pd.concat(parts, ignore_index=True)


def _add(
    run: Path,
    info: dict[str, Any],
    stored: pd.DataFrame,
    rows: pd.DataFrame,
    added: dict[str, tuple[MaskMetric, Any]],
) -> None:
    """Scores first: without a record in run.json they are replaced the next time."""
    import pyarrow as pa

    nodes = {name: node for name, (_, node) in added.items()}
    recorded = {name: Recorded.of(metric).values() for name, (metric, _) in added.items()}
    old = stored[~stored["metric"].isin(list(nodes))]
    together = pd.concat([old, rows[list(SCORES)]], ignore_index=True)
    schema = arrow_schema(SCORES)
    table = mark(pa.Table.from_pandas(together, schema, preserve_index=False), _distrusted(run))
    write_table(run / "scores.parquet", table)
    columns = config_columns({"metric": nodes}, None)
    info = {
        **info,
        "columns": {**info.get("columns", {}), **columns},
        "metrics": {**info.get("metrics", {}), **recorded},
        "rescored": {**info.get("rescored", {}), **nodes},
        "rescored_at": now(),
        "rows": table.num_rows,
    }
    write_json(run / "run.json", info)


def _distrusted(run: Path) -> dict[int, str]:
    """By stage, why its scores are none of its network, as the run itself marked its own."""
    said = load_predictions(run)
    stages = said["stage"].unique().tolist()
    return {k: reason for k in stages if (reason := unsound(said[said["stage"] == k]))}


def _largest(stored: pd.DataFrame, found: pd.DataFrame) -> float:
    """The largest difference of value or null; what is NaN in both is equal."""
    keys = ["image", "method", "stage", "metric"]
    both = found.merge(stored, on=keys, suffixes=("", "_stored"), how="left")
    apart = [0.0]
    for column in ("value", "null"):
        new, old = both[column].to_numpy(float), both[f"{column}_stored"].to_numpy(float)
        if column == "null" and (np.isnan(old).all() or np.isnan(new).any()):
            # Runs without nulls, or with masks of the first images only.
            new = np.where(np.isnan(new) | np.isnan(old), old, new)
        difference = np.where(np.isnan(new) & np.isnan(old), 0, np.abs(new - old))
        apart.append(float(np.where(np.isnan(difference), np.inf, difference).max(initial=0)))
    return max(apart)
