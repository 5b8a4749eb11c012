"""Which class is explained in each image, and what classes are called."""

from collections.abc import Sequence
from importlib.resources import files

import numpy as np

from sanity.data.images import Images
from sanity.errors import ConfigError, name_some, near


def imagenet_class_names() -> list[str]:
    """The 1000 ImageNet classes in their usual order."""
    text = (files("sanity") / "data" / "imagenet_classes.txt").read_text("utf-8")
    return text.splitlines()


def _plain(name: str) -> str:
    return " ".join(name.replace("_", " ").split()).casefold()


def _synonyms(name: str) -> list[str]:
    return [plain for part in name.split(",") if (plain := _plain(part))]


def find_class(name: str, class_names: Sequence[str]) -> list[int]:
    """The classes called `name`, ignoring case and taking underscores for spaces.

    A class whose whole name it is goes before one that has it among its comma-separated synonyms.
    """
    wanted = _plain(name)
    whole = [i for i, other in enumerate(class_names) if _plain(other) == wanted]
    return whole or [i for i, other in enumerate(class_names) if wanted in _synonyms(other)]


def class_index(rule: int | str, n_classes: int, class_names: Sequence[str] | None) -> int:
    """The model's class that a number or a name stands for.

    Raises:
        ConfigError: No such class, several of that name, or a model without names.
    """
    if not isinstance(rule, str):
        return _in_range(int(rule), n_classes, f"target={rule}")
    if class_names is None:
        raise ConfigError(
            f"target={rule} is the name of a class, but the model's classes have no names: "
            f"give a number from 0 to {n_classes - 1}, or predicted or label"
        )
    found = find_class(rule, class_names)
    if len(found) == 1:
        return _in_range(found[0], n_classes, f"target={rule}, class {found[0]},")
    if found:
        which = name_some([f"{i} ({class_names[i]})" for i in found])
        raise ConfigError(f"target={rule} may be several classes, give the number: {which}")
    spellings = [word for name in class_names for word in {_plain(name), *_synonyms(name)}]
    close = near(_plain(rule), spellings, 5)
    hint = f"; close to it are {name_some(list(dict.fromkeys(close)))}" if close else ""
    raise ConfigError(f"target={rule} is none of the model's {n_classes} classes{hint}")


def targets(
    rule: int | str,
    predicted: np.ndarray | None,
    images: Images,
    n_classes: int,
    class_names: Sequence[str] | None,
    label_offset: int = 0,
) -> np.ndarray:
    """The class explained in each image, in the model's numbering: int64, (n,).

    Args:
        rule: "predicted", "label", a class's number in the model or its name;
            "predicted_each_stage" gives those of stage 0; later stages have their own.
        predicted: The model's classes for these images, (n,); only these two rules need it.
        images: Whose labels the rule "label" takes.
        n_classes: Of the model.
        class_names: The model's, or None.
        label_offset: The model's number of the data's class 0 (1 where 0 is background).

    Raises:
        ConfigError: An image without label, or a class that isn't among the model's.
    """
    if rule in ("predicted", "predicted_each_stage"):
        if predicted is None or np.shape(predicted) != (len(images),):
            raise ValueError(f"target={rule} needs the predicted class of every image")
        return np.array(predicted, np.int64)
    if rule == "label":
        found = []
        for name, label in zip(images.names, images.labels, strict=True):
            if label is None:
                raise ConfigError(
                    f"target=label needs the label of every image, that of {name} is unknown: "
                    "give data.labels or another target"
                )
            what = f"target=label: the class {label + label_offset} of {name}"
            found.append(_in_range(label + label_offset, n_classes, what))
        return np.array(found, np.int64)
    return np.full(len(images), class_index(rule, n_classes, class_names), np.int64)


def _in_range(number: int, n_classes: int, what: str) -> int:
    if not 0 <= number < n_classes:
        raise ConfigError(f"{what} is not among the model's classes, 0 to {n_classes - 1}")
    return number
