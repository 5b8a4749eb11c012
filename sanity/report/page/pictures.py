"""The images and masks that a page carries: which ones, and as what."""

import re
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd

from sanity.report.display import STYLES
from sanity.report.page import tiles
from sanity.report.page.data import Each, Picture, RunData, Sprite
from sanity.report.page.run import Run
from sanity.results.load import load_images, load_masks, load_predictions

ROLES = ("typical", "best", "worst")


def add_pictures(
    runs: Sequence[Run],
    shown: list[RunData],
    methods: Sequence[str],
    roles: Sequence[Mapping[str, str]],
) -> dict[str, int]:
    """Adds to each run its images' masks, predictions and photographs.

    Args:
        runs: Those of the page.
        shown: What is shown of each; changed in place.
        methods: Whose masks, in this order.
        roles: Of each run: images to be carried first, see `choose`.

    Returns:
        How many runs' masks are carried, of how many that stored some.
    """
    stores, wanted = [], []
    for number, run in enumerate(runs):
        if not (run.path / "masks.zarr").exists():
            continue
        dataset = load_masks(run.path)
        names = [name for name in methods if name in dataset.data_vars]
        if not names or not dataset.sizes["image"]:
            continue
        shape = dataset[names[0]].shape[2:4]
        stores.append((number, dataset, names))
        wanted.append(
            tiles.share(dataset.sizes["image"], dataset.sizes["stage"], len(names), shape)
        )
    shares = tiles.fit(wanted)
    for (number, dataset, names), part in zip(stores, shares, strict=False):
        photographs = load_images(runs[number].path)
        predictions = load_predictions(runs[number].path)
        stored = [str(name) for name in dataset.image.values]
        role = roles[number]
        first = [name for name in role if name in stored]
        chosen = [*first, *(name for name in _in_order(stored) if name not in first)]
        shown[number]["pictures"] = [
            _picture(dataset, image, role.get(image, ""), names, part, photographs, predictions)
            for image in chosen[: part.images]
        ]
        shown[number]["stages"] = part.stages
        shown[number]["size"] = list(part.size)
        shown[number]["stored"] = dataset.sizes["image"]
        shown[number]["shape"] = list(dataset[names[0]].shape[2:4])
    return {"runs": len(shares), "of": len(wanted)}


def choose(each: Mapping[str, Each], images: Sequence[str]) -> dict[str, str]:
    """The image whose masks keep a middling part of themselves, the most and the least.

    Args:
        each: Early similarities by the metric that decides, by method; without controls.
        images: Names.

    Returns:
        Name and role; fewer where there are fewer images, none where nothing is judged.
    """
    sums, counts = np.zeros(len(images)), np.zeros(len(images))
    for one in each.values():
        np.add.at(sums, one["image"], one["value"])
        np.add.at(counts, one["image"], 1)
    known = np.flatnonzero(counts == counts.max(initial=1))
    if not len(known):
        return {}
    order = known[np.argsort(sums[known], kind="stable")]
    places = {"typical": (len(order) - 1) // 2, "best": len(order) - 1, "worst": 0}
    found: dict[str, str] = {}
    for role in ROLES:
        found.setdefault(images[order[places[role]]], role)
    return found


def _picture(
    dataset: Any,
    image: str,
    role: str,
    names: Sequence[str],
    part: tiles.Share,
    photographs: Mapping[str, np.ndarray],
    predictions: pd.DataFrame,
) -> Picture:
    one = dataset.sel(image=image)
    photograph = photographs.get(image)
    masks: dict[str, dict[str, Sprite]] = {}
    for name in names:
        stack = one[name].values[part.stages]
        masks[name] = {style: tiles.sprite(stack, style, part.factor) for style in STYLES}
    return {
        "image": image,
        "role": role,
        "photo": None if photograph is None else tiles.photograph(photograph),
        "masks": masks,
        "predictions": _predictions(predictions, image),
    }


def _in_order(names: Sequence[str]) -> list[str]:
    """As people count: 2 before 10."""
    return sorted(
        names, key=lambda name: [int(p) if p.isdigit() else p for p in re.split(r"(\d+)", name)]
    )


def _predictions(predictions: pd.DataFrame, image: str) -> list[list[Any]]:
    columns = ["stage", "predicted", "probability", "target", "target_probability"]
    rows = predictions.loc[predictions["image"] == image, columns].sort_values("stage")
    return [list(row) for row in rows.itertuples(index=False, name=None)]
