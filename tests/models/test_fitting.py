"""What models take besides one batch of floating-point images: each against its own numbers."""

from dataclasses import replace

import keras
import numpy as np
import pytest
import tensorflow as tf

from sanity.errors import ConfigError
from sanity.models import Hub, Keras, SavedModel

layers = keras.layers
RANDOM = np.random.default_rng(0)
KERNEL = RANDOM.normal(0, 0.3, (3, 3, 3, 4)).astype(np.float32)
TOP = RANDOM.normal(0, 1, (4, 5)).astype(np.float32)
X = np.random.default_rng(1).random((4, 12, 10, 3), np.float32)
TARGETS = np.array([0, 3, 4, 1])


class Net(tf.Module):
    """A small smooth network of images in [-1, 1]."""

    def __init__(self, kernel=KERNEL):
        super().__init__()
        self.kernel = tf.Variable(kernel, name="conv/kernel")
        self.top = tf.Variable(TOP, name="top/kernel")

    def logits(self, images):
        x = tf.tanh(tf.nn.conv2d(images, self.kernel, 1, "SAME"))
        return tf.reduce_mean(x, [1, 2]) @ self.top


def saved(path, function, spec, kernel=KERNEL):
    """The folder of a SavedModel with one signature, `function(net, images, …)`."""
    net, specs = Net(kernel), spec if isinstance(spec, dict) else {"images": spec}
    net.call = tf.function(lambda **named: {"logits": function(net, **named)})
    concrete = net.call.get_concrete_function(
        **{name: tf.TensorSpec(one.shape, one.dtype, name=name) for name, one in specs.items()}
    )
    tf.saved_model.save(net, str(path), signatures={"serving_default": concrete})
    return str(path)


def gradient(function, x):
    images = tf.constant(x)
    with tf.GradientTape() as tape:
        tape.watch(images)
        explained = tf.gather(function(images), TARGETS[: len(x)], batch_dims=1)
    return tape.gradient(explained, images).numpy()


def same(classifier, function, x=X):
    """Whether logits and gradients are those of a function of images in [0, 1]."""
    own = function(tf.constant(x))
    np.testing.assert_allclose(classifier.logits(x), own, rtol=1e-4, atol=1e-5)
    expected = gradient(function, x)
    found = classifier.gradients(x, TARGETS[: len(x)])
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-4 * np.abs(expected).max())
    assert np.abs(expected).max() > 1e-4


# Whole numbers


@pytest.mark.parametrize("dtype", [tf.uint8, tf.int32])
def test_whole_numbers_are_explained_from_where_they_are_cast(dtype, tmp_path):
    def network(net, images):
        count = tf.shape(images)[0]  # what is still read of the whole numbers
        return tf.reshape(net.logits(tf.cast(images, tf.float32) / 127.5 - 1.0), [count, 5])

    path = saved(tmp_path / "net", network, tf.TensorSpec([None, 12, 10, 3], dtype))
    classifier = SavedModel(path=path).load()
    assert classifier.input_shape == (12, 10, 3)
    same(classifier, lambda x: Net().logits(2 * x - 1))
    whole = np.rint(255 * X)
    own = tf.saved_model.load(path).signatures["serving_default"](images=tf.cast(whole, dtype))
    np.testing.assert_allclose(classifier.logits(whole / 255), own["logits"], atol=1e-5)
    half = SavedModel(path=path, range=[0.0, 127.5]).load()
    np.testing.assert_allclose(half.logits(X), classifier.logits(X / 2), atol=1e-5)


def test_a_keras_model_of_whole_numbers(tmp_path):
    inputs = keras.Input((12, 10, 3), dtype="uint8")
    x = layers.Conv2D(4, 3, activation="tanh")(layers.Rescaling(1 / 255)(inputs))
    model = keras.Model(inputs, layers.Dense(5)(layers.GlobalAveragePooling2D()(x)))
    model.save(tmp_path / "model.keras")
    classifier = Keras(path=str(tmp_path / "model.keras")).load()
    body = keras.Model(model.layers[2].input, model.output)
    same(classifier, lambda x: body(x, training=False))


def test_whole_numbers_used_in_several_places_are_refused(tmp_path):
    def network(net, images):
        bright = tf.cast(tf.reduce_max(images, [1, 2]), tf.float32)
        return net.logits(tf.cast(images, tf.float32)) + bright @ np.ones((3, 5), np.float32)

    path = saved(tmp_path / "net", network, tf.TensorSpec([None, 12, 10, 3], tf.uint8))
    with pytest.raises(ConfigError, match=r"whole numbers .*uses them in several places: export"):
        SavedModel(path=path).load()


# Encoded files


