"""Sweeps from Python."""

import pytest

import sanity
from sanity import ConfigError
from sanity.experiment import sweep as module
from sanity.experiment.result import Result
from sanity.results.recorded import SWEEP
from tests.pieces import QUICK

QUIET = [*QUICK[:-2], "layers.last=1"]


@pytest.fixture
def ran(monkeypatch):
    """The jobs that would be run, which are not."""
    jobs = []
    monkeypatch.setattr(module, "run", lambda job, hydra: jobs.append(job))
    return jobs


def test_jobs_know_in_what_they_differ(monkeypatch):
    told = []
    monkeypatch.setattr(module, "run", lambda job, hydra: told.append(hydra))
    sanity.sweep(QUIET, seed=[0, 1], noise_seed=[0, 1], target="predicted")
    assert len(told) == 4
    for hydra in told:
        assert hydra["job"]["env_set"] == {SWEEP: "4 seed noise_seed"}
        assert hydra["runtime"]["choices"]["data"]


def test_every_combination_is_a_job(ran, tmp_path):
    found = sanity.sweep(
        [*QUIET, f"output={tmp_path}"],
        seed=range(2),
        method=[["gradient"], ["gradient", "smoothgrad"]],
        metric=["spearman"],
        target="predicted",
    )
    assert [(job.settings.seed, list(job.methods)) for job in ran] == [
        (0, ["gradient"]),
        (0, ["gradient", "smoothgrad"]),
        (1, ["gradient"]),
        (1, ["gradient", "smoothgrad"]),
    ]
    assert all(list(job.metrics) == ["spearman"] for job in ran)
    assert [job.overrides for job in found.jobs][1] == ("seed=0", "method=[gradient,smoothgrad]")
    assert len(found) == 4 and isinstance(found[0], Result) and len(found[1:]) == 3
    assert repr(found) == "Sweep(4 jobs)" and "4 jobs" in found._repr_html_()
    with pytest.raises(ConfigError, match="no run folders"):
        found.scores  # noqa: B018


def test_keys_with_dots_and_what_is_meant_for_some_jobs(ran):
    """A parameter of a method that not all jobs have is no mistake in a sweep."""
    given = {"layers.last": [1, 2], "method": [["gradient"], ["smoothgrad"]], "model": "mlp"}
    given |= {"data": "digits", "metric": "spearman", "method.smoothgrad.samples": 3}
    with pytest.raises(ConfigError, match="not chosen"):
        sanity.sweep(given)  # Hydra itself does not have the key in jobs without the method
    del given["method.smoothgrad.samples"]
    sanity.sweep(given)
    assert [job.layers.last for job in ran] == [1, 1, 2, 2]


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"seed": [0, -1]}, "seed=-1 should be greater"),
        ({"sede": [0, 1]}, "sede is no key .* did you mean seed"),
        ({"seed": []}, "seed=.. names no value"),
        ({"method": [["gradient"], ["gradeint"]]}, "gradeint is unknown"),
        ({"seed": object()}, "must be text, a number"),
    ],
)
def test_all_jobs_are_checked_before_the_first(ran, values, message):
    with pytest.raises(ConfigError, match=message):
        sanity.sweep(QUIET, **values)
    assert not ran


def test_a_sweep_and_what_is_made_of_it(tmp_path, caplog):
    """One of three fails; seeds are judged together."""
    from sanity.results.folder import RunFolder

    write, asked = RunFolder.write_unit, [*QUIET, f"output={tmp_path}", "masks.keep=0"]

    def unlucky(self, *args):
        if "seed1" in self.path.name:
            raise ZeroDivisionError("by nought\nand more")
        write(self, *args)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(RunFolder, "write_unit", unlucky)
        patch.setattr("sanity.report.finish.draw", lambda run: None)
        caplog.set_level("INFO", "sanity")
        found = sanity.sweep(asked, seed=[0, 1, 2], method=["gradient"])
    assert repr(found) == "Sweep(3 jobs, 1 failed)" and "job 2 of 3  seed=1" in caplog.text
    (failed,) = found.failed
    assert failed.error == "ZeroDivisionError: by nought" and failed.overrides == ("seed=1",)
    assert found.runs["status"].tolist() == ["completed", "failed", "completed"]
    assert set(found.scores["seed"]) == {0, 2} and set(found.predictions["seed"]) == {0, 2}
    assert set(found.verdicts["seeds"]) <= {0, 2} and set(found.verdicts["scheme"]) == {""}
    page = found._repr_html_()
    assert "gradient" in page and "seed=1: ZeroDivisionError" in page
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("sanity.report.finish.draw", lambda run: None)
        again = sanity.sweep(asked, seed=[0, 1, 2], method=["gradient"])
    assert not again.failed and set(again.scores["seed"]) == {0, 1, 2}
