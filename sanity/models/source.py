"""What all models from outside share: their input, their classes, their blocks."""

import logging
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import numpy as np
from pydantic import AfterValidator, Field

from sanity.checked import Text, checked
from sanity.contents import Content, files_among
from sanity.data import imagenet_class_names
from sanity.errors import ConfigError
from sanity.models.base import Declared, Model
from sanity.models.explained import check_by_itself, say_what_is_explained
from sanity.models.inputs import Fitted

if TYPE_CHECKING:
    from sanity.models.module import Entry
    from sanity.network.classifier import Classifier

log = logging.getLogger(__name__)

Positive = Annotated[int, Field(ge=1)]
_GREATEST = 1e30  # of scales: what is divided by one and multiplied by another stays in float32
Pair = Annotated[list[float], Field(min_length=2, max_length=2)]


def _apart(names: list[str]) -> list[str]:
    if twice := next((name for name in names if names.count(name) > 1), None):
        raise ValueError(f"holds {twice} more than once")
    return names


@checked
class Source(Model):
    """A model from outside.

    Attributes:
        input_shape: [height, width, channels]; None where the model itself says it.
        output: The output explained; None where there is but one vector.
        activation: What makes probabilities of an output that ends in logits: `softmax`, `sigmoid`
            (of one logit for two classes, of several for labels that do not exclude each other) or
            `none` (numbers); None for a softmax, and for a number where there is but one.
        reduce: What makes one vector of an output that has one at many places (a map, boxes):
            `mean`, `max`, or one place; None where it is a vector.
        n_classes: How many classes there are; None to see when it is loaded.
        class_offset: The model's class for label 0: 1 where class 0 is "background".
        class_names: `imagenet`, or a text file with a name a line; None where unknown.
        blocks: From output to input; None finds them, see `sanity.network.anatomy.blocks`.
        sha256: Of the weights, as `sanity.inspect` prints it; None takes any.
    """

    input_shape: Annotated[list[Positive], Field(min_length=3, max_length=3)] | None = None
    output: Text | None = None
    activation: Literal["softmax", "sigmoid", "none"] | None = None
    reduce: Literal["mean", "max"] | list[Annotated[int, Field(ge=0)]] | None = None
    n_classes: Positive | None = None
    class_offset: Annotated[int, Field(ge=0)] = 0
    class_names: Text | None = None
    blocks: Annotated[list[Text], Field(min_length=1), AfterValidator(_apart)] | None = None
    sha256: Text | None = None

    def declared(self) -> Declared:
        """What its keys say."""
        shape = self.input_shape
        known = None if shape is None else (shape[0], shape[1], shape[2])
        return Declared(self.blocks, self.n_classes, known)

    def shape(self, own: Sequence[int | None] | None) -> tuple[int, int, int]:
        """The input's shape, from what is asked for and what the model says.

        Args:
            own: What the model says, (height, width, channels), None for what it leaves open.

        Raises:
            ConfigError: They contradict each other, or leave something open.
        """
        own = own or (None, None, None)
        asked = self.input_shape or (None, None, None)
        pairs = list(zip(asked, own, strict=True))
        if any(a and b and a != b for a, b in pairs):
            raise ConfigError(
                f"model.input_shape={self.input_shape} is not what the model takes: {_open(own)}"
            )
        found = [a or b for a, b in pairs]
        if None in found:
            raise ConfigError(
                f"model.input_shape=[height,width,channels] must be given: the model leaves "
                f"{_open(own)} open"
            )
        height, width, channels = (int(size) for size in found if size)
        return height, width, channels

    def classifier(
        self,
        function: Callable[[Any], Any],
        shape: tuple[int, int, int],
        name: str,
        variables: Mapping[str, Any] | None = None,
        initializers: Mapping[str, Callable[..., Any]] | None = None,
    ) -> "Classifier":
        """The classifier around a function, checked against what was asked for.

        Args:
            function: From images in [0, 1] to the model's outputs.
            shape: Of an image.
            name: What messages call it.
            variables: By name.
            initializers: What variables were made with, by name, where that is known.

        Raises:
            ConfigError: It is no classifier, or not the one that was asked for.
        """
        from sanity.network.classifier import Classifier

        names = self._names()
        classifier = Classifier(
            function,
            shape,
            name=name,
            output=self.output,
            activation=self.activation,
            reduce=self.reduce,
            blocks=self.blocks,
            variables=variables,
            class_offset=self.class_offset,
            class_names=names,
            initializers=initializers,
        )
        if self.n_classes not in (None, classifier.n_classes):
            raise ConfigError(
                f"model.n_classes={self.n_classes} is not what the output "
                f"{classifier.ending.output} of {name} has: {classifier.n_classes}"
            )
        if self.class_offset >= classifier.n_classes:
            raise ConfigError(
                f"model.class_offset={self.class_offset} must be below the number of classes, "
                f"{classifier.n_classes}: it is the class that label 0 stands for"
            )
        if names is not None and len(names) != classifier.n_classes:
            raise ConfigError(
                f"model.class_names={self.class_names} has {len(names)} names, "
                f"but the model has {classifier.n_classes} classes"
            )
        if not classifier.parameters:
            raise ConfigError(
                f"{name} has nothing that could be randomized: no variables, and no constants that "
                "weigh anything of the images"
            )
        if self.sha256 not in (None, classifier.weights.sha256):
            raise ConfigError(
                f"model.sha256={self.sha256} is not the hash of these weights: "
                f"{classifier.weights.sha256}"
            )
        check_blocks(classifier)
        check_by_itself(classifier)
        say_what_is_explained(classifier)
        return classifier

    def sources(self) -> dict[str, Content]:
        """The file of class names."""
        if self.class_names in (None, "imagenet"):
            return {}
        return files_among(class_names=self.class_names)

    def _names(self) -> list[str] | None:
        if self.class_names is None:
            return None
        if self.class_names == "imagenet":
            return ["background"] * self.class_offset + imagenet_class_names()
        try:
            text = Path(self.class_names).expanduser().read_text("utf-8-sig")
        except (OSError, UnicodeDecodeError) as error:
            reason = getattr(error, "strerror", None) or "it is no text in UTF-8"
            raise ConfigError(
                f"model.class_names={self.class_names} must be imagenet or a text file with "
                f"a name a line: {reason}"
            ) from error
        return [name.strip() for name in text.rstrip().splitlines()]


