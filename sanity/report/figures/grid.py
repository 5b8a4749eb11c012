"""The grid of masks, methods × stages: as one figure, and on pages for print.

Masks are shrunk by whole factors and drawn pixel for pixel, all of a page as one picture.
"""

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import matplotlib
import numpy as np
from matplotlib.figure import Figure

from sanity.report.display import MaskStyle, check_style, scaled, whole_factor
from sanity.report.figures.canvas import (
    LINE,
    MARGIN,
    PAD,
    axes,
    fixed,
    heading,
    literal,
    place_picture,
    text_width,
    write,
)
from sanity.report.figures.masks import COLORMAPS, draw_color_key, draw_image, draw_special
from sanity.results.listing import TRAINED

SCREEN, PRINT = 150, 300  # dots an inch
PAGE = (6.9, 9.2)  # inches: a page's text in a two-column paper
_CELL = (1 / 3, 1.7)  # width of a mask in print, inches, at least and at most
_WIDE = 14.0  # inches of masks beside each other on the screen
_GAP = 0.03  # between cells, inches
_HEADERS: Mapping[int, Mapping[str, str]] = {
    0: {"ha": "center", "va": "baseline"},
    45: {"ha": "left", "va": "baseline", "rotation_mode": "anchor"},
    90: {"ha": "center", "va": "bottom"},
}


def mask_grid(
    image: np.ndarray,
    masks: Mapping[str, np.ndarray],
    layers: Sequence[str],
    style: MaskStyle = "signed",
    *,
    names: Mapping[str, str] | None = None,
    title: str = "",
) -> Figure:
    """The masks of one image: rows methods, columns stages, the image in the upper left corner.

    Each mask has its own colour limits, see `display.scaled`. One that is not finite is hatched, a
    constant one flat grey, and both say so.

    Args:
        image: (H, W, C) or (H, W), in [0, 1].
        masks: (S, H, W) or (S, H, W, C) by method.
        layers: S names: of stage 0 `""` or `"trained"`, then of the block randomized at each.
        style: `signed`, summed over channels, in `coolwarm`; or `absolute`, the sum of absolute
            values, in grey.
        names: What methods are called in the figure, if not by their name.
        title: Above the grid, beside the image.

    Returns:
        A figure for the screen, of `SCREEN` dots an inch.

    Raises:
        ValueError: Nothing to show, numbers of stages differ, or no such style.
    """
    grid = _Grid.of(image, masks, layers, names)
    check_style(style)
    sheet = _Sheet(SCREEN, 8.0, _screen_pixels(grid.shape, len(layers)))
    band = _Band(range(len(layers)), range(len(masks)))
    (figure,) = _figures(grid, [[band]], sheet, style, title)
    return figure


def grid_pages(
    image: np.ndarray,
    masks: Mapping[str, np.ndarray],
    layers: Sequence[str],
    style: MaskStyle = "signed",
    *,
    names: Mapping[str, str] | None = None,
    title: str = "",
) -> Iterator[Figure]:
    """The same for print: pages within `PAGE`, masks of a third of an inch or more.

    Stages that do not fit beside each other go on below, methods that do not fit on the next page.

    Args:
        image: See `mask_grid`, and for the others.
        masks: Of the image.
        layers: Of the stages.
        style: How masks are shown.
        names: Of methods.
        title: Above each page's grid.

    Yields:
        Figures of `PRINT` dots an inch.

    Raises:
        ValueError: See `mask_grid`.
    """
    grid = _Grid.of(image, masks, layers, names)
    check_style(style)
    sheet = _Sheet(PRINT, 6.5, 0, PAGE[0])
    free = PAGE[0] - sheet.left(grid) - MARGIN
    sheet = _Sheet(PRINT, 6.5, _print_pixels(grid.shape, len(layers), free), PAGE[0])
    across = max(1, int((free + _GAP) / (sheet.cell(grid)[0] + _GAP)))
    across = math.ceil(len(layers) / math.ceil(len(layers) / across))  # bands of equal length
    columns = [
        range(start, min(start + across, len(layers))) for start in range(0, len(layers), across)
    ]
    yield from _figures(grid, _on_pages(grid, columns, sheet), sheet, style, title)


@dataclass(frozen=True)
class _Grid:
    """What is shown.

    Attributes:
        image: The image.
        masks: (S, H, W[, C]) each.
        rows: What the methods are called.
        columns: What the stages are called.
    """

    image: np.ndarray
    masks: Sequence[np.ndarray]
    rows: Sequence[str]
    columns: Sequence[str]

    @classmethod
    def of(
        cls,
        image: np.ndarray,
        masks: Mapping[str, np.ndarray],
        layers: Sequence[str],
        names: Mapping[str, str] | None,
    ) -> "_Grid":
        if not masks or not layers:
            raise ValueError("there must be a method and a stage to show")
        for method, mask in masks.items():
            if np.ndim(mask) not in (3, 4) or len(mask) != len(layers):
                raise ValueError(
                    f"the masks of {method} have shape {np.shape(mask)}: it must be (S, H, W) or "
                    f"(S, H, W, C), S the number of layers, {len(layers)}"
                )
        rows = [literal((names or {}).get(method, method)) for method in masks]
        columns = [literal(layer or TRAINED) for layer in layers]
        return cls(image, list(masks.values()), rows, columns)

    @property
    def shape(self) -> tuple[int, int]:
        """Height and width of a mask."""
        height, width = np.shape(self.masks[0])[1:3]
        return height, width


