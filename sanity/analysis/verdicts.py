"""Verdicts: which methods notice that the network has lost what decides.

docs/verdicts.md says what each word means. Everything here is a function of the score tables.
"""

import math
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from sanity.analysis.health import early_complaint, outlives, survival
from sanity.analysis.intervals import Estimate
from sanity.analysis.judged import (
    ALIKE,
    INCONCLUSIVE,
    INVALID,
    NONE,
    Judged,
    add_p_values,
    count_enough,
    decide,
    mark_contradictions,
)
from sanity.analysis.relative import alikeness, relative
from sanity.analysis.thresholds import Thresholds, primary_metric
from sanity.metrics.base import Described

if TYPE_CHECKING:
    import pandas as pd

CASCADE = "cascading"  # the order that takes the decision away first
COLUMNS = (
    *("method", "metric", "primary", "speaks_for", "verdict", "early", "low", "high", "p"),
    *("score", "null", "images", "seeds", "final_score", "unrelated", "final", "evidence"),
    *("leans", "enough", "why"),
)


@dataclass(frozen=True)
class Measured:
    """What thresholds have been held against, so that others need not measure it again.

    Attributes:
        early: By the early stages, what each method and metric has over them, not judged yet.
        final: By the threshold `alike`, what each has at the last stage.
    """

    early: dict[range, list[Judged]] = field(default_factory=dict)
    final: dict[float, list[dict[str, float]]] = field(default_factory=dict)


def early_stages(last: int, early: int = 3) -> range:
    """Stages 1 to ⌈S/3⌉ of S: the network's top is gone, and with it the decision."""
    return range(1, math.ceil(last / early) + 1)


def verdicts(
    scores: "pd.DataFrame",
    predictions: "pd.DataFrame | None",
    metrics: Mapping[str, Described],
    order: str | None,
    *,
    begins_at_output: bool = True,
    survives: Mapping[str, Any] | None = None,
    thresholds: Thresholds | None = None,
    discrimination: "pd.DataFrame | None" = None,
    unrelated: "pd.DataFrame | None" = None,
    controls: Collection[str] = (),
    measured: Measured | None = None,
) -> "pd.DataFrame":
    """One row a method and metric; those of the primary metric are the answer.

    Args:
        scores: As in scores.parquet, of one run or of runs that differ in `seed` (a column) alone.
        predictions: As in predictions.parquet, of the same runs; without, no network is dead.
        metrics: By name; what is known of each. One that is not there gets no verdict.
        order: Of the randomization; verdicts are for `cascading` alone.
        begins_at_output: Whether the first stage randomizes the network's last kernel.
        survives: What stays as trained at the end against the scheme's intent, as run.json has it.
        thresholds: What decides.
        discrimination: See `analysis.discrimination`; without, metrics are trusted.
        unrelated: See `analysis.relative.unrelated`; without, there is no final similarity.
        controls: Methods that get no verdict.
        measured: Of all the same but for the thresholds; what is missing is added.

    Returns:
        Columns method, metric, primary (whether it decides), speaks_for (magnitude, sign or
        structure), verdict (`insensitive`, `sensitive`, `depends_on_metric`,
        `same_for_every_image`, `inconclusive`, `invalid` or `none`), early (relative similarity
        over the early stages) with its 95 % interval low to high, p (of it being the threshold; by
        the primary metric corrected by Holm over methods), score and null (what it is made of),
        images and seeds (that have all of these scores), final_score (mean at the last stage),
        unrelated (mean between unrelated random networks), final (the former relative to the
        latter), evidence (a line), leans (of an inconclusive verdict the word that more images like
        these would make it; "" if they would not), enough (how many images that takes, else NaN)
        and why (of evidence what is no number, "" where nothing has to be said).

    Raises:
        ConfigError: See `primary_metric`.
    """
    import pandas as pd

    thresholds = thresholds or Thresholds()
    last = int(scores["stage"].max())
    stages = early_stages(last, thresholds.early)
    present = dict.fromkeys(scores["metric"].astype(str))
    primary = primary_metric({name: metrics.get(name) for name in present}, thresholds.primary)
    why_none = _no_cascade(scores, order, begins_at_output)
    broken = early_complaint(predictions, stages, thresholds.dead)
    if outlives(survives):
        broken = survival(survives)
    over = stages if why_none is None else range(0)
    measured = measured or Measured()
    groups = scores.groupby(["method", "metric"], observed=True, sort=False)
    if over not in measured.early:
        measured.early[over] = [
            _measured(part, over, metrics.get(str(name))) for (_, name), part in groups
        ]
    judged = [replace(one, said=[]) for one in measured.early[over]]
    if thresholds.alike not in measured.final:
        measured.final[thresholds.alike] = [
            _final(part, last, one, _of(unrelated, one.method, one.name), thresholds)
            for one, (_, part) in zip(judged, groups, strict=True)
        ]
    for one, final in zip(judged, measured.final[thresholds.alike], strict=True):
        one.final = final
    open_ = []
    for one in judged:
        found = _excluded(one, one.method in controls, why_none, broken, thresholds)
        if found is None:
            open_.append(one)
        else:
            one.verdict, said = found
            one.said.append(said)
    add_p_values(
        [one for one in open_ if one.early.images >= thresholds.images], primary, thresholds
    )
    for one in open_:
        blends = _of(discrimination, one.method, one.name)
        one.verdict, why = decide(one, blends, thresholds)
        one.said += why
    count_enough(open_, primary, thresholds)
    mark_contradictions(open_, primary)
    rows = [_row(one, primary, stages, last) for one in judged]
    return pd.DataFrame(rows, columns=list(COLUMNS))


