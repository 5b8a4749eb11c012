import numpy as np
import pytest
import tensorflow as tf
from PIL import Image

from sanity import methods
from sanity.config.job import compose
from sanity.data import ImageNetSamples
from sanity.errors import ConfigError
from sanity.methods import Subject
from sanity.models import Keras
from sanity.network.classifier import Classifier
from sanity.randomization import Layers
from tests.networks import small_classifier


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("integrated_gradients.steps=0", "should be greater than or equal to 2"),
        ("integrated_gradients.steps=1", "should be greater than or equal to 2"),
        ("integrated_gradients.quadrature=simpson", "should be 'endpoints', 'midpoint'"),
        ("integrated_gradients.baseline=grey", "'black', 'white', .* valid number"),
        ("integrated_gradients.baseline=1.5", "less than or equal to 1"),
        ("integrated_gradients.baseline=[]", "at least 1 item"),
        ("integrated_gradients.multiplier=2", "boolean"),
        ("smoothgrad.noise=-0.1", "should be greater than or equal to 0"),
        ("smoothgrad_squared.noise=nan", "finite"),
        ("vargrad.samples=1", "should be greater than or equal to 2"),
        ("integrated_gradients_smoothgrad.noise=-1", "should be greater than or equal to 0"),
        ("expected_gradients.samples=0", "should be greater than or equal to 1"),
        ("expected_gradients.references=3", "must be samples, a folder, or have the _target_"),
        ("deeplift_rescale.baseline=[0.5,2]", "less than or equal to 1"),
        ("epsilon_lrp.epsilon=0", "should be greater than 0"),
        ("grad_cam.layer=[3]", "valid string"),
    ],
)
def test_a_value_that_cannot_be_is_refused_before_the_model_is_loaded(override, message):
    name, _, key = override.split("=")[0].partition(".")
    with pytest.raises(ConfigError, match=rf"method\.{name}\.{key}.*{message}") as refused:
        compose([f"method=[{name}]", f"method.{override}"])
    assert "\n" not in str(refused.value)


def test_references_from_a_folder_of_ones_own(small, tmp_path):
    Image.new("RGB", (20, 20), "red").save(tmp_path / "red.png")
    key = "method.expected_gradients.references"

    def made(*overrides):
        return compose(["method=[expected_gradients]", *overrides]).methods["expected_gradients"]

    with pytest.raises(ConfigError, match=rf"{key}\.path must be given"):
        made(f"{key}={{_target_: sanity.data.Folder}}")
    spelt_out = made(f"{key}={{_target_: sanity.data.Folder, path: '{tmp_path}'}}")
    of_data = made(f"{key}=${{data}}", "data=folder", f"data.path={tmp_path}", "data.limit=1")
    for method in (made(f"{key}={tmp_path}"), spelt_out, of_data):
        method.check(small)
        (point, *_) = method.points()
        start = point.start(Subject(np.zeros(small.input_shape, np.float32), "a", 0))
        np.testing.assert_array_equal(start, np.broadcast_to([1, 0, 0], small.input_shape))
    assert made().references == ImageNetSamples() == methods.ExpectedGradients().references
    gone = made(f"{key}={tmp_path}/gone")
    with pytest.raises(ConfigError, match="gone: there is no such file or folder"):
        gone.check(small)


@pytest.mark.parametrize(
    "method",
    [
        methods.IntegratedGradients(baseline=[0.5, 0.5]),
        methods.IntegratedGradientsSmoothGrad(baseline=[0.5, 0.5]),
        methods.DeepLiftRescale(baseline=[0.5, 0.5]),
    ],
)
def test_a_baseline_of_the_wrong_shape(small, method):
    with pytest.raises(ConfigError, match=r"baseline=\[0\.5, 0\.5\] has 2 values, .* give 3"):
        method.check(small)


