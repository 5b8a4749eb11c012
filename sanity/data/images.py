"""Images as a model takes them: which ones, and how a file becomes numbers in [0, 1]."""

import re
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO, Literal, Self

import numpy as np

from sanity.errors import ConfigError, name_some

if TYPE_CHECKING:
    from PIL import Image
    from PIL.ImageFile import ImageFile

Shape = tuple[int, int, int]
Resample = Literal["nearest", "bilinear", "bicubic", "lanczos"]
Fit = Literal["stretch", "crop"]

# Pillow knows more, among them PostScript, which it hands to an outside program: not for
# strangers' files.
FORMATS = ("AVIF", "BMP", "GIF", "JPEG", "JPEG2000", "PNG", "PPM", "TIFF", "WEBP")
EXTENSIONS = frozenset(
    ".avif .bmp .gif .jfif .jp2 .jpe .jpeg .jpg .pbm .pgm .png .pnm .ppm .tif .tiff .webp".split()
)
# What cameras and programs write besides, which is said where it is left out.
UNREAD = frozenset(
    ".arw .cr2 .cr3 .dcm .dng .exr .hdr .heic .heics .heif .jxl .nef .nii .orf .pdf .psd "
    ".raf .raw .rw2 .svg .xcf".split()
)
CONVERT = "convert them to JPEG or PNG"
_PHOTOMETRIC, _BITS = 262, 258  # TIFF tags
_JPEG_ENDS, _TAIL = b"\xff\xd9", 4096  # and bytes that some write behind it
_OF_PILLOW = ("ignore", None, Warning, re.compile(r"PIL\."), 0)  # a filter of warnings


@dataclass(frozen=True)
class Images:
    """Images with what is known about them.

    Attributes:
        x: float32, (n, height, width, channels), in [0, 1]: an array, or what reads them when they
            are asked for.
        names: A unique name for each.
        labels: The true class in the data's own numbering from 0, None where it is unknown.
        label_names: What that class is called, None where it is unknown.
        sha256: Of the source file, or of the source pixels where one file holds many images.
        regions: bool, (n, height, width), the part that the label depends on; None where that is
            unknown.
    """

    x: Any
    names: list[str]
    labels: list[int | None]
    label_names: list[str | None]
    sha256: list[str]
    regions: np.ndarray | None = None

    def __post_init__(self) -> None:
        if len(getattr(self.x, "shape", ())) != 4:
            raise _unsound("x must be an array (n, height, width, channels)")
        for name in ("names", "labels", "label_names", "sha256"):
            given = getattr(self, name)
            if not isinstance(given, Sequence | np.ndarray) or len(given) != len(self.x):
                raise _unsound(f"{name} must be a list of one entry an image, {len(self.x)} here")
            object.__setattr__(self, name, list(given))
        if not all(isinstance(name, str) for name in self.names):
            raise _unsound("names must be text")
        object.__setattr__(self, "labels", list(map(_label, self.labels)))
        if self.regions is not None and (
            self.regions.shape != self.x.shape[:3] or self.regions.dtype != bool
        ):
            raise _unsound("regions must be bool, of the height and width of the images")
        if len(set(self.names)) != len(self.names):
            twice = next(name for name in self.names if self.names.count(name) > 1)
            raise _unsound(f"names must differ, and {twice!r} stands twice")

    def __repr__(self) -> str:
        size = "×".join(map(str, self.x.shape[1:]))
        known = sum(label is not None for label in self.labels)
        labelled = f", {known} labelled" if known else ""
        return f"Images({len(self)} of {size}{labelled}: {name_some(self.names, 3)})"

    def __len__(self) -> int:
        return len(self.names)

    def take(self, indices: Sequence[int] | np.ndarray) -> Self:
        """The images at these positions, in this order, with their pixels in memory."""
        where = [int(i) for i in indices]
        return self.with_pixels(where, self.x[where])

    def with_pixels(self, indices: Sequence[int], x: np.ndarray) -> Self:
        """The images at these positions, whose pixels are known."""
        where = list(indices)
        return type(self)(
            x=x,
            names=[self.names[i] for i in where],
            labels=[self.labels[i] for i in where],
            label_names=[self.label_names[i] for i in where],
            sha256=[self.sha256[i] for i in where],
            regions=None if self.regions is None else self.regions[where],
        )


def _unsound(what: str) -> ConfigError:
    return ConfigError(f"Images: {what}")


def _label(value: Any) -> int | None:
    """A class as an integer; None where it is unknown (ConfigError: it is something else)."""
    if value is None:
        return None
    whole = isinstance(value, int | np.integer | float | np.floating) and value % 1 == 0
    if not whole or isinstance(value, bool) or value < 0:
        raise _unsound(f"labels must be classes from 0, or None where unknown, not {value!r}")
    return int(value)


