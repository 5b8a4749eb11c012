"""The article's run: its draws, its lines, its figures."""

import logging

import numpy as np
import pytest
from PIL import Image

import sanity
from sanity.config.job import compose
from sanity.models.kept import load_kept
from tests.inception_v3 import build

# The printed shapes of the article, from output to input.
SHAPES = [
    (1, 1, 2048, 1001),
    (1, 1, 2048, 320),
    (1, 1, 1280, 320),
    *[(1, 1, 768, 192)] * 5,
    (3, 3, 288, 384),
    (1, 1, 288, 64),
    (1, 1, 256, 64),
    (1, 1, 192, 64),
    (3, 3, 80, 192),
    (1, 1, 64, 80),
    (3, 3, 32, 64),
    (3, 3, 32, 32),
    (3, 3, 3, 32),
]
# Of each layer the first variable whose name contains the layer's and "weight".
NAMES = [
    "Logits/Conv2d_1c_1x1",
    *[f"Mixed_{b}/Branch_0/Conv2d_0a_1x1" for b in ("7c", "7b", "7a", "6e", "6d", "6c", "6b")],
    "Mixed_6a/Branch_0/Conv2d_1a_1x1",
    *[f"Mixed_{b}/Branch_0/Conv2d_0a_1x1" for b in ("5d", "5c", "5b")],
    "Conv2d_4a_3x3",
    "Conv2d_3b_1x1",
    "Conv2d_2b_3x3",
    "Conv2d_2a_3x3",
    "Conv2d_1a_3x3",
]
VARIABLES = [f"InceptionV3/{name}/weights" for name in NAMES]
METHODS = [
    "gradient",
    "smoothgrad",
    "gradient_x_input",
    "guided_backprop",
    "integrated_gradients",
]


@pytest.fixture
def photograph(tmp_path):
    random = np.random.default_rng(0)
    small = (random.random((6, 8, 3)) * 255).astype(np.uint8)
    path = tmp_path / "zebra.png"
    Image.fromarray(small).resize((120, 90)).save(path)
    return path


def run(tmp_path, photograph, *overrides):
    overrides = [
        "experiment=article",
        f"data.path={photograph}",
        f"output={tmp_path / 'out'}",
        "runtime.progress=none",
        *overrides,
    ]
    return sanity.run(overrides=overrides)


def lines(caplog, start):
    return [r.getMessage() for r in caplog.records if r.getMessage().startswith(start)]


def test_the_preset(photograph):
    job = compose(["experiment=article", f"data.path={photograph}"])
    assert list(job.methods) == METHODS
    smoothgrad, integrated = job.methods["smoothgrad"], job.methods["integrated_gradients"]
    assert (smoothgrad.samples, smoothgrad.noise) == (25, 0.15)
    assert (integrated.steps, integrated.baseline) == (25, "black")
    assert (job.data.resample, job.data.fit) == ("nearest", "stretch")
    layers = [name.split("/")[0] for name in NAMES]
    assert job.layers.select(job.model.blocks) == layers == job.model.blocks
    article = compose(["model=inception_v3", "layers=article"])
    assert article.layers.select(article.model.blocks) == layers


@pytest.mark.slow
def test_eighteen_stages_of_a_small_inception(tmp_path, photograph, caplog):
    caplog.set_level(logging.INFO)
    module = build(tmp_path / "module", 1 / 16, 1001)
    folder = run(
        tmp_path,
        photograph,
        f"model.handle={module}",
        "model.input_shape=[79,79,3]",
        "method.smoothgrad.samples=2",
        "method.integrated_gradients.steps=2",
        "metric=[spearman]",
        "report=false",
    )
    assert lines(caplog, "Randomized: ") == [f"Randomized: {name}" for name in VARIABLES]
    said = lines(caplog, "Predicted Label: ")
    assert len(said) == 18
    assert all(" Zebra: 0." in line or " Zebra: 1." in line for line in said)
    figures = {path.name for path in (folder / "figures").glob("zebra_stage*.png")}
    assert figures == {f"zebra_stage{stage:02d}.png" for stage in range(18)}
    scores = sanity.load_runs(folder)
    assert set(scores.stage) == set(range(18))
    assert set(scores.target) == {341}


@pytest.mark.slow
def test_the_same_on_the_embedded_model(tmp_path, photograph, caplog):
    caplog.set_level(logging.INFO)
    folder = run(
        tmp_path,
        photograph,
        "model=efficientnet_lite0",
        "layers.last=3",
        "method=[gradient,guided_backprop]",
        "metric=[spearman]",
        "report=false",
    )
    scores = sanity.load_runs(folder)
    assert set(scores.target) == {340}
    randomized = [f"Randomized: {n}/kernel" for n in ("logits", "head", "block15/expand")]
    assert lines(caplog, "Randomized: ") == randomized


@pytest.mark.slow
def test_a_full_size_inception(tmp_path, photograph, caplog):
    """The 17 randomized variables, their shapes, and what else is kept; a run of both ends.

    Of one method: all five are run on the small one, which has the same graph.
    """
    caplog.set_level(logging.INFO)
    module = build(tmp_path / "module")
    overrides = ["experiment=article", f"data.path={photograph}", f"model.handle={module}"]
    job = compose(overrides)
    classifier = load_kept(job.model, job.config["model"])  # as the run below finds it
    assert len(classifier.parameters) == 378
    assert len(classifier.graph.outputs) == 21 + 1  # the endpoints, and the logits as "default"
    assert classifier.n_classes == 1001
    stages = job.randomization.stages(classifier, job.layers.select(classifier.blocks), 0)
    assert [stage.new for stage in stages] == [(), *[(name,) for name in VARIABLES]]
    assert [classifier.parameters[name].shape for name in VARIABLES] == SHAPES
    trained = classifier.weights.read()
    with classifier.weights.restored():
        classifier.weights.put(stages[-1].make_weights())
        now = classifier.weights.read()
    for name, value in trained.items():
        if name in VARIABLES:
            assert -1 <= now[name].min() < now[name].max() <= 1
            assert now[name].size < 100 or abs(now[name].std() - 3**-0.5) < 0.05
        else:
            np.testing.assert_array_equal(now[name], value)
    folder = run(
        tmp_path,
        photograph,
        f"model.handle={module}",
        "layers.names=[Logits,Conv2d_1a_3x3]",
        "method=[gradient]",
        "metric=[spearman]",
        "report=false",
    )
    ends = [VARIABLES[0], VARIABLES[-1]]
    assert lines(caplog, "Randomized: ") == [f"Randomized: {name}" for name in ends]
    scores = sanity.load_runs(folder)
    assert set(scores.stage) == set(range(3))
    assert scores.value.notna().all()
    assert len(list((folder / "figures").glob("zebra_stage*.png"))) == 3
