"""Classifier: any image classifier as one flat graph with live variables."""

import hashlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import cache, cached_property
from typing import TYPE_CHECKING, Any

import numpy as np
import tensorflow as tf

from sanity.errors import ConfigError
from sanity.graph import FlatGraph, flatten, op_of
from sanity.parameters import Parameter, describe
from sanity.rules import RULES

if TYPE_CHECKING:
    from sanity.models.trained import Training

BATCH_SIZE = 32
_SOFTMAX = "Softmax"


class Classifier:
    """A network from images in [0, 1] to logits, whose weights can be exchanged at any time.

    Its calls take any number of images, cut them into batches of `batch_size`, and pad a batch of
    one to two: kernels for a single image round differently, while from 2 on a result does not
    depend on the batch size.

    Args:
        function: From images (n, H, W, C), float32 in [0, 1], to a tensor or a dict of tensors.
            Whatever preprocessing the network wants is done in here.
        input_shape: (H, W, C).
        name: What messages call it.
        output: Which of the function's outputs is explained. A softmax at its end is taken off:
            logits are explained, since probabilities saturate in a randomized network.
        blocks: Names of the blocks, from output to input.
        class_names: One a class, if known.
        class_offset: The model's class for label 0 (1 where class 0 is "background").
        batch_size: The most images that go through the network at once.

    Raises:
        ConfigError: The output is no vector of logits, or there are several to choose from.
    """

    def __init__(
        self,
        function: Callable[[Any], Any],
        input_shape: tuple[int, int, int],
        *,
        name: str = "model",
        output: str | None = None,
        blocks: Sequence[str] = (),
        class_names: Sequence[str] | None = None,
        class_offset: int = 0,
        batch_size: int = BATCH_SIZE,
    ):
        self.name = name
        self.input_shape = input_shape
        self.class_offset = class_offset
        self.batch_size = batch_size
        self.blocks = list(blocks)
        self._images = tf.TensorSpec([None, *input_shape], tf.float32, name="images")
        traced = tf.function(lambda images: _as_dict(function(images)))
        concrete = traced.get_concrete_function(self._images)
        self._alive = (function, concrete)  # variables live as long as what made them
        self.graph: FlatGraph = flatten(concrete)
        self.logits_tensor, self.n_classes = _logits(concrete, self.graph, output, name)
        self.class_names = list(class_names) if class_names else None
        self._variables: dict[str, Any] = {}
        by_handle = {id(variable.handle): variable for variable in concrete.graph.variables}
        names: dict[str, str] = {}
        for placeholder, captured in self.graph.captures.items():
            if id(captured) in by_handle:
                variable = by_handle[id(captured)]
                names[placeholder] = _unique(variable.name.split(":")[0], self._variables)
                self._variables[names[placeholder]] = variable
        shapes = {name: tuple(variable.shape) for name, variable in self._variables.items()}
        self.parameters: dict[str, Parameter] = describe(self.graph, names, shapes, blocks)
        self.facts: dict[str, Any] = {}  # for run.json, e.g. the accuracy of a network trained here
        self.training: Training | None = None  # how it was trained, if that was here
        self.state = 0
        self._changed: dict[str, np.ndarray] = {}

    # Weights

    @cached_property
    def trained(self) -> dict[str, np.ndarray]:
        """The weights as the model came, by name."""
        if self._changed:
            raise RuntimeError("the weights were changed before they were first read")
        return {name: variable.numpy() for name, variable in self._variables.items()}

    @cached_property
    def sha256(self) -> str:
        """Hash of the trained weights with their names."""
        digest = hashlib.sha256()
        for name, value in sorted(self.trained.items()):
            digest.update(f"{name}{value.shape}{value.dtype}".encode())
            digest.update(np.ascontiguousarray(value).data)
        return digest.hexdigest()

    def weights(self) -> dict[str, np.ndarray]:
        """The weights in place now, by name."""
        return {name: variable.numpy() for name, variable in self._variables.items()}

    def set_weights(self, changed: Mapping[str, np.ndarray], state: int = 0) -> None:
        """Puts weights in place: those named take these values, all others their trained ones.

        Args:
            changed: Values by variable name. An array that is in place already is not copied
                again, so arrays must not be written to afterwards.
            state: A number for this state of the weights; 0 is the trained one.
        """
        trained = self.trained
        for name in self._changed.keys() - changed.keys():
            self._variables[name].assign(trained[name])
        for name, value in changed.items():
            if self._changed.get(name) is not value:
                self._variables[name].assign(value)
        self._changed = dict(changed)
        self.state = state

    @contextmanager
    def restored(self) -> Iterator[None]:
        """On leaving, the trained weights are back in place, whatever happened inside."""
        try:
            yield
        finally:
            self.set_weights({})

    # Calls

    def logits(self, images: np.ndarray) -> np.ndarray:
        """Logits (n, classes) of images (n, H, W, C)."""
        return self.read(images, [self.logits_tensor])[0]

    def read(self, images: np.ndarray, tensors: Sequence[str]) -> list[np.ndarray]:
        """The values (n, …) of any tensors of the graph, by name."""
        return self._batched(self._reader(tuple(tensors)), images)

    def gradients(self, images: np.ndarray, targets: np.ndarray, rule: str = "plain") -> np.ndarray:
        """Gradient (n, H, W, C) of each image's target logit with respect to the image.

        Args:
            images: (n, H, W, C).
            targets: (n,), the class whose logit is explained.
            rule: A backprop rule, see `sanity.rules`.

        Raises:
            ConfigError: The rule overrides the gradient of ops that this model does not have.
        """
        return self._batched(self._gradient(rule), images, targets)[0]

    def check_rule(self, rule: str) -> None:
        """Makes sure that a backprop rule changes anything here.

        Raises:
            ConfigError: The model has none of the ops whose gradient the rule overrides.
        """
        overrides = RULES[rule].overrides
        if overrides and not any(self.graph.op_counts()[op] for op in overrides):
            raise ConfigError(
                f"The backprop rule {rule} changes the gradient of {' and '.join(overrides)}, but "
                f"{self.name} has no such op, so the masks would be those of the plain gradient"
            )

    def _batched(self, function: Callable, images: np.ndarray, *more: np.ndarray) -> list:
        results = []
        for start in range(0, len(images), self.batch_size):
            batch = [array[start : start + self.batch_size] for array in (images, *more)]
            count = len(batch[0])
            if count == 1:
                batch = [np.concatenate([array, array]) for array in batch]
            results.append([tensor.numpy()[:count] for tensor in function(*batch)])
        return [np.concatenate(parts) for parts in zip(*results, strict=True)]

    @cache  # noqa: B019 - a classifier lives as long as its process
    def _reader(self, tensors: tuple[str, ...]) -> Callable:
        @tf.function(input_signature=[self._images])
        def read(images: Any) -> list:
            return self.graph.build(images, list(tensors))

        return read

    @cache  # noqa: B019
    def _gradient(self, rule: str) -> Callable:
        self.check_rule(rule)
        overrides = RULES[rule].overrides

        @tf.function(input_signature=[self._images, tf.TensorSpec([None], tf.int32)])
        def gradient(images: Any, targets: Any) -> list:
            (logits,) = self.graph.build(images, [self.logits_tensor], overrides)
            explained = tf.gather(logits, targets, batch_dims=1)
            return [tf.gradients(explained, images)[0]]

        return gradient