def early_scores(part: "pd.DataFrame", stages: range) -> tuple[np.ndarray, np.ndarray]:
    """Scores and nulls over the early stages, each (images, seeds), of images that have them all.

    Args:
        part: Scores of one method and metric.
        stages: The early ones.
    """
    values, nulls = _means(part, stages, "value"), _means(part, stages, "null")
    whole = np.isfinite(values + nulls).all(axis=1)
    return values[whole].to_numpy(), nulls[whole].to_numpy()


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


def _means(part: "pd.DataFrame", stages: range, column: str) -> "pd.DataFrame":
    """Means over stages, images × seeds; NaN where a stage has none.

    By hand, as pandas' pivoting took a tenth of a small job's time.
    """
    import pandas as pd

    stage = part["stage"].to_numpy(int) - stages.start
    rows = np.flatnonzero((stage >= 0) & (stage < len(stages)))
    images, image = np.unique(part["image"].to_numpy()[rows].astype(str), return_inverse=True)
    if "seed" in part:
        seed, seeds = pd.factorize(part["seed"].iloc[rows], sort=True, use_na_sentinel=False)
    else:
        seed, seeds = np.zeros(len(rows), int), pd.Index([0])
    shape = len(images), len(seeds), len(stages)
    places = np.ravel_multi_index((image, seed, stage[rows]), shape)
    if len(np.unique(places)) < len(places):
        raise ValueError("there are several scores of one image at one stage")
    values = np.full(shape, np.nan)
    values.flat[places] = part[column].to_numpy()[rows]
    return pd.DataFrame(values.sum(axis=2) / len(stages), pd.Index(images), seeds)


def _in_all_draws(part: "pd.DataFrame") -> int:
    """How many images have scores, or reasons for none, in every draw of the weights."""
    if "seed" not in part or (draws := part["seed"].nunique()) < 2:
        return int(part["image"].nunique())
    each = part[["image", "seed"]].drop_duplicates()["image"].value_counts()
    return int((each == draws).sum())


def _measured(part: "pd.DataFrame", stages: range, metric: Described | None) -> Judged:
    """The early similarity, of how many images there are, and why others have none."""
    first = part.iloc[0]
    nothing = Estimate(math.nan, math.nan, math.nan, 0, 0)
    everything = _in_all_draws(part)
    one = Judged(
        str(first["method"]), str(first["metric"]), metric, None, None, everything, "", nothing
    )
    if one.identity is None or not len(stages):
        return one
    values, nulls = early_scores(part, stages)
    one.early = relative(values, nulls, one.identity)
    if len(values):
        one.values, one.nulls = values, nulls
    if len(values) < everything and "reason" in part:
        said = (
            part.loc[part["stage"].isin(stages) & part["value"].isna(), "reason"]
            .dropna()
            .astype(str)
        )
        said = said[~said.isin(["", "None", "nan"])]
        one.reason = said.mode().iloc[0] if len(said) else ""
    return one


