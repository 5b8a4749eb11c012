import os
import shutil
import tempfile

import numpy as np
import pytest
import yaml

# Before anything imports TensorFlow: a cache of the session's own, and no chatter.
CACHE = os.environ["SANITY_CACHE"] = tempfile.mkdtemp(prefix="sanity-cache-")
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

from sanity.config.options import conf_folder  # noqa: E402


def pytest_unconfigure():
    shutil.rmtree(CACHE, ignore_errors=True)


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
def default_run(tmp_path_factory):
    """The default job, run once a session from the command line in an empty folder."""
    from types import SimpleNamespace

    from tests.command import sanity

    cwd = tmp_path_factory.mktemp("default")
    done = sanity(cwd=cwd)
    (folder,) = cwd.glob("outputs/default/*-seed0-*")
    return SimpleNamespace(cwd=cwd, folder=folder, stdout=done.stdout)
