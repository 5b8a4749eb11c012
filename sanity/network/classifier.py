"""Classifier: any image classifier as one flat graph with live variables."""

import hashlib
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import replace
from functools import cached_property, wraps
from typing import Any, Literal

import numpy as np
import tensorflow as tf

from sanity.errors import ConfigError
from sanity.network.anatomy.batch_norm import BatchNorm, find
from sanity.network.anatomy.blocks import find_blocks
from sanity.network.anatomy.feature_maps import choose_map, feature_maps
from sanity.network.anatomy.logits import choose_logits, vectors
from sanity.network.anatomy.loops import ops_in_loops
from sanity.network.anatomy.parameters import Declared, Parameter, describe
from sanity.network.faithful import faithful, no_gradient
from sanity.network.graph import FlatGraph, traced
from sanity.network.passes.backprop_rules import rule as rule_of
from sanity.network.passes.bfloat16 import in_bfloat16
from sanity.network.passes.folding import folded
from sanity.network.passes.moments import Calibrated, calibrated, calibration_chain
from sanity.network.passes.segments import Chain, Walk, chained, cuts

BATCH_SIZE = 24  # as `runtime.batch_size`, where nothing else is said
_LEAST = 4  # images of half a batch: with fewer it is not worth a thread
# The halves of a batch go through the network side by side: what one has to do in Python, or on one
# core, the other uses.
_beside = ThreadPoolExecutor(1)
Precision = Literal["float32", "bfloat16"]


