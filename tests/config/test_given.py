"""Overrides in every form that they are given in, and those that cannot be read."""

import shlex

import numpy as np
import pytest

from sanity.config.given import check, quote, words
from sanity.config.job import compose, composed
from sanity.errors import ConfigError


@pytest.mark.parametrize(
    ("override", "said"),
    [
        ("data.path=~/x", "'data.path=\"~/x\"'"),
        ("name=ümlaut", "'name=\"ümlaut\"'"),
        ("name=a=b", "'name=\"a=b\"'"),
        ("data.path=a(b)", "'data.path=\"a(b)\"'"),
        ("method=[été,gradient]", "'method=[\"été\",gradient]'"),
        ("data.path=photos/été", "'data.path=\"photos/été\"'"),
        ("method=[gradient,]", "'method=[gradient]'"),
        ("method=[gradient", "[ is never closed"),
        ("model.inputs={a", "{ is never closed"),
        ("data.path='a", "' is never closed"),
        ("method=[glob(grad*)]", "-m 'method=glob(grad*)'"),
        ("seed=0,1", "of which -m makes a job each; in brackets they are a list: 'seed=[0,1]'"),
        ("seed=range(3)", "of which -m makes a job each"),
        ("=3", "names no key"),
        ("seed:3", "did you mean seed=3?"),
        ("model={cnn:1}", "model.KEY=VALUE sets a key of it"),
        ("model=", "must be one of: cnn, "),
        ("model=null", "must be one of: cnn, "),
        ("model=[cnn,mlp]", "a sweep, -m model=cnn,mlp, takes each"),
        ("method=[null]", "must be one of: attention_relevance, "),
        ("method=[[gradient]]", "must be one of: attention_relevance, "),
        ("word", "is no KEY=VALUE"),
        ("-mulitrun", "did you mean --multirun"),
        ("model=3", "must be one of: cnn, "),
    ],
)
def test_what_cannot_be_read_is_one_sentence_with_the_way_to_quote_it(override, said):
    with pytest.raises(ConfigError) as refused:
        check([override], sweep=False)
    text = str(refused.value)
    assert text.startswith(override) and said in text and "\n" not in text
    if said.startswith("'") and said.endswith("'"):  # what is proposed is taken
        check(shlex.split(said), sweep=False)


def test_a_word_that_a_blank_has_cut_is_put_together():
    with pytest.raises(ConfigError, match=r"write 'data\.path=\"/a b/c\"'"):
        check(["seed=1", "data.path=/a", "b/c"], sweep=False)
    with pytest.raises(ConfigError, match=r"write 'method=\[gradient,vargrad\]'"):
        check(["method=[gradient,", "vargrad]"], sweep=False)


@pytest.mark.parametrize("given", [["seed", "=", "3"], ["seed", "=3"], ["seed", "3"]])
def test_blanks_around_the_sign_are_put_right(given):
    with pytest.raises(ConfigError, match=r"seed is no KEY=VALUE; did you mean seed=3\?"):
        check(given, sweep=False)
    with pytest.raises(ConfigError, match="an empty word stands among the overrides"):
        check([""], sweep=False)


def test_a_sweep_takes_several_values():
    several = ["seed=0,1", "method=glob(grad*)", "seed=range(3)"]
    check(several, sweep=True)
    for text in several:
        with pytest.raises(ConfigError, match="has several values, of which -m makes a job each"):
            check([text], sweep=False)


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ("seed=3", ["seed=3"]),
        (("seed=3",), ["seed=3"]),
        ({"seed": np.int64(3), "dry_run": True, "target": None}, None),
        ({"data": {"limit": 2}, "method": ["gradient"]}, ["data.limit=2", "method=[gradient]"]),
        ({"target": "3"}, ['target="3"']),
    ],
)
def test_overrides_come_as_text_as_a_list_and_by_key(given, expected):
    assert words(given) == (expected or ["seed=3", "dry_run=true", "target=null"])


TEXTS = ["a b", "été", "photos/été", "x²", "a\"b'c", "true", "3", "~/x", "C:\\x\\", "", "a,b", "/a"]
TEXTS += ["\\\\", "\\\"'"]


@pytest.mark.parametrize("text", TEXTS)
def test_text_by_key_arrives_as_it_is(text):
    assert compose({"output": text or "x", "method": ["gradient"]}).settings.output or text
    assert compose([f"target={quote(text)}"]).settings.target == text


def test_what_is_no_value_is_refused():
    with pytest.raises(ConfigError, match="seed=<object"):
        words({"seed": object()})
    with pytest.raises(ConfigError, match="3 gives no overrides: text such as 'seed=1'"):
        words(3)


def test_inside_another_app_hydra_stays_as_it_was(tmp_path):
    import hydra
    from hydra.core.global_hydra import GlobalHydra
    from hydra.core.utils import JobRuntime
    from hydra.version import VersionBase

    (tmp_path / "app.yaml").write_text("lr: 0.1")
    with hydra.initialize_config_dir(str(tmp_path), version_base="1.2", job_name="theirs"):
        mine = GlobalHydra.instance().hydra
        assert compose({"seed": 4}).settings.seed == 4
        with pytest.raises(
            ConfigError, match="method=gradiant is unknown; did you mean method=gradient"
        ):
            compose(["method=[gradiant]"])
        assert GlobalHydra.instance().hydra is mine
        assert JobRuntime.instance().get("name") == "theirs"
        assert str(VersionBase.instance().getbase()) == "1.2"
        assert hydra.compose("app").lr == 0.1


