"""What a network says at each stage, and whether it still says anything."""

from typing import TYPE_CHECKING

import numpy as np

from sanity.data import Images

if TYPE_CHECKING:
    import pandas as pd

    from sanity.classifier import Classifier
    from sanity.randomization import Stage


def predictions(
    classifier: "Classifier", images: Images, targets: np.ndarray, stage: "Stage"
) -> "pd.DataFrame":
    """One row an image, with the weights in place.

    Columns: image, stage, layer, predicted (class), predicted_name, probability (softmax),
    target (class), target_probability, target_logit, logit_std (over classes), between_share (of
    the stage, see `between_share`), entropy (of the softmax, in nats).
    """
    import pandas as pd

    logits = classifier.logits(images.x).astype(np.float64)
    rows = np.arange(len(images))
    shifted = logits - logits.max(axis=1, keepdims=True)
    log_softmax = shifted - np.log(np.exp(shifted).sum(axis=1, keepdims=True))
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
            "logit_std": logits.std(axis=1),
            "between_share": between_share(logits),
            "entropy": -(softmax * log_softmax).sum(axis=1),
        }
    )


def class_name(classifier: "Classifier", index: int) -> str:
    """A class's name, or its number where names are unknown."""
    return classifier.class_names[index] if classifier.class_names else str(index)


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
    return float(between / (between + common)) if between + common > 0 else 0.0
