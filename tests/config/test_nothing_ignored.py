"""What was asked for and cannot be done is refused or said, never passed over."""

import pytest

from sanity import load_runs
from sanity.config.job import compose, resolve
from sanity.errors import ConfigError
from sanity.randomization import Layers
from tests.command import sanity_here


def test_a_home_folder_is_expanded(monkeypatch, tmp_path):
    monkeypatch.setenv("HOME", str(tmp_path))
    job = compose(["output='~/results'"])
    assert job.folder.is_relative_to(tmp_path / "results")
    assert job.run_id == compose([]).run_id
    with pytest.raises(ConfigError, match=f"Cannot read {tmp_path}/nothing"):
        load_runs("~/nothing")


def test_more_blocks_than_there_are_are_refused():
    assert Layers(last=2).select(["a", "b"]) == ["a", "b"]
    with pytest.raises(ConfigError, match=r"layers\.last=100 must be at most 2; .* a, b"):
        Layers(last=100).select(["a", "b"])
    with pytest.raises(ConfigError, match=r"layers\.last=100 must be at most"):
        compose(["layers.last=100"])


@pytest.mark.parametrize(
    "override", ["+method.smoothgrad.samples=10", "+metric.hog.orientations=4"]
)
def test_keys_of_what_is_not_chosen_are_refused(override):
    chosen = ["method=[gradient]", "metric=[ssim]"]
    name = override.split(".")[1]
    with pytest.raises(ConfigError, match=f"changes nothing, as {name} is not chosen"):
        compose([*chosen, override])


def test_keys_that_a_preset_left_are_dropped_but_not_the_users():
    assert list(compose(["experiment=paper", "method=[gradient]"]).methods) == ["gradient"]
    with pytest.raises(ConfigError, match="changes nothing, as occlusion is not chosen"):
        compose(["experiment=paper", "method=[gradient]", "+method.occlusion.size=3"])


def test_overrides_are_kept_as_they_were_typed():
    job = compose(["noise_seed=3", "seed=${noise_seed}"])
    assert job.settings.seed == 3 and job.overrides[-1] == "seed=${noise_seed}"


def test_a_key_that_is_given_twice_is_said(caplog):
    assert compose(["seed=1", "data.limit=2", "seed=2"]).settings.seed == 2
    assert caplog.messages == ["seed=2 counts, not seed=1, which stands before it"]


def test_in_a_sweep_keys_may_be_meant_for_other_jobs():
    from omegaconf import OmegaConf

    config = OmegaConf.create(compose(["method=[gradient]"]).config)
    overrides = ["method=[gradient]", "+method.smoothgrad.samples=3"]
    assert list(resolve(config, {}, overrides, sweep=True).methods) == ["gradient"]


def test_one_job_of_a_preset_that_is_a_sweep_says_so(caplog):
    compose(["experiment=paper", "seed=3"])
    assert "experiment=paper is a sweep over randomization.order=cascading,independent" in (
        caplog.text
    )
    assert "seed=" not in caplog.text  # which was given
    caplog.clear()
    compose(["experiment=quick"])
    assert not caplog.text


def test_a_sweep_over_presets_that_are_sweeps_is_refused(tmp_path):
    done = sanity_here("-m", "experiment=quick,paper", cwd=tmp_path, check=False)
    assert done.returncode == 2 and done.stderr.startswith(
        "sanity: experiment=paper is a sweep of its own, over randomization.order="
    )
    assert not list(tmp_path.rglob("run.json"))
