"""Networks whose variables' names lie: what each does is only to be seen in the graph."""

import numpy as np
import tensorflow as tf

NETWORKS = {}


def network(*shape):
    """Registers a function that, given a `Maker`, returns the network of images of a shape."""

    def register(build):
        NETWORKS[build.__name__.replace("_", " ")] = (build, shape)
        return build

    return register


class Maker:
    """Makes variables, each with a name that lies, and keeps what each of them is.

    Attributes:
        kinds: The kind of each variable, by name.
        fans: Its fans, where they are given.
        trainable: Names of the trainable ones.
    """

    def __init__(self, lie="moving_variance"):
        self._draw = np.random.default_rng(0)
        self._lie = lie
        self.kinds, self.fans, self.trainable = {}, {}, []

    def __call__(self, kind, *shape, fans=None, trainable=None, around=0.6, dtype=tf.float32):
        name = f"n{len(self.kinds)}/{self._lie}"
        values = around + 0.2 * self._draw.standard_normal(shape)
        values = np.abs(values) + 0.3 if kind == "moving_variance" else values
        measured = kind.startswith("moving") or kind == "range"
        trainable = not measured if trainable is None else trainable
        self.kinds[name], self.fans[name] = kind, fans
        if trainable:
            self.trainable.append(name)
        return tf.Variable(values, name=name, trainable=trainable, dtype=dtype)

    def norm(self, channels):
        """Gamma, beta, mean, variance."""
        kinds = ("scale", "offset", "moving_mean", "moving_variance")
        return [self(kind, channels) for kind in kinds]


def _conv(x, kernel):
    return tf.nn.conv2d(x, kernel, 1, "SAME")


def _pooled(x):
    return tf.reduce_mean(x, [1, 2])


@network(8, 8, 3)
def batch_norms(make):
    kernels = [make("kernel", 3, 3, c, 4, fans=(9 * c, 36)) for c in (3, 4, 4, 4, 4)]
    norms, head = [make.norm(4) for _ in kernels], make("kernel", 4, 3, fans=(4, 3))
    after = make("bias", 4)

    def fused(x, gamma, beta, mean, variance):
        return tf.raw_ops.FusedBatchNormV3(
            x=x, scale=gamma, offset=beta, mean=mean, variance=variance, is_training=False
        ).y

    def scaled(x, gamma, beta, mean, variance):
        return tf.nn.batch_normalization(x + after, mean, variance, beta, gamma, 1e-3)

    def centred(x, gamma, beta, mean, variance):
        return (x - mean) * (gamma / tf.sqrt(variance + 1e-3)) + beta

    def divided(x, gamma, beta, mean, variance):
        return gamma * ((x - tf.reshape(mean, [1, 1, 1, -1])) / tf.sqrt(variance)) + beta

    def powers(x, gamma, beta, mean, variance):
        return tf.pow(variance + 1e-3, -0.5) * (x - mean) * gamma + beta

    def function(x):
        forms = (fused, scaled, centred, divided, powers)
        for kernel, norm, form in zip(kernels, norms, forms, strict=True):
            x = tf.nn.relu(form(_conv(x, kernel), *norm))
        return _pooled(x) @ head

    return function


@network(8, 8, 3)
def standardized_kernels(make):
    kernels = [make("kernel", 3, 3, c, 4, fans=(9 * c, 36)) for c in (3, 4)]
    gain, head = make("scale", 4), make("kernel", 4, 3, fans=(4, 3))

    def function(x):
        for kernel in kernels:
            mean, variance = tf.nn.moments(kernel, [0, 1, 2], keepdims=True)
            x = tf.nn.relu(_conv(x, gain * (kernel - mean) * tf.math.rsqrt(variance + 1e-5)))
        return _pooled(x) @ head

    return function


@network(4, 4, 2)
def normalized_kernels(make):
    direction, gain, bias = make("kernel", 32, 6, fans=(32, 6)), make("scale", 6), make("bias", 6)
    second, head = make("kernel", 6, 5, fans=(6, 5)), make("kernel", 3, 5, fans=(5, 3))
    factor = make("scale", 3)

    def function(x):
        x = tf.reshape(x, [-1, 32])
        x = tf.nn.relu(x @ (gain * direction / tf.norm(direction, axis=0)) + bias)
        x = tf.nn.relu(x @ tf.math.l2_normalize(second, axis=0))
        return tf.matmul(x, tf.math.l2_normalize(head, axis=1), transpose_b=True) * factor

    return function


