"""Small networks trained here: the paper's two, and a vision transformer."""

import hashlib
import io
import json
import logging
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Self

import numpy as np
from pydantic import Field, field_validator, model_validator

from sanity.checked import checked
from sanity.data.base import TrainingData
from sanity.errors import ConfigError
from sanity.files import cache_folder
from sanity.models.architecture import Architecture, Layers
from sanity.models.base import Declared, Model
from sanity.models.transformer import Transformer
from sanity.network.training import Fitted, Training

if TYPE_CHECKING:
    from sanity.models.training import Recipe
    from sanity.network.classifier import Classifier

log = logging.getLogger(__name__)

_FORMAT = 1  # raise it when the same configuration is to be trained anew
_FACTS = "facts"  # no weight is called that
_Size = Annotated[int, Field(ge=1)]


@checked
class Trained(Model):
    """A network that is trained here on the `train` split of a data set, once: it is cached.

    Equal fields and equal data give equal weights, to the bit on one machine with one number of
    threads: with another, TensorFlow sums the gradients of a convolution in another order.

    Attributes:
        data: A data set with labels and two splits.
        seed: Of its first weights and of the order of the images.
        learning_rate: Of Adam.
        batch: Images a step.
        epochs: How often it may see the training images, at the most.
        stop_at: Training accuracy at which it stops; an error if it doesn't reach it.
    """

    data: TrainingData
    seed: Annotated[int, Field(ge=0)]
    learning_rate: Annotated[float, Field(gt=0)] = 1e-4
    batch: _Size = 50
    epochs: _Size = 200
    stop_at: Annotated[float, Field(gt=0, le=1)] = 0.99

    name: ClassVar[str]
    retrainable: ClassVar[bool] = True  # its classifier has a `training`

    @field_validator("data", mode="before")
    @classmethod
    def _can_be_trained_on(cls, value: Any) -> Any:
        if not isinstance(value, TrainingData):
            raise ConfigError(
                f"model={cls.name} is trained here, on a data set with labels and a train split, "
                f"which {type(value).__name__} is not: choose data=animal_mnist, digits, "
                "fashion_mnist, mnist or two_regions"
            )
        return value

    @property
    def architecture(self) -> Layers:
        """Its layers."""
        raise NotImplementedError

    def variation(self) -> dict[str, Any]:
        """What more is to be said of how it learns, see `models.training.Recipe`."""
        return {}

    @property
    def blocks(self) -> list[str]:
        """The layers, from output to input."""
        return self.architecture.blocks

    @property
    def input_shape(self) -> tuple[int, int, int]:
        """The data's."""
        return self.data.image_shape

    @property
    def n_classes(self) -> int:
        """As many as the data has."""
        return len(self.data.class_names)

    def declared(self) -> Declared:
        """What follows from its data and its layers."""
        return Declared(self.blocks, self.n_classes, self.input_shape)

    def load(self) -> "Classifier":
        """The network, trained on the true labels; trains it unless that has been done before.

        Raises:
            ConfigError: It does not reach its accuracy within its epochs.
        """
        return self._load(train=True)

    def load_untrained(self) -> "Classifier":
        """The network with its first weights, unless it was trained before.

        It and its `training` only say what they would train.
        """
        return self._load(train=False)

    def _load(self, train: bool) -> "Classifier":
        import tensorflow as tf

        from sanity.models.training import Recipe
        from sanity.network.classifier import Classifier

        images, labels = self.data.arrays("train")
        test = self.data.arrays("test")
        architecture = self.architecture
        recipe = Recipe(
            self.learning_rate, self.batch, self.epochs, self.stop_at, **self.variation()
        )

        def fit(some_labels: np.ndarray, called: str) -> Fitted:
            what = f"{self.name} on {called}"
            labelled = images, some_labels
            return _once(architecture, recipe, labelled, test, self.seed, what, train)

        fitted = fit(labels, "true labels")
        with tf.name_scope(""):
            variables = {
                name: tf.Variable(value, name=name) for name, value in fitted.weights.items()
            }
        return Classifier(
            architecture.network(variables),
            architecture.input_shape,
            name=self.name,
            blocks=self.blocks,
            class_names=self.data.class_names,
            facts=fitted.facts,
            training=Training(labels, fit),
        )


@checked
class Cnn(Trained):
    """Convolutions with 2×2 max pooling, dense layers, softmax (Adebayo et al. 2018).

    Attributes:
        filters: Of each convolution.
        kernel: Side of the convolutions' kernels, in pixels.
        units: Of each dense layer before the logits.
    """

    filters: Annotated[list[_Size], Field(min_length=1)] = Field(default_factory=lambda: [32, 64])
    kernel: _Size = 5
    units: list[_Size] = Field(default_factory=lambda: [1024])
    learning_rate: Annotated[float, Field(gt=0)] = 3e-4

    name: ClassVar[str] = "cnn"

    @property
    def architecture(self) -> Architecture:
        """Its layers."""
        filters, units = tuple(self.filters), tuple(self.units)
        return Architecture(self.input_shape, filters, self.kernel, units, self.n_classes)


