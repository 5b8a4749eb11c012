import gc
import io
import json
import logging
import os
import pickle
import shutil
import sys
import tempfile
from collections import Counter
from contextlib import nullcontext
from pathlib import Path

import numpy as np
import pytest
import yaml
from hydra.core.config_store import ConfigStore

from tests.command import THREADS

IS_WORKER = "PYTEST_XDIST_WORKER" in os.environ
# Before anything imports TensorFlow: a cache of the session's own, which workers share as a user's
# processes do, and no chatter.
if not IS_WORKER:
    os.environ["SANITY_CACHE"] = tempfile.mkdtemp(prefix="sanity-cache-")
CACHE = os.environ["SANITY_CACHE"]
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
# A graphics card is left alone: its numbers are others, and each worker would take all its memory.
os.environ["CUDA_VISIBLE_DEVICES"] = ""
# Workers beside each other: a thread each, or they wait for each other's.
if IS_WORKER:
    os.environ.update(dict.fromkeys(THREADS, "1"))

from sanity.config.options import conf_folder  # noqa: E402

# Thousands of tests and all libraries stay: what looks for garbage need not walk through them, a
# fifth of the time of collecting tests, nor later.
gc.disable()


def pytest_unconfigure():
    if not IS_WORKER:
        shutil.rmtree(CACHE, ignore_errors=True)


def pytest_collection_finish():
    """Garbage is looked for, but seldom among all that lives: that took a twentieth of all time."""
    gc.freeze()
    young, middle, _ = gc.get_threshold()
    gc.set_threshold(young, middle, 200)
    gc.enable()


def pytest_collection_modifyitems(items):
    """Files with slow tests come first, so that no worker is left with one at the end."""
    slow = Counter(item.path for item in items if item.get_closest_marker("slow"))
    items.sort(key=lambda item: -slow[item.path])


@pytest.fixture(autouse=True)
def level_of_the_log():
    """A job sets it by `runtime.log_level`, and the next test may want to read its own lines."""
    log = logging.getLogger("sanity")
    before = log.level
    yield
    log.setLevel(before)


@pytest.fixture(scope="session", autouse=True)
def disk():
    """Nothing waits for the disk, a hundred times a run: only a machine that fails needs that."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("os.fsync", lambda file: None)
        yield


@pytest.fixture(scope="session", autouse=True)
def configurations():
    """OmegaConf parses a text once, and not for each of a thousand jobs that are composed of it."""
    parse, known = yaml.load, {}

    def parse_once(stream, Loader):  # noqa: N803 - as PyYAML calls it
        if not Loader.__qualname__.endswith("OmegaConfLoader"):
            return parse(stream, Loader)
        text = stream if isinstance(stream, str) else stream.read()
        if text not in known:
            known[text] = pickle.dumps(parse(text, Loader))
        return pickle.loads(known[text])

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(yaml, "load", parse_once)
        # Hydra copies all that it knows for each job; of this part, nothing is changed by one.
        patch.setattr(ConfigStore, "__deepcopy__", lambda store, memo: store, raising=False)
        yield


@pytest.fixture(scope="session", autouse=True)
def fonts():
    """A PDF's fonts are cut down to its characters once for all PDFs that have the same ones."""
    from matplotlib.backends import _backend_pdf_ps as backend

    cut, write, known = backend.get_glyphs_subset, backend.font_as_file, {}

    def cut_once(font, glyphs):
        key = (str(font), getattr(font, "face_index", 0), *sorted(glyphs))
        if key not in known:
            with cut(font, glyphs) as found:
                known[key] = found._replace(font=write(found.font).getvalue())
        return nullcontext(known[key])

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(backend, "get_glyphs_subset", cut_once)
        patch.setattr(backend, "font_as_file", io.BytesIO)
        yield


@pytest.fixture(scope="session", autouse=True)
def stacks():
    """TensorFlow does not write down for each op of a graph through what it was called.

    That takes the longer the more calls there are, and pytest's are dozens; only its messages tell.
    """
    with pytest.MonkeyPatch.context() as patch:
        if tf_stack := sys.modules.get("tensorflow.python.util.tf_stack"):
            one = tf_stack.extract_stack()
            patch.setattr(tf_stack, "extract_stack", lambda stacklevel=1: one)
        yield


@pytest.fixture(scope="session")
def lite0():
    """The embedded model; leave its weights as you found them."""
    from sanity.models import EfficientNetLite

    node = yaml.safe_load((conf_folder() / "model" / "efficientnet_lite0.yaml").read_text())
    del node["_target_"]
    return EfficientNetLite(**node).load()


@pytest.fixture(scope="session")
def samples(lite0):
    """The 20 embedded images."""
    from sanity.data import ImageNetSamples

    return ImageNetSamples(limit=None).load(lite0.input_shape)


@pytest.fixture(scope="session")
def small():
    """A small convolutional network; leave its weights as you found them."""
    from tests.networks import small_classifier

    return small_classifier()


@pytest.fixture(scope="session")
def noise_images(small):
    from sanity.data import Images

    x = np.random.default_rng(0).random((5, *small.input_shape), np.float32)
    return Images(x, [f"image_{i}" for i in range(5)], [None] * 5, [None] * 5, [""] * 5)


@pytest.fixture(scope="session")
def default_run(tmp_path_factory, request):
    """The default job, run from the command line in an empty folder: once for all workers."""
    from types import SimpleNamespace

    from filelock import FileLock

    from tests.command import sanity

    top = tmp_path_factory.getbasetemp()
    if hasattr(request.config, "workerinput"):
        top = top.parent  # the workers' common one
    cwd, said = top / "default_run", top / "default_run.json"
    with FileLock(top / "default_run.lock"):
        if not said.exists():
            cwd.mkdir()
            stdout = sanity(cwd=cwd).stdout
            (made,) = cwd.glob("outputs/default/*-seed0-*")  # README's commands run there as well
            said.write_text(json.dumps([str(made), stdout]))
    folder, stdout = json.loads(said.read_text())
    return SimpleNamespace(cwd=cwd, folder=Path(folder), stdout=stdout)