@checked
class ScaledSource(Source):
    """A model that has to be told how it wants its images.

    Attributes:
        range: What the images' [0, 1] becomes before the model sees them; None leaves it, unless
            the model scales its images itself and wants another.
        mean: Subtracted after that, one number or one a channel.
        std: Divided by at last, one number or one a channel.
        inputs: Values of the inputs that take no images, by name.
    """

    range: Pair | None = None
    mean: float | list[float] | None = None
    std: float | list[float] | None = None
    inputs: dict[str, Any] = Field(default_factory=dict)

    def __post_init__(self) -> None:
        if self.range is not None and self.range[0] >= self.range[1]:
            raise ConfigError(f"model.range={self.range} must be a lower and a higher number")
        for key, value in (("range", self.range), ("mean", self.mean), ("std", self.std)):
            if value is not None and np.abs(value).max(initial=0) > _GREATEST:
                raise ConfigError(f"model.{key}={value} is too great for the network's float32")
        if self.std is not None and not np.all(np.asarray(self.std) > 1 / _GREATEST):
            raise ConfigError(f"model.std={self.std} must be above 0")

    def classifier_of(
        self,
        entry: "Entry",
        name: str,
        key: str,
        initializers: Mapping[str, Callable[..., Any]] | None = None,
    ) -> "Classifier":
        """The classifier around a function of a loaded model; see `classifier`.

        Args:
            entry: The function, and what it takes.
            name: What messages call it.
            key: What messages call the file: `model.path=…`.
            initializers: What variables were made with, by name, where that is known.
        """
        from sanity.models.fitting import fit

        fitted = fit(entry.function, entry.inputs, self.inputs, self.input_shape, key)
        scaled = self._scaling(fitted, key)
        shape = self.shape(fitted.shape)
        variables = {**fitted.variables, **entry.variables}
        classifier = self.classifier(
            lambda x: fitted.function(scaled(x)), shape, name, variables, initializers
        )
        if scaled == self.scaled and self.range is None and self.mean is None and self.std is None:
            check_range(classifier)
        return classifier

    def _scaling(self, fitted: Fitted, key: str) -> Callable[[Any], Any]:
        """From images in [0, 1] to what the model wants, as asked for or as it says itself."""
        asked = self.range is not None or self.mean is not None or self.std is not None
        if fitted.scale is None or (asked and not fitted.decodes):
            return self.scaled
        if asked:
            raise ConfigError(
                f"{key} decodes and scales its images itself: leave model.range, model.mean and "
                "model.std as they are"
            )
        low, high = fitted.scale
        return lambda images: low + images * (high - low)

    def shape(self, own: Sequence[int | None] | None) -> tuple[int, int, int]:
        """The input's shape, as above; checks the scaling against it."""
        shape = Source.shape(self, own)
        for key, value in (("mean", self.mean), ("std", self.std)):
            if isinstance(value, list) and len(value) != shape[2]:
                raise ConfigError(f"model.{key}={value} must be {shape[2]} numbers, or one")
        return shape

    def scaled(self, images: Any) -> Any:
        """Images in [0, 1] as the model wants them, within its graph."""
        low, high = self.range or (0.0, 1.0)
        if (low, high) != (0.0, 1.0):
            images = images * (high - low) + low
        if self.mean is not None:
            images = images - np.asarray(self.mean, np.float32)
        if self.std is not None:
            images = images / np.asarray(self.std, np.float32)
        return images


