"""Effort: what is left to compute, weighed by the time it takes, for one bar over all methods."""

from collections.abc import Callable
from dataclasses import dataclass

from sanity.methods.cost import Cost
from sanity.progress import Tick


@dataclass(frozen=True)
class Times:
    """Seconds of one pass; 0 where there are none.

    Attributes:
        gradient: Of a gradient.
        forward: Of a forward pass.
    """

    gradient: float
    forward: float

    def seconds(self, cost: Cost) -> float:
        """How long something takes, about."""
        return cost.gradients * self.gradient + cost.forward * self.forward


@dataclass(frozen=True)
class Effort:
    """All that is to be computed, as a bar counts it.

    The bar's length is the number of passes, but its steps are in proportion to time, so that it
    moves evenly though a gradient takes some three times as long as a forward pass.

    Attributes:
        total: Gradients and forward passes.
        times: What each takes.
    """

    total: Cost
    times: Times

    @property
    def passes(self) -> int:
        """The bar's length."""
        return self.total.gradients + self.total.forward

    @property
    def unit(self) -> str:
        """What the bar counts."""
        if self.total.gradients and self.total.forward:
            return "pass"
        return "forward pass" if self.total.forward else "gradient"

    def done(self, tick: Tick) -> Callable[[Cost], None]:
        """Takes what has been computed, and moves the bar on by whole units."""
        seconds = self.times.seconds(self.total)
        scale = self.passes / seconds if seconds else 0.0
        exact, shown = 0.0, 0

        def add(cost: Cost) -> None:
            nonlocal exact, shown
            exact += scale * self.times.seconds(cost)
            whole = int(exact + 1e-6) - shown
            if whole:
                shown += whole
                tick(whole)

        return add
