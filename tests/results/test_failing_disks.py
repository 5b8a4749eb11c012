"""The run folder on a disk that cannot be written, and between processes."""

import errno
import logging
import os
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from sanity.errors import ConfigError
from sanity.files import cache_folder, write_json
from sanity.results import RunFolder, load_runs
from tests.results.runs import (
    CONFIG,
    HYDRA,
    IMAGES,
    INFO,
    KEPT,
    LAYERS,
    METHODS,
    ROOT,
    assert_same_results,
    experiment,
    interrupted,
    masks_of,
    scores_of,
    write_units,
)

ERRORS = {errno.ENOSPC: "No space left on device", errno.EROFS: "Read-only file system"}


def test_a_cache_that_cannot_be_written_may_be_elsewhere(tmp_path, monkeypatch):
    (tmp_path / "file").write_text("no folder")
    monkeypatch.setenv("SANITY_CACHE", str(tmp_path / "file" / "cache"))
    with pytest.raises(ConfigError, match=r"Cannot write .*cache.*SANITY_CACHE names another"):
        write_json(cache_folder() / "a.json", {})


@pytest.mark.parametrize("code", ERRORS)
@pytest.mark.parametrize("step", ["open", "start", "masks", "mask", "unit", "complete", "sync"])
def test_what_cannot_be_written_gives_one_sentence(tmp_path, reference, monkeypatch, step, code):
    """Whichever step fails, the same command goes on once there is room."""
    path = tmp_path / "run"
    failing = OSError(code, os.strerror(code))

    def fail(*args, **kwargs):
        raise failing

    def open_(function):
        def opened(path, mode="r", *args, **kwargs):
            return fail() if mode != "rb" else function(path, mode, *args, **kwargs)

        return opened

    def break_disk():
        monkeypatch.setattr("os.mkdir", fail)
        monkeypatch.setattr("os.replace", fail)
        monkeypatch.setattr("os.fsync", fail)
        monkeypatch.setattr(Path, "open", open_(Path.open))
        monkeypatch.setattr("builtins.open", open_(open))

    def launch():
        if step == "open":
            break_disk()
        with RunFolder.open(path, CONFIG, ["seed=3"], HYDRA) as run:
            for name, action in {
                "start": lambda: run.start(INFO),
                "masks": lambda: run.create_masks(IMAGES[:KEPT], LAYERS, METHODS),
                "mask": lambda: run.write_masks(
                    "edges", range(2), 0, masks_of("edges", range(2), 0)
                ),
                "unit": lambda: run.write_unit("u", scores_of(range(2), 0)),
                "sync": lambda: write_units(run),
                "complete": lambda: run.complete(),
            }.items():
                if name == step:
                    break_disk()
                action()

    with pytest.raises(ConfigError) as error:
        launch()
    assert str(error.value).startswith(f"Cannot write {tmp_path}")
    assert str(error.value).endswith(ERRORS[code])
    assert "\n" not in str(error.value)
    monkeypatch.undo()
    status = RunFolder.open(path, CONFIG)
    assert status.status == ("new" if step in ("open", "start") else "interrupted")
    status.close()
    (path / "parts" / "u.parquet").unlink(missing_ok=True)
    experiment(path)
    assert_same_results(path, reference)


def test_a_file_larger_than_allowed_leaves_no_half(tmp_path):
    """A real failure in the midst of a write: the system's limit on the size of files."""
    path = tmp_path / "run"
    interrupted(path)
    code = f"""
import resource, sys
sys.path.insert(0, {str(ROOT)!r})
from pathlib import Path
from sanity.errors import ConfigError
from sanity.results import RunFolder
from tests.results.runs import *
path = Path({str(path)!r})
run = RunFolder.open(path, CONFIG)
run.start(INFO)
resource.setrlimit(resource.RLIMIT_FSIZE, (1000, 1000))
try:
    run.write_unit("z", scores_of(range(3), 0))
except ConfigError as error:
    print(error)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == f"Cannot write {path / 'parts' / 'z.parquet'}: File too large\n"
    assert not [p for p in (path / "parts").iterdir() if "z.parquet" in p.name]


@pytest.mark.skipif(sys.platform != "linux", reason="needs a folder that nobody can write")
def test_a_folder_that_nobody_can_write():
    with pytest.raises(ConfigError, match=r"^Cannot write /proc/sanity: .*\w$"):
        RunFolder.open("/proc/sanity/run", CONFIG)


def test_a_file_in_the_folders_place(tmp_path):
    (tmp_path / "run").write_text("")
    with (
        pytest.raises(ConfigError, match=r"^Cannot write .*/run: "),
        RunFolder.open(tmp_path / "run", CONFIG) as run,
    ):
        run.start(INFO)


HOLDER = f"""
import sys
sys.path.insert(0, {str(ROOT)!r})
from pathlib import Path
from sanity.errors import ConfigError
from sanity.results import RunFolder
from tests.results.runs import *
with RunFolder.open(Path(sys.argv[1]), CONFIG, ["seed=3"], HYDRA) as run:
    run.start(INFO)
    print("ready", flush=True)
    sys.stdin.read()
    write_units(run)
    run.complete()
"""


def test_two_processes_on_one_folder(tmp_path, reference, caplog):
    path = tmp_path / "run"
    caplog.set_level(logging.INFO, "sanity")
    with subprocess.Popen(
        [sys.executable, "-c", HOLDER, str(path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as other:
        assert other.stdout.readline() == b"ready\n"
        with pytest.raises(ConfigError, match=rf"/run is in use by process {other.pid} on \S+$"):
            RunFolder.open(path, CONFIG, wait=False)
        assert set(load_runs(path, columns=["status"]).status) == set()
        timer = threading.Timer(0.5, other.stdin.close)
        timer.start()
        with RunFolder.open(path, CONFIG) as run:  # waits until the other has done it all
            assert run.status == "completed"
        timer.join()
        assert other.wait() == 0
    assert f"Waiting for process {other.pid} on " in caplog.text
    assert len(caplog.messages) == 1
    assert_same_results(path, reference)


def test_the_lock_ends_with_the_run(tmp_path):
    path = tmp_path / "run"
    with RunFolder.open(path, CONFIG) as run:
        run.start(INFO)
        with pytest.raises(ConfigError, match=f"in use by process {os.getpid()} "):
            RunFolder.open(path, CONFIG, wait=False)
    with RunFolder.open(path, CONFIG, wait=False) as run:
        assert run.status == "interrupted"
