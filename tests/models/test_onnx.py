"""ONNX files that PyTorch wrote, against PyTorch (see tests/data/onnx_reference.py)."""

import re
import zlib
from functools import cache

import numpy as np
import onnx
import pytest
from onnx.reference import ReferenceEvaluator

from sanity.config.job import compose
from sanity.errors import ConfigError
from sanity.models import Onnx
from tests.command import ROOT, sanity_here
from tests.models.importing.test_operators import f, model_of

FOLDER = ROOT / "tests" / "data" / "onnx"
NAMES = ["resnet", "mobilenet", "efficientnet", "vit", "convnext", "digits"]
STAGES = (1 / 3, 2 / 3, 1)
# Float32 against float64: a ReLU may fall on the other side, in one image of three.
NEAR = 1e-3


@cache
def classifier_of(name):
    return Onnx(path=str(FOLDER / f"{name}.onnx")).load()


@cache
def reference_of(name):
    with np.load(FOLDER / f"{name}.npz") as file:
        return dict(file)


def gradient_error(found, expected):
    """The median over images of the norm of the difference, relative to the gradient's."""
    axes = (1, 2, 3)
    return np.median(
        np.sqrt(((found - expected) ** 2).sum(axes) / (np.square(expected).sum(axes) + 1e-20))
    )


def draw(name, shape):
    """As in tests/data/onnx_reference.py: values of a parameter in PyTorch's order of axes."""
    random = np.random.Generator(np.random.PCG64(zlib.crc32(name.encode())))
    if name.endswith("running_var"):
        return random.uniform(0.5, 1.5, shape)
    values = random.normal(size=shape)
    if len(shape) > 1:
        return values * np.sqrt(2 / np.prod(shape[1:]))
    return 0.1 * values + (name.endswith("weight") and len(shape) == 1)


@cache
def pytorch_names(name):
    """The floating-point parameters' names, their shapes there, in PyTorch's order, by ours."""
    graph = onnx.load(str(FOLDER / f"{name}.onnx")).graph
    shapes = {one.name: tuple(one.dims) for one in graph.initializer}
    order = reference_of(name)["names"]
    return {str(key).replace(".", "/"): (str(key), shapes[str(key)]) for key in order}


def ours(value, shape):
    """A parameter as TensorFlow has it."""
    if len(shape) != 4 or value.shape == shape:
        return value.reshape(shape)
    turned = value.transpose(2, 3, 1, 0)
    return turned if turned.shape == shape else turned.reshape(shape)


@pytest.mark.parametrize("name", NAMES)
def test_logits_and_gradients_are_pytorchs(name):
    classifier, expected = classifier_of(name), reference_of(name)
    x, targets = expected["x"], np.arange(3)
    np.testing.assert_allclose(classifier.logits(x), expected["logits"], rtol=0, atol=1e-4)
    assert gradient_error(classifier.gradients(x, targets), expected["gradient"]) < NEAR
    if "guided" in expected:
        guided = classifier.gradients(x, targets, "guided_backprop")
        assert gradient_error(guided, expected["guided"]) < NEAR
        assert gradient_error(expected["gradient"], expected["guided"]) > 0.1


@pytest.mark.parametrize("name", NAMES)
def test_drawn_weights_give_what_they_give_in_pytorch(name):
    classifier, expected = classifier_of(name), reference_of(name)
    names = pytorch_names(name)
    assert set(classifier.parameters) == set(names)
    x, targets = expected["x"], np.arange(3)
    for k, share in enumerate(STAGES):
        chosen = [*names][-round(share * len(names)) :]
        with classifier.weights.restored():
            classifier.weights.put(
                {
                    own: ours(draw(*names[own]), classifier.parameters[own].shape).astype(
                        np.float32
                    )
                    for own in chosen
                }
            )
            logits = classifier.logits(x)
            limit = 1e-4 * max(1, np.abs(expected[f"logits{k}"]).max())
            np.testing.assert_allclose(logits, expected[f"logits{k}"], rtol=0, atol=limit)
            found = classifier.gradients(x, targets)
        assert gradient_error(found, expected[f"gradient{k}"]) < NEAR


