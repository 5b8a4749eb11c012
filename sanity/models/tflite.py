"""Models of TensorFlow Lite in floating point, rebuilt from their file as a graph of TensorFlow.

TensorFlow Lite computes no gradients. So each operator becomes one of TensorFlow with the weights
in TensorFlow's layout; what comes out is compared with TensorFlow Lite's own interpreter.
"""

import logging
import re
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np

from sanity.checked import Text, checked
from sanity.contents import Content, files_among
from sanity.errors import ConfigError
from sanity.models.compared import check_outputs
from sanity.models.inputs import Input
from sanity.models.kinds import DETAILS, file_of_kind
from sanity.models.module import Entry
from sanity.models.source import ScaledSource

if TYPE_CHECKING:
    from sanity.network.classifier import Classifier

log = logging.getLogger(__name__)


@checked
class TFLite(ScaledSource):
    """A model of TensorFlow Lite (`.tflite`) in floating point; weights may be float16.

    Attributes:
        path: The file.
    """

    path: Text

    def sources(self) -> dict[str, Content]:
        """The model, and the file of class names."""
        return {**super().sources(), **files_among(path=self.path)}

    def load(self) -> "Classifier":
        """The classifier.

        Raises:
            ConfigError: The file is no such model, is quantised, has an operator that is not known
                here, or is no image classifier.
        """
        path, key = file_of_kind(self.path, "tflite", "tflite")
        file = _File(path.read_bytes(), key)
        file.check()
        entry = Entry(file.compute, file.inputs, {}, "graph")
        _compare(file, entry, self.input_shape)
        return self.classifier_of(entry, path.stem, key)


def _compare(file: "_File", entry: Entry, asked: Sequence[int] | None) -> None:
    """Makes sure that the graph gives what TensorFlow Lite's interpreter does, on noise."""
    import tensorflow as tf

    random = np.random.Generator(np.random.PCG64(0))
    feeds = {}
    for one in entry.inputs:
        sizes = list(one.shape or [])
        if None in sizes[1:] and asked is not None and len(sizes) == 4:
            sizes[1:] = asked
        if None in sizes[1:]:
            return  # refused, or asked for, later on
        noise = random.random([size or 1 for size in sizes])
        scale = 255 if one.dtype == tf.uint8 else 1
        feeds[one.name] = (scale * noise).astype(one.dtype.as_numpy_dtype)
    expected = file.interpret(feeds)
    check_outputs(expected, entry, feeds, file.key, "TensorFlow Lite")


