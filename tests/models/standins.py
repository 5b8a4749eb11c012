"""Models from every source, small, each with the means to compute with it by itself."""

import inspect
import sys
from contextlib import nullcontext
from dataclasses import dataclass
from functools import partial
from typing import Any
from unittest.mock import patch

import keras
import numpy as np
import tensorflow as tf

from sanity.models import Hub, Keras, KerasApplication, SavedModel
from tests.inception_v3 import build

layers = keras.layers


@dataclass(frozen=True)
class StandIn:
    """A model as `sanity` loads it, and the same without `sanity`.

    Attributes:
        source: What loads it.
        shape: Of its images.
        logits: From images in [0, 1] to logits, by the source's own means.
        has_relu: Whether Guided Backprop has anything to guide.
        block: One of its blocks.
        around: A context in which the source is loaded.
    """

    source: Any
    shape: tuple[int, int, int]
    logits: Any
    has_relu: bool
    block: str
    around: Any = nullcontext


def shaken(model, preprocess=lambda x: x, seed=0):
    """Gives a Keras model weights under which nothing is zero or saturated."""
    random = np.random.default_rng(seed)
    for variable in model.variables:
        fixed = variable.path.split("/")[-2].startswith("normalization")  # read once, when built
        if fixed or not variable.dtype.startswith("float"):
            continue
        old = np.asarray(variable)
        if "variance" in variable.path:
            new = old * random.uniform(0.5, 1.5, old.shape)
        else:
            new = old + random.normal(0, 0.05, old.shape)
        variable.assign(new.astype(np.float32))
    # Batch norm that fits the weights: or a deep network would not tell images apart, and its
    # gradients would be rounding errors.
    for layer in model.layers:
        if isinstance(layer, layers.BatchNormalization):
            layer.momentum = 0.0
    model(preprocess(random.random((16, *model.input_shape[1:]), np.float32)), training=True)
    for variable in model.variables:
        if variable.path.endswith("moving_variance"):  # nor should it blow up what hardly varies
            old = np.asarray(variable)
            variable.assign(old + 0.1 * old.mean())
    return model


def convolutional(softmax="softmax", channels=3):
    """Branches, a residual sum, depthwise, grouped and transposed convolutions."""
    inputs = layers.Input((20, 20, channels))
    x = layers.Conv2D(8, 3, padding="same", use_bias=False, name="stem_conv")(inputs)
    x = layers.ReLU()(layers.BatchNormalization(name="stem_bn")(x))
    left = layers.Conv2D(8, 1, activation="relu", name="left")(x)
    right = layers.DepthwiseConv2D(3, padding="same", name="right")(x)
    x = layers.Add()([left, right, x])
    x = layers.Conv2D(12, 3, strides=2, groups=4, activation="relu", name="grouped")(x)
    x = layers.Conv2DTranspose(6, 3, strides=2, activation="relu", name="transposed")(x)
    x = layers.Concatenate()([layers.MaxPooling2D(2)(x), layers.AveragePooling2D(2)(x)])
    x = layers.Dropout(0.5)(layers.GlobalAveragePooling2D()(x))
    if softmax == "layer":
        x = layers.Softmax()(layers.Dense(7, name="top")(x))
    else:
        x = layers.Dense(7, activation=softmax, name="top")(x)
    return shaken(keras.Model(inputs, x, name="convolutional"))


def transformer():
    """Embedded patches, attention, layer norm, GELU: no ReLU anywhere."""
    inputs = layers.Input((16, 16, 3))
    x = layers.Conv2D(12, 4, strides=4, name="patches")(inputs)
    x = layers.Reshape((16, 12))(x)
    positions = layers.Embedding(16, 12, name="positions")(np.arange(16)[None])
    x = x + positions
    for index in range(2):
        y = layers.LayerNormalization(name=f"block{index}_norm1")(x)
        y = layers.MultiHeadAttention(3, 4, name=f"block{index}_attention")(y, y)
        x = x + y
        y = layers.LayerNormalization(name=f"block{index}_norm2")(x)
        y = layers.Dense(24, activation="gelu", name=f"block{index}_mlp1")(y)
        x = x + layers.Dense(12, name=f"block{index}_mlp2")(y)
    x = layers.GlobalAveragePooling1D()(layers.LayerNormalization(name="norm")(x))
    return shaken(keras.Model(inputs, layers.Dense(5, name="head")(x)))


