"""The command line: `python -m sanity`, or `sanity` once installed."""

import logging
import os
import sys
import time
from argparse import Namespace
from collections.abc import Mapping, Sequence
from dataclasses import replace
from importlib.metadata import version
from pathlib import Path
from typing import Any, NoReturn

from hydra.core.hydra_config import HydraConfig
from hydra.core.utils import JobReturn, JobStatus
from hydra.experimental.callback import Callback
from hydra.types import RunMode
from omegaconf import DictConfig, OmegaConf

from sanity import __version__
from sanity.arguments import quiet_when_unread
from sanity.config.given import check
from sanity.config.hydra_api import (
    command,
    get_args_parser,
    given_overrides,
    outcome,
    register_resolver,
)
from sanity.config.job import Job, refuse_own_folders, resolve
from sanity.config.options import conf_folder, existing_folder, look_in, with_open_keys
from sanity.config.sentences import sentence
from sanity.config.shares import AUTO
from sanity.errors import ConfigError, did_you_mean
from sanity.results.recorded import SWEEP
from sanity.sweeping import (
    NUMBER,
    JobFailed,
    Outcome,
    SweepFailed,
    introduce,
    is_shared,
    record_folder,
    report,
    tag,
    threads,
    took,
)

log = logging.getLogger(__name__)

# Where a sweep's own record goes; the same folder in all of its processes.
register_resolver("sanity_record", record_folder)
_OURS = ("sanity_sweeper.SanitySweeper", "basic_sweeper.BasicSweeper")  # which want no number
# What `-sc` is asked for and answered here; other shells are Hydra's.
_SHELLS = [[f"{w}={shell}"] for w in ("install", "uninstall", "query") for shell in ("bash", "zsh")]


@command(str(conf_folder()), "config")
def job(config: DictConfig) -> Outcome:
    """One job of a launch.

    Raises:
        JobFailed: It did, in a sweep; a job by itself raises its own exception.
    """
    own = HydraConfig.get()
    swept = own.mode == RunMode.MULTIRUN
    try:
        return _run(config, own, swept)
    except Exception as error:
        if not swept:
            raise
        outcome = Outcome.of(error)
        log.error("failed: %s", outcome.reason, exc_info=None if outcome.mistake else error)
        raise JobFailed(outcome) from error


def _run(config: DictConfig, own: Any, swept: bool) -> Outcome:
    hydra_config: Any = OmegaConf.to_container(own)
    launcher: Mapping[str, Any] = own.launcher if swept else {}
    overrides = given_overrides(own)
    if swept:
        number = int(own.job.env_set.get(NUMBER) or own.job.num)
        if is_shared(launcher):
            tag(number)
            _refuse_auto_shards(config)
        if (level := str(config.runtime.log_level).upper()) in logging.getLevelNamesMapping():
            logging.getLogger("sanity").setLevel(level)
        introduce(number, _sweep(own), overrides, launcher)
    checked = resolve(config, hydra_config["runtime"]["choices"], overrides, sweep=swept)
    settings = checked.settings
    if settings.runtime.gpus_per_job is not None:
        from sanity.network.devices import claim_devices

        claim_devices(settings.runtime.gpus_per_job)
    # Imports TensorFlow: only once the job is known to be right.
    from sanity.experiment.run import execute

    start = time.monotonic()
    done = execute(_divided(checked, launcher), hydra_config)
    if done.state == "finished":
        took(time.monotonic() - start)
    if done.state == "shown":
        gpus = settings.runtime.gpus
        return Outcome(
            done.state, seconds=done.seconds, shared=done.shared, devices=gpus, disk=done.disk
        )
    return Outcome(
        done.state,
        folder=checked.folder.absolute(),
        objectives=checked.objectives(),
        page=settings.report,
    )


def _refuse_auto_shards(config: DictConfig) -> None:
    """Refuses shards that were not dealt out: what a worker's machine says is not of this sweep."""
    if config.data.get("shards") == AUTO:
        raise ConfigError("data.shards=auto is for all jobs of a sweep: say it for none or for all")


