"""The dataclass behind every `_target_`: it checks its own fields when it is made."""

from typing import Any, dataclass_transform

from pydantic import ConfigDict
from pydantic.dataclasses import dataclass

_decorate = dataclass(
    frozen=True,
    kw_only=True,
    config=ConfigDict(strict=True, extra="forbid", arbitrary_types_allowed=True),
)


@dataclass_transform(kw_only_default=True, frozen_default=True)
def checked(cls: type) -> Any:
    """Makes a frozen, keyword-only dataclass that refuses wrong types, ranges and unknown fields.

    Raises (when an instance is made):
        pydantic.ValidationError: `sanity.config` turns it into a sentence that names the key.
    """
    return _decorate(cls)
