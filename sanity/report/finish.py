"""What is made of a finished run, from its folder alone: figures and the page."""

import hashlib
import logging
import re
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from pathlib import Path

import numpy as np
import pandas as pd

from sanity.analysis.schemes import load_schemes
from sanity.files import read_json
from sanity.results import recorded
from sanity.results.load import load_images, load_masks, load_predictions
from sanity.results.recorded import configuration

log = logging.getLogger(__name__)

COLUMN, TEXT = 3.3, 6.9  # widths in a two-column paper, inches
GRIDS = 10  # images for which a grid is drawn
_LONGEST = 160  # bytes of an image's name that a file's may have
IMAGES = 12  # explained images that a run stores beside their masks, for grids and the page


def finish(run: Path, *, figures: str | None = None, page: bool | None = None) -> None:
    """Writes `figures/` and `report.html` into a completed run's folder.

    The results are whole without them, so what cannot be written is a warning and no failure.

    Args:
        run: The folder.
        figures: Which; `none` for none, None as the run's configuration says.
        page: Whether to write `report.html`; None as that says.
    """
    asked = configuration(run)
    figures = asked.get("figures", "grids") if figures is None else figures
    page = bool(asked.get("report", True)) if page is None else page
    parts: dict[str, Callable[[Path], None]] = {}
    if figures != "none":
        parts["figures"] = partial(draw, stages=figures == "stages")
    if page:
        parts["report.html"] = report
    for name, write in parts.items():
        try:
            write(run)
        except Exception as error:
            log.warning(
                "%s could not be written (%s: %s); the run's results are complete",
                run / name,
                type(error).__name__,
                error,
            )
            log.debug("because of this", exc_info=True)


def report(run: Path) -> None:
    """Writes the page."""
    from sanity.report.page.write import write

    write(run / "report.html", load_schemes([run]))


def draw(run: Path, *, stages: bool = False) -> None:
    """Writes `figures/`: the curves, and grids for the first images whose masks are stored.

    PNGs are for the screen; the curves' PDF and SVG are as wide as a column of a two-column paper,
    the first grid's PDF as its text.

    Args:
        run: Its folder.
        stages: Whether to draw the article's figure of each stage as well.
    """
    # Matplotlib takes a second to import, and a run's first gradient need not wait for it.
    from sanity.report.figures.article import stage_figure
    from sanity.report.figures.canvas import save
    from sanity.report.figures.curves import similarity_curves
    from sanity.report.figures.grid import mask_grid

    figures = run / "figures"
    figures.mkdir(exist_ok=True)
    config = configuration(run)
    scores = load_schemes([run])
    info = read_json(run / "run.json") or {}
    controls = recorded.controls(info, config)
    save(similarity_curves(scores, controls=controls), figures / "curves", formats=("png",))
    paper = similarity_curves(scores, width_inches=COLUMN, controls=controls)
    save(paper, figures / "curves", formats=("pdf", "svg"))
    if not (run / "masks.zarr").exists():
        return
    dataset, photographs = load_masks(run), load_images(run)
    predicted = load_predictions(run)
    layers = [str(layer) for layer in dataset.layer.values]
    changes = info.get("changes") or ["as trained", *(f"{name} randomized" for name in layers[1:])]
    methods = [name for name in config["method"] if name in dataset.data_vars]
    for number, (name, pixels) in enumerate(list(photographs.items())[:GRIDS]):
        image = pixels / np.float32(255)
        masks = {method: dataset[method].sel(image=name).values for method in methods}
        for style in ("signed", "absolute"):
            grid = mask_grid(image, masks, layers, style, title=name)
            save(grid, figures / f"{file_name(name)}_{style}", formats=("png",))
        if number == 0:
            with suppress(ValueError):  # too many stages for a page
                grid = mask_grid(image, masks, layers, "signed", width_inches=TEXT)
                save(grid, figures / f"{file_name(name)}_signed", formats=("pdf",))
        if stages:
            said = _answers(predicted, name)
            for stage, change in enumerate(changes):
                panels = {method: stack[stage] for method, stack in masks.items()}
                figure = stage_figure(image, panels, stage, change, said[stage])
                file = f"{file_name(name)}_stage{stage:02d}"
                save(figure, figures / file, formats=("png",))


def file_name(image: str) -> str:
    """An image's name as part of a file's, which leads to no other folder and is not too long."""
    plain = re.sub(r'[\x00-\x1f/\\:*?"<>|]', "_", image)
    if len(plain.encode(errors="replace")) <= _LONGEST:
        return plain
    digest = hashlib.sha256(image.encode(errors="replace")).hexdigest()[:8]
    return f"{plain[: _LONGEST // 4]}_{digest}"


def _answers(predicted: pd.DataFrame, image: str) -> dict[int, str]:
    """What the network says of an image, by stage."""
    rows = predicted[predicted["image"] == image]
    value = rows["probability"].fillna(rows["target_logit"])  # of a number, which is no class
    said = zip(rows["stage"], rows["predicted_name"], value, strict=True)
    return {int(stage): f"{name} {value:.4f}" for stage, name, value in said}
