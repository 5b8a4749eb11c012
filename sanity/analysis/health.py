"""Whether a network still says anything: broken, exploded, vanished and dead ones."""

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    import pandas as pd


# Beyond these, float32's softmax is the same for whatever the network computes.
VANISHED = 1e-6
EXPLODED = 1e6


def death(share: float, dead: float) -> str | None:
    """What is said of a dead network, which says the same of every image; None if it lives.

    Args:
        share: See `between_share`; NaN, where nothing is known, is no death.
        dead: The least share for masks to mean something: `verdict.dead`.
    """
    if not share < dead:
        return None
    return f"dead network: {share:.2g} of its logits' variance lies between images, below {dead:g}"


def complaint(predicted: "pd.DataFrame", dead: float) -> str | None:
    """Why a stage's masks say nothing, from its `predictions`; None if that cannot be seen.

    A network is broken (logits are not finite), exploded (they are beyond 1e6), vanished (an
    image's logits are all alike) or dead (see `death`).
    """
    spread, share = predicted["logit_std"].to_numpy(), predicted["between_share"].iloc[0]
    broken = int((~np.isfinite(spread)).sum())
    if broken:
        return f"the logits of {broken} of {len(predicted)} images are not finite"
    if np.abs(predicted["target_logit"]).max() > EXPLODED or spread.max() > EXPLODED:
        return f"the network has exploded: its logits spread by {spread.max():.1g}"
    if spread.max() < VANISHED:
        return f"the network has vanished: its logits spread by {spread.max():.1g} only"
    return death(share, dead)


def between_share(logits: np.ndarray) -> float:
    """Share of the logits' variance that lies between images, in [0, 1]; NaN for one image.

    Near 1 the network tells images apart; near 0 it says the same of every image, and its masks
    say nothing. The estimate of variance components in a one-way layout: the variance over images,
    averaged over classes, against that plus the variance over classes of the mean over images,
    less what the former contributes to it. So it does not depend on the number of images.

    Args:
        logits: (n, classes).
    """
    n = len(logits)
    if n < 2:
        return float("nan")
    between = logits.var(axis=0, ddof=1).mean()
    common = max(logits.mean(axis=0).var() - between / n, 0.0)
    return 0.0 if between + common == 0 else float(between / (between + common))