def _sweep(own: Any) -> str:
    """What there is to know of the sweep that a job is part of, see `sweeping.describe`."""
    if said := own.job.env_set.get(SWEEP):
        return str(said)
    return str(own.sweeper.get("n_trials") or "")  # Optuna's


def _divided(job: Job, launcher: Mapping[str, Any]) -> Job:
    """The job with its share of the machine's threads, where the launcher runs several at once."""
    runtime = job.settings.runtime
    if runtime.progress == "auto" and is_shared(launcher):  # bars would draw over each other
        runtime = replace(runtime, progress="lines")
    if runtime.threads is None:
        runtime = replace(runtime, threads=threads(launcher))
    return replace(job, settings=replace(job.settings, runtime=runtime))


class Ended(BaseException):
    """A launch is over, by an error; Hydra would print one of its own first.

    Attributes:
        error: Why.
    """

    def __init__(self, error: Exception):
        super().__init__(error)
        self.error = error


class Ends(Callback):
    """The first of Hydra's callbacks, and so the last at an end: others have seen how jobs ended.

    Attributes:
        code: The exit code of a sweep some of whose jobs failed.
    """

    code: int | None = None

    def __init__(self) -> None:
        self.outcomes: list[tuple[list[str], Outcome]] = []  # of a search, whose sweeper says none

    def on_run_start(self, config: DictConfig, **kwargs: Any) -> None:
        """Refuses what Hydra would write elsewhere, before it does."""
        self._check(config)

    def on_multirun_start(self, config: DictConfig, **kwargs: Any) -> None:
        """The same of a sweep, and sweepers that want a number that no job returns."""
        self._check(config)
        self._make_record(str(config.output))
        sweeper = str(config.hydra.sweeper.get("_target_"))
        if sweeper.endswith(_OURS):
            return
        if config.get("objective") is None:
            raise Ended(
                ConfigError(
                    f"{sweeper.rpartition('.')[2]} searches by a number, which objective="
                    "KIND.METHOD.METRIC names, e.g. objective=early.gradient.ssim"
                )
            )
        if config.get("dry_run"):
            raise Ended(ConfigError("dry_run=true computes no objective to search by"))

    def on_run_end(self, config: DictConfig, **kwargs: Any) -> None:
        """Ends a launch whose job failed."""
        job_return: JobReturn = kwargs["job_return"]
        if job_return.status == JobStatus.FAILED:
            raise Ended(outcome(job_return))

    def on_multirun_end(self, config: DictConfig, **kwargs: Any) -> None:
        """Ends a sweep some of whose jobs failed."""
        if self.outcomes:
            self.code = report(self.outcomes)
        if self.code is not None:
            raise Ended(SweepFailed(self.code))

    def on_job_end(self, config: DictConfig, job_return: JobReturn, **kwargs: Any) -> None:
        """Remembers what became of a search's job, where jobs run in this process."""
        own = config.hydra
        if own.mode == RunMode.MULTIRUN and not str(own.sweeper._target_).endswith(_OURS):
            found = outcome(job_return)
            became = found if isinstance(found, Outcome) else Outcome.of(found)
            self.outcomes.append((list(job_return.overrides or []), became))

    @staticmethod
    def _make_record(output: str) -> None:
        """Makes the folder of sweeps' own records; where Hydra cannot, it says so in its words."""
        try:
            Path(record_folder(output)).parent.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise Ended(
                ConfigError(
                    f"output={output} cannot be written ({error.strerror}): output=FOLDER takes "
                    "another"
                )
            ) from error

    @staticmethod
    def _check(config: DictConfig) -> None:
        try:
            refuse_own_folders(config.hydra)
        except ConfigError as error:
            raise Ended(error) from error


