import gzip
import hashlib
import importlib.util
import os
import pickle
import struct
import subprocess
import sys
from dataclasses import fields, replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image, ImageOps

import sanity.data
from sanity.checked import checked
from sanity.data import (
    AnimalMnist,
    Digits,
    FashionMnist,
    Folder,
    ImageNetSamples,
    Images,
    ImageSpec,
    Mnist,
    Selection,
    class_index,
    find_class,
    imagenet_class_names,
    targets,
)
from sanity.data.small import _read_array
from sanity.errors import ConfigError

ROOT = Path(__file__).parents[2]
PIXELS = np.random.default_rng(0).integers(0, 256, (5, 7, 3), np.uint8)


def save(path: Path, pixels=PIXELS, **options) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    (pixels if isinstance(pixels, Image.Image) else Image.fromarray(pixels)).save(path, **options)
    return path


def load(path: Path, shape=None, **options) -> np.ndarray:
    """The one image at `path`, by default in its own size."""
    if shape is None:
        with Image.open(path) as image:
            shape = (*ImageOps.exif_transpose(image).size[::-1], 3)
    folder = Folder(path=str(path), **options)
    folder.check()
    return folder.load(shape).x[0]


# Images and Selection


def some_images(labels=(2, None, 0)) -> Images:
    n = len(labels)
    return Images(
        x=np.arange(n * 4, dtype=np.float32).reshape(n, 2, 2, 1),
        names=[f"i{i}" for i in range(n)],
        labels=list(labels),
        label_names=[None if label is None else f"c{label}" for label in labels],
        sha256=[str(i) for i in range(n)],
    )


def test_take_keeps_fields_together():
    images = some_images()
    taken = images.take(np.array([2, 0]))
    assert len(images) == 3 and len(taken) == 2
    assert taken.names == ["i2", "i0"] and taken.labels == [0, 2]
    assert taken.label_names == ["c0", "c2"] and taken.sha256 == ["2", "0"]
    np.testing.assert_array_equal(taken.x, images.x[[2, 0]])


def test_images_must_be_consistent():
    with pytest.raises(ConfigError, match="one entry an image"):
        replace(some_images(), sha256=[])
    with pytest.raises(ConfigError, match="must differ, and 'a' stands twice"):
        replace(some_images(), names=["a", "b", "a"])
    assert replace(some_images(), labels=np.array([0.0, 1, 2])).labels == [0, 1, 2]
    assert replace(some_images(), names=np.array(["a", "b", "c"])).names == ["a", "b", "c"]


@pytest.mark.parametrize(
    ("field", "value", "said"),
    [
        ("names", [0, 1, 2], "names must be text"),
        ("names", (name for name in "abc"), "names must be a list"),
        ("labels", ["0", "1", "2"], "labels must be classes from 0, or None .*, not '0'"),
        ("labels", [0, -1, None], "not -1"),
        ("labels", [0, 1.5, None], "not 1.5"),
        ("labels", [0, float("nan"), None], "not nan"),
        ("label_names", None, "label_names must be a list of one entry an image, 3 here"),
        ("x", [np.zeros((2, 2, 3))] * 3, r"x must be an array \(n, height, width, channels\)"),
        ("regions", np.zeros((3, 2, 2)), "regions must be bool"),
    ],
)
def test_what_images_cannot_be(field, value, said):
    with pytest.raises(ConfigError, match=f"^Images: .*{said}"):
        replace(some_images(), **{field: value})


@checked
class Chosen(Selection):
    """A choice among names, of which nothing is read."""

    def read(self, spec):
        raise NotImplementedError


def test_names_choose_in_their_order_whatever_the_limit():
    assert Chosen(names=["c", "a"], limit=1).select(["a", "b", "c"]) == [2, 0]
    assert Chosen(limit=2).select(["a", "b", "c"]) == [0, 1]
    assert Chosen(limit=9).select(["a", "b", "c"]) == [0, 1, 2]


def test_unknown_names_are_answered_with_the_known_ones():
    with pytest.raises(ConfigError, match="no image x, y; there are a, b$"):
        Chosen(names=["x", "a", "y"]).select(["a", "b"])
    with pytest.raises(ConfigError, match="n00, .*, n19 … and 10 more$"):
        Chosen(names=["x"]).select([f"n{i:02d}" for i in range(30)])


@given(st.integers(1, 40), st.integers(1, 9), st.none() | st.integers(1, 50))
def test_shards_partition_the_selected(n, shards, limit):
    names = [str(i) for i in range(n)]
    whole = Chosen(limit=limit).select(names)
    parts = []
    for shard in range(min(shards, len(whole))):
        part = Chosen(limit=limit, shard=shard, shards=shards).select(names)
        assert part == [i for k, i in enumerate(whole) if k % shards == shard]
        parts += part
    assert sorted(parts) == whole == list(range(min(n, limit or n)))


def test_a_shard_without_an_image_is_refused():
    with pytest.raises(ConfigError, match=r"data.shard=2 of data.shards=4 .* only 2 are selected"):
        Chosen(limit=2, shard=2, shards=4).select(["a", "b", "c"])


@pytest.mark.parametrize(
    "wrong, message",
    [
        ({"shard": 4, "shards": 4}, "data.shard=4 must be below data.shards=4"),
        ({"names": ["a", "b", "a"]}, "data.names holds a more than once"),
    ],
)
def test_selection_refuses_in_words(wrong, message):
    with pytest.raises(ConfigError, match=message):
        Chosen(**wrong)


