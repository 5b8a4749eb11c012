"""What verdicts are made by."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Annotated

from pydantic import Field

from sanity.checked import checked
from sanity.errors import ConfigError

if TYPE_CHECKING:
    from sanity.metrics.base import Described


@checked
class Thresholds:
    """What verdicts are made by, see `analysis.verdicts`; nothing here changes a score.

    Attributes:
        primary: The metric that decides; None for the first that has an identity.
        threshold: Early similarity above is insensitive, below sensitive.
        early: The early stages are 1 to ⌈S / early⌉ of S.
        images: Fewer give no verdict: least number at which intervals cover what they claim.
        dead: Least share of the logits' variance between images for masks to mean something.
        alike: How alike the masks of different images may be, from 0 as unrelated to 1 as equal.
    """

    primary: str | None = None
    threshold: Annotated[float, Field(gt=0, lt=1)] = 0.5
    early: Annotated[int, Field(ge=1)] = 3
    images: Annotated[int, Field(ge=2)] = 5
    dead: Annotated[float, Field(ge=0, le=1)] = 0.05
    alike: Annotated[float, Field(gt=0, le=1)] = 0.9


def primary_metric(metrics: Mapping[str, "Described | None"], primary: str | None) -> str | None:
    """The metric that decides: the one asked for, else the first that has an identity.

    Raises:
        ConfigError: There is no such metric, or it has no identity.
    """
    able = [name for name, m in metrics.items() if m is not None and m.identity is not None]
    if primary is not None and primary not in able:
        raise ConfigError(
            f"verdict.primary={primary} must be a metric of the run that can give verdicts: "
            f"{', '.join(able) or 'it has none'}"
        )
    return primary or next(iter(able), None)
