"""The contracts of methods: what makes masks, and what makes them of gradients."""

from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from sanity.contents import Made
from sanity.data.images import Images
from sanity.errors import ConfigError
from sanity.methods.cost import Cost
from sanity.methods.points import Point
from sanity.methods.subject import Subject

if TYPE_CHECKING:
    from sanity.network.classifier import Classifier


class Method(Made, ABC):
    """A saliency method: from a network and images to masks.

    One of one's own derives from it, is a `@checked` dataclass of its parameters, and gives
    `masks`. It keeps nothing between calls that could change a mask, and draws only from generators
    keyed by (seed, image) (`sanity.randomness.generator`), so that masks depend neither on the
    order of things nor on what else is explained.

    Attributes:
        control: Whether it never looks at the network: it gets no verdict.
        draws: Whether masks may depend on the seed or the image's name. A class that does not say
            `draws = False` itself may, whatever the class says that it derives from.
    """

    control: ClassVar[bool] = False
    draws: ClassVar[bool] = True

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        cls.draws = bool(cls.__dict__.get("draws", True))

    @abstractmethod
    def masks(
        self,
        classifier: "Classifier",
        images: Images,
        targets: np.ndarray,
        seed: int,
        stage: int = 0,
    ) -> np.ndarray:
        """Masks (n, H, W) or (n, H, W, C), of the images' size, with the weights in place.

        Args:
            classifier: The network.
            images: n of them.
            targets: (n,), the class whose logit is explained in each.
            seed: Of what is drawn.
            stage: Which state of the weights is in place; 0 is the trained one.
        """

    def check(self, classifier: "Classifier") -> None:
        """Refuses what does not fit the model (ConfigError); called before anything is computed."""

    def cost(self, classifier: "Classifier", images: Images) -> Cost:
        """What it asks of the network for an image at a stage, shared gradients not counted."""
        return Cost()

    def depends_on_seed(self) -> bool:
        """Whether its masks, with the parameters it has, may depend on seed or image's name."""
        return self.draws

    def idle(self) -> dict[str, str]:
        """Parameters that change nothing beside the others, by name: why."""
        return {}


class GradientMethod(Method):
    """A weighted sum over points of a term in the gradient there, and what finishes it.

    A method says which points it needs; the plan computes the gradients, once for all methods, and
    adds their terms up in double precision. Only `points` must be given.

    Attributes:
        powers: Powers of the gradient that are a term, stacked where there are several: times
            `factor` they can be added up on a graphics card, unless a class writes a `term` of its
            own and not this: each gradient is fetched then.
    """

    powers: ClassVar[tuple[int, ...]] = (1,)
    _powers_say_all: ClassVar[bool] = True

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        cls._powers_say_all = cls.term is GradientMethod.term or (
            {"term", "powers"} <= cls.__dict__.keys()
        )

    @property
    def card_powers(self) -> tuple[int, ...] | None:
        """The `powers` that a graphics card adds up; None where only `term` says what a term is."""
        return self.powers if self._powers_say_all else None

    @property
    def rule(self) -> str:
        """The backprop rule of its gradients, see `network.passes.backprop_rules`."""
        return "plain"

    @abstractmethod
    def points(self) -> Mapping[Point, float]:
        """The points at which gradients are needed, each with its weight in the sum."""

    def term(self, gradient: np.ndarray, point: Point, subject: Subject) -> np.ndarray:
        """What a gradient (H, W, C) float64 contributes, of any shape: by default its `powers`."""
        factor = self.factor(point, subject)
        found = [gradient if power == 1 else gradient**power for power in self.powers]
        if factor is not None:
            found = [one * factor for one in found]
        return found[0] if len(found) == 1 else np.stack(found)

    def factor(self, point: Point, subject: Subject) -> np.ndarray | None:
        """What a gradient's powers are multiplied by, (H, W, C); None, by default, for 1."""
        return None

    def scale(self, subject: Subject) -> np.ndarray | None:
        """What a mask is the sum of the terms times, (H, W, C); None, by default, for 1."""
        return None

    def finish(self, total: np.ndarray, subject: Subject) -> np.ndarray:
        """The mask (H, W, C), from the weighted sum of the terms: by default times the `scale`."""
        scale = self.scale(subject)
        return total if scale is None else total * scale

    def complete(
        self,
        masks: np.ndarray,
        classifier: "Classifier",
        subjects: list[Subject],
        targets: np.ndarray,
    ) -> np.ndarray:
        """The final masks of some images, where more than gradients is needed: once a stage."""
        return masks

    def check(self, classifier: "Classifier") -> None:
        """Refuses what does not fit the model (ConfigError)."""
        classifier.network.check_rule(self.rule)

    def masks(
        self,
        classifier: "Classifier",
        images: Images,
        targets: np.ndarray,
        seed: int,
        stage: int = 0,
    ) -> np.ndarray:
        """Masks (n, H, W, C), by a plan for this method alone."""
        from sanity.methods.plan import Plan

        subjects = [Subject(x, name, seed) for x, name in zip(images.x, images.names, strict=True)]
        plan = Plan({"": self}).prepare(subjects, targets, classifier.batch_size)
        return plan.explain(classifier)[""]


class AdaptedMethod(Method):
    """A class of somebody's own that only has `masks(classifier, images, targets, seed)`.

    Attributes:
        own: An instance of it.
    """

    def __init__(self, own: Any):
        self.own = own

    def __repr__(self) -> str:
        return repr(self.own)

    def origin(self) -> Any:
        """The class of one's own."""
        return self.own

    def masks(
        self,
        classifier: "Classifier",
        images: Images,
        targets: np.ndarray,
        seed: int,
        stage: int = 0,
    ) -> np.ndarray:
        """Its own masks."""
        masks: np.ndarray = self.own.masks(classifier, images, targets, seed)
        return masks

    def check(self, classifier: "Classifier") -> None:
        """Its own check, if it has one."""
        if hasattr(self.own, "check"):
            self.own.check(classifier)

    def cost(self, classifier: "Classifier", images: Images) -> Cost:
        """Its own cost, if it says."""
        return self.own.cost(classifier, images) if hasattr(self.own, "cost") else Cost()

    def depends_on_seed(self) -> bool:
        """Unless its class says that it draws nothing."""
        return bool(type(self.own).__dict__.get("draws", True))


def as_method(value: Any, key: str) -> Method:
    """A method as the contract has it; a class that is not derived from it must have `masks`.

    Raises:
        ConfigError: It is no method.
    """
    if isinstance(value, Method):
        return value
    if callable(getattr(value, "masks", None)):
        return AdaptedMethod(value)
    raise ConfigError(
        f"{key}={type(value).__name__} is no method: derive it from sanity.methods.Method and give "
        "it masks(…), or from sanity.methods.GradientMethod and give it points()"
    )
