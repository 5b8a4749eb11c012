"""Which class is explained at a stage: another one, or that of the stage's own network."""

import logging
import re
from collections import Counter

import numpy as np
import pytest
from scipy.stats import chisquare

import sanity
from sanity.compare import main as compare
from sanity.config.job import compose
from sanity.data import Images
from sanity.errors import ConfigError
from sanity.experiment.explaining import explain
from sanity.experiment.prepare import prepare
from sanity.methods import GradCam, Gradient, Occlusion, RandomMask
from sanity.randomization.other_class import OtherClass
from tests.pieces import PICTURES, QUICK, run_interrupted

TARGETS = np.array([0, 3, 6, 2, 2])
OTHER = [*QUICK, "randomization=other_class", "randomization.classes=2", "masks.keep=all"]


def blank(n):
    x = np.zeros((n, 16, 16, 3), np.float32)
    return Images(x, [f"image_{i}" for i in range(n)], [None] * n, [None] * n, [""] * n)


def classes(small, images, targets, seed=0, **options):
    stages = OtherClass(**options).stages(small, [], seed)
    return np.stack([stage.explained(small, images, targets) for stage in stages])


def test_no_class_comes_twice(small, noise_images):
    for choice in ("random", "likeliest"):
        found = classes(small, noise_images, TARGETS, classes=6, choice=choice)
        np.testing.assert_array_equal(found[0], TARGETS)
        np.testing.assert_array_equal(np.sort(found, axis=0).T, [range(7)] * 5)


def test_draws_are_keyed_by_seed_and_image(small, noise_images):
    found = classes(small, noise_images, TARGETS, classes=3)
    np.testing.assert_array_equal(classes(small, noise_images, TARGETS), found[:2])
    some = [3, 1]
    alone = classes(small, noise_images.take(some), TARGETS[some], classes=3)
    np.testing.assert_array_equal(alone, found[:, some])
    assert (classes(small, noise_images, TARGETS, seed=1, classes=3) != found).any()


def test_draws_are_uniform_among_the_others(small):
    found = classes(small, blank(3000), np.full(3000, 4))[1]
    counts = Counter(found.tolist())
    assert sorted(counts) == [0, 1, 2, 3, 5, 6]
    assert chisquare(list(counts.values())).pvalue > 1e-3


def test_the_likeliest_have_the_highest_logits(small, noise_images):
    logits = small.logits(noise_images.x)
    predicted = logits.argmax(1)
    found = classes(small, noise_images, predicted, classes=2, choice="likeliest")
    np.testing.assert_array_equal(found.T, logits.argsort(1)[:, :-4:-1])
    # Whatever is explained at stage 0, the others are ranked among themselves.
    second = found[1]
    np.testing.assert_array_equal(
        classes(small, noise_images, second, choice="likeliest")[1], predicted
    )


def test_methods_of_all_kinds_explain_the_class_of_the_stage(small, noise_images, monkeypatch):
    monkeypatch.setattr("sanity.experiment.explaining._GROUP_IMAGES", 2)
    methods = {
        "gradient": Gradient(),
        "grad_cam": GradCam(),
        "occlusion": Occlusion(size=8),
        "random_mask": RandomMask(),
    }
    stages = OtherClass(classes=2).stages(small, [], 0)
    parts = list(explain(small, noise_images, TARGETS, methods, stages))
    expected = classes(small, noise_images, TARGETS, classes=2)
    noise = set()
    for part in parts:
        some = noise_images.take(part.group)
        targets = expected[part.stage.index][part.group]
        np.testing.assert_array_equal(part.targets, targets)
        np.testing.assert_allclose(
            part.masks["gradient"], small.gradients(some.x, targets), atol=1e-6
        )
        for name in ("grad_cam", "occlusion"):
            found = methods[name].masks(small, some, targets, 0)
            np.testing.assert_allclose(part.masks[name], found, atol=1e-6)
        noise.add(part.masks["random_mask"].tobytes())
    assert len(noise) == len(parts) == 9  # a control draws anew at each stage all the same


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    output = tmp_path_factory.mktemp("other")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(output)
        path = sanity.run(overrides=[*OTHER, *PICTURES])
    return path, sanity.load_runs(path), sanity.load_predictions(path)


