"""Xplique's five methods on TensorFlow, for `peers.py`, in an environment that has both.

python peer_xplique.py GIVEN.npz SAVED_MODEL prints a line of JSON, and writes xplique.npy.
Guided Backprop there rewrites Keras layers, which a SavedModel has none of: a plain gradient, which
takes as long, stands for it.
"""

import json
import os
import sys
import time
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np

SAMPLES = 25
BATCHES = (12, 24)
GRADIENTS = 1 + SAMPLES + 1 + 1 + SAMPLES


def main(given: Path, saved: Path) -> None:
    """Measures the best of some batch sizes."""
    os.environ["TF_CPP_MIN_LOG_LEVEL"] = "3"
    import tensorflow as tf
    from xplique.attributions import GradientInput, IntegratedGradients, Saliency, SmoothGrad

    arrays = np.load(given)
    x = arrays["images"]
    loaded = tf.saved_model.load(str(saved))
    classes = loaded.network(tf.constant(x))["logits"].shape[-1]
    targets = tf.one_hot(arrays["targets"], classes)

    def logits(images: Any) -> Any:
        return loaded.network(images)["logits"]

    inputs = tf.keras.Input(x.shape[1:])
    outputs = tf.keras.layers.Lambda(logits, output_shape=(classes,))(inputs)
    model, best = tf.keras.Model(inputs, outputs), {}
    for batch in BATCHES:
        common = {"batch_size": batch, "reducer": None}
        five = [
            Saliency(model, **common),
            SmoothGrad(model, nb_samples=SAMPLES, noise=0.15, **common),
            GradientInput(model, **common),
            Saliency(model, **common),
            IntegratedGradients(model, steps=SAMPLES, **common),
        ]
        for method in five:  # traced before anything is timed
            method(x, targets)
        start, cpu = time.perf_counter(), time.process_time()
        for method in five:
            method(x, targets)
        best[batch] = time.perf_counter() - start, time.process_time() - cpu
    with tf.GradientTape() as tape:
        images = tf.constant(x)
        tape.watch(images)
        explained = tf.reduce_sum(model(images) * targets)
    np.save(given.with_name("xplique.npy"), tape.gradient(explained, images).numpy())
    batch = min(best, key=lambda size: best[size])
    name = f"Xplique {version('xplique')}, TensorFlow {tf.__version__}, {batch}"
    seconds, cpu = (took / len(x) for took in best[batch])
    print(json.dumps({"name": name, "seconds": seconds, "cpu": cpu, "gradients": GRADIENTS}))


if __name__ == "__main__":
    if sys.argv[1:] in (["-h"], ["--help"]):
        print(__doc__)
    else:
        main(Path(sys.argv[1]), Path(sys.argv[2]))
