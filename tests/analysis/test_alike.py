"""Runs of the same settings that are of other things."""

import json

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from sanity.analysis.pairs import rank_methods
from sanity.analysis.schemes import load_schemes
from sanity.analysis.verdict_tables import verdict_tables
from sanity.errors import ConfigError
from sanity.report.page.collect import collect
from tests.report.runs import make_run

NAMES = ("one", "two", "three", "four")


def make(path, seed, info=None, **options):
    run = make_run(path / str(seed), seed=seed, methods=("gradient",), masks=None, **options)
    known = json.loads((run / "run.json").read_text())
    (run / "run.json").write_text(json.dumps(known | (info or {})))
    return run


@pytest.mark.parametrize(
    ("one", "other", "said"),
    [
        ({"format": 4}, {"format": 5}, "is of format 4 of the results"),
        ({"sha256": {"model": "a"}}, {"sha256": {"model": "b"}}, "models with other weights"),
        (
            {"sha256": {"images": {"one": "a", "two": "b"}}},
            {"sha256": {"images": {"two": "c", "three": "a"}}},
            "other images under the same names, two for one",
        ),
        ({"sha256": {"model": "a"}}, {"sha256": {"model": "a"}}, ""),
        ({"sha256": "damaged", "layers": 3}, {"format": 5}, ""),
    ],
)
def test_what_runs_that_are_averaged_do_not_share_is_said(one, other, said, tmp_path, caplog):
    make(tmp_path, 0, one)
    make(tmp_path, 1, other)
    assert load_schemes([tmp_path])["scheme"].unique().tolist() == [""]
    assert said in caplog.text and bool(said) == bool(caplog.text)


def test_runs_of_other_layers_are_not_averaged(tmp_path):
    layers = ("", "top", "middle", "stem")
    make(tmp_path, 0, layers=layers)
    make(tmp_path, 1, layers=layers[:3])
    with pytest.raises(ConfigError, match=r"0 and .*1 are of the same .*, stem\] and \[top, mid"):
        load_schemes([tmp_path])
    make(
        tmp_path / "another", 0, layers=("", "stem", "top", "middle"), randomization="random_order"
    )
    make(tmp_path / "another", 1, layers=layers, randomization="random_order")
    assert len(load_schemes([tmp_path / "another"]))


def test_the_same_content_at_another_path_is_the_same(tmp_path, caplog):
    """As photographs that each machine of a sweep has in a place of its own."""
    lay = [("/here", "a"), ("/there", "a"), ("/there", "b"), ("/here", None)]
    for seed, (path, content) in enumerate(lay):
        run = make_run(tmp_path / str(seed), seed=seed, masks=None)
        info = json.loads((run / "run.json").read_text())
        info["columns"]["data.path"] = path
        info["content"] = {"data": {"path": content * 64 if content else path}}
        (run / "run.json").write_text(json.dumps(info))

    def found(*seeds):
        scores = load_schemes([tmp_path / str(seed) for seed in seeds])
        groups = [group["values"] for group in collect(scores)["groups"]]
        return scores["scheme"].unique().tolist(), groups, len(rank_methods(scores))

    assert found(0, 1) == ([""], [{}], 2 * 2)
    apart = ["data.path=/here", "data.path=/there"]
    assert found(0, 1, 2) == (apart, [{"data.path": key[10:]} for key in apart], 2 * 2 * 2)
    assert found(1, 3)[0] == apart[::-1]  # of a run that recorded no content nothing is known
    assert not caplog.text


def test_images_that_some_draws_lack_are_said_and_left_out(tmp_path, caplog):
    """As where a shard of one draw is missing."""
    make(tmp_path, 0, images=NAMES[1:])
    make(tmp_path, 1, images=NAMES)
    alone = verdict_tables([tmp_path], load_schemes([tmp_path]))[""]
    assert "1 of 4 images are not in all 2 draws of the weights" in caplog.text
    assert (alone["images"] == 3).all() and "left out" not in "".join(alone["evidence"])
    make(tmp_path, 2, images=("five",))
    found = verdict_tables([tmp_path], load_schemes([tmp_path]))[""]
    assert set(found["verdict"]) == {"invalid"}
    assert found["why"].str.contains("no image is in all draws").all()


def test_networks_of_which_nothing_is_known_are_said(tmp_path, caplog):
    run = make(tmp_path, 0)
    for said in ("", "has no predictions: whether its networks are dead"):
        verdict_tables([run], load_schemes([run]))
        assert said in caplog.text and bool(said) == bool(caplog.text)
        (run / "predictions.parquet").unlink(missing_ok=True)


def test_two_scores_in_one_place_are_refused(tmp_path):
    table = pq.read_table((run := make(tmp_path, 0)) / "scores.parquet").to_pandas()
    twice = pd.concat([table, table.assign(value=table["value"] - 0.5)])
    pq.write_table(pa.Table.from_pandas(twice), run / "scores.parquet")
    with pytest.raises(ConfigError, match="several scores of one image"):
        load_schemes([run])


@pytest.mark.parametrize("damage", ["text", 3, [1], [{"method": "gradient"}]])
def test_damaged_tables_in_run_json_are_none(damage, tmp_path):
    named = ("discrimination", "verdicts", "blocks")
    run = make(tmp_path, 0, dict.fromkeys(named, damage))
    scores = load_schemes([run])
    found = verdict_tables([run], scores)[""]
    assert len(found) == 2 and collect(scores)["groups"][0]["verdicts"] == []
