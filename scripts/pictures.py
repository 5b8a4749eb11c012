"""README's and the tutorials' pictures, made anew from a run: grid, curves and the page.

Usage: python scripts/pictures.py RUN, RUN a finished run's folder, as of the default job. The
figures are drawn again; the page is written again and photographed by a headless Chromium, which
must be installed, as README's readers see it: light, 1400 pixels wide.
"""

import argparse
import shutil
import subprocess
import tempfile
from pathlib import Path

from PIL import Image

from sanity.report.finish import draw, file_name, report
from sanity.results.load import load_images

DOCS = Path(__file__).parents[1] / "docs"
BROWSERS = ("chromium", "chromium-browser", "google-chrome", "chrome", "headless_shell")
# Time that runs as fast as the page works: what it paints when it is idle is painted.
FLAGS = (
    "--headless=new",
    "--no-sandbox",
    "--disable-gpu",
    "--hide-scrollbars",
    "--virtual-time-budget=10000",
)
SIZE = (1400, 1000)  # of the page's picture


def photograph(page: Path, picture: Path) -> None:
    """Writes a picture of what a browser shows of a page first.

    Raises:
        FileNotFoundError: There is no browser.
    """
    browser = next((path for name in BROWSERS if (path := shutil.which(name))), None)
    if browser is None:
        raise FileNotFoundError(f"none of {', '.join(BROWSERS)} is installed")
    size = f"--window-size={SIZE[0]},{SIZE[1]}"
    with tempfile.TemporaryDirectory() as profile:
        where = (f"--user-data-dir={profile}", f"--screenshot={picture.absolute()}")
        words = [browser, *FLAGS, size, *where, page.absolute().as_uri()]
        subprocess.run(words, check=True, capture_output=True, timeout=120)


def compress(picture: Path) -> None:
    """Leaves a picture 256 colours: a third of the size, and nobody sees it."""
    with Image.open(picture) as opened:
        opened.convert("RGB").quantize(256).save(picture, optimize=True)


def main() -> None:
    """Reads the command line, and does what it says."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("run", type=Path, help="a finished run's folder")
    parser.add_argument("--docs", type=Path, default=DOCS, help="where pictures go (%(default)s)")
    options = parser.parse_args()
    draw(options.run)
    report(options.run)
    first = next(iter(load_images(options.run)))
    figures = options.run / "figures"
    options.docs.mkdir(parents=True, exist_ok=True)
    shutil.copy(figures / f"{file_name(first)}_signed.png", options.docs / "grid.png")
    shutil.copy(figures / "curves.png", options.docs / "curves.png")
    photograph(options.run / "report.html", options.docs / "report.png")
    for name in ("grid", "curves", "report"):
        compress(options.docs / f"{name}.png")


if __name__ == "__main__":
    main()