def _kept(method: Callable) -> Callable:
    """A method whose results are kept, but no longer than its object."""

    @wraps(method)
    def kept(self: Any, *key: Any) -> Any:
        results = self.__dict__.setdefault(f"_kept{method.__name__}", {})
        if key not in results:
            results[key] = method(self, *key)
        return results[key]

    return kept


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
        blocks: Names of the blocks, from output to input; None finds them, see `anatomy.blocks`.
        variables: Variables by name, where their own names say too little, or TensorFlow does not
            know which ones the function uses.
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
        blocks: Sequence[str] | None = None,
        variables: Mapping[str, Any] | None = None,
        class_names: Sequence[str] | None = None,
        class_offset: int = 0,
        batch_size: int = BATCH_SIZE,
    ):
        self.name = name
        self.input_shape = input_shape
        self.class_offset = class_offset
        self.batch_size = batch_size
        self._precision: Precision = "float32"
        self._images = tf.TensorSpec([None, *input_shape], tf.float32, name="images")
        whole = tf.function(lambda images: _as_dict(function(images)))
        concrete = whole.get_concrete_function(self._images)
        self._alive = (function, concrete)  # variables live as long as what made them
        self.output_shapes = {
            key: (None if tensor.shape.rank is None else list(tensor.shape), tensor.dtype.name)
            for key, tensor in concrete.structured_outputs.items()
        }
        sizes = vectors(concrete)
        self.graph: FlatGraph
        self.graph, self.logits_tensor, self.ending = choose_logits(
            faithful(concrete, list(sizes)), sizes, output, name
        )
        self.n_classes = sizes[self.ending.output]
        self.class_names = list(class_names) if class_names else None
        named = [(v.name.split(":")[0], v) for v in concrete.graph.variables]
        by_handle = {
            id(variable.handle): (own, variable)
            for own, variable in [*named, *(variables or {}).items()]
        }
        self._variables: dict[str, Any] = {}
        names: dict[str, str] = {}
        for placeholder, captured in self.graph.captures.items():
            if id(captured) in by_handle:
                own, variable = by_handle[id(captured)]
                names[placeholder] = _unique(own, self._variables)
                self._variables[names[placeholder]] = variable
        sources = {p: _source(own, self._variables[own]) for p, own in names.items()}
        self.parameters: dict[str, Parameter] = describe(
            self.graph, sources, blocks or (), self._images, self.logits_tensor
        )
        if blocks is None:
            blocks, member = find_blocks(self.explained, names, self.parameters)
            self.parameters = {
                own: replace(p, block=member.get(own, "")) for own, p in self.parameters.items()
            }
        self.blocks = list(blocks)
        self.placeholders = {own: placeholder for placeholder, own in names.items()}
        # What variables were made with, `(random, shape) -> values`, where a loader knows.
        self.initializers: dict[str, Callable] = {}
        self.facts: dict[str, Any] = {}  # for run.json, e.g. the accuracy of a network trained here
        # How to train it again, a `sanity.models.trained.Training`, if it was trained here.
        self.training: Any = None
        self.state = 0
        self._changed: dict[str, np.ndarray] = {}

    @property
    def precision(self) -> Precision:
        """Of the arithmetic of logits, activations and gradients; see `passes.bfloat16`."""
        return self._precision

    @precision.setter
    def precision(self, value: Precision) -> None:
        if value != self._precision:
            self._precision = value
            for name in [n for n in self.__dict__ if n.startswith("_kept_")]:
                del self.__dict__[name]  # functions that were traced with the other

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
            _assign(self._variables[name], trained[name])
            del self._changed[name]
        for name, value in changed.items():
            if self._changed.get(name) is not value:
                _assign(self._variables[name], value)
                self._changed[name] = value
        self.state = state

    @contextmanager
    def holding(self, changed: Mapping[str, np.ndarray]) -> Iterator[None]:
        """Inside, these weights are in place; on leaving, those that were there before."""
        before, state = dict(self._changed), self.state
        try:
            self.set_weights(changed, state)
            yield
        finally:
            self.set_weights(before, state)

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

    def gradients(
        self,
        images: np.ndarray,
        targets: np.ndarray,
        rule: str = "plain",
        baselines: np.ndarray | None = None,
    ) -> np.ndarray:
        """Gradient (n, H, W, C) of each image's target logit with respect to the image.

        Args:
            images: (n, H, W, C).
            targets: (n,), the class whose logit is explained.
            rule: A backprop rule, see `sanity.network.passes.backprop_rules`.
            baselines: (n, H, W, C), of a rule that needs them.

        Raises:
            ConfigError: The rule overrides the gradient of ops that this model does not have.
            ValueError: Baselines are missing, not wanted, or of another shape than the images.
        """
        baselines = self._fitting(rule, images, baselines)
        # Baselines go through the network as well.
        size = self.batch_size if baselines is None else max(1, self.batch_size // 2)
        found = []
        for start in range(0, len(images), size):
            some = slice(start, start + size)
            compared = None if baselines is None else baselines[some]
            found.append(self.batch_gradient(images[some], rule, compared)(targets[some]))
        return np.concatenate(found)

    def batch_gradient(
        self, images: np.ndarray, rule: str = "plain", baselines: np.ndarray | None = None
    ) -> Callable[[np.ndarray], np.ndarray]:
        """What gives the gradients of one batch, of the targets and under the weights at its call.

        As `gradients`, but all in one batch; called again after weights have changed, it computes
        anew what depends on them only.
        """
        baselines = self._fitting(rule, images, baselines)
        count, chain = len(images), self._chain(rule)
        if count == 1:
            images = np.concatenate([images, images])
            baselines = None if baselines is None else np.concatenate([baselines, baselines])
        middle = len(images) // 2 if len(images) >= 2 * _LEAST else len(images)
        parts = [part for part in (slice(middle), slice(middle, None)) if len(images[part])]
        walks = [
            Walk(
                chain, images[p] if baselines is None else np.concatenate([images[p], baselines[p]])
            )
            for p in parts
        ]

        def gradient(walk: Walk, targets: np.ndarray) -> np.ndarray:
            rows = len(targets) * (1 if baselines is None else 2)
            top = np.zeros([rows, self.n_classes], np.float32)
            top[np.arange(len(targets)), targets] = 1
            return walk.gradient(self._changed, tf.constant(top))[: len(targets)]

        def gradients(targets: np.ndarray) -> np.ndarray:
            targets = np.resize(targets, len(images))  # of one image's copy as well
            first, *rest = zip(walks, [targets[part] for part in parts], strict=True)
            beside = [_beside.submit(gradient, *pair) for pair in rest]
            found = [gradient(*first), *(part.result() for part in beside)]
            return np.concatenate(found)[:count]

        return gradients

    def _fitting(
        self, rule: str, images: np.ndarray, baselines: np.ndarray | None
    ) -> np.ndarray | None:
        """Baselines as they are, if they fit the rule and the images (ValueError)."""
        if rule_of(rule).needs_baseline != (baselines is not None):
            raise ValueError(f"the rule {rule} takes baselines, or none, but not so")
        if baselines is not None and baselines.shape != images.shape:
            raise ValueError(f"baselines {baselines.shape} differ from images {images.shape}")
        return baselines

    def layer_gradients(
        self, images: np.ndarray, targets: np.ndarray, tensor: str
    ) -> tuple[np.ndarray, np.ndarray]:
        """A tensor's values (n, …), and the gradient of each image's target logit there.

        Args:
            images: (n, H, W, C).
            targets: (n,), the class whose logit is explained.
            tensor: Its name, `"a/b:0"`; the logits must depend on it.
        """
        values, gradients = self._batched(
            self._layer_gradient(tensor), images, np.asarray(targets, np.int32)
        )
        return values, gradients

    @cached_property
    def explained(self) -> FlatGraph:
        """The part of the graph that computes the logits."""
        return self.graph.between([self.graph.input], [self.logits_tensor])

    @cached_property
    def last_kernels(self) -> list[str]:
        """The kernels nearest to the logits, by name; several if they stand side by side."""
        kernels = [p for p in self.parameters.values() if p.kind == "kernel" and p.reaches]
        deepest = max((p.depth for p in kernels), default=0)
        return [p.name for p in kernels if p.depth == deepest]

    @cached_property
    def batch_norms(self) -> list[BatchNorm]:
        """The batch norms with moving statistics, from input to output."""
        return find(self.explained, self.placeholders, self.parameters)

    def batch_moments(self, images: np.ndarray) -> Callable[[Iterable[str]], dict[str, np.ndarray]]:
        """What gives moving statistics that fit some images, under the weights then in place.

        All images pass at once. What is wanted are names of moving means and variances; a batch
        norm whose mean is among them normalises by the images' own moments on the way, the others
        as always. The result has each variable's shape: means, and variances of the population.
        Called again after weights have changed, it computes anew what depends on them only.

        Args:
            images: (n, H, W, C).
        """
        norms, network = self.batch_norms, self._calibrated
        walk = Walk(self._calibration, images)

        def moments(wanted: Iterable[str]) -> dict[str, np.ndarray]:
            names = list(wanted)
            switched = [np.array(norm.mean in names) for norm in norms]
            kept = walk.forward(
                {**self._changed, **dict(zip(network.switches, switched, strict=True))}
            )
            found = {}
            for segment, values in zip(self._calibration.segments, kept, strict=True):
                for index, switch in enumerate(segment.settings):
                    norm = norms[network.switches.index(switch)]
                    found[norm.mean], found[norm.variance] = values[2 * index : 2 * index + 2]
            return {name: found[name].numpy() for name in names}

        return moments

    def check_rule(self, rule: str) -> None:
        """Makes sure that there is a gradient, and that a backprop rule changes anything of it.

        Raises:
            ConfigError: None leads from the logits to the images, or through no op whose gradient
                the rule overrides.
        """
        path = self.check_gradient()
        overrides = list(rule_of(rule).overrides)
        if overrides and not {self.graph.nodes[name].op for name in path} & set(overrides):
            raise ConfigError(
                f"The backprop rule {rule} changes the gradient of "
                f"{', '.join(overrides[:-1])} and {overrides[-1]}, but {self.name} has no such "
                "op, so the masks would be those of the plain gradient"
            )
        if looped := sorted(set(overrides) & ops_in_loops(self.graph, path)):
            raise ConfigError(
                f"The backprop rule {rule} changes the gradient of {', '.join(looped)}, which "
                f"{self.name} runs in a loop (a recurrent layer), where it cannot be changed: "
                "leave out the methods of this rule"
            )

    def check_gradient(self, tensor: str | None = None) -> list[str]:
        """The nodes through which a gradient leads from the logits to a tensor, or the images.

        Raises:
            ConfigError: None leads there, or through a custom gradient that could not be kept.
        """
        path = self.graph.gradient_path(self.logits_tensor, tensor)
        if message := no_gradient(self.graph, self.logits_tensor, tensor, path, self.name):
            raise ConfigError(message)
        return path

    # Tensors

    @cached_property
    def _path(self) -> list[str]:
        """The nodes through which the logits depend on the images, from input to output."""
        return self.graph.path(self.logits_tensor)

    @cached_property
    def spatial_tensors(self) -> dict[str, tuple[int | None, ...]]:
        """Name and shape (h, w, channels) of the maps between image and logits, in this order."""
        return feature_maps(self.graph, self._path, self._images)

    def spatial_tensor(self, name: str | None = None) -> str:
        """The tensor of a layer: the last map before the logits, or the one of this name.

        Args:
            name: Of a tensor (`"a/b:0"`, or `"a/b"`) or of one of the model's outputs.

        Raises:
            ConfigError: There is no such map between image and logits.
        """
        return choose_map(self.spatial_tensors, name, self.graph, self.name)

    def _batched(
        self, function: Callable, images: np.ndarray, *more: np.ndarray, size: int | None = None
    ) -> list:
        size = size or self.batch_size
        results = []
        for start in range(0, len(images), size):
            batch = [array[start : start + size] for array in (images, *more)]
            count = len(batch[0])
            if count == 1:
                batch = [np.concatenate([array, array]) for array in batch]
            found = function(*map(tf.constant, batch))
            results.append([tensor.numpy()[:count] for tensor in found])
        return [np.concatenate(parts) for parts in zip(*results, strict=True)]

    def _computed(self, graph: FlatGraph) -> FlatGraph:
        return graph if self._precision == "float32" else in_bfloat16(graph)

    @_kept
    def _reader(self, tensors: tuple[str, ...]) -> Callable:
        graph = self._computed(self.graph)

        return traced(lambda images: graph.build(images, list(tensors)), [self._images])

    @cached_property
    def _calibrated(self) -> Calibrated:
        return calibrated(self.graph, self.placeholders, self.batch_norms)

    @cached_property
    def _calibration(self) -> Chain:
        return calibration_chain(
            self._calibrated, self.batch_norms, self._ends, self._images, self.placeholders
        )

    @cached_property
    def _ends(self) -> list[str]:
        """Where segments end: as near before each block as possible, and at the logits."""
        blocks: dict[str, list[str]] = {}
        for name, parameter in self.parameters.items():
            blocks.setdefault(parameter.block, []).append(name)
        starts = [blocks[block] for block in self.blocks if block in blocks]
        graph, output, among = self._folded, self.logits_tensor, self.graph.nodes
        return [*cuts(graph, output, self._images, self.placeholders, starts, among), output]

    @cached_property
    def _folded(self) -> FlatGraph:
        return folded(self.graph, self.logits_tensor, self._images)

    @_kept
    def _chain(self, rule: str) -> Chain:
        self.check_rule(rule)
        graph = self._computed(self._folded)
        overrides = rule_of(rule).overrides
        parts = (graph, self._ends, self._images, self.placeholders, overrides)
        rows = 2 * max(1, self.batch_size // 4)  # half a batch; even, of images and baselines
        return chained(*parts, rows=rows)

    @_kept
    def _layer_gradient(self, tensor: str) -> Callable:
        graph = self._computed(self.graph)

        def gradient(images: Any, targets: Any) -> list:
            logits, values = graph.build(images, [self.logits_tensor, tensor])
            explained = tf.gather(logits, targets, batch_dims=1)
            return [values, tf.gradients(explained, values)[0]]

        return traced(gradient, [self._images, tf.TensorSpec([None], tf.int32)])


def _assign(variable: Any, value: np.ndarray) -> None:
    # `variable.assign` takes three times as long, and a stage has a hundred small ones.
    tf.raw_ops.AssignVariableOp(resource=variable.handle, value=tf.constant(value))


def _source(name: str, variable: Any) -> Declared:
    return Declared(
        name,
        tuple(variable.shape),
        variable.dtype.is_floating,
        bool(getattr(variable, "trainable", True)),
    )


def _as_dict(outputs: Any) -> dict[str, Any]:
    if isinstance(outputs, dict):
        return outputs
    if isinstance(outputs, list | tuple):
        return {f"output_{index}": tensor for index, tensor in enumerate(outputs)}
    return {"output": outputs}


def _unique(name: str, taken: Mapping[str, Any]) -> str:
    if name not in taken:
        return name
    return next(new for i in range(1, len(taken) + 2) if (new := f"{name}_{i}") not in taken)
