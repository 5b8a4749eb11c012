"""What is made of a finished run, from its folder alone: figures and the page."""

import gc
import hashlib
import logging
import math
import re
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import cache, partial
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from sanity.analysis.schemes import load_schemes
from sanity.analysis.thresholds import Thresholds
from sanity.checked import make
from sanity.files import read_json
from sanity.report.display import STYLES
from sanity.report.drawing import LARGE, Drawing, Told, step_back
from sanity.results import recorded
from sanity.results.load import load_images, load_masks, load_predictions
from sanity.results.recorded import configuration

if TYPE_CHECKING:
    import xarray as xr
    from matplotlib.figure import Figure

log = logging.getLogger(__name__)

COLUMN, TEXT = 3.3, 7.0  # widths in a two-column paper, inches
GRIDS = 10  # images for which a grid is drawn
SCREENS = 3  # of these, images that have one for the screen as well
_LONGEST = 160  # bytes of an image's name that a file's may have
IMAGES = 12  # explained images that a run stores beside their masks, for grids and the page


def finish(
    run: Path,
    *,
    figures: str | None = None,
    page: bool | None = None,
    drawing: Drawing | None = None,
) -> None:
    """Writes `figures/` and `report.html` into a completed run's folder.

    The results are whole without them, so what cannot be written is a warning and no failure.

    Args:
        run: The folder.
        figures: Which; `none` for none, None as the run's configuration says.
        page: Whether to write `report.html`; None as that says.
        drawing: Figures that are being drawn already.
    """
    asked = configuration(run)
    figures = asked.get("figures", "grids") if figures is None else figures
    page = bool(asked.get("report", True)) if page is None else page
    scores = cache(partial(_scores, run))
    with drawing or Drawing(run) as drawing:
        if page and figures != "none" and _mask_bytes(run) >= LARGE:
            drawing.start(stages=figures == "stages")
        drawing.tell(math.inf)

        def draw_what_is_not() -> None:
            if not drawing.wait():
                draw(run, stages=figures == "stages", scores=scores())

        parts: dict[str, Callable[[], None]] = {}
        if page:
            parts["report.html"] = lambda: report(run, scores())
        if figures != "none":
            parts["figures"] = draw_what_is_not
        _write(run, parts)


def _write(run: Path, parts: Mapping[str, Callable[[], None]]) -> None:
    for name, write in parts.items():
        try:
            write()
        except Exception as error:
            log.warning(
                "%s could not be written (%s: %s); the run's results are complete",
                run / name,
                type(error).__name__,
                error,
            )
            log.debug("because of this", exc_info=True)


def draw_as_told(run: Path, *, stages: bool) -> None:
    """Draws the figures of a run that is being computed: what another process does.

    Args:
        run: Its folder; standard input says how far it is, see `Drawing`.
        stages: See `draw`.
    """
    told = Told(sys.stdin)

    def ready(images: float) -> None:
        gc.collect()  # figures refer to themselves, and would stay
        told.wait(images)

    step_back()
    import_module("scipy.optimize")  # of the curves' intervals
    draw(run, stages=stages, ready=ready)


def _mask_bytes(run: Path) -> int:
    """Of a run's masks on disk."""
    return sum(file.stat().st_size for file in (run / "masks.zarr").rglob("*") if file.is_file())


@cache
def import_ahead(run: Path) -> None:
    """Imports what a run's page takes, a second's work, while there is other work to wait for."""
    if configuration(run).get("report", True):
        for name in ("matplotlib.markers", "jinja2", "scipy.optimize", "xarray"):
            import_module(name)


def report(run: Path, scores: pd.DataFrame | None = None) -> None:
    """Writes the page; the scores are read if they are not given."""
    from sanity.report.page.write import write

    write(run / "report.html", _scores(run) if scores is None else scores)


def _scores(run: Path) -> pd.DataFrame:
    """A run's scores; without what `attrs` says, which pandas would copy at every step."""
    scores = load_schemes([run])
    scores.attrs = {}
    return scores


def draw(
    run: Path,
    *,
    stages: bool = False,
    scores: pd.DataFrame | None = None,
    ready: Callable[[float], None] = lambda images: None,
) -> None:
    """Writes `figures/`: grids for the first images whose masks are stored, and the curves.

    PNGs are for the screen; the curves' PDF and SVG are as wide as a column of a two-column paper,
    `curves_wide` as its text; `grids.pdf` has pages of the masks.

    Args:
        run: Its folder.
        stages: Whether to draw the article's figure of each stage as well.
        scores: Its scores, which are read if they are not given.
        ready: Returns once so many images have all their masks; infinity: once the run is done.
    """
    _draw_masks(run, stages, ready)
    ready(math.inf)
    _draw_curves(run, _scores(run) if scores is None else scores)