class Endpoints(tf.Module):
    """A TF2 Hub module as TF-Slim's exporter makes them: `training`, `return_endpoints`."""

    def __init__(self):
        super().__init__()
        random = np.random.default_rng(0)

        def variable(name, *shape, around=0.0):
            values = around + random.normal(0, 0.3, shape)
            return tf.Variable(values.astype(np.float32), name=f"Net/{name}")

        self.first = variable("Conv/weights", 3, 3, 3, 8)
        self.beta = variable("Conv/BatchNorm/beta", 8)
        self.mean = variable("Conv/BatchNorm/moving_mean", 8)
        self.variance = tf.Variable(
            np.full(8, 0.7, np.float32), name="Net/Conv/BatchNorm/moving_variance"
        )
        self.depthwise = variable("expanded_conv/depthwise/depthwise_weights", 3, 3, 8, 1)
        self.project = variable("expanded_conv/project/weights", 1, 1, 8, 8)
        self.top = variable("Logits/Conv2d_1c_1x1/weights", 1, 1, 8, 6)
        self.bias = variable("Logits/Conv2d_1c_1x1/biases", 6)

    @tf.function
    def _norm(self, x, training):
        def current():
            mean, variance = tf.nn.moments(x, [0, 1, 2])
            return mean, variance

        def moving():
            return self.mean.read_value(), self.variance.read_value()

        mean, variance = tf.cond(training, current, moving)
        return tf.nn.batch_normalization(x, mean, variance, self.beta, None, 1e-3)

    @tf.function
    def __call__(self, images, training=False, return_endpoints=False):
        x = tf.nn.conv2d(images * 2.0 - 1.0, self.first, 1, "SAME")
        x = first = tf.nn.relu6(self._norm(x, tf.constant(training)))
        x = tf.nn.relu6(tf.nn.depthwise_conv2d(x, self.depthwise, [1, 2, 2, 1], "SAME"))
        x = second = tf.nn.conv2d(x, self.project, 1, "SAME")
        x = tf.reduce_mean(x, [1, 2], keepdims=True)
        x = tf.squeeze(tf.nn.conv2d(x, self.top, 1, "SAME") + self.bias, [1, 2])
        if return_endpoints:
            return {"default": x, "Net/Conv": first, "Net/expanded_conv": second}
        return x


def save_endpoints(folder):
    module = Endpoints()
    images = tf.TensorSpec([None, 16, 16, 3], tf.float32)
    for training in (True, False):
        for endpoints in (True, False):
            module.__call__.get_concrete_function(images, training, endpoints)
    tf.saved_model.save(module, str(folder))


class Switched(tf.Module):
    """Functions within functions, and a `training` switch that lies in a variable."""

    def __init__(self):
        super().__init__()
        random = np.random.default_rng(1)
        self.training = tf.Variable(False, name="training", trainable=False)
        self.kernels = [
            tf.Variable(random.normal(0, 0.3, shape).astype(np.float32), name=f"{name}/kernel")
            for name, shape in [("a", (3, 3, 1, 6)), ("b", (3, 3, 6, 6)), ("c", (6, 4))]
        ]

    @tf.function
    def _layer(self, x, kernel):
        return self._dropped(tf.nn.relu(tf.nn.conv2d(x, kernel, 1, "SAME")))

    @tf.function
    def _dropped(self, x):
        return tf.cond(self.training, lambda: tf.nn.dropout(x, 0.5), lambda: tf.nn.relu(x - 0.1))

    @tf.function(input_signature=[tf.TensorSpec([None, 12, 12, 1], tf.float32, name="grey")])
    def classify(self, grey):
        x = self._layer(self._layer(grey, self.kernels[0]), self.kernels[1])
        return {"scores": tf.nn.softmax(tf.reduce_mean(x, [1, 2]) @ self.kernels[2])}

    def logits(self, grey):
        """The same in plain words."""
        x = grey
        for kernel in self.kernels[:2]:
            x = tf.nn.relu(tf.nn.relu(tf.nn.conv2d(x, kernel, 1, "SAME")) - 0.1)
        return tf.reduce_mean(x, [1, 2]) @ self.kernels[2]


def of_keras(model):
    """A Keras model's logits: the model without its softmax."""
    last = model.layers[-1]
    if isinstance(last, layers.Softmax):
        model = keras.Model(model.inputs, last.input)
    elif getattr(last, "activation", None) is keras.activations.softmax:
        last.activation = keras.activations.linear
        model = keras.Model(model.inputs, last(last.input))
    return lambda images: model(images, training=False)


def make(name, folder):
    """The stand-in of that name, its files in an empty folder; the same at every call."""
    keras.utils.set_random_seed(0)
    return MAKERS[name](folder)


def _tf1_hub(folder, resource=True):
    path = build(folder / "module", 1 / 16, 11, resource, whole=False)
    function = tf.saved_model.load(str(path), tags=[]).signatures["image_classification"]
    source = Hub(handle=str(path), input_shape=[79, 79, 3], class_offset=1)
    return StandIn(
        source, (79, 79, 3), lambda x: function(images=x)["InceptionV3/Logits"], True, "Mixed_6b"
    )


def _tf2_hub(folder):
    save_endpoints(folder / "module")
    module = tf.saved_model.load(str(folder / "module"))
    source = Hub(handle=str(folder / "module"), input_shape=None)
    return StandIn(source, (16, 16, 3), lambda x: module(x, training=False), True, "expanded_conv")