def main() -> None:
    """Runs the jobs asked for; a user's mistake is one sentence and exit code 2."""
    traceback = os.environ.get("HYDRA_FULL_ERROR") == "1"
    os.environ["HYDRA_FULL_ERROR"] = "1"  # or Hydra would print a traceback of its own and exit
    logging.raiseExceptions = False  # a run goes on where nobody reads what it says: `| head`
    with quiet_when_unread():
        try:
            _launch(sys.argv[1:])
        except KeyboardInterrupt:
            print("sanity: interrupted; the same command goes on from here", file=sys.stderr)
            sys.exit(130)
        except (Exception, Ended) as ended:
            error = ended.error if isinstance(ended, Ended) else ended
            if isinstance(error, BrokenPipeError):
                raise error from None
            if isinstance(error, SweepFailed):
                sys.exit(error.code)
            if isinstance(error, JobFailed):  # of a search, which ends with it
                print(f"sanity: {error}", file=sys.stderr)
                sys.exit(2 if error.outcome.mistake else 1)
            said = sentence(error)
            if traceback or said is None:
                raise error from error.__cause__
            print(f"sanity: {said}", file=sys.stderr)
            sys.exit(2)


def _launch(arguments: Sequence[str]) -> None:
    """Reads a command line as Hydra will, and has it do what it says."""
    asked, overrides = _read(arguments)
    if asked.version:
        print(f"sanity {__version__} (Hydra {version('hydra-core')})")
        return
    if asked.shell_completion and overrides in _SHELLS:
        _complete(overrides[0])
        return
    with look_in(asked.config_dir, overrides):
        if not asked.shell_completion:
            _refuse_records(asked)
            if asked.config_dir is not None:
                existing_folder(asked.config_dir)
            check(overrides, sweep=True)  # whether it is one, a preset may say
        sys.argv[1:] = with_open_keys(arguments)
        job()


def _complete(asked: str) -> None:
    """Prints the script that completes command lines, or what one may go on with."""
    from sanity.config.completion import REMOVAL, SCRIPT, complete

    what = asked.partition("=")[0]
    if what == "query":
        print("\n".join(complete(os.environ.get("COMP_LINE", ""))))
    else:
        print(SCRIPT if what == "install" else REMOVAL, end="")


def _read(arguments: Sequence[str]) -> tuple[Namespace, list[str]]:
    """A command line as Hydra's parser has it, and the overrides in it.

    Raises:
        ConfigError: It has an option that there is not.
    """
    parser = get_args_parser()
    parser._optionals.conflict_handler = "resolve"

    def refuse(message: str) -> NoReturn:
        raise ConfigError(f"{message.removeprefix('argument ')} (sanity --hydra-help)")

    parser.error = refuse  # type: ignore[method-assign]  # argparse would print its usage and exit
    for action in parser._actions:
        if "--version" in action.option_strings:
            parser._remove_action(action)
            for name in action.option_strings:
                del parser._option_string_actions[name]
    parser.add_argument("--version", action="store_true")
    asked, unknown = parser.parse_known_intermixed_args(list(arguments))
    if unknown:
        known = [name for action in parser._actions for name in action.option_strings]
        hint = did_you_mean(unknown[0], known)
        raise ConfigError(f"{unknown[0]} is no option{hint} (sanity --hydra-help shows them)")
    return asked, list(asked.overrides)


def _refuse_records(asked: Namespace) -> None:
    """Refuses what looks as if it repeated a run, and would run another job (ConfigError)."""
    if asked.experimental_rerun is not None:
        raise ConfigError(
            "--experimental-rerun is not taken: sanity-rerun RUN_FOLDER repeats a run"
        )
    for option, folder in (("dir", asked.config_dir), ("path", asked.config_path)):
        if folder and all(Path(folder, f"{n}.yaml").exists() for n in ("config", "overrides")):
            run = Path(folder).absolute().parent
            raise ConfigError(
                f"--config-{option} {folder} is the record of a run, beside which the default job "
                f"would be composed: sanity-rerun {run} repeats it"
            )
