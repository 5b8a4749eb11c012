"""Image files: the embedded ImageNet samples and a user's own folder."""

import csv
import hashlib
import importlib.util
import io
import logging
import os
import re
from collections import Counter
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path, PurePosixPath

from sanity.checked import Text, checked
from sanity.contents import Content, check_files, hash_files
from sanity.data.base import ImageSpec
from sanity.data.encoded import Encoded
from sanity.data.images import (
    CONVERT,
    EXTENSIONS,
    UNREAD,
    Fit,
    Images,
    Resample,
    Shape,
    check_channels,
    verify,
)
from sanity.data.selection import Selection
from sanity.data.targets import find_class, imagenet_class_names
from sanity.errors import ConfigError, name_some

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Label:
    """The class of an image by number and name, each None where it is unknown."""

    number: int | None = None
    name: str | None = None


def package_folder(package: str, option: str) -> Path:
    """Where an installed package lies, without importing it.

    Raises:
        ConfigError: It isn't installed.
    """
    spec = importlib.util.find_spec(package)
    if spec is None or not spec.submodule_search_locations:
        raise ConfigError(
            f"data={option} needs the package {package.replace('_', '-')}, which isn't installed"
        )
    return Path(spec.submodule_search_locations[0])


@dataclass(frozen=True, repr=False, kw_only=True)
class _Files(Encoded):
    """The pixels of image files, which are named by their paths.

    Attributes:
        sha256: Of each, as it was when the names were read.
    """

    sha256: list[str]

    def content(self, index: int) -> bytes:
        path = self.names[index]
        try:
            content = Path(path).read_bytes()
        except OSError as error:
            raise ConfigError(f"data.path: {path} cannot be read: {error.strerror}") from error
        if hashlib.sha256(content).hexdigest() != self.sha256[index]:
            raise ConfigError(f"data.path: {path} has changed since this job began")
        return content


def _open(
    files: list[tuple[str, Path]], labels: list[Label], shape: Shape, resample: Resample, fit: Fit
) -> Images:
    check_channels(shape)
    paths = [path for _, path in files]
    sha256 = hash_files(paths, "data.path")
    return Images(
        x=_Files(
            names=[str(path) for path in paths],
            sha256=sha256,
            size=shape,
            resample=resample,
            fit=fit,
        ),
        names=[name for name, _ in files],
        labels=[label.number for label in labels],
        label_names=[label.name for label in labels],
        sha256=sha256,
    )


@checked
class ImageNetSamples(Selection):
    """The 20 ImageNet images of the package foolbox, labels among the 1000 classes."""

    resample: Resample = "bilinear"
    fit: Fit = "stretch"

    def check(self) -> None:
        """Refuses what can be refused without the model (ConfigError)."""
        self.select(self.available())

    def available(self) -> list[str]:
        """The names of the 20."""
        return list(self._files())

    def read(self, spec: ImageSpec) -> Images:
        """The images, labels among the 1000 classes."""
        files = list(self._files().items())
        chosen = [files[i] for i in self.select([name for name, _ in files])]
        numbers = [int(path.stem.split("_")[2]) for _, path in chosen]
        names = imagenet_class_names()
        labels = [Label(number, names[number]) for number in numbers]
        return _open(chosen, labels, spec.shape, self.resample, self.fit)

    def _files(self) -> dict[str, Path]:
        folder = package_folder("foolbox", "imagenet_samples") / "data"
        files = sorted(folder.glob("imagenet_[0-9][0-9]_*.jpg"))
        if len(files) != 20:
            raise ConfigError(
                f"data=imagenet_samples: {folder} holds {len(files)} of the 20 images: "
                "install foolbox anew"
            )
        return {path.stem[: len("imagenet_00")]: path for path in files}


