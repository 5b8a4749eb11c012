"""Whether single numbers may have been learned."""

import math

import numpy as np
import pytest

from sanity.network.anatomy.single_numbers import may_be_learned

FORMULAS = {
    "half": 0.5,
    "a negative one": -1.702,
    "of GELU": 1 / math.sqrt(2),
    "of GELU's tanh": math.sqrt(2 / math.pi),
    "its cube's": 0.044715,
    "of attention": 1 / math.sqrt(96),
    "of either side of attention": 48**-0.25,
    "a mean's": 1 / 12544,
    "a fraction": 7 / 9,
    "an epsilon": 1e-5,
    "a logarithm": 1 / math.log(2),
    "SELU's": 1.6732632423543772,
    "a mask's": -3.4028235e38,
    "none": 0.0,
    "infinite": -math.inf,
}


@pytest.mark.parametrize("value", FORMULAS.values(), ids=FORMULAS)
def test_numbers_of_formulas_are_not(value):
    assert not may_be_learned(np.float32([value]))


@pytest.mark.parametrize("scale", [1e-3, 1, 30])
def test_most_others_may_be(scale):
    draws = scale * np.random.default_rng(0).standard_normal(500).astype(np.float32)
    assert np.mean([may_be_learned(draw[None]) for draw in draws]) > 0.9


def test_of_short_ones_nothing_is_known():
    assert not may_be_learned(np.float16([0.7312847]))
