"""What a network says at each stage."""

import logging
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from sanity.analysis.health import FEW, between_share, complaint, feature_share, unsound
from sanity.data import Images
from sanity.progress import say
from sanity.results.folder import RunFolder

if TYPE_CHECKING:
    import pandas as pd

    from sanity.network.classifier import Classifier
    from sanity.randomization.stage import Stage

log = logging.getLogger(__name__)


def predictions(
    classifier: "Classifier", images: Images, targets: np.ndarray, stage: "Stage"
) -> "pd.DataFrame":
    """One row an image, with the weights in place; `targets` are the classes of stage 0.

    Columns: image, stage, layer, predicted (class), predicted_name, probability (see
    `probabilities`), target (class), target_probability, target_logit, logit_std (over classes; of
    one number its size), between_share (of the stage, see `between_share`), entropy (in nats).
    Logits that are not finite make NaN of whatever is computed from them.
    """
    import pandas as pd

    logits = classifier.logits(images.x).astype(np.float64)
    rows = np.arange(len(images))
    targets = stage.explained(classifier, images, targets)
    with np.errstate(invalid="ignore"):
        shares, entropy = probabilities(classifier, images.x, logits)
        spread = logits.std(axis=1) if logits.shape[1] > 1 else np.abs(logits[:, 0])
        share = _share(classifier, images.x, logits)
    predicted = logits.argmax(axis=1)
    return pd.DataFrame(
        {
            "image": images.names,
            "stage": stage.index,
            "layer": stage.layer,
            "predicted": predicted,
            "predicted_name": [class_name(classifier, index) for index in predicted],
            "probability": shares[rows, predicted],
            "target": targets,
            "target_probability": shares[rows, targets],
            "target_logit": logits[rows, targets],
            "logit_std": spread,
            "between_share": share,
            "entropy": entropy,
        }
    )


def _share(classifier: "Classifier", x: np.ndarray, logits: np.ndarray) -> float:
    """How much of what the network says lies between images; see `between_share`.

    Of fewer than ten outputs it is at most what the last kernel's input has (`feature_share`), and
    of one or two it is that, unless they are the same for every image.
    """
    share = between_share(logits)
    tensors = classifier.network.last_features
    if classifier.n_classes >= FEW or not tensors:
        return share
    if classifier.n_classes <= 2 and np.ptp(logits, axis=0).max() > 1e-6 * np.abs(logits).max():
        share = 1.0

    def features() -> Iterator[np.ndarray]:
        for start in range(0, len(x), classifier.batch_size):
            found = classifier.read(x[start : start + classifier.batch_size], tensors)
            # of a map or of tokens, their mean, which is what the logits are made of
            yield np.concatenate([f.mean(tuple(range(1, f.ndim - 1))) for f in found], axis=1)

    return min(share, feature_share(features()))


