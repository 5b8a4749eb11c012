"""Which kind of model file lies at a path, told from its content, and which option takes it."""

import os
import zipfile
from pathlib import Path
from typing import Literal

from sanity.errors import ConfigError

Kind = Literal[
    "nothing",
    "keras",
    "weights",
    "saved_model",
    "folder",
    "part",
    "frozen_graph",
    "tflite",
    "onnx",
    "torch",
    "json",
    "checkpoint",
    "archive",
    "unknown",
]
# How a network gets out of where it was trained.
EXPORT = (
    "where it was made, export it as a SavedModel (model.export('FOLDER') of Keras 3, else "
    "tf.saved_model.save(model, 'FOLDER')), then model=saved_model model.path=FOLDER"
)
DETAILS = "runtime.log_level=debug shows the library's own message"
# What each option takes.
_WANTED = {
    "onnx": "an ONNX model (.onnx)",
    "keras": "a Keras file (.keras or .h5)",
    "saved_model": "the folder of a SavedModel, with a saved_model.pb in it",
    "frozen": "a frozen graph (.pb or .pbtxt)",
    "tflite": "a model of TensorFlow Lite (.tflite)",
}
_HDF5, _GZIP = b"\x89HDF\r\n\x1a\n", b"\x1f\x8b"


def kind_of(path: Path) -> Kind:
    """What lies at a path.

    `keras` is a whole model of Keras, `weights` an HDF5 file without a network, `part` a file of a
    SavedModel, `folder` one without a SavedModel.
    """
    if os.path.isdir(path):  # pathlib raises what a name too long for the disk comes upon
        whole = any((path / f"saved_model.{suffix}").is_file() for suffix in ("pb", "pbtxt"))
        if whole:
            return "saved_model"
        return "checkpoint" if any(path.glob("*.index")) else "folder"
    if not os.path.isfile(path):
        return "checkpoint" if list(path.parent.glob(f"{path.name}.index")) else "nothing"
    with open(path, "rb") as file:
        head = file.read(8)
    suffix = path.suffix.lower()
    if head == _HDF5:
        return _of_hdf5(path)
    if head[:2] == b"PK":
        return _of_zip(path)
    if head[4:] == b"TFL3" or suffix in (".tflite", ".lite"):
        return "tflite"
    if path.name in ("saved_model.pb", "saved_model.pbtxt", "keras_metadata.pb"):
        return "part"
    by_suffix: dict[str, Kind] = {
        **dict.fromkeys((".pb", ".pbtxt"), "frozen_graph"),
        ".onnx": "onnx",
        ".json": "json",
        **dict.fromkeys((".pt", ".pth", ".bin", ".safetensors"), "torch"),
        **dict.fromkeys((".index", ".ckpt"), "checkpoint"),
        **dict.fromkeys((".gz", ".tgz", ".tar"), "archive"),
    }
    return by_suffix.get(suffix, "archive" if head[:2] == _GZIP else "unknown")


def _of_hdf5(path: Path) -> Kind:
    import h5py

    try:
        with h5py.File(path, "r") as file:
            return "keras" if "model_config" in file.attrs else "weights"
    except OSError:  # cut off; what reads it will say so
        return "keras"


def _of_zip(path: Path) -> Kind:
    try:
        with zipfile.ZipFile(path) as archive:
            names = archive.namelist()
    except zipfile.BadZipFile:  # cut off
        names = []
    if any(name.endswith("data.pkl") for name in names):
        return "torch"
    return "keras" if "config.json" in names or path.suffix == ".keras" else "archive"


def file_of_kind(given: str, kind: Kind, option: str) -> tuple[Path, str]:
    """The file at `model.path`, and what messages call it.

    Args:
        given: `model.path`.
        kind: What it has to be, see `kind_of`.
        option: Of the group `model`, which was chosen.

    Raises:
        ConfigError: It is something else, or not there.
    """
    key, path = f"model.path={given}", Path(given).expanduser()
    if kind_of(path) != kind:
        raise ConfigError(way_out(path, key, option))
    return path, key


def way_out(path: Path, key: str, option: str) -> str:
    """Why an option does not take what lies at a path, and which one does.

    Args:
        path: Which `kind_of` says is nothing for this option.
        key: What messages call it, `model.path=…`.
        option: Of the group `model`, which was chosen.
    """
    shown = key.partition("=")[2]
    wanted = _WANTED[option]
    kind = kind_of(path)
    if kind == "nothing":
        return f"{key}: there is no such file or folder; it must be {wanted}"
    if kind == "keras":
        return f"{key} is a Keras file: model=keras model.path={shown}"
    if kind == "saved_model":
        return f"{key} is the folder of a SavedModel: model=saved_model model.path={shown}"
    if kind == "frozen_graph":
        return f"{key} is a frozen graph: model=frozen model.path={shown}"
    if kind == "tflite":
        return f"{key} is a TFLite model: model=tflite model.path={shown}"
    if kind == "part":
        folder = Path(shown).parent
        return f"{key} is part of a SavedModel: model=saved_model model.path={folder}"
    if kind == "folder":
        inside = sorted(p.parent for p in path.glob("*/saved_model.pb"))
        hint = f"; {inside[0]} is one: model=saved_model model.path={inside[0]}" if inside else ""
        return f"{key} is a folder without a saved_model.pb; it must be {wanted}{hint}"
    said = {
        "weights": "holds the weights of a Keras model without the network: model=keras "
        f"model.path={shown} model.architecture=FILE.json, which model.to_json() writes",
        "onnx": f"is an ONNX model: model=onnx model.path={shown}",
        "torch": "is a file of PyTorch, weights without the network: model=torch "
        f"model.module=PACKAGE.MODULE:FUNCTION model.checkpoint={shown} builds it by a function of "
        "yours",
        "json": f"is a network without weights: model=keras model.path=WEIGHTS "
        f"model.architecture={shown}",
        "checkpoint": "is a checkpoint, weights without the network: load it into the network, "
        "then model.save('my.keras') and model=keras model.path=my.keras",
        "archive": "is an archive: unpack it, and give the folder or file that was in it",
        "unknown": f"is of an unknown kind; it must be {wanted}",
    }
    return f"{key} {said[kind]}"