@network(4, 4, 2)
def quantized_kernels(make):
    kernel, low, high = make("kernel", 3, 3, 2, 4), make("range", around=-1.0), make("range")
    step, head, bias = make("range", around=0.1), make("kernel", 4, 3), make("bias", 3)

    def function(x):
        fake = tf.quantization.fake_quant_with_min_max_vars(kernel, low, high)
        return _pooled(tf.nn.relu(_conv(x, fake))) @ (tf.round(head / step) * step) + bias

    return function


@network(4, 4, 2)
def low_rank_updates(make):
    frozen = make("kernel", 32, 6, fans=(32, 6), trainable=False)
    down, up = make("kernel", 32, 2, fans=(32, 2)), make("kernel", 2, 6, fans=(2, 6))
    turned = make("kernel", 5, 6, fans=(6, 5))
    left, right = make("kernel", 5, 2, fans=(2, 5)), make("kernel", 2, 6, fans=(6, 2))

    def function(x):
        x = tf.nn.relu(tf.reshape(x, [-1, 32]) @ (frozen + 0.5 * tf.matmul(down, up)))
        return tf.matmul(x, turned + left @ right, transpose_b=True)

    return function


@network(4, 4, 6)
def kernels_of_all_kinds(make):
    depthwise, transposed = make("kernel", 3, 3, 6, 2, fans=(9, 18)), make("kernel", 2, 2, 5, 12)
    make.fans["n1/" + make._lie] = (12, 20)
    one_dimensional, equation = make("kernel", 3, 5, 4, fans=(15, 12)), make("kernel", 4, 2, 3)
    make.fans["n3/" + make._lie] = (4, 6)
    stack, stored = make("kernel", 2, 6, 6, fans=(6, 6)), make("kernel", 5, 6, fans=(6, 5))
    left, weighted = make("kernel", 7, 5, fans=(5, 7)), make("kernel", 7, 3, fans=(7, 3))
    half = make("kernel", 3, 4, fans=(3, 4), dtype=tf.float16)
    bias, mixing = make("bias", 2, 3), make("kernel", 2, fans=(2, 2))

    def function(x):
        x = tf.nn.depthwise_conv2d(x, depthwise, [1, 1, 1, 1], "SAME")
        x = tf.nn.conv2d_transpose(x, transposed, tf.stack([tf.shape(x)[0], 8, 8, 5]), 2)
        x = tf.nn.conv1d(tf.reshape(x, [-1, 64, 5]), one_dimensional, 1, "SAME")
        x = tf.nn.relu(tf.einsum("btc,chd->bthd", x, equation) + bias)
        x = tf.reshape(tf.reduce_mean(x, 1), [-1, 6])
        for kernel in tf.unstack(stack):
            x = tf.nn.relu(x @ kernel)
        x = tf.matmul(x, tf.transpose(stored))
        x = tf.linalg.matmul(left, x[:, :, None])[:, :, 0]
        x = tf.reduce_sum(x[:, :, None] * weighted, 1)
        x = x @ tf.cast(half, tf.float32)
        weights = tf.nn.softmax(mixing)
        return tf.einsum("bcn,n->bc", tf.stack([x, tf.square(x)], -1), weights)

    return function


@network(4, 4, 1)
def embeddings(make):
    table, head = make("kernel", 8, 5, fans=(8, 5)), make("kernel", 5, 3, fans=(5, 3))

    def function(x):
        levels = tf.cast(tf.reshape(x, [-1, 16]) * 7, tf.int32)
        soft = tf.reshape(x, [-1, 16, 1])
        return tf.reduce_mean(tf.gather(table, levels) * soft, 1) @ head

    return function


@network(4, 4, 3)
def slopes(make):
    alphas = [make("slope", *shape) for shape in ((3,), (1, 1, 3), (4, 4, 3), (3,), ())]
    head = make("kernel", 3, 3, fans=(3, 3))

    def function(x):
        a, b, c, d, e = alphas
        x = tf.nn.relu(x - 0.4) - a * tf.nn.relu(0.4 - x) + tf.nn.relu(x) + -a * tf.nn.relu(-x)
        x = tf.maximum(x, 0.0) + b * tf.minimum(x, 0.0)
        x = tf.nn.relu(x) + c * (x - tf.abs(x)) * 0.5
        x = tf.where(x > 0, x, d * x)
        return _pooled(tf.maximum(x, e * x)) @ head

    return function


