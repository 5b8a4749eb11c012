"""Small networks whose right verdict is known beforehand, to test the check itself.

Nothing here is learned: "trained" weights are given, keyed by the network's name. What follows for
each is derived in docs/verdicts.md; `TRUTHS` holds what must come out.
"""

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, ClassVar, Literal, get_args

import numpy as np

from sanity.checked import checked
from sanity.models.base import Declared, Model
from sanity.randomness import generator

if TYPE_CHECKING:
    from sanity.network.classifier import Classifier

Known = Literal["linear", "shuffled_labels", "one_unit", "random", "skip"]
NETWORKS: tuple[Known, ...] = get_args(Known)
SHAPE, CLASSES = (32, 32, 3), 10
_CHANNELS, _DEPTH, _BRANCH = 8, 5, 0.01

# What methods that never look at the weights must be called, whatever the network is.
_OF_METHODS = {
    "known_constant": "same_for_every_image",
    "known_noisy_constant": "same_for_every_image",
    "known_perfect": "sensitive",
    "known_blind": "insensitive",
}
# By network and method: the verdict that follows from how they are made.
TRUTHS: Mapping[str, Mapping[str, str]] = {
    "linear": {"gradient": "sensitive", "occlusion": "sensitive", **_OF_METHODS},
    "shuffled_labels": {"gradient": "sensitive", "occlusion": "sensitive", **_OF_METHODS},
    "one_unit": {"gradient": "insensitive", "occlusion": "insensitive", **_OF_METHODS},
    "random": {"gradient": "sensitive", "occlusion": "sensitive", **_OF_METHODS},
    "skip": {"gradient": "insensitive", "occlusion": "insensitive", **_OF_METHODS},
}


@checked
class KnownTruth(Model):
    """A small network with given weights, 32×32×3 to ten classes.

    Attributes:
        network: `linear`: one product. `shuffled_labels`: the same with its classes in another
            order. `one_unit`: all logits are multiples of one unit. `random`: convolutions and
            batch norm as drawn, never trained. `skip`: residual blocks whose branches weigh a
            hundredth of the path beside them.
    """

    network: Known

    blocks: ClassVar[Mapping[str, list[str]]] = {
        "linear": ["logits"],
        "shuffled_labels": ["logits"],
        "one_unit": ["logits", "unit", "convolution"],
        "random": ["logits", "convolution3", "convolution2", "convolution1"],
        "skip": ["logits", *(f"branch{i}" for i in range(_DEPTH, 0, -1)), "convolution"],
    }

    def declared(self) -> Declared:
        """All of it."""
        return Declared(self.blocks[self.network], CLASSES, SHAPE)

    def load(self) -> "Classifier":
        """The classifier."""
        import tensorflow as tf

        from sanity.network.classifier import Classifier

        with tf.name_scope(""):
            variables = {
                name: tf.Variable(value.astype(np.float32), name=name)
                for name, value in _weights(self.network).items()
            }
        return Classifier(
            _FUNCTIONS[self.network](variables),
            SHAPE,
            name=f"known_{self.network}",
            blocks=self.blocks[self.network],
        )


def _weights(network: Known) -> dict[str, np.ndarray]:
    """The given weights, by name."""

    def draw(name: str, *shape: int) -> np.ndarray:
        fan_in = np.prod(shape[:-1])
        drawn: np.ndarray = generator("known", name).standard_normal(shape) * np.sqrt(2 / fan_in)
        return drawn

    pixels = int(np.prod(SHAPE))
    if network in ("linear", "shuffled_labels"):
        kernel = draw("linear/kernel", pixels, CLASSES)
        if network == "shuffled_labels":
            kernel = kernel[:, generator("known", "labels").permutation(CLASSES)]
        return {"logits/kernel": kernel}
    if network == "one_unit":
        return {
            "convolution/kernel": draw("one_unit/convolution", 3, 3, 3, _CHANNELS),
            "unit/kernel": draw("one_unit/unit", SHAPE[0] * SHAPE[1] * _CHANNELS, 1),
            "logits/kernel": draw("one_unit/logits", 1, CLASSES),
        }
    if network == "skip":
        branches = {
            f"branch{i}/kernel": draw(f"skip/{i}", 3, 3, 1, 1) for i in range(1, _DEPTH + 1)
        }
        return {
            "convolution/kernel": draw("skip/convolution", 3, 3, 3, 1),
            **branches,
            "logits/kernel": draw("skip/logits", 1, CLASSES),
        }
    found: dict[str, np.ndarray] = {}
    channels = 3
    for i in (1, 2, 3):
        scope = f"convolution{i}"
        found[f"{scope}/kernel"] = draw(f"random/{i}", 3, 3, channels, 2 * _CHANNELS)
        channels = 2 * _CHANNELS
        found |= {f"{scope}/gamma": np.ones(channels), f"{scope}/beta": np.zeros(channels)}
        found |= {
            f"{scope}/moving_mean": np.zeros(channels),
            f"{scope}/moving_variance": np.full(channels, 0.3),
        }
    return {**found, "logits/kernel": draw("random/logits", channels, CLASSES)}


def _linear(variables: Mapping[str, Any]) -> Callable[[Any], Any]:
    import tensorflow as tf

    return lambda x: tf.reshape(x - 0.45, [-1, int(np.prod(SHAPE))]) @ variables["logits/kernel"]


def _one_unit(variables: Mapping[str, Any]) -> Callable[[Any], Any]:
    import tensorflow as tf

    def network(x: Any) -> Any:
        x = tf.nn.relu(tf.nn.conv2d(x - 0.45, variables["convolution/kernel"], 1, "SAME"))
        unit = tf.reshape(x, [-1, SHAPE[0] * SHAPE[1] * _CHANNELS]) @ variables["unit/kernel"]
        return unit @ variables["logits/kernel"]

    return network


def _skip(variables: Mapping[str, Any]) -> Callable[[Any], Any]:
    import tensorflow as tf

    # A pooling with fixed signs, which no randomization touches: sums near 0 over images.
    signs = generator("known", "signs").choice([-1.0, 1.0], (*SHAPE[:2], 1)).astype(np.float32)

    def network(x: Any) -> Any:
        x = tf.nn.relu(tf.nn.conv2d(x - 0.45, variables["convolution/kernel"], 1, "SAME"))
        for i in range(1, _DEPTH + 1):
            x += _BRANCH * tf.nn.relu(tf.nn.conv2d(x, variables[f"branch{i}/kernel"], 1, "SAME"))
        return tf.reduce_sum(x * signs, [1, 2]) @ variables["logits/kernel"]

    return network


def _random(variables: Mapping[str, Any]) -> Callable[[Any], Any]:
    import tensorflow as tf

    def network(x: Any) -> Any:
        x -= 0.45
        for i in (1, 2, 3):
            of = {name: variables[f"convolution{i}/{name}"] for name in ("kernel", "gamma", "beta")}
            moments = [variables[f"convolution{i}/moving_{name}"] for name in ("mean", "variance")]
            x = tf.nn.conv2d(x, of["kernel"], 1 if i == 1 else 2, "SAME")
            x = tf.nn.relu(tf.nn.batch_normalization(x, *moments, of["beta"], of["gamma"], 1e-3))
        return tf.reduce_mean(x, [1, 2]) @ variables["logits/kernel"]

    return network


_FUNCTIONS: Mapping[str, Callable[[Mapping[str, Any]], Callable[[Any], Any]]] = {
    "linear": _linear,
    "shuffled_labels": _linear,
    "one_unit": _one_unit,
    "random": _random,
    "skip": _skip,
}