@checked
class Mlp(Trained):
    """Dense layers, softmax (Adebayo et al. 2018).

    Attributes:
        units: Of each dense layer before the logits.
    """

    units: list[_Size] = Field(default_factory=lambda: [2500, 1500, 500])

    name: ClassVar[str] = "mlp"

    @property
    def architecture(self) -> Architecture:
        """Its layers."""
        return Architecture(self.input_shape, (), 1, tuple(self.units), self.n_classes)


@checked
class Vit(Trained):
    """A small vision transformer with a class token (Dosovitskiy et al. 2021).

    Attributes:
        patch: Side of a patch, in pixels.
        width: Of a token.
        heads: Of attention; they share the width.
        depth: Number of blocks.
        units: Of each block's layer of GELUs.
        decay: Whether the learning rate falls to 0, see `models.training.Recipe`.
        shift: By how many pixels images are moved while it learns.
        flip: Whether they are mirrored, left to right.
    """

    patch: _Size = 4
    width: _Size = 64
    heads: _Size = 4
    depth: _Size = 4
    units: _Size = 128
    decay: bool = True
    shift: Annotated[int, Field(ge=0)] = 2
    flip: bool = True
    learning_rate: Annotated[float, Field(gt=0)] = 1.5e-3
    batch: _Size = 64
    epochs: _Size = 24
    stop_at: Annotated[float, Field(gt=0, le=1)] = 0.9

    name: ClassVar[str] = "vit"

    @model_validator(mode="after")
    def _divides(self) -> Self:
        if self.width % self.heads:
            raise ConfigError(
                f"model.width={self.width} cannot be shared by model.heads={self.heads}: choose a "
                "multiple of it"
            )
        height, width, _ = self.data.image_shape
        if height % self.patch or width % self.patch:
            raise ConfigError(
                f"model.patch={self.patch} does not divide the {height}×{width} pixels of the "
                "images: choose a divisor of both sides"
            )
        return self

    @property
    def architecture(self) -> Layers:
        """Its layers."""
        sizes = self.patch, self.width, self.heads, self.depth, self.units
        return Transformer(self.input_shape, *sizes, self.n_classes)

    def variation(self) -> dict[str, Any]:
        """As its fields say."""
        return {"decay": self.decay, "shift": self.shift, "flip": self.flip}


def _once(
    architecture: Layers,
    recipe: "Recipe",
    train: tuple[np.ndarray, np.ndarray],
    test: tuple[np.ndarray, np.ndarray],
    seed: int,
    what: str,
    allowed: bool,
) -> Fitted:
    """A trained network from the cache, or trained and put there, by one process at a time.

    Where it is not allowed to train one, it says so, and returns one that has learned nothing.
    """
    from sanity.files import FolderLock
    from sanity.models.training import fit

    # What a recipe leaves as it is does not count, so that it may learn to say more.
    plain = {key: value for key, value in asdict(recipe).items() if value}
    settings = [_FORMAT, asdict(architecture), plain, seed]
    digest = hashlib.sha256(json.dumps(settings).encode())
    for array in (*train, *test):
        digest.update(f"{array.shape}{array.dtype}".encode())
        digest.update(np.ascontiguousarray(array).data)
    path = cache_folder() / "trained" / f"{digest.hexdigest()[:32]}.npz"
    fitted = _read(path)
    if fitted is not None:
        log.info("%s was trained before: %s", what, path)
        return fitted
    if not allowed:
        message = "%s is not trained yet, and would be: at most %d epochs of %d images"
        log.info(message, what, recipe.epochs, len(train[0]))
        return Fitted(architecture.initial(seed), {})
    lock = FolderLock(path)
    lock.acquire(wait=True)
    try:
        fitted = _read(path)  # the process waited for may have trained it
        if fitted is None:
            log.info("training %s, at most %d epochs", what, recipe.epochs)
            fitted = fit(architecture, recipe, train, test, seed, what)
            _write(path, fitted)
    finally:
        lock.release()
    return fitted


def _write(path: Path, fitted: Fitted) -> None:
    from sanity.files import replace_file

    content = io.BytesIO()
    arrays: dict[str, Any] = {_FACTS: np.array(json.dumps(fitted.facts)), **fitted.weights}
    np.savez(content, **arrays)
    replace_file(path, content.getvalue())


def _read(path: Path) -> Fitted | None:
    """What `_write` wrote; None if nothing is there, or something damaged."""
    if not path.exists():
        return None
    try:
        with np.load(io.BytesIO(path.read_bytes()), allow_pickle=False) as file:
            weights = {name: file[name] for name in file.files}
        return Fitted(weights, json.loads(str(weights.pop(_FACTS))))
    except Exception as error:  # a damaged file can lead to any
        log.warning("%s is damaged, the network is trained anew: %s", path, error)
        return None