@contextmanager
def open_image(file: Path | BinaryIO, path: Path) -> Iterator["ImageFile"]:
    """Opens an image file's header; pixels are decoded on use.

    Raises:
        ConfigError: Here or inside the block: `path` cannot be read, is no image, is damaged, or
            has more pixels than Pillow thinks safe (a decompression bomb).
    """
    from PIL import Image, UnidentifiedImageError

    Image.init()
    known = [name for name in FORMATS if name in Image.OPEN]  # not every Pillow has AVIF
    _quiet_pillow()
    try:
        with Image.open(file, formats=known) as image:
            most = Image.MAX_IMAGE_PIXELS
            if most is not None and image.width * image.height > most:  # else a mere warning
                raise Image.DecompressionBombError
            yield image
    except (ConfigError, MemoryError):
        raise
    except Image.DecompressionBombError as error:
        raise ConfigError(
            f"data.path: {path} has more than the {Image.MAX_IMAGE_PIXELS:,} pixels allowed "
            "of an image: make it smaller first"
        ) from error
    except UnidentifiedImageError as error:
        hint = f": {CONVERT}" if path.suffix.lower() in UNREAD else ""
        raise ConfigError(
            f"data.path: {path} is no image, or of an unknown format{hint}"
        ) from error
    except Exception as error:  # decoders raise whatever a damaged file leads them to
        reason = getattr(error, "strerror", None) or "it is damaged or cut off"
        raise ConfigError(f"data.path: {path} cannot be read as an image: {reason}") from error


def verify(path: Path) -> None:
    """Refuses a file that is no image or cut off (ConfigError), decoding it only where it must.

    A PNG's checksums and a JPEG's end tell that it is whole; other damage shows on decoding.
    """
    with open_image(path, path) as image:
        kind = image.format
        image.verify()
    if kind == "PNG" or (kind in ("JPEG", "MPO") and _JPEG_ENDS in path.read_bytes()[-_TAIL:]):
        return
    with open_image(path, path) as image:
        decode(image, path)


def _quiet_pillow() -> None:
    """Has Pillow's own warnings passed over: what they say of a file is no news to its owner.

    For good, as `warnings.catch_warnings` must not be used on several threads.
    """
    if _OF_PILLOW not in warnings.filters:
        warnings.filterwarnings("ignore", module=_OF_PILLOW[3].pattern)


def decode(image: "ImageFile", path: Path) -> "Image.Image":
    """The upright picture: mode RGB, or F in [0, 1] for grey of more than 8 bits.

    EXIF rotation is applied, transparency laid over white, CMYK and palettes turned into RGB
    (colour profiles are not applied, as in every ImageNet pipeline), grey of 16 bits divided by
    65535. Of colours of 16 bits Pillow keeps the upper 8; of animations and pages the first.
    """
    from PIL import Image, ImageOps

    tags = getattr(image, "tag_v2", {})
    upright = ImageOps.exif_transpose(image)
    white = 65535.0 if image.mode == "I" and image.format in ("PNG", "PPM") else None
    if image.mode.startswith("I;16"):
        white = 2.0 ** tags.get(_BITS, (16,))[0] - 1
    if white is not None:
        grey = np.asarray(upright, np.float32) / np.float32(white)
        if tags.get(_PHOTOMETRIC) == 0:  # white is 0
            grey = 1 - grey
        if "transparency" in image.info:
            grey = np.where(np.asarray(upright) == image.info["transparency"], np.float32(1), grey)
        return Image.fromarray(grey)
    if image.mode in ("I", "F"):
        raise ConfigError(
            f"data.path: {path} has pixels of 32 bits, whose range is unknown: "
            "save it with 8 or 16 bits"
        )
    if upright.has_transparency_data:
        upright = upright.convert("RGBA")
        upright = Image.alpha_composite(Image.new("RGBA", upright.size, "white"), upright)
    return upright.convert("RGB")


def to_input(image: "Image.Image", shape: Shape, resample: Resample, fit: Fit) -> np.ndarray:
    """A picture of mode RGB, or F in [0, 1], as a model's input: float32 of `shape`, in [0, 1].

    Pillow resizes, which means: except for `nearest`, a filter that covers every source pixel
    when it shrinks (antialiasing), and RGB rounded to 8 bits. `crop` takes the largest central
    part that has the target's proportions. One channel gets the luminance (ITU-R 601).
    """
    from PIL import Image

    height, width, channels = shape
    if channels == 1 and image.mode == "RGB":
        image = image.convert("L")
    box = _central_box(image.size, (width, height)) if fit == "crop" else None
    if box or image.size != (width, height):
        image = image.resize((width, height), Image.Resampling[resample.upper()], box=box)
    x = np.asarray(image, np.float32)
    # bicubic and lanczos overshoot; in 8 bits Pillow clips by itself
    x = np.clip(x, 0, 1) if image.mode == "F" else x / np.float32(255)
    return x if x.ndim == 3 else np.repeat(x[:, :, None], channels, axis=2)


def _central_box(
    size: tuple[int, int], target: tuple[int, int]
) -> tuple[float, float, float, float]:
    scale = min(size[0] / target[0], size[1] / target[1])
    left, top = (size[0] - scale * target[0]) / 2, (size[1] - scale * target[1]) / 2
    return (max(left, 0.0), max(top, 0.0), size[0] - max(left, 0.0), size[1] - max(top, 0.0))


def check_channels(shape: Shape) -> None:
    """Refuses a model whose input is neither grey nor RGB (ConfigError)."""
    if shape[2] not in (1, 3):
        raise ConfigError(
            f"the model takes images of {shape[2]} channels, but those of data have 3 (RGB), "
            "or 1 (grey) where the model wants that"
        )
