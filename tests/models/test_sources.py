"""What models from outside may be, and what is said where they are not."""

import shutil
import sys
from email.message import Message
from types import SimpleNamespace
from urllib.error import HTTPError

import keras
import numpy as np
import pytest
import tensorflow as tf

from sanity.errors import ConfigError
from sanity.models import EfficientNetLite, Hub, Keras, KerasApplication, SavedModel
from sanity.models.hub import hub_cache, resolve
from sanity.models.keras import APPLICATIONS
from sanity.models.module import damage
from tests.models.standins import convolutional, save_endpoints

layers = keras.layers
ONLY = ["method=[random_mask]", "metric=[spearman]", "randomization=full", "data.limit=1"]


@pytest.fixture(scope="module")
def endpoints(tmp_path_factory):
    folder = tmp_path_factory.mktemp("endpoints") / "module"
    save_endpoints(folder)
    return folder


def saved(folder, function, *specs, value=2.0):
    module = tf.Module()
    module.scale = tf.Variable(value, name="top/kernel")
    module.call = tf.function(lambda *a: function(module.scale, *a))
    concrete = module.call.get_concrete_function(*specs)
    tf.saved_model.save(module, str(folder), signatures={"serving_default": concrete})
    return str(folder)


def images(*shape, dtype=tf.float32):
    return tf.TensorSpec(shape, dtype, name="images")


# Equal however it is saved


def test_one_model_saved_four_ways(tmp_path):
    """Keras, SavedModel, TF2 Hub and TF1 Hub format give the same numbers and the same names."""
    model = convolutional(softmax=None)
    model.save(tmp_path / "model.keras")
    model.export(tmp_path / "exported", verbose=False)
    module = tf.Module()
    module.model = model
    module.__class__ = type(
        "Callable",
        (tf.Module,),
        {"__call__": tf.function(lambda self, x, training=False: self.model(x, training=False))},
    )
    module.__call__.get_concrete_function(images(None, 20, 20, 3))
    tf.saved_model.save(module, str(tmp_path / "tf2"))
    _save_tf1(model, tmp_path / "tf1")
    sources = [
        Keras(path=str(tmp_path / "model.keras")),
        SavedModel(path=str(tmp_path / "exported")),
        Hub(handle=str(tmp_path / "tf2")),
        Hub(handle=str(tmp_path / "tf1")),
    ]
    x = np.random.default_rng(0).random((3, 20, 20, 3), np.float32)
    targets = np.array([0, 3, 6], np.int32)
    first, *others = [source.load() for source in sources]
    logits, gradients = first.logits(x), first.gradients(x, targets)
    guided = first.gradients(x, targets, "guided_backprop")
    np.testing.assert_allclose(logits, model(x, training=False), atol=1e-5, rtol=1e-5)
    for other in others:
        assert other.blocks == first.blocks
        assert set(other.parameters) == set(first.parameters)
        assert other.weights.sha256 == first.weights.sha256
        np.testing.assert_allclose(other.logits(x), logits, atol=1e-5, rtol=1e-5)
        np.testing.assert_allclose(other.gradients(x, targets), gradients, atol=1e-5)
        now = other.gradients(x, targets, "guided_backprop")
        np.testing.assert_allclose(now, guided, atol=1e-5)


