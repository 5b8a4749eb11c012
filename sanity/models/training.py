"""Training a small network: Adam, and when to stop."""

import logging
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import tensorflow as tf

from sanity.errors import ConfigError
from sanity.models.architecture import Layers
from sanity.network.precision import setting_tf32
from sanity.network.training import Fitted
from sanity.progress import progress
from sanity.randomness import generator

log = logging.getLogger(__name__)

_AT_ONCE = 500  # images, where nothing is learned


@dataclass(frozen=True)
class Recipe:
    """How a network learns.

    Attributes:
        learning_rate: Of Adam (Kingma & Ba 2015), with its usual β 0.9 and 0.999 and ε 1e-7.
        batch: Images a step; what does not fill a batch is left out of that epoch.
        epochs: How often it may see the images, at the most.
        stop_at: Training accuracy at which it stops, and which it must reach.
        decay: Whether the learning rate falls from epoch to epoch, evenly, to end at 0 after the
            last one. Then it learns to the last one, and must have reached the accuracy there.
        shift: By how many pixels images are moved, at the most, right and left, up and down, each
            at random and anew in each epoch; black comes in.
        flip: Whether as many are mirrored as not, at random, left to right.
    """

    learning_rate: float
    batch: int
    epochs: int
    stop_at: float
    decay: bool = False
    shift: int = 0
    flip: bool = False

    def rate(self, epoch: int) -> float:
        """The learning rate in an epoch, of which the first is 1."""
        return self.learning_rate * (1 - (epoch - 1) / self.epochs if self.decay else 1)

    def vary(self, images: np.ndarray, random: np.random.Generator) -> np.ndarray:
        """Images (n, H, W, C), moved and mirrored."""
        if self.shift:
            height, width = images.shape[1:3]
            padding = [(0, 0), (self.shift, self.shift), (self.shift, self.shift), (0, 0)]
            padded = np.pad(images, padding)
            down, right = random.integers(0, 2 * self.shift + 1, (2, len(images), 1, 1))
            rows, columns = down + np.arange(height)[:, None], right + np.arange(width)
            images = padded[np.arange(len(images))[:, None, None], rows, columns]
        if self.flip:
            mirrored = random.random(len(images)) < 0.5
            images = np.where(mirrored[:, None, None, None], images[:, :, ::-1], images)
        return images


class Learner:
    """A network that learns: its variables, one step of Adam, its accuracy."""

    def __init__(self, architecture: Layers, weights: Mapping[str, np.ndarray], batch: int):
        self._variables = {name: tf.Variable(value) for name, value in weights.items()}
        self._means = {name: tf.Variable(tf.zeros_like(value)) for name, value in weights.items()}
        self._squares = {name: tf.Variable(tf.zeros_like(value)) for name, value in weights.items()}
        self._network = architecture.network(self._variables)
        images = tf.TensorSpec([batch, *architecture.input_shape], tf.float32)
        labels, scalar = tf.TensorSpec([batch], tf.int64), tf.TensorSpec([], tf.float32)
        self._step = tf.function(self._learn, input_signature=[images, labels, scalar, scalar])
        self._steps = 0
        images = tf.TensorSpec([None, *architecture.input_shape], tf.float32)
        self._logits = tf.function(lambda x: self._network(x), input_signature=[images])

    def weights(self) -> dict[str, np.ndarray]:
        """The weights now, by name."""
        return {name: variable.numpy() for name, variable in self._variables.items()}

    def step(self, images: np.ndarray, labels: np.ndarray, learning_rate: float) -> int:
        """One step of Adam on a batch; how many were classified correctly before it."""
        self._steps += 1
        rate, number = np.float32(learning_rate), np.float32(self._steps)
        return int(self._step(images, labels, rate, number))

    def accuracy(self, images: np.ndarray, labels: np.ndarray) -> float:
        """Share of images classified correctly."""
        right = 0
        for start in range(0, len(images), _AT_ONCE):
            part = slice(start, start + _AT_ONCE)
            predicted = self._logits(images[part]).numpy().argmax(axis=1)
            right += int((predicted == labels[part]).sum())
        return right / len(images)

    def _learn(self, images: Any, labels: Any, learning_rate: Any, number: Any) -> Any:
        variables = list(self._variables.values())
        with tf.GradientTape() as tape:
            logits = self._network(images)
            losses = tf.nn.sparse_softmax_cross_entropy_with_logits(labels, logits)
            loss = tf.reduce_mean(losses)
        gradients = tape.gradient(loss, variables)
        for name, gradient in zip(self._variables, gradients, strict=True):
            tf.raw_ops.ResourceApplyAdam(
                var=self._variables[name].handle,
                m=self._means[name].handle,
                v=self._squares[name].handle,
                beta1_power=tf.pow(0.9, number),
                beta2_power=tf.pow(0.999, number),
                lr=learning_rate,
                beta1=0.9,
                beta2=0.999,
                epsilon=1e-7,
                grad=gradient,
            )
        return tf.reduce_sum(tf.cast(tf.argmax(logits, 1) == labels, tf.int64))


def fit(
    architecture: Layers,
    recipe: Recipe,
    train: tuple[np.ndarray, np.ndarray],
    test: tuple[np.ndarray, np.ndarray],
    seed: int,
    what: str,
) -> Fitted:
    """Trains a network until it tells `recipe.stop_at` of the training images right.

    Its first weights are keyed by (seed, name), the order of the images, and how they are moved
    and mirrored, by (seed, epoch): they are the same whatever the labels are.

    Args:
        architecture: Its layers.
        recipe: How it learns.
        train: Images (n, H, W, C) float32 and labels (n,) int64 to learn from.
        test: The same to measure the test accuracy with.
        seed: Of its first weights and of the images' order.
        what: What messages call it, e.g. `"cnn on permuted labels"`.

    Raises:
        ConfigError: It does not get there within its epochs.
    """
    images, labels = train
    batch = min(recipe.batch, len(images))
    steps = len(images) // batch
    learner = Learner(architecture, architecture.initial(seed), batch)
    accuracy = 0.0
    training = f"training {what}, at most"
    # In float32 whatever `precision` is: a network is trained once for all.
    with setting_tf32(False), progress(recipe.epochs * steps, training, unit="step") as tick:
        for epoch in range(1, recipe.epochs + 1):
            order = generator("shuffle", seed, epoch).permutation(len(images))
            varied = recipe.vary(images, generator("varied", seed, epoch))
            rate, right = recipe.rate(epoch), 0
            for step in range(steps):
                chosen = order[step * batch : (step + 1) * batch]
                right += learner.step(varied[chosen], labels[chosen], rate)
                tick(1)
            # The share classified correctly on the way lags behind: only once it is there is it
            # worth a pass over all images, which costs a third of an epoch.
            underway = right / (steps * batch)
            log.debug("%s: %.4f classified correctly in epoch %d", what, underway, epoch)
            enough = underway >= recipe.stop_at and not recipe.decay
            if enough or epoch == recipe.epochs:
                accuracy = learner.accuracy(images, labels)
                if accuracy >= recipe.stop_at:
                    facts = {
                        "epochs": epoch,
                        "train_accuracy": accuracy,
                        "test_accuracy": learner.accuracy(*test),
                    }
                    return Fitted(learner.weights(), facts)
    raise ConfigError(
        f"model.epochs={recipe.epochs}: {what} reached a training accuracy of {accuracy:.3f} by "
        f"then, not model.stop_at={recipe.stop_at}: allow more epochs, be content with less, or "
        f"choose another model.learning_rate than {recipe.learning_rate}"
    )