def _switched(folder):
    module = Switched()
    tf.saved_model.save(module, str(folder / "module"), signatures={"classify": module.classify})
    source = SavedModel(path=str(folder / "module"), signature="classify")
    return StandIn(source, (12, 12, 1), module.logits, True, "b")


def _keras(folder, suffix="keras", softmax="softmax", make_model=convolutional, **scaling):
    model = make_model(softmax) if make_model is convolutional else make_model()
    path = folder / f"model.{suffix}"
    model.save(path)
    own = of_keras(keras.saving.load_model(path, compile=False))

    def logits(images):
        if scaling:
            images = (images * 255 - np.float32(scaling["mean"])) / np.float32(scaling["std"])
        return own(images)

    relu = make_model is convolutional
    block = "grouped" if relu else "block1"
    return StandIn(Keras(path=str(path), **scaling), model.input_shape[1:], logits, relu, block)


def _exported(folder):
    model = convolutional()
    model.export(folder / "module", verbose=False)
    own = of_keras(model)
    return StandIn(
        SavedModel(path=str(folder / "module")), model.input_shape[1:], own, True, "transposed"
    )


def _application(
    name, size, has_relu, block, preprocess, weights="random.weights.h5", slim=lambda made: made
):
    """An architecture of Keras's; `slim` makes of it one of the same blocks, but fewer."""

    def around():
        whole = getattr(keras.applications, name)
        return patch.object(keras.applications, name, slim(whole))

    def maker(folder):
        shape = (size, size, 3)
        with around():
            model = getattr(keras.applications, name)(
                weights=None, input_shape=shape, classes=10, classifier_activation=None
            )
        shaken(model, preprocess).save_weights(folder / weights)
        source = KerasApplication(
            application=name,
            weights=str(folder / weights),
            input_shape=list(shape),
            n_classes=10,
        )
        return StandIn(
            source, shape, lambda x: model(preprocess(x), training=False), has_relu, block, around
        )

    return maker


def _of_its_family(whole, family, *args, **kwargs):
    """What makes an architecture as Keras makes it, with other numbers of blocks."""
    module = sys.modules[whole.__module__]
    name = inspect.signature(whole).parameters["name"].default
    return partial(getattr(module, family), *args, name=name, **kwargs)


def _stacks(whole):
    """ResNet50's four groups of blocks, with two where it has three to six, and one of the last."""
    stack = sys.modules[whole.__module__].stack_residual_blocks_v1

    def network(x):
        for group, (width, blocks) in enumerate([(64, 2), (128, 2), (256, 2), (512, 1)], start=2):
            x = stack(x, width, blocks, stride1=1 if group == 2 else 2, name=f"conv{group}")
        return x

    return network


def _caffe(x):
    return x[..., ::-1] * 255 - np.float32([103.939, 116.779, 123.68])


MAKERS = {
    "tf1_hub": _tf1_hub,
    "tf1_hub_references": lambda folder: _tf1_hub(folder, resource=False),
    "tf2_hub": _tf2_hub,
    "switched": _switched,
    "keras": _keras,
    "keras_scaled": lambda folder: _keras(
        folder, range=[0, 255], mean=[120, 110, 100], std=[60.0, 50.0, 40.0]
    ),
    "keras_softmax_layer": lambda folder: _keras(folder, softmax="layer"),
    "keras_h5": lambda folder: _keras(folder, "h5"),
    "transformer": lambda folder: _keras(folder, make_model=transformer),
    "exported": _exported,
    "MobileNet": _application("MobileNet", 32, True, "conv_dw_9", lambda x: x * 2 - 1),
    "ResNet50": _application(
        "ResNet50",
        32,
        True,
        "conv4_block2",
        _caffe,
        slim=lambda whole: _of_its_family(
            whole, "ResNet", _stacks(whole), preact=False, use_bias=True, weights_name="resnet50"
        ),
    ),
    "DenseNet121": _application(
        "DenseNet121",
        32,
        True,
        "conv3_block3",
        lambda x: (x - np.float32([0.485, 0.456, 0.406])) / np.float32([0.229, 0.224, 0.225]),
        slim=lambda whole: _of_its_family(whole, "DenseNet", [2, 4, 3, 2]),
    ),
    "EfficientNetB0": _application(
        "EfficientNetB0",
        32,
        False,
        "block4b",
        lambda x: x * 255,
        slim=lambda whole: _of_its_family(whole, "EfficientNet", 1.0, 0.5, 224),
    ),
    "ConvNeXtTiny": _application(
        "ConvNeXtTiny",
        32,
        False,
        "convnext_tiny_stage_2_block_1",
        lambda x: x * 255,
        slim=lambda whole: _of_its_family(
            whole, "ConvNeXt", [1, 1, 3, 1], [48, 96, 192, 384], weights_name="convnext_tiny"
        ),
    ),
}
