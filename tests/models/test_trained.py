import json
import logging
import os
import re

import keras
import numpy as np
import pytest
import tensorflow as tf

from sanity.config.job import compose
from sanity.data import Digits, ImageNetSamples
from sanity.errors import ConfigError
from sanity.files import cache_folder
from sanity.models import Cnn, EfficientNetLite, Mlp, Vit
from sanity.models.architecture import Architecture
from sanity.models.training import Learner, Recipe, fit
from sanity.randomization import Randomization
from sanity.randomization.permuted_labels import PermutedLabels

FEW = {"data": Digits(), "batch": 50, "stop_at": 0.9, "learning_rate": 0.003}
SMALL = [
    Mlp(seed=0, units=[32], **FEW),
    Cnn(seed=0, filters=[4], kernel=3, units=[16], **FEW),
]


@pytest.fixture
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("SANITY_CACHE", str(tmp_path))
    return tmp_path / "trained"


def changed(model, **fields):
    """The same model but for some fields."""
    from dataclasses import fields as of

    return type(model)(**{f.name: getattr(model, f.name) for f in of(model)} | fields)


@pytest.mark.parametrize("model", SMALL, ids=["mlp", "cnn"])
def test_a_network_learns_and_is_told_the_truth_about(model, cache):
    classifier = model.load()
    for split in ("train", "test"):
        images, labels = Digits().arrays(split)
        right = (classifier.logits(images).argmax(1) == labels).mean()
        assert classifier.facts[f"{split}_accuracy"] == pytest.approx(right, abs=0.002)
        assert right >= {"train": 0.9, "test": 0.85}[split]
    assert classifier.blocks == model.blocks
    assert {p.block for p in classifier.parameters.values()} == set(model.blocks)
    assert {p.kind for p in classifier.parameters.values()} == {"kernel", "bias"}
    assert classifier.class_names == list("0123456789")
    classifier.network.check_rule("guided_backprop")


def test_a_transformer_learns_and_every_part_of_it_is_drawn_anew(cache):
    sizes = {"patch": 2, "width": 16, "heads": 2, "depth": 1, "units": 16}
    learning = {"batch": 32, "epochs": 8, "stop_at": 0.8, "flip": False, "learning_rate": 0.01}
    model = Vit(seed=0, data=Digits(), shift=0, **sizes, **learning)
    classifier = model.load()
    assert classifier.facts["epochs"] == 8  # with decay it learns to the end
    assert classifier.facts["test_accuracy"] > 0.75
    assert classifier.blocks == ["logits", "block1", "embedding"]
    stage = Randomization().stages(classifier, classifier.blocks, 0)[-1]
    assert {*stage.variables} == {*classifier.parameters} == {*model.architecture.shapes()}
    kinds = {name.split("/")[-1]: p.kind for name, p in classifier.parameters.items()}
    same = {name: name for name in ("kernel", "bias", "scale", "offset", "position")}
    assert kinds == {**same, "class_token": "token"}
    _, grid = classifier.network.attention
    assert (grid.rows, grid.columns, grid.first) == (4, 4, 1)


@pytest.mark.slow
def test_the_transformers_option_learns(cache):
    """One of its 24 epochs, which take five minutes; after all of them it knows 0.908."""
    short = ["model.epochs=1", "model.stop_at=0.3"]
    job = compose(["model=vit", "data=animal_mnist", "metric=[mse]", *short])
    assert job.model.load().facts["test_accuracy"] > 0.4


def test_a_recipe_varies_images():
    x = np.zeros((200, 6, 6, 1), np.float32)
    x[:, 2, 3] = 1
    moved = Recipe(0.1, 1, 1, 1, shift=2, flip=True).vary(x, np.random.default_rng(0))
    places = np.argwhere(moved[..., 0])
    assert len(places) == 200  # nowhere pushed out, so none is lost
    assert np.unique(places[:, 1]).tolist() == [0, 1, 2, 3, 4]
    assert np.unique(places[:, 2]).tolist() == [0, 1, 2, 3, 4, 5]  # 1 to 5, and 0 to 4 mirrored
    assert Recipe(0.1, 1, 1, 1).vary(x, np.random.default_rng(0)) is x
    assert [Recipe(0.1, 1, 4, 1, decay=True).rate(e) for e in (1, 3)] == [0.1, 0.05]


def test_it_stops_on_reaching_the_accuracy(cache):
    epochs = [changed(SMALL[0], stop_at=stop).load().facts["epochs"] for stop in (0.5, 0.9, 0.98)]
    assert epochs == sorted(epochs)
    assert epochs[0] < epochs[2] < SMALL[0].epochs


