"""What a page shows, from run folders; `data` says field by field what that is."""

from collections.abc import Iterable, Mapping, Sequence
from itertools import zip_longest
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from sanity.analysis.health import complaint, outlives, survival
from sanity.analysis.schemes import differing
from sanity.analysis.settling import settling
from sanity.analysis.verdicts import CASCADE, early_stages
from sanity.analysis.wording import records, word
from sanity.metrics.recorded import read_recorded
from sanity.report.page.data import Group, Metric, Page, RunData
from sanity.report.page.estimates import Table, code
from sanity.report.page.pictures import add_pictures, choose
from sanity.report.page.run import Run, groups
from sanity.report.summary import missing
from sanity.results import recorded
from sanity.results.columns import counts
from sanity.results.load import load_predictions

MOST_ROWS = 40_000  # scores that a page carries one by one; beyond, their means alone
_SEPARATE = 60  # runs up to which each has its own curves beside those of its group


def collect(
    scores: pd.DataFrame,
    verdicts: Mapping[str, pd.DataFrame] | None = None,
    thresholds: Mapping[str, float] | None = None,
) -> Page:
    """Everything that a page shows.

    Args:
        scores: See `analysis.schemes`; perhaps not all metrics and methods.
        verdicts: By scheme, see `analysis.verdict_tables`; without, those in run.json.
        thresholds: That verdicts were made by, where they are not the runs' own.
    """
    paths = list(dict.fromkeys(scores["path"].astype(str)))
    runs = [Run.read(Path(path)) for path in paths]
    number = scores["path"].astype(str).map({path: i for i, path in enumerate(paths)}).to_numpy()
    methods, controls = _methods(scores, runs)
    # A key that sets schemes apart counts though a seed may say the same.
    apart = differing(
        [{key: value for key, value in run.shown.items() if counts(key).scheme} for run in runs],
        [run.info for run in runs],
    )
    differ = {**differing([run.shown for run in runs]), **apart}
    shown_runs = _runs(runs, {key: differ[key] for key in differ}, thresholds)
    metrics = _metrics(_names(scores["metric"]), runs)
    shown_groups: list[Group] = []
    for values, members in groups(runs, apart).items():
        for i in members:
            shown_runs[i]["group"] = len(shown_groups)
        chosen = np.isin(number, members)
        labels = dict(zip(apart, values, strict=True))
        part, of_part = scores[chosen], number[chosen]
        found = _verdicts(part, [runs[i] for i in members], verdicts)
        group = _group(part, of_part, runs, members, metrics, labels, thresholds, found)
        shown_groups.append(group)
        if len(members) > 1 and len(runs) <= _SEPARATE:
            for i in members:
                own = part[of_part == i]
                shown_runs[i]["curves"] = _table(own, [runs[i]], np.zeros(len(own), int)).curves()
    metrics = _primary_first(metrics, shown_groups)
    roles = []
    for one in shown_runs:
        group = shown_groups[one["group"]]
        each = group["each"].get(deciding(group["verdicts"], metrics[0]["name"]), {})
        judged = {name: each[name] for name in each if name not in controls}
        roles.append(choose(judged, group["images"]))
    carried = add_pictures(runs, shown_runs, methods, roles)
    return {
        "methods": methods,
        "controls": controls,
        "metrics": metrics,
        "differ": {key: list(dict.fromkeys(values)) for key, values in differ.items()},
        "groups": shown_groups,
        "runs": shown_runs,
        "rows": _rows(scores, number, methods, [metric["name"] for metric in metrics]),
        "n_rows": len(scores),
        "images": scores["image"].nunique(),
        "carried": carried,
    }


def _names(column: pd.Series) -> list[str]:
    return [str(name) for name in dict.fromkeys(column)]


def _methods(scores: pd.DataFrame, runs: Sequence[Run]) -> tuple[list[str], list[str]]:
    """All methods, controls last; and the controls."""
    known = {name for run in runs for name in recorded.controls(run.info, run.config)}
    methods = _names(scores["method"])
    controls = [name for name in methods if name in known]
    return [name for name in methods if name not in controls] + controls, controls


def _metrics(names: Sequence[str], runs: Sequence[Run]) -> list[Metric]:
    """What the first run that tells says of each; who decides is not known yet."""
    found: list[Metric] = []
    for name in names:
        known = None
        for run in runs:
            stored = run.info.get("metrics")
            values = stored.get(name) if isinstance(stored, dict) else None
            node = recorded.metric_nodes(run.path, run.info).get(name)
            known = known or read_recorded(values, node, f"metric.{name}")
        found.append(
            {
                "name": name,
                "identity": known.identity if known else None,
                "unrelated": known.unrelated if known else None,
                "speaks_for": (known and known.speaks_for) or "",
                "primary": False,
            }
        )
    return found


def deciding(verdicts: Sequence[Mapping[str, Any]], otherwise: str) -> str:
    """The metric that a group's verdicts are made by; groups may have several."""
    return next((row["metric"] for row in verdicts if row.get("primary")), otherwise)


def _primary_first(metrics: list[Metric], shown: Sequence[Group]) -> list[Metric]:
    """The metrics, of which those that verdicts of any group are made by come first."""
    deciding = {row["metric"] for group in shown for row in group["verdicts"] if row.get("primary")}
    marked: list[Metric] = [{**one, "primary": one["name"] in deciding} for one in metrics]
    return sorted(marked, key=lambda one: not one["primary"])