def _save_tf1(model, folder):
    """The model's graph in a session, as a TF1 Hub module; grouped convolutions included."""
    function = tf.function(lambda x: model(x, training=False)).get_concrete_function(
        images(None, 20, 20, 3)
    )
    from sanity.network.flatten import flatten

    named = tf.function(lambda x: {"default": function(x)}).get_concrete_function(
        images(None, 20, 20, 3)
    )
    flat = flatten(named)
    tf1 = tf.compat.v1
    names = {variable.value.handle._id: variable.path for variable in model.variables}
    values = {variable.path: np.asarray(variable) for variable in model.variables}
    with tf.Graph().as_default() as graph, tf1.variable_scope("", use_resource=True):
        placeholder = tf1.placeholder(tf.float32, [None, 20, 20, 3], "images")
        mapped = {}
        for name, captured in flat.captures.items():
            path = names[captured._id]
            mapped[name] = tf1.get_variable(path, initializer=values[path]).handle
        (logits,) = tf.graph_util.import_graph_def(
            flat.graph_def,
            input_map={flat.input: placeholder, **mapped},
            return_elements=[flat.outputs["default"]],
            name="",
        )
        logits.set_shape([None, 7])
        with tf1.Session(graph=graph) as session:
            session.run(tf1.global_variables_initializer())
            info = tf1.saved_model.build_tensor_info
            signature = tf1.saved_model.build_signature_def(
                {"images": info(placeholder)}, {"default": info(logits)}, "image_classification"
            )
            builder = tf1.saved_model.Builder(str(folder))
            builder.add_meta_graph_and_variables(session, [], {"image_classification": signature})
            builder.save()
    (folder / "tfhub_module.pb").write_bytes(b"\x08\x03")


# What is explained


def test_sigmoids_are_taken_off(tmp_path, caplog):
    caplog.set_level("INFO")
    inputs = layers.Input((8, 8, 3))
    x = layers.Conv2D(4, 3, activation="relu")(inputs)
    x = layers.Dense(3, activation="sigmoid")(layers.GlobalAveragePooling2D()(x))
    model = keras.Model(inputs, x)
    model.save(tmp_path / "model.keras")
    classifier = Keras(path=str(tmp_path / "model.keras")).load()
    assert "labels that do not exclude each other" in caplog.text
    values = np.random.default_rng(0).random((2, 8, 8, 3), np.float32)
    said = 1 / (1 + np.exp(-classifier.logits(values)))
    np.testing.assert_allclose(said, model(values), rtol=1e-4)


def test_probabilities_without_a_softmax_are_named(tmp_path, caplog):
    def shares(scale, x):
        powers = tf.square(tf.reduce_mean(x, [1, 2]) * scale)
        return {"out": powers / tf.reduce_sum(powers, 1, keepdims=True)}

    path = saved(tmp_path / "module", shares, images(None, 8, 8, 3))
    assert SavedModel(path=path).load().ending.link == "said"
    assert "without a softmax" in caplog.text


def test_log_softmax_and_reshapes_are_taken_off(tmp_path):
    def shaped(scale, x):
        logits = tf.reduce_mean(x, [1, 2], keepdims=True) * scale
        return {"out": tf.squeeze(tf.nn.log_softmax(logits), [1, 2])}

    path = saved(tmp_path / "module", shaped, images(None, 8, 8, 3))
    classifier = SavedModel(path=path).load()
    assert classifier.ending.taken_off == "LogSoftmax"
    x = np.random.default_rng(0).random((2, 8, 8, 3), np.float32)
    np.testing.assert_allclose(classifier.logits(x), 2 * x.mean((1, 2)), rtol=1e-5)


def test_endpoints_of_a_hub_module_have_names(endpoints):
    classifier = Hub(handle=str(endpoints)).load()
    assert set(classifier.graph.outputs) == {"default", "Net/Conv", "Net/expanded_conv"}
    assert classifier.blocks == ["Logits", "expanded_conv", "Conv"]


def test_class_names_and_offset(endpoints, tmp_path):
    names = tmp_path / "names.txt"
    names.write_text("\ufeffbackground\ncat\ndog\nzebra\nhorse\nwhale\n\n", "utf-8")
    keys = {"handle": str(endpoints), "class_offset": 1}
    classifier = Hub(**keys, class_names=str(names)).load()
    assert classifier.class_names == names.read_text("utf-8-sig").split()
    assert classifier.class_offset == 1
    with pytest.raises(ConfigError, match="has 1001 names, but the model has 6 classes"):
        Hub(**keys, class_names="imagenet").load()
    with pytest.raises(ConfigError, match="nowhere.txt must be imagenet or a text file"):
        Hub(**keys, class_names="nowhere.txt").load()


