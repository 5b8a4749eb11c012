"""What figures are made with: fixed settings, literal text, inches, and saving."""

import io
import os
from collections.abc import Iterable, Iterator, Sequence
from contextlib import closing, contextmanager
from functools import cache, lru_cache
from pathlib import Path
from typing import Any

import matplotlib
import numpy as np
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.backends.backend_mixed import MixedModeRenderer
from matplotlib.backends.backend_pdf import PdfFile, RendererPdf
from matplotlib.figure import Figure
from matplotlib.font_manager import FontProperties, findfont, fontManager, get_font
from matplotlib.textpath import text_to_path
from PIL import Image

from sanity.report.style import INK, MUTED

MARGIN = 0.08  # around a figure, inches
PAD = 0.05  # between what is drawn and what is written beside it
LINE = 1.35 / 72  # height of a line of text, inches a point of its size
LONGEST = 32  # characters of a label

# DejaVu Sans comes with Matplotlib; the others are taken, where installed, for what it lacks.
_FAMILIES = (
    "DejaVu Sans",
    "Noto Sans CJK JP",
    "Noto Sans JP",
    "IPAexGothic",
    "Hiragino Sans",
    "Yu Gothic",
    "PingFang SC",
    "Microsoft YaHei",
    "WenQuanYi Micro Hei",
    "Arial Unicode MS",
)
_UNDATED: dict[str, dict[str, Any]] = {
    "pdf": {"CreationDate": None},
    "svg": {"Date": None},
}


@contextmanager
def fixed() -> Iterator[None]:
    """Matplotlib's defaults and ours, whatever a matplotlibrc or the caller has set."""
    with matplotlib.rc_context():
        matplotlib.rcdefaults()
        matplotlib.rcParams.update(
            {
                "font.family": _families(),
                "axes.edgecolor": MUTED,
                "axes.linewidth": 0.6,
                "hatch.linewidth": 0.6,
                "text.color": INK,
                "pdf.fonttype": 42,
                "pdf.compression": 1,  # of masks as small as at the usual 6
                "svg.fonttype": "none",
                "svg.hashsalt": "sanity",
            }
        )
        yield


def save(
    fig: Figure,
    path: str | os.PathLike[str],
    formats: Sequence[str] = ("png", "pdf", "svg"),
    dpi: float | None = None,
) -> list[Path]:
    """Writes a figure, each file atomically; the same figure gives the same bytes.

    PDFs embed their fonts and can be searched for text; SVGs have text as text.

    Args:
        fig: The figure.
        path: Without suffix; its folder is made.
        formats: Suffixes, without dot.
        dpi: Dots an inch, in PDF and SVG of masks and images; by default the figure's own if it has
            pictures, else as many as make 2100 in the width, but 150 to 200 in a PNG and 150 to 300
            in others.

    Returns:
        The files written.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    files = []
    for suffix in formats:
        dots = dpi or _dots(fig, suffix)
        buffer = io.BytesIO()
        with fixed():
            if suffix == "png":
                # Without transparency, an eighth smaller; and as small as at the usual level 6.
                opaque = Image.fromarray(_drawn(fig, dots))
                opaque.save(buffer, "PNG", dpi=(dots, dots), compress_level=1)
            else:
                fig.savefig(buffer, format=suffix, dpi=dots, metadata=_UNDATED.get(suffix))
        file = path.with_name(f"{path.name}.{suffix}")
        partial = path.with_name(f".{path.name}.{os.getpid()}.{suffix}")
        partial.write_bytes(buffer.getvalue())
        os.replace(partial, file)
        files.append(file)
    return files


def _drawn(fig: Figure, dpi: float) -> np.ndarray:
    """A figure's pixels (H, W, 3), uint8."""
    before, fig.dpi = fig.dpi, dpi
    try:
        canvas: Any = FigureCanvasAgg(fig)
        canvas.draw()
        pixels: np.ndarray = np.asarray(canvas.buffer_rgba())[..., :3].copy()
        return pixels
    finally:
        fig.dpi = before


def save_pages(pages: Iterable[Figure], path: str | os.PathLike[str]) -> Path:
    """Writes figures as the pages of one PDF, atomically, each at its own resolution.

    Args:
        pages: Figures, which are made one after the other.
        path: Without suffix.

    Returns:
        The file.
    """
    file = Path(f"{os.fspath(path)}.pdf")
    file.parent.mkdir(parents=True, exist_ok=True)
    partial = file.with_name(f".{file.name}.{os.getpid()}")
    try:
        with fixed(), closing(_PAGES(partial, metadata=_UNDATED["pdf"])) as pdf:
            for page in pages:
                _add_page(pdf, page)
            pdf.finalize()
        os.replace(partial, file)
    finally:
        partial.unlink(missing_ok=True)
    return file


