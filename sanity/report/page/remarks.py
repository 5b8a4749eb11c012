"""What a page says of its runs: what was run, and what to distrust."""

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

from sanity.analysis.health import SAME, SEVERAL, outlives, survival
from sanity.analysis.judged import INSENSITIVE, SENSITIVE
from sanity.analysis.schemes import as_text as text
from sanity.report.page.collect import MOST_ROWS, spans
from sanity.report.page.data import Group, Page
from sanity.report.page.run import Run
from sanity.report.page.words import reason
from sanity.results.columns import counts, flatten
from sanity.results.recorded import blends, blocks


def facts(
    runs: Sequence[Run], differ: Mapping[str, list[str]], data: Page
) -> dict[str, list[tuple[str, str]]]:
    """What was run, by heading: what the runs share, then settings, then versions."""
    first = runs[0]
    columns, info = first.values, first.info

    def of(key: str) -> str:
        if key in differ:
            return ", ".join(dict.fromkeys(differ[key]))
        node = first.config.get(key)  # of a run made without choices, by a notebook
        made_of = node.get("_target_", "–") if isinstance(node, dict) else None
        return text(columns.get(key, str(made_of).rpartition(".")[2] if made_of else None))

    done = info.get("counts", {})
    parameters = [b["parameters"] for b in blocks(info) if b["parameters"] is not None]
    size = f", {sum(parameters):,} parameters in {len(parameters)} blocks" if parameters else ""
    stages = sorted({len(group["layers"]) for group in data["groups"]})
    seeds = list(dict.fromkeys(text(run.seed) for run in runs))
    images = data["images"]
    summary = [
        ("model", of("model") + size),
        ("images", f"{images} of {of('data')}"),
        ("explained", f"the logit of the class: {of('target_rule')}"),
        ("scheme", _scheme(first, of)),
        ("stages", " or ".join(map(str, stages)) + ", the trained network among them"),
        ("seeds" if len(seeds) > 1 else "seed", ", ".join(seeds)),
        ("methods", str(len(data["methods"]))),
        ("metrics", ", ".join(metric["name"] for metric in data["metrics"])),
        ("finished", _when(info) if len(runs) == 1 else f"{len(runs)} runs"),
    ]
    if done.get("gradients"):
        total = sum(run.info.get("counts", {}).get("gradients", 0) for run in runs)
        summary.append(("gradients", f"{total:,}"))
    settings = []
    for key, value in flatten(first.config).items():
        if not counts(key).column or key == "name":
            continue
        shown = ", ".join(dict.fromkeys(differ[key])) if key in differ else _value(value)
        settings.append((key, shown))
    versions = [(name, str(version)) for name, version in info.get("versions", {}).items()]
    versions += [(key, str(info[key])) for key in ("machine", "device") if info.get(key)]
    if model := info.get("sha256", {}).get("model"):
        versions.append(("model's SHA-256", str(model)))
    folders = [(run["id"], run["path"]) for run in data["runs"]]
    return {"summary": summary, "settings": settings, "versions": versions, "folders": folders}


def _when(info: Mapping[str, Any]) -> str:
    return text(info.get("finished")).replace("T", " ").replace("+00:00", " UTC")


def _value(value: Any) -> str:
    if isinstance(value, (list, tuple)):
        return "[" + ", ".join(map(_value, value)) + "]"
    return text(value)


def _scheme(run: Run, of: Any) -> str:
    said = str(of("randomization"))
    order = text(run.values.get("randomization.order"))
    if "," not in said and order not in (said, "–"):
        said += f", order {order}"
    initializer = (run.config.get("randomization") or {}).get("initializer")
    if isinstance(initializer, str):
        said += f", drawn anew by {initializer}"
    elif isinstance(initializer, dict) and "_target_" in initializer:
        said += f", drawn anew by {str(initializer['_target_']).rpartition('.')[2]}"
    return said


def doubts(runs: Sequence[Run], data: Page) -> list[str]:
    """What a reader should know before believing the page."""
    by_group: dict[str, list[str]] = {}
    for group in data["groups"]:
        remarks = [*_surviving(group, runs), *_dead(group, data)]
        remarks += _few(group, group["thresholds"])
        if group["missing"]:
            remarks.append(f"{group['missing']}.")
        why = [reason(row) for row in group["verdicts"] if reason(row).startswith("no cascade")]
        if why:
            remarks.append(f"No verdicts: {why[0]}. Read the curves.")
        for remark in remarks:
            by_group.setdefault(remark, []).append(group["label"])
    said = [
        remark if len(labels) == len(data["groups"]) else f"{'; '.join(labels)}: {remark}"
        for remark, labels in by_group.items()
    ]
    said += _left_out(runs)
    said += _indiscriminate(runs, data)
    said += _sampled(data)
    return said


