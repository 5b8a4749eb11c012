"""Scores, nulls and verdicts of masks that were made elsewhere, in a run folder like any other."""

import hashlib
import json
import logging
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, get_args

import numpy as np

from sanity import __version__
from sanity.analysis.discrimination import discrimination
from sanity.analysis.spread import between_share
from sanity.analysis.verdict_tables import MOST_BLENDED
from sanity.analysis.verdicts import verdicts
from sanity.analysis.wording import records
from sanity.config.job import Job, compose
from sanity.contents import digest_of
from sanity.errors import ConfigError, did_you_mean
from sanity.experiment.references import choose, hold_apart, write_references
from sanity.experiment.result import Result
from sanity.methods.masks import in_float32
from sanity.metrics import check_sizes
from sanity.metrics.recorded import Recorded
from sanity.metrics.scoring import References, Scorer
from sanity.progress import say
from sanity.randomization.weights import Order
from sanity.report.answer import Answer
from sanity.report.console import for_console, for_file, from_here, wrapped
from sanity.report.finish import IMAGES, finish
from sanity.results.columns import RESULTS_FORMAT
from sanity.results.folder import RunFolder
from sanity.results.given import GivenMasks, read_given
from sanity.results.units import cut_groups, unit_name

if TYPE_CHECKING:
    import pandas as pd

log = logging.getLogger(__name__)

LABELS = ("model", "data", "randomization", "controls")
_KEYS = ("metric", "verdict", "null_model", "null_images", "seed", "masks", "figures", "report")
_HOW = ("name", "output", "force", "runtime")
_GROUP = 8  # images whose masks are held at a time
_OTHER_DRAWS = "as masks of them in a file each, with seed=1, seed=2"
_NO_ORDER = (
    "No verdict is given, as the order in which blocks were randomized is not known{}: "
    "randomization=cascading says that it was from the output on."
)
_NO_LOGITS = (
    "Whether the randomized networks still tell images apart is not known: an array logits, image "
    "× stage × class, beside the masks would say it."
)
_FEW_LOGITS = (
    "Whether the randomized networks still tell images apart cannot be told from so few logits: "
    "one or two say too little of what all images have in common."
)
_FEW = 2  # logits or less
_UNKNOWN = -1  # the class explained, where nobody says it


@dataclass(frozen=True)
class _Asked:
    """What is asked for of some masks.

    Attributes:
        given: The masks.
        job: Metrics and settings; the rest of it is not used.
        labels: What the masks are said to be of: columns of the results.
        controls: Methods that never look at the network.
    """

    given: GivenMasks
    job: Job
    labels: Mapping[str, str]
    controls: list[str]

    @property
    def order(self) -> str | None:
        """In which order blocks were randomized, as far as it is said."""
        return self.labels.get("randomization")

    @property
    def config(self) -> dict[str, Any]:
        """As the run folder has it."""
        mine = {key: self.job.config[key] for key in (*_KEYS, *_HOW) if key in self.job.config}
        order = {} if self.order is None else {"order": self.order}
        source = {"file": self.given.path.name, "sha256": digest_of(self.given.path)}
        methods: dict[str, Any] = {name: {} for name in self.given.shapes}
        return {**mine, "method": methods, "randomization": order, "source": source}

    @property
    def folder(self) -> Path:
        """The run's folder: its id is of the masks' content and of what is asked of them."""
        content = {k: v for k, v in self.config.items() if k not in (*_HOW, "figures", "report")}
        content["source"] = content["source"]["sha256"]
        asked = [RESULTS_FORMAT, content, dict(self.labels), self.controls]
        digest = hashlib.sha256(json.dumps(asked, sort_keys=True, default=str).encode())
        slug = re.sub(r"[^\w+-]+", "_", self.given.path.stem).strip("_") or "masks"
        settings = self.job.settings
        run = f"{slug}-seed{settings.seed}-{digest.hexdigest()[:10]}"
        return Path(settings.output) / settings.name / run


def score_masks(path: str | Path, overrides: Sequence[str] = ()) -> Result:
    """Scores masks that were made elsewhere, and writes a run folder as of a run of ours.

    Nothing in the file is run, and TensorFlow is not needed. Verdicts need `randomization=`, the
    order in which blocks were randomized: `cascading` is from the output on, each stage a block
    more. Whether the networks are dead can only be told from `logits` in the file.

    Args:
        path: An .npz file or a Zarr store, see `sanity.results.given`.
        overrides: `metric=[…]`, `verdict.KEY=…`, `null_model=…`, `null_images=…`, `seed=…`,
            `masks.keep=…`, `name=…`, `output=…`, `force=…` as for a run; `model=…`, `data=…` and
            `randomization=…`, which are labels here, and `controls=[…]`, names of methods.

    Raises:
        ConfigError: The file will not do, or something asked for cannot be done.
    """
    asked = _ask(path, overrides)
    hydra = {"runtime": {"choices": dict(asked.labels)}}
    with RunFolder.open(
        asked.folder, asked.config, list(overrides), hydra, force=asked.job.settings.force
    ) as folder:
        if folder.status == "completed":
            log.info("%s is there already; force=true computes it again", from_here(folder.path))
        else:
            _compute(asked, folder)
    return Result(folder.path)


