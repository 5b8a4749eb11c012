"""Graphics devices of this machine, divided among processes that run side by side."""

import os
import platform
import subprocess
import tempfile
from itertools import takewhile
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from sanity.errors import ConfigError

_VISIBLE = "CUDA_VISIBLE_DEVICES"
_claimed: list[Any] = []  # locks, held as long as this process lives


def claim_devices(count: int) -> None:
    """Takes so many devices for this process alone, and lets TensorFlow see no others.

    To be called before TensorFlow looks for devices. Who claims twice keeps what it has. A device
    is held until the process ends, however that ends.

    Raises:
        ConfigError: So many are not free.
    """
    if len(_claimed) == count:
        return
    known = devices()
    folder = Path(tempfile.gettempdir()) / f"sanity-devices-{os.environ.get('USER', 'any')}"
    folder.mkdir(exist_ok=True)
    taken: dict[str, FileLock] = {}
    for device in known:
        if len(taken) < count:
            lock = FileLock(folder / f"{device.replace('/', '_')}.lock", thread_local=False)
            try:
                lock.acquire(timeout=0)
            except Timeout:
                continue
            taken[device] = lock
    if len(taken) < count:
        for lock in taken.values():
            lock.release()
        raise ConfigError(
            f"runtime.gpus_per_job={count}: of this machine's {len(known)} GPUs {len(taken)} are "
            "free; fewer jobs at once (hydra.launcher.n_jobs for joblib) need fewer"
        )
    _claimed.extend(taken.values())
    os.environ[_VISIBLE] = ",".join(taken)


def has_card() -> bool:
    """Whether TensorFlow computes on a graphics card in this process."""
    import tensorflow as tf

    return bool(tf.config.list_logical_devices("GPU"))


def device_name() -> str:
    """What this process computes on: the first graphics card TensorFlow sees, or the processor."""
    import tensorflow as tf

    for card in tf.config.list_physical_devices("GPU"):
        return str(tf.config.experimental.get_device_details(card).get("device_name", card.name))
    return processor_name()


def processor_name() -> str:
    """The name of this machine's processor, as far as the system tells it."""
    info = Path("/proc/cpuinfo")
    lines = info.read_text(errors="replace").splitlines() if info.exists() else []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return next(iter(names), platform.processor() or platform.machine())


def devices() -> list[str]:
    """The devices that this process may use, as CUDA names them: numbers or UUIDs."""
    if (visible := os.environ.get(_VISIBLE)) is not None:
        named = [name.strip() for name in visible.split(",") if name.strip()]
        return list(takewhile(lambda name: name != "-1", named))  # which hides it and the rest
    try:
        done = subprocess.run(["nvidia-smi", "-L"], capture_output=True, text=True, check=True)
    except (OSError, subprocess.CalledProcessError):
        return []
    lines = [line for line in done.stdout.splitlines() if line.startswith("GPU ")]
    return [str(number) for number in range(len(lines))]
