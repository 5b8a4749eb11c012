"""What docs/parity.md says is found again, on what is small; and its commands are checked."""

import gzip
import re
import shlex

import numpy as np
import pytest

import sanity
from sanity.config.job import compose
from sanity.data import AnimalMnist
from sanity.data.idx import read_splits
from sanity.metrics.base import score
from tests.command import ROOT
from tests.data.test_idx import idx

TEXT = (ROOT / "docs/parity.md").read_text()
BLOCKS = re.findall(r"^```(\w+)\n(.*?)^```", TEXT, re.MULTILINE | re.DOTALL)
LINES = "".join(block for language, block in BLOCKS if language == "sh").replace("\\\n", " ")
QUIET = ["masks.keep=none", "figures=none", "report=false", "runtime.progress=none"]
COMMANDS = [line for line in LINES.splitlines() if line.startswith("python -m sanity -m")]


def metric(name):
    return compose([f"metric=[{name}]"]).metrics[name]


@pytest.fixture(scope="module")
def clothes(tmp_path_factory):
    """A folder in the format of Fashion-MNIST: 30 images to train and 20 to test."""
    folder = tmp_path_factory.mktemp("clothes")
    draw = np.random.default_rng(0)
    for split, count in (("train", 30), ("t10k", 20)):
        pixels, labels = draw.integers(0, 256, (count, 28, 28)), np.arange(count) % 10
        for name, array in (("images-idx3", pixels), ("labels-idx1", labels)):
            packed = gzip.compress(idx(array.astype(np.uint8)))
            (folder / f"{split}-{name}-ubyte.gz").write_bytes(packed)
    return folder


@pytest.mark.parametrize("line", COMMANDS, ids=lambda line: re.findall(r"name=(\S+)", line)[0])
def test_commands_are_jobs(line, clothes):
    words = [word.replace("fashion_10000", str(clothes)) for word in shlex.split(line)[4:]]
    first = [re.sub(r"^([^\[]*?),[^\[]*$", r"\1", word) for word in words]
    assert compose(first).methods


def test_the_first_images_are_those_of_the_whole(clothes, tmp_path):
    (code,) = [block for language, block in BLOCKS if language == "python"]
    found = {"source": clothes, "target": tmp_path / "fewer"}
    code = re.sub(r"^source, target = .*", "", code, flags=re.MULTILINE)
    exec(code.replace("10_000", "12"), found)
    whole, fewer = (read_splits(found[name], name) for name in ("source", "target"))
    for part, count in (("train", 12), ("test", 20)):
        for one, other in zip(whole[part], fewer[part], strict=True):
            assert np.array_equal(one[:count], other)


def test_products_with_noise_are_the_images():
    """Section 5.2: masks x ⊙ u and x ⊙ v of unrelated u and v are alike, but for the sign."""
    x = np.asarray(AnimalMnist(limit=20).load((28, 28, 1)).x)
    u, v = np.random.default_rng(0).standard_normal((2, *x.shape)).astype(np.float32)
    assert score(metric("spearman_abs"), x * u, x * v).mean() == pytest.approx(0.94, abs=0.02)
    assert score(metric("spearman"), x * u, x * v).mean() == pytest.approx(0, abs=0.05)


@pytest.mark.slow
def test_order_of_methods(default_run):
    """Section 3, on the default job: by the mean over the stages down to block8."""
    scores = sanity.load_runs(default_run.folder)
    scores = scores[scores["stage"].between(1, 10)]
    means = scores.groupby(["metric", "method"], observed=True)["value"].mean()
    for name in ("ssim", "spearman_abs", "spearman"):
        others = means[name].drop(["guided_backprop", "edge_detector"])
        assert means[name]["guided_backprop"] > others.max() + 0.1
    for product in ("gradient_x_input", "integrated_gradients"):
        assert means["spearman_abs"][product] > means["spearman_abs"]["gradient"] + 0.05
        assert abs(means["spearman"][product]) < 0.15


@pytest.mark.slow
def test_mprt_and_emprt_rank_guided_backprop_last(default_run):
    """With all random Guided Backprop is the least changed, and its entropy rises the least."""
    masks = sanity.load_masks(default_run.folder)
    first, last = (masks.isel(stage=stage) for stage in (0, -1))
    names = ("gradient", "smoothgrad", "guided_backprop", "integrated_gradients")
    similar, complex_ = (
        {m: score(metric(name), first[m].values, last[m].values).mean() for m in names}
        for name in ("ssim", "emprt")
    )
    assert max(similar, key=similar.get) == min(complex_, key=complex_.get) == "guided_backprop"
    assert complex_["guided_backprop"] < complex_["gradient"] - 0.15


@pytest.mark.slow
def test_from_the_input_guided_backprop_changes_at_once(tmp_path):
    """Binder et al. 2023: what is found depends on where randomization begins."""
    shared = ["method=[gradient,guided_backprop]", "metric=[ssim]", "data.limit=2", *QUIET]
    found = {}
    for order, block in (("cascading", "logits"), ("cascading_bottom_up", "stem")):
        where = [f"randomization={order}", f"layers.names=[{block}]", f"output={tmp_path}"]
        scores = sanity.run([*shared, *where]).scores
        means = scores[scores["stage"] == 1].groupby("method")["value"].mean()
        found[block] = means
    assert found["logits"]["guided_backprop"] > 0.95 > 0.5 > found["logits"]["gradient"]
    assert found["stem"].max() < 0.4
