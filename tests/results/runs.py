"""Run folders of made-up scores, predictions and masks."""

import json
from pathlib import Path

import numpy as np
import pandas as pd

from sanity.randomness import generator
from sanity.results import RunFolder, load_masks
from sanity.results.tables import PREDICTIONS

ROOT = Path(__file__).parents[2]
IMAGES = ["zebra.jpg", "gnu é.jpg", "cat.jpg"]
LAYERS = ["", "logits"]
METHODS = {"gradient": (6, 5, 3), "edges": (6, 5)}
METRICS = ["ssim", "spearman"]
GROUPS = [range(0, 2), range(2, 3)]
KEPT = 2
UNITS = [f"g{g:04}_s{s:02}" for g in range(2) for s in range(2)]
CONFIG = {
    "name": "test",
    "seed": 3,
    "target": "predicted",
    "precision": "float32",
    "force": False,
    "output": "outputs",
    "runtime": {"batch_size": 8},
    "model": {"_target_": "sanity.models.Embedded", "blocks": ["a", "b"], "scale": 1.0},
    "data": {"_target_": "sanity.data.Samples", "limit": None, "shard": 0, "shards": 1},
    "method": {"gradient": {"_target_": "x.Gradient"}, "edges": {"_target_": "x.E", "sigma": 1.5}},
    "metric": {"ssim": {"window": 5}, "spearman": {"absolute": True}},
}


CHOICES = {
    "model": "embedded",
    "data": "samples",
    "layers": "all",
    "randomization": "cascading",
    "method": ["gradient", "edges"],
    "experiment": None,
    "hydra/launcher": "basic",
}


HYDRA = {"runtime": {"choices": CHOICES, "cwd": "${oc.env:HOME}"}}
INFO = {"sha256": {"model": "aa", "images": {"zebra.jpg": "bb"}}, "batch_size": np.int64(8)}


def masks_of(method: str, images: range, stage: int) -> np.ndarray:
    """Any numbers, the same whenever they are asked for."""
    draws = [generator(method, i, stage).standard_normal(METHODS[method]) for i in images]
    return np.array(draws, np.float32)


def scores_of(images: range, stage: int, seed: int = 0) -> pd.DataFrame:
    keys = [(i, m, k) for i in images for m in METHODS for k in METRICS]
    return pd.DataFrame(
        {
            "image": [IMAGES[i] for i, _, _ in keys],
            "target": [340 + i for i, _, _ in keys],
            "method": [m for _, m, _ in keys],
            "stage": stage,
            "layer": LAYERS[stage],
            "metric": [k for _, _, k in keys],
            "value": [generator(seed, stage, *key).random() for key in keys],
            "null": [None if k == "ssim" else 0.5 for _, _, k in keys],
            "reason": [None if k == "ssim" else "constant" for _, _, k in keys],
        }
    )


def predictions_of(images: range, stage: int) -> pd.DataFrame:
    fixed = {"stage": stage, "layer": LAYERS[stage], "predicted": 340, "predicted_name": "zebra"}
    frame = pd.DataFrame({"image": [IMAGES[i] for i in images], **fixed, "target": 340})
    for column in PREDICTIONS:
        if column not in frame:
            frame[column] = [generator(column, i, stage).random() for i in images]
    return frame


def write_units(run: RunFolder, stop_before: str | None = None) -> None:
    """The experiment's loop."""
    run.create_masks(IMAGES[:KEPT], LAYERS, METHODS)
    done = run.done()
    for g, group in enumerate(GROUPS):
        for stage in range(len(LAYERS)):
            unit = f"g{g:04}_s{stage:02}"
            if unit == stop_before:
                return
            if unit not in done:
                for method in METHODS:
                    run.write_masks(method, group, stage, masks_of(method, group, stage))
                run.write_unit(unit, scores_of(group, stage), predictions_of(group, stage))


def experiment(path: Path) -> None:
    """One launch, from start to end."""
    with RunFolder.open(path, CONFIG, ["seed=3"], HYDRA) as run:
        if run.status != "completed":
            run.start(INFO)
            write_units(run)
            run.complete({"gradients": 12})


def interrupted(path: Path, stop_before: str = UNITS[2]) -> None:
    """A run that was killed: `running`, some units done."""
    run = RunFolder.open(path, CONFIG, ["seed=3"], HYDRA)
    run.start(INFO)
    write_units(run, stop_before)
    run.close()


def everything(path: Path) -> dict[str, bytes]:
    return {str(p.relative_to(path)): p.read_bytes() for p in path.rglob("*") if p.is_file()}


def assert_same_results(path: Path, reference: Path) -> None:
    """Scores, predictions and masks to the bit, and no other files than an uninterrupted run's."""
    ours, theirs = everything(path), everything(reference)
    assert sorted(ours) == sorted(theirs)
    for name in ("scores.parquet", "predictions.parquet"):
        assert ours[name] == theirs[name]
    for method in METHODS:
        masks, expected = (load_masks(p)[method].to_numpy() for p in (path, reference))
        assert masks.tobytes() == expected.tobytes()
        assert np.isfinite(masks).all()
    assert json.loads(ours["run.json"])["status"] == "completed"


def cut(path: Path, size: int) -> None:
    path.write_bytes(path.read_bytes()[:size])