def decode_all(files, scale):
    def decode(file):
        image = tf.image.convert_image_dtype(tf.io.decode_jpeg(file, 3), tf.float32)
        return scale(tf.image.resize(image, [12, 10]))

    return tf.map_fn(decode, files, fn_output_signature=tf.float32)


@pytest.mark.parametrize(
    ("scale", "low", "high"),
    [
        (lambda x: x, [0.0] * 3, [1.0] * 3),
        (lambda x: 2 * x - 1, [-1.0] * 3, [1.0] * 3),
        (lambda x: x * 255 - tf.constant([10.0, 20.0, 30.0]), [-10, -20, -30], [245, 235, 225]),
    ],
    ids=["unit", "signed", "means"],
)
@pytest.mark.parametrize("base64", [False, True], ids=["bytes", "base64"])
def test_files_are_explained_from_the_decoded_images(base64, scale, low, high, tmp_path):
    def network(net, images):
        files = tf.map_fn(tf.io.decode_base64, images) if base64 else images
        return net.logits(decode_all(files, scale) / 100.0)

    path = saved(tmp_path / "net", network, tf.TensorSpec([None], tf.string))
    classifier = SavedModel(path=path).load()
    assert classifier.input_shape == (12, 10, 3)
    low, high = np.float32(low), np.float32(high)
    same(classifier, lambda x: Net().logits((low + (high - low) * x) / 100.0))
    whole = np.rint(255 * X[:1]).astype(np.uint8)
    file = tf.io.encode_png(whole[0])
    file = tf.io.encode_base64(file) if base64 else file
    own = tf.saved_model.load(path).signatures["serving_default"](images=tf.stack([file]))
    np.testing.assert_allclose(classifier.logits(whole / np.float32(255)), own["logits"], atol=1e-4)
    with pytest.raises(ConfigError, match="scales its images itself: leave model.range"):
        SavedModel(path=path, range=[0.0, 255.0]).load()


def test_a_text_model_is_no_image_classifier(tmp_path):
    def network(net, images):
        count = tf.cast(tf.strings.length(images), tf.float32)
        return tf.repeat(count[:, None], 4, 1) @ net.top

    path = saved(tmp_path / "net", network, tf.TensorSpec([None], tf.string))
    with pytest.raises(ConfigError, match=r"takes no images .*images: string \[None\], and does"):
        SavedModel(path=path).load()


# Other arrangements


def test_images_without_a_channel(tmp_path):
    inputs = keras.Input((12, 10))
    x = layers.Conv1D(4, 3, activation="tanh")(inputs)
    model = keras.Model(inputs, layers.Dense(5)(layers.GlobalAveragePooling1D()(x)))
    model.save(tmp_path / "model.keras")
    classifier = Keras(path=str(tmp_path / "model.keras")).load()
    assert classifier.input_shape == (12, 10, 1)
    same(classifier, lambda x: model(tf.squeeze(x, -1)), X[..., :1])


def test_channels_before_height_and_width(tmp_path):
    def network(net, images):
        return net.logits(tf.transpose(images, [0, 2, 3, 1]))

    path = saved(tmp_path / "net", network, tf.TensorSpec([None, 3, 24, 20], tf.float32))
    classifier = SavedModel(path=path).load()
    assert classifier.input_shape == (24, 20, 3)
    same(classifier, Net().logits, np.random.default_rng(1).random((4, 24, 20, 3), np.float32))


def convolved(images, channels, order):
    """Logits of images with their channels in one order or the other."""
    kernel = np.tile(KERNEL[:, :, :1], [1, 1, channels, 1])
    steps = [1, 1, 2, 2] if order == "NCHW" else [1, 2, 2, 1]
    x = tf.tanh(tf.nn.conv2d(images, kernel, steps, "SAME", data_format=order))
    return tf.reduce_mean(x, [2, 3] if order == "NCHW" else [1, 2]) @ TOP


@pytest.mark.parametrize(
    ("size", "batch"),
    [((24, 24, 3), None), ((8, 8, 8), None), ((24, 20, 4), 1), ((3, 3, 3), None)],
)
def test_the_network_says_where_channels_stand(size, batch, tmp_path):
    images = np.random.default_rng(2).random((2, *size), np.float32)
    for order, place in (("NCHW", [0, 3, 1, 2]), ("NHWC", [0, 1, 2, 3])):
        shape = [batch, *(size[axis - 1] for axis in place[1:])]
        path = saved(
            tmp_path / order,
            lambda net, images, order=order: convolved(images, size[2], order),  # noqa: ARG005
            tf.TensorSpec(shape),
        )
        classifier = SavedModel(path=path).load()
        assert classifier.input_shape == size
        same(classifier, lambda x: convolved(x, size[2], "NHWC"), images)
        assert "NCHW" not in str(classifier.graph.graph_def)


