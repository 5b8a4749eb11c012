"""The command line: `python -m sanity`, or `sanity` once installed."""

import logging
import os
import sys
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import hydra
from hydra.core.hydra_config import HydraConfig
from hydra.types import RunMode
from omegaconf import DictConfig, OmegaConf

from sanity.arguments import quiet_when_unread
from sanity.config.job import Job, resolve
from sanity.config.options import conf_folder, with_open_keys
from sanity.config.sentences import sentence
from sanity.errors import ConfigError
from sanity.sweeping import Outcome, SweepFailed, threads

log = logging.getLogger(__name__)


@hydra.main(version_base="1.3", config_path=str(conf_folder()), config_name="config")
def job(config: DictConfig) -> Outcome:
    """One job of a launch; in a sweep, an exception is its outcome, and the sweep goes on."""
    own = HydraConfig.get()
    hydra_config: Any = OmegaConf.to_container(own)
    try:
        choices = hydra_config["runtime"]["choices"]
        shared = own.mode == RunMode.MULTIRUN
        checked = resolve(config, choices, list(own.overrides.task), sweep=shared)
        # Imports TensorFlow: only once the job is known to be right.
        from sanity.experiment.run import execute

        return Outcome(execute(_divided(checked, own.launcher if shared else {}), hydra_config))
    except Exception as error:
        outcome = Outcome.of(error)
        if own.mode != RunMode.MULTIRUN:
            if isinstance(error, ConfigError):
                _refuse(error)
            raise
        log.error("failed: %s", outcome.reason, exc_info=None if outcome.mistake else error)
        return outcome


def _divided(job: Job, launcher: Mapping[str, Any]) -> Job:
    """The job with its share of the machine's threads, where the launcher runs several at once."""
    runtime = job.settings.runtime
    if runtime.threads is not None or (share := threads(launcher)) is None:
        return job
    return replace(job, settings=replace(job.settings, runtime=replace(runtime, threads=share)))


def main() -> None:
    """Runs the jobs asked for; a user's mistake is one sentence and exit code 2."""
    traceback = os.environ.get("HYDRA_FULL_ERROR") == "1"
    os.environ["HYDRA_FULL_ERROR"] = "1"  # or Hydra would print a traceback of its own and exit
    sys.argv[1:] = with_open_keys(sys.argv[1:])
    logging.raiseExceptions = False  # a run goes on where nobody reads what it says: `| head`
    with quiet_when_unread():
        _launch(traceback)


def _launch(traceback: bool) -> None:
    try:
        job()
    except KeyboardInterrupt:
        print("sanity: interrupted; the same command goes on from here", file=sys.stderr)
        sys.exit(130)
    except SweepFailed as failed:
        sys.exit(failed.code)
    except Exception as error:
        if traceback or sentence(error) is None:
            raise
        _refuse(error)


def _refuse(error: Exception) -> None:
    print(f"sanity: {sentence(error)}", file=sys.stderr)
    sys.exit(2)