def test_the_configuration_is_a_module():
    import hydra

    with hydra.initialize_config_module("sanity.conf", version_base="1.3"):
        given = ["seed=3", "method=[gradient]"]
        job = composed(hydra.compose("config", given, return_hydra_config=True))
        assert job.run_id == compose(given).run_id
        assert job.overrides == given and job.choices == compose(given).choices
        with pytest.raises(ConfigError, match="return_hydra_config=True"):
            composed(hydra.compose("config"))


@pytest.mark.parametrize(
    "override",
    ["hydra.run.dir=x", "hydra.sweep.dir=x", "hydra.sweep.subdir=x", "hydra.job.chdir=1"],
)
def test_folders_of_hydra_are_refused_with_ours_named(override):
    with pytest.raises(ConfigError, match=r"is not taken.*output=FOLDER and name=NAME"):
        compose([override])


@pytest.mark.parametrize(
    ("override", "key", "value"),
    [
        ("seed=${oc.env:TASK}", "seed", 3),
        ("name=2024", "name", "2024"),
        ("masks.keep=${oc.env:TASK}", "masks.keep", 3),
        ("data.limit=${oc.env:TASK}", "data.limit", 3),
        ("verdict.threshold=${oc.env:RATE}", "verdict.threshold", 0.25),
        ("method.smoothgrad.samples=${oc.env:TASK}", "method.smoothgrad.samples", 3),
        ("dry_run=${oc.env:YES}", "dry_run", True),
    ],
)
def test_text_that_reads_as_what_is_wanted_is_it(override, key, value, monkeypatch):
    for name, text in {"TASK": "3", "RATE": "0.25", "YES": "true"}.items():
        monkeypatch.setenv(name, text)
    job = compose([override])
    node = job.config
    for part in key.split("."):
        node = node[part]
    assert node == value and type(node) is type(value)
    plain = f"'{value}'" if key == "name" else str(value).lower()
    assert job.run_id == compose([f"{key}={plain}"]).run_id


@pytest.mark.parametrize(
    ("override", "said"),
    [
        ("seed=${oc.env:RATE}", r"seed=0\.25 should be a valid integer"),
        ("seed=${oc.env:NOWHERE}", r"seed=.* the environment has no variable NOWHERE"),
        (
            "seed=${noise_sed}",
            r"seed=\${noise_sed}: noise_sed is no key; did you mean noise_seed\?",
        ),
        ("seed=${seed}", r"seed=\${seed} leads back to itself"),
        ("seed=${data.name}", r"seed=\${data.name}: data.name is no key; did you mean data\.names"),
        ("method.smoothgrad.samples=${x:}", r"method\.smoothgrad\.samples=\${x:} leads to nothing"),
        ("name=1.50", r"name=1\.5 should be a valid string"),  # what was typed can no more be told
    ],
)
def test_text_that_reads_as_something_else_is_refused(override, said, monkeypatch):
    monkeypatch.setenv("RATE", "0.25")
    with pytest.raises(ConfigError, match=said):
        compose([override])


# Presets of one's own with a mistake in them.
PRESETS = {
    "open": "seed: [1",
    "twice": "seed: 1\nseed: 2",
    "latin": "name: \xfcmlaut",
    "listed": "method: [gradient]",
    "valued": "model: keras",
}


@pytest.fixture(scope="module")
def own(tmp_path_factory):
    """A configuration folder of one's own, with a preset that lacks its first line."""
    path = tmp_path_factory.mktemp("own")
    for folder in ("experiment", "method"):
        (path / folder).mkdir()
    (path / "experiment" / "mine.yaml").write_text("seed: 3\n")
    gradient = "sanity.methods.Gradient"
    (path / "method" / "own.yaml").write_text(f"own:\n  _target_: {gradient}\n")
    (path / "method" / "bare.yaml").write_text("bare:\n  samples: 3\n")
    (path / "method" / "empty.yaml").touch()
    for name, text in PRESETS.items():
        (path / "experiment" / f"{name}.yaml").write_bytes(
            f"# @package _global_\n{text}".encode("latin-1")
        )
    return path


@pytest.mark.parametrize(
    ("override", "said"),
    [
        ("methods=[gradient]", r"did you mean method\?"),
        ("method=[gradiant]", r"did you mean method=gradient\?"),
        ("method=[known_*con*]", r"mean method=\[known_constant,known_noisy_constant\]\?"),
        ("experiment=mime", r"did you mean experiment=mine\? \(all: .*known_truth, .*mine, "),
        ("experiment=mine", "the first line of its YAML must be # @package _global_"),
        (
            "method=[bare]",
            r"method/bare\.yaml makes nothing: the key bare, and below it the _target_",
        ),
        ("method=[empty,gradient]", r"method/empty\.yaml makes nothing"),
        ("experiment=open", r", is no YAML: expected ',' or ']'"),
        ("experiment=twice", r", is no YAML: found duplicate key seed"),
        ("experiment=latin", r"cannot be read: .*; it must be text in UTF-8"),
        ("experiment=listed", r"listed\.yaml sets a list .*: a preset chooses options by a line"),
        ("experiment=valued", r"model=keras is set as a value: .* - override /model: keras"),
        ("method=[owm]", r"did you mean method=own\?"),
        ("+seed=3", r"\+seed would add what is there already: seed=… changes it"),
        ("~metric.nothing", "~metric.nothing removes nothing: it is not there, or null"),
    ],
)
def test_suggestions(own, override, said):
    with pytest.raises(ConfigError, match=said):
        compose([override], config_dir=own)


def test_of_two_values_the_last_counts(own):
    assert list(compose(["metric=[ssim,hog]", "metric=[pearson]"]).metrics) == ["pearson"]


def test_options_of_ones_own_are_found(own):
    assert list(compose(["method=[own]"], config_dir=own).methods) == ["own"]
    with pytest.raises(ConfigError, match="--config-dir nowhere: there is no such folder"):
        compose(config_dir="nowhere")
