"""Prints what each metric gives masks that have nothing in common; docs/methods.md has the table.

`python scripts/unrelated.py`: every option of conf/metric but region_share, which compares no
masks. A cell has the mean over pairs of independent masks ± their standard deviation.
"""

import argparse
from collections.abc import Callable

import numpy as np
import yaml
from skimage.transform import resize

from sanity.checked import instantiate
from sanity.config.options import conf_folder, options
from sanity.metrics.base import MaskMetric, score
from sanity.randomness import generator

PAIRS = 6
SIDES = (224, 299)
Draw = Callable[[np.random.Generator, int], np.ndarray]


def smooth(draw: np.random.Generator, side: int) -> np.ndarray:
    """Uniform noise on 7 × 7 cells, enlarged as Grad-CAM's maps are."""
    return np.asarray(resize(draw.random((7, 7)), (side, side)))


KINDS: dict[str, Draw] = {
    "uniform": lambda draw, side: draw.random((side, side)),
    "uniform, 3 channels": lambda draw, side: draw.random((side, side, 3)),
    "normal": lambda draw, side: draw.standard_normal((side, side)),
    "normal, 3 channels": lambda draw, side: draw.standard_normal((side, side, 3)),
    "t₃, 3 channels": lambda draw, side: draw.standard_t(3, (side, side, 3)),
    "smooth": smooth,
}


def metrics() -> dict[str, MaskMetric]:
    """The metrics that compare masks, with the parameters of their options."""
    found = {}
    for name in options("metric"):
        node = yaml.safe_load((conf_folder() / "metric" / f"{name}.yaml").read_text())[name]
        metric = instantiate(node, f"metric.{name}")
        if not metric.needs_regions:
            found[name] = metric
    return found


def pairs(kind: str, side: int) -> tuple[np.ndarray, np.ndarray]:
    """Two times `PAIRS` masks, all independent."""
    draw = generator("unrelated", kind, side)
    masks = np.stack([KINDS[kind](draw, side) for _ in range(2 * PAIRS)])
    return masks[:PAIRS], masks[PAIRS:]


def cell(values: np.ndarray) -> str:
    """Mean and standard deviation."""
    return f"{values.mean():.2f} ± {values.std(ddof=1):.2f}".replace("-0.00", "0.00")


def main() -> None:
    """Prints the table."""
    argparse.ArgumentParser(description=__doc__).parse_args()
    drawn = {(kind, side): pairs(kind, side) for kind in KINDS for side in SIDES}
    print("| metric | pixels |", " | ".join(KINDS), "|")
    print("|---|---|" + "---|" * len(KINDS))
    for name, metric in metrics().items():
        for side in SIDES:
            cells = [cell(score(metric, *drawn[kind, side])) for kind in KINDS]
            print(f"| `{name}` | {side} |", " | ".join(cells), "|", flush=True)


if __name__ == "__main__":
    main()
