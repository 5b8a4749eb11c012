"""Classifier: any image classifier as one flat graph with live variables."""

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from functools import cached_property
from typing import Any

import numpy as np
import tensorflow as tf

from sanity.network.anatomy.batch_norm import BatchNorm
from sanity.network.anatomy.logits import Activation, Ending
from sanity.network.anatomy.parameters import Parameter
from sanity.network.anatomy.reduction import Reduce
from sanity.network.batch_gradient import BatchGradient
from sanity.network.devices import has_card
from sanity.network.graph import FlatGraph, reshape_rows, trace_graph
from sanity.network.network import Network, read_network
from sanity.network.passes.backprop_rules import rule as rule_of
from sanity.network.passes.bfloat16 import in_bfloat16
from sanity.network.passes.folding import fold
from sanity.network.passes.moments import Calibrated, build_calibrated, calibration_chain
from sanity.network.passes.segments import Chain, Walk, chain_segments, cuts, time_segments
from sanity.network.precision import Precision, computing_in
from sanity.network.rows import LEAST_ROWS, fill
from sanity.network.training import Training
from sanity.network.weights import Weights
from sanity.randomness import generator

BATCH_SIZE = 16  # as `runtime.batch_size`, where nothing else is said
_Wanted = tuple[Precision, tuple[str, ...], tuple[int, ...] | None]  # tensors, and their shape


