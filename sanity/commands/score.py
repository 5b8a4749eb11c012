"""Scores masks that were made elsewhere: `sanity-score MASKS [KEY=VALUE…]`."""

import logging
from collections.abc import Sequence

from sanity.arguments import Parser, mistakes_told
from sanity.errors import ConfigError
from sanity.progress import print_log

_ABOUT = """Scores masks that were made elsewhere, by Captum, Quantus or code of your own.

    sanity-score masks.npz randomization=cascading
    sanity-score masks.zarr randomization=cascading model=resnet50 seed=1 metric=[ssim,hog]

MASKS is an .npz file or a Zarr folder with an array a method: image x stage x y x x[ x channel],
stage 0 as trained. Arrays called image, layer, target, logits and images say more, where they are
there. KEY=VALUE are those of sanity: metric, verdict, null_model, null_images, seed, masks.keep,
name, output, force; and the labels model, data and randomization (cascading: from the output on,
without which there is no verdict), and controls=[NAME,...]. Nothing in the file is run.
"""


def main(arguments: Sequence[str] | None = None) -> None:
    """Writes a run folder; a user's mistake is one sentence and exit code 2."""
    print_log()
    logging.getLogger("sanity").setLevel("INFO")
    with mistakes_told("sanity-score"):
        parser = Parser("sanity-score", _ABOUT)
        parser.add_argument("masks", nargs="?", metavar="MASKS", help="an .npz file or Zarr folder")
        parser.add_argument("overrides", nargs="*", metavar="KEY=VALUE", help="see above")
        options = parser.read(arguments)
        if options.masks is None:
            raise ConfigError("MASKS must be given: an .npz file or a Zarr folder")
        from sanity.experiment.score_masks import score_masks

        score_masks(options.masks, options.overrides)


if __name__ == "__main__":
    main()
