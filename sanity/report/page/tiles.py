"""Masks as a page can carry them: small greyscale pictures that it colours itself.

All stages of one method and image stand in one PNG, one below the other. A mask is summed over
channels, divided by its limit (see `sanity.report.display.signed_limits`), clipped to [-1, 1],
shrunk, and rounded to multiples of 1/31: 31 is zero. So signed, absolute and overlaid masks are
made of the same bytes.
"""

import base64
import io
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np
from PIL import Image

from sanity.report.display import channel_sum, signed_limits, visible

LEVELS = 31  # on either side of zero
SIDE = 160  # pixels of a mask's longer side, at the most
BUDGET = 12_000_000  # pixels of all masks of a page: 7 to 12 MB
_IMAGES = 12  # of a run, at the most
_FEW_IMAGES, _FEW_STAGES, _FEW_RUNS = 3, 8, 6  # below these the others give way first
_PHOTO = 320  # pixels of a photograph's longer side, at the most


@dataclass
class Share:
    """What of a run's masks a page carries.

    Attributes:
        images: The first so many.
        stages: Which ones.
        methods: How many.
        size: (height, width) of a mask on the page.
    """

    images: int
    stages: list[int]
    methods: int
    size: tuple[int, int]

    @property
    def pixels(self) -> int:
        """Of all its masks."""
        return self.images * len(self.stages) * self.methods * self.size[0] * self.size[1]


def share(images: int, stages: int, methods: int, shape: tuple[int, ...]) -> Share:
    """All that a page would like to carry of a run whose masks have this shape."""
    return Share(min(images, _IMAGES), list(range(stages)), methods, shrunk(shape, SIDE))


def fit(shares: list[Share]) -> list[Share]:
    """Shares that fit together: fewer images, then fewer stages, then the first runs only.

    The stages that stay are spread evenly, the first and the last among them.
    """
    shares = [Share(s.images, s.stages, s.methods, s.size) for s in shares]

    def most(of: str) -> int:
        return max(s.images if of == "images" else len(s.stages) for s in shares)

    while shares and sum(s.pixels for s in shares) > BUDGET:
        few = most("images") <= _FEW_IMAGES, most("stages") <= _FEW_STAGES
        if not few[0]:
            _fewer_images(shares, most("images") - 1)
        elif not few[1]:
            _fewer_stages(shares, most("stages") - 1)
        elif len(shares) > _FEW_RUNS:
            shares.pop()
        elif most("images") > 1:
            _fewer_images(shares, most("images") - 1)
        elif most("stages") > 2:
            _fewer_stages(shares, most("stages") - 1)
        else:
            shares.pop()
    return shares


def _fewer_images(shares: list[Share], most: int) -> None:
    for one in shares:
        one.images = min(one.images, most)


def _fewer_stages(shares: list[Share], most: int) -> None:
    for one in shares:
        if len(one.stages) > most:
            kept = np.linspace(0, one.stages[-1], most).round().astype(int)
            one.stages = [int(stage) for stage in dict.fromkeys(kept)]


def shrunk(shape: tuple[int, ...], side: int) -> tuple[int, int]:
    """Height and width with the longer at most `side`."""
    scale = min(1.0, side / max(shape[:2]))
    return max(1, round(shape[0] * scale)), max(1, round(shape[1] * scale))


def sprite(masks: Iterable[np.ndarray], size: tuple[int, int]) -> tuple[str, list[str]]:
    """One picture of several masks, one below the other.

    Args:
        masks: (H, W) or (H, W, C) each.
        size: (height, width) of a mask in the picture.

    Returns:
        A PNG as a data URL, and what is special of each mask: `NaN`, `infinite`, `constant`, or ``.
    """
    parts, special = [], []
    for mask in masks:
        levels, what = quantised(mask, size)
        parts.append(levels)
        special.append(what)
    return _data_url(Image.fromarray(np.concatenate(parts)), "png"), special


def quantised(mask: np.ndarray, size: tuple[int, int]) -> tuple[np.ndarray, str]:
    """A mask as uint8 of 0 to 62, 31 for zero, and what is special about it."""
    values = channel_sum(mask)
    if not np.isfinite(values).all():
        return np.full(size, LEVELS, np.uint8), "NaN" if np.isnan(values).any() else "infinite"
    if values.min() == values.max():
        return np.full(size, LEVELS, np.uint8), "constant"
    scaled = np.clip(values / signed_limits(values)[1], -1, 1).astype(np.float32)
    if scaled.shape != size:
        small = Image.fromarray(scaled).resize((size[1], size[0]), Image.Resampling.BOX)
        scaled = np.asarray(small)
    return np.rint(scaled * LEVELS + LEVELS).astype(np.uint8), ""


def photograph(image: np.ndarray) -> str:
    """An explained image, uint8 (H, W, C), as a data URL."""
    picture = Image.fromarray(visible(image))
    height, width = shrunk(image.shape, _PHOTO)
    if (width, height) != picture.size:
        picture = picture.resize((width, height), Image.Resampling.LANCZOS)
    small = max(picture.size) <= 64
    return _data_url(picture, "png" if small else "jpeg", **({} if small else {"quality": 85}))


def _data_url(picture: Image.Image, kind: str, **how: Any) -> str:
    buffer = io.BytesIO()
    picture.save(buffer, kind, **how)
    return f"data:image/{kind};base64,{base64.b64encode(buffer.getvalue()).decode()}"
