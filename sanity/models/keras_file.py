"""Keras files of every age: what is in them, and which Keras opens them.

Keras 3 opens its own files and some older ones. What Keras 2 wrote and Keras 3 refuses is opened
by `tf_keras`, which is Keras 2 kept alive. Neither's messages are shown: they are logged for
debugging, and what is wrong is said in this project's words.
"""

import importlib
import inspect
import json
import logging
import os
import sys
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from sanity.errors import ConfigError
from sanity.models.keras_code import code_in, foreign_modules
from sanity.models.kinds import DETAILS, EXPORT, kind_of, way_out

log = logging.getLogger(__name__)

# Classes that Keras 2 has but does not show.
_OPERATORS = (
    *("Functional", "TFOpLambda", "SlicingOpLambda", "ClassMethod", "InstanceMethod"),
    *("InstanceProperty", "TensorFlowOpLayer"),
)


@dataclass(frozen=True)
class KerasFile:
    """What a user's file says of itself.

    Attributes:
        path: The file.
        key: What messages call it: `model.path=…`.
        config: The architecture as Keras' JSON has it; None where there are weights only.
        version: Of the Keras that wrote it; `""` where it does not say.
        architecture: The JSON file that `config` was read from, where it does not lie in `path`.
    """

    path: Path
    key: str
    config: Any
    version: str
    architecture: Path | None = None

    @property
    def of_keras_2(self) -> bool:
        """Whether Keras 2 wrote it, or none that names itself."""
        return not self.version or int(self.version.split(".")[0]) < 3


def read(path: str, architecture: str | None) -> KerasFile:
    """The description of a model in a file, without opening it as a model.

    Args:
        path: The file of the model or, beside an architecture, of its weights.
        architecture: A JSON file.

    Raises:
        ConfigError: There is no such file, it is of another kind, or holds weights only.
    """
    key, file = f"model.path={path}", Path(path).expanduser()
    kind = kind_of(file)
    if kind not in ("keras", "weights"):
        raise ConfigError(way_out(file, key, "keras"))
    found = [description for reads in (_of_zip, _of_hdf5) for description in reads(file, key)]
    if not found:
        raise ConfigError(f"{key} is a damaged Keras file: copy or save it anew")
    for config, _ in found[1:]:  # a file that is both an archive and HDF5 hides something
        if config != found[0][0]:
            raise ConfigError(f"{key} holds two models at once: save it anew with model.save(FILE)")
    config, version = found[0]
    read = KerasFile(file, key, config, version)
    if architecture is not None:
        config, version = _of_json(Path(architecture).expanduser(), architecture)
        return replace(
            read, config=config, version=version, architecture=Path(architecture).expanduser()
        )
    if config is None:
        raise ConfigError(
            f"{key} holds weights without the network: give the network as well, with "
            "model.architecture=FILE.json, which model.to_json() writes, or save both with "
            "model.save('my.keras'); of a network that Keras ships, model=keras_application "
            "model.application=NAME model.weights=FILE takes the weights alone"
        )
    return read


def _of_zip(path: Path, key: str) -> Iterator[tuple[Any, str]]:
    if not zipfile.is_zipfile(path):
        return
    try:
        with zipfile.ZipFile(path) as archive:
            config = json.loads(archive.read("config.json"))
            metadata = json.loads(archive.read("metadata.json"))
            archive.getinfo("model.weights.h5")
            damaged = archive.testzip()
    except (OSError, KeyError, ValueError, zipfile.BadZipFile) as error:
        raise ConfigError(f"{key} is a damaged Keras file: copy or save it anew") from error
    if damaged:
        raise ConfigError(f"{key} is a damaged Keras file: copy or save it anew")
    yield config, str(metadata.get("keras_version", ""))


def _of_hdf5(path: Path, key: str) -> Iterator[tuple[Any, str]]:
    import h5py

    if not h5py.is_hdf5(path):
        return
    try:
        with h5py.File(path, "r") as file:
            config, version = file.attrs.get("model_config"), file.attrs.get("keras_version")
            groups = file["model_weights"] if "model_weights" in file else file
            version = version or groups.attrs.get("keras_version") or ""
            yield (
                None if config is None else json.loads(config),
                version.decode() if isinstance(version, bytes) else str(version),
            )
    except (OSError, KeyError, ValueError) as error:
        raise ConfigError(f"{key} is a damaged HDF5 file: copy or save it anew") from error


