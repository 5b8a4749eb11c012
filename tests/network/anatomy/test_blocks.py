"""Blocks found from names and graph."""

from contextlib import nullcontext

import numpy as np
import pytest
import tensorflow as tf

from sanity.network.anatomy.parameters import block_of
from sanity.network.classifier import Classifier


def network(*layers):
    """A chain of 1×1 convolutions, or branches side by side where several names are given."""
    draw = np.random.default_rng(0)
    variables = {}

    def kernel(name):
        with tf.name_scope(""):
            values = draw.normal(0, 1, (1, 1, 3, 3)).astype(np.float32)
            variables[name] = tf.Variable(values, name=name)

    for names in layers:
        for name in [names] if isinstance(names, str) else names:
            kernel(name)

    @tf.function
    def function(images):
        x = images
        for names in layers:
            if isinstance(names, str):
                x = tf.nn.relu(tf.nn.conv2d(x, variables[names], 1, "SAME"))
            else:
                x = tf.add_n([tf.nn.conv2d(x, variables[name], 1, "SAME") for name in names])
        return tf.reduce_mean(x, [1, 2])

    return Classifier(function, (4, 4, 3))


@pytest.mark.parametrize(
    ("layers", "blocks"),
    [
        # Order is the graph's, not the alphabet's nor that of registration.
        (["net/z/w", "net/a/w", "net/m/w"], ["m", "a", "z"]),
        # Branches belong together, a chain of numbered parts does not.
        (
            ["net/stem/w", ["net/Mixed_1/Branch_0/c/w", "net/Mixed_1/Branch_1/c/w"], "net/top/w"],
            ["top", "Mixed_1", "stem"],
        ),
        (
            ["vit/patch/w"]
            + [f"vit/encoder/layer_{i}/{part}/w" for i in range(2) for part in ("attention", "mlp")]
            + ["vit/head/w"],
            ["head", "encoder/layer_1", "encoder/layer_0", "patch"],
        ),
        # The convolutions of a block are layers, its units are not.
        (
            [f"resnet/block1/unit_{i}/conv{j}/w" for i in (1, 2) for j in (1, 2)] + ["resnet/fc/w"],
            ["fc", "block1/unit_2", "block1/unit_1"],
        ),
        (["vgg/conv1/conv1_1/w", "vgg/conv1/conv1_2/w", "vgg/fc/w"], ["fc", "conv1"]),
        # A row of numbered layers is taken apart where it is most of the network.
        (
            [f"features/{i}/w" for i in (0, 2, 5, 7)] + ["classifier/0/w", "classifier/3/w"],
            ["classifier", "features/7", "features/5", "features/2", "features/0"],
        ),
        # Keras writes blocks into the layers' names.
        (["stem/w", "block2a_expand/w", "block2a_project/w", "top/w"], ["top", "block2a", "stem"]),
        (
            [f"{stem}{part}/w" for stem in ("block_a", "block_b") for part in ("_one", "_two")],
            ["block_b", "block_a"],
        ),
        (
            ["stem/w"] + [f"blocks_{i}_{part}/w" for i in range(2) for part in ("conv", "mlp")],
            ["blocks_1", "blocks_0", "stem"],
        ),
        # A row of blocks that is called like another one, and more, is no part of it.
        (
            ["patch/w"]
            + [f"blocks/{i}/{part}/w" for i in range(2) for part in ("attention", "mlp")]
            + [f"blocks_token_only/{i}/{part}/w" for i in range(2) for part in ("attn", "mlp")],
            [f"blocks_token_only/{i}" for i in (1, 0)]
            + [f"blocks/{i}" for i in (1, 0)]
            + ["patch"],
        ),
        # What stands beside a row of blocks in their stage is a block of its own.
        (
            ["stem/w"]
            + [f"stages/0/blocks/{i}/{part}/w" for i in range(2) for part in ("conv", "mlp")]
            + ["stages/1/downsample/w"]
            + [f"stages/1/blocks/{i}/{part}/w" for i in range(2) for part in ("conv", "mlp")],
            ["stages/1/blocks/1", "stages/1/blocks/0", "stages/1/downsample"]
            + ["stages/0/blocks/1", "stages/0/blocks/0", "stem"],
        ),
        # A row of blocks is found however deep it stands (Hugging Face's Swin, DINOv2, MobileNet).
        (
            ["net/embeddings/projection/w"]
            + [f"net/encoder/layer/{i}/{part}/w" for i in range(2) for part in ("attn", "mlp")]
            + ["head/w"],
            ["head", "net/encoder/layer/1", "net/encoder/layer/0", "net/embeddings"],
        ),
        (
            ["net/stem/w", *[f"net/layer/{i}/convolution/w" for i in range(3)], "head/w"],
            ["head", *[f"net/layer/{i}" for i in (2, 1, 0)], "net/stem"],
        ),
        (
            ["net/encoder/network/0/conv/w", "net/encoder/network/0/mlp/w"]
            + ["net/encoder/network/1/projection/w", "net/encoder/last/w", "head/w"],
            ["head", "net/encoder/last", "net/encoder/network/1", "net/encoder/network/0"],
        ),
        # Embeddings of patches take turns with the blocks behind them (PVT, PoolFormer).
        (
            [
                f"net/encoder/{part}/w"
                for i in range(2)
                for part in (f"patches/{i}/projection", f"block/{i}/0/conv", f"block/{i}/0/mlp")
            ]
            + ["head/w"],
            ["head"] + [f"net/encoder/{part}/{i}" for i in (1, 0) for part in ("block", "patches")],
        ),
        # The layers of one block stay together, numbered or not.
        (
            ["net/stem/w"]
            + [f"net/stages/{i}/layer/{j}/convolution/w" for i in range(2) for j in range(2)]
            + ["net/stages/1/more/w", "net/norm/w", "head/w"],
            ["head", "net/norm", "net/stages/1", "net/stages/0", "net/stem"],
        ),
        (["dense/w"], ["dense"]),
        (["first", "second"], ["second", "first"]),
    ],
    ids=[
        "order",
        "branches",
        "encoder",
        "units",
        "layers",
        "row",
        "residual",
        "letters",
        "numbers",
        "two rows",
        "stages",
        "deep",
        "deep row",
        "list",
        "turns",
        "one block's",
        "one",
        "no path",
    ],
)
def test_blocks_are_found(layers, blocks):
    classifier = network(*layers)
    assert classifier.blocks == blocks
    for name, parameter in classifier.parameters.items():
        assert parameter.block in blocks
        if "/" in name:
            own = (
                "_"
                if parameter.block.startswith(("block2", "block_", "blocks_0", "blocks_1"))
                else "/"
            )
            assert f"/{parameter.block}{own}" in f"/{name}"