def probabilities(
    classifier: "Classifier", x: np.ndarray, logits: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Each class's probability (n, classes), and its entropy in nats (n,).

    The softmax of logits, the sigmoid of each, what the model says itself, or NaN where it says
    numbers: see `Ending.link`. Of labels that do not exclude each other it is the sum of the
    entropies of each.

    Args:
        classifier: The network.
        x: Images (n, H, W, C).
        logits: Theirs, (n, classes) float64.
    """
    ending = classifier.ending
    if ending.link == "softmax":
        log_softmax = _log_softmax(logits)
        softmax = np.exp(log_softmax)
        return softmax, -(softmax * log_softmax).sum(axis=1)
    if ending.link == "none":
        return np.full_like(logits, np.nan), np.full(len(logits), np.nan)
    if ending.link == "said":
        said = classifier.read(x, [ending.probabilities])[0].astype(np.float64)
        return said, _entropy(said).sum(axis=1)
    yes, no = np.exp(-np.logaddexp(0, -logits)), np.exp(-np.logaddexp(0, logits))
    entropy = _entropy(yes) if ending.link == "logistic" else _entropy(yes) + _entropy(no)
    return yes, entropy.sum(axis=1)


def _entropy(p: np.ndarray) -> np.ndarray:
    nats: np.ndarray = -p * np.log(np.where(p > 0, p, 1))
    return nats


def class_name(classifier: "Classifier", index: int) -> str:
    """A class's name, or its number where names are unknown."""
    if classifier.class_names:
        return classifier.class_names[index]
    return str(index) if classifier.n_classes > 1 else "the number"


def _log_softmax(logits: np.ndarray) -> np.ndarray:
    shifted = logits - logits.max(axis=1, keepdims=True)
    logarithms: np.ndarray = shifted - np.log(np.exp(shifted).sum(axis=1, keepdims=True))
    return logarithms


def printed(stage: "Stage", frame: "pd.DataFrame", class_names: Sequence[str] | None) -> list[str]:
    """The article's lines on a stage: what was randomized, and what is predicted now.

    Args:
        stage: The stage.
        frame: Its predictions, a row an image.
        class_names: The model's, if known.
    """
    lines = [f"Randomized: {name}" for name in stage.new]
    several = len(frame) > 1
    for row in frame.to_dict("records"):
        number = row["target"]
        target = class_names[number] if class_names else f"class {number}"
        called = target.split(",")[0].capitalize()
        named = f" ({row['predicted_name']})" if class_names else ""
        lines.append(
            (f"{row['image']}: " if several else "")
            + f"Predicted Label: {row['predicted']}{named} {called}: "
            + f"{row['target_probability']:.8f}"
        )
    return lines


@dataclass(frozen=True)
class Asked:
    """What the network is asked at every stage.

    Attributes:
        classifier: The network.
        images: What it sees.
        targets: (n,), the classes of stage 0.
        stages: Of its weights.
        dead: Least share of the logits' variance between images for masks to mean something.
        printed: Whether the article's lines are logged.
    """

    classifier: "Classifier"
    images: Images
    targets: np.ndarray
    stages: Sequence["Stage"]
    dead: float
    printed: bool = False


class StagePredictions:
    """The network's predictions at every stage; a line is logged for each.

    They are made stage by stage as the first batch goes through them: the weights of all stages
    take a while to make, and the first gradient need not wait for that.
    """

    def __init__(self, asked: Asked, folder: RunFolder):
        self._asked, self._folder = asked, folder
        self._frames: dict[int, pd.DataFrame] = {}

    def at(self, stage: "Stage") -> None:
        """Makes those of a stage, whose weights are in place."""
        asked, classifier = self._asked, self._asked.classifier
        frame = predictions(classifier, asked.images, asked.targets, stage)
        say(
            _stage_line(stage, frame, classifier),
            _short_line(stage, frame, asked.stages, classifier.ending.link == "none"),
        )
        if asked.printed:
            for line in printed(stage, frame, classifier.class_names):
                log.info("%s", line)
        if said := complaint(frame, asked.dead):
            log.warning("stage %2d  %s; its masks say nothing", stage.index, said)
        self._frames[stage.index] = frame
        if len(self._frames) == len(asked.stages):
            self._folder.write_predictions(self._joined())

    def reason(self, stage: "Stage") -> str:
        """Why the scores of a stage that was entered are none of its network; "" if they are."""
        frame = self._frames.get(stage.index)
        return "" if frame is None else unsound(frame) or ""

    def all(self) -> "pd.DataFrame":
        """Those of all stages, which are stored by then; the trained weights are back in place."""
        classifier = self._asked.classifier
        with classifier.weights.restored():
            for stage in self._asked.stages:
                if stage.index not in self._frames:  # where an earlier try had come so far
                    classifier.weights.put(stage.make_weights())
                    self.at(stage)
        return self._joined()

    def _joined(self) -> "pd.DataFrame":
        import pandas as pd

        return pd.concat([self._frames[k] for k in sorted(self._frames)], ignore_index=True)


def _stage_line(stage: "Stage", frame: "pd.DataFrame", classifier: "Classifier") -> str:
    changed = len(stage.new or stage.variables)
    verb = "learned anew" if stage.facts else "randomized"
    what = f"{stage.layer}: {changed} variables {verb}" if changed else stage.change
    numbers = classifier.ending.link == "none"
    if classifier.n_classes == 1:
        shown = f"{frame['target_logit'].mean():.3g} on average"
    else:
        shown = _counted(frame["predicted"], classifier)
    if stage.classes and not changed and stage.index:  # the network says what it said
        what += f": explained {_counted(frame['target'], classifier)}"
    how = "logit" if numbers else "probability"
    value = frame[f"target_{how}"].mean()
    share = frame["between_share"].iloc[0]
    apart = "" if np.isnan(share) else f"; logits differ between images: {share:.2f}"
    return (
        f"stage {stage.index:2d}  {what}; predicted {shown}; "
        f"target's {'value' if numbers else how} {value:.2g}{apart}"
    )


def _short_line(
    stage: "Stage", frame: "pd.DataFrame", stages: Sequence["Stage"], numbers: bool
) -> str:
    """A stage in at most 78 columns: what became of the classes, and of the one explained."""
    last, width = len(stages) - 1, min(24, max(len(one.layer) for one in stages) or 1)
    layer = stage.layer if len(stage.layer) <= width else f"…{stage.layer[1 - width :]}"
    value = frame["target_logit" if numbers else "target_probability"].mean()
    said = f"{'output' if numbers else 'probability'} {value:.2g}"
    if not numbers:
        same = int((frame["predicted"] == frame["target"]).sum())
        said = f"{same} of {len(frame)} still the class explained, {said}"
    return f"stage {stage.index:>{len(str(last))}}/{last}  {layer or 'as trained':<{width}}  {said}"


def _counted(classes: "pd.Series", classifier: "Classifier") -> str:
    """The first three classes, with how many images each has if that is more than one."""
    said = Counter(classes)
    labels = [
        f"{k} {class_name(classifier, k)}" + (f" (x{n})" if n > 1 else "") for k, n in said.items()
    ]
    return ", ".join(labels[:3]) + (f" and {len(labels) - 3} more" if len(labels) > 3 else "")