@network(8, 8, 3)
def a_transformer(make):
    width, heads = 6, 2
    patches, shift = make("kernel", 4, 4, 3, width, fans=(48, 96)), make("bias", width)
    token = make("token", 1, 1, width, fans=(6, 6))
    position = make("position", 1, 5, width, fans=(6, 6))
    relative = make("position", 9, heads, fans=(2, 2))
    norms = [(make("scale", width), make("offset", width)) for _ in range(2)]
    projections = [(make("kernel", width, heads, 3), make("bias", heads, 3)) for _ in range(3)]
    out, layer_scale = make("kernel", heads, 3, width), make("scale", width)
    head, bias = make("kernel", width, 3, fans=(6, 3)), make("bias", 3)
    offsets = np.arange(5)[:, None] - np.arange(5)[None] + 4

    def norm(x, gamma, beta):
        mean, variance = tf.nn.moments(x, -1, keepdims=True)
        inverse = tf.math.rsqrt(variance + 1e-3) * gamma
        return x * inverse + (-mean * inverse + beta)

    def function(x):
        n = tf.shape(x)[0]
        x = tf.reshape(tf.nn.conv2d(x, patches, 4, "VALID") + shift, [n, 4, width])
        x = tf.concat([tf.tile(token, [n, 1, 1]), x], 1) + position
        y = norm(x, *norms[0])
        q, k, v = (
            tf.reshape(
                tf.reshape(y, [-1, width]) @ tf.reshape(kernel, [width, heads * 3]),
                [-1, 5, heads, 3],
            )
            + b
            for kernel, b in projections
        )
        near = tf.transpose(tf.gather(relative, offsets), [2, 0, 1])
        attention = tf.nn.softmax(tf.einsum("bthd,bshd->bhts", q, k) * 0.5 + near)
        y = tf.einsum("bhts,bshd->bthd", attention, v)
        x += layer_scale * tf.einsum("bthd,hdc->btc", y, out)
        return norm(x, *norms[1])[:, 0] @ head + bias

    return function


@network(4, 4, 3)
def learned_queries(make):
    queries, keys = make("kernel", 2, 5), make("kernel", 3, 5, fans=(3, 5))
    project, shift = make("kernel", 5, 5), make("bias", 5)
    head = make("kernel", 6, 4, fans=(6, 4))

    def function(x):
        x = tf.reshape(x, [-1, 16, 3])
        wanted = queries @ project + shift
        found = tf.einsum("btc,cd->btd", x, keys)
        attention = tf.nn.softmax(tf.einsum("qd,btd->bqt", wanted, found))
        return tf.reshape(attention @ x, [-1, 6]) @ head

    return function


@network(4, 4, 3)
def fixed_preprocessing(make):
    mean, factor = (make("preprocessing", 3, trainable=False) for _ in range(2))
    kernel, head = make("kernel", 3, 3, 3, 4), make("kernel", 4, 3)
    frozen = make("bias", 4, trainable=False)

    def function(x):
        return _pooled(tf.nn.relu(_conv((x - mean) * factor, kernel) + frozen)) @ head

    return function


@network(8, 8, 3)
def distances(make):
    """Of features at each place to prototypes, and to the centres of radial basis functions."""
    kernel, bias = make("kernel", 3, 3, 3, 4), make("bias", 4)
    prototypes, centres = make("kernel", 6, 4, fans=(4, 6)), make("kernel", 5, 6, fans=(6, 5))
    widths, head = make("scale", 5), make("kernel", 5, 4, fans=(5, 4))
    lengths, shift = make("kernel", 4, 8, fans=(4, 8)), make("bias", 4, 2)

    def function(x):
        x = tf.nn.relu(_conv(x, kernel) + bias)
        near = tf.reduce_max(-tf.reduce_mean((x[:, :, :, None] - prototypes) ** 2, -1), [1, 2])
        far = tf.reduce_sum(tf.math.squared_difference(near[:, None], centres), -1)
        capsules = tf.reshape(_pooled(x) @ lengths, [-1, 4, 2]) + shift
        return tf.exp(-widths * far) @ head + tf.norm(capsules, axis=-1)

    return function


@network(8, 8, 3)
def a_learned_query(make):
    """Attention pooling: one row of parameters passes a norm's gain and a layer with a bias."""
    patches = make("kernel", 4, 4, 3, 6, fans=(48, 96))
    latent, gain, beta = make("kernel", 1, 6), make("scale", 6), make("bias", 6)
    query, bias = make("kernel", 6, 6, fans=(6, 6)), make("bias", 6)
    head = make("kernel", 6, 5, fans=(6, 5))

    def classify(x):
        x = tf.reshape(tf.nn.conv2d(x, patches, 4, "SAME"), [-1, 4, 6])
        row = (latent * gain + beta) @ query + bias
        weights = tf.nn.softmax(tf.einsum("qc,nkc->nqk", row, x))
        return tf.reshape(weights @ x, [-1, 6]) @ head

    return classify
