"""TensorFlow's start, each in a process of its own."""

import subprocess
import sys

import pytest

CODE = {
    "left out": """
start_tensorflow()
assert not {"keras", "sklearn", "matplotlib"} & set(sys.modules)
assert gc.isenabled()
""",
    "there for those who ask": """
start_tensorflow()
import tensorflow as tf
from tensorflow.keras.layers import Dense
import tensorflow.keras.applications.resnet50
import keras
assert keras.backend.backend() == "tensorflow"
assert tf.keras.layers.Dense is Dense is keras.layers.Dense
assert tf.keras.layers.Dense(3)(tf.ones([2, 2])).shape == [2, 3]
""",
    "as it was": """
import tensorflow as tf
before = sys.modules["keras"]
start_tensorflow()
assert sys.modules["keras"] is before and tf.keras.Model is before.Model
""",
}


@pytest.mark.parametrize("name", CODE)
def test_keras_is_left_to_those_who_ask_for_it(name):
    code = f"import gc, sys\nfrom sanity.network.tensorflow import start_tensorflow\n{CODE[name]}"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert not done.returncode, done.stderr
