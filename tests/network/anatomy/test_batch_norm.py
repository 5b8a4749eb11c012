"""Batch norms are found with the statistics that are theirs, along the axis that is theirs."""

import keras
import numpy as np
import pytest

from sanity.errors import ConfigError
from sanity.network.classifier import Classifier

layers = keras.layers


def network(*norms):
    """Convolution, norms one behind the other, and a dense layer; every statistic is random."""
    given = keras.Input((8, 8, 3))
    x = layers.Conv2D(8, 3, padding="same")(given)
    for norm in norms:
        x = norm(x)
    x = layers.GlobalAveragePooling2D()(layers.ReLU()(x))
    model = keras.Model(given, layers.Dense(5)(x))
    draw = np.random.default_rng(0)
    for weight in model.non_trainable_variables:
        weight.assign(0.5 + draw.random(weight.shape))
    variables = {weight.path: weight.value for weight in model.weights}
    function = lambda x: model(x, training=False)  # noqa: E731
    return model, Classifier(function, (8, 8, 3), name="net", variables=variables)


@pytest.mark.parametrize("count", [1, 2, 3])
def test_norms_one_behind_the_other(count):
    names = [f"norm{n}" for n in range(count)]
    model, classifier = network(*(layers.BatchNormalization(name=name) for name in names))
    pairs = [(norm.mean, norm.variance) for norm in classifier.batch_norms]
    assert pairs == [(f"{name}/moving_mean", f"{name}/moving_variance") for name in names]
    x = np.random.default_rng(1).random((6, 8, 8, 3), np.float32)
    wanted = [name for pair in pairs for name in pair]
    with classifier.weights.restored():
        classifier.weights.put(classifier.batch_moments(x)(wanted))
        found = classifier.logits(x)
    np.testing.assert_allclose(found, model(x, training=True), rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize("axis", [1, 2])
def test_statistics_of_rows_are_refused(axis):
    _, classifier = network(layers.BatchNormalization(axis=axis, name="norm"))
    with pytest.raises(ConfigError, match=r"channels of norm/moving_variance are not the last"):
        _ = classifier.batch_norms