def _final(
    part: "pd.DataFrame",
    last: int,
    one: Judged,
    unrelated: "pd.DataFrame | None",
    thresholds: Thresholds,
) -> dict[str, float]:
    """The mean at the last stage, and what it is relative to unrelated random networks.

    Withheld where these score nearly the identity: then anything is far from both or none.
    """
    values = _means(part, range(last, last + 1), "value").mean(axis=1)
    finite = values[np.isfinite(values)]
    row = {"final_score": float(finite.mean()) if len(finite) else math.nan}
    row |= {"unrelated": math.nan, "final": math.nan}
    if unrelated is None or one.identity is None:
        return row
    nulls = unrelated.assign(image=unrelated["image"].astype(str)).set_index("image")["value"]
    nulls = nulls[np.isfinite(nulls)]
    both = finite.index.intersection(nulls.index)
    if len(both):
        row["unrelated"] = float(nulls[both].mean())
        if not alikeness(row["unrelated"], one.metric) >= thresholds.alike:
            found = relative(finite[both].to_numpy(), nulls[both].to_numpy(), one.identity)
            row["final"] = found.mean
    return row


def _excluded(
    one: Judged, control: bool, why_none: str | None, broken: str | None, thresholds: Thresholds
) -> tuple[str, str] | None:
    """The verdict, and why, where the early similarity cannot decide; None where it can."""
    early = one.early
    if control:
        return NONE, "a control"
    if one.metric is None:
        return NONE, "what this metric gives a mask with itself is not recorded"
    if one.identity is None:
        return NONE, "this metric has no value that a mask has with itself"
    if why_none:
        return NONE, why_none
    if broken:
        return INVALID, broken
    if not one.all:
        return INVALID, "no image is in all draws of the weights"
    if 2 * early.images < one.all or not early.images:
        reason = one.reason or "no score"
        return INVALID, f"{reason} in {one.all - early.images} of {one.all} images"
    if alikeness(one.null, one.metric) >= thresholds.alike:
        return ALIKE, (
            "the masks of different images are nearly the same, so this check cannot see whether "
            "they depend on the network"
        )
    if math.isnan(early.mean):
        return INCONCLUSIVE, "the null is as high as the identity"
    return None


def _row(one: Judged, primary: str | None, stages: range, last: int) -> dict[str, Any]:
    """A row of the table."""
    return {
        "method": one.method,
        "metric": one.name,
        "primary": one.name == primary,
        "speaks_for": one.speaks_for,
        "verdict": one.verdict,
        "early": one.early.mean,
        "low": one.early.low,
        "high": one.early.high,
        "p": one.p,
        "score": one.score,
        "null": one.null,
        "images": one.early.images,
        "seeds": one.early.seeds,
        **one.final,
        "evidence": "; ".join([*one.said, *_evidence(one, stages, last)]),
        "leans": one.leans,
        "enough": one.enough if one.leans else math.nan,
        "why": "; ".join(one.said),
    }


def _evidence(one: Judged, stages: range, last: int) -> list[str]:
    """The numbers in words."""
    early, said = one.early, []
    if early.images and not math.isnan(early.mean):
        over = "stage 1" if len(stages) == 1 else f"stages 1–{len(stages)}"
        seeds = "one draw" if early.seeds == 1 else f"{early.seeds} draws"
        images = "1 image" if early.images == 1 else f"{early.images} images"
        between = "" if early.images == 1 else f" [{early.low:z.2f}, {early.high:z.2f}]"
        said.append(
            f"early similarity {early.mean:z.2f}{between} (score {one.score:z.2f}, null"
            f" {one.null:z.2f}) over {over} of {last}, {images}, {seeds} of the weights"
        )
        if not math.isnan(one.p):
            p = "p < 0.0001" if one.p < 1e-4 else f"p {one.p:.2g}"
            said.append(f"{p}, corrected for {one.tests}" if one.tests > 1 else p)
        if early.images < one.all:
            why = f" ({one.reason})" if one.reason else ""
            said.append(f"{one.all - early.images} left out{why}")
    if not math.isnan(one.final["final"]):
        said.append(
            f"final similarity {one.final['final']:z.2f} (score {one.final['final_score']:z.2f},"
            f" unrelated networks {one.final['unrelated']:z.2f})"
        )
    return said