@pytest.mark.parametrize(
    "wrong", [{"limit": 0}, {"names": []}, {"shard": -1}, {"shards": 0}, {"limit": "3"}, {"x": 1}]
)
def test_selection_refuses_wrong_fields(wrong):
    with pytest.raises(ConfigError):
        Chosen(**wrong)


# The embedded ImageNet images

FOOLBOX = Path(importlib.util.find_spec("foolbox").submodule_search_locations[0]) / "data"


def test_imagenet_samples_are_the_files_of_foolbox():
    images = ImageNetSamples().load((32, 40, 3))
    files = sorted(FOOLBOX.glob("imagenet_*.jpg"))
    assert images.x.shape == (20, 32, 40, 3) and images.x.dtype == np.float32
    assert images.names == [f"imagenet_{i:02d}" for i in range(20)]
    assert images.labels == [int(file.stem.split("_")[2]) for file in files]
    assert images.label_names[0] == "bull mastiff" and images.label_names[19] == "dung beetle"
    assert images.sha256 == [hashlib.sha256(file.read_bytes()).hexdigest() for file in files]
    for x, file in zip(images.x, files, strict=True):
        with Image.open(file) as image:
            expected = np.asarray(image.resize((40, 32), Image.Resampling.BILINEAR))
        np.testing.assert_array_equal(np.rint(x * 255), expected)


def test_imagenet_samples_by_name():
    images = ImageNetSamples(names=["imagenet_13", "imagenet_00"]).load((8, 8, 1))
    assert images.labels == [471, 243] and images.x.shape == (2, 8, 8, 1)
    with pytest.raises(ConfigError, match="no image imagenet_20; there are imagenet_00, "):
        ImageNetSamples(names=["imagenet_20"]).check()


def test_a_package_that_is_missing_is_named(monkeypatch):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(ConfigError, match="imagenet_samples needs the package foolbox"):
        ImageNetSamples().check()
    with pytest.raises(ConfigError, match="animal_mnist needs the package animal-mnist"):
        AnimalMnist().check()


def test_nothing_heavy_is_imported():
    heavy = "{'PIL','tensorflow','keras','sklearn','pandas','foolbox','animal_mnist'}"
    code = (
        f"import sys, sanity.data; assert not {heavy} & set(sys.modules)\n"
        "sanity.data.ImageNetSamples(limit=1).load((8, 8, 3))\n"
        "sanity.data.AnimalMnist(limit=1).load((28, 28, 1))\n"
        f"assert {heavy} & set(sys.modules) == {{'PIL'}}"
    )
    subprocess.run([sys.executable, "-c", code], check=True, cwd=ROOT)


# Files of every kind

ORIENTATIONS = {
    1: lambda a: a,
    2: lambda a: a[:, ::-1],
    3: lambda a: a[::-1, ::-1],
    4: lambda a: a[::-1],
    5: lambda a: a.swapaxes(0, 1),
    6: lambda a: np.rot90(a, -1),
    7: lambda a: a[::-1, ::-1].swapaxes(0, 1),
    8: lambda a: np.rot90(a),
}


@pytest.mark.parametrize("orientation", ORIENTATIONS)
@pytest.mark.parametrize("deep", [False, True], ids=["8bit", "16bit"])
def test_exif_rotation_is_applied(tmp_path, orientation, deep):
    exif = Image.Exif()
    exif[0x0112] = orientation
    pixels = PIXELS[..., 0].astype(np.uint16) * 257 if deep else PIXELS
    expected = ORIENTATIONS[orientation](PIXELS[..., :1] if deep else PIXELS) / 255
    path = save(tmp_path / "a.png", pixels, exif=exif)
    np.testing.assert_allclose(
        load(path), np.broadcast_to(expected, (*expected.shape[:2], 3)), 1e-6
    )


def tiff(path: Path, stored: bytes, size, bits, photometric) -> Path:
    """A one-strip grey TIFF, written by hand."""
    width, height = size
    tags = {256: width, 257: height, 258: bits, 259: 1, 262: photometric}
    tags |= {273: 8, 277: 1, 278: height, 279: len(stored)}
    stored += bytes(len(stored) % 2)
    entries = b"".join(struct.pack("<HHII", tag, 4, 1, value) for tag, value in tags.items())
    header = b"II*\0" + struct.pack("<I", 8 + len(stored))
    path.write_bytes(header + stored + struct.pack("<H", len(tags)) + entries + bytes(4))
    return path


GREY16 = np.array([[0, 255, 256], [30000, 65534, 65535]], np.uint16)


@pytest.mark.parametrize("kind", ["png", "tif", "big-endian", "pgm", "white is 0", "transparent"])
def test_16_bit_grey_is_scaled_not_cut(tmp_path, kind):
    expected = GREY16 / 65535
    if kind == "big-endian":
        path = save(tmp_path / "a.tif", Image.frombytes("I;16B", (3, 2), GREY16.astype(">u2")))
    elif kind == "white is 0":
        path = tiff(tmp_path / "a.tif", (65535 - GREY16).tobytes(), (3, 2), 16, 0)
    elif kind == "transparent":
        path = save(tmp_path / "a.png", GREY16, transparency=30000)
        expected[1, 0] = 1
    else:
        path = save(tmp_path / f"a.{kind}", GREY16)
    x = load(path)
    assert x.dtype == np.float32
    np.testing.assert_allclose(x, np.repeat(expected[..., None], 3, -1), atol=1e-6)
    np.testing.assert_allclose(load(path, (2, 3, 1)), expected[..., None], atol=1e-6)


