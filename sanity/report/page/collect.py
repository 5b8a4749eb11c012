"""What a page shows, from run folders, as plain lists and dicts."""

import warnings
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import zip_longest
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from sanity.analysis import intervals
from sanity.analysis.health import complaint
from sanity.analysis.schemes import differing
from sanity.analysis.thresholds import Thresholds
from sanity.analysis.wording import records
from sanity.files import read_json
from sanity.report.page import tiles
from sanity.report.summary import missing
from sanity.results import recorded
from sanity.results.columns import counts
from sanity.results.load import load_images, load_masks, load_predictions
from sanity.results.recorded import configuration

MOST_ROWS = 40_000  # scores that a page carries one by one; beyond, their means alone
_SEPARATE = 60  # runs up to which each has its own curves beside those of its group


@dataclass
class Run:
    """A completed run.

    Attributes:
        path: Its folder.
        info: What run.json says.
        config: The configuration.
        values: The configuration's columns, as in `load_runs`.
    """

    path: Path
    info: dict[str, Any]
    config: dict[str, Any]
    values: dict[str, Any] = field(default_factory=dict)

    @classmethod
    def read(cls, path: Path) -> "Run":
        """What there is to know of a run without its results."""
        info = read_json(path / "run.json") or {}
        values = dict(info.get("columns", {}))
        # Runs of different blocks do not belong together; in random order seeds differ in theirs.
        stages = [layer for layer in info.get("layers", [])[1:] if layer]
        values["blocks"] = ", ".join(sorted(stages))
        return cls(path, info, configuration(path), values)

    @property
    def shown(self) -> dict[str, Any]:
        """The values that set runs apart, or are worth saying."""
        return {key: value for key, value in self.values.items() if counts(key).shown}

    @property
    def seed(self) -> Any:
        """The seed, 0 where there is none."""
        return self.values.get("seed", 0)

    def thresholds(self, changes: Mapping[str, float] | None) -> dict[str, Any]:
        """That its verdicts are made by."""
        return {**vars(Thresholds()), **(self.config.get("verdict") or {}), **(changes or {})}

    @property
    def layers(self) -> list[str]:
        """The block randomized at each stage, "" at stage 0."""
        return list(self.info.get("layers", []))


def groups(
    runs: Sequence[Run], differ: Mapping[str, list[str]]
) -> dict[tuple[str, ...], list[int]]:
    """The runs that differ in draws and parts of the images alone, by their other values."""
    found: dict[tuple[str, ...], list[int]] = {}
    for number in range(len(runs)):
        found.setdefault(tuple(differ[key][number] for key in differ), []).append(number)
    return found


def curves(
    scores: pd.DataFrame, seeds: pd.Series, metrics: Sequence[str], methods: Sequence[str], n: int
) -> dict[str, dict[str, dict[str, list[Any]]]]:
    """Means over images and seeds with their 95 % intervals (`analysis.intervals`), by stage.

    Args:
        scores: As in scores.parquet, of runs that differ in their seed and their images alone.
        seeds: Of each row.
        metrics: Whose curves.
        methods: Whose curves.
        n: How many stages.

    Returns:
        By metric and method: lists by stage of mean, low, high, null (its mean), images (that have
        a value in all seeds) and missing (scores that are not finite).
    """
    codes = [
        _codes(scores["metric"], metrics),
        _codes(scores["method"], methods),
        scores["stage"].to_numpy(),
        pd.factorize(scores["image"].astype(str))[0],
        pd.factorize(seeds)[0],
    ]
    known = (codes[0] >= 0) & (codes[1] >= 0)
    where: tuple[Any, ...] = tuple(c[known][::-1] for c in codes)  # of doubles, the first counts
    shape = (len(metrics), len(methods), n, *(int(code.max(initial=-1)) + 1 for code in codes[3:]))
    table = np.full((3, *shape), np.nan)  # value, null, whether there is a row
    value = scores["value"].to_numpy(float)[known][::-1]
    table[0][where] = np.where(np.isfinite(value), value, np.nan)
    table[1][where] = scores["null"].to_numpy(float)[known][::-1]
    table[2][where] = 1
    found: dict[str, dict[str, dict[str, list[Any]]]] = {}
    for i, metric in enumerate(metrics):
        for j, method in enumerate(methods):
            values, nulls, there = table[:, i, j]
            if np.isnan(there).all():
                continue
            scales = [None, *(intervals.scale(nulls[k], values[0]) for k in range(1, n))]
            means = [intervals.mean(values[k], scales[k]) for k in range(n)]
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", RuntimeWarning)  # of stages without a null
                null = np.nanmean(nulls, axis=(1, 2))
            missing = (there == 1) & np.isnan(values)
            found.setdefault(metric, {})[method] = {
                "mean": [one.mean for one in means],
                "low": [one.low for one in means],
                "high": [one.high for one in means],
                "null": null.tolist(),
                "images": [one.images for one in means],
                "missing": missing.sum(axis=(1, 2)).tolist(),
            }
    return found


