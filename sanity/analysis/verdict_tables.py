"""The verdicts of several runs, seeds together."""

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from sanity.analysis.discrimination import discrimination
from sanity.analysis.relative import unrelated
from sanity.analysis.thresholds import Thresholds
from sanity.analysis.verdicts import Measured, verdicts
from sanity.checked import make
from sanity.files import read_json
from sanity.metrics import MaskMetric
from sanity.metrics.recorded import Recorded, read_recorded, remake
from sanity.results.load import load_masks, load_predictions
from sanity.results.recorded import (
    begins_at_output,
    blends,
    blocks,
    configuration,
    controls,
    metric_nodes,
    order_of,
)

log = logging.getLogger(__name__)

MOST_BLENDED = 20  # images whose masks tell whether metrics discriminate, at the most


@dataclass(frozen=True)
class Evidence:
    """What the verdicts of runs of one scheme are made from.

    Attributes:
        scores: Theirs, see `analysis.schemes`.
        predictions: Theirs.
        metrics: What is known of each, by name.
        config: Of the first run.
        order: In which blocks are randomized, see `verdicts`.
        begins_at_output: See `verdicts`.
        discrimination: See `verdicts`.
        unrelated: See `verdicts`.
        controls: See `verdicts`.
        survives: See `verdicts`.
    """

    scores: pd.DataFrame
    predictions: pd.DataFrame
    metrics: dict[str, Recorded]
    config: dict[str, Any]
    order: str | None
    begins_at_output: bool
    discrimination: pd.DataFrame | None
    unrelated: pd.DataFrame | None
    controls: list[str]
    survives: Mapping[str, Any] | None = None

    def thresholds(self, changes: Mapping[str, Any] | None = None) -> Thresholds:
        """Those that the runs were made with, changed.

        Raises:
            ConfigError: One is out of range.
        """
        own = self.config.get("verdict") or {}
        return make(Thresholds, {**own, **(changes or {})}, "verdict")

    def verdicts(
        self, changes: Mapping[str, Any] | None = None, measured: Measured | None = None
    ) -> pd.DataFrame:
        """See `analysis.verdicts.verdicts`.

        Args:
            changes: Of the thresholds that the runs were made with.
            measured: By other thresholds.

        Raises:
            ConfigError: A threshold is out of range, or the primary metric is none of these.
        """
        return verdicts(
            self.scores,
            self.predictions,
            self.metrics,
            self.order,
            begins_at_output=self.begins_at_output,
            thresholds=self.thresholds(changes),
            discrimination=self.discrimination,
            unrelated=self.unrelated,
            controls=self.controls,
            survives=self.survives,
            measured=measured,
        )


def verdict_tables(
    paths: Sequence[str | Path], scores: pd.DataFrame, changes: Mapping[str, Any] | None = None
) -> dict[str, pd.DataFrame]:
    """The verdicts of each scheme, seeds together.

    Args:
        paths: Where the runs are.
        scores: See `analysis.schemes`; all that the runs have, since verdicts are corrected for
            how many methods there are.
        changes: Of the thresholds that the runs were made with.

    Raises:
        ConfigError: See `Evidence.verdicts`; or a metric cannot be made any more.
    """
    return {scheme: one.verdicts(changes) for scheme, one in evidence(paths, scores).items()}


def evidence(
    paths: Sequence[str | Path], scores: pd.DataFrame, *, trust: bool = False
) -> dict[str, Evidence]:
    """What the verdicts of each scheme are made from.

    What a metric is comes from run.json. Only what runs do not hold, whether metrics discriminate
    and what masks of unrelated networks have in common, is computed here, by metrics made anew.

    Args:
        paths: Where the runs are.
        scores: See `analysis.schemes`.
        trust: Whether to make metrics that are not this package's, which runs their code.

    Raises:
        ConfigError: A metric cannot be made any more.
    """
    predictions = load_predictions(list(paths), status="completed", categories=True)
    found = {}
    foreign: dict[str, Any] = {}
    for scheme, part in scores.groupby("scheme", observed=True, sort=False):
        runs = [Path(path) for path in dict.fromkeys(part["path"].astype(str))]
        infos = [read_json(run / "run.json") or {} for run in runs]
        config = configuration(runs[0])
        _say_thresholds(runs, str(scheme))
        _say_unknown(runs)
        names = list(dict.fromkeys(part["metric"].astype(str)))
        nodes: dict[str, Any] = {}
        passive: set[str] = set()
        for run, info in zip(runs, infos, strict=True):
            nodes |= metric_nodes(run, info)
            passive |= set(controls(info, configuration(run)))
        recorded = {
            name: values
            for name in names
            if (values := _recorded(name, infos, nodes.get(name))) is not None
        }
        metrics, others = _remade(names, nodes, recorded, trust)
        if trust:
            recorded = {name: Recorded.of(metric) for name, metric in metrics.items()} | recorded
        foreign |= others
        mine = [name for name in dict.fromkeys(part["method"].astype(str)) if name in passive]
        stored = [row for info in infos for row in blends(info)]
        seeds = part.drop_duplicates("path")
        draws = seeds["seed"].nunique() == len(seeds) if "seed" in seeds else False
        final = draws and all(map(wholly_random, infos))
        found[str(scheme)] = Evidence(
            part,
            predictions[predictions["path"].astype(str).isin([str(run) for run in runs])],
            recorded,
            config,
            order_of(infos[0], config),
            begins_at_output(infos[0], config),
            _discrimination(runs[0], part, metrics, mine, stored),
            unrelated(runs, metrics) if final else None,
            mine,
            infos[0].get("survives"),
        )
    for name, target in foreign.items():
        log.warning(
            "metric.%s is made by %s, which is none of sanity's and is not run: nothing new is "
            "computed with it (--trust runs the code that results name)",
            name,
            target,
        )
    return found


