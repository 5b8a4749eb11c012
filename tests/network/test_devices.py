import subprocess
import sys

import pytest

from sanity.errors import ConfigError
from sanity.network import devices
from tests.command import ROOT


@pytest.fixture
def two(monkeypatch, tmp_path):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "GPU-a,GPU-b")
    monkeypatch.setattr(devices.tempfile, "gettempdir", lambda: str(tmp_path))
    monkeypatch.setattr(devices, "_claimed", [])
    return tmp_path


def claim_elsewhere(folder):
    """What another process, which ends with it, is given."""
    code = (
        "import os, tempfile; from sanity.network import devices\n"
        f"tempfile.gettempdir = lambda: {str(folder)!r}\n"
        "try: devices.claim_devices(1); print(os.environ['CUDA_VISIBLE_DEVICES'])\n"
        "except Exception as error: print(error)"
    )
    words = [sys.executable, "-c", code]
    done = subprocess.run(words, capture_output=True, text=True, check=True, cwd=ROOT)
    return done.stdout.strip()


def test_each_process_has_a_device_of_its_own(two, monkeypatch):
    import os

    devices.claim_devices(1)
    assert os.environ["CUDA_VISIBLE_DEVICES"] == "GPU-a"
    devices.claim_devices(1)  # a second job of this process
    assert os.environ["CUDA_VISIBLE_DEVICES"] == "GPU-a"
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "GPU-a,GPU-b")
    assert claim_elsewhere(two) == "GPU-b"
    for lock in devices._claimed:
        lock.release()


def test_more_than_are_free_are_refused(two, monkeypatch):
    with pytest.raises(ConfigError, match="gpus_per_job=3: of this machine's 2 GPUs 2 are free"):
        devices.claim_devices(3)
    assert claim_elsewhere(two) == "GPU-a"  # what was not enough was given back
    for hidden in ("", "-1", "-1,GPU-a"):
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", hidden)
        with pytest.raises(ConfigError, match="of this machine's 0 GPUs"):
            devices.claim_devices(1)
