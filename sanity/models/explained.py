"""What of a model is explained, and what its numbers are: seen, and said."""

import logging
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from sanity.errors import ConfigError

if TYPE_CHECKING:
    from sanity.network.classifier import Classifier

log = logging.getLogger(__name__)

_BESIDE = 1e-4  # of the greatest logit: what rounding may change where other images stand beside

_ROUNDED = 5e-3  # by which the sum of probabilities in half precision misses 1


def say_what_is_explained(classifier: "Classifier") -> None:
    """Logs whether the masks explain logits, or something that saturates, or a number.

    What ends in no softmax or sigmoid may be probabilities all the same: that is seen from noise
    images, and kept in the classifier's `ending`.
    """
    if not classifier.ending.taken_off:
        _look_for_probabilities(classifier)
    ending, output = classifier.ending, classifier.ending.output
    if ending.reduced:
        log.info("explained: %s of %s", ending.reduced, output)
    if ending.link == "none" and ending.n_classes == 1:
        log.warning(
            "explained: %s, one number%s: a regression, whose masks explain the number; if it is "
            "the logit of two classes, say model.activation=sigmoid",
            output,
            f" with a {ending.op} that saturates" if ending.op in ("Tanh", "Sigmoid") else "",
        )
    elif ending.link == "none":
        log.info("explained: the numbers of %s, which are no logits of probabilities", output)
    elif ending.link == "said" and not ending.taken_off:
        log.warning(
            "explained: %s, probabilities without a softmax or sigmoid that could be taken off, as "
            "averages of networks are: they saturate in a randomized network; those shown are what "
            "the model says",
            output,
        )
    elif ending.link == "said":
        log.info(
            "explained: the logits in front of the %s of %s; the probabilities shown are what the "
            "model says",
            ending.taken_off,
            output,
        )
    elif ending.link == "logistic":
        log.info(
            "explained: the logit%s of %s: as it is for class 1, its negative for class 0",
            f" in front of the {ending.taken_off}" if ending.taken_off else "",
            output,
        )
    elif ending.link == "sigmoid":
        log.info(
            "explained: the logits%s of %s, of labels that do not exclude each other: each label's "
            "probability is the sigmoid of its logit",
            f" in front of the {ending.taken_off}" if ending.taken_off else "",
            output,
        )
    elif ending.taken_off:
        log.info("explained: the logits in front of the %s of %s", ending.taken_off, output)
    elif ending.op == "Tanh":
        log.warning("explained: %s, which ends in a Tanh and saturates", output)


def check_by_itself(classifier: "Classifier") -> None:
    """Makes sure that what a network says of an image does not hang on the images beside it.

    Raises:
        ConfigError: It does, as with batch normalization that is left in training mode.
    """
    random = np.random.Generator(np.random.PCG64(1))
    first = random.random((4, *classifier.input_shape), np.float32)
    second = 0.3 * random.random(first.shape, np.float32)
    second[0] = first[0]
    one, other = (classifier.logits(images) for images in (first, second))
    greatest = np.abs([one, other]).max()  # of all images: the first one's own may be next to 0
    if np.abs(one[0] - other[0]).max() > _BESIDE * greatest:
        raise ConfigError(
            f"What {classifier.name} says of an image hangs on the other images of its batch, as "
            "where batch normalization is left in training mode or values are divided by the "
            "batch's greatest: masks would be those of a batch; export it for inference, with "
            "training=False"
        )


def _look_for_probabilities(classifier: "Classifier") -> None:
    """Keeps in a classifier's ending whether it gives probabilities, from what noise images get."""
    ending = classifier.ending
    if ending.link not in ("softmax", "said"):
        return
    noise = np.random.Generator(np.random.PCG64(0))
    values = classifier.logits(noise.random((4, *classifier.input_shape), np.float32))
    shares = values.min() >= 0 and values.max() <= 1
    whole = np.allclose(values.sum(axis=1), 1, atol=_ROUNDED)
    if ending.link == "softmax" and shares and whole:
        said = classifier.logits_tensor
        ending = replace(ending, link="said", probabilities=said)
    elif ending.link == "said" and not shares:  # made of probabilities, but none itself
        ending = replace(ending, link="none", probabilities="")
    classifier.network = replace(classifier.network, ending=ending)
