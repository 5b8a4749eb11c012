"""The loop: units that are not there yet are computed, scored and stored."""

import logging
import math
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import dataclass
from functools import cache, partial
from typing import TYPE_CHECKING, Any

import numpy as np

from sanity.analysis.discrimination import discrimination
from sanity.analysis.settling import other_draws, settling
from sanity.analysis.thresholds import Thresholds
from sanity.analysis.verdict_tables import MOST_BLENDED
from sanity.analysis.verdicts import verdicts
from sanity.analysis.wording import records
from sanity.data import Images
from sanity.experiment.beside import Beside
from sanity.experiment.effort import Effort, Times
from sanity.experiment.explaining import Entered, Explained, explain, mask_bytes
from sanity.experiment.originals import Keeping, originals
from sanity.experiment.predictions import Asked, Settled, StagePredictions
from sanity.experiment.references import Others, complete_references, write_references
from sanity.methods import Cost, Method
from sanity.metrics import MaskMetric
from sanity.metrics.scoring import Null, References, Scorer
from sanity.progress import progress, say, short
from sanity.report.answer import Answer
from sanity.report.console import for_console, for_file, from_here, wrapped
from sanity.report.drawing import LARGE, Drawing
from sanity.report.finish import GRIDS, IMAGES, finish, import_ahead
from sanity.report.summary import missing
from sanity.results.folder import RunFolder
from sanity.results.masks import masks_nbytes
from sanity.results.originals import LIMIT
from sanity.results.recorded import configuration
from sanity.results.units import cut_groups, unit_name

if TYPE_CHECKING:
    import pandas as pd

    from sanity.randomization.stage import Stage
    from sanity.results.originals import Originals

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Work:
    """What is to be computed and judged: all that the loop needs of a job.

    Attributes:
        asked: The network, the images, the stages and the classes explained.
        others: The images that nulls are made with; None where they are made without.
        methods: By name.
        metrics: By name.
        noise_seed: Of noise and random masks.
        null: What a score is held against.
        kept: How many images' masks are stored.
        at_once: How many images go through the stages together, see `count_at_once`.
        unit: What an image asks for at a stage.
        times: What a pass takes.
        keeping: Where original masks are kept; None where they are not.
        judged_by: How the scores are judged.
    """

    asked: Asked
    others: Others | None
    methods: Mapping[str, Method]
    metrics: Mapping[str, MaskMetric]
    noise_seed: int
    null: Null
    kept: int
    at_once: int
    unit: Cost
    times: Times
    keeping: Keeping | None
    judged_by: "JudgedBy"


@dataclass(frozen=True)
class JudgedBy:
    """What verdicts depend on beside scores and predictions: see `analysis.verdicts.verdicts`."""

    thresholds: Thresholds
    order: str | None
    begins_at_output: bool
    survives: Mapping[str, Any] | None


def compute(work: Work, folder: RunFolder) -> None:
    """Computes the units that are not there yet, a group of images at a stage each, and judges."""
    with Drawing(folder.path) as drawing, ThreadPoolExecutor(1) as beside:
        apart = cache(partial(beside.submit, _discriminate, work, folder))
        settled = _fill(work, folder, drawing, apart)
        scores = folder.scores(settled.reasons)
        found, facts = _verdicts(work, scores, settled.predictions, apart().result())
        folder.complete(facts, settled.reasons)
        drawing.tell(math.inf)
        _say_answer(work, folder, scores, found)
        finish(folder.path, drawing=drawing)
    made = [name for name in ("report.html", "figures") if (folder.path / name).exists()]
    what = f"{', '.join(made)} and the" if made else "the"
    are = "are" if made else "is"
    log.info("%s evidence (run.json) %s in\n%s", what, are, from_here(folder.path))


def _say_answer(
    work: Work, folder: RunFolder, scores: "pd.DataFrame", found: "pd.DataFrame"
) -> None:
    """Says what came out; figures and page are still to be made."""
    next_, others = settling([folder.path], found), other_draws([folder.path])
    answer = Answer(found, scores, work.judged_by.thresholds, next_, others)
    say(f"\n{for_file(answer.parts)}\n", f"\n{for_console(answer.parts)}\n")
    if said := missing(scores):
        say(said, wrapped(said))