def _of_json(path: Path, shown: str) -> tuple[Any, str]:
    key = f"model.architecture={shown}"
    try:
        config = json.loads(path.read_text("utf-8-sig"))
    except OSError as error:
        raise ConfigError(f"{key} cannot be read: {error.strerror}") from error
    except ValueError as error:
        raise ConfigError(f"{key} is no JSON file, as model.to_json() writes one") from error
    if not (isinstance(config, dict) and "class_name" in config and "config" in config):
        raise ConfigError(f"{key} describes no Keras model, as model.to_json() does")
    return config, str(config.get("keras_version") or ("3" if "module" in config else ""))


def refuse_code(file: KerasFile) -> None:
    """Refuses a file with code in it (ConfigError)."""
    what = code_in({**file.config, "compile_config": None})
    if what:
        raise ConfigError(
            f"{file.key} holds {what}, which would run on this machine: model.trust=true allows "
            "it, if you know where the file comes from"
        )


def own_objects(module: str) -> dict[str, Any]:
    """The classes and functions of a user's module, by the names that a file knows them by.

    The module is looked for where Python's are, and in the current folder; it is run.

    Raises:
        ConfigError: It cannot be imported.
    """
    key, here = f"model.module={module}", os.getcwd()
    sys.path.append(here)
    try:
        found = importlib.import_module(module)
    except ModuleNotFoundError as error:
        if error.name and module.split(".")[0] != error.name.split(".")[0]:
            raise ConfigError(f"{key} needs the module {error.name}, which is missing") from error
        raise ConfigError(
            f"{key} is no module that Python finds here (a name such as mylayers, for mylayers.py "
            "in the current folder or on PYTHONPATH)"
        ) from error
    except Exception as error:  # a user's own program
        raise ConfigError(f"{key} fails when it is run: {_named(error)}") from error
    finally:
        sys.path.remove(here)
    return {
        name: value
        for name, value in vars(found).items()
        if (inspect.isclass(value) or inspect.isfunction(value))
        and value.__module__ == found.__name__
    }


def open_model(file: KerasFile, trust: bool, own: dict[str, Any]) -> Any:
    """The model, of Keras 3 or else of Keras 2.

    Args:
        file: What `read` found.
        trust: Whether code in it may run.
        own: The user's classes and functions by name.

    Raises:
        ConfigError: It needs a class that nobody defines, or no Keras understands it.
    """
    if not trust:
        _refuse_unknown(file, own)
    libraries = [keras_3()]
    if file.of_keras_2:
        import tf_keras

        libraries.append(tf_keras)
    for library in libraries:
        try:
            return _load(library, file, trust, own)
        except Exception as error:  # a file of any age: Keras raises whatever it comes upon
            log.debug("Keras %s does not open %s: %s", library.__version__, file.path, error)
            problem = error
    raise ConfigError(_reason(libraries[-1], file, own)) from problem


def _load(library: Any, file: KerasFile, trust: bool, own: dict[str, Any]) -> Any:
    if file.architecture is None:
        return library.models.load_model(
            file.path, custom_objects=own, compile=False, safe_mode=not trust
        )
    with library.utils.custom_object_scope(own):
        model = library.models.model_from_json(json.dumps(file.config), custom_objects=own)
    if not getattr(model, "built", True):
        raise ValueError("the architecture does not say what it takes")
    model.load_weights(file.path)
    return model


def keras_3() -> Any:
    """Keras on TensorFlow.

    Raises:
        ConfigError: It was started on something else.
    """
    if "keras" not in sys.modules:
        os.environ["KERAS_BACKEND"] = "tensorflow"
    import keras

    if keras.backend.backend() != "tensorflow":
        raise ConfigError(f"KERAS_BACKEND={keras.backend.backend()} must be tensorflow")
    return keras


def _refuse_unknown(file: KerasFile, own: dict[str, Any]) -> None:
    """Refuses what is to be imported from a module that the user has not named."""
    for name, module, registered in foreign_modules({**file.config, "compile_config": None}):
        if not _known(name, registered, own):
            raise ConfigError(_needs_module(file.key, f"{name} of the module {module}", module))


