"""The command line: `python -m sanity`, or `sanity` once installed."""

import os
import sys

import hydra
from hydra.core.hydra_config import HydraConfig
from hydra.types import RunMode
from omegaconf import DictConfig, OmegaConf

from sanity.config import resolve
from sanity.errors import ConfigError
from sanity.hydra_errors import sentence
from sanity.options import conf_folder


@hydra.main(version_base="1.3", config_path=str(conf_folder()), config_name="config")
def job(config: DictConfig) -> None:
    """One job of a launch."""
    own = HydraConfig.get()
    try:
        choices = OmegaConf.to_container(own.runtime.choices)
        checked = resolve(config, choices, list(own.overrides.task))  # type: ignore[arg-type]
        # Imports TensorFlow: only once the job is known to be right.
        from sanity.experiment import run

        run(checked, hydra=OmegaConf.to_container(own))  # type: ignore[arg-type]
    except ConfigError as error:
        if own.mode == RunMode.MULTIRUN:
            raise  # a bad job does not end a sweep
        _refuse(error)


def main() -> None:
    """Runs the jobs asked for; a user's mistake is one sentence and exit code 2."""
    traceback = os.environ.get("HYDRA_FULL_ERROR") == "1"
    os.environ["HYDRA_FULL_ERROR"] = "1"  # or Hydra would print a traceback of its own and exit
    try:
        job()
    except KeyboardInterrupt:
        print("sanity: interrupted; the same command goes on from here", file=sys.stderr)
        sys.exit(130)
    except Exception as error:
        if traceback or sentence(error) is None:
            raise
        _refuse(error)


def _refuse(error: Exception) -> None:
    print(f"sanity: {sentence(error)}", file=sys.stderr)
    sys.exit(2)