def test_tables_have_the_class_of_each_stage(run):
    path, scores, predictions = run
    experiment = prepare(compose(OTHER))
    x = experiment.images.take(range(len(experiment.images))).x
    predicted = experiment.classifier.logits(x).argmax(axis=1)
    expected = classes(experiment.classifier, experiment.images, predicted, classes=2)
    for table in (scores, predictions):
        wide = table.drop_duplicates(["stage", "image"]).pivot(
            index="stage", columns="image", values="target"
        )
        np.testing.assert_array_equal(wide[experiment.images.names], expected)
    layers = dict(zip(predictions["stage"], predictions["layer"], strict=True))
    assert layers == {0: "trained", 1: "other class 1", 2: "other class 2"}
    assert (predictions.groupby("image")["predicted"].nunique() == 1).all()
    assert (path / "figures" / "curves.png").exists()
    masks = sanity.load_masks(path)
    for stage in range(3):
        found = masks.gradient.sel(stage=stage).values
        np.testing.assert_allclose(
            found, experiment.classifier.gradients(x, expected[stage]), atol=1e-6
        )
    assert (scores[scores["stage"] > 0]["value"] < 1).all()
    assert np.isfinite(scores["null"]).all()


def test_the_log_and_the_verdict_say_what_was_done(run):
    path, _, predictions = run
    text = (path / "sanity.log").read_text()
    first = predictions[predictions["stage"] == 1].iloc[0]
    assert re.search(
        rf"stage  1  other class 1: explained .*\b{first['target']}\b.*; predicted", text
    )
    assert "other class 1 randomized" not in text
    said = "no cascade from the output: this randomization has no order"
    assert "no verdict" in text and said in text


def test_rescored_scores_equal_those_stored(run, capsys):
    compare(["--rescore", "metric=[ssim,spearman]", "--", str(run[0])])
    assert capsys.readouterr().out.count("equal to those stored") == 2


def test_a_run_goes_on_where_it_was_interrupted(run, tmp_path, monkeypatch):
    monkeypatch.setattr("sanity.experiment.explaining._GROUP_IMAGES", 2)
    monkeypatch.chdir(tmp_path)
    run_interrupted(OTHER, units=3)
    keys = ["image", "method", "stage", "metric"]
    again, whole = (
        scores.sort_values(keys)
        for scores in (sanity.load_runs(sanity.run(overrides=OTHER)), run[1])
    )
    for column in [*keys, "target", "layer", "value", "null"]:
        np.testing.assert_array_equal(again[column], whole[column])


def test_each_stages_own_prediction_is_explained(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    overrides = [
        *QUICK,
        "target=predicted_each_stage",
        "randomization=paper_code",
        "masks.keep=all",
    ]
    path = sanity.run(overrides=overrides)
    scores, predictions = sanity.load_runs(path), sanity.load_predictions(path)
    np.testing.assert_array_equal(predictions["target"], predictions["predicted"])
    np.testing.assert_allclose(predictions["target_probability"], predictions["probability"])
    assert predictions.groupby("image")["target"].nunique().max() > 1
    both = scores.merge(predictions, on=["image", "stage"], suffixes=("", "_there"))
    np.testing.assert_array_equal(both["target"], both["target_there"])
    experiment, masks = prepare(compose(overrides)), sanity.load_masks(path)
    classifier = experiment.classifier
    with classifier.weights.restored():
        for stage in experiment.stages:
            classifier.weights.put(stage.make_weights())
            targets = classifier.logits(experiment.images.x).argmax(1)
            found = classifier.gradients(experiment.images.x, targets)
            there = masks.gradient.sel(stage=stage.index).values
            np.testing.assert_allclose(there, found, atol=1e-5 * np.abs(found).max())


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (["randomization.classes=0"], r"randomization\.classes=0"),
        (["randomization.choice=worst"], r"randomization\.choice=worst"),
        (
            ["randomization.classes=1000"],
            r"randomization\.classes=1000 must be at most 999, as .* has 1000 classes",
        ),
        (["target=predicted_each_stage"], r"target=predicted_each_stage .*=other_class"),
    ],
)
def test_mistakes(overrides, message):
    with pytest.raises(ConfigError, match=message):
        compose(["randomization=other_class", *overrides])


def test_a_model_that_turns_out_to_have_too_few_classes(small, caplog):
    with caplog.at_level(logging.INFO), pytest.raises(ConfigError, match="at most 6, as small"):
        OtherClass(classes=7).stages(small, [], 0)