def _fill(work: Work, folder: RunFolder, drawing: Drawing, apart: Callable[[], object]) -> Settled:
    """Writes the units that are not there yet; returns what is known once all are there.

    Args:
        work: What is computed.
        folder: Where to.
        drawing: Told which images are whole.
        apart: Called once the original masks are there that show whether metrics discriminate.
    """
    images, stages = work.asked.images, work.asked.stages
    told = StagePredictions(work.asked, folder)
    shapes = folder.mask_shapes() if work.kept else None  # known where an earlier try came so far
    if shapes:
        _lay_out_masks(work, folder, shapes, drawing)
    done = folder.done(predicted=True) if shapes or not work.kept else set()
    ranges = cut_groups(len(images), folder.settle("images_at_once", work.at_once))
    unfinished = {
        g for g in ranges if any(unit_name(g, stage.index) not in done for stage in stages)
    }

    written = set(done)

    def whole_images() -> int:
        """How many images, from the first on, have all their units, of those that are drawn."""
        drawn = (group for group in ranges if group.start < GRIDS)
        units = ((group.start, unit_name(group, s.index)) for group in drawn for s in stages)
        return next((start for start, unit in units if unit not in written), len(images))

    def wanted(group: range, stage: "Stage") -> bool:
        # A group's original masks are needed again by any stage that is left.
        left = unit_name(group, stage.index) not in done
        return group in unfinished and (stage.index == 0 or left)

    left = sum(len(group) for group in ranges for stage in stages if wanted(group, stage))
    others = work.others if unfinished else None
    left += len(others.images) if others else 0
    if done:
        log.info("going on: %d of %d parts are there", len(done), len(ranges) * len(stages))
    elif folder.info.get("resumed"):
        log.info("going on: an earlier try finished none of its parts")
    effort = Effort(work.unit * left, work.times)
    with progress(effort.passes, "explaining", effort.unit) as tick:
        done_now = effort.done(tick)
        kept = _originals(work)
        references = make_references(work, others, done_now, kept) if others else None
        if work.kept and references is not None:
            write_references(folder.path, references)
        scorer = Scorer(work.metrics, images.names, work.null, images.regions, references)

        def entered(group: Entered) -> None:
            if others and references and group.stage.index == 0:
                allowed = others.allow(group.images, group.targets)
                references.allowed[group.group.start : group.group.stop] = allowed
            told.at(group)

        explaining = explain(
            work.asked.classifier,
            images,
            work.asked.targets,
            work.methods,
            stages,
            work.noise_seed,
            wanted=wanted,
            done=effort.done(tick),
            entered=entered,
            originals=kept,
            groups=ranges,
        )

        def store(explained: Explained) -> None:
            import_ahead(folder.path)
            group, stage = explained.group, explained.stage
            scores = scorer.score(
                group, stage.index, stage.layer, explained.masks, explained.targets
            )
            unit = unit_name(group, stage.index)
            said = told.take(unit)
            if unit not in done:
                where = slice(group.start, group.stop)
                for method, masks in explained.masks.items():
                    folder.write_masks(method, where, stage.index, masks)
                if not stage.index and group.start < _blended(work) <= group.stop:
                    apart()
                folder.write_unit(unit, scores, said.frame, said.heard.packed())
                written.add(unit)
                if stage is stages[-1]:
                    drawing.tell(whole_images())

        with closing(explaining), Beside(store, most=len(stages)) as storing:
            for explained in explaining:
                if not shapes:
                    shapes = {name: masks.shape[1:] for name, masks in explained.masks.items()}
                    _lay_out_masks(work, folder, shapes, drawing)
                storing.take(explained)
    settled = told.settle(ranges)
    if work.kept and work.others:
        complete_references(folder.path, work.others.allow(images, settled.targets))
    return settled


def make_references(
    work: Work,
    others: Others,
    done: Callable[[Cost], None],
    kept: Callable[[Images, np.ndarray], "Originals"] | None,
) -> References:
    """The masks that nulls are made with: of other images, by the network as trained.

    Which of them each image is held against is settled when its class is known.

    Args:
        work: What is computed.
        others: The images.
        done: Told what has been computed, each time that something has.
        kept: Gives what is kept of masks.
    """
    (found,) = explain(
        work.asked.classifier,
        others.images,
        others.targets,
        work.methods,
        work.asked.stages[:1],
        work.noise_seed,
        done=done,
        originals=kept,
        groups=[range(len(others.images))],
    )
    allowed = np.zeros((len(work.asked.images), len(others.images)), bool)
    return References(others.images.names, found.masks, allowed)


def _originals(work: Work) -> Callable[[Images, np.ndarray], "Originals"] | None:
    if work.keeping is None:
        return None
    size = len(work.asked.images) * mask_bytes(work.asked.images, work.methods)
    if size > LIMIT:  # the first ones would be gone before another job asks for them
        log.info("original masks of up to %.0f GB are not kept for other jobs", size / 1e9)
        return None
    return originals(work.keeping, work.asked.classifier)


def _blended(work: Work) -> int:
    """With the masks of how many images, the first ones, metrics show that they discriminate."""
    return min(work.kept, MOST_BLENDED)


def _discriminate(work: Work, folder: RunFolder) -> "pd.DataFrame | None":
    """Whether the metrics discriminate; None where no masks are stored: then they are trusted."""
    some = slice(0, _blended(work))
    if not some.stop:
        return None
    judged = [name for name, method in work.methods.items() if not method.control]
    masks = {name: folder.read_masks(name, some, 0) for name in judged}
    return discrimination(masks, work.asked.images.names[some], work.metrics)


def _verdicts(
    work: Work,
    scores: "pd.DataFrame",
    predicted: "pd.DataFrame",
    told_apart: "pd.DataFrame | None",
) -> tuple["pd.DataFrame", dict[str, Any]]:
    """The verdicts, and what run.json records: them, and whether the metrics discriminate."""
    by = work.judged_by
    controls = [name for name, method in work.methods.items() if method.control]
    found = verdicts(
        scores,
        predicted,
        work.metrics,
        by.order,
        begins_at_output=by.begins_at_output,
        survives=by.survives,
        thresholds=by.thresholds,
        discrimination=told_apart,
        controls=controls,
    )
    facts = {"verdicts": found} | ({} if told_apart is None else {"discrimination": told_apart})
    return found, {name: records(frame) for name, frame in facts.items()}


def _lay_out_masks(
    work: Work, folder: RunFolder, shapes: Mapping[str, tuple[int, ...]], drawing: Drawing
) -> None:
    images, kept = work.asked.images, work.kept
    if not kept:
        return
    layers = [stage.layer for stage in work.asked.stages]
    folder.create_masks(images.names[:kept], layers, shapes)
    some = min(kept, IMAGES)
    folder.write_images(images.names[:some], images.take(range(some)).x)
    size = masks_nbytes(kept, len(layers), shapes)
    of = "image" if kept == 1 else "images"
    log.info("masks of %d %s take up to %s MB", kept, of, short(size / 1e6))
    figures = configuration(folder.path).get("figures")
    if figures != "none" and size >= LARGE:
        drawing.start(stages=figures == "stages")
