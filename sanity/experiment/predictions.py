"""What a network says at each stage."""

import logging
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from functools import reduce
from typing import TYPE_CHECKING

import numpy as np

from sanity.analysis.health import SEVERAL, complaint, unsound
from sanity.analysis.spread import FEW, Heard, Spread
from sanity.data import Images
from sanity.experiment.explaining import Entered
from sanity.progress import say
from sanity.results.folder import RunFolder
from sanity.results.listing import TRAINED
from sanity.results.units import unit_name

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
    one number its size), between_share (of the stage, see `Heard.share`), entropy (in nats).
    Logits that are not finite make NaN of whatever is computed from them.
    """
    said = predict(classifier, images, stage.explained(classifier, images, targets), stage)
    with np.errstate(invalid="ignore"):
        return said.frame.assign(between_share=said.heard.share)


@dataclass(frozen=True)
class Said:
    """What a network says of some images at a stage.

    Attributes:
        frame: As `predictions`; what takes all images, between_share, is NaN.
        heard: What that is told from.
    """

    frame: "pd.DataFrame"
    heard: Heard


def predict(
    classifier: "Classifier",
    images: Images,
    classes: np.ndarray,
    stage: "Stage",
    logits: np.ndarray | None = None,
) -> Said:
    """What the network says of some images, with a stage's weights in place.

    Args:
        classifier: The network.
        images: n of them.
        classes: (n,), those explained at this stage.
        stage: Whose weights are in place.
        logits: (n, classes), where they have been computed already.
    """
    import pandas as pd

    if logits is None:
        logits = classifier.logits(images.x)
    logits = logits.astype(np.float64)
    rows = np.arange(len(images))
    with np.errstate(invalid="ignore"):
        shares, entropy = probabilities(classifier, images.x, logits)
        spread = logits.std(axis=1) if logits.shape[1] > 1 else np.abs(logits[:, 0])
        heard = Heard(Spread.of(logits), _features(classifier, images.x))
    predicted = logits.argmax(axis=1)
    frame = pd.DataFrame(
        {
            "image": images.names,
            "stage": stage.index,
            "layer": stage.layer,
            "predicted": predicted,
            "predicted_name": [class_name(classifier, index) for index in predicted],
            "probability": shares[rows, predicted],
            "target": classes,
            "target_probability": shares[rows, classes],
            "target_logit": logits[rows, classes],
            "logit_std": spread,
            "between_share": np.nan,
            "entropy": entropy,
        }
    )
    return Said(frame, heard)


def _features(classifier: "Classifier", x: np.ndarray) -> Spread | None:
    """Of what the last kernel reads, where the outputs are too few to say enough."""
    tensors = classifier.network.last_features
    if classifier.n_classes >= FEW or not tensors:
        return None
    found = classifier.read(x, tensors)
    # of a map or of tokens, their mean, which is what the logits are made of
    return Spread.of(np.concatenate([f.mean(tuple(range(1, f.ndim - 1))) for f in found], axis=1))


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
        targets: (n,), the classes of stage 0; None if they are what it predicts as trained.
        stages: Of its weights.
        dead: Least share of the logits' variance between images for masks to mean something.
        printed: Whether the article's lines are logged.
    """

    classifier: "Classifier"
    images: Images
    targets: np.ndarray | None
    stages: Sequence["Stage"]
    dead: float
    printed: bool = False


@dataclass(frozen=True)
class Settled:
    """What is known once all images have been through all stages.

    Attributes:
        targets: (n,), the class explained of each image at stage 0.
        predictions: The columns that verdicts take, a row an image and stage.
        reasons: By stage, why its scores are none of its network.
    """

    targets: np.ndarray
    predictions: "pd.DataFrame"
    reasons: dict[int, str]


