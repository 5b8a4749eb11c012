import numpy as np
import pytest
import tensorflow as tf

from sanity.errors import ConfigError
from sanity.network.passes import bfloat16
from sanity.network.passes.bfloat16 import check_bfloat16, in_bfloat16
from tests.networks import small_classifier

TARGETS = np.array([0, 3, 6, 2, 2], np.int32)


@pytest.fixture
def computed():
    """Skips where the processor has no bfloat16, which users are told in a sentence."""
    try:
        check_bfloat16()
    except ConfigError as error:
        pytest.skip(str(error))


def test_processors_without_it_are_told_in_a_sentence(monkeypatch):
    def aborted(x, kernel):
        raise tf.errors.AbortedError(None, None, "could not create a primitive descriptor")

    check_bfloat16.cache_clear()
    monkeypatch.setattr(bfloat16, "_products", aborted)
    with pytest.raises(ConfigError, match="^precision=bfloat16 .*: precision=float32 can be$"):
        check_bfloat16()


def test_products_and_nothing_else(small):
    graph = in_bfloat16(small.graph)
    low = tf.bfloat16.as_datatype_enum
    found = [node.op for node in graph.nodes.values() if node.attr["T"].type == low]
    assert sorted(found) == ["Conv2D", "MatMul"]
    tensors = [f"{name}:0" for name, node in small.graph.nodes.items() if node.op != "NoOp"]
    assert graph.specs(tensors, small.network.images) == small.graph.specs(
        tensors, small.network.images
    )


def test_multiplies_rounded_numbers(noise_images, computed):
    """One product by hand: operands rounded to 8 bits, the sum in float32."""
    network = small_classifier()
    network.precision = "bfloat16"
    tensor = next(n.name for n in network.graph.nodes.values() if n.op == "Conv2D")
    (found,) = network.read(noise_images.x, [f"{tensor}:0"])

    def rounded(values):
        return tf.cast(tf.cast(values, tf.bfloat16), tf.float32)

    kernel = network.trained["stem/kernel"]
    exact = tf.nn.conv2d(rounded(noise_images.x), rounded(kernel), 1, "SAME")
    np.testing.assert_allclose(found, exact, rtol=2**-8, atol=1e-3)
    assert np.abs(found - tf.nn.conv2d(noise_images.x, kernel, 1, "SAME")).max() > 1e-4


@pytest.mark.parametrize("rule", ["plain", "guided_backprop"])
def test_a_choice_that_can_be_taken_back(noise_images, rule, computed):
    network = small_classifier()
    x = noise_images.x
    before = network.logits(x), network.gradients(x, TARGETS, rule)
    network.precision = "bfloat16"
    low = network.logits(x), network.gradients(x, TARGETS, rule)
    network.precision = "float32"
    after = network.logits(x), network.gradients(x, TARGETS, rule)
    for a, b, c in zip(before, low, after, strict=True):
        np.testing.assert_array_equal(a, c)
        assert 0 < np.median(np.abs(a - b)) < 0.02 * np.abs(a).max()
