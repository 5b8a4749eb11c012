"""Columns made of configurations."""

import pytest

from sanity.results.columns import config_columns, counts
from tests.results.runs import CONFIG, HYDRA


def test_config_columns_without_hydra():
    columns = config_columns(CONFIG, None)
    assert columns["target_rule"] == "predicted"
    assert columns["method.edges.sigma"] == 1.5
    assert columns["model.blocks"] == "[a,b]"
    assert "model" not in columns
    clips = config_columns({"metric": {"ssim": {"clip": [0, None, [True, 99.5]]}}}, None)
    assert clips == {"metric.ssim.clip": "[0,null,[true,99.5]]"}
    assert config_columns({}, HYDRA) == config_columns({}, {"hydra": HYDRA})
    assert config_columns({}, HYDRA)["model"] == "embedded"


@pytest.mark.parametrize(
    ("key", "scheme"),
    [
        ("seed", False),
        ("data.shard", False),
        ("model.data.shard", False),  # of a network trained here, on the data explained
        ("method.expected_gradients.references.shard", False),
        ("data.limit", True),
        ("model.seed", True),
        ("runtime.batch_size", False),
    ],
)
def test_what_sets_runs_apart(key, scheme):
    assert counts(key).scheme is scheme


def test_a_page_names_the_shard_once():
    assert counts("data.shard").shown and not counts("model.data.shard").shown