def _ask(path: str | Path, overrides: Sequence[str]) -> _Asked:
    """What the overrides ask for; refuses what says nothing of masks (ConfigError)."""
    labels, rest, controls = {}, [], []
    known = (*_KEYS, *_HOW, *LABELS)
    for text in overrides:
        key, equals, value = text.lstrip("+").partition("=")
        group = key.split(".")[0]
        if group not in known or not equals:
            raise ConfigError(
                f"{text} says nothing of masks made elsewhere{did_you_mean(group, known)} "
                f"(KEY=VALUE, of: {', '.join(known)})"
            )
        if key == "controls":
            controls = [name.strip() for name in value.strip("[]").split(",") if name.strip()]
        elif key in LABELS:
            if not re.fullmatch(r"\w[\w.+-]*", value):
                raise ConfigError(f"{text} must be a plain name: letters, digits, _, -, + and .")
            labels[key] = value
        elif group in LABELS:
            raise ConfigError(f"{text}: {group} is a label here, {group}=NAME, and has no keys")
        else:
            rest.append(text)
    job = compose(["data=two_regions", *rest])  # whose regions are known: that is asked below
    given = _with_targets(read_given(path))
    for name, metric in job.metrics.items():
        if metric.needs_regions:
            raise ConfigError(f"metric.{name} needs to know where masks should look, in images")
    for shape in given.shapes.values():
        check_sizes(job.metrics, shape)
    for name in controls:
        if name not in given.shapes:
            hint = did_you_mean(name, list(given.shapes))
            there = ", ".join(given.shapes)
            raise ConfigError(f"controls: {name} is none of the methods{hint} ({there})")
    return _Asked(given, job, labels, controls)


def _with_targets(given: GivenMasks) -> GivenMasks:
    """Where nobody says which class is explained, but what the network says: what it predicts.

    Raises:
        ConfigError: A class is beyond those of the logits.
    """
    if given.logits is None:
        return given
    if (most := int(given.targets.max())) >= (classes := given.logits.shape[2]):
        beyond = f"{classes} classes"
        if classes == 1:
            beyond = "one number an image, which is of no class: leave target out"
        raise ConfigError(f"{given.path}: target has {most}, and logits has {beyond}")
    known = given.targets != _UNKNOWN
    predicted = given.logits[:, 0].argmax(axis=1)
    return replace(given, targets=np.where(known, given.targets, predicted))


def _compute(asked: _Asked, folder: RunFolder) -> None:
    """Scores all masks, stores them and finishes the run."""
    given, job = asked.given, asked.job
    n, stages = len(given.images), len(given.layers)
    log.info("%s: %d images at %d stages by %s", given.path, n, stages, ", ".join(given.shapes))
    folder.start(_facts(asked))
    kept = job.settings.masks.count(n)
    folder.create_masks(given.images[:kept], given.layers, given.shapes)
    if given.pictures is not None and kept:
        some = min(kept, IMAGES)
        folder.write_images(given.images[:some], given.pictures[:some])
    references = _references(asked)
    if kept and references is not None:
        write_references(folder.path, references)
    scorer = Scorer(job.metrics, given.images, job.settings.null_model, references=references)
    done = folder.done()
    for group in cut_groups(n, _GROUP):
        units = [unit_name(group, stage) for stage in range(stages)]
        if done.issuperset(units):
            continue
        for stage, unit in enumerate(units):
            masks = {name: _single(given.read(name, group, stage)) for name in given.shapes}
            scores = scorer.score(
                group, stage, given.layers[stage], masks, given.targets[group.start : group.stop]
            )
            for method, own in masks.items():
                folder.write_masks(method, group, stage, own)
            folder.write_unit(unit, scores)
    predicted = None if given.logits is None else _predictions(given)
    if predicted is not None:
        folder.write_predictions([predicted])
    found, apart = _verdicts(asked, folder, predicted)
    folder.complete({"verdicts": records(found), "discrimination": records(apart)})
    finish(folder.path)
    answer = Answer(found, folder.scores(), job.settings.verdict, other_draws=_OTHER_DRAWS)
    say(f"\n{for_file(answer.parts)}\n", f"\n{for_console(answer.parts)}\n")
    few = given.logits is not None and given.logits.shape[2] <= _FEW
    named = "" if asked.order is None else f" by the name {asked.order}"
    remarks = {
        _NO_ORDER.format(named): asked.order not in get_args(Order),
        _NO_LOGITS: given.logits is None,
        _FEW_LOGITS: few,
    }
    for said in (text for text, applies in remarks.items() if applies):
        log.warning("%s", wrapped(said))
    log.info("results are in %s", from_here(folder.path))