def test_the_hash_of_the_weights_is_checked(endpoints):
    right = Hub(handle=str(endpoints)).load().weights.sha256
    assert Hub(handle=str(endpoints), sha256=right).load().weights.sha256 == right
    with pytest.raises(ConfigError, match=f"model.sha256=abc is not .* {right}"):
        Hub(handle=str(endpoints), sha256="abc").load()


# Mistakes


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"signature": "classify"}, r"model.signature=classify is none of .*there are: serving"),
        ({"output": "logits"}, r"model.output=logits is no vector output"),
        ({"input_shape": [8, 8, 1]}, r"model.input_shape=\[8, 8, 1\] is not .*takes: 8×8×3"),
        ({"mean": [1.0, 2.0]}, r"model.mean=\[1.0, 2.0\] must be 3 numbers"),
        ({"std": 0.0}, r"model.std=0.0 must be above 0"),
        ({"range": [1.0, 0.0]}, r"model.range=\[1.0, 0.0\] must be a lower"),
        ({"blocks": ["nothing"]}, r"model.blocks: nothing stands in the name of no variable"),
        ({"n_classes": 5}, r"model.n_classes=5 is not what .* has: 3"),
    ],
    ids=lambda value: next(iter(value)) if isinstance(value, dict) else "",
)
def test_mistakes_about_a_saved_model(options, message, tmp_path):
    path = saved(
        tmp_path / "module",
        lambda scale, x: {"out": tf.reduce_mean(x, [1, 2]) * scale},
        images(None, 8, 8, 3),
    )
    with pytest.raises(ConfigError, match=message):
        SavedModel(path=path, **options).load()


def test_an_output_that_is_no_vector(tmp_path):
    path = saved(tmp_path / "module", lambda scale, x: {"map": x * scale}, images(None, 8, 8, 3))
    with pytest.raises(ConfigError, match=r"model.reduce must say how map of"):
        SavedModel(path=path).load()


def test_an_open_image_size(tmp_path):
    def mean(scale, x):
        return {"out": tf.reduce_mean(x, [1, 2]) * scale}

    path = saved(tmp_path / "open", mean, images(None, None, None, 3))
    with pytest.raises(ConfigError, match="leaves any×any×3 open"):
        SavedModel(path=path).load()
    assert SavedModel(path=path, input_shape=[9, 8, 3]).load().input_shape == (9, 8, 3)


def test_a_network_without_weights_has_nothing_to_randomize(tmp_path):
    path = saved(
        tmp_path / "module",
        lambda scale, x: {"out": tf.reduce_mean(x, [1, 2])},
        images(None, 8, 8, 3),
    )
    with pytest.raises(ConfigError, match="has nothing that could be randomized: no variables"):
        SavedModel(path=path).load()


def test_a_condition_on_the_images_is_refused(tmp_path):
    def either(scale, x):
        y = tf.reduce_mean(x, [1, 2])
        return {"out": tf.cond(tf.reduce_sum(x) > 0, lambda: y * scale, lambda: y)}

    path = saved(tmp_path / "module", either, images(None, 8, 8, 3))
    with pytest.raises(ConfigError, match="decides by the images"):
        SavedModel(path=path).load()


@pytest.mark.parametrize(
    ("channels", "options", "message"),
    [
        (3, ["target=3"], r"target=3 is not among the model's classes, 0 to 2"),
        (3, ["target=-1"], r"target=-1 should be"),
        (3, ["target=cat"], r"target=cat .*the model's classes have no names"),
        (2, [], r"channels"),
    ],
    ids=lambda value: str(value),
)
def test_a_class_beyond_the_models_and_channels_that_do_not_fit(
    channels, options, message, tmp_path
):
    from sanity.config.job import compose
    from sanity.experiment.prepare import prepare

    path = saved(
        tmp_path / "module",
        lambda kernel, x: {"out": tf.reduce_mean(x, [1, 2]) @ kernel},
        images(None, 40, 40, channels),
        value=np.ones((channels, 3), np.float32),
    )
    with pytest.raises(ConfigError, match=message):
        prepare(compose(["model=saved_model", f"model.path={path}", *options, *ONLY]))


