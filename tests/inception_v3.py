"""A stand-in for TF Hub's Inception v3: its graph, names and format, with random weights.

    python -m tests.inception_v3 FOLDER [WIDTH [CLASSES]]

Width 1 gives the full-size network, 378 variables and 1001 classes. The names are TF-Slim's; the
format is TF1 Hub's: one graph without tags, the signature `image_classification`, no Python call.
"""

import sys
from pathlib import Path

import numpy as np
import tensorflow as tf

tf1 = tf.compat.v1
ENDPOINTS = 21


class _Builder:
    def __init__(self, width, whole=True):
        self.width = width
        self.left_out = () if whole else ("5c", "5d", "6c", "6d", "6e", "7c")
        self.random = np.random.default_rng(0)
        self.endpoints = {}

    def kept(self, blocks):
        """Of blocks that are alike, those that the network has."""
        return [block for block in blocks if block[0].removeprefix("Mixed_") not in self.left_out]

    def depth(self, channels):
        return max(int(channels * self.width), 4)

    def variable(self, name, values):
        return tf1.get_variable(name, initializer=values.astype(np.float32))

    def conv(self, x, name, channels, size, stride=1, padding="SAME"):
        channels = self.depth(channels)
        with tf1.variable_scope(name):
            shape = (*size, int(x.shape[-1]), channels)
            scale = np.sqrt(2 / np.prod(shape[:3]))
            weights = self.variable("weights", self.random.normal(0, scale, shape))
            x = tf1.nn.conv2d(x, weights, stride, padding, name="Conv2D")
            with tf1.variable_scope("BatchNorm"):
                beta = self.variable("beta", self.random.normal(0, 0.1, channels))
                mean = self.variable("moving_mean", self.random.normal(0, 0.1, channels))
                variance = self.variable("moving_variance", self.random.uniform(0.5, 1, channels))
                x, *_ = tf1.nn.fused_batch_norm(
                    x, tf.ones(channels), beta, mean, variance, 1e-3, is_training=False
                )
            return tf1.nn.relu(x, name="Relu")

    def mixed(self, x, name, branches):
        """Branches of (layer, channels, size[, stride]); a list among them is done side by side."""
        with tf1.variable_scope(name):
            done = []
            for index, branch in enumerate(branches):
                with tf1.variable_scope(f"Branch_{index}"):
                    y = x
                    for step in branch:
                        if step == "avg":
                            y = tf1.nn.avg_pool2d(y, 3, 1, "SAME", name="AvgPool_0a_3x3")
                        elif step == "max":
                            y = tf1.nn.max_pool2d(y, 3, 2, "VALID", name="MaxPool_1a_3x3")
                        elif isinstance(step, list):
                            y = tf.concat([self.conv(y, *one) for one in step], 3)
                        elif len(step) == 4:
                            y = self.conv(y, *step, padding="VALID")
                        else:
                            y = self.conv(y, *step)
                    done.append(y)
            x = tf.concat(done, 3, name="concat")
        return self.keep(name, x)

    def keep(self, name, x):
        self.endpoints[f"InceptionV3/{name}"] = x
        return x

    def network(self, images, classes):
        one, three = (1, 1), (3, 3)
        x = images * 2.0 - 1.0
        with tf1.variable_scope("InceptionV3"):
            for name, channels, size, stride, padding in [
                ("Conv2d_1a_3x3", 32, three, 2, "VALID"),
                ("Conv2d_2a_3x3", 32, three, 1, "VALID"),
                ("Conv2d_2b_3x3", 64, three, 1, "SAME"),
                ("MaxPool_3a_3x3", 0, three, 2, "VALID"),
                ("Conv2d_3b_1x1", 80, one, 1, "VALID"),
                ("Conv2d_4a_3x3", 192, three, 1, "VALID"),
                ("MaxPool_5a_3x3", 0, three, 2, "VALID"),
            ]:
                if channels:
                    x = self.keep(name, self.conv(x, name, channels, size, stride, padding))
                else:
                    x = self.keep(name, tf1.nn.max_pool2d(x, 3, stride, padding, name=name))
            for name, pooled in self.kept([("Mixed_5b", 32), ("Mixed_5c", 64), ("Mixed_5d", 64)]):
                odd = name == "Mixed_5c"  # Slim's own inconsistency
                x = self.mixed(
                    x,
                    name,
                    [
                        [("Conv2d_0a_1x1", 64, one)],
                        [
                            ("Conv2d_0b_1x1" if odd else "Conv2d_0a_1x1", 48, one),
                            ("Conv_1_0c_5x5" if odd else "Conv2d_0b_5x5", 64, (5, 5)),
                        ],
                        [
                            ("Conv2d_0a_1x1", 64, one),
                            ("Conv2d_0b_3x3", 96, three),
                            ("Conv2d_0c_3x3", 96, three),
                        ],
                        ["avg", ("Conv2d_0b_1x1", pooled, one)],
                    ],
                )
            x = self.mixed(
                x,
                "Mixed_6a",
                [
                    [("Conv2d_1a_1x1", 384, three, 2)],
                    [
                        ("Conv2d_0a_1x1", 64, one),
                        ("Conv2d_0b_3x3", 96, three),
                        ("Conv2d_1a_1x1", 96, three, 2),
                    ],
                    ["max"],
                ],
            )
            for name, n in self.kept([("6b", 128), ("6c", 160), ("6d", 160), ("6e", 192)]):
                x = self.mixed(
                    x,
                    f"Mixed_{name}",
                    [
                        [("Conv2d_0a_1x1", 192, one)],
                        [
                            ("Conv2d_0a_1x1", n, one),
                            ("Conv2d_0b_1x7", n, (1, 7)),
                            ("Conv2d_0c_7x1", 192, (7, 1)),
                        ],
                        [
                            ("Conv2d_0a_1x1", n, one),
                            ("Conv2d_0b_7x1", n, (7, 1)),
                            ("Conv2d_0c_1x7", n, (1, 7)),
                            ("Conv2d_0d_7x1", n, (7, 1)),
                            ("Conv2d_0e_1x7", 192, (1, 7)),
                        ],
                        ["avg", ("Conv2d_0b_1x1", 192, one)],
                    ],
                )
            x = self.mixed(
                x,
                "Mixed_7a",
                [
                    [("Conv2d_0a_1x1", 192, one), ("Conv2d_1a_3x3", 320, three, 2)],
                    [
                        ("Conv2d_0a_1x1", 192, one),
                        ("Conv2d_0b_1x7", 192, (1, 7)),
                        ("Conv2d_0c_7x1", 192, (7, 1)),
                        ("Conv2d_1a_3x3", 192, three, 2),
                    ],
                    ["max"],
                ],
            )
            talls = [("Mixed_7b", "Conv2d_0b_3x1"), ("Mixed_7c", "Conv2d_0c_3x1")]
            for name, tall in self.kept(talls):
                x = self.mixed(
                    x,
                    name,
                    [
                        [("Conv2d_0a_1x1", 320, one)],
                        [
                            ("Conv2d_0a_1x1", 384, one),
                            [("Conv2d_0b_1x3", 384, (1, 3)), (tall, 384, (3, 1))],
                        ],
                        [
                            ("Conv2d_0a_1x1", 448, one),
                            ("Conv2d_0b_3x3", 384, three),
                            [("Conv2d_0c_1x3", 384, (1, 3)), ("Conv2d_0d_3x1", 384, (3, 1))],
                        ],
                        ["avg", ("Conv2d_0b_1x1", 192, one)],
                    ],
                )
            with tf1.variable_scope("Logits"):
                x = tf.reduce_mean(x, [1, 2], keepdims=True, name="global_pool")
                self.endpoints["InceptionV3/global_pool"] = x
                with tf1.variable_scope("Conv2d_1c_1x1"):
                    shape = (1, 1, int(x.shape[-1]), classes)
                    scale = np.sqrt(4 / shape[2])
                    weights = self.variable("weights", self.random.normal(0, scale, shape))
                    biases = self.variable("biases", self.random.normal(0, 0.1, classes))
                    x = tf1.nn.bias_add(tf1.nn.conv2d(x, weights, 1, "SAME"), biases)
                x = self.keep("Logits", tf.squeeze(x, [1, 2], name="SpatialSqueeze"))
            with tf1.variable_scope("Predictions"):
                flat = tf.nn.softmax(tf.reshape(x, [-1, classes]))
                self.keep("Predictions", tf.reshape(flat, tf.shape(x)))
        self.endpoints["InceptionV3/Predictions"].set_shape([None, classes])
        return {"default": x, **self.endpoints}