def test_12_bit_grey_is_scaled_by_its_own_white(tmp_path):
    path = tiff(tmp_path / "a.tif", bytes([0xFF, 0xF8, 0x00]), (2, 1), 12, 1)
    np.testing.assert_allclose(load(path)[0, :, 0], [1, 0x800 / 0xFFF], 1e-6)


@pytest.mark.parametrize("resample", ["bicubic", "lanczos"])
def test_overshoot_of_deep_images_stays_in_range(tmp_path, resample):
    step = np.zeros((4, 8), np.uint16)
    step[:, 4:] = 65535
    x = load(save(tmp_path / "a.png", step), (8, 32, 3), resample=resample)
    assert x.min() == 0 and x.max() == 1 and len(np.unique(x)) > 4


@pytest.mark.parametrize("dtype", [np.int32, np.float32])
def test_32_bit_pixels_are_refused(tmp_path, dtype):
    with pytest.raises(ConfigError, match=r"a.tif has pixels of 32 bits"):
        load(save(tmp_path / "a.tif", np.ones((2, 2), dtype)), (2, 2, 3))


def test_cmyk(tmp_path):
    inks = np.zeros((8, 16, 4), np.uint8)
    inks[:, 8:, 0] = 255  # white beside cyan
    expected = np.ones((8, 16, 3))
    expected[:, 8:, 0] = 0
    image = Image.frombytes("CMYK", (16, 8), inks.tobytes())
    np.testing.assert_array_equal(load(save(tmp_path / "a.tif", image)), expected)
    jpeg = load(save(tmp_path / "b.jpg", image, quality=100))
    np.testing.assert_allclose(jpeg, expected, atol=0.02)


RED, GREEN = (255, 0, 0), (0, 255, 0)


def palette(transparent: bool) -> Image.Image:
    image = Image.frombytes("P", (2, 1), bytes([0, 1]))
    image.putpalette([*RED, *GREEN])
    if transparent:
        image.info["transparency"] = 1
    return image


@pytest.mark.parametrize(
    "image, options, expected",
    [
        (palette(False), {}, [RED, GREEN]),
        (palette(True), {"transparency": 1}, [RED, (255, 255, 255)]),
        (palette(True), {"transparency": bytes([255, 51])}, [RED, (204, 255, 204)]),
        (np.uint8([[[255, 0, 0, 255], [255, 0, 0, 51]]]), {}, [RED, (255, 204, 204)]),
        (np.uint8([[RED, GREEN]]), {"transparency": GREEN}, [RED, (255, 255, 255)]),
        (np.uint8([[10, 20]]), {"transparency": 20}, [(10,) * 3, (255,) * 3]),
        (np.uint8([[10, 20]]), {}, [(10,) * 3, (20,) * 3]),
        (np.array([[False, True]]), {}, [(0,) * 3, (255,) * 3]),
        (Image.frombytes("LA", (2, 1), bytes([10, 255, 0, 51])), {}, [(10,) * 3, (204,) * 3]),
    ],
    ids="palette palette+index palette+alpha RGBA RGB+key L+key L 1 LA".split(),
)
def test_every_mode_becomes_rgb_over_white(tmp_path, image, options, expected):
    x = load(save(tmp_path / "a.png", image, **options))
    np.testing.assert_allclose(x[0] * 255, expected, atol=1e-3)


def test_one_channel_gets_the_luminance(tmp_path):
    grey = PIXELS[..., 0]
    np.testing.assert_array_equal(
        load(save(tmp_path / "a.png", grey), (5, 7, 1))[..., 0], grey / np.float32(255)
    )
    x = load(save(tmp_path / "b.png"), (5, 7, 1))[..., 0]
    np.testing.assert_allclose(x * 255, PIXELS @ [0.299, 0.587, 0.114], atol=0.51)


@pytest.mark.parametrize("suffix", ["png", "gif", "tif", "jpg"])
def test_the_first_of_several_pictures_is_taken(tmp_path, suffix):
    frames = [Image.new("RGB", (8, 8), color) for color in (RED, GREEN)]
    kind = "MPO" if suffix == "jpg" else None  # a JPEG of a camera with two lenses
    path = save(
        tmp_path / f"a.{suffix}", frames[0], format=kind, save_all=True, append_images=frames[1:]
    )
    np.testing.assert_allclose(
        load(path), np.broadcast_to(np.divide(RED, 255), (8, 8, 3)), atol=0.01
    )


@pytest.mark.parametrize("channels", [2, 4])
@pytest.mark.parametrize("spec", [ImageNetSamples(limit=1), Digits(limit=1)])
def test_channels_that_do_not_fit(spec, channels):
    with pytest.raises(ConfigError, match=f"takes images of {channels} channels"):
        spec.load((8, 8, channels))