def test_a_model_of_which_nothing_can_be_randomized_has_no_blocks(tmp_path):
    from sanity.randomization.layers import Layers

    path = saved(
        tmp_path / "module",
        lambda bound, x: {"out": tf.maximum(tf.reduce_mean(x, [1, 2]), bound)},
        images(None, 8, 8, 3),
    )
    classifier = SavedModel(path=path).load()
    with pytest.raises(ConfigError, match="no layer with a kernel to randomize"):
        Layers().select(classifier.blocks)


# Broken and absent modules


@pytest.mark.parametrize(
    ("broken", "message"),
    [
        (lambda f: (f / "saved_model.pb").unlink(), "has no saved_model.pb"),
        (lambda f: (f / "saved_model.pb").write_bytes(b""), "is empty"),
        (lambda f: (f / "saved_model.pb").write_bytes(b"nonsense"), "may be incomplete"),
        (lambda f: (f / "variables" / "variables.index").unlink(), "no variables.index"),
        (
            lambda f: (f / "variables" / "variables.data-00000-of-00001").unlink(),
            "lacks variables.data-00000-of-00001",
        ),
        (lambda f: _cut(f / "variables" / "variables.data-00000-of-00001"), "may be incomplete"),
    ],
    ids=["absent", "empty", "nonsense", "no index", "no data", "cut off"],
)
def test_a_broken_module_is_named(broken, message, endpoints, tmp_path):
    folder = tmp_path / "module"
    shutil.copytree(endpoints, folder)
    assert damage(folder) == ""
    broken(folder)
    with pytest.raises(ConfigError, match=message) as refused:
        Hub(handle=str(folder)).load()
    assert str(folder) in str(refused.value)
    assert "\n" not in str(refused.value)


def _cut(path):
    path.write_bytes(path.read_bytes()[:100])


def test_a_broken_download_is_to_be_deleted(monkeypatch, tmp_path):
    import tensorflow_hub

    monkeypatch.setattr(tensorflow_hub, "resolve", lambda handle: str(tmp_path))
    with pytest.raises(ConfigError, match=rf"download is broken .* delete {tmp_path} and run"):
        resolve("https://example.com/module/1")


def test_without_a_network_the_file_to_fetch_is_named():
    handle = "http://127.0.0.1:9/google/inception/1"
    message = (
        rf"model.handle={handle} cannot be fetched \(.*\): fetch {handle}\?tf-hub-format=compressed"
        r" by hand, unpack it into a folder and give that as model.handle=FOLDER$"
    )
    with pytest.raises(ConfigError, match=message):
        Hub(handle=handle).load()


@pytest.mark.parametrize(
    ("module", "ways"),
    [
        ("inception_v3/classification/3", ["google/inception-v3/", "application=InceptionV3"]),
        ("mobilenet_v2_100_224/classification/5", ["google/mobilenet-v2/", "=MobileNetV2"]),
        ("efficientnet_v2/classification/2", ["OWNER/MODEL/FRAMEWORK/VARIATION"]),
    ],
)
def test_tf_hubs_own_modules_are_not_sent_back_to_the_same_host(monkeypatch, module, ways):
    import tensorflow_hub

    def refuse(handle):
        raise HTTPError(handle, 403, "Forbidden", Message(), None)

    monkeypatch.setattr(tensorflow_hub, "resolve", refuse)
    with pytest.raises(ConfigError, match="the server answers 403") as refused:
        resolve(f"https://tfhub.dev/google/imagenet/{module}")
    assert [way for way in ways if way not in str(refused.value)] == []
    assert "tf-hub-format" not in str(refused.value)


def test_a_handle_that_is_nothing():
    with pytest.raises(ConfigError, match="neither a folder nor a URL nor a Kaggle handle"):
        Hub(handle="no/such").load()


