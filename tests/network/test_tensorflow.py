"""TensorFlow's start, each in a process of its own."""

import os
import platform
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


# Threads that hold memory at once: glibc gives each a pool, unless there is one for all.
POOLS = """
import ctypes, threading
from sanity.network.tensorflow import _share_memory
_share_memory()
barrier = threading.Barrier(4)
def hold():
    kept = [ctypes.create_string_buffer(10_000) for _ in range(100)]
    barrier.wait()
threads = [threading.Thread(target=hold) for _ in range(4)]
for thread in threads: thread.start()
for thread in threads: thread.join()
libc = ctypes.CDLL(None)
libc.malloc_stats.restype = None
libc.malloc_stats()
"""


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="its malloc is another")
@pytest.mark.parametrize("said", ["", "8"])
def test_memory_is_taken_from_one_pool_unless_said_otherwise(said):
    environment = {**os.environ, "MALLOC_ARENA_MAX": said} if said else {**os.environ}
    done = subprocess.run(
        [sys.executable, "-c", POOLS], capture_output=True, text=True, env=environment
    )
    assert not done.returncode, done.stderr
    assert (done.stderr.count("Arena ") > 1) == bool(said)


@pytest.mark.parametrize("name", CODE)
def test_keras_is_left_to_those_who_ask_for_it(name):
    code = f"import gc, sys\nfrom sanity.network.tensorflow import start_tensorflow\n{CODE[name]}"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert not done.returncode, done.stderr