@checked
class Folder(Selection):
    """The image files of a folder and of those in it, or one image file.

    Hidden files and folders are left out, links followed; the order is that of the paths. An
    image's name is its path in the folder without extension (`cats/tom`); bytes of it that are no
    UTF-8, as of old archives, stand there in hexadecimal.

    Attributes:
        labels: None; "folders", the name of the uppermost subfolder; or the path of a CSV file
            with the columns `file` (path in the folder) and `label`. A label is a class's name or
            its number, counted from 0 without a background class.
    """

    path: Text
    labels: Text | None = None
    resample: Resample = "bilinear"
    fit: Fit = "stretch"

    def check(self) -> None:
        """Refuses what can be refused without the model; reads each image once.

        Raises:
            ConfigError: Nothing at `path` or no image in it, a file that is no image, an unknown
                name, labels that don't fit the files.
        """
        files = self._files()
        chosen = self._chosen(files)
        check_files([files[name] for name in chosen], verify, "data.path")
        self._label_texts(files, chosen)

    def read(self, spec: ImageSpec) -> Images:
        """The images, with their labels in the data's numbering.

        Labels that are names are looked up among the model's. Of a model without names, only
        subfolders can be named, and then number their classes alphabetically, as Keras does.

        Raises:
            ConfigError: As `check`; or an image is damaged, a label unknown, the channels don't
                fit.
        """
        files = self._files()
        if Path(self.path).expanduser().is_dir() and (unread := _unread(self._listed[1])):
            log.warning("left out of %s: %s, not read here: %s", self.path, unread, CONVERT)
        chosen = self._chosen(files)
        texts = self._label_texts(files, chosen)
        offset, n_classes = spec.class_offset, spec.n_classes
        names = None if spec.class_names is None else list(spec.class_names[offset:])
        classes = self._subfolders(files) if self.labels == "folders" else []
        if names is None and classes and not all(_is_number(name) for name in classes):
            if n_classes is not None and len(classes) != n_classes - offset:
                raise ConfigError(
                    f"data.labels=folders: the model has {n_classes - offset} classes without "
                    f"names and {self.path} has {len(classes)} subfolders: "
                    "name the folders by class number"
                )
            names = classes
        labels = [find_label(text, names) for text in texts]
        return _open(
            [(name, files[name]) for name in chosen], labels, spec.shape, self.resample, self.fit
        )

    def available(self) -> list[str]:
        """The paths in the folder without extension."""
        return list(self._files())

    def sources(self) -> dict[str, Content]:
        """The chosen images by their names, and their labels: those of others do not count.

        All shards' images do, since nulls are made with some of them.
        """
        files = self._files()
        chosen = replace(self, shard=0, shards=1)._chosen(files)
        content: dict[str, Path | str] = {name: files[name] for name in chosen}
        if self.labels is None:
            return {"path": content}
        if self.labels != "folders":
            return {"path": content, "labels": Path(self.labels).expanduser()}
        # Where the model's classes have no names, these number them.
        return {"path": content, "labels": {"folders": "\0".join(self._subfolders(files))}}

    def _chosen(self, files: dict[str, Path]) -> list[str]:
        names = list(files)
        return [names[i] for i in self.select(names)]

    def _root(self) -> Path:
        path = Path(self.path).expanduser()
        return path.parent if path.is_file() else path

    def _files(self) -> dict[str, Path]:
        path = Path(self.path).expanduser()
        if path.is_file():
            return {_as_text(path.stem): path}
        if not path.is_dir():
            raise ConfigError(f"data.path={self.path}: there is no such file or folder")
        found, left_out = self._listed
        if not found:
            unread = _unread(left_out)
            hint = f", but {unread}, which are not read here: {CONVERT}" if unread else ""
            raise ConfigError(
                f"data.path={self.path} holds no image file ({' '.join(sorted(EXTENSIONS))}){hint}"
            )
        return dict(zip(_names(found), (path / relative for relative in found), strict=True))

    @cached_property
    def _listed(self) -> tuple[list[PurePosixPath], list[PurePosixPath]]:
        return _image_files(Path(self.path).expanduser())

    def _subfolders(self, files: dict[str, Path]) -> list[str]:
        parts = [path.relative_to(self._root()).parts for path in files.values()]
        return sorted({_as_text(part[0]) for part in parts if len(part) > 1})

    def _label_texts(self, files: dict[str, Path], chosen: list[str]) -> list[str | None]:
        if self.labels is None:
            return [None] * len(chosen)
        root = self._root()
        relative = {
            name: _as_text(path.relative_to(root).as_posix()) for name, path in files.items()
        }
        if self.labels == "folders":
            loose = [name for name in chosen if "/" not in relative[name]]
            if loose:
                raise ConfigError(
                    f"data.labels=folders: {name_some(loose)} lies in no subfolder of {self.path}"
                )
            return [relative[name].split("/")[0] for name in chosen]
        table = self._table(Path(self.labels).expanduser())
        strange = sorted(table.keys() - set(relative.values()))
        if strange and not Path(self.path).expanduser().is_file():
            raise ConfigError(
                f"data.labels={self.labels} names files that are no images read here: "
                f"{name_some(strange)}"
            )
        return [table.get(relative[name]) for name in chosen]

    def _table(self, path: Path) -> dict[str, str]:
        """The labels of a CSV file by the images' paths in the folder."""
        table: dict[str, str] = {}
        missing = []
        for name, label in _read_labels(path):
            inside = _inside(name, self._root(), path.parent)
            if inside is None:
                missing.append(name)
            elif table.setdefault(inside, label) != label:
                raise ConfigError(f"data.labels={self.labels} gives {inside} two labels")
        if missing:
            raise ConfigError(
                f"data.labels={self.labels} names files that are not in {self._root()}: "
                f"{name_some(missing)}"
            )
        return table


