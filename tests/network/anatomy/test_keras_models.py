"""Of models as people build them, a full cascade takes all that Keras calls trainable."""

import keras
import numpy as np
import pytest
import tensorflow as tf
from keras import layers

from sanity.models import SavedModel
from sanity.network.classifier import Classifier
from sanity.randomization import Randomization
from sanity.randomization.initializers import IDENTITY

INPUT = (16, 16, 3)


class Weighted(layers.Layer):
    """One weight: a factor, or tokens and positions in front of and added to a sequence."""

    def __init__(self, form):
        super().__init__()
        self.form = form

    def build(self, shape):
        length, width = shape[-2], shape[-1]
        if self.form == "factor":
            self.gain = self.add_weight(shape=(width,), initializer="ones")
        else:
            self.token = self.add_weight(shape=(1, 1, width))
            self.position = self.add_weight(shape=(1, length + 1, width))

    def call(self, x):
        if self.form == "factor":
            return x * self.gain
        token = keras.ops.repeat(self.token, keras.ops.shape(x)[0], axis=0)
        return keras.ops.concatenate([token, x], axis=1) + self.position


def conv(x, filters=6, **options):
    return layers.Conv2D(filters, 3, padding="same", **options)(x)


def top(x, units=5, **options):
    return layers.Dense(units, **options)(layers.GlobalAveragePooling2D()(x))


def two_towers(images):
    def tower(x):
        for filters in (4, 6):
            x = layers.ReLU()(layers.BatchNormalization()(conv(x, filters, use_bias=False)))
        return layers.GlobalAveragePooling2D()(x)

    sides = [keras.Model(images, tower(images), name=name) for name in ("left", "right")]
    return layers.Dense(5)(layers.Concatenate()([side(images) for side in sides]))


def prelu(images):
    return top(layers.PReLU()(conv(images)))


def tokens(images):
    x = Weighted("sequence")(layers.Reshape((16, 8))(layers.Conv2D(8, 4, 4)(images)))
    y = layers.LayerNormalization()(x)
    x = layers.Add()([x, layers.MultiHeadAttention(2, 4)(y, y)])
    y = layers.Dense(12, activation="gelu")(layers.LayerNormalization()(x))
    return layers.Dense(5)(layers.Add()([x, layers.Dense(8)(y)])[:, 0])


def layer_scale(images):
    x = conv(images, 8)
    y = layers.LayerNormalization()(layers.DepthwiseConv2D(5, padding="same")(x))
    y = layers.Dense(8)(layers.Dense(16, activation="gelu")(y))
    return top(layers.Add()([x, Weighted("factor")(y)]))


def gate(images):
    x = conv(images, 8, use_bias=False, activation="silu")
    g = top(x, 8, use_bias=False, activation="sigmoid")
    return top(layers.Multiply()([x, layers.Reshape((1, 1, 8))(g)]), use_bias=False)


def group_norm(images):
    x = layers.GroupNormalization(2)(layers.SeparableConv2D(6, 3)(images))
    return top(layers.Conv2DTranspose(4, 3)(layers.RMSNormalization()(x)))


def channels_first(images):
    x = layers.BatchNormalization(axis=1)(layers.Permute((3, 1, 2))(conv(images)))
    return top(layers.Permute((2, 3, 1))(layers.ReLU()(x)))


