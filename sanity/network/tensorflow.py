"""How a process runs: TensorFlow's start, threads and devices."""

import ctypes
import gc
import os
import sys
import tempfile
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.abc import MetaPathFinder
from typing import Any

from sanity.network.determinism import compute_in_order

_M_ARENA_MAX = -8  # of glibc's malloc.h


def start_tensorflow(threads: int | None = None) -> None:
    """Imports TensorFlow without its chatter, and sets it up before it does anything.

    Args:
        threads: Of one op, and for ops side by side; None for TensorFlow's choice, one a core.
            Without effect where TensorFlow has been used before.
    """
    _share_memory()
    import_tensorflow()
    with _silent_stderr():
        import tensorflow as tf

        try:
            if threads is not None:
                tf.config.threading.set_intra_op_parallelism_threads(threads)
                tf.config.threading.set_inter_op_parallelism_threads(threads)
            for device in tf.config.list_physical_devices("GPU"):
                tf.config.experimental.set_memory_growth(device, True)
        except RuntimeError:
            pass  # TensorFlow runs already, with what it was started with
        tf.constant(0)  # looks for devices, and says so
        compute_in_order()


def import_tensorflow() -> None:
    """Imports TensorFlow without its chatter, and leaves all else to who starts it."""
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
    # Of tensorflow_hub, which needs it; nothing that a user could do anything about.
    warnings.filterwarnings("ignore", "pkg_resources is deprecated", UserWarning)
    with _silent_stderr():
        _import_without_keras()


def is_out_of_memory(error: BaseException) -> bool:
    """Whether an error says that memory, of the machine or of a graphics card, has run out."""
    if isinstance(error, MemoryError):
        return True
    if "tensorflow" not in sys.modules:
        return False
    import tensorflow as tf

    if isinstance(error, tf.errors.ResourceExhaustedError):
        return True
    return isinstance(error, tf.errors.OpError) and "out of memory" in str(error).lower()


def _share_memory() -> None:
    """Has threads take memory from one pool, where the C library is glibc and nobody said how many.

    It gives each thread a pool of its own, and what one has let go no other can use: some 5 % of
    a run's peak, and no less time.
    """
    said = "MALLOC_ARENA_MAX" in os.environ or "arena_max" in os.environ.get("GLIBC_TUNABLES", "")
    if sys.platform == "linux" and not said:
        libc = ctypes.CDLL(None)
        if hasattr(libc, "gnu_get_libc_version"):
            libc.mallopt(_M_ARENA_MAX, 1)


class _NoKeras(MetaPathFinder):
    """Finds Keras, but nothing within it."""

    def find_spec(self, fullname: str, path: Any, target: Any = None) -> None:
        """Nothing, for any other module (ImportError)."""
        if fullname.startswith("keras."):
            raise ModuleNotFoundError(fullname, name=fullname)


def _import_without_keras() -> None:
    """Imports TensorFlow, and leaves Keras to the first who asks for it.

    TensorFlow imports it at once, and with it scikit-learn and Matplotlib: half of all its time. It
    is content without, and its own `tf.keras` imports it when it is used.
    """
    if "tensorflow" in sys.modules or "keras" in sys.modules:
        return
    finder, collecting = _NoKeras(), gc.isenabled()
    sys.meta_path.insert(0, finder)
    gc.disable()  # what is imported stays: looking for garbage in it takes a tenth of the time
    try:
        import tensorflow  # noqa: F401

        gc.freeze()
    finally:
        sys.meta_path.remove(finder)
        if collecting:
            gc.enable()


@contextmanager
def _silent_stderr() -> Iterator[None]:
    """Keeps back what C++ writes to standard error, unless it ends in an exception."""
    sys.stderr.flush()
    with tempfile.TemporaryFile() as kept:
        try:
            saved = os.dup(2)
        except OSError:  # no standard error at all
            yield
            return
        os.dup2(kept.fileno(), 2)
        try:
            yield
        except BaseException:
            os.dup2(saved, 2)
            kept.seek(0)
            os.write(2, kept.read())
            raise
        finally:
            os.dup2(saved, 2)
            os.close(saved)
