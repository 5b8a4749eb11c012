"""Columns made of configurations."""

from sanity.results.columns import config_columns
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
