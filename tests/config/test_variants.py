"""Variants: several copies of one option in a job."""

import pytest
from omegaconf import OmegaConf

from sanity.config.job import compose
from sanity.config.options import with_open_keys
from sanity.errors import ConfigError
from sanity.methods import SmoothGrad
from tests.command import sanity_here

FEW = ["method.few.like=smoothgrad", "method.few.samples=5"]


@pytest.mark.parametrize(
    "overrides",
    [
        FEW,
        FEW[::-1],
        [f"+{text}" for text in FEW],
        ["+method.few={like: smoothgrad, samples: 5}"],
        ["+method.few={_target_: sanity.methods.SmoothGrad, samples: 5, noise: 0.15}"],
    ],
)
def test_a_variant_is_a_method_of_its_own(overrides):
    job = compose(["method=[smoothgrad]", "method.smoothgrad.noise=0.5", *overrides])
    assert job.methods == {
        "smoothgrad": SmoothGrad(samples=25, noise=0.5),
        "few": SmoothGrad(samples=5, noise=0.15),
    }
    assert job.choices["method"] == ["smoothgrad", "few"]
    # However it is written, it is the same run.
    assert (
        job.run_id == compose(["method=[smoothgrad]", "method.smoothgrad.noise=0.5", *FEW]).run_id
    )


def test_a_variant_may_stand_alone_and_interpolates():
    job = compose(["method=[]", "method.ig.like=integrated_gradients", "coordinates=[-1,1]"])
    assert job.methods["ig"].coordinates == [-1, 1] and job.demanded == {"ig"}


def test_metrics_have_variants():
    job = compose(["metric=[ssim]", "metric.ssim_3.like=ssim", "metric.ssim_3.sigma=3"])
    assert {name: one.sigma for name, one in job.metrics.items()} == {"ssim": 1.5, "ssim_3": 3}


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        ([*FEW, "method.few.sampels=5"], r"method\.few\.sampels=5 .*did you mean .*samples"),
        (["method.few.like=smoothgard"], r"method\.few\.like=smoothgard is no method; did you"),
        (["method.few.like=null"], r"method\.few\.like=None is no method .*there are: .*gradient"),
        (["method.vargrad.like=smoothgrad"], r"vargrad is an option itself; .*smoothgrad_2"),
        (["method.gradient.like=smoothgrad"], r"gradient is an option itself"),
        ([*FEW, "method.few.samples=x"], r"method\.few\.samples=x should be a valid integer"),
        ([*FEW, "method.few._target_=os.abort"], r"method\.few has like and _target_"),
        (["+method.few=unlikely"], r"method\.few=unlikely must be a set of keys"),
    ],
)
def test_mistakes_in_variants(overrides, message):
    with pytest.raises(ConfigError, match=message):
        compose(["method=[gradient]", *overrides])


def test_only_keys_of_variants_are_opened():
    given = [
        "method.few.samples=5",
        "method.few.like=rise",
        "method.smoothgrad.samples=1",
        "seed=1",
    ]
    opened = [f"++{text}" for text in given[:2]] + given[2:]
    assert with_open_keys(given) == opened


def test_a_variant_of_a_users_own_option_is_swept(tmp_path):
    """From a folder given with -cd; a parameter with several values is several jobs."""
    (tmp_path / "method").mkdir()
    node = {"mine": {"_target_": "sanity.methods.SmoothGrad", "samples": 3, "noise": 0.2}}
    OmegaConf.save(OmegaConf.create(node), tmp_path / "method" / "mine.yaml")
    words = ["-cd", str(tmp_path), "-m", "method=[gradient]", "method.few.like=mine"]
    done = sanity_here(*words, "method.few.samples=0,-1", cwd=tmp_path, check=False)
    assert done.returncode == 2 and "sweep of 2 jobs: 2 failed" in done.stdout
    assert "method.few.samples=0 should be greater" in done.stderr
    assert "method.few.samples=-1 should be greater" in done.stderr
