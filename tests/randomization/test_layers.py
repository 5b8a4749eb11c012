"""Which blocks are randomized."""

import re

import pytest

from sanity.errors import ConfigError
from sanity.randomization.layers import Layers

BLOCKS = ["head", "mixed_b", "mixed_a", "stem"]


@pytest.mark.parametrize(
    ("layers", "chosen"),
    [
        (Layers(), BLOCKS),
        (Layers(last=2), ["head", "mixed_b"]),
        (Layers(names=["stem", "head"]), ["head", "stem"]),
        (Layers(pattern="mix|st"), ["mixed_b", "mixed_a", "stem"]),
        (Layers(pattern="_", last=1), ["mixed_b"]),
        (Layers(names=["mixed_a", "stem"], pattern="^m"), ["mixed_a"]),
    ],
    ids=repr,
)
def test_blocks_chosen(layers, chosen):
    assert layers.select(BLOCKS) == chosen


@pytest.mark.parametrize(
    ("layers", "blocks", "said"),
    [
        (Layers(names=["stem", "tail"]), BLOCKS, "layers.names=['tail'] matches no block; the"),
        (Layers(pattern="("), BLOCKS, "layers.pattern=( is no regular expression: "),
        (Layers(last=5), BLOCKS, "layers.last=5 must be at most 4; the model's blocks are: head,"),
        (
            Layers(pattern="zzz"),
            BLOCKS,
            "layers.pattern=zzz leaves no block; the model's blocks are",
        ),
        (Layers(), [], "the model has no layer with a kernel to randomize: model.blocks=[…]"),
    ],
    ids=lambda value: repr(value)[:30],
)
def test_choices_that_are_refused(layers, blocks, said):
    with pytest.raises(ConfigError, match=f"^{re.escape(said)}"):
        layers.select(blocks)