def encoder(x, tokens, window=None):
    """A block of attention, within windows if they are asked for, and of two dense layers."""
    y = layers.LayerNormalization()(x)
    if window:  # as Swin's: of window × window tokens
        side, width = int(tokens**0.5), x.shape[-1]
        cut = (-1, side // window, window, side // window, window, width)
        y = keras.ops.transpose(keras.ops.reshape(y, cut), (0, 1, 3, 2, 4, 5))
        y = keras.ops.reshape(y, (-1, window**2, width))
    y = Biased(2, window)(y) if window else layers.MultiHeadAttention(2, 4)(y, y)
    if window:
        y = keras.ops.reshape(y, (-1, cut[1], cut[1], window, window, width))
        y = keras.ops.reshape(keras.ops.transpose(y, (0, 1, 3, 2, 4, 5)), (-1, tokens, width))
    x = layers.Add()([x, Weighted("factor")(y)])
    y = layers.Dense(12, activation="gelu")(layers.LayerNormalization()(x))
    return layers.Add()([x, Weighted("factor")(layers.Dense(x.shape[-1])(y))])


class Biased(layers.Layer):
    """Attention from one projection for queries, keys and values, with biases of position."""

    def __init__(self, heads, window):
        super().__init__()
        self.heads, self.window = heads, window

    def build(self, shape):
        self.qkv, self.out = layers.Dense(3 * shape[-1]), layers.Dense(shape[-1])
        self.qkv.build(shape)
        self.out.build(shape)
        self.bias = self.add_weight(shape=((2 * self.window - 1) ** 2, self.heads))
        places = np.stack(np.meshgrid(*[np.arange(self.window)] * 2, indexing="ij")).reshape(2, -1)
        offsets = places[:, :, None] - places[:, None] + self.window - 1
        self.index = offsets[0] * (2 * self.window - 1) + offsets[1]

    def call(self, x):
        count, width = x.shape[1:]
        parts = keras.ops.reshape(self.qkv(x), (-1, count, 3, self.heads, width // self.heads))
        q, k, v = keras.ops.unstack(keras.ops.transpose(parts, (2, 0, 3, 1, 4)))
        scores = keras.ops.matmul(q, keras.ops.transpose(k, (0, 1, 3, 2)))
        near = keras.ops.transpose(keras.ops.take(self.bias, self.index, axis=0), (2, 0, 1))
        y = keras.ops.matmul(keras.ops.softmax(scores + near[None]), v)
        return self.out(keras.ops.reshape(keras.ops.transpose(y, (0, 2, 1, 3)), (-1, count, width)))


def vit(images):
    x = Weighted("sequence")(layers.Reshape((16, 8))(layers.Conv2D(8, 4, 4)(images)))
    x = layers.LayerNormalization()(encoder(encoder(x, 17), 17))
    return layers.Dense(5)(x[:, 0])


def deit(images):
    """With a second token, for distillation; the mean of two heads."""
    x = layers.Reshape((16, 8))(layers.Conv2D(8, 4, 4)(images))
    x = layers.LayerNormalization()(encoder(Weighted("sequence")(Weighted("sequence")(x)), 18))
    return layers.Average()([layers.Dense(5)(x[:, 0]), layers.Dense(5)(x[:, 1])])


def swin(images):
    x = layers.LayerNormalization()(layers.Conv2D(8, 2, 2)(images))
    x = encoder(layers.Reshape((64, 8))(x), 64, window=4)
    rows = keras.ops.reshape(x, (-1, 8, 8, 8))
    rows = keras.ops.roll(rows, (-2, -2), (1, 2))  # the shifted windows of every second block
    x = encoder(keras.ops.reshape(rows, (-1, 64, 8)), 64, window=4)
    four = keras.ops.reshape(x, (-1, 4, 2, 4, 2, 8))  # merges two by two patches
    x = keras.ops.reshape(keras.ops.transpose(four, (0, 1, 3, 2, 4, 5)), (-1, 16, 32))
    x = layers.Dense(16, use_bias=False)(layers.LayerNormalization()(x))
    x = layers.LayerNormalization()(encoder(x, 16, window=4))
    return layers.Dense(5)(layers.GlobalAveragePooling1D()(x))


def convnext(images):
    """Keras' own, with layer scale, small."""
    from keras.src.applications.convnext import ConvNeXt

    model = ConvNeXt(
        depths=[1, 1, 1, 1],
        projection_dims=[4, 6, 8, 8],
        weights=None,
        include_top=False,
        input_shape=(32, 32, 3),
        include_preprocessing=False,
    )
    return top(model(layers.UpSampling2D(2)(images)))


def sequence(images):
    x = layers.Conv1D(6, 3)(layers.Reshape((16, 48))(images))
    return layers.Dense(5)(
        layers.Bidirectional(layers.GRU(4))(layers.EinsumDense("bti,io->bto", (None, 7))(x))
    )


TRANSFORMERS = (vit, deit, swin)
FORMS = (two_towers, prelu, tokens, layer_scale, gate, group_norm, channels_first, sequence)
FORMS += (*TRANSFORMERS, convnext)


def disturbed(form):
    """A model of which no variable has the value that an identity has."""
    keras.utils.set_random_seed(0)
    images = keras.Input(INPUT)
    model = keras.Model(images, form(images))
    draw = np.random.default_rng(0)
    for variable in model.weights:
        if "seed" not in variable.path:
            noise = variable.numpy() + 0.2 * draw.standard_normal(variable.shape)
            variable.assign(np.abs(noise) + 0.1 if "variance" in variable.path else noise)
    return model


def check(classifier, trainable):
    """Makes sure that so many parameters, and no others, are drawn or reset."""
    randomization = Randomization(moving_statistics="keep")
    last = randomization.stages(classifier, classifier.blocks, 0)[-1]
    taken = [classifier.parameters[name] for name in last.variables]
    assert randomization.survivors(classifier, classifier.blocks) == []
    assert sorted(p.shape for p in taken) == sorted(tuple(v.shape) for v in trainable)
    for parameter in taken:
        if randomization.policy(parameter.kind) == "identity":
            assert (classifier.trained[parameter.name] != IDENTITY[parameter.kind]).all()


@pytest.mark.parametrize("form", FORMS, ids=lambda form: form.__name__)
def test_a_full_cascade_takes_all_that_is_trainable(form):
    model = disturbed(form)
    variables = {variable.path: variable.value for variable in model.variables}
    classifier = Classifier(lambda x: model(x, training=False), INPUT, variables=variables)
    check(classifier, model.trainable_variables)
    moving = [p for p in classifier.parameters.values() if p.kind.startswith("moving")]
    assert len(moving) == sum("moving" in v.path for v in model.variables)


@pytest.mark.parametrize("form", [two_towers, vit, swin], ids=lambda form: form.__name__)
def test_so_it_does_of_an_export_where_names_are_lost(form, tmp_path):
    model = disturbed(form)
    module = tf.Module()
    module.all = [tf.Variable(v, name="v", trainable=v.trainable) for v in model.variables]

    @tf.function(input_signature=[tf.TensorSpec((None, *INPUT), tf.float32)])
    def serve(x):
        outputs, _ = model.stateless_call(
            [v for v, own in zip(module.all, model.variables, strict=True) if own.trainable],
            [v for v, own in zip(module.all, model.variables, strict=True) if not own.trainable],
            x,
            training=False,
        )
        return {"logits": outputs}

    tf.saved_model.save(module, tmp_path, signatures=serve)
    check(SavedModel(path=str(tmp_path)).load(), model.trainable_variables)
