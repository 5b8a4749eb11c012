"""Attention in models of Keras' layers; others: `tests/methods/test_attention.py`."""

import numpy as np
import pytest

from sanity.errors import ConfigError
from sanity.network.classifier import Classifier
from tests.network.anatomy import test_keras_models as models


def classifier_of(form):
    model = models.disturbed(form)
    variables = {variable.path: variable.value for variable in model.variables}
    return Classifier(
        lambda x: model(x, training=False), models.INPUT, name="it", variables=variables
    )


@pytest.mark.parametrize(
    ("form", "depth", "read"),
    [(models.tokens, 1, [0]), (models.vit, 2, [0]), (models.deit, 1, [0, 1])],
    ids=lambda value: getattr(value, "__name__", ""),
)
def test_tokens_are_found_in_the_image(form, depth, read):
    classifier = classifier_of(form)
    layers, grid = classifier.network.attention
    assert [layer.count for layer in layers] == [16 + len(read)] * depth
    assert (grid.rows, grid.columns, grid.first) == (4, 4, len(read))
    assert np.flatnonzero(classifier.read_tokens).tolist() == read
    kinds = [p.kind for p in classifier.parameters.values()]
    assert kinds.count("token") == kinds.count("position") == len(read)


def test_windows_are_refused():
    network = classifier_of(models.swin).network
    assert network.has_attention
    with pytest.raises(ConfigError, match="it is within windows of 16 of the image's 64 tokens"):
        network.attention  # noqa: B018
