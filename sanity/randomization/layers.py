"""Which of a model's blocks are randomized."""

import re
from collections.abc import Sequence
from typing import Annotated, Any

from pydantic import Field

from sanity.checked import checked
from sanity.errors import ConfigError


@checked
class Layers:
    """A choice among a model's blocks; without any of these, all of them.

    Attributes:
        names: The blocks by name; their order stays the model's own, from output to input.
        last: The number of blocks, counted from the output.
        pattern: A regular expression that must match somewhere in a block's name.
    """

    names: list[str] | None = None
    last: Annotated[int, Field(ge=1)] | None = None
    pattern: str | None = None

    def select(self, blocks: Sequence[str]) -> list[str]:
        """The chosen blocks, from output to input.

        Raises:
            ConfigError: A name is none of the model's, there are fewer, or nothing is left.
        """
        if not blocks:
            raise ConfigError(
                "the model has no layer with a kernel to randomize: model.blocks=[…] must name "
                "its blocks, each by a part of its variables' names"
            )
        there = f"the model's blocks are: {', '.join(blocks)}"
        unknown = [name for name in self.names or [] if name not in blocks]
        if unknown:
            raise ConfigError(f"layers.names={unknown} matches no block; {there}")
        try:
            pattern = re.compile(self.pattern or "")
        except re.error as error:
            raise ConfigError(
                f"layers.pattern={self.pattern} is no regular expression: {error}"
            ) from error
        if self.last is not None and self.last > len(blocks):
            raise ConfigError(f"layers.last={self.last} must be at most {len(blocks)}; {there}")
        chosen = [block for block in blocks if self.names is None or block in self.names]
        chosen = [block for block in chosen if pattern.search(block)][: self.last]
        if not chosen:
            keys = {"names": self.names, "pattern": self.pattern}
            given = " ".join(f"layers.{k}={v}" for k, v in keys.items() if v is not None)
            raise ConfigError(f"{given} leaves no block; {there}")
        return chosen


def as_layers(value: Any, key: str) -> Layers:
    """A choice of blocks; a class that is not derived from `Layers` must have `select`.

    Raises:
        ConfigError: It has none.
    """
    if callable(getattr(value, "select", None)):
        return value  # type: ignore[no-any-return]  # of one's own
    raise ConfigError(
        f"{key}={type(value).__name__} chooses no blocks: derive it from "
        "sanity.randomization.Layers and give it select(blocks)"
    )
