"""The loop: units that are not there yet are computed, scored and stored."""

import logging
from collections import deque
from collections.abc import Generator, Iterable
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import closing
from typing import TYPE_CHECKING, Any

from sanity.analysis.discrimination import discrimination
from sanity.analysis.health import mark
from sanity.analysis.settling import settling
from sanity.analysis.verdict_tables import MOST_BLENDED
from sanity.analysis.verdicts import verdicts
from sanity.analysis.wording import records
from sanity.experiment.effort import Effort, Times
from sanity.experiment.explaining import Explained, count_at_once, explain, mask_bytes
from sanity.experiment.originals import originals
from sanity.experiment.predictions import StagePredictions
from sanity.experiment.prepare import Experiment
from sanity.experiment.references import make_references, write_references
from sanity.metrics.scoring import Scorer
from sanity.progress import progress, say
from sanity.report.answer import Answer
from sanity.report.console import for_console, for_file, from_here, wrapped
from sanity.report.finish import IMAGES, finish
from sanity.report.summary import missing
from sanity.results.folder import RunFolder
from sanity.results.masks import masks_nbytes
from sanity.results.units import cut_groups, unit_name

if TYPE_CHECKING:
    import pandas as pd

    from sanity.randomization.stage import Stage

log = logging.getLogger(__name__)


def compute(experiment: Experiment, folder: RunFolder, times: Times) -> None:
    """Computes the units that are not there yet: a group of images at a stage each."""
    job, images, stages = experiment.job, experiment.images, experiment.stages
    told = StagePredictions(experiment, folder)
    kept = job.settings.masks.count(len(images))
    shapes = folder.mask_shapes() if kept else None  # known where an earlier try came so far
    if shapes:
        _lay_out_masks(experiment, folder, kept, shapes)
    done = folder.done() if shapes or not kept else set()
    size = mask_bytes(images, job.methods)
    at_once = count_at_once(len(images), size, len(stages), experiment.plan.fewest)
    ranges = cut_groups(len(images), folder.settle("images_at_once", at_once))
    unfinished = {
        g for g in ranges if any(unit_name(g, stage.index) not in done for stage in stages)
    }

    def wanted(group: range, stage: "Stage") -> bool:
        # A group's original masks are needed again by any stage that is left.
        left = unit_name(group, stage.index) not in done
        return group in unfinished and (stage.index == 0 or left)

    left = sum(len(group) for group in ranges for stage in stages if wanted(group, stage))
    if job.settings.null_model == "other_image":
        left += job.settings.null_images
    if done:
        log.info("going on: %d of %d parts are there", len(done), len(ranges) * len(stages))
    effort = Effort(experiment.cost * left, times)
    with progress(effort.passes, "explaining", effort.unit) as tick:
        references = make_references(experiment, effort.done(tick)) if unfinished else None
        if kept and references is not None:
            write_references(folder.path, references)
        null, names = job.settings.null_model, images.names
        scorer = Scorer(job.metrics, names, null, images.regions, references)
        explaining = explain(
            experiment.classifier,
            images,
            experiment.targets,
            job.methods,
            stages,
            job.settings.seed,
            wanted=wanted,
            done=effort.done(tick),
            entered=told.at,
            originals=originals(job, experiment.classifier, images, experiment.targets),
            groups=ranges,
        )
        scored = _scored(explaining, scorer, len(stages))
        with closing(explaining), closing(scored):  # or a kept traceback would keep the weights
            for explained, scores in scored:
                if not shapes:
                    shapes = {name: masks.shape[1:] for name, masks in explained.masks.items()}
                    _lay_out_masks(experiment, folder, kept, shapes)
                unit = unit_name(explained.group, explained.stage.index)
                if unit not in done:
                    where = slice(explained.group.start, explained.group.stop)
                    for method, masks in explained.masks.items():
                        folder.write_masks(method, where, explained.stage.index, masks)
                    folder.write_unit(unit, mark(scores, told.reason(explained.stage)))
    predicted = told.all()
    scores = folder.scores()
    found, facts = _verdicts(experiment, folder, scores, predicted)
    folder.complete(facts)
    finish(folder.path)
    settled = settling([folder.path], found)
    answer = Answer(found, scores, job.settings.verdict, settled)
    say(f"\n{for_file(answer.parts)}\n", f"\n{for_console(answer.parts)}\n")
    if said := missing(scores):
        say(said, wrapped(said))
    log.info("report.html, figures and the evidence (run.json) are in\n%s", from_here(folder.path))


def _scored(
    found: Iterable[Explained], scorer: Scorer, most: int
) -> Generator[tuple[Explained, "pd.DataFrame"], None, None]:
    """Masks with their scores, which are computed on a thread while the next masks are.

    In the same order; at most so many wait for their scores, as they are all held in memory.
    """

    def score(one: Explained) -> "pd.DataFrame":
        return scorer.score(one.group, one.stage.index, one.stage.layer, one.masks, one.targets)

    with ThreadPoolExecutor(1) as beside:
        waiting: deque[tuple[Explained, Future[pd.DataFrame]]] = deque()
        try:
            for one in found:
                waiting.append((one, beside.submit(score, one)))
                while waiting and (len(waiting) > most or waiting[0][1].done()):
                    first, scores = waiting.popleft()
                    yield first, scores.result()
            for first, scores in waiting:
                yield first, scores.result()
        except BaseException:
            beside.shutdown(cancel_futures=True)
            raise


def _verdicts(
    experiment: Experiment, folder: RunFolder, scores: "pd.DataFrame", predicted: "pd.DataFrame"
) -> tuple["pd.DataFrame", dict[str, Any]]:
    """The verdicts, and what run.json records: them, and whether the metrics discriminate.

    That takes stored masks; where none are stored, metrics are trusted.
    """
    job, some = experiment.job, slice(0, min(folder.kept, MOST_BLENDED))
    controls = [name for name, method in job.methods.items() if method.control]
    told_apart = None
    if some.stop:
        masks = {m: folder.read_masks(m, some, 0) for m in job.methods if m not in controls}
        names = experiment.images.names[some]
        told_apart = discrimination(masks, names, job.metrics)
    found = verdicts(
        scores,
        predicted,
        job.metrics,
        job.randomization.cascade(),
        begins_at_output=experiment.begins_at_output,
        survives=experiment.survives,
        thresholds=job.settings.verdict,
        discrimination=told_apart,
        controls=controls,
    )
    facts = {"verdicts": found} | ({} if told_apart is None else {"discrimination": told_apart})
    return found, {name: records(frame) for name, frame in facts.items()}


def _lay_out_masks(
    experiment: Experiment, folder: RunFolder, kept: int, shapes: dict[str, tuple[int, ...]]
) -> None:
    layers = [stage.layer for stage in experiment.stages]
    folder.create_masks(experiment.images.names[:kept], layers, shapes)
    some = min(kept, IMAGES)
    folder.write_images(experiment.images.names[:some], experiment.images.x[:some])
    size = masks_nbytes(kept, len(layers), shapes)
    of = "image" if kept == 1 else "images"
    log.info("masks of %d %s take up to %.0f MB", kept, of, size / 1e6)