class _File:
    """A file of TensorFlow Lite.

    Args:
        content: Of the file.
        key: What messages call it.

    Raises:
        ConfigError: It is damaged.
    """

    def __init__(self, content: bytes, key: str):
        from tensorflow.lite.python import schema_py_generated as schema

        self.key, self._content = key, content
        try:
            self.model = schema.ModelT.InitFromPackedBuf(content, 0)
            self.graph = self.model.subgraphs[0]
        except Exception as error:  # of damaged bytes, whatever the reader comes upon
            log.debug("%s", error)
            raise ConfigError(
                f"{key} is no model of TensorFlow Lite, or is cut off ({DETAILS})"
            ) from error
        kinds = vars(schema.BuiltinOperator).items()
        self._kinds = {number: name for name, number in kinds if not name.startswith("_")}
        self._types = {n: t for t, n in vars(schema.TensorType).items() if not t.startswith("_")}

    def check(self) -> None:
        """Makes sure that it can be computed with here (ConfigError)."""
        from sanity.models.tflite_ops import OPS

        for tensor in self.graph.tensors:
            scale = None if tensor.quantization is None else tensor.quantization.scale
            if scale is not None and len(scale):
                raise ConfigError(
                    f"{self.key} is quantised ({self._types[tensor.type]} at "
                    f"{tensor.name.decode()}), and has no gradients: convert it without "
                    "optimizations, in float32 or with weights in float16"
                )
            if tensor.sparsity is not None:
                raise ConfigError(
                    f"{self.key} has sparse weights (at {tensor.name.decode()}), which are not "
                    "read here: convert it without"
                )
        kinds = dict.fromkeys(self.kind(op) for op in self.graph.operators)
        unknown = [kind for kind in kinds if kind not in (*OPS, "DEQUANTIZE")]
        if unknown:
            raise ConfigError(
                f"{self.key} has operators that are not known here: {', '.join(unknown)}; export "
                "it as a SavedModel where it was made, then model=saved_model model.path=FOLDER"
            )

    def kind(self, op: Any) -> str:
        """The name of an operator's kind, as the schema or who made it has it."""
        code = self.model.operatorCodes[op.opcodeIndex]
        if code.customCode:
            return str(code.customCode.decode())
        # Files older than the hundred and twenty-eighth operator have the other number.
        return str(self._kinds[max(code.builtinCode, code.deprecatedBuiltinCode)])

    @cached_property
    def inputs(self) -> list[Input]:
        """What it takes."""
        from sanity.models.tflite_ops import TYPES

        found = []
        for index in self.graph.inputs:
            tensor = self.graph.tensors[index]
            sizes = tensor.shape if tensor.shapeSignature is None else tensor.shapeSignature
            shape = tuple(None if size < 0 else int(size) for size in sizes)
            found.append(Input(self.names[index], shape, TYPES[tensor.type]))
        return found

    @cached_property
    def names(self) -> dict[int, str]:
        """What its inputs and outputs are called: by its one signature, else by their tensors."""
        ends = [*self.graph.inputs, *self.graph.outputs]
        names = {int(i): self.graph.tensors[i].name.decode().removesuffix(":0") for i in ends}
        signatures = self.model.signatureDefs or []
        if len(signatures) == 1:
            maps = [*signatures[0].inputs, *signatures[0].outputs]
            names |= {int(one.tensorIndex): one.name.decode() for one in maps}
        return names

    def array(self, index: int) -> np.ndarray | None:
        """The values of a constant tensor; None of one that is computed."""
        from sanity.models.tflite_ops import TYPES

        tensor = self.graph.tensors[index]
        data = self.model.buffers[tensor.buffer].data
        if data is None or not len(data):
            return None
        shape = [] if tensor.shape is None else tensor.shape
        dtype = TYPES[tensor.type].as_numpy_dtype
        return np.frombuffer(np.asarray(data, np.uint8).tobytes(), dtype).reshape(shape)

    def compute(self, values: dict[str, Any]) -> dict[str, Any]:
        """The outputs by name, of inputs by name; builds the graph."""
        from sanity.models.tflite_ops import OPS

        tensors = {int(i): values[self.names[int(i)]] for i in self.graph.inputs}
        kernels: dict[Any, Any] = {}
        for op in self.graph.operators:
            if self.kind(op) == "DEQUANTIZE":  # of weights in float16, or of float16 alone
                continue
            found = OPS[self.kind(op)](_Op(self, op, tensors, kernels))
            results = found if isinstance(found, list) else [found]
            tensors |= dict(zip(map(int, op.outputs), results, strict=True))
        return {self.names[int(i)]: tensors[int(i)] for i in self.graph.outputs}

    @cached_property
    def widened(self) -> dict[int, int]:
        """The tensor in float16 behind each that is the same in float32."""
        ops = [op for op in self.graph.operators if self.kind(op) == "DEQUANTIZE"]
        return {int(op.outputs[0]): int(op.inputs[0]) for op in ops}

    def interpret(self, feeds: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
        """The outputs by name that TensorFlow Lite computes."""
        import tensorflow as tf

        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # that it is to be a package of its own
            kind = tf.lite.experimental.OpResolverType.BUILTIN_WITHOUT_DEFAULT_DELEGATES
            interpreter = tf.lite.Interpreter(
                model_content=self._content, experimental_op_resolver_type=kind
            )
        for index in self.graph.inputs:
            feed = feeds[self.names[int(index)]]
            interpreter.resize_tensor_input(int(index), feed.shape)
        interpreter.allocate_tensors()
        for index in self.graph.inputs:
            interpreter.set_tensor(int(index), feeds[self.names[int(index)]])
        interpreter.invoke()
        return {self.names[int(i)]: interpreter.get_tensor(int(i)) for i in self.graph.outputs}


@dataclass(frozen=True)
class _Op:
    """An operator of a file; see `tflite_ops.Op`.

    Attributes:
        file: The file.
        op: As the schema has it.
        tensors: What has been computed, by the tensors' numbers.
        kernels: Those made, with their biases, by their numbers: those of two operators are one.
    """

    file: _File
    op: Any
    tensors: dict[int, Any]
    kernels: dict[Any, Any]

    @property
    def options(self) -> Any:
        return self.op.builtinOptions

    @property
    def name(self) -> str:
        return self._label(int(self.op.outputs[0]))

    @property
    def count(self) -> int:
        return len(self.op.inputs)

    def tensor(self, position: int) -> Any:
        import tensorflow as tf

        index = self._index(position)
        if index is None or index in self.tensors:
            return None if index is None else self.tensors[index]
        return tf.constant(self._array(index), name=self._label(index))

    def numbers(self, position: int) -> Any:
        index = self._index(position)
        assert index is not None
        return self.tensors[index] if index in self.tensors else self._array(index)

    def kernel(self, position: int, order: Sequence[int]) -> Any:
        import tensorflow as tf

        index = self._index(position)
        assert index is not None
        if index in self.tensors:
            return tf.transpose(self.tensors[index], order)
        if (index, *order) not in self.kernels:
            array = self._array(index).transpose(order)
            self.kernels[index, *order] = tf.constant(array, name=self._label(index))
        return self.kernels[index, *order]

    def bias(self, position: int) -> Any:
        import tensorflow as tf

        index = self._index(position)
        if index is None or index in self.tensors:
            return None if index is None else self.tensors[index]
        beside = self._index(position - 1 if position < 3 else 1)
        assert beside is not None
        if ("bias", index, beside) not in self.kernels:  # one of zeros may be that of many kernels
            name = f"{self._label(beside)}/bias"
            self.kernels["bias", index, beside] = tf.constant(self._array(index), name=name)
        return self.kernels["bias", index, beside]

    def _index(self, position: int) -> int | None:
        """The number of an input's tensor; None where there is none."""
        index = int(self.op.inputs[position]) if position < self.count else -1
        return None if index < 0 else index

    def _label(self, index: int) -> str:
        """What a tensor is to be called."""
        return _clean(self.file.graph.tensors[self.file.widened.get(index, index)].name)

    def _array(self, index: int) -> np.ndarray:
        array = self.file.array(self.file.widened.get(index, index))
        assert array is not None
        return array.astype(np.float32) if array.dtype == np.float16 else array


def _clean(name: bytes) -> str:
    """A tensor's name as a graph can have it; of several that were fused the first."""
    first = name.decode().split(";")[0].removesuffix(":0")
    return re.sub(r"[^A-Za-z0-9_./-]", "_", first).lstrip("_/-") or "tensor"