def test_a_keras_model_of_channels_first(tmp_path):
    def network(order):
        keras.utils.clear_session()
        keras.utils.set_random_seed(0)
        axis = 1 if order == "channels_first" else 3
        inputs = keras.Input((3, 12, 10) if axis == 1 else (12, 10, 3))
        x = layers.Conv2D(6, 3, data_format=order)(inputs)
        x = layers.Activation("tanh")(layers.BatchNormalization(axis=axis)(x))
        x = layers.MaxPooling2D(2, data_format=order)(x)
        x = layers.Concatenate(axis=axis)([x, layers.Conv2D(7, 1, data_format=order)(x)])
        return keras.Model(inputs, layers.Dense(5)(layers.Flatten(data_format=order)(x)))

    classifiers = []
    for order in ("channels_first", "channels_last"):
        model, path = network(order), str(tmp_path / f"{order}.keras")
        model.save(path)
        classifiers.append(Keras(path=path).load())
    same(classifiers[0], lambda x: model(x, training=False))
    first, last = (c.network for c in classifiers)
    said = [[replace(p, depth=0) for p in one.parameters.values()] for one in (first, last)]
    assert said[0] == said[1]
    assert first.spatial_tensors == last.spatial_tensors
    assert len(first.batch_norms) == len(last.batch_norms) == 1


def test_of_an_open_size_too(tmp_path):
    path = saved(
        tmp_path / "net",
        lambda net, images: convolved(images, 3, "NCHW"),  # noqa: ARG005
        tf.TensorSpec([None, None, None, None]),
    )
    same(SavedModel(path=path, input_shape=[12, 10, 3]).load(), lambda x: convolved(x, 3, "NHWC"))


@pytest.mark.parametrize(
    ("shape", "asked", "expected"),
    [
        ((3, 24, 20), None, (24, 20, 3)),
        ((5, 24, 24), None, (24, 24, 5)),
        ((5, 24, 20), None, (5, 24, 20)),
        ((5, 24, 20), (24, 20, 5), (24, 20, 5)),
        ((8, 8, 3), None, (8, 8, 3)),
    ],
)
def test_where_it_does_not_say_the_shape_does(shape, asked, expected, tmp_path):
    kernel = tf.Variable(RANDOM.normal(size=(np.prod(shape), 4)).astype(np.float32), name="kernel")
    net = tf.Module()
    net.kernel = kernel
    spec = tf.TensorSpec([None, *shape])
    net.call = tf.function(
        lambda x: {"logits": tf.reshape(x, [-1, kernel.shape[0]]) @ kernel}, input_signature=[spec]
    )
    tf.saved_model.save(net, str(tmp_path / "net"), signatures=net.call)
    classifier = SavedModel(path=str(tmp_path / "net"), input_shape=asked and [*asked]).load()
    assert classifier.input_shape == expected


def test_images_as_vectors(tmp_path):
    def network(net, images):
        return net.logits(tf.reshape(images, [-1, 12, 10, 3]))

    path = saved(tmp_path / "net", network, tf.TensorSpec([None, 360], tf.float32))
    with pytest.raises(ConfigError, match=r"takes no images .*model.input_shape=\[height"):
        SavedModel(path=path).load()
    same(SavedModel(path=path, input_shape=[12, 10, 3]).load(), Net().logits)


@pytest.mark.parametrize("channels", [2, 4, 13])
def test_other_numbers_of_channels(channels, tmp_path):
    kernel = RANDOM.normal(0, 0.3, (3, 3, channels, 4)).astype(np.float32)
    spec = tf.TensorSpec([None, 12, 10, channels], tf.float32)
    path = saved(tmp_path / "net", lambda net, images: net.logits(images), spec, kernel)
    x = np.random.default_rng(1).random((4, 12, 10, channels), np.float32)
    same(SavedModel(path=path).load(), Net(kernel).logits, x)


# A fixed number of images


@pytest.mark.parametrize("batch", [1, 3])
def test_a_fixed_batch_is_opened(batch, tmp_path):
    def network(net, images):
        x = tf.tanh(tf.nn.conv2d(images, net.kernel, [1, 4, 5, 1], "SAME"))
        x = tf.reshape(tf.reshape(x, [batch, 6, 4]), [batch, 24])  # as converters write it
        return tf.reshape(x, [batch, 6, 4])[:, 0] @ net.top

    def open_network(images):
        x = tf.tanh(tf.nn.conv2d(images, KERNEL, [1, 4, 5, 1], "SAME"))
        return tf.reshape(x, [-1, 6, 4])[:, 0] @ TOP

    path = saved(tmp_path / "net", network, tf.TensorSpec([batch, 12, 10, 3], tf.float32))
    same(SavedModel(path=path).load(), open_network)


