import numpy as np
import pytest
from scipy import stats

from sanity.errors import ConfigError
from sanity.randomization import Randomization

LAYERS = ["top", "middle", "stem"]


def test_cascade_is_nested_and_changes_what_it_says(small):
    stages = Randomization().stages(small, LAYERS, 0)
    trained = small.weights()
    assert [stage.layer for stage in stages] == ["", *LAYERS]
    assert [stage.n_randomized for stage in stages] == [0, 2, 4, 5]
    before = {}
    with small.restored():
        for stage in stages:
            weights = stage.weights()
            small.set_weights(weights, stage.index)
            for name, value in small.weights().items():
                expected = weights.get(name, trained[name])
                np.testing.assert_array_equal(value, expected)
            assert all(np.array_equal(weights[name], value) for name, value in before.items())
            before = weights
    last = stages[-1].weights()
    assert set(last) == {
        "top/kernel",
        "top/bias",
        "middle/depthwise_kernel",
        "middle/bias",
        "stem/kernel",
    }
    assert not last["top/bias"].any()
    for name in ("top/kernel", "middle/depthwise_kernel", "stem/kernel"):
        assert not np.isclose(last[name], trained[name]).any()


def test_draws_are_keyed_by_seed_and_name(lite0):
    again = [Randomization().stages(lite0, lite0.blocks, seed)[-1].weights() for seed in (0, 0, 1)]
    alone = Randomization().stages(lite0, ["block8"], 0)[-1].weights()
    for name, value in again[0].items():
        np.testing.assert_array_equal(value, again[1][name])
        assert np.array_equal(value, again[2][name]) == (name == "logits/bias")
    for name, value in alone.items():
        np.testing.assert_array_equal(value, again[0][name])
    twins = [again[0][f"block{i}/expand/kernel"] for i in (9, 10)]
    assert twins[0].shape == twins[1].shape
    assert not np.isclose(*twins).any()


@pytest.mark.parametrize(
    "name", ["logits/kernel", "block15/expand/kernel", "block15/depthwise/kernel"]
)
def test_truncated_normal(lite0, name):
    value = Randomization().stages(lite0, lite0.blocks, 0)[-1].weights()[name].ravel()
    fan_in = {"logits/kernel": 1280, "block15/expand/kernel": 192, "block15/depthwise/kernel": 9}
    deviation = np.sqrt(2 / fan_in[name])
    scale = deviation / stats.truncnorm(-2, 2).std()
    assert stats.kstest(value, stats.truncnorm(-2, 2, scale=scale).cdf).pvalue > 0.01
    assert abs(value.std() / deviation - 1) < 5 / np.sqrt(value.size)
    assert abs(value).max() <= 2 * scale


def test_a_block_without_weights_is_refused(small):
    with pytest.raises(ConfigError, match="nothing of small has nothing"):
        Randomization().stages(small, ["nothing"], 0)
