"""What masks of a transformer are when its weights are noise: the picture and table of the docs.

Usage: python scripts/transformer.py FOLDER [OUTPUT.png] [--image NAME], where FOLDER holds the runs
of experiment=transformer. It draws one image's masks at each stage of both orders, of the first
draw, and prints the table that stands in docs/transformer.md.
"""

import argparse
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from PIL import Image

import sanity
from sanity.errors import ConfigError
from sanity.report.figures import mask_grid
from sanity.results.load import load_images

# What each order of the cascade begins at, by the name of its randomization.
ORDERS = {"cascading": "output", "cascading_bottom_up": "input"}
# Those shown, where they were run: the transformers' own beside what they are compared with, then
# the others of the preset. So many are in one table.
SHOWN = [
    *("gradient", "gradient_x_input", "attn_lrp", "attention_rollout", "attention_relevance"),
    *("grad_cam_tokens", "edge_detector", "smoothgrad", "integrated_gradients"),
    *("expected_gradients", "grad_cam", "occlusion", "rise", "random_mask"),
]
_COLUMNS = 7


def read(folder: str, metric: str) -> pd.DataFrame:
    """The scores of both orders by a metric, of the methods shown.

    Raises:
        ConfigError: An order or every method is missing.
    """
    scores = sanity.load_runs(folder, metric=metric, randomization=list(ORDERS))
    scores = scores[scores["method"].isin(SHOWN)]
    lacking = [name for name in ORDERS if name not in set(scores["randomization"])]
    if lacking:
        raise ConfigError(f"{folder} has no run of randomization={lacking[0]} with {metric}")
    return scores


def stage_name(stage: int, layer: str) -> str:
    """A stage of a cascade: the first block's name, then what is added to those before."""
    return layer if stage < 2 else f"+ {layer}"


def table(scores: pd.DataFrame) -> pd.DataFrame:
    """Means over images and draws, and of the same with another image's mask: stage × method."""
    cells = {}
    for order, side in ORDERS.items():
        rows = scores[(scores["randomization"] == order) & (scores["stage"] > 0)]
        for stage, part in rows.groupby("stage"):
            means = part.groupby("method", observed=True)[["value", "null"]].mean().round(2)
            name = stage_name(int(str(stage)), str(part["layer"].iloc[0]))
            cells[f"{side}: {name}"] = {
                method: f"{row['value'] + 0:.2f} ({row['null'] + 0:.2f})".replace("-", "−")
                for method, row in means.iterrows()
            }
    found = pd.DataFrame(cells).T
    return found[[method for method in SHOWN if method in found.columns]]


def masks(path: Path, image: str | None) -> tuple[np.ndarray, dict[str, np.ndarray], list[str]]:
    """One image of a run, its masks (S, H, W) by method, and the stages' names.

    Raises:
        ConfigError: The run has no masks, or none of this image.
    """
    images, kept = load_images(path), sanity.load_masks(path)
    name = image or next(iter(images), "")
    if name not in images:
        raise ConfigError(f"--image {name} is none of those kept: {', '.join(images) or 'none'}")
    chosen = kept.sel(image=name)
    found = {method: chosen[method].values for method in SHOWN if method in kept}
    return images[name] / 255, found, [str(layer) for layer in kept["layer"].values]


def figure(paths: Mapping[str, Path], image: str | None) -> Figure:
    """One image's masks, stages beside each other: from the output on, then from the input on."""
    parts: list[dict[str, np.ndarray]] = []
    headers: list[str] = []
    for order, side in ORDERS.items():
        shown, found, layers = masks(paths[order], image)
        first = 0 if not parts else 1  # the trained network's once
        parts.append({method: values[first:] for method, values in found.items()})
        names = [stage_name(i, layer) for i, layer in enumerate(layers)]
        names[1] = f"{side}: {names[1]}"
        headers += ["original", *names[1:]] if first == 0 else names[1:]
    joined = {m: np.concatenate([part[m] for part in parts if m in part]) for m in parts[0]}
    return mask_grid(shown, joined, headers, "absolute")


def main() -> None:
    """Draws the picture and prints the table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("folder")
    parser.add_argument("output", nargs="?", default="docs/transformer.png")
    parser.add_argument("--image", help="its name; the first one's by default")
    parser.add_argument("--metric", default="spearman_abs", help="of the table (%(default)s)")
    asked = parser.parse_args()
    scores = read(asked.folder, asked.metric)
    found = table(scores)
    for start in range(0, len(found.columns), _COLUMNS):
        part = found.iloc[:, start : start + _COLUMNS]
        print("\n" * bool(start) + f"| randomized | {' | '.join(f'`{m}`' for m in part)} |")
        print("|---" * (len(part.columns) + 1) + "|")
        for stage, row in part.iterrows():
            print(f"| {stage} | {' | '.join(row)} |")
    first = scores.sort_values("seed").groupby("randomization", observed=True)["path"].first()
    figure({order: Path(str(first[order])) for order in ORDERS}, asked.image).savefig(asked.output)
    with Image.open(asked.output) as sheet:  # a third of the size, and nobody sees it
        sheet.convert("RGB").quantize(256).save(asked.output, optimize=True)


if __name__ == "__main__":
    main()
