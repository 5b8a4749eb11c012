"""Verdicts: which methods notice that the network has lost what decides.

docs/verdicts.md says what each word means. Everything here is a function of the score tables.
"""

import math
from collections.abc import Collection, Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from sanity.analysis.health import death
from sanity.analysis.intervals import Estimate
from sanity.analysis.relative import relative
from sanity.analysis.thresholds import Thresholds

if TYPE_CHECKING:
    import pandas as pd


INSENSITIVE, SENSITIVE = "insensitive", "sensitive"
INCONCLUSIVE, INVALID, NONE = "inconclusive", "invalid", "none"
CASCADE = "cascading"  # the order that takes the decision away first
COLUMNS = (
    *("method", "metric", "verdict", "early", "low", "high", "score", "null", "images", "seeds"),
    *("final_score", "unrelated", "final", "evidence"),
)


def early_stages(last: int) -> range:
    """Stages 1 to ⌈S/3⌉ of S: the network's top is gone, and with it the decision."""
    return range(1, math.ceil(last / 3) + 1)


def judge(early: Estimate, thresholds: Thresholds) -> str:
    """The verdict on an early similarity with its interval."""
    if early.images < thresholds.images or math.isnan(early.mean):
        return INCONCLUSIVE
    if early.low > thresholds.threshold:
        return INSENSITIVE
    return SENSITIVE if early.high < thresholds.threshold else INCONCLUSIVE


def verdicts(
    scores: "pd.DataFrame",
    predictions: "pd.DataFrame | None",
    identities: Mapping[str, float | None],
    order: str | None,
    *,
    begins_at_output: bool = True,
    thresholds: Thresholds | None = None,
    calibration: "pd.DataFrame | None" = None,
    unrelated: "pd.DataFrame | None" = None,
    controls: Collection[str] = (),
) -> "pd.DataFrame":
    """One row a method and metric.

    Args:
        scores: As in scores.parquet, of one run or of runs that differ in `seed` (a column) alone.
        predictions: As in predictions.parquet, of the same runs; without, no network is dead.
        identities: What each metric gives a mask with itself; None where there is no such value.
        order: Of the randomization; verdicts are for `cascading` alone.
        begins_at_output: Whether the first stage randomizes the network's last kernel.
        thresholds: What decides.
        calibration: See `analysis.discrimination`; without, metrics are trusted.
        unrelated: See `analysis.relative`; without, there is no final similarity.
        controls: Methods that get no verdict.

    Returns:
        Columns method, metric, verdict (`insensitive`, `sensitive`, `inconclusive`, `invalid` or
        `none`), early (relative similarity over the early stages) with its 95 % interval low to
        high, score and null (what it is made of), images and seeds (that have all of these
        scores), final_score (mean at the last stage), unrelated (mean between unrelated random
        networks), final (the former relative to the latter) and evidence (a line).
    """
    import pandas as pd

    thresholds = thresholds or Thresholds()
    last = int(scores["stage"].max())
    share = _between_share(predictions, early_stages(last))
    why_none = _no_cascade(scores, order, begins_at_output)
    rows = []
    for key, part in scores.groupby(["method", "metric"], observed=True, sort=False):
        method, metric = map(str, key)
        row: dict[str, Any] = {"method": method, "metric": metric}
        row |= _measured(part, last, identities.get(metric), cascade=why_none is None)
        row |= _final(part, last, identities.get(metric), _of(unrelated, method, metric))
        row["images"], row["seeds"] = row["estimate"].images, row["estimate"].seeds
        blends = _of(calibration, method, metric)
        row["verdict"], said = _decide(row, method in controls, why_none, share, blends, thresholds)
        row["evidence"] = "; ".join([*said, *_evidence(row, last)])
        rows.append(row)
    return pd.DataFrame(rows, columns=list(COLUMNS))


def table(found: "pd.DataFrame") -> str:
    """The verdicts as text, a line each, insensitive methods first within each metric."""
    lines = [
        "verdicts (sensitive: the masks change with the weights, which does not make them faithful)"
    ]
    ranks = {INSENSITIVE: 0, SENSITIVE: 1, INCONCLUSIVE: 2, INVALID: 3, NONE: 4}
    width = max(map(len, found["method"]), default=0)
    for metric, part in found.groupby("metric", sort=False):
        lines.append(f"{metric}:")
        for row in part.sort_values(
            "verdict", key=lambda v: v.map(ranks), kind="stable"
        ).itertuples():
            lines.append(f"  {row.method:<{width}}  {row.verdict:<12}  {row.evidence}")
    return "\n".join(lines)


def records(frame: "pd.DataFrame") -> list[dict[str, Any]]:
    """The rows of a frame as JSON can hold them: NaN as None."""
    rows = frame.astype(object).where(frame.notna(), None)
    return rows.to_dict("records")  # type: ignore[return-value]


def _of(frame: "pd.DataFrame | None", method: str, metric: str) -> "pd.DataFrame | None":
    """The rows of a method and metric, None if there are none."""
    if frame is None:
        return None
    rows = frame[(frame["method"] == method) & (frame["metric"] == metric)]
    return rows if len(rows) else None


def _no_cascade(scores: "pd.DataFrame", order: str | None, begins_at_output: bool) -> str | None:
    """Why the early stages do not take the decision away; None if they do."""
    if order is None:
        return "no cascade from the output: this randomization has no order"
    if order != CASCADE:
        return f"no cascade from the output (order {order})"
    if not begins_at_output:
        first = scores.loc[scores["stage"] == 1, "layer"].astype(str).iloc[:1]
        return (
            f"no cascade from the output: it begins at {' '.join(first)}, and the network's last "
            "layer goes on deciding"
        )
    return None