def _facts(asked: _Asked) -> dict[str, Any]:
    """What run.json records besides the configuration."""
    given, job = asked.given, asked.job
    layers = given.layers
    return {
        "versions": {"sanity": __version__, "numpy": np.__version__},
        "format": RESULTS_FORMAT,
        "counts": {
            "images": len(given.images),
            "stages": len(layers),
            "methods": len(given.shapes),
            "metrics": len(job.metrics),
        },
        "metrics": {name: Recorded.of(metric).values() for name, metric in job.metrics.items()},
        "controls": asked.controls,
        "layers": layers,
        "changes": ["as trained", *(f"{layer} randomized" for layer in layers[1:])],
        "order": asked.order,
        "begins_at_output": True,
        "sha256": {"masks": asked.config["source"]["sha256"]},
    }


def _references(asked: _Asked) -> References | None:
    """The original masks that nulls are made with, see `experiment.references`."""
    given, settings = asked.given, asked.job.settings
    if settings.null_model != "other_image" or len(given.images) < 2:
        return None
    classes = [None if target == _UNKNOWN else int(target) for target in given.targets]
    chosen = choose(given.images, classes, settings.null_images)
    masks = {
        name: np.concatenate([_single(given.read(name, range(i, i + 1), 0)) for i in chosen])
        for name in given.shapes
    }
    names = [given.images[i] for i in chosen]
    targets = given.targets
    foreign = (targets[:, None] != targets[None, chosen]) | (targets == _UNKNOWN)[:, None]
    return References(names, masks, hold_apart(given.images, names, foreign))


def _single(masks: np.ndarray) -> np.ndarray:
    """Masks (n, …) float32; one that float32 cannot hold is kept times a power of two."""
    return np.stack([in_float32(mask.astype(np.float64))[0] for mask in masks])


def _predictions(given: GivenMasks) -> "pd.DataFrame":
    """One row an image and stage, as in predictions.parquet, from logits that exclude each other.

    Without the network, `between_share` is of the logits alone: NaN of one or two, unless they are
    the same for every image. One number, a sigmoid's logit or a regression's, has no probability
    that could be told. Logits that are not finite make NaN of whatever is computed from them.
    """
    import pandas as pd

    assert given.logits is not None
    parts = []
    rows = np.arange(len(given.images))
    targets = given.targets
    alone = given.logits.shape[2] == 1
    for stage, layer in enumerate(given.layers):
        logits = given.logits[:, stage]
        with np.errstate(invalid="ignore", over="ignore"):
            shifted = logits - logits.max(axis=1, keepdims=True)
            log_softmax = shifted - np.log(np.exp(shifted).sum(axis=1, keepdims=True))
            softmax = np.full_like(logits, np.nan) if alone else np.exp(log_softmax)
            spread = np.abs(logits[:, 0]) if alone else logits.std(axis=1)
            share, entropy = _share(logits), -(softmax * log_softmax).sum(axis=1)
        predicted = logits.argmax(axis=1)
        parts.append(
            pd.DataFrame(
                {
                    "image": given.images,
                    "stage": stage,
                    "layer": layer,
                    "predicted": predicted,
                    "predicted_name": predicted.astype(str),
                    "probability": softmax[rows, predicted],
                    "target": targets,
                    "target_probability": softmax[rows, targets],
                    "target_logit": logits[rows, targets],
                    "logit_std": spread,
                    "between_share": share,
                    "entropy": entropy,
                }
            )
        )
    return pd.concat(parts, ignore_index=True)


def _share(logits: np.ndarray) -> float:
    """How much of the logits' variance (n, classes) lies between images, as far as they tell."""
    if logits.shape[1] <= _FEW and np.ptp(logits, axis=0).max() > 0:
        return float("nan")
    return between_share(logits)


def _verdicts(
    asked: _Asked, folder: RunFolder, predicted: "pd.DataFrame | None"
) -> "tuple[pd.DataFrame, pd.DataFrame]":
    """The verdicts, and whether the metrics discriminate."""
    given, job = asked.given, asked.job
    some = range(min(len(given.images), MOST_BLENDED))
    passive = asked.controls
    masks = {m: _single(given.read(m, some, 0)) for m in given.shapes if m not in passive}
    apart = discrimination(masks, given.images[: len(some)], job.metrics)
    found = verdicts(
        folder.scores(),
        predicted,
        job.metrics,
        asked.order,
        thresholds=job.settings.verdict,
        discrimination=apart,
        controls=passive,
    )
    return found, apart