def build(folder, width=1.0, classes=1001, resource=False, whole=True):
    """Writes the module into a folder that is not there yet, and returns the folder.

    Args:
        folder: Where it goes.
        width: A factor of all numbers of channels.
        classes: As many outputs.
        resource: Whether variables are resources, or references as those of TF Hub's module are.
        whole: Whether it has all blocks, or of those that are alike only the first.
    """
    folder = Path(folder)
    with tf.Graph().as_default() as graph:
        with tf1.variable_scope("", use_resource=resource):
            images = tf1.placeholder(tf.float32, [None, None, None, 3], "images")
            outputs = _Builder(width, whole).network(images, classes)
        with tf1.Session(graph=graph) as session:
            session.run(tf1.global_variables_initializer())
            info = tf1.saved_model.build_tensor_info
            signature = tf1.saved_model.build_signature_def(
                {"images": info(images)},
                {name: info(tensor) for name, tensor in outputs.items()},
                "image_classification",
            )
            builder = tf1.saved_model.Builder(str(folder))
            builder.add_meta_graph_and_variables(
                session, [], {"image_classification": signature, "default": signature}
            )
            builder.save()
    (folder / "tfhub_module.pb").write_bytes(b"\x08\x03")  # what marks TF1 Hub format
    return folder


if __name__ == "__main__":
    build(sys.argv[1], *map(float, sys.argv[2:3]), *map(int, sys.argv[3:4]))