@pytest.mark.parametrize(
    "method", [methods.GradCam, methods.GradCamPlusPlus, methods.GuidedGradCam]
)
class TestLayer:
    def test_not_there(self, small, method):
        with pytest.raises(ConfigError, match="layer=block9 is not there; .* such as .*Relu"):
            method(layer="block9").check(small)

    def test_not_spatial(self, small, method):
        flat = next(n for n, node in small.graph.nodes.items() if node.op == "MatMul")
        with pytest.raises(ConfigError, match=f"layer={flat} is no map; .* such as .*Relu"):
            method(layer=flat).check(small)

    def test_not_between_image_and_logits(self, method):
        def function(images):
            with tf.name_scope("side"):
                side = tf.nn.relu(images[:, ::2])
            x = tf.nn.relu(images, name="way")
            return {"logits": tf.reduce_mean(x, [1, 2]), "side": side}

        classifier = Classifier(function, (8, 8, 3), output="logits")
        with pytest.raises(ConfigError, match=r"layer=side is no map; .* such as way$"):
            method(layer="side").check(classifier)

    def test_a_network_without_maps(self, method):
        classifier = Classifier(
            lambda x: tf.nn.relu(tf.reshape(x, [-1, 48]))[:, :5], (4, 4, 3), name="dense"
        )
        with pytest.raises(ConfigError, match="layer=null finds nothing: dense has no tensor"):
            method().check(classifier)

    def test_names(self, small, method):
        relu = [n for n, node in small.graph.nodes.items() if node.op == "Relu"]
        assert small.network.spatial_tensor() == f"{relu[-1]}:0"
        for name in (relu[0], f"{relu[0]}:0"):
            method(layer=name).check(small)
            assert small.network.spatial_tensor(name) == f"{relu[0]}:0"


RULES = {
    methods.GuidedBackprop: "Relu and Relu6",
    methods.Deconvnet: "Relu and Relu6",
    methods.GuidedGradCam: "Relu and Relu6",
    methods.DeepLiftRescale: "activation functions, .*Max.*",
    methods.EpsilonLRP: "activation functions",
}


@pytest.mark.parametrize("method", RULES)
def test_a_rule_that_overrides_nothing_is_refused(method):
    linear = small_classifier(relu=tf.identity)
    with pytest.raises(ConfigError, match=f"gradient of {RULES[method]}, but small has no such"):
        method().check(linear)


def test_ops_beside_the_way_to_the_logits_do_not_count():
    """A sigmoid on top of the logits is not what is explained."""

    def function(images):
        logits = tf.reduce_mean(images, [1, 2])
        return {"logits": logits, "probabilities": tf.sigmoid(logits)}

    classifier = Classifier(function, (4, 4, 3), output="logits")
    with pytest.raises(ConfigError, match="no such op"):
        methods.DeepLiftRescale().check(classifier)


def test_baselines_and_rule_must_fit(small, noise_images):
    x, targets = noise_images.x, np.zeros(5, np.int32)
    with pytest.raises(ValueError, match="deeplift_rescale takes baselines"):
        small.gradients(x, targets, "deeplift_rescale")
    with pytest.raises(ValueError, match="plain takes"):
        small.gradients(x, targets, "plain", x)
    with pytest.raises(ValueError, match="differ from images"):
        small.gradients(x, targets, "deeplift_rescale", x[:, :3])


@pytest.mark.parametrize(
    ("method", "given", "settings", "said"),
    [
        (methods.IntegratedGradients, [], {"steps": 0}, "IntegratedGradients.steps=0 should be "),
        (methods.SmoothGrad, [], {"samples": "3"}, "SmoothGrad.samples='3' should be a valid int"),
        (methods.ExpectedGradients, [], {"references": 3}, "ExpectedGradients.references=3 must"),
        (methods.SmoothGrad, [], {"sampels": 3}, "SmoothGrad.sampels is no field; did you mean sa"),
        (methods.SmoothGrad, [3], {}, "SmoothGrad takes its fields by name: samples, noise"),
        (Layers, [], {"names": "a"}, "Layers.names='a' should be a list: ['a']"),
        (Keras, [], {}, "Keras.path must be given"),
    ],
)
def test_the_library_refuses_in_a_sentence_as_well(method, given, settings, said):
    with pytest.raises(ConfigError) as refused:
        method(*given, **settings)
    assert str(refused.value).startswith(said) and "\n" not in str(refused.value)