def collect(
    scores: pd.DataFrame,
    verdicts: Mapping[str, pd.DataFrame] | None = None,
    thresholds: Mapping[str, float] | None = None,
) -> dict[str, Any]:
    """Everything that a page shows.

    Args:
        scores: See `analysis.schemes`; perhaps not all metrics and methods.
        verdicts: By scheme, see `analysis.verdict_tables`; without, those in run.json.
        thresholds: That verdicts were made by, where they are not the runs' own.
    """
    paths = list(dict.fromkeys(scores["path"].astype(str)))
    runs = [Run.read(Path(path)) for path in paths]
    number = scores["path"].astype(str).map({path: i for i, path in enumerate(paths)}).to_numpy()
    metrics, methods = (_names(scores[key]) for key in ("metric", "method"))
    known = {name for run in runs for name in recorded.controls(run.info, run.config)}
    controls = [name for name in methods if name in known]
    methods = controls + [name for name in methods if name not in controls]
    # A key that sets schemes apart counts though a seed may say the same.
    apart = differing(
        [{key: value for key, value in run.shown.items() if counts(key).scheme} for run in runs]
    )
    differ = {**differing([run.shown for run in runs]), **apart}
    seeds = pd.Series([str(run.seed) for run in runs])
    predictions = load_predictions(paths, status="completed", categories=True)
    of_run = predictions["path"].astype(str)
    shown_runs = [
        _run(
            run,
            predictions[of_run == path],
            {key: differ[key][i] for key in differ},
            run.thresholds(thresholds)["dead"],
        )
        for i, (run, path) in enumerate(zip(runs, paths, strict=True))
    ]
    carried = _masks(runs, shown_runs, methods)
    shown_groups: list[dict[str, Any]] = []
    for values, members in groups(runs, apart).items():
        chosen = np.isin(number, members)
        part, of_part = scores[chosen], number[chosen]
        first = runs[members[0]]
        layers = _common([runs[i].layers or _layers(part) for i in members])
        label = ", ".join(f"{key}={value}" for key, value in zip(apart, values, strict=True))
        own_metrics, own_methods = (_names(part[key]) for key in ("metric", "method"))
        n = len(layers)
        group = {
            "label": label,
            "values": dict(zip(apart, values, strict=True)),
            "layers": layers,
            "runs": members,
            "seeds": list(dict.fromkeys(seeds[i] for i in members)),
            "order": recorded.order_of(first.info, first.config),
            "thresholds": first.thresholds(thresholds),
            "missing": missing(part),
            "curves": curves(part, seeds[of_part], own_metrics, own_methods, n),
            "verdicts": _verdicts(part, [runs[i] for i in members], verdicts),
        }
        if len(members) > 1 and len(runs) <= _SEPARATE:
            for i in members:
                own = part[of_part == i]
                shown_runs[i]["curves"] = curves(
                    own, seeds[[i] * len(own)], own_metrics, own_methods, n
                )
        for i in members:
            shown_runs[i]["group"] = len(shown_groups)
        shown_groups.append(group)
    return {
        "methods": methods,
        "controls": controls,
        "metrics": metrics,
        "differ": {key: list(dict.fromkeys(values)) for key, values in differ.items()},
        "groups": shown_groups,
        "runs": shown_runs,
        "rows": _rows(scores, number, methods, metrics),
        "n_rows": len(scores),
        "images": scores["image"].nunique(),
        "carried": carried,
    }


def _codes(column: pd.Series, names: Sequence[str]) -> np.ndarray:
    """The number of each value in the names, -1 for others."""
    return pd.Index(names).get_indexer(pd.Index(column.astype(str)))


def _names(column: pd.Series) -> list[str]:
    return [str(name) for name in dict.fromkeys(column)]


def _common(layers: Sequence[list[str]]) -> list[str]:
    """The block of each stage, "several" where runs differ, as in orders drawn by the seed."""
    by_stage = zip_longest(*layers, fillvalue="")
    return [names[0] if len(set(names)) == 1 else "several" for names in by_stage]


def _layers(scores: pd.DataFrame) -> list[str]:
    """From the scores, where run.json does not have them."""
    found = scores.drop_duplicates("stage").set_index("stage")["layer"].astype(str)
    found = found.where(found.index > 0, "")
    return found.reindex(range(int(scores["stage"].max()) + 1), fill_value="").tolist()


def _verdicts(
    scores: pd.DataFrame, runs: Sequence[Run], verdicts: Mapping[str, pd.DataFrame] | None
) -> list[dict[str, Any]]:
    """A row a method and metric of one group."""
    said = scores.drop_duplicates(["method", "metric"])[["method", "metric", "scheme"]]
    wanted = {(m, k): scheme for m, k, scheme in said.astype(str).to_numpy().tolist()}
    if verdicts is None:
        rows = [row for run in runs for row in run.info.get("verdicts", [])]
        return [row for row in rows if (row["method"], row["metric"]) in wanted]
    found = []
    for scheme, table in verdicts.items():
        pairs = zip(table["method"], table["metric"], strict=True)
        chosen = [wanted.get(pair) == scheme for pair in pairs]
        found += records(table[chosen])
    return found


