"""Masks as a page can carry them: small greyscale pictures that it colours itself.

All stages of one method and image stand in one PNG, one below the other, as `display.scaled` makes
them and figures show them, in 31 steps: from -1 to 1 around zero if signed, from 0 to 1 if
absolute.
"""

import base64
import io
from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from PIL import Image

from sanity.report.display import STYLES, MaskStyle, scaled, shrink, visible, whole_factor
from sanity.report.page.data import Sprite

LEVELS = 31  # on either side of zero
SIDE = 160  # pixels of a mask's longer side, at the most
BUDGET = 14_000_000  # pixels of all masks of a page: at the most as many bytes, mostly two thirds
_IMAGES = 12  # of a run, at the most
# Below these the others give way first.
_FEW_IMAGES, _FEW_STAGES, _FEW_RUNS, _SMALL = 3, 8, 6, 56
_PHOTO = 320  # pixels of a photograph's longer side, at the most


@dataclass(frozen=True)
class Share:
    """What of a run's masks a page carries.

    Attributes:
        images: How many.
        stages: Which ones.
        methods: How many.
        shape: (height, width) of a stored mask.
        factor: By which masks are shrunk.
    """

    images: int
    stages: list[int]
    methods: int
    shape: tuple[int, ...]
    factor: int

    @property
    def size(self) -> tuple[int, int]:
        """(height, width) of a mask on the page."""
        return -(-self.shape[0] // self.factor), -(-self.shape[1] // self.factor)

    @property
    def pixels(self) -> int:
        """Of all its masks, in all styles."""
        height, width = self.size
        return self.images * len(self.stages) * self.methods * height * width * len(STYLES)


def share(images: int, stages: int, methods: int, shape: tuple[int, ...]) -> Share:
    """All that a page would like to carry of a run whose masks have this shape."""
    factor = whole_factor(shape, SIDE)
    return Share(min(images, _IMAGES), list(range(stages)), methods, shape[:2], factor)


def fit(shares: list[Share]) -> list[Share]:
    """Shares that fit together: fewer images, smaller ones, fewer stages, then the first runs only.

    The stages that stay are spread evenly, the first and the last among them.
    """
    shares = list(shares)
    while shares and sum(one.pixels for one in shares) > BUDGET:
        images = max(one.images for one in shares)
        stages = max(len(one.stages) for one in shares)
        largest = max(max(one.size) for one in shares)
        if images > _FEW_IMAGES:
            shares = [_with_images(one, images - 1) for one in shares]
        elif largest > _SMALL:
            shares = [_smaller(one, largest - 1) for one in shares]
        elif images > 1 and len(shares) > 1:
            shares = [_with_images(one, images - 1) for one in shares]
        elif stages > _FEW_STAGES:
            shares = [_with_stages(one, stages - 1) for one in shares]
        elif len(shares) > _FEW_RUNS:
            shares.pop()
        elif images > 1:
            shares = [_with_images(one, images - 1) for one in shares]
        elif stages > 2:
            shares = [_with_stages(one, stages - 1) for one in shares]
        else:
            shares.pop()
    return shares


def _with_images(one: Share, most: int) -> Share:
    return replace(one, images=min(one.images, most))


def _with_stages(one: Share, most: int) -> Share:
    if len(one.stages) <= most:
        return one
    kept = np.linspace(0, one.stages[-1], most).round().astype(int)
    return replace(one, stages=[int(stage) for stage in dict.fromkeys(kept)])


def _smaller(one: Share, side: int) -> Share:
    return replace(one, factor=max(one.factor, whole_factor(one.shape, side)))


def sprite(masks: Iterable[np.ndarray], style: MaskStyle, factor: int) -> Sprite:
    """One picture of several masks, one below the other.

    Args:
        masks: (H, W) or (H, W, C) each.
        style: What is shown of them.
        factor: By which they are shrunk.
    """
    zero = LEVELS if style == "signed" else 0
    parts, special = [], []
    for mask in masks:
        values, what = scaled(mask, style, factor)
        parts.append(np.rint(values * LEVELS + zero).astype(np.uint8))
        special.append(what)
    return {"png": _data_url(Image.fromarray(np.concatenate(parts)), "png"), "special": special}


def photograph(image: np.ndarray) -> str:
    """An explained image, uint8 (H, W, C), as a data URL."""
    pixels = shrink(visible(image), whole_factor(image.shape, _PHOTO))
    picture = Image.fromarray(np.rint(pixels).astype(np.uint8))
    small = max(picture.size) <= 64
    return _data_url(picture, "png" if small else "jpeg", **({} if small else {"quality": 85}))


def _data_url(picture: Image.Image, kind: str, **how: Any) -> str:
    buffer = io.BytesIO()
    level = {"compress_level": 4} if kind == "png" else {}  # as small as at the usual 6
    picture.save(buffer, kind, **level, **how)
    return f"data:image/{kind};base64,{base64.b64encode(buffer.getvalue()).decode()}"