class StagePredictions:
    """The network's predictions, a group of images at a stage each, stored with its scores.

    A line is logged for each stage as the first group goes through it: so neither the first
    gradient nor memory waits for the last image.
    """

    def __init__(self, asked: Asked, folder: RunFolder):
        self._asked, self._folder = asked, folder
        self._made: dict[str, Said] = {}
        self._seen: set[int] = set()
        self._warned: set[int] = set()

    def at(self, entered: Entered) -> None:
        """Makes those of a group at a stage, whose weights are in place."""
        asked, stage = self._asked, entered.stage
        said = predict(
            asked.classifier, entered.images, entered.classes, stage, logits=entered.logits
        )
        self._made[unit_name(entered.group, stage.index)] = said
        if stage.index not in self._seen:
            self._seen.add(stage.index)
            self._say(entered.group, stage, said)
        if asked.printed:
            for line in printed(stage, said.frame, asked.classifier.class_names):
                log.info("%s", line)

    def take(self, unit: str) -> Said:
        """Those of a unit, once."""
        return self._made.pop(unit)

    def settle(self, groups: Sequence[range]) -> Settled:
        """Joins those that were stored with the units, which are all done, and stores them."""
        import pandas as pd

        targets: list[np.ndarray] = []
        slim, reasons = [], {}

        def settled(stage: "Stage") -> "pd.DataFrame":
            units = [unit_name(group, stage.index) for group in groups]
            frames, heard = zip(*self._folder.predictions(units), strict=True)
            with np.errstate(invalid="ignore", over="ignore"):
                share = reduce(Heard.__add__, map(Heard.unpacked, heard)).share
            frame: pd.DataFrame = pd.concat(frames, ignore_index=True)
            frame = frame.assign(between_share=share)
            if stage.index == 0:
                targets.append(frame["target"].to_numpy(np.int64))
            if reason := unsound(frame):
                reasons[stage.index] = reason
            self._warn(stage, frame)
            slim.append(frame[["stage", "logit_std", "target_logit", "between_share"]])
            return frame

        self._folder.write_predictions(map(settled, self._asked.stages))
        return Settled(targets[0], pd.concat(slim, ignore_index=True), reasons)

    def _say(self, group: range, stage: "Stage", said: Said) -> None:
        with np.errstate(invalid="ignore"):
            frame = said.frame.assign(between_share=said.heard.share)
        asked, link = self._asked, self._asked.classifier.ending.link
        some = len(group) < len(asked.images)
        named = f"images {group.start + 1} to" if len(group) > 1 else "image"
        which = f"; of {named} {group.stop}" if some else ""
        say(
            _stage_line(stage, frame, asked.classifier) + which,
            _short_line(stage, frame, asked.stages, link == "none", group if some else None),
        )
        self._warn(stage, frame, which)

    def _warn(self, stage: "Stage", frame: "pd.DataFrame", which: str = "") -> None:
        """Warns of a stage's network, once; of some images only where they are of several classes.

        Logits of one class are alike in a sound network too, and a folder's images are in order.
        """
        if stage.index in self._warned:
            return
        alone = bool(which) and frame["target"].nunique() == 1
        said = unsound(frame) if alone else complaint(frame, self._asked.dead)
        if said:
            self._warned.add(stage.index)
            then = "its masks say nothing" if stage.index or unsound(frame) else SEVERAL
            log.warning("stage %2d  %s; %s%s", stage.index, said, then, which)


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
    stage: "Stage",
    frame: "pd.DataFrame",
    stages: Sequence["Stage"],
    numbers: bool,
    some: range | None,
) -> str:
    """A stage in at most 78 columns: what became of the classes, and of the one explained.

    Args:
        stage: The stage.
        frame: What the network says of a group of images there.
        stages: All of them.
        numbers: Whether its outputs are no classes.
        some: Which images these are; None if all.
    """
    last, width = len(stages) - 1, min(24, max(len(one.layer or TRAINED) for one in stages))
    layer = stage.layer or TRAINED
    layer = layer if len(layer) <= width else f"…{layer[1 - width :]}"
    value = frame["target_logit" if numbers else "target_probability"].mean()
    said = f"{'output' if numbers else 'probability'} {value:.2g}"
    if not numbers:
        same = int((frame["predicted"] == frame["target"]).sum())
        which = f"{same} of {len(frame)} still"
        if some is not None and len(frame) > 1:
            which = f"{same} of images {some.start + 1}–{some.stop} still"
        elif some is not None:
            which = f"image {some.stop} {'still' if same else 'no longer'}"
        said = f"{which} the class explained, {said}"
    return f"stage {stage.index:>{len(str(last))}}/{last}  {layer:<{width}}  {said}"


def _counted(classes: "pd.Series", classifier: "Classifier") -> str:
    """The first three classes, with how many images each has if that is more than one."""
    said = Counter(classes)
    names = {k: class_name(classifier, k) for k in said}
    named = {k: str(k) if name == str(k) else f"{k} {name}" for k, name in names.items()}
    labels = [named[k] + (f" (x{n})" if n > 1 else "") for k, n in said.items()]
    return ", ".join(labels[:3]) + (f" and {len(labels) - 3} more" if len(labels) > 3 else "")