def _run(
    run: Run, predictions: pd.DataFrame, values: dict[str, str], dead: float
) -> dict[str, Any]:
    """What is shown of a run beside scores and masks."""
    complaints = []
    shares = []
    for _, part in predictions.groupby("stage"):
        complaints.append(complaint(part, dead) or "")
        shares.append(float(part["between_share"].iloc[0]))
    classes = {}
    for number, name in zip(predictions["predicted"], predictions["predicted_name"], strict=True):
        classes[int(number)] = str(name)
    return {
        "id": str(run.info.get("run", run.path.name)),
        "path": str(run.path),
        "values": values,
        "blocks": run.info.get("blocks") or _blocks(run),
        "layers": run.layers,
        "shares": shares,
        "complaints": complaints,
        "classes": classes,
        "pictures": [],
    }


def _blocks(run: Run) -> list[dict[str, Any]]:
    """Of a run that did not record its blocks: without numbers, as its order has them."""
    order = (run.config.get("randomization") or {}).get("order", "")
    stays = order.startswith(("cascading", "random"))
    layers = [layer for layer in run.layers if layer]
    names = list(dict.fromkeys(layers))
    blocks = []
    for name in names:
        at = [stage for stage, layer in enumerate(run.layers) if layer == name]
        stages = range(len(run.layers))
        changed = [int(stage in at or (stays and stage > at[0])) for stage in stages]
        blocks.append({"name": name, "parameters": None, "randomized": changed})
    return blocks


def _masks(
    runs: Sequence[Run], shown: list[dict[str, Any]], methods: Sequence[str]
) -> dict[str, Any]:
    """Adds to each run its images' masks, predictions and photographs; says how many there are."""
    stores, wanted = [], []
    for number, run in enumerate(runs):
        if not (run.path / "masks.zarr").exists():
            continue
        dataset = load_masks(run.path)
        names = [name for name in methods if name in dataset.data_vars]
        if not names or not dataset.sizes["image"]:
            continue
        shape = dataset[names[0]].shape[2:4]
        stores.append((number, dataset, names))
        sizes = dataset.sizes
        wanted.append(tiles.share(sizes["image"], sizes["stage"], len(names), shape))
    shares = tiles.fit(wanted)
    for (number, dataset, names), part in zip(stores, shares, strict=False):
        photographs = load_images(runs[number].path)
        predictions = load_predictions(runs[number].path)
        masks = [str(name) for name in dataset.image.values[: part.images]]
        for index, image in enumerate(masks):
            sprites = {}
            for name in names:
                stack = (dataset[name].isel(image=index, stage=k).values for k in part.stages)
                png, special = tiles.sprite(stack, part.size)
                sprites[name] = {"png": png, "special": special}
            picture = photographs.get(image)
            shown[number]["pictures"].append(
                {
                    "image": image,
                    "photo": None if picture is None else tiles.photograph(picture),
                    "masks": sprites,
                    "predictions": _predictions(predictions, image),
                }
            )
        shown[number] |= {
            "stages": part.stages,
            "size": list(part.size),
            "stored": dataset.sizes["image"],
            "shape": list(dataset[names[0]].shape[2:4]),
        }
    return {"runs": len(shares), "of": len(wanted)}


def _predictions(predictions: pd.DataFrame, image: str) -> list[list[Any]]:
    """Of an image: stage, class predicted, its probability, class explained, its probability."""
    columns = ["stage", "predicted", "probability", "target", "target_probability"]
    rows = predictions.loc[predictions["image"] == image, columns].sort_values("stage")
    return [list(row) for row in rows.itertuples(index=False, name=None)]


def _rows(
    scores: pd.DataFrame, number: np.ndarray, methods: Sequence[str], metrics: Sequence[str]
) -> dict[str, Any] | None:
    """All scores, column by column, None where there are too many."""
    if len(scores) > MOST_ROWS:
        return None
    images = _names(scores["image"])
    reasons = scores["reason"].astype(object).where(scores["reason"].notna(), "").astype(str)
    names = list(dict.fromkeys(reasons))
    return {
        "images": images,
        "reasons": names,
        "run": number.tolist(),
        "image": _codes(scores["image"], images).tolist(),
        "method": _codes(scores["method"], methods).tolist(),
        "metric": _codes(scores["metric"], metrics).tolist(),
        "stage": scores["stage"].tolist(),
        "value": scores["value"].tolist(),
        "null": scores["null"].tolist(),
        "reason": _codes(reasons, names).tolist(),
    }


def spans(numbers: Iterable[int]) -> str:
    """Numbers in words: `1, 4–7`."""
    found: list[list[int]] = []
    for number in sorted(numbers):
        if found and number == found[-1][1] + 1:
            found[-1][1] = number
        else:
            found.append([number, number])
    return ", ".join(f"{a}" if a == b else f"{a}–{b}" for a, b in found)
