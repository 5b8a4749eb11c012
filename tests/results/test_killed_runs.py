"""Runs that are killed and resumed.

Run as a script, this file is the process that gets killed: see `zygote`.
"""

import importlib
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from sanity.randomness import generator
from tests.results.killing import finish, launch
from tests.results.runs import ROOT, assert_same_results


def zygote(top: str, mode: str, count: str) -> None:
    """Kills runs at many moments and completes them; prints what came of it.

    A process of its own, which forks before any thread is started, as importing takes far longer
    than the runs do.

    Args:
        top: Where the run folders go.
        mode: `events` kills at `count` of the changes of the disk and of the writes; `times` kills
            after random times, until `count` runs have each been killed twice.
        count: See `mode`.
    """
    for module in ("filelock", "omegaconf", "pyarrow.parquet", "zarr.codecs"):
        importlib.import_module(module)
    n, killed, runs, torn = int(count), 0, 0, 0
    random = generator("kill", mode)
    made = []
    for _ in range(5):  # threads that make the same folders change the disk now and then once more
        shutil.rmtree(Path(top, "unharmed"), ignore_errors=True)
        begun = time.perf_counter()
        made.append(finish(*launch(Path(top, "unharmed"))))
        duration = time.perf_counter() - begun
    changes, writes = min(made)
    if mode == "events":
        # Between writes, and within them.
        for moment in sorted(random.choice(changes + writes, n, replace=False)):
            path = Path(top, f"event{moment:04}")
            within = bool(moment >= changes)
            at = int(moment - changes if within else moment)
            if finish(*launch(path, at, within)) is None:
                killed, torn = killed + 1, torn + within
            runs += finish(*launch(path)) is not None
    else:
        attempts = iter(range(10 * n))
        while runs < n:
            path = Path(top, f"time{next(attempts):04}")  # StopIteration: it is never hit
            for _ in range(2):
                pid, pipe = launch(path)
                time.sleep(random.uniform(0, duration))
                os.kill(pid, signal.SIGKILL)
                hit = finish(pid, pipe) is None
                killed += hit
                if not hit:  # it had ended: the machine is less busy than when it was timed
                    duration *= 0.7
                    break
            else:
                runs += finish(*launch(path)) is not None
    found = {"killed": killed, "torn": torn, "runs": runs, "seconds": duration}
    print(json.dumps({"changes": changes, "writes": writes, **found}))


@pytest.mark.skipif(not hasattr(os, "fork"), reason="forks")
@pytest.mark.parametrize(
    ("mode", "count"),
    [("times", 10), pytest.param("events", 30, marks=pytest.mark.slow)],
)
def test_killed_runs_are_resumed_to_the_same_bits(tmp_path, reference, mode, count):
    done = subprocess.run(
        [sys.executable, __file__, str(tmp_path), mode, str(count)],
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    result = json.loads(done.stdout)
    print(result)
    folders = [p for p in tmp_path.iterdir() if not p.name.startswith(".")]
    if mode == "events":
        expected = count
        assert result["killed"] == result["runs"] == expected
        assert 0 < result["torn"] < expected
        assert len(folders) == expected + 1
    else:
        assert result["killed"] >= 2 * count
        assert result["runs"] == count
    for folder in folders:
        assert_same_results(folder, reference)
    assert {p.suffix for p in (tmp_path / ".locks").iterdir()} <= {".lock", ".json"}


if __name__ == "__main__":
    zygote(*sys.argv[1:])