@dataclass(frozen=True)
class _Sheet:
    """What it is drawn on.

    Attributes:
        dpi: Dots an inch.
        font: Size of text.
        pixels: About how many a mask's longer side is to have, at least.
        width: Inches; None for what the columns need.
    """

    dpi: int
    font: float
    pixels: int
    width: float | None = None

    def factors(self, shape: tuple[int, int]) -> tuple[int, int]:
        """By which a mask is shrunk, then repeated."""
        return _factors(max(shape), self.pixels)

    def cell(self, grid: _Grid) -> tuple[float, float]:
        """Width and height of a mask, in inches."""
        down, up = self.factors(grid.shape)
        height, width = (-(-length // down) * up / self.dpi for length in grid.shape)
        return width, height

    def row_font(self, grid: _Grid) -> float:
        """Of the methods' names, which take at most a fifth of the width."""
        beside = max(text_width(name, self.font) for name in grid.rows)
        if self.width is None or beside <= self.width / 5:
            return self.font
        return max(4.0, self.font * self.width / 5 / beside)

    def left(self, grid: _Grid) -> float:
        """Where the first column begins, inches: on a whole pixel."""
        beside = max(text_width(name, self.row_font(grid)) for name in grid.rows)
        return _whole(MARGIN + max(beside, 8 * self.font / 72) + PAD, self.dpi)

    def angle(self, names: Iterable[str], pitch: float) -> int:
        """By which column headers are turned so that they do not overlap."""
        widest = max(text_width(name, self.font) for name in names)
        if widest <= pitch:
            return 0
        return 45 if pitch >= 1.3 * self.font * LINE else 90

    def head(self, names: Sequence[str], pitch: float) -> float:
        """Height of column headers."""
        widest = max(text_width(name, self.font) for name in names)
        line = self.font * LINE
        return {0: line, 45: 0.71 * widest + line, 90: widest}[self.angle(names, pitch)] + PAD


@dataclass(frozen=True)
class _Band:
    """A part of a grid that stands together: these stages of these methods."""

    columns: range
    rows: range


def _factors(side: int, wanted: int) -> tuple[int, int]:
    """By how much a side is shrunk, then repeated, to have `wanted` pixels or a few more."""
    if side < wanted:
        return 1, math.ceil(wanted / side)
    down = max(1, whole_factor((side, side), max(wanted, 1)) - 1)
    while -(-side // (down + 1)) >= wanted:
        down += 1
    while down > 1 and -(-side // down) < wanted:
        down -= 1
    return down, 1


def _screen_pixels(shape: tuple[int, int], stages: int) -> int:
    """Of a mask's longer side on the screen: more where there are few stages."""
    return int(min(_CELL[1], max(0.5, _WIDE / stages - _GAP)) * SCREEN / 1.25)


def _print_pixels(shape: tuple[int, int], stages: int, free: float) -> int:
    """Of a mask's longer side in print: so that all stages stand side by side, but enough."""
    least = math.ceil(_CELL[0] * PRINT)
    most = int(min(_CELL[1], free / stages - _GAP) * PRINT)
    side = max(shape)
    for pixels in range(most, least, -1):
        down, up = _factors(side, pixels)
        if -(-side // down) * up <= most:
            return pixels
    return least


def _on_pages(grid: _Grid, columns: Sequence[range], sheet: _Sheet) -> list[list[_Band]]:
    """Bands by page: whole ones where they fit, else as many methods as do."""
    width, height = sheet.cell(grid)
    names = [grid.columns[k] for k in range(len(grid.columns))]
    head = sheet.head(names, width + _GAP)
    room = PAGE[1] - _top(sheet, True) - _foot(sheet)
    most = max(1, int((room - head) / (height + _GAP)))
    pages: list[list[_Band]] = [[]]
    left = room
    for band in columns:
        for start in range(0, len(grid.rows), most):
            rows = range(start, min(start + most, len(grid.rows)))
            needed = head + len(rows) * (height + _GAP)
            if pages[-1] and needed > left:
                pages.append([])
                left = room
            pages[-1].append(_Band(band, rows))
            left -= needed
    return pages


def _top(sheet: _Sheet, title: bool) -> float:
    return MARGIN + title * 2 * sheet.font * LINE


def _foot(sheet: _Sheet) -> float:
    return 1.5 * sheet.font * LINE + MARGIN


def _whole(inches: float, dpi: int) -> float:
    return math.ceil(inches * dpi - 1e-6) / dpi


def _figures(
    grid: _Grid, pages: Sequence[Sequence[_Band]], sheet: _Sheet, style: MaskStyle, title: str
) -> Iterator[Figure]:
    """A figure a page."""
    colors = _colors(style)
    for number, bands in enumerate(pages):
        many = f"{title}{', ' if title else ''}{number + 1} of {len(pages)}"
        yield _figure(grid, bands, sheet, style, many if len(pages) > 1 else title, colors)


def _figure(
    grid: _Grid,
    bands: Sequence[_Band],
    sheet: _Sheet,
    style: MaskStyle,
    title: str,
    colors: np.ndarray,
) -> Figure:
    dpi, (width, height), left = sheet.dpi, sheet.cell(grid), sheet.left(grid)
    pitch, rise = _whole(width + _GAP, dpi), _whole(height + _GAP, dpi)
    names = [[grid.columns[k] for k in band.columns] for band in bands]
    heads = [sheet.head(some, pitch) for some in names]
    photo = min(left - MARGIN - PAD, max(1.5 * width, 0.5))
    tall = photo * grid.shape[0] / grid.shape[1]
    heads[0] = max(heads[0], tall + PAD)
    across = max(len(band.columns) for band in bands)
    turned = sheet.angle(names[0], pitch) == 45
    right = MARGIN + (
        0.71 * max(text_width(some[-1], sheet.font) for some in names) if turned else 0
    )
    top = _whole(_top(sheet, bool(title)), dpi)
    total = sum(heads) + sum(len(band.rows) for band in bands) * rise
    size = (
        _whole(left + across * pitch - _GAP + right, dpi),
        _whole(top + total + _foot(sheet), dpi),
    )
    special: set[str] = set()
    with fixed():
        fig = Figure(figsize=size, dpi=dpi)
        if title:
            text, points = heading(title, sheet.font + 2, size[0])
            write(
                fig,
                left if sheet.width is None else MARGIN,
                MARGIN,
                text,
                points,
                va="top",
                weight="bold",
            )
        y = top
        for number, (band, head) in enumerate(zip(bands, heads, strict=True)):
            if number == 0:
                corner = left - PAD - photo, y + head - PAD - tall
                draw_image(axes(fig, *corner, photo, tall), grid.image)
            y = _whole(y + head, dpi)
            _write_headers(fig, sheet, left, y - PAD, pitch, width, names[number])
            for row, method in enumerate(band.rows):
                middle = y + row * rise + height / 2
                how = {"ha": "right", "va": "center_baseline"}
                write(fig, left - PAD, middle, grid.rows[method], sheet.row_font(grid), **how)
            special |= _draw_band(fig, grid, band, sheet, style, (left, y), colors)
            y += len(band.rows) * rise
        draw_color_key(fig, left, sheet.font, style, special)
    return fig


def _write_headers(
    fig: Figure,
    sheet: _Sheet,
    left: float,
    y: float,
    pitch: float,
    width: float,
    names: Sequence[str],
) -> None:
    angle = sheet.angle(names, pitch)
    every = max(1, math.ceil(sheet.font * LINE / pitch)) if angle == 90 else 1
    for k in range(0, len(names), every):
        x = left + k * pitch + width / 2
        write(fig, x, y, names[k], sheet.font, rotation=angle, **_HEADERS[angle])


def _draw_band(
    fig: Figure,
    grid: _Grid,
    band: _Band,
    sheet: _Sheet,
    style: MaskStyle,
    corner: tuple[float, float],
    colors: np.ndarray,
) -> set[str]:
    """Draws a band as one picture from its upper left corner; returns what is special in it."""
    dpi, (width, height) = sheet.dpi, sheet.cell(grid)
    down, up = sheet.factors(grid.shape)
    pitch, rise = (round(_whole(length + _GAP, dpi) * dpi) for length in (width, height))
    wide, tall = round(width * dpi), round(height * dpi)
    shape = (len(band.rows) - 1) * rise + tall, (len(band.columns) - 1) * pitch + wide
    picture = np.full((*shape, 3), 255, np.uint8)
    odd = []
    for row, method in enumerate(band.rows):
        for column, stage in enumerate(band.columns):
            values, special = scaled(grid.masks[method][stage], style, down)
            if special:
                odd.append((row, column, special))
                continue
            cell = colors[_levels(values, style)]
            cell = cell.repeat(up, 0).repeat(up, 1) if up > 1 else cell
            y, x = row * rise, column * pitch
            picture[y : y + tall, x : x + wide] = cell
    left, top = corner
    place_picture(fig, picture, left, top)
    for row, column, special in odd:
        where = left + column * pitch / dpi, top + row * rise / dpi
        draw_special(axes(fig, *where, width, height), special, width)
    return {special for _, _, special in odd}


def _colors(style: MaskStyle) -> np.ndarray:
    """255 colours (255, 3), uint8: with white around them no more than a palette holds."""
    table: np.ndarray = matplotlib.colormaps[COLORMAPS[style]](np.linspace(0, 1, 255), bytes=True)
    return table[:, :3]


def _levels(values: np.ndarray, style: MaskStyle) -> np.ndarray:
    low = -1 if style == "signed" else 0
    levels: np.ndarray = (values - low) / (1 - low) * 254 + 0.5
    return levels.astype(np.uint8)
