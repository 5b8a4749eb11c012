"""The atlas: its plan is valid, its table is made of runs, its page says what the table says."""

import shutil

import pandas as pd
import pytest
from PIL import Image

from sanity.config.job import compose
from sanity.config.options import options
from tests.command import ROOT
from tests.report.runs import make_run
from tests.test_scripts import load

DOCS = ROOT / "docs"
ATLAS, PAGE = load("atlas"), load("atlas_page")
TABLE = pd.read_parquet(DOCS / "data/atlas.parquet")


def jobs():
    """The first job of each sweep that differs from others in more than its numbers."""
    seen = set()
    for part, order, words in ATLAS.commands(ROOT / "outputs"):
        kind = (part.methods, part.small, part.model if order == ATLAS.INPUT else "")
        if (order == ATLAS.OUTPUT or part.stages) and kind not in seen:
            seen.add(kind)
            yield pytest.param(part, order, words[3:], id=f"{part.name}-{order}")


@pytest.mark.parametrize(("part", "order", "words"), list(jobs()))
def test_the_plan_is_valid(part, order, words):
    job = compose([word.replace("seed=0,1,2", "seed=0") for word in words])
    assert tuple(job.methods) == tuple(part.methods)
    chosen = job.layers.select(job.model.blocks)
    end = slice(None, part.stages) if order == ATLAS.OUTPUT else slice(-(part.stages or 0), None)
    assert list(chosen) == list(job.model.blocks)[end]


def test_the_plan_has_every_method_on_every_model():
    planned = {}
    for part in ATLAS.PLAN:
        planned.setdefault(part.model, []).extend(part.methods)
    known = set(options("method")) - PAGE.KNOWN
    for model in ATLAS.MODELS:
        assert sorted(planned[model]) == sorted(known), model
    assert planned.keys() == set(ATLAS.MODELS)


def test_some_sweeps_are_chosen_by_name():
    sweeps = list(ATLAS.commands(ROOT / "outputs"))
    found = ATLAS.only(sweeps, ["lite1-*-cascading", "cnn-costly-*"])
    names = [words[3].removeprefix("name=") for _, _, words in found]
    lite1 = [f"lite1-{part}-cascading" for part in ("gradients", "averages", "costly")]
    costly = [f"cnn-costly-{order}" for order in ATLAS.ORDERS]
    assert sorted(names) == sorted([*lite1, *costly])
    with pytest.raises(
        SystemExit, match=r"--only lite9-\*: no sweep left .*lite1-costly-cascading"
    ):
        ATLAS.only(sweeps, ["lite9-*"])


def test_the_page_says_what_the_table_says(tmp_path):
    page = tmp_path / "atlas.md"
    shutil.copy(DOCS / "atlas.md", page)
    PAGE.write(TABLE, page)
    assert page.read_text() == (DOCS / "atlas.md").read_text()
    made = PAGE.tables(TABLE)
    assert all(f"<!-- {name} -->\n\n{text}\n" in page.read_text() for name, text in made.items())


def test_rows_come_from_runs(tmp_path, monkeypatch):
    """The verdicts of three draws, and from the input the same similarity without one."""
    part = ATLAS.Part("one", "cnn", ("gradient", "guided_backprop", "edge_detector"), 6, 3)
    monkeypatch.setattr(ATLAS, "PLAN", (part,))
    images = ("one", "two", "three", "four", "five", "six")
    for order in ATLAS.ORDERS:
        for seed in range(3):
            path = tmp_path / f"one-{order}" / f"run{seed}"
            make_run(path, seed=seed, randomization=order, images=images, masks=None)
    nothing = pd.DataFrame(columns=ATLAS.COLUMNS)
    table = ATLAS.collect(tmp_path, nothing)
    assert list(table.columns) == list(ATLAS.COLUMNS)
    rows = table[table["primary"]].set_index(["method", "order"])
    words = rows["verdict"].xs("from the output", level="order")
    assert words.to_dict() == {
        "gradient": "sensitive",
        "guided_backprop": "insensitive",
        "edge_detector": "none",
    }
    assert set(rows["verdict"].xs("from the input", level="order")) == {"none"}
    both = rows["similarity"].unstack("order")
    assert both["from the input"].tolist() == pytest.approx(both["from the output"].tolist())
    assert set(rows["images"]) == {6} and set(rows["seeds"]) == {3}
    assert PAGE.grid(table, "from the output")["cnn"]["edge_detector"] == "1.00"

    assert table.equals(ATLAS.collect(tmp_path, table))
    assert table.equals(ATLAS.collect(tmp_path / "none", table))
    assert not list(ATLAS.left(tmp_path, table)) and len(list(ATLAS.left(tmp_path, nothing))) == 2
    fewer = table.assign(seeds=table["seeds"].where(table["order"] != "from the input", 2))
    assert [order for _, order, _ in ATLAS.left(tmp_path, fewer)] == [ATLAS.INPUT]


def rows(**columns):
    """Rows of the atlas's data; what is not given is of no importance."""
    table = pd.DataFrame({"model": "cnn", "order": "from the output", **columns})
    return table.reindex(columns=ATLAS.COLUMNS)


def test_new_rows_replace_those_of_no_more_draws():
    known = rows(method=["a", "b", "c"], seeds=[3, 3, 1], part="old")
    new = rows(method=["b", "c", "d"], seeds=[2, 1, 1], part="new")
    found = ATLAS.merge(known, new).set_index("method")["part"]
    assert found.to_dict() == {"a": "old", "b": "old", "c": "new", "d": "new"}
    assert ATLAS.merge(known.head(0), new).equals(new)


def test_what_is_missing_is_named():
    cnn = TABLE[(TABLE["model"] == "cnn") & TABLE["method"].isin(["gradient", "input"])]
    mlp = TABLE[(TABLE["model"] == "mlp") & (TABLE["method"] == "gradient")]
    found = PAGE.missing(pd.concat([cnn, mlp])).set_index(["order", "model"])["methods"]
    for order in ATLAS.ORDERS.values():
        assert found[order, "mlp"] == "`input`" and (order, "cnn") not in found.index
    assert "`lime`" in found["either", "all"] and "known" not in found["either", "all"]
    one = TABLE[TABLE["model"] == "cnn"]
    assert PAGE.missing(one).empty and PAGE.tables(one)["missing"] == "Nothing."


def test_the_picture_is_drawn(tmp_path):
    PAGE.draw(TABLE, tmp_path / "atlas.png")
    with Image.open(tmp_path / "atlas.png") as drawn, Image.open(DOCS / "atlas.png") as there:
        assert drawn.size[0] == there.size[0] == 1500
