"""Which images of a source are taken."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from typing import Annotated, Self

from pydantic import Field

from sanity.checked import checked
from sanity.data.base import Dataset
from sanity.data.images import Shape
from sanity.errors import ConfigError, name_some


@checked
class Selection(Dataset):
    """Which images of a source: those named, else the first `limit`; and of these one share.

    `shards` jobs with `shard` 0, 1, … divide the images among them: this one takes every
    `shards`-th, beginning with number `shard`.
    """

    limit: Annotated[int, Field(ge=1)] | None = None
    names: Annotated[list[str], Field(min_length=1)] | None = None
    shard: Annotated[int, Field(ge=0)] = 0
    shards: Annotated[int, Field(ge=1)] = 1

    def __post_init__(self) -> None:
        if self.shard >= self.shards:
            raise ConfigError(
                f"data.shard={self.shard} must be below data.shards={self.shards}: "
                "shards are counted from 0"
            )
        repeated = [name for name, n in Counter(self.names or ()).items() if n > 1]
        if repeated:
            raise ConfigError(f"data.names holds {', '.join(repeated)} more than once")

    def idle(self, shape: Shape) -> dict[str, str]:
        """A limit, where images are named."""
        return {} if self.names is None else {"limit": "data.names says which images"}

    def select(self, available: Sequence[str]) -> list[int]:
        """Positions in `available` of the selected images.

        Raises:
            ConfigError: A name isn't there, or this shard is left without an image.
        """
        place = {name: i for i, name in enumerate(available)}
        unknown = [name for name in self.names or () if name not in place]
        if unknown:
            raise ConfigError(
                f"data.names: there is no image {name_some(unknown)}; there are "
                f"{name_some(available)}"
            )
        chosen = [place[name] for name in self.names or list(available)[: self.limit]]
        mine = chosen[self.shard :: self.shards]
        if not mine:
            raise ConfigError(
                f"data.shard={self.shard} of data.shards={self.shards} is left without an image: "
                f"only {len(chosen)} are selected"
            )
        return mine

    def available(self) -> list[str]:
        """The names of all images of the source, of which some are selected."""
        raise NotImplementedError

    def count(self) -> int:
        """How many images the source has."""
        return len(self.available())

    def names_of_all(self) -> list[str]:
        """The names of the images of all shards of a job."""
        available = self.available()
        return [available[i] for i in replace(self, shard=0, shards=1).select(available)]

    def named(self, names: Sequence[str]) -> Self:
        """Those of all shards' images that have these names."""
        return replace(self, shard=0, shards=1, limit=None, names=list(names))

    def unsharded(self, most: int) -> Self:
        """The same, whatever the shard of a job, and of that at most the first so many."""
        whole = replace(self, shard=0, shards=1)
        if self.names is None and (self.limit is None or self.limit > most):
            whole = replace(whole, limit=most)
        return whole
