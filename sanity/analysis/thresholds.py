"""What verdicts are made by."""

from typing import Annotated

from pydantic import Field

from sanity.checked import checked


@checked
class Thresholds:
    """What verdicts are made by, see `analysis.verdicts`; nothing here changes a score."""

    threshold: Annotated[float, Field(gt=0, lt=1)] = 0.5
    images: Annotated[int, Field(ge=2)] = 6
    dead: Annotated[float, Field(ge=0, le=1)] = 0.05