def test_resizing_by_hand(tmp_path):
    path = save(tmp_path / "a.png", np.arange(16, dtype=np.uint8).reshape(4, 4) * 10)
    nearest = load(path, (2, 2, 1), resample="nearest")[..., 0] * 255
    np.testing.assert_allclose(nearest, [[50, 70], [130, 150]], 1e-6)
    # antialiased: a triangle over every pixel around the centre, not the four nearest
    weights = np.array([3, 3, 1, 0]) / 7  # |distance| ½, ½, 3/2 of a half-width of 2
    first = weights @ (np.arange(16).reshape(4, 4) * 10) @ weights
    assert abs(load(path, (2, 2, 1))[0, 0, 0] * 255 - first) <= 1


def test_crop_and_stretch(tmp_path):
    path = save(tmp_path / "a.png", np.arange(32, dtype=np.uint8).reshape(4, 8))
    both = [
        load(path, (4, 4, 1), fit=fit, resample="nearest")[..., 0] for fit in ("crop", "stretch")
    ]
    expected = np.arange(32, dtype=np.float32).reshape(4, 8) / np.float32(255)
    np.testing.assert_array_equal(both[0], expected[:, 2:6])
    np.testing.assert_array_equal(both[1], expected[:, 1::2])


@pytest.mark.parametrize("shape", [(3, 3, 3), (9, 5, 3), (5, 7, 3), (4, 30, 3)])
def test_crop_equals_pillows_fit(tmp_path, shape):
    x = load(save(tmp_path / "a.png"), shape, fit="crop", resample="bicubic")
    size, method = (shape[1], shape[0]), Image.Resampling.BICUBIC
    expected = np.asarray(ImageOps.fit(Image.fromarray(PIXELS), size, method))
    np.testing.assert_allclose(x * 255, expected, atol=1.01)


# Folders


def test_folder_is_walked_in_order(tmp_path):
    for name in ("b.JPG", "a/z.png", "a/b/c.tif", "a-.gif", ".hidden.png", ".thumbs/x.png"):
        save(tmp_path / name)
    (tmp_path / "notes.txt").write_text("no image")
    (tmp_path / "a" / "loop").symlink_to(tmp_path)
    (tmp_path / "linked").symlink_to(tmp_path / "a" / "b")
    images = Folder(path=str(tmp_path)).load((4, 4, 3))
    assert images.names == ["a-", "a/b/c", "a/z", "b", "linked/c"]
    assert images.labels == images.label_names == [None] * 5
    assert images.sha256[3] == hashlib.sha256((tmp_path / "b.JPG").read_bytes()).hexdigest()


def test_colliding_names_keep_their_extension(tmp_path):
    for name in ("a.jpg", "a.png", "a.jpg.png", "b.png"):
        save(tmp_path / name)
    images = Folder(path=str(tmp_path)).load((4, 4, 3))
    assert images.names == ["a.jpg", "a.jpg.png", "a.png", "b"]


def test_names_that_are_no_utf_8_are_stored_as_text(tmp_path):
    """As in archives of old: results could not be written under such a name."""
    file = save(tmp_path / "ca" / "1.png")
    folder = os.fsencode(tmp_path)
    os.rename(file, os.path.join(folder, b"ca", b"t\xe9.png"))
    os.rename(os.path.join(folder, b"ca"), os.path.join(folder, b"caf\xe9"))
    data = Folder(path=str(tmp_path), labels="folders")
    data.check()
    images = data.read(ImageSpec((5, 7, 3), class_names=None, n_classes=1))
    assert images.names == [r"caf\xe9/t\xe9"] and images.label_names == [r"caf\xe9"]
    assert data.named(images.names).select(data.available()) == [0]
    assert images.x[0].shape == (5, 7, 3)


def test_one_file_is_a_folder_of_one(tmp_path, monkeypatch):
    save(tmp_path / "zebra.png")
    save(tmp_path / "other.png")
    monkeypatch.chdir(tmp_path)
    images = Folder(path="zebra.png").load((5, 7, 3))
    assert images.names == ["zebra"]
    np.testing.assert_array_equal(images.x[0], PIXELS / np.float32(255))