def test_it_is_trained_once(cache, monkeypatch):
    first = SMALL[0].load()
    (path,) = cache.glob("*.npz")
    monkeypatch.setattr(Learner, "step", None)  # nothing can be trained from here on
    again = changed(SMALL[0], data=Digits(limit=1, split="train", shard=0, shards=1)).load()
    assert again.weights.sha256 == first.weights.sha256
    assert again.facts == first.facts
    with pytest.raises(TypeError):
        changed(SMALL[0], learning_rate=0.002).load()
    assert list(cache.glob("*.npz")) == [path]
    assert not list(cache.glob(".*.tmp"))


@pytest.mark.parametrize("damage", [b"", b"PK\x03\x04 nothing", None], ids=["empty", "zip", "cut"])
def test_a_damaged_file_is_trained_anew(damage, cache, caplog):
    first = SMALL[0].load().weights.sha256
    (path,) = cache.glob("*.npz")
    path.write_bytes(path.read_bytes()[:-2000] if damage is None else damage)
    with caplog.at_level(logging.WARNING):
        assert SMALL[0].load().weights.sha256 == first  # and to the bit
    assert "is trained anew" in caplog.text
    caplog.clear()
    assert SMALL[0].load().weights.sha256 == first
    assert "is trained anew" not in caplog.text


def test_the_seed_decides(cache):
    alike = [changed(SMALL[0], seed=seed, stop_at=0.5).load() for seed in (0, 0, 1)]
    assert alike[0].weights.sha256 == alike[1].weights.sha256 != alike[2].weights.sha256
    architecture = SMALL[0].architecture
    first, other = architecture.initial(0), architecture.initial(1)
    for name, value in first.items():
        np.testing.assert_array_equal(value, architecture.initial(0)[name])
        assert np.array_equal(value, other[name]) == name.endswith("bias")
    twins = Architecture((8, 8, 1), (), 1, (64, 64), 10).initial(0)
    assert not np.isclose(twins["dense1/kernel"], twins["dense2/kernel"]).any()


def test_global_generators_do_not_matter(cache):
    sums = []
    for noise in (1, 2):
        np.random.seed(noise)  # noqa: NPY002
        tf.random.set_seed(noise)
        sums.append(SMALL[1].load().weights.sha256)
        for path in cache.glob("*.npz"):
            path.unlink()
    assert sums[0] == sums[1]


def test_it_fails_in_words(cache):
    with pytest.raises(ConfigError) as refused:
        changed(SMALL[0], epochs=1, stop_at=1.0).load()
    text = str(refused.value)
    assert re.search(
        r"model\.epochs=1: mlp on true labels reached a training accuracy of 0\.", text
    )
    assert "model.stop_at=1.0" in text and "\n" not in text
    assert not list(cache.glob("*.npz"))


def test_first_weights_have_the_variance_asked_for():
    weights = Architecture((28, 28, 1), (32, 64), 5, (1024,), 10).initial(0)
    shapes = {name: value.shape for name, value in weights.items() if name.endswith("kernel")}
    assert shapes == {
        "conv1/kernel": (5, 5, 1, 32),
        "conv2/kernel": (5, 5, 32, 64),
        "dense1/kernel": (7 * 7 * 64, 1024),
        "logits/kernel": (1024, 10),
    }
    for name, shape in shapes.items():
        variance = 2 / np.prod(shape[:-1])
        assert weights[name].var() == pytest.approx(
            variance, rel=5 * np.sqrt(2 / weights[name].size)
        )
        assert weights[name].dtype == np.float32
    assert Architecture((7, 9, 3), (2, 2), 5, (), 4).shapes()["logits"] == (2 * 3 * 2, 4)


@pytest.mark.parametrize("filters", [(), (3,)], ids=["mlp", "cnn"])
def test_a_step_is_keras_adam(filters):
    """The same layers built in Keras, with Keras' own optimizer, follow the same path."""
    draw = np.random.default_rng(0)
    images = draw.random((20, 8, 8, 1), np.float32)
    labels = draw.integers(0, 4, 20)
    architecture = Architecture((8, 8, 1), filters, 3, (6,), 4)
    initial = architecture.initial(0)
    layers = [keras.layers.Input((8, 8, 1))]
    for n in filters:
        layers += [keras.layers.Conv2D(n, 3, padding="same", activation="relu")]
        layers += [keras.layers.MaxPooling2D()]
    layers += [keras.layers.Flatten(), keras.layers.Dense(6, "relu"), keras.layers.Dense(4)]
    model = keras.Sequential(layers)
    model.set_weights(list(initial.values()))
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile(keras.optimizers.Adam(0.01), loss)
    learner = Learner(architecture, initial, 10)
    np.testing.assert_allclose(model(images), learner._logits(images), rtol=1e-4, atol=1e-5)
    for start in (0, 10, 0, 10, 0):
        part = slice(start, start + 10)
        expected = (learner._logits(images[part]).numpy().argmax(1) == labels[part]).sum()
        assert learner.step(images[part], labels[part], 0.01) == expected
        model.train_on_batch(images[part], labels[part])
    for (name, ours), theirs in zip(learner.weights().items(), model.get_weights(), strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=1e-3, atol=1e-4, err_msg=name)
        assert not np.allclose(ours, initial[name])


