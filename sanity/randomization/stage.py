"""Stage: one state of the weights."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from sanity.checked import own_code, read_only
from sanity.errors import ConfigError

if TYPE_CHECKING:
    from sanity.data import Images
    from sanity.network.anatomy.parameters import Parameter
    from sanity.network.classifier import Classifier


# From the network with a stage's weights in place, images and the classes explained at stage 0.
Classes = Callable[["Classifier", "Images", np.ndarray], np.ndarray]


@dataclass(frozen=True)
class Stage:
    """One state of the weights.

    Attributes:
        index: 0 is the network as trained.
        layer: The block randomized at this stage; `""` at stage 0, `all` if all at once.
        variables: Names of all variables that differ from the trained ones.
        draw: Gives the value of such a variable.
        new: Those that were randomized at this stage, re-estimated statistics not among them.
        depth: The block's place in the graph: how many ops lie between the images and the first
            use of a variable in `new`, at the most.
        facts: What else is known of it, for run.json and the log.
        classes: Gives the class explained of each image, (n,), if that is not stage 0's.
    """

    index: int
    layer: str
    variables: tuple[str, ...]
    draw: Callable[[str], np.ndarray]
    new: tuple[str, ...] = ()
    depth: int = 0
    facts: Mapping[str, Any] = field(default_factory=dict)
    classes: Classes | None = None

    def __repr__(self) -> str:
        changed = f", {self.n_randomized} variables" if self.variables else ""
        return f"Stage({self.index}, {self.change!r}{changed})"

    def explained(
        self, classifier: "Classifier", images: "Images", targets: np.ndarray
    ) -> np.ndarray:
        """The class explained of each image, (n,), given stage 0's; needs the weights in place."""
        return self.classes(classifier, images, targets) if self.classes else targets

    @property
    def change(self) -> str:
        """What sets it apart from stage 0, in words."""
        if not self.index:
            return "as trained"
        return self.layer if self.facts or not self.variables else f"{self.layer} randomized"

    @property
    def n_randomized(self) -> int:
        """How many variables differ from the trained ones."""
        return len(self.variables)

    def make_weights(self) -> dict[str, np.ndarray]:
        """Draws what differs from the trained weights; statistics go through the network."""
        return {name: self.draw(name) for name in self.variables}


def explained_classes(
    stage: Stage, classifier: "Classifier", images: "Images", targets: np.ndarray
) -> np.ndarray:
    """The class that a stage explains of each of n images, (n,), read-only: see `Stage.explained`.

    Raises:
        ConfigError: A stage of one's own gives something else.
    """
    with own_code(f"randomization: classes of the stage {stage.layer}"):
        given = stage.explained(classifier, images, targets)
    who = f"randomization: the stage {stage.layer or stage.index}"
    return sound_classes(given, len(images), classifier.n_classes, who)


def sound_classes(given: Any, n: int, count: int, who: str) -> np.ndarray:
    """The class explained of each of n images, (n,), read-only.

    Args:
        given: What somebody gave.
        n: How many images there are.
        count: How many classes the network has.
        who: Must give the classes, for the message.

    Raises:
        ConfigError: It is something else.
    """
    found = np.asarray(given)
    whole = found.dtype.kind in "iu" and found.shape == (n,)
    if not whole or found.min(initial=0) < 0 or found.max(initial=0) >= max(count, 1):
        raise ConfigError(
            f"{who} must give a class from 0 to {count - 1} for each of {n} images, of the shape "
            f"({n},), not {given}"
        )
    classes: np.ndarray = read_only(found)
    return classes


def predicted(classifier: "Classifier", images: "Images", targets: np.ndarray) -> np.ndarray:
    """The classes that a stage's own network predicts (Adebayo et al. 2018's code): `Classes`."""
    classes: np.ndarray = classifier.logits(images.x).argmax(axis=1)
    return classes


def randomized(
    blocks: Sequence[str], parameters: Mapping[str, "Parameter"], stages: Sequence[Stage]
) -> list[dict[str, Any]]:
    """How large each block is and what of it is random by stage, for run.json.

    Args:
        blocks: Of the network, from output to input.
        parameters: The network's, by name.
        stages: Of the weights.

    Returns:
        For each block, and for what is in none (`""`) though the output depends on it: name,
        parameters (their number) and randomized (how many of them are not as trained at each stage,
        re-estimated statistics of batch norm not among them).
    """
    drawn: set[str] = set()
    random = []
    for stage in stages:
        drawn |= set(stage.new or stage.variables)
        random.append(drawn & set(stage.variables))
    found = []
    for block in [*blocks, ""]:
        inside = [p for p in parameters.values() if p.block == block and p.reaches]
        if inside or block:
            counts = [sum(p.size for p in inside if p.name in names) for names in random]
            size = sum(p.size for p in inside)
            found.append({"name": block, "parameters": size, "randomized": counts})
    return found