class Classifier:
    """A network from images in [0, 1] to logits, whose weights can be exchanged at any time.

    Its calls take any number of images, cut them into batches of `batch_size`, and pad one of fewer
    than `rows.LEAST_ROWS`.

    Attributes:
        network: What is known of the graph.
        weights: The values of its variables.
        batch_size: The most images that go through the network at once.
        precision: Of the products in logits, activations and gradients; see `network.precision`.
        on_card: Whether it computes on a graphics card: gradients then stay there.
        class_names: One a class, None if unknown.
        class_offset: The model's class for label 0 (1 where class 0 is "background").
        initializers: What variables were made with, `(random, shape) -> values` by name, where a
            loader knows.
        facts: For run.json, e.g. the accuracy of a network trained here.
        training: How to train it again, if it was trained here.

    Args:
        function: From images (n, H, W, C), float32 in [0, 1], to a tensor or a dict of tensors.
            Whatever preprocessing the network wants is done in here.
        input_shape: (H, W, C).
        name: What messages call it.
        output: Which of the function's outputs is explained. A softmax at its end is taken off:
            logits are explained, since probabilities saturate in a randomized network; so is a
            sigmoid, and of one output with it two classes are made.
        activation: What makes probabilities of an output that ends in logits, see `Ending.link`.
        reduce: What makes one vector of an output that has them at many places.
        blocks: Names of the blocks, from output to input; None finds them, see `anatomy.blocks`.
        variables: Variables by name, where their own names say too little, or TensorFlow does not
            know which ones the function uses.

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
        activation: Activation | None = None,
        reduce: Reduce | None = None,
        blocks: Sequence[str] | None = None,
        variables: Mapping[str, Any] | None = None,
        class_names: Sequence[str] | None = None,
        class_offset: int = 0,
        initializers: Mapping[str, Callable[..., Any]] | None = None,
        facts: Mapping[str, Any] | None = None,
        training: Training | None = None,
        batch_size: int = BATCH_SIZE,
    ):
        self.network: Network
        self.network, found, self._alive = read_network(
            function, input_shape, name, output, activation, blocks, variables, reduce
        )
        self.weights = Weights(found)
        self.input_shape = input_shape
        self.class_names = list(class_names) if class_names else None
        self.class_offset = class_offset
        self.initializers = dict(initializers or {})
        self.facts = dict(facts or {})
        self.training = training
        self.batch_size = batch_size
        self.precision: Precision = "float32"
        self.on_card = has_card()
        self._readers: dict[_Wanted, Callable[..., Any]] = {}
        self._chains: dict[tuple[Precision, str], Chain] = {}
        self._gradients_at: dict[_Wanted, Callable[..., Any]] = {}

    def __repr__(self) -> str:
        height, width, channels = self.input_shape
        return (
            f"Classifier({self.name!r}, {height}×{width}×{channels} to {self.n_classes} classes, "
            f"{len(self.blocks)} blocks)"
        )

    # What is asked for most often of the network and its weights

    @property
    def name(self) -> str:
        """What messages call it."""
        return self.network.name

    @property
    def graph(self) -> FlatGraph:
        """The network's graph."""
        return self.network.graph

    @property
    def logits_tensor(self) -> str:
        """Name of the tensor that is explained."""
        return self.network.logits

    @property
    def ending(self) -> Ending:
        """How the explained output ends."""
        return self.network.ending

    @property
    def n_classes(self) -> int:
        """How many logits there are."""
        return self.network.n_classes

    @property
    def parameters(self) -> Mapping[str, Parameter]:
        """By name, from input to output."""
        return self.network.parameters

    @property
    def placeholders(self) -> Mapping[str, str]:
        """The placeholder of each parameter."""
        return self.network.placeholders

    @property
    def blocks(self) -> Sequence[str]:
        """Their names, from output to input."""
        return self.network.blocks

    @property
    def batch_norms(self) -> list[BatchNorm]:
        """The batch norms with moving statistics, from input to output."""
        return self.network.batch_norms

    @property
    def trained(self) -> dict[str, np.ndarray]:
        """The weights as the model came, by name."""
        return self.weights.trained

    # Calls

    def logits(self, images: np.ndarray) -> np.ndarray:
        """Logits (n, classes) of images (n, H, W, C)."""
        return self.read(images, [self.logits_tensor])[0]

    def read(
        self, images: np.ndarray, tensors: Sequence[str], shape: tuple[int, ...] | None = None
    ) -> list[np.ndarray]:
        """The values (n, …) of any tensors of the graph, by name; (n, *shape) if that is given."""
        return self._batched(self._reader(tuple(tensors), shape), images)

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
    ) -> BatchGradient:
        """As `gradients`, but all in one batch, of the targets that what is returned is given."""
        return BatchGradient(
            self._chain(rule),
            images,
            self._fitting(rule, images, baselines),
            self.weights,
            self.n_classes,
            precision=self.precision,
            halved=not self.on_card,
        )

    def segment_seconds(self, images: np.ndarray, rule: str = "plain") -> list[float]:
        """How long a batch takes forward through each segment, see `share_anew`."""
        with computing_in(self.precision):
            return time_segments(self._chain(rule), images)

    def share_anew(
        self, changed: Collection[str], seconds: Sequence[float], rule: str = "plain"
    ) -> float:
        """The share of the way forward, in time, that is anew once these variables have changed."""
        segments = self._chain(rule).segments
        reads = [not set(changed).isdisjoint(segment.variables) for segment in segments]
        first = reads.index(True) if any(reads) else len(segments)
        return sum(seconds[first:]) / (sum(seconds) or 1.0)

    def _fitting(
        self, rule: str, images: np.ndarray, baselines: np.ndarray | None
    ) -> np.ndarray | None:
        """Baselines as they are, if they fit the rule and the images (ValueError)."""
        if rule_of(rule).needs_baseline != (baselines is not None):
            raise ValueError(f"the rule {rule} takes baselines, or none, but not so")
        if baselines is not None and baselines.shape != images.shape:
            raise ValueError(f"baselines {baselines.shape} differ from images {images.shape}")
        return baselines

    def gradients_at(
        self,
        images: np.ndarray,
        targets: np.ndarray,
        tensors: Sequence[str],
        shape: tuple[int, ...] | None = None,
    ) -> tuple[list[np.ndarray], list[np.ndarray]]:
        """The values of several tensors, and the gradients of each image's target logit there.

        Args:
            images: (n, H, W, C).
            targets: (n,), the class whose logit is explained.
            tensors: Their names, `"a/b:0"`; the logits must depend on each.
            shape: What each is reshaped to, (n, *shape); None for as they are.
        """
        function = self._layer_gradients(tuple(tensors), shape)
        found = self._batched(function, images, np.asarray(targets, np.int32))
        return found[: len(tensors)], found[len(tensors) :]

    @cached_property
    def read_tokens(self) -> np.ndarray:
        """Which tokens' states after attention the logits depend on, (tokens,) of bool.

        A class token alone, or all where their mean is taken. It is asked once, of noise, with the
        weights then in place; where no gradient arrives at all, all are said to be.

        Raises:
            ConfigError: See `Network.attention`.
        """
        last = self.network.attention[0][-1]
        classes = np.arange(min(self.n_classes, LEAST_ROWS))
        noise = generator("tokens").random((len(classes), *self.input_shape), np.float32)
        shape = (-1, last.count, last.count)
        _, (gradients,) = self.gradients_at(noise, classes, [last.weights], shape)
        read: np.ndarray = (gradients != 0).any(axis=(0, 1, 3))
        return read if read.any() else ~read

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
            settings = dict(zip(network.switches, switched, strict=True))
            with computing_in(self.precision):
                kept = walk.forward({**self.weights.changed, **settings})
            found = {}
            for segment, values in zip(self._calibration.segments, kept, strict=True):
                for index, switch in enumerate(segment.settings):
                    norm = norms[network.switches.index(switch)]
                    found[norm.mean], found[norm.variance] = values[2 * index : 2 * index + 2]
            return {name: found[name].numpy() for name in names}

        return moments

    # Inside

    def _batched(
        self,
        function: Callable[..., Any],
        images: np.ndarray,
        *more: np.ndarray,
        size: int | None = None,
    ) -> list[Any]:
        size = size or self.batch_size
        results = []
        for start in range(0, len(images), size):
            batch = [array[start : start + size] for array in (images, *more)]
            count = len(batch[0])
            with computing_in(self.precision):
                found = function(*(tf.constant(fill(array)) for array in batch))
            results.append([tensor.numpy()[:count] for tensor in found])
        return [np.concatenate(parts) for parts in zip(*results, strict=True)]

    def _computed(self, graph: FlatGraph) -> FlatGraph:
        return in_bfloat16(graph) if self.precision == "bfloat16" else graph

    def _reader(
        self, tensors: tuple[str, ...], shape: tuple[int, ...] | None = None
    ) -> Callable[..., Any]:
        key = self.precision, tensors, shape
        if key not in self._readers:
            graph = self._computed(self.graph)

            def values(images: Any) -> list[Any]:
                return reshape_rows(graph.build(images, list(tensors)), images, shape)

            self._readers[key] = trace_graph(values, [self.network.images])
        return self._readers[key]

    @cached_property
    def _calibrated(self) -> Calibrated:
        return build_calibrated(self.graph, self.placeholders, self.batch_norms)

    @cached_property
    def _calibration(self) -> Chain:
        return calibration_chain(
            self._calibrated, self.batch_norms, self._ends, self.network.images, self.placeholders
        )

    @cached_property
    def _ends(self) -> list[str]:
        """Where segments end: as near before each block as possible, and at the logits."""
        blocks: dict[str, list[str]] = {}
        for name, parameter in self.parameters.items():
            blocks.setdefault(parameter.block, []).append(name)
        starts = [blocks[block] for block in self.blocks if block in blocks]
        graph, output, among = self._folded, self.logits_tensor, self.graph.nodes
        return [*cuts(graph, output, self.network.images, self.placeholders, starts, among), output]

    @cached_property
    def _folded(self) -> FlatGraph:
        return fold(self.graph, self.logits_tensor, self.network.images)

    def _chain(self, rule: str) -> Chain:
        key = self.precision, rule
        if key not in self._chains:
            self.network.check_gradient()
            graph = self._computed(self._folded)
            graph = rule_of(rule).applied(graph, self.logits_tensor, self.name)
            parts = (graph, self._ends, self.network.images, self.placeholders)
            rows = 2 * max(1, self.batch_size // 4)  # half a batch; even, of images and baselines
            with computing_in(self.precision):  # kernels are made ready
                self._chains[key] = chain_segments(*parts, rows=rows)
        return self._chains[key]

    def _layer_gradients(
        self, tensors: tuple[str, ...], shape: tuple[int, ...] | None
    ) -> Callable[..., Any]:
        key = self.precision, tensors, shape
        if key not in self._gradients_at:
            graph = self._computed(self.graph)

            def gradients(images: Any, targets: Any) -> list[Any]:
                logits, *values = graph.build(images, [self.logits_tensor, *tensors])
                explained = tf.one_hot(targets, self.n_classes, dtype=logits.dtype)
                both = [*values, *tf.gradients(logits, values, explained)]
                return reshape_rows(both, images, shape)

            specs = [self.network.images, tf.TensorSpec([None], tf.int32)]
            self._gradients_at[key] = trace_graph(gradients, specs)
        return self._gradients_at[key]