def check_range(classifier: "Classifier") -> None:
    """Makes sure that a model which scales its images itself can be meant to get [0, 1].

    Raises:
        ConfigError: It makes nearly one grey of it, and another range would do.
    """
    from sanity.network.anatomy.preprocessing import propose_range

    seen = classifier.network.seen
    if seen is None or seen.complaint is None:
        return
    wanted = propose_range(seen, (0.0, 1.0))
    if wanted is not None:
        low, high = wanted
        raise ConfigError(
            f"model.range must be given: {classifier.name} scales its images itself, and of images "
            f"in [0, 1] {seen.complaint}: model.range=[{low:g},{high:g}] is what it seems to want, "
            "model.range=[0,1] leaves the images as they are"
        )


def check_blocks(classifier: "Classifier") -> None:
    """Makes sure that each block holds something; logs the variables in none.

    Raises:
        ConfigError: A block's name stands in the name of no variable that the output depends on.
    """
    from sanity.network.anatomy.parameters import block_of

    parameters = [p for p in classifier.parameters.values() if p.reaches]
    held = {parameter.block for parameter in parameters}
    empty = [block for block in classifier.blocks if block not in held]
    beyond = [p for p in classifier.parameters.values() if not p.reaches]
    elsewhere = {block_of(parameter.name, empty) for parameter in beyond} - {""}
    if elsewhere:
        raise ConfigError(
            f"model.blocks: {', '.join(sorted(elsewhere))} plays no part in the output "
            f"{classifier.ending.output}, which is explained: leave it out"
        )
    if empty:
        some = [parameter.name for parameter in parameters]
        shown = ", ".join(some[:3] + ["…"] * (len(some) > 6) + some[max(3, len(some) - 3) :])
        raise ConfigError(
            f"model.blocks: {', '.join(empty)} stands in the name of no variable; "
            f"these are: {shown}"
        )
    if beyond:
        log.info(
            "%d of %d variables do not reach the output %s: they are no part of what is explained",
            len(beyond),
            len(classifier.parameters),
            classifier.ending.output,
        )
    left = [parameter.name for parameter in parameters if not parameter.block]
    if left:
        log.info("in no block, never randomized: %s", ", ".join(left))


def _open(shape: Sequence[int | None]) -> str:
    return "×".join("any" if size is None else str(size) for size in shape)
