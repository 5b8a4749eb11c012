"""Whether runs of the same settings are of the same things: what is averaged has to be."""

import logging
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sanity.errors import ConfigError
from sanity.files import read_json

if TYPE_CHECKING:
    import pandas as pd

log = logging.getLogger(__name__)

Info = Mapping[str, Any]


def check_alike(scores: "pd.DataFrame") -> None:
    """Compares what the runs of each scheme recorded, and logs what they do not share.

    That is the results' format, the model's weights, the images of one name, and which images each
    draw of the weights has: means and verdicts are over those that all draws have.

    Args:
        scores: With the columns `scheme`, `path`, `image` and perhaps `seed`.

    Raises:
        ConfigError: At a stage of one number runs of a scheme have randomized other layers.
    """
    members = scores[["scheme", "path"]].drop_duplicates().astype(str)
    together = {tuple(paths) for _, paths in members.groupby("scheme", sort=False)["path"]}
    infos = {path: read_json(Path(path) / "run.json") or {} for path in set().union(*together)}
    for paths in sorted(together):
        if len(paths) > 1:
            _refuse_other_layers(paths, infos)
            _say_unlike(paths, infos)
    if "seed" in scores:
        _say_images_of_draws(scores)


def _refuse_other_layers(paths: Iterable[str], infos: Mapping[str, Info]) -> None:
    """A run's layers are compared in any order, since `random_order` draws theirs by the seed."""
    for one, other in _differing(paths, lambda path: _sorted(infos[path].get("layers"))):
        raise ConfigError(
            f"{one} and {other} are of the same settings and randomize other layers, "
            f"{_stages(infos[one])} and {_stages(infos[other])}, as of a model that was changed in "
            "between: compare them one by one"
        )


def _say_unlike(paths: Iterable[str], infos: Mapping[str, Info]) -> None:
    for one, other in _differing(paths, lambda path: infos[path].get("format")):
        log.warning(
            "%s is of format %s of the results and %s of %s, in which numbers may mean something "
            "else: together they are averaged (sanity-clean removes old ones)",
            *(one, infos[one]["format"], other, infos[other]["format"]),
        )
    for one, other in _differing(paths, lambda path: _sha256(infos[path]).get("model")):
        log.warning(
            "%s and %s are of the same settings and of models with other weights, as of one that "
            "was trained again in between: together they are averaged as draws of one model",
            *(one, other),
        )
    images: dict[str, tuple[str, str]] = {}
    for path in paths:
        hashes = _sha256(infos[path]).get("images")
        for name, sha256 in hashes.items() if isinstance(hashes, Mapping) else ():
            first, known = images.setdefault(name, (path, sha256))
            if known and sha256 and known != sha256:
                log.warning(
                    "%s and %s have other images under the same names, %s for one: together they "
                    "are averaged as if these were one",
                    *(first, path, name),
                )
                return


def _say_images_of_draws(scores: "pd.DataFrame") -> None:
    """Where draws have other images, as one of which a part is missing."""
    known = scores[["scheme", "seed", "image"]].drop_duplicates().astype({"scheme": str})
    said = set()
    for scheme, part in known.groupby("scheme", sort=False):
        draws, images = part["seed"].nunique(), part.groupby("image", observed=True).size()
        some = int((images < draws).sum())
        if draws > 1 and some and (some, len(images)) not in said:
            said.add((some, len(images)))
            log.warning(
                "%d of %d images%s are not in all %d draws of the weights, and are left out",
                *(some, len(images), f" of {scheme!s}" if scheme else "", draws),
            )


def _differing(paths: Iterable[str], what: Callable[[str], Any]) -> Iterable[tuple[str, str]]:
    """The first run and the first one that differs from it in something that both recorded."""
    known = [(path, value) for path in paths if (value := what(path)) is not None]
    return [(known[0][0], path) for path, value in known if value != known[0][1]][:1]


def _sha256(info: Info) -> Info:
    found = info.get("sha256")
    return found if isinstance(found, Mapping) else {}


def _sorted(layers: Any) -> list[str] | None:
    return sorted(map(str, layers)) if isinstance(layers, list) else None


def _stages(info: Info) -> str:
    layers = [str(layer) for layer in info["layers"][1:]]
    more = f", … ({len(layers)} stages)" if len(layers) > 3 else ""
    return f"[{', '.join(layers[:3])}{more}]"
