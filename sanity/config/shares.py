"""`data.shards=auto`: into how many shards the images are divided, and which one is a job's own."""

import logging
import os
from collections.abc import Mapping
from typing import Any

from sanity.errors import ConfigError
from sanity.network.devices import devices

log = logging.getLogger(__name__)

AUTO = "auto"


def take_share(data: Mapping[str, Any], environ: Mapping[str, str] = os.environ) -> dict[str, Any]:
    """A data node whose `shards: auto` is this process's share, of an array or a step of SLURM.

    Args:
        data: The node.
        environ: The process's environment.

    Raises:
        ConfigError: The shard is given as well, or the array has gaps.
    """
    if data.get("shards") != AUTO:
        return dict(data)
    refuse_own_shard(data.get("shard", 0))
    shard, shards = _own_share(environ)
    if shards > 1:
        log.info("data.shards=auto: shard %d of %d, counted from 0", shard, shards)
    return {**data, "shard": shard, "shards": shards}


def refuse_own_shard(shard: object) -> None:
    """Refuses a shard that is given beside `data.shards=auto` (ConfigError)."""
    if shard not in (0, "0"):
        raise ConfigError(
            f"data.shard={shard} is not for data.shards=auto, which deals the shards out itself: "
            "leave it out, or say how many shards there are"
        )


def _own_share(environ: Mapping[str, str]) -> tuple[int, int]:
    """This process's number and of how many: an array's elements, each perhaps of several tasks.

    SLURM's variables; SLURM_STEP_NUM_TASKS is there in what `srun` started only, and not in a batch
    script, which is one process however many tasks it was given.
    """
    task, tasks = 0, _number(environ, "SLURM_STEP_NUM_TASKS", 1)
    if tasks > 1:
        task = _number(environ, "SLURM_PROCID", 0)
    if not environ.get("SLURM_ARRAY_TASK_ID"):
        return task, tasks
    identity = _number(environ, "SLURM_ARRAY_TASK_ID", 0)
    first, last, step, count = (
        _number(environ, f"SLURM_ARRAY_TASK_{name}", default)
        for name, default in (("MIN", 0), ("MAX", identity), ("STEP", 1), ("COUNT", 0))
    )
    step = max(step, 1)
    if not count or last - first != step * (count - 1) or (identity - first) % step:
        raise ConfigError(
            f"data.shards=auto divides the images among a SLURM array without gaps, and this one "
            f"has {count or 'an unknown number of'} elements from {first} to {last}: "
            "sbatch --array=0-7, say"
        )
    return (identity - first) // step * tasks + task, count * tasks


def _number(environ: Mapping[str, str], name: str, default: int) -> int:
    """A variable of SLURM's (ConfigError: it holds no number)."""
    try:
        return int(environ.get(name) or default)
    except ValueError:
        raise ConfigError(
            f"data.shards=auto: the variable {name}={environ[name]} is no whole number"
        ) from None


def count_places(launcher: Mapping[str, Any], at_once: int, gpus_per_job: int | None) -> int:
    """Into how many shards a sweep divides images: as many as its launcher runs side by side.

    Args:
        launcher: Hydra's configuration of it, not the one that runs jobs one after the other.
        at_once: How many jobs it runs at once, as far as its configuration says.
        gpus_per_job: Of this machine's, that each job has for itself.

    Raises:
        ConfigError: There is no such cluster, or too few GPUs.
    """
    if "array_parallelism" in launcher:  # SLURM
        return int(launcher["array_parallelism"])
    if "ray" in launcher and launcher["ray"]["init"].get("address") != "local":
        return _places_of_cluster(launcher["ray"])
    if gpus_per_job is None:
        return at_once
    found = len(devices()) // gpus_per_job
    if not found:
        raise ConfigError(
            f"data.shards=auto: this machine has {len(devices())} GPUs, and each job is to have "
            f"runtime.gpus_per_job={gpus_per_job}"
        )
    return found


def _places_of_cluster(given: Mapping[str, Any]) -> int:
    """How many jobs a Ray cluster has room for (ConfigError: there is none)."""
    import ray

    init, remote = dict(given["init"]), given["remote"]
    init = {key: value for key, value in init.items() if value is not None}
    try:
        ray.init(**{**init, "log_to_driver": False})
    except (ConnectionError, ValueError) as error:
        first = str(error).splitlines()[0]
        raise ConfigError(
            f"data.shards=auto: there is no Ray cluster at hydra.launcher.ray.init.address="
            f"{init.get('address')} ({first})"
        ) from error
    try:
        there: dict[str, float] = ray.cluster_resources()  # type: ignore[no-untyped-call]
    finally:
        ray.shutdown()
    wanted = {"GPU": remote.get("num_gpus") or 0, "CPU": remote.get("num_cpus") or 1}
    places = [int(there.get(kind, 0) // each) for kind, each in wanted.items() if each]
    if min(places) < 1:
        raise ConfigError(
            f"data.shards=auto: the Ray cluster has {there.get('GPU', 0):g} GPUs and "
            f"{there.get('CPU', 0):g} cores, and no job fits with hydra.launcher.ray.remote="
            f"{{num_gpus: {wanted['GPU']}, num_cpus: {wanted['CPU']}}}"
        )
    return min(places)
