"""What a network says at each stage, and whether it still says anything."""

from typing import TYPE_CHECKING

import numpy as np

from sanity.data import Images

# Beyond these, float32's softmax is the same for whatever the network computes.
VANISHED = 1e-6
EXPLODED = 1e6

if TYPE_CHECKING:
    import pandas as pd

    from sanity.classifier import Classifier
    from sanity.randomization import Stage


def predictions(
    classifier: "Classifier", images: Images, targets: np.ndarray, stage: "Stage"
) -> "pd.DataFrame":
    """One row an image, with the weights in place; `targets` are the classes of stage 0.

    Columns: image, stage, layer, predicted (class), predicted_name, probability (softmax),
    target (class), target_probability, target_logit, logit_std (over classes), between_share (of
    the stage, see `between_share`), entropy (of the softmax, in nats). Logits that are not finite
    make NaN of whatever is computed from them.
    """
    import pandas as pd

    logits = classifier.logits(images.x).astype(np.float64)
    rows = np.arange(len(images))
    targets = stage.explained(classifier, images, targets)
    with np.errstate(invalid="ignore"):
        log_softmax = _log_softmax(logits)
        spread, share = logits.std(axis=1), between_share(logits)
    softmax = np.exp(log_softmax)
    predicted = logits.argmax(axis=1)
    return pd.DataFrame(
        {
            "image": images.names,
            "stage": stage.index,
            "layer": stage.layer,
            "predicted": predicted,
            "predicted_name": [class_name(classifier, index) for index in predicted],
            "probability": softmax[rows, predicted],
            "target": targets,
            "target_probability": softmax[rows, targets],
            "target_logit": logits[rows, targets],
            "logit_std": spread,
            "between_share": share,
            "entropy": -(softmax * log_softmax).sum(axis=1),
        }
    )


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


def class_name(classifier: "Classifier", index: int) -> str:
    """A class's name, or its number where names are unknown."""
    return classifier.class_names[index] if classifier.class_names else str(index)


def _log_softmax(logits: np.ndarray) -> np.ndarray:
    shifted = logits - logits.max(axis=1, keepdims=True)
    return shifted - np.log(np.exp(shifted).sum(axis=1, keepdims=True))


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