def test_permuted_labels(cache):
    model = Mlp(
        seed=0, data=Digits(), units=[256, 128], stop_at=0.95, learning_rate=0.002, batch=100
    )
    classifier = model.load()
    trained = classifier.weights.read()
    stages = PermutedLabels().stages(classifier, classifier.blocks, 0)
    assert [stage.layer for stage in stages] == ["", "permuted labels"]
    assert [stage.index for stage in stages] == [0, 1]
    assert [stage.n_randomized for stage in stages] == [0, 6]
    assert [stage.new for stage in stages] == [(), tuple(classifier.parameters)]
    assert min(f["train_accuracy"] for f in (classifier.facts, stages[1].facts)) >= 0.95
    assert classifier.facts["test_accuracy"] > 0.9
    assert stages[1].facts["test_accuracy"] < 0.2  # chance is 0.1, of 355 images
    assert stages[1].facts["labels_changed"] == pytest.approx(0.9, abs=0.03)
    images, labels = Digits().arrays("train")
    with classifier.weights.restored():
        classifier.weights.put(stages[1].make_weights())
        predicted = classifier.logits(images).argmax(1)
    assert (predicted == labels).mean() < 0.2  # it learned other labels …
    assert stages[1].facts["train_accuracy"] > 0.95  # … and those it knows
    assert (np.bincount(predicted) > 100).all()  # of all classes, as often as before
    for name, value in classifier.weights.read().items():
        np.testing.assert_array_equal(value, trained[name])
        assert not np.array_equal(value, stages[1].make_weights()[name])
    again = PermutedLabels().stages(classifier, [], 0)
    assert again[1].facts == stages[1].facts
    assert len(list(cache.glob("*.npz"))) == 2


def test_permutations_differ_between_seeds(cache):
    from sanity.randomness import generator

    labels = Digits().arrays("train")[1]
    permuted = [generator("labels", seed).permutation(labels) for seed in (0, 1)]
    assert not np.array_equal(*permuted)
    assert all(np.array_equal(np.bincount(p), np.bincount(labels)) for p in permuted)


def test_what_is_refused_before_anything_is_trained(small):
    with pytest.raises(ConfigError, match=r"model=mlp .*ImageNetSamples is not: choose data="):
        Mlp(data=ImageNetSamples(), seed=0)
    with pytest.raises(ConfigError, match=r"randomization=labels .*not EfficientNetLite"):
        PermutedLabels().check_model(
            EfficientNetLite(variant="lite0", blocks=["logits"]), "EfficientNetLite", 1000
        )
    with pytest.raises(ConfigError, match=r"randomization=labels .*not small"):
        PermutedLabels().stages(small, [], 0)


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (["model=cnn"], r"model=cnn .*ImageNetSamples"),
        (["randomization=labels"], r"randomization=labels .*EfficientNetLite"),
        (["model=mlp", "data=digits", "model.stop_at=2"], r"model\.stop_at=2"),
        (["model=vit", "data=digits", "model.patch=3"], r"model\.patch=3 does not divide the 8×8"),
        (["model=vit", "data=digits", "model.heads=5"], r"width=64 cannot be shared by .*heads=5"),
        (["model=mlp", "data=animal_mnist", "layers.names=[conv1]"], r"dense3, dense2, dense1"),
        (["model=mlp", "data=digits", "metric=[spearman]", "target=10"], r"target=10"),
        (["model=mlp", "data=digits", "metric=[ssim]"], r"metric\.ssim.* at least 11×11"),
    ],
)
def test_configurations_refused_before_anything_is_trained(cache, overrides, message):
    with pytest.raises(ConfigError, match=message):
        compose(overrides)
    assert not cache.exists()


def test_the_configuration_hands_on_data_and_seed():
    job = compose(
        ["experiment=data_randomization", "model=mlp", "seed=3", "data.deduplicate=false"]
    )
    assert job.model.seed == 3
    assert job.model.data == job.data
    assert not job.model.data.deduplicate
    assert job.model.blocks == ["logits", "dense3", "dense2", "dense1"]
    assert compose(["experiment=data_randomization", "model.seed=7"]).model.seed == 7
    assert os.environ["SANITY_CACHE"] == str(cache_folder())