@pytest.mark.parametrize("scoped", [True, False], ids=["scopes", "no scopes"])
@pytest.mark.parametrize("inner", [[("conv",)], [("attention", "query"), ("attention", "out")]])
def test_parts_of_one_name_are_blocks_each(scoped, inner):
    """As of models within a model, exported without their names; norms go with their kernels."""
    draw = np.random.default_rng(0)
    parts = []
    for part in ("lower", "upper"):
        for names in inner:
            values = draw.normal(0, 1, (1, 1, 3, 3)).astype(np.float32)
            kernel = tf.Variable(values, name="/".join((*names, "kernel")))
            scale = tf.Variable(np.ones(3, np.float32), name="norm/gamma")
            parts.append((f"{part}/{'/'.join(names)}/" if scoped else "", kernel, scale))
    head = tf.Variable(np.eye(3, dtype=np.float32), name="head/kernel")

    @tf.function
    def function(images):
        x = images
        for scope, kernel, scale in parts:
            with tf.name_scope(scope) if scope else nullcontext():
                x = tf.nn.relu(tf.nn.conv2d(x, kernel, 1, "SAME") * scale)
        return tf.reduce_mean(x, [1, 2]) @ head

    found = Classifier(function, (4, 4, 3)).network
    (name,) = {names[0] for names in inner}
    assert found.blocks == ["head", f"{name}_1", name]
    blocks = [p.block for p in sorted(found.parameters.values(), key=lambda p: p.depth)]
    half = 2 * len(inner)
    assert blocks == [name] * half + [f"{name}_1"] * half + ["head"]


def test_what_one_layer_has_twice_stays_together():
    kernels = [
        tf.Variable(np.full((1, 1, 3, 3), i, np.float32), name="net/own/kernel") for i in (1, 2)
    ]
    head = tf.Variable(np.ones((3, 3), np.float32), name="net/head/kernel")

    @tf.function
    def function(images):
        x = images
        with tf.name_scope("own"):
            for kernel in kernels:
                x = tf.nn.relu(tf.nn.conv2d(x, kernel, 1, "SAME"))
        return tf.reduce_mean(x, [1, 2]) @ head

    assert Classifier(function, (4, 4, 3)).network.blocks == ["head", "own"]


@pytest.mark.parametrize(
    ("name", "blocks", "block"),
    [
        ("InceptionV3/Conv2d_1a_3x3/weights", ["Mixed_7a", "Conv2d_1a_3x3"], "Conv2d_1a_3x3"),
        (
            "InceptionV3/Mixed_7a/Branch_0/Conv2d_1a_3x3/w",
            ["Mixed_7a", "Conv2d_1a_3x3"],
            "Mixed_7a",
        ),
        ("net/block10/kernel", ["block1"], ""),
        ("net/block10/kernel", ["block1*"], "block1*"),
        ("block2a_conv/kernel", ["block2a*", "block2b*"], "block2a*"),
        ("a/b/c/kernel", ["b", "b/c"], "b/c"),
        ("a/b/c/kernel", ["a/c"], ""),
    ],
)
def test_names_are_matched_by_whole_components(name, blocks, block):
    assert block_of(name, blocks) == block


def test_a_network_without_kernels_has_blocks_of_what_it_has():
    scale, shift = (tf.Variable([0.5, 2, 3], name=f"{name}/v") for name in ("factor", "shift"))
    classifier = Classifier(lambda x: tf.reduce_mean(x * scale, [1, 2]) + shift, (4, 4, 3))
    assert classifier.blocks == ["shift", "factor"]
