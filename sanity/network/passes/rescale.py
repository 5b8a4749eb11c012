"""DeepLIFT's Rescale rule, as gradients of ops that see images and, below them, baselines."""

from collections.abc import Callable
from typing import Any, TypeVar

import tensorflow as tf

F = TypeVar("F", bound=Callable[..., Any])
# The names that the gradients are registered by.
SLOPE, PRODUCT = "SanityRescale", "SanityRescaleProduct"
MAX_POOL, MAX = "SanityRescaleMaxPool", "SanityRescaleMax"
# Half the distance of 1 to the next larger number.
_UNIT = {tf.bfloat16: 2.0**-9, tf.float16: 2.0**-11, tf.float32: 2.0**-24, tf.float64: 2.0**-53}
_EXACT = 1e-5  # a chord's relative error that is no reason to take a tangent


def register(name: str) -> Callable[[F], F]:
    """`tf.RegisterGradient`, with types."""
    registered: Callable[[F], F] = tf.RegisterGradient(name)
    return registered


@register(SLOPE)
def _rescale(op: tf.Operation, gradient: tf.Tensor, _: tf.Tensor) -> tuple[None, tf.Tensor]:
    """Slope of the chord from baseline to image, of a function y of x; see `_slope`."""
    y, x = op.inputs
    (tangents,) = tf.gradients(y, x, tf.ones_like(y))
    upper, _ = tf.split(gradient, 2)
    return None, _for_images(upper * _slope(x, y, tangents))


def _slope(x: Any, y: Any, tangents: Any) -> Any:
    """Slope of the chord; where it is lost in rounding, the mean of both ends' tangents.

    A chord of length d has an absolute error of about u (|y| + |y₀|) / |d|, with u the rounding
    unit, the mean of the tangents one of the order of (t − t₀)² / max(|t|, |t₀|) on a smooth
    function; at a kink the latter is as large as the slope itself. So the smaller of both errors
    decides, and scaling x or y changes nothing. Where the chord is exact to `_EXACT` it is taken
    in any case: between two flat parts (ReLU6 from -1 to 7) the tangents know nothing of it.
    """
    (x, x0), (y, y0), (t, t0) = (tf.split(tensor, 2) for tensor in (x, y, tangents))
    way, rise = x - x0, y - y0
    apart = tf.not_equal(way, 0)
    safe = tf.where(apart, way, tf.ones_like(way))
    chord = rise / safe
    error = _UNIT[x.dtype] * (tf.abs(y) + tf.abs(y0)) / tf.abs(safe)
    bend = tf.math.divide_no_nan((t - t0) ** 2, tf.maximum(tf.abs(t), tf.abs(t0)))
    usable = apart & ((error <= _EXACT * tf.abs(chord)) | (error < bend))
    return tf.where(usable, chord, (t + t0) / 2)


@register(MAX_POOL)
def _rescale_max_pool(op: tf.Operation, gradient: tf.Tensor) -> tf.Tensor:
    def back(inputs: Any, outputs: Any, upper: Any) -> Any:
        return tf.raw_ops.MaxPoolGrad(
            orig_input=inputs,
            orig_output=outputs,
            grad=upper,
            ksize=op.get_attr("ksize"),
            strides=op.get_attr("strides"),
            padding=op.get_attr("padding"),
            explicit_paddings=op.get_attr("explicit_paddings"),
            data_format=op.get_attr("data_format"),
        )

    return _shared_out(op, gradient, back)


@register(MAX)
def _rescale_max(op: tf.Operation, gradient: tf.Tensor) -> tuple[tf.Tensor, None]:
    axes = op.inputs[1]

    def kept(tensor: Any, like: Any) -> Any:
        """A maximum, with an axis of 1 in place of each that it was taken over."""
        return tf.reshape(tensor, tf.shape(tf.reduce_sum(like, axes, keepdims=True)))

    def back(inputs: Any, outputs: Any, upper: Any) -> Any:
        chosen = tf.cast(tf.equal(inputs, kept(outputs, inputs)), inputs.dtype)
        return chosen / tf.reduce_sum(chosen, axes, keepdims=True) * kept(upper, inputs)

    return _shared_out(op, gradient, back), None


def _shared_out(op: tf.Operation, gradient: Any, back: Callable[[Any, Any, Any], Any]) -> Any:
    """The difference of two maxima, given to the inputs that make them, as `shap` does.

    Of the way from the baseline's maximum to the image's, the part up to the larger of both goes
    to what is the maximum in the image, the rest to what is the maximum in the baseline. Both lie
    no farther from each other than these inputs do, so that no quotient exceeds 1.

    Args:
        op: Chooses entries of its first input.
        gradient: Of its output.
        back: From inputs, outputs and gradients there, the op's gradient.
    """
    x, baseline = tf.split(op.inputs[0], 2)
    y, y_baseline = tf.split(op.outputs[0], 2)
    upper, _ = tf.split(gradient, 2)
    larger = tf.maximum(y, y_baseline) if op.type != "Min" else tf.minimum(y, y_baseline)
    given = back(x, y, upper * (larger - y_baseline))
    given += back(baseline, y_baseline, upper * (y - larger))
    way = x - baseline
    apart = tf.not_equal(way, 0)
    slope = given / tf.where(apart, way, tf.ones_like(way))
    return _for_images(tf.where(apart, slope, back(x, y, upper)))


@register(PRODUCT)
def _rescale_product(op: tf.Operation, gradient: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
    """Each factor's share of the difference of two products: its own by the other's mean.

    ab − a₀b₀ = (a − a₀)(b + b₀)/2 + (b − b₀)(a + a₀)/2: the two factors' Shapley values, as in
    `shap`'s DeepExplainer (Chen et al. 2022, "Explaining a series of models by propagating
    Shapley values").
    """
    a, b = op.inputs
    upper, _ = tf.split(gradient, 2)
    means = [tf.add_n(tf.split(factor, 2)) / 2 for factor in (a, b)]
    shapes = [tf.shape(mean) for mean in means]
    axes = tf.raw_ops.BroadcastGradientArgs(s0=shapes[0], s1=shapes[1])
    return tuple(
        _for_images(tf.reshape(tf.reduce_sum(upper * means[1 - i], axes[i]), shapes[i]))
        for i in (0, 1)
    )


def _for_images(gradient: Any) -> Any:
    """What goes back to images and baselines: to the baselines nothing."""
    return tf.concat([gradient, tf.zeros_like(gradient)], 0)
