"""The keys outside the groups."""

import os
import re
from typing import Annotated, Literal

from pydantic import AfterValidator, BeforeValidator, Field

from sanity.analysis.thresholds import Thresholds
from sanity.checked import Text, checked
from sanity.errors import ConfigError
from sanity.methods.coordinates import Coordinates


@checked
class Masks:
    """Which images' masks are stored.

    Attributes:
        keep: All, none, or the first so many images.
    """

    keep: Literal["all", "none"] | Annotated[int, Field(ge=0)] = "all"

    def count(self, images: int) -> int:
        """For how many of a number of images masks are stored."""
        if self.keep == "all":
            return images
        return 0 if self.keep == "none" else min(images, self.keep)


@checked
class Runtime:
    """How a job runs; nothing here changes a result but its rounding."""

    batch_size: Literal["auto"] | Annotated[int, Field(ge=2)] = 16
    threads: Annotated[int, Field(ge=1)] | None = None
    progress: Literal["auto", "bar", "lines", "none"] = "auto"
    log_level: Literal["debug", "info", "warning", "error"] = "info"
    gpus_per_job: Annotated[int, Field(ge=1)] | None = None
    gpus: Annotated[int, Field(ge=1)] | None = None

    @property
    def first_batch_size(self) -> int:
        """The size that batches have, or are tried with first."""
        return 24 if self.batch_size == "auto" else self.batch_size


def _folder_name(name: str) -> str:
    if not re.fullmatch(r"\w[\w.+-]*", name):
        raise ValueError("must be a plain name: letters, digits, _, -, + and . (not first)")
    return name


def _folder(path: str) -> str:
    if not path.strip():
        raise ValueError("must name a folder; the current one is output=.")
    return os.path.expanduser(path)


def _one_class(target: object) -> object:
    if isinstance(target, list | tuple):
        names = ",".join(map(str, target))
        raise ValueError(f"must be one class: a sweep, -m target={names}, explains each by itself")
    return target


@checked
class Settings:
    """The keys outside the groups; `conf/config.yaml` says what each is."""

    name: Annotated[Text, AfterValidator(_folder_name)] = "default"
    seed: Annotated[int, Field(ge=0)] = 0
    noise_seed: Annotated[int, Field(ge=0)] = 0
    target: Annotated[Annotated[int, Field(ge=0)] | str, BeforeValidator(_one_class)] = "predicted"
    coordinates: Coordinates = Field(default_factory=lambda: [0.0, 1.0])
    precision: Literal["float32", "tf32", "bfloat16"] = "float32"
    null_model: Literal["other_image", "shuffled"] = "other_image"
    null_images: Annotated[int, Field(ge=2)] = 4
    masks: Masks = Masks()
    figures: Literal["grids", "stages", "none"] = "grids"
    report: bool = True
    objective: str | list[str] | None = None
    output: Annotated[Text, AfterValidator(_folder)] = "outputs"
    originals: bool = True
    dry_run: bool = False
    force: bool = False
    verdict: Thresholds = Thresholds()
    runtime: Runtime = Runtime()

    def __post_init__(self) -> None:
        if self.runtime.gpus is not None and not self.dry_run:
            raise ConfigError(
                f"runtime.gpus={self.runtime.gpus} is what dry_run=true reckons with: a run itself "
                "is divided by data.shards, and runtime.gpus_per_job=1 gives each job a device"
            )

    @property
    def wanted(self) -> list[str]:
        """The numbers that a job returns, by name."""
        asked = self.objective
        return [] if asked is None else [asked] if isinstance(asked, str) else list(asked)