def _known(name: str, registered: str, own: dict[str, Any]) -> bool:
    if {name, registered, name.rpartition(">")[2]} & own.keys():
        return True
    import keras
    import tf_keras

    return any(
        library.saving.get_registered_object(registered) is not None
        for library in (keras, tf_keras)
    )


def _needs_module(key: str, what: str, module: str = "") -> str:
    example = module if module not in ("", "__main__") else "mylayers"
    return (
        f"{key} needs {what}, which Keras does not have: model.module={example} imports the module "
        "that defines it, and so runs it"
    )


def _reason(library: Any, file: KerasFile, own: dict[str, Any]) -> str:
    """Why no Keras opens a file, and the way out."""
    written = f"Keras {file.version}" if file.version else "an old Keras"
    ours = f"Keras {library.__version__}"
    if not file.of_keras_2 and _number(file.version) > _number(library.__version__):
        return f"{file.key} was written by {written}, newer than {ours} here: pip install -U keras"
    for entry in _entries(file.config):
        name, class_name = str(entry["config"].get("name", "?")), str(entry["class_name"])
        if not _is_class(library, entry) and not _known(class_name, class_name, own):
            return _needs_module(file.key, f"the class {class_name} of its layer {name}")
    for name, function in _function_names(file.config):
        if not _is_function(library, function) and not _known(function, function, own):
            return _needs_module(file.key, f"the function {function} of its layer {name}")
    failing = _failing(library, file.config, own)
    if failing:
        said = f"its layer {failing}, written by {written}, is not understood by {ours}"
    elif file.architecture is not None:
        return (
            f"{file.key} does not fit model.architecture={file.architecture}: these are the "
            "weights of another network"
        )
    else:
        said = f"its weights do not fit its layers, written by {written}, read by {ours}"
    return f"{file.key} cannot be opened, {said}: {EXPORT} ({DETAILS})"


def _number(version: str) -> tuple[int, ...]:
    return tuple(int(part) for part in version.split(".")[:2] if part.isdigit())


def _entries(node: Any) -> Iterator[dict[str, Any]]:
    """The description of each layer, however deep, wrapped ones too."""
    if isinstance(node, list):
        for value in node:
            yield from _entries(value)
    elif isinstance(node, dict):
        held = ("layers", "layer", "backward_layer", "forward_layer", "cell", "cells")
        for key, value in node.items():
            for entry in value if isinstance(value, list) else [value]:
                described = isinstance(entry, dict) and isinstance(entry.get("config"), dict)
                if key in held and described and "class_name" in entry:
                    yield entry
            yield from _entries(value)


def _function_names(node: Any) -> Iterator[tuple[str, str]]:
    """Layer and function, of all activations that are given by a name."""
    for entry in _entries(node):
        for key, value in entry["config"].items():
            if isinstance(value, dict) and value.get("class_name") == "function":
                value = value.get("config")
            if key.endswith("activation") and isinstance(value, str):
                yield str(entry["config"].get("name", "?")), value


def _is_class(library: Any, entry: dict[str, Any]) -> bool:
    name, module = str(entry["class_name"]), str(entry.get("module"))
    return (
        module.split(".")[0] in ("keras", "tf_keras")
        or name in _OPERATORS
        or any(hasattr(holder, name) for holder in (library, library.layers, library.models))
    )


def _is_function(library: Any, name: str) -> bool:
    try:
        return library.activations.get(name) is not None
    except Exception:  # Keras raises whatever it comes upon
        return False


def _failing(library: Any, config: Any, own: dict[str, Any]) -> str | None:
    """The first layer that cannot be made by itself, with its class; innermost first."""
    for entry in _entries(config):
        if "layers" in entry["config"]:
            continue
        try:
            library.layers.deserialize(entry, custom_objects=own)
        except Exception:  # Keras raises whatever it comes upon
            return f"{entry['config'].get('name', '?')} ({entry['class_name']})"
    return None


def _named(error: BaseException) -> str:
    return f"{type(error).__name__} ({str(error).splitlines()[0] if str(error) else 'no message'})"