def _inside(name: str, root: Path, beside: Path) -> str | None:
    """The path in a folder of a file that a CSV file names.

    By its path in the folder, a whole path, or one from where the CSV file or the user is; with
    either kind of slash.
    """
    for written in dict.fromkeys((name, name.replace("\\", "/"))):
        if not Path(written).is_absolute() and (root / written).is_file():
            return PurePosixPath(written).as_posix()
        for base in (beside, Path.cwd()):
            file = (base / Path(written).expanduser()).resolve()
            if file.is_file() and file.is_relative_to(root.resolve()):
                return file.relative_to(root.resolve()).as_posix()
    return None


def _unread(files: list[PurePosixPath]) -> str:
    """How many files of each format for images there are among those left out: `2 .heic`."""
    counts = Counter(file.suffix.lower() for file in files)
    return ", ".join(f"{n} {suffix}" for suffix, n in sorted(counts.items()) if suffix in UNREAD)


def _image_files(root: Path) -> tuple[list[PurePosixPath], list[PurePosixPath]]:
    """The image files below a folder, and the other files there, hidden ones left out."""

    def failed(error: OSError) -> None:
        raise ConfigError(f"data.path: {error.filename} cannot be read: {error.strerror}")

    found: list[PurePosixPath] = []
    left_out: list[PurePosixPath] = []
    for folder, subfolders, files in os.walk(root, followlinks=True, onerror=failed):
        here = Path(folder)
        depth = len(here.relative_to(root).parts)
        if here.resolve() in [parent.resolve() for parent in here.parents[:depth]]:
            subfolders.clear()  # a link led back to a folder that contains it
            continue
        subfolders[:] = sorted(name for name in subfolders if not name.startswith("."))
        inside = here.relative_to(root).as_posix()
        for name in files:
            if name.startswith("."):
                continue
            kept = found if os.path.splitext(name)[1].lower() in EXTENSIONS else left_out
            whole = os.path.join(folder, name)
            # a broken link is kept, to be complained about; pipes and the like are not opened
            if os.path.isfile(whole) or os.path.islink(whole):
                kept.append(PurePosixPath(inside, name))
    return sorted(found, key=str), left_out


def _names(files: list[PurePosixPath]) -> list[str]:
    whole = [_as_text(str(path)) for path in files]
    short = [_as_text(str(path.with_suffix(""))) for path in files]
    taken = Counter([*whole, *short])
    return [s if taken[s] == 1 else w for s, w in zip(short, whole, strict=True)]


def _as_text(name: str) -> str:
    """A file's name as text that can be stored: Python keeps bytes that are no UTF-8 aside."""
    return name.encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")


def _read_labels(path: Path) -> list[tuple[str, str]]:
    """Files and labels as a CSV file has them, separated by commas, semicolons or tabs."""
    try:
        text = path.read_bytes().decode("utf-8-sig")
    except OSError as error:
        raise ConfigError(f"data.labels={path} cannot be read: {error.strerror}") from error
    except UnicodeError as error:
        raise ConfigError(
            f"data.labels={path} is no text in UTF-8: save it as CSV UTF-8"
        ) from error
    header = text.partition("\n")[0]
    delimiter = next((sign for sign in ",;\t" if sign in header), ",")
    try:
        reader = csv.DictReader(io.StringIO(text, newline=""), delimiter=delimiter, strict=True)
        columns = [str(name).strip() for name in reader.fieldnames or ()]
        reader.fieldnames = columns
        rows = list(reader)
    except csv.Error as error:
        raise ConfigError(
            f"data.labels={path} is no CSV file: a quotation mark or a line in it does not end"
        ) from error
    if not {"file", "label"} <= set(columns):
        raise ConfigError(
            f"data.labels={path} must have the columns file and label, it has {name_some(columns)}"
        )
    found = []
    for number, row in enumerate(rows, start=1):
        file_name, label = (row["file"] or "").strip(), (row["label"] or "").strip()
        if not file_name or not label:
            raise ConfigError(f"data.labels={path}: row {number} lacks a file or a label")
        found.append((file_name, label))
    return found


def _is_number(text: str) -> bool:
    return re.fullmatch("[0-9]{1,9}", text) is not None


def find_label(text: str | None, class_names: list[str] | None) -> Label:
    """The class that a folder's name or a cell of a CSV file means; names are tried first."""
    if text is None:
        return Label()
    matches = [] if class_names is None else find_class(text, class_names)
    if not matches and _is_number(text):
        number = int(text)
        return Label(number, dict(enumerate(class_names or ())).get(number))
    if class_names is None:
        raise ConfigError(
            f"data.labels: the label {text!r} is no number, and the model's classes have no names"
        )
    if len(matches) != 1:
        what = f"may be class {name_some([*map(str, matches)])}" if matches else "is no class"
        raise ConfigError(f"data.labels: the label {text!r} {what} of the model's")
    return Label(matches[0], class_names[matches[0]])