class _Pages(PdfFile):
    """A PDF that writes pictures after the page they are on, and then lets go of them.

    Matplotlib's holds all of them to its end, which comes when somebody waits for it.
    """

    def writeImages(self) -> None:  # noqa: N802 (Matplotlib's)
        """Writes what is not written yet; keeps the names, by which pages know their pictures."""
        written = {key: held for key, held in self._images.items() if held[0] is None}
        self._images = {key: held for key, held in self._images.items() if key not in written}
        write: Any = super().writeImages
        write()
        for _, name, reference in self._images.values():
            written[name] = None, name, reference  # a key of its own: others are pictures' ids
        self._images = written


_PAGES: Any = _Pages  # Matplotlib's backends have no types
_MIXED: Any = MixedModeRenderer
_RENDERER: Any = RendererPdf


def _add_page(pdf: Any, page: Figure) -> None:
    """Draws a figure as the next page, at its own resolution, and writes its pictures."""
    width, height = page.get_size_inches()
    dpi, page.dpi = page.dpi, 72  # points, in which a PDF measures
    pdf.newPage(width, height)
    renderer = _MIXED(page, width, height, dpi, _RENDERER(pdf, dpi, height, width))
    page.draw(renderer)
    renderer.finalize()
    pdf.endStream()
    pdf.writeImages()
    page.dpi = dpi


def _dots(fig: Figure, suffix: str) -> float:
    if any(isinstance(artist, Picture) for artist in fig.artists):
        return float(fig.dpi)
    most = 200 if suffix == "png" else 300
    return float(min(most, max(150, 2100 / fig.get_size_inches()[0])))


class Picture(Artist):
    """Pixels that are drawn as they are, one a dot of the figure's own resolution.

    Attributes:
        pixels: (H, W, 3), uint8.
    """

    def __init__(self, pixels: np.ndarray, x: float, y: float, dpi: float):
        super().__init__()
        self.pixels = pixels
        self._inches = x, y, pixels.shape[0] / dpi

    def draw(self, renderer: Any) -> None:
        """Draws it where it belongs."""
        fig: Any = self.get_figure()
        x, y, height = self._inches
        below = fig.get_size_inches()[1] - y - height
        gc = renderer.new_gc()
        place = round(x * fig.dpi, 6), round(below * fig.dpi, 6)
        renderer.draw_image(gc, *place, self._for(renderer))
        gc.restore()

    def _for(self, renderer: Any) -> np.ndarray:
        """The pixels as a renderer takes them, from below; a PDF's in grey where they are.

        It would find out by looking up each of their colours, a tenth of all that drawing takes.
        """
        pixels = self.pixels[::-1]
        if hasattr(renderer, "file"):  # only a PDF's has one, which holds them until its last page
            first = pixels[..., :1]
            return np.ascontiguousarray(first if (pixels == first).all() else pixels)
        whole = np.full((*pixels.shape[:2], 4), 255, np.uint8)
        whole[..., :3] = pixels
        return whole


def place_picture(fig: Figure, pixels: np.ndarray, x: float, y: float) -> None:
    """Places pixels (H, W, 3), uint8, at (x, y), inches from the figure's upper left corner."""
    fig.add_artist(Picture(pixels, x, y, fig.dpi))


def axes(fig: Figure, x: float, y: float, width: float, height: float) -> Axes:
    """Bare axes at (x, y), inches from the figure's upper left corner."""
    w, h = fig.get_size_inches()
    ax = fig.add_axes((x / w, 1 - (y + height) / h, width / w, height / h))
    ax.set_axis_off()
    return ax


def write(fig: Figure, x: float, y: float, text: str, size: float, **how: Any) -> None:
    """Writes at (x, y), inches from the figure's upper left corner."""
    w, h = fig.get_size_inches()
    fig.text(x / w, 1 - y / h, text, size=size, parse_math=False, **how)


def literal(text: str, longest: int = LONGEST) -> str:
    """A name as it is shown: cut in the middle if long, its code for what no font can show."""
    text = str(text)
    if len(text) > longest:
        text = f"{text[: longest // 2 - 1]}…{text[-longest // 2 :]}"
    return "".join(
        c if c.isprintable() and ord(c) in _glyphs() else c.encode("unicode_escape").decode()
        for c in text
    )


def heading(text: str, size: float, width: float) -> tuple[str, float]:
    """A bold line as it is shown, and its size so that it fits into a width in inches."""
    text = literal(text, 200)
    return text, min(size, size * (width - 2 * MARGIN) / (1.2 * text_width(text, size)))


@lru_cache(4096)
def text_width(text: str, size: float) -> float:
    """The width of a line of text, in inches, `size` in points."""
    font = FontProperties(family=_families())
    width = text_to_path.get_text_width_height_descent(text, font, ismath=False)[0]
    return width / font.get_size_in_points() * size / 72


@cache
def _families() -> list[str]:
    installed = set(fontManager.get_font_names())
    return [family for family in _FAMILIES if family in installed]


@cache
def _glyphs() -> frozenset[int]:
    files = [findfont(FontProperties(family=[family])) for family in _families()]
    return frozenset().union(*(get_font(file).get_charmap() for file in files))