def _say_thresholds(runs: Sequence[Path], scheme: str) -> None:
    """Warns where runs that are judged together were made with other thresholds."""
    own = [configuration(run).get("verdict") or {} for run in runs]
    keys = [key for key in own[0] if any(one.get(key) != own[0][key] for one in own)]
    if keys:
        said = " ".join(f"{key}={own[0][key]}" for key in keys)
        log.warning(
            "runs%s were made with other verdict thresholds: together they are judged by those of "
            "%s, %s (--verdict %s, with other values, takes others)",
            f" of {scheme}" if scheme else "",
            runs[0],
            said,
            said,
        )


def _say_unknown(runs: Sequence[Path]) -> None:
    """Warns where nothing is known of networks that verdicts take to be alive."""
    silent = [run for run in runs if not (run / "predictions.parquet").exists()]
    if silent:
        log.warning(
            "%s has no predictions: whether its networks are dead, so that masks say nothing, is "
            "not known",
            silent[0],
        )


def wholly_random(info: Mapping[str, Any]) -> bool:
    """Whether most of each block's parameters are random at the last stage, as far as a run says.

    Else networks of different draws share what was trained, and are not unrelated.
    """
    known = [block for block in blocks(info) if block["parameters"]]
    return all(2 * block["randomized"][-1] > block["parameters"] for block in known)


def _recorded(name: str, infos: Sequence[dict[str, Any]], node: Any) -> Recorded | None:
    """What the first run that tells says of a metric."""
    key = f"metric.{name}"
    for info in infos:
        values = info.get("metrics")
        if isinstance(values, dict) and name in values:
            return read_recorded(values[name], node, key)
    return read_recorded(None, node, key)


def _remade(
    names: Sequence[str], nodes: dict[str, Any], recorded: dict[str, Recorded], trust: bool
) -> tuple[dict[str, MaskMetric], dict[str, Any]]:
    """The metrics whose scores can be held against a null, from masks alone.

    And the `_target_`s of those that would have to be trusted.
    """
    found: dict[str, MaskMetric] = {}
    foreign: dict[str, Any] = {}
    for name in names:
        node, known = nodes.get(name), recorded.get(name)
        if not isinstance(node, dict) or (
            known and (known.needs_regions or known.identity is None)
        ):
            continue
        metric = remake(node, f"metric.{name}", trust=trust)
        if metric is None:
            foreign[name] = node.get("_target_")
        elif metric.identity is not None and not metric.needs_regions:
            found[name] = metric
    return found, foreign


def _discrimination(
    run: Path,
    scores: pd.DataFrame,
    metrics: dict[str, MaskMetric],
    controls: Sequence[str],
    stored: list[dict[str, Any]],
) -> pd.DataFrame | None:
    """What run.json has of it, the rest from the stored masks where there are any."""
    known = {(row["method"], row["metric"]) for row in stored}
    methods = [m for m in dict.fromkeys(scores["method"].astype(str)) if m not in controls]
    missing = {
        name: metric
        for name, metric in metrics.items()
        if any((method, name) not in known for method in methods)
    }
    parts = [pd.DataFrame(stored)] if stored else []
    if missing and (run / "masks.zarr").exists():
        dataset = load_masks(run).isel(stage=0, image=slice(MOST_BLENDED))
        names = dataset.image.values.tolist()
        masks = {m: dataset[m].values for m in methods if m in dataset.data_vars}
        parts.append(discrimination(masks, names, missing))
    if not parts:
        return None
    return pd.concat(parts, ignore_index=True).drop_duplicates(["method", "metric"])
