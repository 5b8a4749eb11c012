"""Run folders made of invented results, quickly, for the page."""

from pathlib import Path

import numpy as np
import pandas as pd
import yaml

from sanity.analysis.verdicts import verdicts
from sanity.analysis.wording import records
from sanity.config.options import conf_folder
from sanity.metrics import Spearman, Ssim
from sanity.randomness import generator
from sanity.results.folder import RunFolder
from sanity.results.tables import PREDICTIONS

METHODS = {"gradient": (12, 16, 3), "guided_backprop": (12, 16, 3), "edge_detector": (12, 16)}
METRICS = ("ssim", "spearman")
LAYERS = ("", "top", "middle", "stem")
SIZES = {"top": 119, "middle": 160, "stem": 248}
# How much of a mask stays by stage.
KEPT = {"gradient": (1, 0.3, 0.2, 0.1), "guided_backprop": (1, 0.9, 0.8, 0.3)}


def masks_of(method: str, image: str, stage: int, seed: int = 0) -> np.ndarray:
    shape = METHODS.get(method, (12, 16, 3))
    original = generator("mask", method, image).standard_normal(shape)
    kept = KEPT.get(method, (1, 1, 1, 1))[stage]
    noise = generator("mask", method, image, stage, seed).standard_normal(shape)
    return (kept * original + (1 - kept) * noise).astype(np.float32)


def scores_of(images, methods, metrics, layers, seed=0, target=1) -> pd.DataFrame:
    rows = []
    for stage, layer in enumerate(layers):
        for image in images:
            for method in methods:
                for metric in metrics:
                    kept = KEPT.get(method, (1,) * 9)[stage]
                    noise = generator("score", image, method, metric, stage, seed).normal(0, 0.02)
                    value = kept + noise if stage and method in KEPT else kept
                    null = 0.05 + generator("null", image, method, metric, stage).random() / 20
                    rows.append((image, target, method, stage, layer, metric, value, null, None))
    columns = ["image", "target", "method", "stage", "layer", "metric", "value", "null", "reason"]
    return pd.DataFrame(rows, columns=columns)


def predictions_of(images, layers, names=("cat", "dog"), share=0.4) -> pd.DataFrame:
    rows = []
    for stage, layer in enumerate(layers):
        for number, image in enumerate(images):
            k = (stage + number) % len(names)
            draw = generator("prediction", image, stage)
            rows.append(
                {
                    "image": image,
                    "stage": stage,
                    "layer": layer,
                    "predicted": k,
                    "predicted_name": names[k],
                    "target": 1,
                    "between_share": share if stage else 0.9,
                    **{
                        key: draw.random()
                        for key in ("probability", "target_probability", "target_logit")
                    },
                    "logit_std": 1.0,
                    "entropy": 1.0,
                }
            )
    return pd.DataFrame(rows)[list(PREDICTIONS)]


def make_run(
    path: Path,
    *,
    seed: int = 0,
    randomization: str = "cascading",
    images=("one", "two", "three"),
    methods=tuple(METHODS),
    layers=LAYERS,
    names=("cat", "dog"),
    change=lambda scores: scores,
    masks=masks_of,
    share: float = 0.4,
    model: str = "small",
    old: bool = False,
) -> Path:
    """A completed run; an `old` one has neither blocks nor images."""
    nodes = {
        name: yaml.safe_load((conf_folder() / "metric" / f"{name}.yaml").read_text())[name]
        for name in METRICS
    }
    config = {
        "name": "test",
        "seed": seed,
        "target": "predicted",
        "verdict": {"threshold": 0.5, "images": 3, "dead": 0.05},
        "randomization": {"order": randomization, "initializer": "truncated_normal"},
        "method": {name: {"_target_": "x.Y"} for name in methods},
        "metric": nodes,
    }
    hydra = {
        "runtime": {"choices": {"model": model, "data": "photos", "randomization": randomization}}
    }
    scores = change(scores_of(images, methods, METRICS, layers, seed))
    predictions = predictions_of(images, layers, names, share)
    blocks = [
        {
            "name": layer,
            "parameters": SIZES.get(layer, 10),
            "randomized": [SIZES.get(layer, 10) * (k >= at > 0) for k in range(len(layers))],
        }
        for at, layer in enumerate(layers)
        if layer
    ]
    found = verdicts(
        scores,
        predictions,
        {"ssim": Ssim(), "spearman": Spearman()},
        randomization,
        controls=["edge_detector"],
    )
    info = {"verdicts": records(found), "discrimination": []}
    with RunFolder.open(path, config, [], hydra) as run:
        facts = {} if old else {"blocks": blocks}
        facts |= {"controls": [name for name in methods if name == "edge_detector"]}
        run.start({"layers": list(layers), "versions": {"sanity": "0"}, **facts})
        if masks:
            shapes = {name: METHODS.get(name, (12, 16, 3)) for name in methods}
            run.create_masks(list(images), list(layers), shapes)
            for number, image in enumerate(images):
                for stage in range(len(layers)):
                    for method in methods:
                        one = masks(method, image, stage, seed)[None]
                        run.write_masks(method, slice(number, number + 1), stage, one)
            if not old:
                photos = generator("photos").random((len(images), 12, 16, 3))
                run.write_images(list(images), photos)
        run.write_predictions([predictions])
        run.write_unit("all", scores)
        run.complete(info)
    return path
