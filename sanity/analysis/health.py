"""Whether a network still says anything: broken, exploded, vanished and dead ones."""

import math
from collections.abc import Hashable, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    import pandas as pd


# Beyond these, float32's softmax is the same for whatever the network computes.
VANISHED = 1e-6
EXPLODED = 1e6
SURVIVING = 0.01  # the share of trainable parameters beyond which a cascade is none
SAME = "the trained network hardly tells these images apart"
SEVERAL = "take images of several classes (data.names, data.limit)"
_SHOWN = 5  # names of variables that a sentence has room for


def death(share: float, dead: float) -> str | None:
    """What is said of a dead network, which says the same of every image; None if it lives.

    Args:
        share: See `Spread.between_share`; NaN, where nothing is known, is no death.
        dead: The least share for masks to mean something: `verdict.dead`.
    """
    if not share < dead:
        return None
    shown = _below(share, dead)
    return f"dead network: {shown} of its logits' variance lies between images, below {dead:g}"


def sameness(share: float, dead: float) -> str | None:
    """What is said of a trained network that hardly tells the images apart; None if it does."""
    if not share < dead:
        return None
    shown = _below(share, dead)
    return f"{SAME}: {shown} of its logits' variance lies between them, below {dead:g}"


def _below(share: float, dead: float) -> str:
    """A share below a bound, with as many digits, two at least, as show that it is."""
    shown = (f"{share:.{digits}g}" for digits in range(2, 18))
    return next(text for text in shown if float(text) < dead)


def unsound(predicted: "pd.DataFrame") -> str | None:
    """Why a stage's numbers are none of its network, from its `predictions`; None if they are.

    A network is broken (logits are not finite), exploded (they are beyond 1e6, where float32 says
    other things than float64) or vanished (an image's logits are all alike).
    """
    spread = predicted["logit_std"].to_numpy()
    broken = int((~np.isfinite(spread)).sum())
    if broken:
        return f"the logits of {broken} of {len(predicted)} images are not finite"
    if np.abs(predicted["target_logit"]).max() > EXPLODED or spread.max() > EXPLODED:
        return f"the network has exploded: its logits spread by {spread.max():.1g}"
    if spread.max() < VANISHED:
        return f"the network has vanished: its logits spread by {spread.max():.1g} only"
    return None


def complaint(predicted: "pd.DataFrame", dead: float) -> str | None:
    """Why a stage's masks say nothing, from its `predictions`; None if that cannot be seen.

    Its network is `unsound`, or dead (see `death`); at stage 0 the images are too alike.
    """
    alike = death if predicted["stage"].iloc[0] else sameness
    return unsound(predicted) or alike(float(predicted["between_share"].iloc[0]), dead)


def early_complaint(predictions: "pd.DataFrame | None", stages: range, dead: float) -> str | None:
    """Why some stages together say nothing; None if they do, or nothing is known of them.

    The networks of more than half of them, over seeds, are unsound; or the median one is dead.
    """
    if predictions is None:
        return None
    parts = [part for _, part in _by_run(predictions, stages)]
    able = {"logit_std", "target_logit"} <= set(predictions.columns)
    said = [word for part in parts if able and (word := unsound(part))]
    if 2 * len(said) > len(parts):
        return f"{said[0].partition(':')[0]} at {len(said)} of {len(parts)} early stages"
    said_dead = death(_median_share(parts), dead)
    trained = _median_share([part for _, part in _by_run(predictions, range(1))])
    if said_dead is None or not trained < dead:
        return said_dead
    return f"{said_dead}, and {_below(trained, dead)} as trained: {SEVERAL}"


def _by_run(
    predictions: "pd.DataFrame", stages: range
) -> Iterable[tuple[Hashable, "pd.DataFrame"]]:
    """The predictions of each run, draw and stage among some stages."""
    chosen = predictions[predictions["stage"].isin(stages)]
    keys = [key for key in ("path", "seed", "stage") if key in chosen]
    return chosen.groupby(keys, observed=True)


def _median_share(parts: Sequence["pd.DataFrame"]) -> float:
    """The median of what is known of the shares of some stages; NaN where nothing is."""
    shares = [float(part["between_share"].iloc[0]) for part in parts]
    known = [share for share in shares if not np.isnan(share)]
    return float(np.median(known)) if known else math.nan


def survival(survives: Mapping[str, Any] | None) -> str | None:
    """What is said of parameters that a full cascade leaves as trained; None if there are none.

    Args:
        survives: As run.json has it; None where nothing was to be destroyed as a whole.
    """
    if survives is None or not survives["parameters"]:
        return None
    names = list(survives["variables"])
    more = f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else ""
    return (
        f"{survives['parameters']:,} of {survives['of']:,} trainable parameters survive the full"
        f" cascade: {', '.join(names[:_SHOWN])}{more}"
    )


def outlives(survives: Mapping[str, Any] | None) -> bool:
    """Whether so much survives a full cascade that there is no verdict."""
    return survives is not None and survives["parameters"] > SURVIVING * survives["of"]