def _left_out(runs: Sequence[Run]) -> list[str]:
    """A sentence for each method that a model refused."""
    refused = {
        (name, str(why).rstrip(".")): None
        for run in runs
        for name, why in (run.info.get("left_out") or {}).items()
    }
    return [f"{name} is left out: {why}." for name, why in refused]


def _surviving(group: Group, runs: Sequence[Run]) -> list[str]:
    """A sentence for each of a group's sets of parameters that its runs leave as trained."""
    said: dict[str, None] = {}
    for survives in (runs[i].info.get("survives") for i in group["runs"]):
        if sentence := survival(survives):
            none = ". So no verdict is given." if outlives(survives) else "."
            said[f"{sentence}{none}"] = None
    return list(said)


def _dead(group: Group, data: Page) -> list[str]:
    broken: dict[str, set[int]] = {}
    for run in (data["runs"][i] for i in group["runs"]):
        for stage, what in enumerate(run["complaints"]):
            if what:
                broken.setdefault(what.partition(":")[0], set()).add(stage)
    judged = any(row["verdict"] != "none" for row in group["verdicts"])
    early = set(range(1, group["early"] + 1)) if judged else set()
    return [
        f"Stage 0: {what}: {SEVERAL}."
        if what == SAME
        else f"{_stages(stages)}: {what}; masks there say nothing"
        + (", and verdicts rest on early stages like these." if early & stages else ".")
        for what, stages in broken.items()
    ]


def _stages(stages: set[int]) -> str:
    return f"{'Stage' if len(stages) == 1 else 'Stages'} {spans(stages)}"


def _few(group: Group, thresholds: Mapping[str, Any]) -> list[str]:
    said = []
    most = max(
        (max(c["images"]) for curves in group["curves"].values() for c in curves.values()),
        default=0,
    )
    if most < thresholds["images"]:
        said.append(
            f"{'Only 1 image' if most == 1 else f'Only {most} images'}: below"
            f" {thresholds['images']} there are no verdicts, and intervals"
            f" {'do not exist' if most == 1 else 'are wide'}."
        )
    if len(group["seeds"]) == 1:
        said.append(
            "One draw of the weights: intervals are over images and given this seed; another"
            " seed's curves may lie outside them."
        )
    return said


def _indiscriminate(runs: Sequence[Run], data: Page) -> list[str]:
    """Which metrics are too strict or too lenient here, and what is withheld for that."""
    if not any(blends(run.info) for run in runs):
        return ["No masks are stored, so whether the metrics can tell here is not known."]
    metrics = {metric["name"] for metric in data["metrics"]}
    found: dict[tuple[str, str], dict[str, None]] = {}
    for group in data["groups"]:
        threshold = group["thresholds"]["threshold"]
        for row in (row for i in group["runs"] for row in blends(runs[i].info)):
            if row["method"] in data["methods"] and row["metric"] in metrics:
                if not _above(row["mostly_own"], threshold):
                    found.setdefault((row["metric"], SENSITIVE), {})[row["method"]] = None
                if not _above(threshold, row["mostly_other"]):
                    found.setdefault((row["metric"], INSENSITIVE), {})[row["method"]] = None
    said = {
        SENSITIVE: "is too strict: even masks with a quarter of foreign tiles are low, so nothing"
        " is called sensitive by it",
        INSENSITIVE: "is too lenient: even masks with three quarters of foreign tiles are high, so"
        " nothing is called insensitive by it",
    }
    return [
        f"{metric} {said[withheld]}, for {', '.join(methods)}."
        for (metric, withheld), methods in found.items()
    ]


def _above(a: float | None, b: float | None) -> bool:
    return a is not None and b is not None and a > b


def _sampled(data: Page) -> list[str]:
    said = []
    carried = data["carried"]
    shown = [run for run in data["runs"] if run["pictures"]]
    if not carried["of"]:
        return ["No masks are stored, so none are shown."]
    if carried["runs"] < carried["of"]:
        said.append(f"Masks of {carried['runs']} of {carried['of']} runs are on this page.")
    images = Counter((len(run["pictures"]), run["stored"]) for run in shown)
    ((some, stored), _), *_ = images.most_common(1)
    if some < stored:
        said.append(
            f"Masks of {some} of {stored} stored images are on this page, those first that keep a"
            " middling part of themselves, the most and the least."
        )
    stages = [(len(run["stages"]), len(run["layers"])) for run in shown]
    few, many = min(stages, key=lambda pair: pair[0] / pair[1])
    if few < many:
        said.append(f"Masks of {few} of {many} stages are on this page.")
    if data["rows"] is None:
        said.append(
            f"{data['n_rows']:,} scores are more than {MOST_ROWS:,}: the table has their means,"
            " the run folders have them all."
        )
    return said