BLOCKS = {
    "mobilenet": "classifier features/3 features/2 features/1 features/0",
    "efficientnet": "classifier features/3 features/2/1 features/2/0 features/1 features/0",
    "digits": "head layers/1 layers/0 stem",
    "convnext": "classifier features/3 features/2 features/1/1 features/1/0 features/0",
    "vit": "heads encoder/layers/encoder_layer_1 encoder/layers/encoder_layer_0 conv_proj",
}


@pytest.mark.parametrize("name", NAMES)
def test_every_parameter_has_a_role_and_a_block(name):
    classifier = classifier_of(name)
    if name in BLOCKS:
        assert list(classifier.blocks) == BLOCKS[name].split()
    assert not [p for p in classifier.parameters.values() if not p.block or p.kind == "other"]
    ends = {
        "running_mean": {"moving_mean"},
        "running_var": {"moving_variance"},
        "class_token": {"token"},
        "pos_embedding": {"position"},
        "layer_scale": {"scale"},
        "bias": {"bias", "offset"},
        "in_proj_bias": {"bias"},
        "weight": {"kernel", "scale"},
        "in_proj_weight": {"kernel"},
    }
    for p in classifier.parameters.values():
        assert p.kind in ends[p.name.rpartition("/")[2]], p.name


@pytest.mark.slow
def test_from_file_to_verdict(tmp_path):
    job = ["model=onnx", f"model.path={FOLDER / 'digits.onnx'}", "data=digits", "data.limit=5"]
    few = ["method=[gradient,guided_backprop]", "metric=[spearman]", "figures=none"]
    done = sanity_here(*job, *few, f"output={tmp_path}", cwd=tmp_path)
    assert "stage 4/4  stem" in done.stdout
    assert "guided_backprop" in done.stdout.split("verdict")[1]


def test_inspect_says_what_is_randomized(tmp_path):
    job = ["model=onnx", f"model.path={FOLDER / 'digits.onnx'}"]
    done = sanity_here(*job, cwd=tmp_path, module="sanity.inspect")
    found = re.search(r"randomized by a full cascade: ([\d,]+) of ([\d,]+) ", done.stdout)
    assert found and found[1] == found[2]


def test_batch_norm_that_was_left_in_training_mode_is_refused(tmp_path):
    """But not one that standardizes a kernel, whose values no image has a part in."""
    x, norm = f(2, 3, 8, 8), [np.ones(4, np.float32), *np.zeros((3, 4), np.float32)]
    nodes = [
        ("Conv", [f(4, 3, 3, 3)], {}),
        ("BatchNormalization", norm, {"training_mode": 1}),
        ("GlobalAveragePool", [], {}),
        ("Flatten", [], {}),
        ("Gemm", [f(4, 5)], {}),
    ]
    path = tmp_path / "net.onnx"
    onnx.save(model_of(nodes, x), str(path))
    with pytest.raises(ConfigError, match="batch normalization is left in training mode"):
        Onnx(path=str(path)).load()
    standardized = model_of([*nodes[:1], *nodes[2:]], x)
    constants = dict(zip("sbmv", norm, strict=True))
    for name, value in constants.items():
        value = np.ones(3, np.float32) if name == "s" else value[:3]
        standardized.graph.initializer.append(onnx.numpy_helper.from_array(value, name))
    convolution = standardized.graph.node[0]
    own = ["BatchNormalization", [convolution.input[1], *constants], ["kernel"]]
    convolution.input[1] = "kernel"
    standardized.graph.node.insert(0, onnx.helper.make_node(*own, training_mode=1))
    onnx.save(standardized, str(path))
    (expected,) = ReferenceEvaluator(standardized).run(None, {"x": x})
    found = Onnx(path=str(path)).load().logits(np.moveaxis(x, 1, -1))
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-5)


def test_a_file_that_is_not_there_is_said_before_anything_is_read():
    said = r"model\.path=nowhere\.onnx: there is no such file or folder; it must be"
    with pytest.raises(ConfigError, match=said):
        _ = compose(["model=onnx", "model.path=nowhere.onnx", "metric=[mse]"]).run_id
