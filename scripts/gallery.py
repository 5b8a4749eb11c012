"""Draws one image's mask by every method, of the network as trained: docs/gallery.png.

`python scripts/gallery.py [IMAGE] [--output FILE]`; some minutes on two cores.
"""

import argparse
from collections.abc import Mapping
from pathlib import Path
from textwrap import fill

import matplotlib
import numpy as np
from PIL import Image

from sanity import explain
from sanity.config.job import Job, compose
from sanity.report.display import scaled, visible

COLUMNS = 7


def draw(image: np.ndarray, masks: Mapping[str, np.ndarray], output: Path) -> None:
    """A sheet of pictures, the image first; signed masks where a method's are.

    Args:
        image: (H, W, C) in [0, 1].
        masks: (H, W) or (H, W, C) by method.
        output: The PNG file.
    """
    matplotlib.use("agg")
    import matplotlib.pyplot as plt

    rows = -(-(len(masks) + 1) // COLUMNS)
    figure, axes = plt.subplots(rows, COLUMNS, figsize=(1.6 * COLUMNS, 1.85 * rows))
    for axis in axes.flat:
        axis.axis("off")
    axes.flat[0].imshow(visible(image))
    axes.flat[0].set_title("the image", fontsize=7)
    for axis, (name, mask) in zip(axes.flat[1:], masks.items(), strict=False):
        signed = bool((mask < 0).any())
        values, said = scaled(mask, "signed" if signed else "absolute", 1)
        if said:
            axis.text(0.5, 0.5, said, ha="center", va="center", transform=axis.transAxes)
        else:
            low = -1 if signed else 0
            axis.imshow(values, cmap="coolwarm" if signed else "gray", vmin=low, vmax=1)
        axis.set_title(fill(name.replace("_", " "), 26), fontsize=7)
    figure.tight_layout(pad=0.4)
    figure.savefig(output, dpi=100)
    plt.close(figure)
    with Image.open(output) as sheet:  # a third of the size, and nobody sees it
        sheet.convert("RGB").quantize(256).save(output, optimize=True)


def masks_of(job: Job) -> tuple[np.ndarray, dict[str, np.ndarray]]:
    """The first image of a job, and its mask by every method that explains the network."""
    classifier = job.model.load()
    images = job.data.load(classifier.input_shape)
    targets = classifier.logits(images.x).argmax(axis=1)
    found: dict[str, np.ndarray] = {}
    for part in explain(
        classifier, images, targets, job.methods, job.randomization.stages(classifier, [], 0)
    ):
        for name, mask in part.masks.items():
            found.setdefault(name, mask[0])
    return images.x[0], found


def main() -> None:
    """Computes and draws."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("overrides", nargs="*", help="KEY=VALUE, as for sanity")
    parser.add_argument("--output", type=Path, default=Path("docs/gallery.png"))
    arguments = parser.parse_args()
    chosen = ["experiment=all_methods", "data.names=[imagenet_01]", *arguments.overrides]
    image, masks = masks_of(compose(chosen))
    draw(image, masks, arguments.output)


if __name__ == "__main__":
    main()