def test_a_keras_model_of_one_image(tmp_path):
    inputs = keras.Input(batch_shape=(1, 12, 10, 3))
    x = layers.Flatten()(layers.Conv2D(4, 3, strides=2, activation="tanh")(inputs))
    model = keras.Model(inputs, layers.Dense(5)(x))
    model.save(tmp_path / "model.keras")
    one = Keras(path=str(tmp_path / "model.keras")).load()
    same(one, lambda x: tf.concat([model(x[i : i + 1]) for i in range(len(x))], 0))


def test_a_batch_that_is_part_of_the_network_is_refused(tmp_path):
    def network(net, images):
        return net.logits(images - tf.reduce_mean(images, 0, keepdims=True))

    path = saved(tmp_path / "net", network, tf.TensorSpec([2, 12, 10, 3], tf.float32))
    with pytest.raises(ConfigError, match="takes exactly 2 images at a time, .* export it with an"):
        SavedModel(path=path).load()


# Several inputs


def with_metadata(net, images, age, site):
    return net.logits(images) * age + tf.reduce_sum(site, 1, keepdims=True)


SPECS = {
    "images": tf.TensorSpec([None, 12, 10, 3], tf.float32),
    "age": tf.TensorSpec([None, 1], tf.float32),
    "site": tf.TensorSpec([None, 3], tf.float32),
}


def test_a_second_input_is_fixed(tmp_path):
    path = saved(tmp_path / "net", with_metadata, SPECS)
    given = {"age": 0.5, "site": [1.0, 2.0, 4.0]}
    same(SavedModel(path=path, inputs=given).load(), lambda x: 0.5 * Net().logits(x) + 7)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({}, r"must have one input, images .*it has: .*; model.inputs.site=VALUE gives"),
        ({"age": 1.0}, r"must have one input, images .*; model.inputs.site=VALUE gives"),
        ({"sex": 1.0}, r"model.inputs.sex is no input of .*there are: age: float32 \[None, 1\]"),
        ({"age": 1, "site": [1, 2]}, r"model.inputs.site=\[1, 2\] does not fit: .*shape \[3\]"),
        ({"age": 1, "site": "Rome"}, r"model.inputs.site=Rome does not fit"),
    ],
    ids=["none", "one", "unknown", "shape", "type"],
)
def test_mistakes_about_second_inputs(given, message, tmp_path):
    path = saved(tmp_path / "net", with_metadata, SPECS)
    with pytest.raises(ConfigError, match=message):
        SavedModel(path=path, inputs=given).load()


@pytest.mark.parametrize("structure", [list, dict])
def test_a_keras_model_of_an_image_and_metadata(structure, tmp_path):
    image, age = keras.Input((12, 10, 3), name="picture"), keras.Input((2,), name="age")
    x = layers.GlobalAveragePooling2D()(layers.Conv2D(4, 3, activation="tanh")(image))
    outputs = layers.Dense(5)(layers.Concatenate()([x, age]))
    inputs = [age, image] if structure is list else {"picture": image, "age": age}
    model = keras.Model(inputs, outputs)
    model.save(tmp_path / "model.keras")
    classifier = Keras(path=str(tmp_path / "model.keras"), inputs={"age": [1.0, 2.0]}).load()
    ages = tf.constant([[1.0, 2.0]] * 4)

    def own(x):
        return model([ages[: len(x)], x] if structure is list else {"picture": x, "age": ages})

    same(classifier, own)


def test_a_hub_module_that_takes_whole_numbers(tmp_path):
    net = Net()
    net.__class__ = type(
        "Called",
        (Net,),
        {"__call__": tf.function(lambda self, x: self.logits(tf.cast(x, tf.float32) / 255))},
    )
    net.__call__.get_concrete_function(tf.TensorSpec([None, 12, 10, 3], tf.uint8))
    tf.saved_model.save(net, str(tmp_path / "net"))
    same(Hub(handle=str(tmp_path / "net")).load(), Net().logits)


def test_second_inputs_on_the_command_line(tmp_path):
    from sanity.config.job import compose
    from sanity.config.options import with_open_keys

    path = saved(tmp_path / "net", with_metadata, SPECS)
    keys = ["model.inputs.age=0.5", "model.inputs.site=[1,2,4]"]
    assert with_open_keys(["seed=1", *keys]) == ["seed=1", *(f"++{key}" for key in keys)]
    job = compose(["model=saved_model", f"model.path={path}", *keys])
    assert job.model.inputs == {"age": 0.5, "site": [1, 2, 4]}
    same(job.model.load(), lambda x: 0.5 * Net().logits(x) + 7)