def _group(
    scores: pd.DataFrame,
    number: np.ndarray,
    runs: Sequence[Run],
    members: list[int],
    metrics: Sequence[Metric],
    labels: dict[str, str],
    thresholds: Mapping[str, float] | None,
    verdicts: list[dict[str, Any]],
) -> Group:
    """What is shown of a group's scores.

    Args:
        scores: Its.
        number: Of each row's run.
        runs: All.
        members: Numbers of its runs.
        metrics: All.
        labels: What sets it apart, by key.
        thresholds: See `collect`.
        verdicts: Its.
    """
    first = runs[members[0]]
    own = first.thresholds(thresholds)
    table = _table(scores, runs, number)
    layers = _common([runs[i].layers or _layers(scores) for i in members])
    order = recorded.order_of(first.info, first.config)
    survives = first.info.get("survives")
    judged = order == CASCADE and recorded.begins_at_output(first.info, first.config)
    early = len(early_stages(len(layers) - 1, own["early"])) if judged and len(layers) > 1 else 0
    return {
        "label": ", ".join(f"{key}={value}" for key, value in labels.items()),
        "values": labels,
        "layers": layers,
        "runs": members,
        "seeds": list(dict.fromkeys(str(runs[i].seed) for i in members)),
        "order": order,
        "early": early,
        "thresholds": own,
        "missing": missing(scores),
        "curves": table.curves(),
        "verdicts": [{**row, "word": word(row)} for row in verdicts],
        "settling": _settling([runs[i] for i in members], verdicts),
        "blends": _blends([runs[i] for i in members]),
        "outlived": survival(survives) if outlives(survives) else None,
        "whole": _whole(scores, [runs[i] for i in members]),
        "images": table.images,
        "each": table.each({one["name"]: one["identity"] for one in metrics}, early),
    }


def _blends(runs: Sequence[Run]) -> dict[str, dict[str, list[float]]]:
    """What run.json says of whether metrics discriminate, see `Group.blends`."""
    found: dict[str, dict[str, list[float]]] = {}
    for row in (row for run in runs for row in recorded.blends(run.info)):
        both = [row["mostly_own"], row["mostly_other"]]
        found.setdefault(row["metric"], {}).setdefault(row["method"], both)
    return found


def _whole(scores: pd.DataFrame, runs: Sequence[Run]) -> bool:
    """Whether the scores have every method and metric that the runs have verdicts on."""
    named = scores[["method", "metric"]].astype(str).drop_duplicates()
    present = set(named.itertuples(index=False, name=None))
    rows = [row for run in runs for row in recorded.verdict_rows(run.info)]
    return {(row["method"], row["metric"]) for row in rows} <= present


def _settling(runs: Sequence[Run], verdicts: list[dict[str, Any]]) -> str | None:
    """What would decide the verdicts that lean; None of runs that did not record where they do."""
    found = pd.DataFrame(verdicts)
    if "leans" not in found:
        return None
    settles = settling([run.path for run in runs], found, elsewhere=True)
    return settles.said if settles else None


def _table(scores: pd.DataFrame, runs: Sequence[Run], number: np.ndarray) -> Table:
    seeds = pd.Series([str(run.seed) for run in runs])[number]
    metrics, methods = (_names(scores[key]) for key in ("metric", "method"))
    return Table.of(scores, seeds, metrics, methods, int(scores["stage"].max()) + 1)


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
        rows = [row for run in runs for row in recorded.verdict_rows(run.info)]
        return [row for row in rows if (row["method"], row["metric"]) in wanted]
    found = []
    for scheme, table in verdicts.items():
        pairs = zip(table["method"], table["metric"], strict=True)
        chosen = [wanted.get(pair) == scheme for pair in pairs]
        found += records(table[chosen])
    return found


def _runs(
    runs: Sequence[Run], differ: Mapping[str, list[str]], thresholds: Mapping[str, float] | None
) -> list[RunData]:
    """What is shown of each run beside scores and masks."""
    predictions = load_predictions([run.path for run in runs], status="completed", categories=True)
    of_run = predictions["path"].astype(str)
    found: list[RunData] = []
    for i, run in enumerate(runs):
        mine = predictions[of_run == str(run.path)]
        dead = run.thresholds(thresholds)["dead"]
        by_stage = [part for _, part in mine.groupby("stage")]
        names = mine.drop_duplicates("predicted")
        classes = zip(names["predicted"], names["predicted_name"], strict=True)
        found.append(
            {
                "id": str(run.info.get("run", run.path.name)),
                "path": str(run.path),
                "seed": str(run.seed),
                "values": {key: differ[key][i] for key in differ},
                "blocks": run.blocks,
                "layers": run.layers,
                "shares": [float(part["between_share"].iloc[0]) for part in by_stage],
                "complaints": [complaint(part, dead) or "" for part in by_stage],
                "classes": {int(number): str(name) for number, name in classes},
                "pictures": [],
            }
        )
    return found


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
        "image": code(scores["image"], images).tolist(),
        "method": code(scores["method"], methods).tolist(),
        "metric": code(scores["metric"], metrics).tolist(),
        "stage": scores["stage"].tolist(),
        "value": scores["value"].tolist(),
        "null": scores["null"].tolist(),
        "reason": code(reasons, names).tolist(),
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