def _as_dict(outputs: Any) -> dict[str, Any]:
    if isinstance(outputs, dict):
        return outputs
    if isinstance(outputs, list | tuple):
        return {f"output_{index}": tensor for index, tensor in enumerate(outputs)}
    return {"output": outputs}


def _logits(concrete: Any, graph: FlatGraph, output: str | None, model: str) -> tuple[str, int]:
    """Name of the logits' tensor, and the number of classes."""
    shapes = {key: tensor.shape for key, tensor in concrete.structured_outputs.items()}
    vectors = {key for key, shape in shapes.items() if shape.rank == 2 and shape[1] is not None}
    allowed = ", ".join(sorted(vectors)) or "none"
    if output is None:
        if len(vectors) != 1:
            raise ConfigError(
                f"model.output must say which output of {model} is explained; vectors: {allowed}"
            )
        output = vectors.pop()
    elif output not in vectors:
        raise ConfigError(
            f"model.output={output} is no vector output of {model}; vectors: {allowed}"
        )
    tensor = graph.outputs[output]
    node = graph.nodes[op_of(tensor)]
    if node.op == _SOFTMAX:
        tensor = node.input[0] if ":" in node.input[0] else f"{node.input[0]}:0"
    return tensor, int(shapes[output][1])


def _unique(name: str, taken: Mapping[str, Any]) -> str:
    if name not in taken:
        return name
    return next(new for i in range(1, len(taken) + 2) if (new := f"{name}_{i}") not in taken)