def _between_share(predictions: "pd.DataFrame | None", stages: range) -> float:
    """The median over the early stages (and seeds), NaN where nothing is known."""
    if predictions is None:
        return math.nan
    chosen = predictions[predictions["stage"].isin(stages)]
    keys = [key for key in ("seed", "stage") if key in chosen]
    return float(chosen.groupby(keys)["between_share"].first().median())


def _means(part: "pd.DataFrame", stages: range, column: str) -> "pd.DataFrame":
    """Means over stages, images × seeds; NaN where a stage has none."""
    chosen = part[part["stage"].isin(stages)].assign(image=lambda f: f["image"].astype(str))
    if "seed" not in chosen:
        chosen = chosen.assign(seed=0)
    wide = chosen.set_index(["image", "seed", "stage"])[column].unstack("stage")
    return wide.reindex(columns=list(stages)).mean(axis=1, skipna=False).unstack("seed")


def _measured(
    part: "pd.DataFrame", last: int, identity: float | None, cascade: bool
) -> dict[str, Any]:
    """The early similarity, of how many images there are, and why others have none."""
    nan = math.nan
    stages = early_stages(last)
    empty = Estimate(nan, nan, nan, 0, 0)
    row = {"estimate": empty, "all": part["image"].nunique(), "reason": "", "identity": identity}
    row |= dict.fromkeys(("early", "low", "high", "score", "null"), nan)
    if identity is None or not cascade or last < 1:
        return row
    values, nulls = _means(part, stages, "value"), _means(part, stages, "null")
    whole = np.isfinite(values + nulls).all(axis=1)
    early = relative(values.to_numpy(), nulls.to_numpy(), identity)
    row |= {"estimate": early, "early": early.mean, "low": early.low, "high": early.high}
    if early.images:
        row |= {"score": values[whole].to_numpy().mean(), "null": nulls[whole].to_numpy().mean()}
    if not whole.all() and "reason" in part:
        said = part.loc[part["stage"].isin(stages) & part["value"].isna(), "reason"].astype(str)
        said = said[~said.isin(["", "None", "nan"])]
        row["reason"] = said.mode().iloc[0] if len(said) else ""
    return row


def _final(
    part: "pd.DataFrame", last: int, identity: float | None, unrelated: "pd.DataFrame | None"
) -> dict[str, float]:
    """The mean at the last stage, and what it is relative to unrelated random networks."""
    values = _means(part, range(last, last + 1), "value").mean(axis=1)
    finite = values[np.isfinite(values)]
    row = {"final_score": float(finite.mean()) if len(finite) else math.nan}
    row |= {"unrelated": math.nan, "final": math.nan}
    if unrelated is None or identity is None:
        return row
    nulls = unrelated.assign(image=unrelated["image"].astype(str)).set_index("image")["value"]
    nulls = nulls[np.isfinite(nulls)]
    both = finite.index.intersection(nulls.index)
    if len(both):
        row["unrelated"] = float(nulls[both].mean())
        row["final"] = relative(finite[both].to_numpy(), nulls[both].to_numpy(), identity).mean
    return row


def _decide(
    row: dict[str, Any],
    control: bool,
    why_none: str | None,
    share: float,
    blends: "pd.DataFrame | None",
    thresholds: Thresholds,
) -> tuple[str, list[str]]:
    """The verdict, and what has to be said for it beside the numbers."""
    early = row["estimate"]
    if control:
        return NONE, ["a control"]
    if row["identity"] is None:
        return NONE, ["this metric has no value that a mask has with itself"]
    if why_none:
        return NONE, [why_none]
    if said := death(share, thresholds.dead):
        return INVALID, [said]
    if 2 * early.images < row["all"] or not early.images:
        reason = row["reason"] or "no score"
        return INVALID, [f"{reason} in {row['all'] - early.images} of {row['all']} images"]
    if blends is not None and not blends["tells"].iloc[0]:
        kept, lost = blends["mostly_own"].iloc[0], blends["mostly_other"].iloc[0]
        return INCONCLUSIVE, [
            f"this metric cannot tell here: masks with a quarter of another's tiles have"
            f" {kept:z.2f}, with three quarters {lost:z.2f}"
        ]
    if early.images < thresholds.images:
        count = "1 image is" if early.images == 1 else f"{early.images} images are"
        return INCONCLUSIVE, [f"{count} fewer than {thresholds.images}"]
    if math.isnan(early.mean):
        return INCONCLUSIVE, ["the null is as high as the identity"]
    verdict = judge(early, thresholds)
    split = verdict == INCONCLUSIVE
    return verdict, [f"the interval holds {thresholds.threshold:g}"] if split else []


def _evidence(row: dict[str, Any], last: int) -> list[str]:
    """The numbers in words."""
    early, said = row["estimate"], []
    if early.images and not math.isnan(early.mean):
        n = len(early_stages(last))
        stages = "stage 1" if n == 1 else f"stages 1–{n}"
        seeds = "one draw" if early.seeds == 1 else f"{early.seeds} draws"
        images = "1 image" if early.images == 1 else f"{early.images} images"
        between = "" if early.images == 1 else f" [{early.low:z.2f}, {early.high:z.2f}]"
        said.append(
            f"early similarity {early.mean:z.2f}{between} (score {row['score']:z.2f}, null"
            f" {row['null']:z.2f}) over {stages} of {last}, {images}, {seeds} of the weights"
        )
        if early.images < row["all"]:
            why = f" ({row['reason']})" if row["reason"] else ""
            said.append(f"{row['all'] - early.images} left out{why}")
    if not math.isnan(row["final"]):
        said.append(
            f"final similarity {row['final']:z.2f} (score {row['final_score']:z.2f}, unrelated"
            f" networks {row['unrelated']:z.2f})"
        )
    return said
