"""A run again from its record: the same job, and others by what is changed."""

import pytest
import yaml

from sanity.commands.rerun import main
from sanity.config.job import compose
from sanity.config.stored import stored_job
from sanity.errors import ConfigError
from sanity.results.columns import config_columns
from sanity.results.recorded import write_config
from tests.pieces import QUICK

GIVEN = ["model=mlp", "data=digits", "metric=[spearman]", "seed=2", "method=[gradient,smoothgrad]"]


def recorded(folder, overrides):
    job = compose(overrides)
    hydra = {"runtime": {"choices": {k: v for k, v in job.choices.items() if isinstance(v, str)}}}
    write_config(folder, job.config, job.overrides, hydra)
    return job, hydra


@pytest.mark.parametrize(
    "overrides", [GIVEN, ["experiment=paper"], ["method.few.like=smoothgrad", "name=x"]]
)
def test_the_record_alone_gives_the_same_job(overrides, tmp_path):
    job, hydra = recorded(tmp_path, overrides)
    again, kept = stored_job(tmp_path)
    assert again.run_id == job.run_id and again.config == job.config
    assert again.overrides == job.overrides and again.demanded == job.demanded
    assert config_columns(again.config, kept) == config_columns(job.config, hydra)


@pytest.mark.parametrize(
    "changes",
    [
        ["seed=1"],  # which the model takes as well
        ["method=[vargrad,gradient]"],
        ["data=animal_mnist"],
        ["model=cnn", "seed=3"],
        ["method.smoothgrad.samples=9", "layers.last=1"],
        ["method.few.like=smoothgrad", "method.few.samples=2"],
        ["target=${oc.env:TARGET}"],
    ],
)
def test_what_is_changed_is_as_if_it_had_been_asked_for(changes, tmp_path, monkeypatch, caplog):
    monkeypatch.setenv("TARGET", "label")
    recorded(tmp_path, GIVEN)
    changed = stored_job(tmp_path, changes)[0]
    keys = [override.partition("=")[0] for override in changed.overrides]
    assert len(set(keys)) == len(keys) and not caplog.messages  # nothing is said of what was before
    assert changed.run_id == compose([*GIVEN, *changes]).run_id


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ("sede=1", "sede is no key of the run's configuration; did you mean seed"),
        ("method=[gradiant]", "method=gradiant is unknown"),
        ("seed=0,1", "has several values"),
        ("experiment=quick", "is for sanity itself"),
        ("~seed", "is for sanity itself"),
        ("name=a=b", "cannot be read as it is"),
    ],
)
def test_what_cannot_be_changed_is_a_sentence(change, said, tmp_path):
    recorded(tmp_path, GIVEN)
    with pytest.raises(ConfigError, match=said):
        stored_job(tmp_path, [change])


@pytest.mark.parametrize("foreign", ["method", "model"])
def test_code_of_others_runs_with_trust_alone(foreign, tmp_path):
    recorded(tmp_path, GIVEN)
    file = tmp_path / ".hydra" / "config.yaml"
    config = yaml.safe_load(file.read_text())
    if foreign == "method":
        config["method"]["gradient"]["_target_"] = "tests.pieces.Broken"
    else:
        config["model"]["trust"] = True
    file.write_text(yaml.safe_dump(config))
    with pytest.raises(ConfigError, match="--trust runs it"):
        stored_job(tmp_path)
    if foreign == "method":
        assert stored_job(tmp_path, trust=True)[0].methods["gradient"].own.__class__.__name__


@pytest.mark.parametrize("words", [[], ["nothing"], ["seed=1"]], ids=str)
def test_no_run_is_a_sentence(tmp_path, monkeypatch, capsys, words):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SystemExit) as ended:
        main(words)
    (said,) = capsys.readouterr().err.splitlines()
    assert ended.value.code == 2 and said.startswith("sanity-rerun: ")


def test_scores_of_masks_made_elsewhere_are_no_job(tmp_path):
    source = {"file": "masks.npz", "sha256": "0"}
    write_config(tmp_path, {"seed": 0, "source": source}, [], {})
    with pytest.raises(ConfigError, match=r"masks made elsewhere, in masks.npz: sanity-score"):
        stored_job(tmp_path, ["seed=1"])


def test_a_run_is_there_already_and_computed_again_elsewhere(tmp_path, monkeypatch, capsys):
    import sanity
    from sanity.results import load_runs

    monkeypatch.chdir(tmp_path)
    first = sanity.run([*QUICK, "layers.last=1", "figures=none", "report=false"])
    main([str(first.path), "--trust"])
    main([str(first.path), "--trust", "output=again"])
    own, again = load_runs("outputs"), load_runs("again")
    same = [name for name in own if name not in ("path",)]
    assert own[same].equals(again[same])