def test_kaggle_handles_go_to_kagglehub(monkeypatch, endpoints):
    kagglehub = SimpleNamespace()
    monkeypatch.setitem(sys.modules, "kagglehub", kagglehub)  # the extra, which need not be there
    asked = []

    def download(handle):
        asked.append(handle)
        return str(endpoints)

    kagglehub.model_download = download
    handle = "google/mobilenet-v2/tensorFlow2/035-96-classification/2"
    assert Hub(handle=handle).load().n_classes == 6
    assert asked == [handle]
    kagglehub.model_download = lambda handle: 1 / 0
    with pytest.raises(ConfigError, match=f"{handle} cannot be fetched .*model.handle=FOLDER"):
        resolve(handle)


def test_the_hub_cache_is_the_users(monkeypatch, tmp_path):
    monkeypatch.setenv("SANITY_CACHE", str(tmp_path))
    monkeypatch.delenv("TFHUB_CACHE_DIR", raising=False)
    assert hub_cache() == tmp_path / "hub"
    monkeypatch.setenv("TFHUB_CACHE_DIR", "/elsewhere")
    assert str(hub_cache()) == "/elsewhere"


# Files from strangers


@pytest.mark.parametrize("suffix", ["keras", "h5"])
def test_code_in_a_file_does_not_run_untrusted(suffix, tmp_path):
    inner = keras.Sequential([layers.Input((8, 8, 3)), layers.Lambda(lambda x: x * 2.0)])
    inputs = layers.Input((8, 8, 3))
    x = layers.Conv2D(4, 3, name="conv")(inner(inputs))
    x = layers.Dense(3, name="top")(layers.GlobalAveragePooling2D()(x))
    path = tmp_path / f"model.{suffix}"
    keras.Model(inputs, x).save(path)
    with pytest.raises(
        ConfigError, match=r"Python code \(the Lambda layer .*model.trust=true allow"
    ):
        Keras(path=str(path)).load()
    classifier = Keras(path=str(path), trust=True).load()
    assert classifier.blocks == ["top", "conv"]


@pytest.mark.parametrize("suffix", ["keras", "h5"])
def test_a_file_that_is_no_model(suffix, tmp_path):
    path = tmp_path / f"model.{suffix}"
    with pytest.raises(ConfigError, match="there is no such file or folder"):
        Keras(path=str(path)).load()
    path.write_bytes(b"Dear network")
    with pytest.raises(ConfigError, match="is of an unknown kind; it must be a Keras file"):
        Keras(path=str(path)).load()


# What Keras ships


def test_every_application_can_be_named():
    shipped = {
        name
        for name in dir(keras.applications)
        if name[0].isupper() and callable(getattr(keras.applications, name))
    }
    assert set(APPLICATIONS) == shipped
    for name, module in APPLICATIONS.items():
        there = getattr(keras.applications, module)
        assert callable(there.preprocess_input)
        assert name in dir(there) or module == "mobilenet_v3"
        assert KerasApplication(application=name).application == name


def test_mistakes_about_applications():
    from sanity.checked import make

    with pytest.raises(ConfigError, match=r"application=ResNet51 must be one of: .*ResNet50"):
        make(KerasApplication, {"application": "ResNet51"}, "model")
    with pytest.raises(ConfigError, match="must be imagenet, null or a file of weights"):
        KerasApplication(application="ResNet50", weights="nowhere.h5").load()
    with pytest.raises(ConfigError, match="model.n_classes=10 must be 1000"):
        KerasApplication(application="ResNet50", n_classes=10).load()


@pytest.mark.parametrize("variant", ["lite1", "lite2"])
@pytest.mark.slow
def test_the_larger_embedded_models_classify(variant):
    import yaml

    from sanity.config.options import conf_folder
    from sanity.data import ImageNetSamples

    node = yaml.safe_load((conf_folder() / "model" / f"efficientnet_{variant}.yaml").read_text())
    del node["_target_"]
    classifier = EfficientNetLite(**node).load()
    samples = ImageNetSamples(limit=None).load(classifier.input_shape)
    predicted = classifier.logits(samples.x).argmax(axis=1)
    assert (predicted == samples.labels).sum() >= 17
    assert all(p.block in classifier.blocks for p in classifier.parameters.values())
