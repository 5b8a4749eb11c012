"""The article's figure of a stage."""

import math
from collections.abc import Mapping

import numpy as np
from matplotlib.figure import Figure

from sanity.report.display import MaskStyle, check_style
from sanity.report.figures.canvas import (
    LINE,
    MARGIN,
    PAD,
    axes,
    fixed,
    heading,
    literal,
    text_width,
    write,
)
from sanity.report.figures.masks import draw_color_key, draw_image, draw_mask


def article_stage(
    image: np.ndarray,
    masks: Mapping[str, np.ndarray],
    title: str = "",
    style: MaskStyle = "signed",
    *,
    columns: int = 3,
    width_inches: float | None = None,
    image_label: str = "image",
) -> Figure:
    """One stage of one image: the image, then its masks, row by row, labelled above.

    Args:
        image: (H, W, C) or (H, W), in [0, 1].
        masks: (H, W) or (H, W, C) by label.
        title: Above the panels, e.g. what was randomized and what is predicted now.
        style: See `mask_grid`.
        columns: Panels in a row.
        width_inches: Of the figure; by default 2.1 a panel.
        image_label: Above the image.

    Raises:
        ValueError: No such style.
    """
    check_style(style)
    columns = min(columns, len(masks) + 1)
    rows = math.ceil((len(masks) + 1) / columns)
    width = width_inches or columns * 2.1
    cell = (width - 2 * MARGIN - (columns - 1) * PAD) / columns
    height = cell * np.shape(image)[0] / np.shape(image)[1]
    font = 9.0 if cell > 1.5 else 6.5
    head = 1.4 * font * LINE
    top = MARGIN + (1.4 * (font + 1) * LINE if title else 0)
    foot = PAD + 1.2 * font * LINE
    special = set()
    with fixed():
        fig = Figure(figsize=(width, top + rows * (head + height + PAD) + foot + MARGIN))
        if title:
            text, size = heading(title, font + 1, width)
            write(fig, MARGIN, MARGIN, text, size, va="top", weight="bold")
        panels: list[tuple[str, np.ndarray | None]] = [(image_label, None), *masks.items()]
        for index, (label, mask) in enumerate(panels):
            x = MARGIN + index % columns * (cell + PAD)
            y = top + index // columns * (head + height + PAD) + head
            label = literal(label, 48)
            size = min(font, font * cell / max(text_width(label, font), 0.1))
            write(fig, x + cell / 2, y - 0.3 * head, label, size, ha="center")
            ax = axes(fig, x, y, cell, height)
            if mask is None:
                draw_image(ax, image)
            else:
                special.add(draw_mask(ax, mask, style, cell))
        draw_color_key(fig, MARGIN, font, style, special)
    return fig


def stage_figure(
    image: np.ndarray,
    masks: Mapping[str, np.ndarray],
    stage: int,
    change: str,
    predicted: str,
    explained: str,
) -> Figure:
    """The article's figure of a stage: the image and its masks, six panels for five methods.

    Args:
        image: (H, W, C).
        masks: (H, W) or (H, W, C) by method.
        stage: Its index.
        change: What sets it apart from stage 0, as `Stage.change`.
        predicted: What the network says now.
        explained: The class that the masks explain.
    """
    title = f"stage {stage}, {change}: {predicted}"
    return article_stage(image, masks, title, image_label=f"explained: {explained}")
