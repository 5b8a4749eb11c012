"""The check checked: networks and methods whose right verdict is known beforehand."""

import pytest

import sanity
from sanity.config import compose
from sanity.files import read_json
from sanity.models.known import NETWORKS, TRUTHS

# As the preset, on half of its images, by the metric that decides.
JOB = ["experiment=known_truth", "metric=[ssim]", "data.limit=10", "runtime.progress=none"]
JOB += ["runtime.batch_size=64"]  # of images with patches occluded; the networks are tiny


@pytest.mark.slow
@pytest.mark.parametrize("seed", [0, 1, 2])
@pytest.mark.parametrize("network", NETWORKS)
def test_no_verdict_contradicts_what_is_known(network, seed, tmp_path, monkeypatch):
    """A verdict may be withheld, for few images say, but must not be another one."""
    monkeypatch.setattr("sanity.experiment.compute.finish", lambda run, drawing: None)
    here = [f"model.network={network}", f"seed={seed}", f"output={tmp_path}"]
    run = sanity.run(overrides=[*JOB, *here])
    found = {row["method"]: row["verdict"] for row in read_json(run / "run.json")["verdicts"]}
    truth = TRUTHS[network]
    assert found.keys() == truth.keys()
    said = {name: word for name, word in found.items() if word != "inconclusive"}
    assert said == {name: truth[name] for name in said}
    assert len(said) >= len(truth) - 1


def test_the_preset_knows_all_networks_and_methods():
    job = compose(["experiment=known_truth"])
    assert set(job.methods) == set(TRUTHS["linear"])
    assert set(TRUTHS) == set(NETWORKS)
