"""A stand-in for SLURM: `sbatch` runs an array's elements on this machine, two at a time.

It knows what submitit asks of it: `sbatch FILE`, `srun … COMMAND`, `sacct … -j ID …`.
"""

import os
import re
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path


def install(folder: Path) -> dict[str, str]:
    """Puts the commands into a folder; what the environment needs to find them."""
    binaries, state = folder / "bin", folder / "state"
    state.mkdir(parents=True)
    binaries.mkdir()
    for name in ("sbatch", "srun", "sacct", "scontrol", "scancel"):
        command = binaries / name
        command.write_text(f'#!/bin/sh\nexec "{sys.executable}" "{__file__}" {name} "$@"\n')
        command.chmod(0o755)
    path = f"{binaries}{os.pathsep}{os.environ['PATH']}"
    return {"PATH": path, "SLURM_STANDIN": str(state)}


def sbatch(file: str) -> None:
    """Starts a job that runs the elements, and prints its number."""
    state = Path(os.environ["SLURM_STANDIN"])
    number = 100 + len(list(state.glob("*.job")))
    (state / f"{number}.job").write_text(file)
    command = [sys.executable, __file__, "elements", str(number), file]
    quiet = dict.fromkeys(("stdin", "stdout", "stderr"), subprocess.DEVNULL)
    subprocess.Popen(command, start_new_session=True, **quiet)
    print(f"Submitted batch job {number}")


def elements(number: str, file: str) -> None:
    """Runs a job's elements."""
    state, text = Path(os.environ["SLURM_STANDIN"]), Path(file).read_text()
    found = re.search(r"^#SBATCH --array=(\d+)-(\d+)", text, re.MULTILINE)
    ends = (int(found[1]), int(found[2])) if found else None
    ids = list(range(ends[0], ends[1] + 1)) if ends else [None]

    def run(element: int | None) -> None:
        name = number if element is None else f"{number}_{element}"
        own = {"SLURM_JOB_ID": name, "SLURM_PROCID": "0", "SLURM_LOCALID": "0"}
        own |= {"SLURM_NTASKS": "1", "SLURM_NODEID": "0", "SLURM_JOB_NUM_NODES": "1"}
        own["SLURM_JOB_NODELIST"] = "here"
        if element is not None:
            own |= {"SLURM_ARRAY_JOB_ID": number, "SLURM_ARRAY_TASK_ID": str(element)}
            own |= {f"SLURM_ARRAY_TASK_{k}": str(v) for k, v in zip(("MIN", "MAX"), ends)}  # noqa: B905
            own |= {"SLURM_ARRAY_TASK_COUNT": str(len(ids)), "SLURM_ARRAY_TASK_STEP": "1"}
        (state / f"{name}.state").write_text("RUNNING")
        done = subprocess.run(["bash", file], env={**os.environ, **own}, capture_output=True)
        (state / f"{name}.output").write_bytes(done.stdout + done.stderr)
        (state / f"{name}.state").write_text("FAILED" if done.returncode else "COMPLETED")

    with ThreadPoolExecutor(2) as pool:
        list(pool.map(run, ids))


def srun(*words: str) -> None:
    """Runs a command, without what comes before it."""
    start = next(i for i, word in enumerate(words) if "python" in Path(word).name)
    os.execvp(words[start], words[start:])


def sacct(*words: str) -> None:
    """Prints the state of each element."""
    print("JobID|State|NodeList")
    for path in sorted(Path(os.environ["SLURM_STANDIN"]).glob("*.state")):
        print(f"{path.stem}|{path.read_text()}|here")


if __name__ == "__main__":
    {"sbatch": sbatch, "elements": elements, "srun": srun, "sacct": sacct}.get(
        sys.argv[1], lambda *words: None
    )(*sys.argv[2:])