def _draw_masks(run: Path, stages: bool, ready: Callable[[float], None]) -> None:
    if not (run / "masks.zarr").exists():
        return
    # Matplotlib takes a second to import, and a run's first gradient need not wait for it.
    from sanity.report.figures.article import stage_figure
    from sanity.report.figures.canvas import save

    figures = run / "figures"
    figures.mkdir(exist_ok=True)
    config = configuration(run)
    info = read_json(run / "run.json") or {}
    dataset = load_masks(run)
    layers = [str(layer) for layer in dataset.layer.values]
    methods = [name for name in config["method"] if name in dataset.data_vars]
    photographs = dict(list(load_images(run).items())[:GRIDS])
    if not photographs:  # of masks made elsewhere, perhaps
        return
    _draw_grids(dataset, photographs, layers, methods, figures, ready)
    if not stages:
        return
    ready(math.inf)
    changes = info.get("changes") or ["as trained", *(f"{name} randomized" for name in layers[1:])]
    predicted = load_predictions(run)
    for name, pixels in photographs.items():
        stacks = {method: dataset[method].sel(image=name).values for method in methods}
        said = _answers(predicted, name)
        for stage, change in enumerate(changes):
            panels = {method: stack[stage] for method, stack in stacks.items()}
            image = pixels / np.float32(255)
            figure = stage_figure(image, panels, stage, change, *said[stage])
            save(figure, figures / f"{file_name(name)}_stage{stage:02d}", formats=("png",))


def _draw_curves(run: Path, scores: pd.DataFrame) -> None:
    """Writes the curves, for the screen and as wide as a column and as the text of a paper."""
    from sanity.report.figures.canvas import save
    from sanity.report.figures.curves import similarity_curves
    from sanity.report.figures.means import stage_means

    (run / "figures").mkdir(exist_ok=True)
    config = configuration(run)
    info = read_json(run / "run.json") or {}
    draw = partial(
        similarity_curves,
        scores,
        controls=recorded.controls(info, dict(config)),
        thresholds=_thresholds(config, info),
        table=stage_means(scores),
    )
    save(draw(width_inches=COLUMN), run / "figures" / "curves", formats=("pdf", "svg"))
    save(draw(width_inches=TEXT), run / "figures" / "curves_wide", formats=("pdf", "svg"))
    save(
        draw(), run / "figures" / "curves", formats=("png",)
    )  # last: by it a run is known as drawn


def _thresholds(config: Mapping[str, Any], info: dict[str, Any]) -> Thresholds | None:
    """Those of a run's verdicts; None if none of its methods has one from early stages."""
    if not any(row.get("early") is not None for row in recorded.verdict_rows(info)):
        return None
    return make(Thresholds, dict(config.get("verdict") or {}), "verdict")


def _draw_grids(
    dataset: "xr.Dataset",
    photographs: Mapping[str, np.ndarray],
    layers: Sequence[str],
    methods: Sequence[str],
    figures: Path,
    ready: Callable[[float], None],
) -> None:
    """The masks of each image, absolute and signed: all as pages, the first for the screen."""
    from sanity.report.figures.canvas import save, save_pages
    from sanity.report.figures.grid import grid_pages, mask_grid

    def pages() -> "Iterator[Figure]":
        for number, (name, pixels) in enumerate(photographs.items()):
            ready(number + 1)
            image = pixels / np.float32(255)
            masks = {method: dataset[method].sel(image=name).values for method in methods}
            for style in STYLES:
                if number < SCREENS:
                    screen = mask_grid(image, masks, layers, style, title=name)
                    save(screen, figures / f"{file_name(name)}_{style}", formats=("png",))
                yield from grid_pages(image, masks, layers, style, title=f"{name}, {style}")

    save_pages(pages(), figures / "grids")


def file_name(image: str) -> str:
    """An image's name as part of a file's, which leads to no other folder and is not too long."""
    plain = re.sub(r'[\x00-\x1f/\\:*?"<>|]', "_", image)
    if len(plain.encode(errors="replace")) <= _LONGEST:
        return plain
    digest = hashlib.sha256(image.encode(errors="replace")).hexdigest()[:8]
    return f"{plain[: _LONGEST // 4]}_{digest}"


def _answers(predicted: pd.DataFrame, image: str) -> dict[int, tuple[str, str]]:
    """By stage, what the network says of an image, and which class is explained."""
    names = dict(zip(predicted["predicted"], predicted["predicted_name"], strict=True))
    rows = predicted[predicted["image"] == image]
    value = rows["probability"].fillna(rows["target_logit"])  # of a number, which is no class
    columns = rows["stage"], rows["predicted_name"], value, rows["target"]
    return {
        int(stage): (f"{name} {value:z.4f}", str(names.get(target, f"class {target}")))
        for stage, name, value, target in zip(*columns, strict=True)
    }
