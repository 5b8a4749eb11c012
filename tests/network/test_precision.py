from types import SimpleNamespace

import pytest
import tensorflow as tf

from sanity.errors import ConfigError
from sanity.network import precision
from sanity.network.classifier import Classifier
from sanity.network.devices import processor_name
from sanity.network.precision import check_precision, computing_in

enabled = tf.config.experimental.tensor_float_32_execution_enabled


@pytest.fixture
def card(monkeypatch):
    """A graphics card as TensorFlow tells of it, of the compute capability that is put in."""
    details = {"device_name": "NVIDIA Made Up", "compute_capability": (9, 0)}
    config, found = tf.config, SimpleNamespace(name="card")
    monkeypatch.setattr(config, "list_physical_devices", lambda kind: [found])
    monkeypatch.setattr(config.experimental, "get_device_details", lambda card: details)
    monkeypatch.delenv("NVIDIA_TF32_OVERRIDE", raising=False)
    return details


@pytest.mark.parametrize("wanted", ["float32", "tf32", "bfloat16"])
@pytest.mark.parametrize("before", [True, False])
def test_tf32_is_taken_where_it_is_asked_for_and_nowhere_else(wanted, before):
    kept = enabled()
    tf.config.experimental.enable_tensor_float_32_execution(before)
    try:
        with pytest.raises(ValueError), computing_in(wanted):
            assert enabled() == (wanted == "tf32")
            raise ValueError
        assert enabled() == before
    finally:
        tf.config.experimental.enable_tensor_float_32_execution(kept)


CALLS = {
    "logits": lambda network, x: network.logits(x),
    "gradients": lambda network, x: network.gradients(x, [0] * len(x)),
    "gradients at": lambda network, x: network.gradients_at(x, [0] * len(x), [network.kept]),
    "moments": lambda network, x: network.batch_moments(x)([]),
    "segments": lambda network, x: network.segment_seconds(x),
}


@pytest.mark.parametrize("name", CALLS)
@pytest.mark.parametrize("wanted", ["float32", "tf32"])
def test_every_call_computes_in_the_networks_precision(noise_images, name, wanted):
    """Told by an op of the network that looks when it runs."""
    seen = []

    def look(x):
        seen.append(enabled())
        return x

    def function(x):
        with tf.name_scope("kept"):
            x = tf.identity(x * 2, "x")
        looked = tf.py_function(look, [tf.stop_gradient(x)], tf.float32)
        looked.set_shape(x.shape)
        return tf.reduce_mean(x + 0 * looked, [1, 2])

    network = Classifier(function, noise_images.x.shape[1:])
    network.kept = next(f"{n}:0" for n in network.graph.nodes if n.endswith("kept/x"))
    network.precision = wanted
    seen.clear()
    CALLS[name](network, noise_images.x)
    assert seen and set(seen) == {wanted == "tf32"}


@pytest.mark.parametrize("first", ["float32", "tf32", "bfloat16"])
@pytest.mark.parametrize("then", ["float32", "tf32"])
def test_kernels_of_one_precision_are_not_taken_for_another(card, first, then, monkeypatch):
    """TensorFlow keeps a convolution's kernel for a process by its sizes, whatever TF32 then is."""
    monkeypatch.setattr(precision, "has_card", lambda: True)
    monkeypatch.setattr(precision, "_used", set())
    with computing_in(first):
        pass
    if (first == "tf32") == (then == "tf32"):
        check_precision(then)
        return
    for use in (check_precision, lambda wanted: computing_in(wanted).__enter__()):
        with pytest.raises(ConfigError, match=f"^precision={then} .* a command of its own$"):
            use(then)


def test_cards_that_have_tf32(card):
    check_precision("tf32")


@pytest.mark.parametrize("why", ["none", "old", "overridden"])
def test_devices_without_tf32_are_told_in_a_sentence(card, why, monkeypatch):
    if why == "none":
        monkeypatch.setattr(tf.config, "list_physical_devices", lambda kind: [])
    elif why == "old":
        card["compute_capability"] = (7, 5)
    else:
        monkeypatch.setenv("NVIDIA_TF32_OVERRIDE", "0")
    name = processor_name() if why == "none" else "NVIDIA Made Up"
    with pytest.raises(ConfigError, match=r"^precision=tf32 cannot .* precision=float32$") as said:
        check_precision("tf32")
    assert name in str(said.value) or why == "overridden"
