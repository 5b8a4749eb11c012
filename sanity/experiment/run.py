"""A job from its model to its run folder; plain Python, usable without Hydra."""

import logging
import platform
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from importlib.metadata import version
from pathlib import Path
from threading import RLock
from typing import TYPE_CHECKING, Any

from omegaconf import DictConfig

from sanity import __version__
from sanity.config.given import Overrides, words
from sanity.config.job import Job, compose, composed
from sanity.errors import ConfigError
from sanity.experiment.announce import announce, announce_forecast
from sanity.experiment.batch_size import settle_batch_size
from sanity.experiment.compute import JudgedBy, Work, compute
from sanity.experiment.forecast import forecast
from sanity.experiment.originals import Keeping
from sanity.experiment.predictions import Asked
from sanity.experiment.prepare import Experiment, prepare
from sanity.experiment.result import Result
from sanity.experiment.room import say_room, smaller_batch_proposed
from sanity.metrics.recorded import Recorded
from sanity.network.devices import device_name
from sanity.progress import log_owners, show_log, show_progress
from sanity.report.console import from_here
from sanity.report.finish import finish
from sanity.results.columns import RESULTS_FORMAT
from sanity.results.folder import RunFolder
from sanity.results.recorded import SWEEP, configuration

if TYPE_CHECKING:
    from sanity.network.anatomy.preprocessing import Seen

log = logging.getLogger(__name__)


_TURN = RLock()  # jobs of one process share its networks, whose weights each of them changes
_VERSIONS = ("tensorflow", "tensorflow-hub", "keras", "saliency", "numpy", "scikit-image")


def run(
    job: Job | DictConfig | Overrides | None = None,
    *,
    overrides: Overrides = (),
    hydra: dict[str, Any] | None = None,
) -> Result:
    """Runs a job, or what is left of it; where it was interrupted, the same call goes on.

    What it logs is printed where logging is not set up, as in a notebook. Calls from several
    threads wait for each other.

    Args:
        job: A checked job, a configuration as `hydra.compose(…, return_hydra_config=True)` gives
            it, or overrides; without one, the configuration is composed from `overrides`.
        overrides: As on the command line, `["seed=1", "data.limit=1"]`, or by key, `{"seed": 1}`.
        hydra: Hydra's own configuration, kept beside the results.

    Raises:
        ConfigError: Something asked for cannot be done.
    """
    if isinstance(job, DictConfig):
        job = composed(job)
    elif not isinstance(job, Job):
        job = compose([*words(job or ()), *words(overrides)])
    with _TURN, show_log():
        execute(job, hydra or in_place_of_hydra(job))
    return Result(job.folder.absolute())


def in_place_of_hydra(job: Job, sweep: str = "") -> dict[str, Any]:
    """What is kept of a job that Hydra did not start, as its own configuration has it.

    Args:
        job: The job.
        sweep: How many jobs there are, and the keys in which they differ; "" for one by itself.
    """
    chosen = {key: value for key, value in job.choices.items() if isinstance(value, str)}
    told = {"job": {"env_set": {SWEEP: sweep}}} if sweep else {}
    return {"runtime": {"choices": chosen}, **told}


@dataclass(frozen=True)
class Done:
    """What a job did.

    Attributes:
        state: One of `sanity.sweeping.STATES`.
        seconds: How long it would take, where it is only shown.
        shared: The same where as many devices as are reckoned with share its images.
        disk: And how many bytes its masks.
    """

    state: str
    seconds: float = 0.0
    shared: float = 0.0
    disk: int = 0


def execute(job: Job, hydra: dict[str, Any] | None = None) -> Done:
    """Runs a job as `run` does, and says what it did; jobs of several threads take turns."""
    with _TURN:
        logging.getLogger("sanity").setLevel(job.settings.runtime.log_level.upper())
        with show_progress(job.settings.runtime.progress):
            return _execute(job, hydra)


def _execute(job: Job, hydra: dict[str, Any] | None) -> Done:
    settings = job.settings
    if settings.dry_run:
        return _show(job)
    with _open(job, hydra) as folder:
        if folder.status == "completed":
            log.info("%s is there already; force=true computes it again", from_here(folder.path))
            _finish_what_is_missing(job, folder.path)
            _say_what_is_not_done(job, folder.path)
            return Done("already")
        _compute(job, folder)
    return Done("finished")


def _open(job: Job, hydra: dict[str, Any] | None) -> RunFolder:
    """The job's folder; where it cannot be had, what says where that is (ConfigError)."""
    try:
        return RunFolder.open(
            job.folder, job.config, job.overrides, hydra, force=job.settings.force
        )
    except ConfigError as error:
        if not isinstance(error.__cause__, OSError):
            raise
        given = f"{error}; output={job.settings.output} says so: output=FOLDER takes another"
        raise ConfigError(given) from error


