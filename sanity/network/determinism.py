"""Results on a graphics card that are the same to the bit each time.

TensorFlow adds up in an order of chance there unless it is told not to, and then refuses the ops
that it cannot order: they are computed on the processor.
"""

import sys
from functools import cache
from typing import Any

from sanity.network.devices import has_card

_PROCESSOR = "/device:CPU:0"
# What TensorFlow 2.21 refuses ("a deterministic GPU implementation … is not currently available",
# "determinism is not yet supported"): in backward passes, and in what prepares images.
_WITHOUT_ORDER = frozenset((
    "AdjustContrast", "AdjustContrastv2", "Bincount", "CropAndResizeGradBoxes",
    "CropAndResizeGradImage", "DenseBincount", "Dilation2DBackpropFilter",
    "Dilation2DBackpropInput", "FakeQuantWithMinMaxVarsGradient",
    "FakeQuantWithMinMaxVarsPerChannelGradient", "MaxPoolGradWithArgmax",
    "ResizeNearestNeighborGrad", "SparseTensorDenseMatMul", "Svd",
))  # fmt: skip
# Sums over rows by number: refused or not by how they are made, and of small tensors.
_SEGMENTS = frozenset((
    "SegmentMean", "SegmentProd", "SegmentSum", "SparseSegmentMean", "SparseSegmentSum",
    "UnsortedSegmentProd", "UnsortedSegmentSum",
))  # fmt: skip
_FROZEN = ("FusedBatchNormGrad", "FusedBatchNormGradV2", "FusedBatchNormGradV3")


@cache
def compute_in_order() -> None:
    """Has TensorFlow compute alike each time; where there is no graphics card, nothing changes.

    Ops that draw need a seed then: those of a user's own model, where it has any, get one.
    """
    import tensorflow as tf

    if has_card():
        tf.config.experimental.enable_op_determinism()
        tf.random.set_seed(0)


def is_without_order(error: BaseException) -> bool:
    """Whether an error says that an op has no order on a graphics card.

    Of those that are known it is one in a loop, see `place_on_processor`.
    """
    if "tensorflow" not in sys.modules:
        return False
    import tensorflow as tf

    return isinstance(error, tf.errors.OpError) and "determinis" in str(error).lower()


def place_on_processor(graph: Any) -> list[str]:
    """Has those ops of a graph computed on the processor that a graphics card refuses.

    Returns their names.
    """
    placed = [op for op in graph.get_operations() if _is_refused(op)]
    for op in placed:
        op._set_device(_PROCESSOR)
    return [op.name for op in placed]


def _is_refused(op: Any) -> bool:
    if op.type in _FROZEN:
        return not op.get_attr("is_training")
    return op.type in _WITHOUT_ORDER or op.type in _SEGMENTS