def refused(folder: Folder, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        folder.check()
    with pytest.raises(ConfigError, match=message):
        folder.load((4, 4, 3))


def test_nothing_to_load(tmp_path):
    refused(Folder(path=str(tmp_path / "no")), r"data.path=.*no: there is no such file or folder")
    refused(Folder(path=str(tmp_path)), "holds no image file .*.png")
    save(tmp_path / ".hidden.png")
    refused(Folder(path=str(tmp_path)), "holds no image file")


def test_images_of_other_formats_are_said_to_be_left_out(tmp_path, caplog):
    for name in ("a.heic", "b.HEIC", "sub/c.dng", "d.txt", ".e.heic"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(b"")
    unread = "1 .dng, 2 .heic"
    refused(Folder(path=str(tmp_path)), f"no image file .*, but {unread}, .* convert them to JPEG")
    refused(Folder(path=str(tmp_path / "a.heic")), "unknown format: convert them to JPEG or PNG")
    save(tmp_path / "f.png")
    assert Folder(path=str(tmp_path)).load((4, 4, 3)).names == ["f"]
    assert f"left out of {tmp_path}: {unread}, not read here" in caplog.text


@pytest.mark.parametrize("content", [b"", b"just text", b"%!PS-Adobe-3.0 EPSF-3.0\n"])
def test_a_file_that_is_no_image_is_named(tmp_path, content):
    save(tmp_path / "a.png")
    (tmp_path / "b.png").write_bytes(content)
    refused(Folder(path=str(tmp_path)), "b.png is no image")
    Folder(path=str(tmp_path), limit=1).check()  # what isn't selected doesn't matter


def test_a_broken_link_is_named(tmp_path):
    (tmp_path / "b.png").symlink_to(tmp_path / "gone.png")
    refused(Folder(path=str(tmp_path)), "b.png cannot be read: .* a link that leads nowhere")


@pytest.mark.parametrize("suffix", ["png", "jpg", "tif", "gif", "webp", "bmp"])
def test_a_cut_off_file_is_refused_before_anything_is_computed(tmp_path, suffix):
    path = save(tmp_path / f"a.{suffix}", np.repeat(np.repeat(PIXELS, 9, 0), 9, 1))
    content = path.read_bytes()
    path.write_bytes(content[: len(content) * 2 // 3])
    with pytest.raises(ConfigError, match=rf"a\.{suffix} "):
        Folder(path=str(tmp_path)).check()
    with pytest.raises(ConfigError, match=rf"a\.{suffix} "):
        Folder(path=str(tmp_path)).load((4, 4, 3))


def test_a_damaged_png_is_refused_before_it_is_decoded(tmp_path):
    path = save(tmp_path / "a.png")
    content = bytearray(path.read_bytes())
    content[-20] ^= 1  # in the pixels: the checksum is wrong
    path.write_bytes(content)
    refused(Folder(path=str(path)), "a.png cannot be read as an image")


@pytest.mark.parametrize("allowed", [20, 10])  # a warning of Pillow's, an error of Pillow's
def test_a_decompression_bomb_is_refused(tmp_path, monkeypatch, allowed):
    save(tmp_path / "a.png")
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", allowed)
    refused(Folder(path=str(tmp_path)), f"a.png has more than the {allowed} pixels")


# Labels of folders


def tree(folder: Path, *names: str) -> Path:
    for name in names:
        save(folder / name)
    return folder


def labelled(path: Path, labels="folders", **options):
    spec = Folder(path=str(path), labels=str(labels))
    spec.check()
    images = spec.load(ImageSpec((4, 4, 3), **options))
    return dict(zip(images.names, zip(images.labels, images.label_names, strict=True), strict=True))


def test_subfolders_named_as_the_models_classes(tmp_path):
    tree(tmp_path, "Red_fox/old/a.png", "zebra/b.png", "7/c.png")
    names = ["background", "zebra", "lion", "red fox, Vulpes vulpes"]
    assert labelled(tmp_path, class_offset=1, class_names=names) == {
        "7/c": (7, None),
        "Red_fox/old/a": (2, "red fox, Vulpes vulpes"),
        "zebra/b": (0, "zebra"),
    }
    with pytest.raises(ConfigError, match="label 'Red_fox' is no class of the model's"):
        labelled(tmp_path, class_names=["zebra", "lion"])
    with pytest.raises(ConfigError, match="'zebra' may be class 0, 1 of the model's"):
        labelled(tmp_path, class_names=["zebra", "Zebra", "red fox"])


def test_subfolders_of_a_model_without_class_names(tmp_path):
    tree(tmp_path / "words", "dog/b.png", "cat/a.png", "emu/b.png")
    assert labelled(tmp_path / "words", n_classes=3) == {
        "cat/a": (0, "cat"),
        "dog/b": (1, "dog"),
        "emu/b": (2, "emu"),
    }
    with pytest.raises(ConfigError, match="has 10 classes without names and .* 3 subfolders"):
        labelled(tmp_path / "words", n_classes=11, class_offset=1)
    tree(tmp_path / "numbers", "10/b.png", "9/a.png")
    assert labelled(tmp_path / "numbers") == {"10/b": (10, None), "9/a": (9, None)}


def test_alphabetical_numbers_do_not_depend_on_the_selection(tmp_path):
    tree(tmp_path, "cat/a.png", "dog/b.png")
    spec = Folder(path=str(tmp_path), labels="folders", names=["dog/b"])
    assert spec.load(ImageSpec((4, 4, 3), n_classes=2)).labels == [1]


def test_an_image_in_no_subfolder(tmp_path):
    tree(tmp_path, "cat/a.png", "b.png")
    refused(Folder(path=str(tmp_path), labels="folders"), "b lies in no subfolder")


def test_labels_from_a_table(tmp_path):
    tree(tmp_path / "images", "a.png", "cats/b.png", "c.png")
    table = tmp_path / "labels.csv"
    table.write_text('\ufefffile, label ,note\na.png,2,x\n./cats/b.png,"fox, red",y\n', "utf-8")
    assert labelled(tmp_path / "images", table, class_names=["lion", "Fox, red", "emu"]) == {
        "a": (2, "emu"),
        "c": (None, None),
        "cats/b": (1, "Fox, red"),
    }
    table.write_text("file,label\na.png,2\ncats/b.png,1\n")
    one = Folder(path=str(tmp_path / "images" / "a.png"), labels=str(table))
    assert one.load((4, 4, 3)).labels == [2]


@pytest.mark.parametrize("sign", [",", ";", "\t"], ids=["comma", "semicolon", "tab"])
def test_a_table_may_name_files_as_it_likes(tmp_path, monkeypatch, sign):
    """Whole paths, those from the table or from the user, and those with the other slash."""
    folder = tmp_path / "images"
    tree(folder, "a.png", "cats/b.png", "cats/c.png", "d.png")
    table = tmp_path / "labels.csv"
    names = ["a.png", folder / "cats" / "b.png", "images\\cats\\c.png", "./images/d.png"]
    rows = "".join(f"{name}{sign}{number}\n" for number, name in enumerate(names))
    table.write_text(f"file{sign}label\n{rows}")
    monkeypatch.chdir(folder)
    labels = {name: label for name, (label, _) in labelled(folder, table).items()}
    assert labels == {"a": 0, "cats/b": 1, "cats/c": 2, "d": 3}
    outside = save(tmp_path / "e.png")
    table.write_text(f"file{sign}label\n{outside}{sign}1\n")
    refused(Folder(path=str(folder), labels=str(table)), f"files that are not in .*: {outside}")


@pytest.mark.parametrize(
    "content, message",
    [
        ("file,label\nz.png,1\n", "names files that are not in .*: z.png"),
        ("path;label\na.png;1\n", "must have the columns file and label, it has path, label"),
        ("", "must have the columns file and label"),
        ("file,label\na.png,\n", "row 1 lacks a file or a label"),
        ("file,label\na.png\n", "row 1 lacks a file or a label"),
        ("file,label\na.png,1\na.png,2\n", "gives a.png two labels"),
        (b"file,label\na.png,\xff\n", "is no text in UTF-8: save it as CSV UTF-8"),
        ('file,label\na.png,"1\n', "is no CSV file: a quotation mark"),
        ("file,label\nb.heic,1\n", "names files that are no images read here: b.heic"),
        (None, "cannot be read: No such file"),
    ],
)
def test_tables_that_do_not_do(tmp_path, content, message):
    tree(tmp_path / "images", "a.png")
    (tmp_path / "images" / "b.heic").write_bytes(b"")
    table = tmp_path / "labels.csv"
    if content is not None:
        table.write_bytes(content if isinstance(content, bytes) else content.encode())
    refused(Folder(path=str(tmp_path / "images"), labels=str(table)), message)


@pytest.mark.parametrize(
    "names, message",
    [(None, "'ape' is no number, and the model's classes have no"), (["emu"], "'ape' is no class")],
)
def test_labels_that_the_model_does_not_know(tmp_path, names, message):
    tree(tmp_path / "images", "a.png")
    table = tmp_path / "labels.csv"
    table.write_text("file,label\na.png,ape\n")
    with pytest.raises(ConfigError, match=message):
        labelled(tmp_path / "images", table, class_names=names)


# Small images


@pytest.fixture(scope="module")
def animals():
    """Pixels and labels as an ordinary unpickler reads them."""
    folder = Path(importlib.util.find_spec("animal_mnist").submodule_search_locations[0])
    arrays = []
    for part in ("data", "label"):
        path = folder / "data" / "Animal_MNIST" / f"animal_{part}_version_3.gz"
        arrays.append(pickle.loads(gzip.decompress(path.read_bytes())))
    return arrays


def test_animals_without_repetition(animals):
    pixels, labels = animals
    (x0, y0), (x1, y1) = (AnimalMnist().arrays(split) for split in ("train", "test"))
    assert x0.shape == (7784, 28, 28, 1) and x1.shape == (1932, 28, 28, 1)
    assert x0.dtype == np.float32 and y0.dtype == np.int64
    got = {(x.tobytes(), y) for x, y in zip([*x0, *x1], [*y0, *y1], strict=True)}
    expected = pixels.astype(np.float32) / 255
    assert len(got) == len(x0) + len(x1) == 10_000 - 284
    assert got == {(x.tobytes(), y) for x, y in zip(expected, labels, strict=True)}


def test_animals_with_repetition(animals):
    pixels, labels = animals
    spec = AnimalMnist(deduplicate=False, split="train", names=["animal_0106", "animal_9998"])
    assert [len(spec.arrays(split)[1]) for split in ("train", "test")] == [8000, 2000]
    assert np.bincount(spec.arrays("test")[1]).tolist() == [200] * 10
    # the first repetition in the file; deduplicate leaves it out
    assert any((pixels[:106] == pixels[106]).all((1, 2)))
    np.testing.assert_array_equal(
        spec.load((28, 28, 1)).x[0, ..., 0], pixels[106] / np.float32(255)
    )
    with pytest.raises(ConfigError, match="no image animal_0106"):
        replace(spec, deduplicate=True).check()


def test_animals_keep_their_split_when_repetitions_go():
    for split in ("train", "test"):
        every = AnimalMnist(split=split, deduplicate=False)._source().of(split).names
        kept = AnimalMnist(split=split)._source().of(split).names
        held = set(kept)
        assert [name for name in every if name in held] == kept


def test_animals_as_images(animals):
    images = AnimalMnist(limit=10).load((28, 28, 3))
    assert images.labels == list(range(10)) and images.label_names[9] == "zebra"
    assert images.names == [f"animal_{i}004" for i in range(10)]
    for i, x in enumerate(images.x):
        source = animals[0][1000 * i + 4]
        np.testing.assert_array_equal(x, np.repeat(source[..., None], 3, -1) / np.float32(255))
        assert images.sha256[i] == hashlib.sha256(source.tobytes()).hexdigest()


def test_digits_split_is_a_partition():
    from sklearn.datasets import load_digits

    source = load_digits()
    parts = [Digits(split=split).load((8, 8, 1)) for split in ("train", "test")]
    assert [len(part) for part in parts] == [1442, 355]
    for part in parts:
        where = [int(name.removeprefix("digit_")) for name in part.names]
        np.testing.assert_allclose(part.x[..., 0], source.images[where] / 16)
        assert part.labels == source.target[where].tolist()
    assert not set(parts[0].names) & set(parts[1].names)


def test_small_images_are_resized_and_repeated():
    own = Digits(limit=1).load((8, 8, 1)).x[0]
    x = Digits(limit=1, resample="nearest").load((16, 24, 3)).x[0]
    np.testing.assert_array_equal(x, np.repeat(own.repeat(2, 0).repeat(3, 1), 3, 2))


def test_shards_of_a_small_set_partition_it():
    whole = Digits(limit=10).load((8, 8, 1)).names
    parts = [Digits(limit=10, shard=i, shards=3).load((8, 8, 1)).names for i in range(3)]
    assert parts == [whole[0::3], whole[1::3], whole[2::3]]


class Runs:
    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self):
        return os.system, (f"touch {self.path}",)


@pytest.mark.parametrize("kind", ["call", "call in an object array", "builtin", "numpy"])
def test_pickles_that_run_something_are_refused(tmp_path, kind):
    payload = Runs(tmp_path / "ran")
    stored = {
        "call": payload,
        "call in an object array": np.array([payload], object),
        "builtin": eval,
        "numpy": np.load,
    }[kind]
    path = tmp_path / "x.gz"
    path.write_bytes(gzip.compress(pickle.dumps(stored)))
    with pytest.raises(ConfigError, match=r"x.gz cannot be read.*has no place"):
        _read_array(path)
    assert not (tmp_path / "ran").exists()


@pytest.mark.parametrize(
    "content",
    [
        b"no gzip",
        gzip.compress(b""),
        gzip.compress(pickle.dumps([1])),
        gzip.compress(pickle.dumps(np.ones(3))),
        gzip.compress(pickle.dumps(np.ones(3, int)))[:-9],
        gzip.compress(pickle.dumps(np.ones(3, int))[:-9]),
    ],
    ids=["no gzip", "empty", "a list", "floats", "cut gzip", "cut pickle"],
)
def test_pickles_of_something_else_are_refused(tmp_path, content):
    path = tmp_path / "x.gz"
    path.write_bytes(content)
    with pytest.raises(ConfigError, match=r"x.gz (cannot be read|holds no array)"):
        _read_array(path)


def test_a_pickled_array_is_read_whatever_its_protocol(tmp_path):
    array = np.arange(6).reshape(2, 3)
    for protocol in (3, 4):
        path = tmp_path / "x.gz"
        path.write_bytes(gzip.compress(pickle.dumps(array, protocol)))
        np.testing.assert_array_equal(_read_array(path), array)


def keras_stand_in(monkeypatch, load_data) -> None:
    monkeypatch.setattr(FashionMnist, "system", None)  # or a machine's own copy would be read
    source = SimpleNamespace(load_data=load_data)
    datasets = SimpleNamespace(mnist=source, fashion_mnist=source)
    monkeypatch.setitem(sys.modules, "keras", SimpleNamespace(datasets=datasets))


KERAS = np.arange(5 * 28 * 28, dtype=np.uint32).astype(np.uint8).reshape(5, 28, 28)


def test_keras_data_sets(monkeypatch):
    parts = (KERAS[:3], np.uint8([7, 8, 9])), (KERAS[3:], np.uint8([1, 2]))
    keras_stand_in(monkeypatch, lambda: parts)
    images = Mnist(split="train", names=["mnist_train_00001"]).load((28, 28, 1))
    assert images.labels == [8] and images.label_names == ["8"]
    np.testing.assert_array_equal(images.x[0, ..., 0], KERAS[1] / np.float32(255))
    x, y = FashionMnist().arrays("test")
    assert y.tolist() == [1, 2]
    np.testing.assert_array_equal(x[..., 0], KERAS[3:] / np.float32(255))
    assert FashionMnist().load((28, 28, 1)).names == [f"fashion_mnist_test_0000{i}" for i in (0, 1)]


@pytest.mark.parametrize(
    "spec, file, place",
    [
        (Mnist(), "mnist.npz", "home/datasets"),
        (FashionMnist(), "t10k-labels-idx1-ubyte.gz", "home/datasets/fashion-mnist"),
    ],
)
def test_without_a_network_one_sentence_says_what_to_do(monkeypatch, spec, file, place):
    def load_data():
        raise Exception("URL fetch failure on\n https://…")

    keras_stand_in(monkeypatch, load_data)
    monkeypatch.setenv("KERAS_HOME", "home")
    with pytest.raises(
        ConfigError, match=f"could not be fetched: get .*{file}.* into {place}, or "
    ):
        spec.load((28, 28, 1))


def test_keras_names_are_checked_before_anything_is_fetched(monkeypatch):
    monkeypatch.setitem(sys.modules, "keras", None)
    Mnist(names=["mnist_test_09999"]).check()
    with pytest.raises(ConfigError, match="no image mnist_test_10000; .* and 9980 more"):
        Mnist(names=["mnist_test_10000"]).check()


def test_files_in_kerass_own_folder_are_found(tmp_path):
    """The real Keras, with files put where the message about a missing network says."""
    folder = tmp_path / "datasets" / "fashion-mnist"
    folder.mkdir(parents=True)
    for part, images in {"train": KERAS[:3], "t10k": KERAS[3:]}.items():
        content = {"labels-idx1": bytes(8) + bytes(range(len(images)))}
        content["images-idx3"] = bytes(16) + images.tobytes()
        for kind, stored in content.items():
            (folder / f"{part}-{kind}-ubyte.gz").write_bytes(gzip.compress(stored))
    code = (
        "from sanity.data import FashionMnist\n"
        "FashionMnist.system = None\n"
        "images = FashionMnist().load((28, 28, 1))\n"
        "print(images.label_names, images.x[1, 0, 1, 0] * 255)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        check=True,
        cwd=ROOT,
        env=os.environ | {"KERAS_HOME": str(tmp_path)},
    )
    assert done.stdout.strip().endswith(f"['T-shirt/top', 'trouser'] {float(KERAS[4, 0, 1])}")


# Targets


def test_predicted_targets():
    for rule in ("predicted", "predicted_each_stage"):
        got = targets(rule, np.int32([5, 1, 2]), some_images(), 6, None)
        assert got.tolist() == [5, 1, 2] and got.dtype == np.int64
    with pytest.raises(ValueError, match="needs the predicted class"):
        targets("predicted", None, some_images(), 6, None)
    with pytest.raises(ValueError, match="needs the predicted class"):
        targets("predicted", np.zeros(2, int), some_images(), 6, None)


def test_label_targets():
    assert targets("label", None, some_images((2, 0)), 4, None, 1).tolist() == [3, 1]
    with pytest.raises(ConfigError, match="that of i1 is unknown"):
        targets("label", None, some_images(), 4, None)
    with pytest.raises(ConfigError, match="target=label: the class 3 of i0 .* 0 to 2$"):
        targets("label", None, some_images((2, 0)), 3, None, 1)


@pytest.mark.parametrize("number", [-1, 10, 10**30])
def test_target_numbers_out_of_range(number):
    assert targets(9, None, some_images(), 10, None).tolist() == [9, 9, 9]
    with pytest.raises(ConfigError, match=f"target={number} is not among .*, 0 to 9$"):
        targets(number, None, some_images(), 10, None)


NAMES = ["tench, Tinca tinca", "grey fox", "crane", "Crane", "fox, grey wolf", "tinca tinca"]


@pytest.mark.parametrize(
    "name, number",
    [("tench", 0), ("TENCH,_Tinca  tinca", 0), ("Grey_Fox", 1), ("fox", 4), ("Tinca tinca", 5)],
)
def test_class_names(name, number):
    assert find_class(name, NAMES) == [number]
    assert targets(name, None, some_images(), 6, NAMES).tolist() == [number] * 3


def test_class_names_that_do_not_do():
    with pytest.raises(ConfigError, match=r"give the number: 2 \(crane\), 3 \(Crane\)"):
        class_index("crane", 6, NAMES)
    with pytest.raises(ConfigError, match="target=gray fox is none of .* 6 classes; .*grey fox"):
        class_index("gray fox", 6, NAMES)
    with pytest.raises(ConfigError, match="target=qqqq is none of the model's 6 classes$"):
        class_index("qqqq", 6, NAMES)
    with pytest.raises(ConfigError, match="target=fox .* have no names: .* from 0 to 5"):
        class_index("fox", 6, None)


def test_imagenet_classes():
    names = imagenet_class_names()
    assert len(names) == 1000 and class_index("Zebra", 1000, names) == 340
    assert names[0] == "tench" and names[-1] == "toilet tissue"


# The YAML files

OPTIONS = sorted((ROOT / "conf" / "data").glob("*.yaml"))


@pytest.mark.parametrize("path", OPTIONS, ids=lambda path: path.stem)
def test_yaml_lists_every_key_and_says_what_it_does(path):
    text = path.read_text("utf-8")
    node = yaml.safe_load(text)
    cls = getattr(sanity.data, node.pop("_target_").removeprefix("sanity.data."))
    assert set(node) == {field.name for field in fields(cls)}
    assert all("#" in line for line in text.splitlines() if not line.startswith("_target_"))
    demanded = {key for key, value in node.items() if value == "???"}
    spec = cls(**{**node, **dict.fromkeys(demanded, "x")})
    node = {key: value for key, value in node.items() if key not in demanded}
    assert all(getattr(spec, key) == value for key, value in node.items())


def test_every_option_is_there():
    expected = "animal_mnist arrays digits fashion_mnist folder imagenet_samples mnist parquet"
    assert [path.stem for path in OPTIONS] == [*expected.split(), "tfds", "two_regions"]


def test_shards_are_made_from_all_images(tmp_path):
    """Since nulls are made with some of them: another image of another shard is another run."""
    tree(tmp_path, "a.png", "b.png", "c.png")
    parts = [Folder(path=str(tmp_path), shard=shard, shards=2) for shard in (0, 1)]
    assert set(parts[0].sources()["path"]) == set(parts[1].sources()["path"]) == {"a", "b", "c"}