def _finish_what_is_missing(job: Job, run: Path) -> None:
    """Writes what a finished run was not asked for before, or was killed before it wrote it."""
    drawn = (run / "figures" / "curves.png").exists()  # of all figures the last
    figures = "none" if drawn else job.settings.figures
    finish(run, figures=figures, page=job.settings.report and not (run / "report.html").exists())


def _show(job: Job) -> Done:
    """Loads what a job names, and says what it would compute."""
    with smaller_batch_proposed(job.settings.runtime.first_batch_size) as batches:
        experiment = prepare(job)
        batches.size = settle_batch_size(experiment)
        found = forecast(experiment, announce(experiment))
        devices = job.settings.runtime.gpus
        announce_forecast(found, devices)
        shared = found.seconds(min(devices or 1, found.images))
        return Done("shown", found.seconds(), shared, say_room(experiment))


def _compute(job: Job, folder: RunFolder) -> None:
    """Loads what a job names, says what it will compute, and does so."""
    with smaller_batch_proposed(job.settings.runtime.first_batch_size) as batches:
        experiment = prepare(job)
        batches.size = settle_batch_size(experiment, folder.info.get("batch_size"))
        folder.start(_facts(experiment))
        with _log_file(folder.log_path):
            times = announce(experiment)
            # What does not fit the model is no longer among the experiment's methods and metrics.
            chosen, settings, images = experiment.job, job.settings, experiment.images
            asked = Asked(
                experiment.classifier,
                images,
                experiment.targets,
                experiment.stages,
                settings.verdict.dead,
                printed=settings.figures == "stages",
            )
            judged_by = JudgedBy(
                settings.verdict,
                job.randomization.cascade(),
                experiment.begins_at_output,
                experiment.survives,
            )
            work = Work(
                asked,
                experiment.others,
                chosen.methods,
                chosen.metrics,
                noise_seed=settings.noise_seed,
                null=settings.null_model,
                kept=settings.masks.count(len(images)),
                at_once=experiment.at_once,
                unit=experiment.cost,
                times=times,
                keeping=Keeping.of(chosen),
                judged_by=judged_by,
            )
            compute(work, folder)


def _say_what_is_not_done(job: Job, run: Path) -> None:
    """Logs what was asked for that changes no score, and so nothing of a finished run."""
    made_with = configuration(run)
    if (made_with.get("verdict") or {}) != job.config["verdict"]:
        log.warning(
            "its verdicts were made with other thresholds: sanity-compare %s --verdict KEY=VALUE … "
            "judges it by these",
            run,
        )
    if made_with.get("figures") not in (job.config["figures"], "none"):
        log.warning("its figures were drawn with figures=%s", made_with.get("figures"))


def _facts(experiment: Experiment) -> dict[str, Any]:
    """What run.json records besides the configuration."""
    classifier, images = experiment.classifier, experiment.images
    return {
        "versions": {"python": platform.python_version(), "sanity": __version__}
        | {package: version(package) for package in _VERSIONS},
        "machine": platform.platform(),
        "device": device_name(),
        "precision": classifier.precision,
        "batch_size": classifier.batch_size,
        "counts": {
            "images": len(images),
            "available": experiment.job.data.count(),
            "stages": len(experiment.stages),
            "methods": len(experiment.job.methods),
            "metrics": len(experiment.job.metrics),
            "gradients": experiment.plan.distinct * len(images) * len(experiment.stages),
        },
        "format": RESULTS_FORMAT,
        "content": experiment.job.content,
        "metrics": {
            name: Recorded.of(metric).values() for name, metric in experiment.job.metrics.items()
        },
        "controls": [name for name, m in experiment.job.methods.items() if m.control],
        "explained": asdict(classifier.ending),
        "input": _input(classifier.network.seen),
        "layers": [stage.layer for stage in experiment.stages],
        "changes": [stage.change for stage in experiment.stages],
        "blocks": experiment.blocks,
        "stages": experiment.facts,
        "begins_at_output": experiment.begins_at_output,
        "survives": experiment.survives,
        "order": experiment.job.randomization.cascade(),
        "left_out": experiment.left_out,
        "depths": [stage.depth for stage in experiment.stages],
        "sha256": {
            "model": classifier.weights.sha256,
            "images": dict(zip(images.names, images.sha256, strict=True)),
        },
    }


def _input(seen: "Seen | None") -> dict[str, Any] | None:
    """What the first layer sees of images in [0, 1], where the model scales them."""
    return None if seen is None else asdict(seen) | {"warning": seen.complaint}


@contextmanager
def _log_file(path: Path) -> Iterator[None]:
    """Everything that is logged goes to the run's log as well."""
    handler = logging.FileHandler(path, encoding="utf-8")
    handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(message)s"))
    owners = log_owners()
    for owner in owners:
        owner.addHandler(handler)
    try:
        yield
    finally:
        for owner in owners:
            owner.removeHandler(handler)
        handler.close()