def test_the_experiment_records_what_was_learned(cache, tmp_path):
    from sanity.experiment.run import run
    from sanity.results.load import load_predictions, load_runs

    small = ["model=mlp", "model.units=[256,128]", "model.learning_rate=0.002", "data=digits"]
    methods = "method=[gradient,gradient_x_input,guided_backprop,edge_detector]"
    few = ["metric=[spearman,spearman_abs]", methods, "data.limit=8", "figures=none"]
    where = [f"output={tmp_path}", "runtime.progress=none", "report=false"]
    folder = run(overrides=["experiment=data_randomization", *small, *few, *where])
    info = json.loads((folder / "run.json").read_text())
    assert info["layers"] == ["", "permuted labels"]
    true, permuted = info["stages"]
    assert min(true["train_accuracy"], permuted["train_accuracy"]) >= 0.99
    assert true["test_accuracy"] > 0.9 and permuted["test_accuracy"] < 0.2
    log = (folder / "sanity.log").read_text()
    for stage, facts in (("trained", true), ("permuted labels", permuted)):
        accuracy = f"train accuracy {facts['train_accuracy']:.4g}"
        assert f"{stage}: {facts['epochs']} epochs, {accuracy}" in log
    scores = load_runs(folder)
    means = scores[scores["stage"] == 1].groupby(["metric", "method"])["value"].mean()
    signed, absolute = means["spearman"], means["spearman_abs"]
    assert abs(signed["gradient"]) < 0.5
    # docs/parity.md: a product with the image loses its sign only, Guided Backprop stays in part
    assert absolute["gradient_x_input"] > 0.75 > 0.5 > abs(signed["gradient_x_input"])
    assert signed["guided_backprop"] > signed["gradient"] + 0.1
    assert signed["edge_detector"] == pytest.approx(1)
    assert load_predictions(folder).groupby("stage", observed=True).size().tolist() == [8, 8]


def test_a_dry_run_trains_nothing_and_says_what_would_be(cache, tmp_path, monkeypatch, caplog):
    from sanity.experiment.run import run
    from sanity.models import kept as classifiers

    monkeypatch.setattr(classifiers, "_classifiers", {})
    net = ["model=mlp", "model.units=[32]", "model.stop_at=0.9", "data=digits", "data.limit=4"]
    job = ["randomization=labels", *net, "metric=[spearman]", "method=[gradient]", "model.epochs=1"]
    where = [f"output={tmp_path}/out", "runtime.progress=none"]
    with monkeypatch.context() as patched, caplog.at_level(logging.INFO):
        patched.setattr(Learner, "step", None)
        run(overrides=[*job, *where, "dry_run=true"])
    n = len(Digits().arrays("train")[1])
    for labels in ("true", "permuted"):
        said = f"mlp on {labels} labels is not trained yet, and would be: at most 1 epochs of {n}"
        assert f"{said} images" in caplog.messages
    assert "  permuted labels: labels changed 0.9" in caplog.text
    assert any("12 gradients of " in said for said in caplog.messages)
    assert not cache.exists() and not (tmp_path / "out").exists()
    with pytest.raises(ConfigError, match="mlp on true labels reached"):  # now it is trained
        run(overrides=[*job, *where])


@pytest.mark.parametrize("style", ["none", "lines", "bar"])
def test_training_shows_its_progress_as_asked_for(style, cache, caplog, capfd, monkeypatch):
    from sanity import progress

    monkeypatch.setattr(progress, "_LINE_EVERY", 0)
    with progress.show_progress(style), caplog.at_level(logging.INFO):
        SMALL[0].load()
    assert ("training mlp on true labels, at most: 1 of" in caplog.text) == (style == "lines")
    assert ("training mlp on true labels, at most:" in capfd.readouterr().err) == (style == "bar")


def test_training_is_in_float32_and_leaves_the_setting_as_it_was(monkeypatch):
    """TensorFlow multiplies in TF32 on a graphics card unless it is told not to."""
    enabled = tf.config.experimental.tensor_float_32_execution_enabled
    seen = []
    step = Learner.step

    def watched(learner, *given):
        seen.append(enabled())
        return step(learner, *given)

    monkeypatch.setattr(Learner, "step", watched)
    images = np.random.default_rng(0).random((8, 4, 4, 1), np.float32)
    data = images, np.zeros(8, np.int64)
    tf.config.experimental.enable_tensor_float_32_execution(True)  # TensorFlow's default
    fit(Architecture((4, 4, 1), (), 3, (), 2), Recipe(0.1, 8, 9, 0.9), data, data, 0, "all alike")
    assert seen and not any(seen)
    assert enabled()
