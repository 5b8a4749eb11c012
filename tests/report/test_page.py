"""The page's data and text; tests/report/test_browser.py looks at it in a browser."""

import base64
import io
import json
import logging
import re

import numpy as np
import pandas as pd
import pytest
from PIL import Image

import sanity as library
from sanity.analysis.means import means
from sanity.analysis.schemes import load_schemes
from sanity.compare import main
from sanity.report.display import STYLES, scaled
from sanity.report.figures.means import stage_means
from sanity.report.finish import finish
from sanity.report.page import collect as collect_module
from sanity.report.page import estimates, tiles
from sanity.report.page.collect import collect
from sanity.report.page.estimates import Table
from sanity.report.page.pictures import choose
from sanity.report.page.run import Run
from sanity.report.page.words import certainty, explanation, headline, title_of
from sanity.report.page.write import as_json, render, write
from sanity.results.load import load_images, load_masks, load_runs
from tests.pieces import ANY, PICTURES
from tests.report.runs import LAYERS, METHODS, METRICS, make_run, masks_of, scores_of


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    return make_run(tmp_path_factory.mktemp("page") / "run")


def data_of(page):
    """What a page's script reads."""
    (text,) = re.findall(
        r'<script type="application/json" id="data">(.*?)</script>', page.read_text(), re.DOTALL
    )
    return json.loads(text)


def pixels(url):
    kind, _, content = url.partition(";base64,")
    assert kind == "data:image/png"
    return np.asarray(Image.open(io.BytesIO(base64.b64decode(content))))


# Tiles


@pytest.mark.parametrize("style", STYLES)
@pytest.mark.parametrize("factor", [1, 5])
def test_a_tile_is_what_figures_show(style, factor):
    masks = [masks_of("gradient", name, 0) for name in ("one", "two")]
    found = tiles.sprite(masks, style, factor)
    assert found["special"] == ["", ""]
    zero = 31 if style == "signed" else 0
    for tile, mask in zip(np.split(pixels(found["png"]), 2), masks, strict=True):
        shown, _ = scaled(mask, style, factor)
        np.testing.assert_allclose((tile - float(zero)) / 31, shown, atol=0.51 / 31)


@pytest.mark.parametrize(
    ("value", "said"), [(np.nan, "NaN"), (np.inf, "infinite"), (0.0, "constant"), (3, "constant")]
)
def test_masks_that_show_nothing_say_so(value, said):
    found = tiles.sprite([np.full((5, 4), value, np.float32)], "signed", 1)
    assert found["special"] == [said]
    assert (pixels(found["png"]) == tiles.LEVELS).all()


def test_what_does_not_fit_is_sampled_evenly():
    whole = tiles.share(200, 20, 7, (224, 224, 3))
    assert (whole.images, len(whole.stages), whole.size) == (12, 20, (112, 112))
    (fitting,) = tiles.fit([whole])
    assert fitting.images >= 3 and len(fitting.stages) == 20  # the default job's
    many = tiles.fit([whole] * 40)
    assert sum(share.pixels for share in many) <= tiles.BUDGET
    assert len(many) >= tiles._FEW_RUNS
    for share in many:
        assert share.stages[0] == 0 and share.stages[-1] == 19
        assert max(np.diff(share.stages)) - min(np.diff(share.stages)) <= 1
    wide = tiles.fit([tiles.share(1, 20, 200, (224, 224))])
    assert sum(share.pixels for share in wide) <= tiles.BUDGET
    (large,) = tiles.fit([tiles.share(20, 20, 34, (299, 299))])
    assert 299 / large.factor == pytest.approx(large.size[0], abs=1) and large.images == 3


def test_the_largest_page_stays_below_20_megabytes():
    noise = np.random.default_rng(0).uniform(-1, 1, (160, 160)).astype(np.float32)
    each = [len(tiles.sprite([noise], style, 1)["png"]) for style in STYLES]
    assert np.mean(each) / 160**2 * tiles.BUDGET < 16e6  # nothing is harder to compress


def test_typical_best_and_worst_images_are_chosen():
    each = {
        "a": {"image": [2, 0, 1, 3], "value": [0.1, 0.2, 0.3, 0.9]},
        "b": {"image": [2, 0, 1], "value": [0.0, 0.5, 0.6]},  # one image has no value
    }
    assert choose(each, ["w", "x", "y", "z"]) == {"w": "typical", "x": "best", "y": "worst"}
    assert choose({"a": {"image": [0], "value": [0.5]}}, ["w"]) == {"w": "typical"}
    assert choose({}, ["w"]) == {}


# Curves


def table_of(scores, seeds=0):
    return Table.of(scores, pd.Series([seeds] * len(scores)), METRICS, list(METHODS), 4)


def test_curves_are_means_with_their_intervals():
    scores = scores_of(["a", "b", "c", "d"], METHODS, METRICS, LAYERS)
    scores.loc[scores.index[5::17], "value"] = np.nan
    scores.loc[scores.index[7::40], "value"] = np.inf
    found = table_of(scores).curves()
    for row in stage_means(scores).itertuples():
        curve = found[row.metric][row.method]
        for name in ("mean", "low", "high", "null", "images", "missing"):
            expected = getattr(row, name)
            assert curve[name][row.stage] == pytest.approx(expected, rel=1e-12, nan_ok=True), name


def test_curves_of_several_seeds_are_those_of_the_table(tmp_path):
    for seed in range(3):
        make_run(tmp_path / str(seed), seed=seed, masks=None)
    scores = load_schemes([tmp_path])
    (group,) = collect(scores)["groups"]
    assert group["seeds"] == ["0", "1", "2"]
    for row in means(scores, ["metric", "stage", "method"]).itertuples():
        curve = group["curves"][row.metric][row.method]
        for name in ("mean", "low", "high", "images"):
            assert curve[name][row.stage] == pytest.approx(getattr(row, name), rel=1e-9), name


def test_early_similarities_of_images_have_the_verdicts_mean(tmp_path):
    def change(scores):
        lost = (scores["method"] == "gradient") & (scores["image"] == "two")
        return scores.assign(value=scores["value"].mask(lost & (scores["stage"] == 1)))

    images = ["one", "two", "three", "four"]
    run = make_run(tmp_path / "run", images=images, change=change, masks=None)
    (group,) = collect(load_schemes([run]))["groups"]
    assert group["early"] == 1 and group["images"] == images
    rows = [row for row in group["verdicts"] if row["method"] != "edge_detector"]
    assert len(rows) == 4
    for row in rows:
        each = group["each"][row["metric"]][row["method"]]
        assert np.mean(each["value"]) == pytest.approx(row["early"], rel=1e-9)
        assert each["value"] == sorted(each["value"])
        assert len(each["image"]) == row["images"] == 4 - (row["method"] == "gradient")


def test_of_many_images_the_ends_are_carried(monkeypatch):
    monkeypatch.setattr(estimates, "MOST_DOTS", 5)
    scores = scores_of([f"{i}" for i in range(40)], METHODS, METRICS, LAYERS)
    few = table_of(scores).each({"ssim": 1.0, "spearman": None}, 1)
    monkeypatch.undo()
    all_ = table_of(scores).each({"ssim": 1.0}, 1)["ssim"]["gradient"]
    assert set(few) == {"ssim"}
    values = few["ssim"]["gradient"]["value"]
    assert len(values) == 5
    assert (values[0], values[-1]) == (all_["value"][0], all_["value"][-1])


# Words


@pytest.mark.parametrize(
    ("values", "images", "title"),
    [
        (
            {
                "model": "efficientnet_lite0",
                "data": "imagenet_samples",
                "randomization": "cascading",
            },
            6,
            "EfficientNet-Lite0, 6 photographs, cascade",
        ),
        ({"model": "cnn", "data": "digits", "randomization": "full"}, 1, "A small CNN, 1 hand"),
        ({"model": "mine_2", "data": "folder", "randomization": "x"}, 2, "mine_2, 2 images, x"),
        ({"model": "cnnx", "data": "animal_mnist"}, 2, "cnnx, 2 drawings of animals, unnamed"),
    ],
)
def test_titles_are_words(tmp_path, values, images, title):
    assert title_of([Run(tmp_path, {}, {}, values)], images).startswith(title)


@pytest.mark.parametrize(
    ("model", "title"),
    [
        ({"path": "/nets/my.keras"}, "my.keras, 2 images"),
        ({"path": "nets/exported/"}, "exported, 2 images"),
        ({"module": "nets.small:make", "checkpoint": "nets/net.pt"}, "net.pt, 2 images"),
        ({"application": "ResNet50", "path": None}, "ResNet50, 2 images"),
        ({"variant": "lite0"}, "keras, 2 images"),
    ],
)
def test_models_of_ones_own_are_called_by_their_files(tmp_path, model, title):
    run = Run(tmp_path, {}, {"model": model}, {"model": "keras", "data": "folder"})
    assert title_of([run], 2).startswith(title)
    other = Run(tmp_path, {}, {"model": {"path": "other.keras"}}, run.values)
    assert title_of([run, other], 2).startswith("2 models")


def test_the_answer_is_one_sentence():
    def row(method, verdict, early, leans="", evidence=""):
        row = {"method": method, "metric": "ssim", "verdict": verdict, "early": early}
        return {**row, "leans": leans, "evidence": evidence}

    rows = [
        row("b", "sensitive", 0.1),
        row("a", "insensitive", 0.9),
        row("c", "inconclusive", 0.3, leans="sensitive", evidence="3 images are fewer than 5"),
        row("d", "depends_on_metric", 0.8, evidence="insensitive by ssim, sensitive by hog; x 1"),
        row("e", "sensitive", 0.2),
        row("control", "none", 1.0),
    ]
    parts = headline({"verdicts": rows}, "ssim", ["control"])
    assert [(part["methods"], part["said"]) for part in parts] == [
        (["a"], "keeps its masks though the last layers are random"),
        (["e", "b"], "change with the weights, which does not make them faithful"),
        (["d"], "depends on the metric (insensitive by ssim, sensitive by hog)"),
        (["c"], "seems to change with the weights"),
    ]


def test_the_answer_on_what_cannot_be_judged_says_nothing_of_its_masks():
    def row(method, verdict, early):
        row = {"method": method, "metric": "ssim", "verdict": verdict, "early": early}
        return {**row, "leans": "", "evidence": "so; x 1"}

    def said(verdict):
        rows = [row("a", verdict, 0.9), row("b", verdict, 0.1)]
        return [part["said"] for part in headline({"verdicts": rows}, "ssim", [])]

    assert said("invalid") == ["cannot be judged (so)"]
    assert said("inconclusive")[1] == "changes least (early similarity 0.90), b most (0.10)"


def test_what_is_decided_is_not_said_to_be_unsure_and_what_leans_is_not_recommended():
    def row(method, verdict, leans=""):
        row = {"method": method, "metric": "ssim", "verdict": verdict, "early": 0.5}
        return {**row, "leans": leans, "evidence": "3 images are fewer than 5"}

    def said(*rows):
        group = {"verdicts": list(rows), "layers": [""] * 4, "order": "cascading", "early": 1}
        group |= {"seeds": [0, 1], "settling": "more"}
        assert "fewer" not in str(headline(group, "ssim", []))  # the line below says it
        found = explanation(group, "ssim", [])
        return found["What it shows"][0], " ".join(found["What to do"])

    leaning = row("c", "inconclusive", "sensitive")
    unsure, advice = said(row("a", "insensitive"), row("b", "sensitive"), leaning)
    assert unsure.startswith("Of c this is how it looks so far;")
    assert "Instead of a, use b to ask" in advice
    unsure, advice = said(row("a", "inconclusive", "insensitive"), leaning)
    assert unsure.startswith("This is how it looks so far;")
    assert "Instead of a, use c to ask" in advice


def test_how_sure_the_answer_is_names_what_other_metrics_lean_to():
    def row(method, metric, verdict, leans=""):
        return {"method": method, "metric": metric, "verdict": verdict, "leans": leans, "images": 7}

    rows = [row("a", "ssim", "sensitive"), row("b", "ssim", "sensitive")]
    group = {"verdicts": rows, "seeds": [0], "thresholds": {"images": 5}}
    said = "Judged by ssim, over 7 images, and one draw of the random weights."
    rows += [row("a", "hog", "sensitive"), row("b", "hog", "none"), row("x", "hog", "insensitive")]
    assert certainty(group, "ssim", ["x"]) == said
    rows += [row("a", "mae", "inconclusive", "insensitive"), row("a", "mse", "insensitive")]
    against = " Others lean to the opposite for a (mae, mse)."
    assert certainty(group, "ssim", ["x"]) == said + against


def test_what_another_metric_contradicts_is_not_recommended():
    def row(method, metric, verdict):
        return {"method": method, "metric": metric, "verdict": verdict, "early": 0.5, "leans": ""}

    rows = [row("a", "ssim", "insensitive"), row("b", "ssim", "sensitive")]
    group = {"verdicts": rows, "layers": [""] * 4, "order": "cascading", "early": 1}
    group |= {"seeds": [0, 1], "settling": ""}

    def advice():
        return " ".join(explanation(group, "ssim", ["edges"])["What to do"])

    done = explanation(group, "ssim", [])["What was done"]
    assert "in 3 stages." in done[0] and done[1].startswith("Stage 1 counts: there")
    assert "Instead of a, use b to ask" in advice() and "contradict" not in advice()
    rows.append(row("b", "hog", "insensitive"))
    assert "Do not use a to ask" in advice()
    assert "Other metrics contradict what is said of b" in advice()
    rows += [row("c", "ssim", "sensitive"), row("c", "hog", "sensitive")]
    assert "Instead of a, use c to ask" in advice()


@pytest.mark.parametrize(
    ("verdict", "settling", "said"),
    [
        ("inconclusive", None, ["For a decision, run more images"]),
        ("inconclusive", "seed=0,1", ["First settle it: seed=0,1"]),
        ("invalid", None, ["See first what is to be distrusted"]),
        ("sensitive", None, ["Test those that pass", "To see whether it holds for other draws"]),
    ],
)
def test_what_to_do_is_said_once(verdict, settling, said):
    row = {"method": "a", "metric": "ssim", "verdict": verdict, "early": 0.5, "leans": ""}
    group = {"verdicts": [row], "layers": [""] * 4, "order": "cascading", "early": 1}
    group |= {"seeds": [0], "settling": settling}
    found = explanation(group, "ssim", [])["What to do"]
    assert len(found) == len(said)
    assert all(text.startswith(start) for text, start in zip(found, said, strict=True))


# Pages


def test_json_is_no_markup_and_comes_back():
    odd = {"</script>": ["<!--", "&amp;", "\u2028\u2029", "é猫", 0.1 + 0.2]}
    text = as_json(odd)
    assert not set("<>&\u2028\u2029") & set(text)
    assert json.loads(text) == odd
    assert json.loads(as_json([np.float32(0.5), np.int64(3), np.nan, np.inf, -np.inf])) == [
        *(0.5, 3, None, "Infinity", "-Infinity")
    ]


def test_a_run_ends_with_its_page_and_figures(run):
    finish(run)
    assert {path.suffix for path in (run / "figures").glob("curves.*")} == {".png", ".pdf", ".svg"}
    assert len(list((run / "figures").glob("*_signed.png"))) == 3
    pdf = (run / "figures" / "curves.pdf").read_bytes()
    assert re.search(rb"/MediaBox \[ 0 0 237\.6 ", pdf)  # 3.3 inches
    assert b"/FontFile2" in pdf and b"/Type3" not in pdf  # TrueType, embedded
    assert 'width="237.6pt"' in (run / "figures" / "curves.svg").read_text()
    data = data_of(run / "report.html")
    assert data["methods"] == ["gradient", "guided_backprop", "edge_detector"]  # controls last
    rows = data["rows"]
    scores = load_runs(run)
    assert rows["value"] == scores["value"].tolist()  # to the bit
    assert rows["null"] == scores["null"].tolist()
    assert [data["methods"][k] for k in rows["method"]] == scores["method"].tolist()
    assert [data["metrics"][k]["name"] for k in rows["metric"]] == scores["metric"].tolist()
    assert [rows["images"][k] for k in rows["image"]] == scores["image"].tolist()
    text = (run / "report.html").read_text()
    for row in data["groups"][0]["verdicts"]:
        assert row["evidence"] in text
    assert not re.search(
        r"""(src)=["'](?!data:)|<link[^>]*href=["'](?!data:)|@import|url\((?!data:)""", text
    )


@pytest.mark.parametrize(
    ("order", "random"),
    [
        ("cascading", [[0, 1, 1, 1], [0, 0, 1, 1], [0, 0, 0, 1]]),
        ("independent", [[0, 1, 0, 0], [0, 0, 1, 0], [0, 0, 0, 1]]),
    ],
)
def test_a_run_records_its_blocks_and_ends_with_a_page(tmp_path, order, random):
    chosen = [f"randomization={order}", f"output={tmp_path}", "method=[gradient]"]
    run = library.run(overrides=[*ANY, *PICTURES, *chosen]).path
    blocks = json.loads((run / "run.json").read_text())["blocks"]
    # Of tests.networks.small_classifier; moving mean and variance, 8 each, are estimated anew.
    sizes = {"top": 16 * 7 + 7, "middle": 3 * 3 * 8 * 2 + 16, "stem": 3 * 3 * 3 * 8 + 4 * 8}
    drawn = {**sizes, "stem": sizes["stem"] - 16}
    for block, at in zip(blocks, random, strict=True):
        assert block["parameters"] == sizes[block["name"]]
        assert block["randomized"] == [drawn[block["name"]] * k for k in at]
    data = data_of(run / "report.html")
    assert [picture["image"] for picture in data["runs"][0]["pictures"]] == ["imagenet_00"]
    assert data["rows"]["value"] == load_runs(run)["value"].tolist()


def test_a_page_that_is_missing_is_made_again(tmp_path):
    chosen = [*ANY, *PICTURES, f"output={tmp_path}", "method=[gradient]", "layers.last=1"]
    run = library.run(overrides=chosen).path
    before = {path: path.read_bytes() for path in run.rglob("*") if path.is_file()}
    (run / "report.html").unlink()
    assert library.run(overrides=chosen).path == run
    assert {path: path.read_bytes() for path in run.rglob("*") if path.is_file()} == before


def test_photographs_are_those_explained(run):
    stored = load_images(run)
    assert list(stored) == ["one", "two", "three"]
    assert all(image.shape == (12, 16, 3) and image.dtype == np.uint8 for image in stored.values())
    pictures = collect(load_schemes([run]))["runs"][0]["pictures"]
    assert {picture["role"] for picture in pictures} == {"typical", "best", "worst"}
    (picture,) = [picture for picture in pictures if picture["image"] == "two"]
    np.testing.assert_array_equal(pixels(picture["photo"]), stored["two"])


def test_sprites_are_the_stored_masks(run):
    dataset = load_masks(run)
    shown = collect(load_schemes([run]))["runs"][0]
    for picture in shown["pictures"]:
        for method, masks in picture["masks"].items():
            stack = np.split(pixels(masks["absolute"]["png"]), len(LAYERS))
            for stage, tile in enumerate(stack):
                mask = dataset[method].sel(image=picture["image"], stage=stage).values
                np.testing.assert_array_equal(tile, np.rint(31 * scaled(mask, "absolute")[0]))


def test_an_old_run_without_images_and_blocks_has_a_page(tmp_path):
    path = make_run(tmp_path / "old", old=True)
    data = data_of(write(tmp_path / "page.html", load_schemes([path])))
    (run,) = data["runs"]
    assert [picture["photo"] for picture in run["pictures"]] == [None] * 3
    assert [(b["name"], b["parameters"], b["randomized"]) for b in run["blocks"]] == [
        ("top", None, [0, 1, 1, 1]),
        ("middle", None, [0, 0, 1, 1]),
        ("stem", None, [0, 0, 0, 1]),
    ]


def test_what_to_distrust(tmp_path, monkeypatch):
    def change(scores):
        lost = (scores["method"] == "gradient") & (scores["stage"] == 2)
        return scores.assign(
            value=scores["value"].mask(lost), reason=lost.map({True: "constant mask"})
        )

    path = make_run(tmp_path / "run", images=["one", "two"], change=change, share=1e-5)
    monkeypatch.setattr(collect_module, "MOST_ROWS", 10)
    monkeypatch.setattr(tiles, "BUDGET", 12 * 16 * 3 * 4 * 2)
    page = write(tmp_path / "page.html", load_schemes([path]))
    text = page.read_text()
    for said in (
        "Only 2 images",
        "One draw of the weights",
        "Stages 1–3: dead network; masks there say nothing, and verdicts rest on early stages",
        "4 of 48 scores are NaN: gradient 4 (constant mask).",
        "whether the metrics can tell here is not known",
        "Masks of 1 of 2 stored images are on this page",
        "48 scores are more than",
    ):
        assert said in text, said
    assert data_of(page)["rows"] is None


def test_masks_that_are_not_stored(tmp_path):
    path = make_run(tmp_path / "run", masks=None)
    page = write(tmp_path / "page.html", load_schemes([path]))
    assert "No masks are stored" in page.read_text()


@pytest.fixture(scope="module")
def alone(tmp_path_factory):
    """A run whose figures and page this process wrote."""
    path = make_run(tmp_path_factory.mktemp("alone") / "run")
    finish(path)
    return path


@pytest.mark.slow
@pytest.mark.parametrize("works", [True, False])
def test_a_second_process_writes_the_same(alone, tmp_path, monkeypatch, works):
    def files(path):
        return {p.name: p.read_bytes() for p in (path / "figures").iterdir()}

    beside = make_run(tmp_path / "beside" / "run")
    monkeypatch.setattr("sanity.report.finish.LARGE", 0)
    if works:  # so this process has none to draw
        monkeypatch.setattr("sanity.report.finish.draw", None)
    else:
        monkeypatch.setattr("sys.executable", "/bin/false")
    finish(beside)
    assert files(beside) == files(alone)
    alone_data, beside_data = (data_of(path / "report.html") for path in (alone, beside))
    assert beside_data["groups"] == alone_data["groups"]


def test_what_cannot_be_written_is_a_warning(tmp_path, caplog):
    path = make_run(tmp_path / "run", masks=None)
    (path / "report.html").mkdir()
    (path / "figures").write_text("in the way")
    with caplog.at_level(logging.WARNING):
        finish(path)
    assert len(caplog.messages) == 2
    for message, name in zip(caplog.messages, ("report.html", "figures"), strict=True):
        assert message.startswith(f"{path / name} could not be written")
    assert load_runs(path)["status"].unique().tolist() == ["completed"]


def test_compare_writes_a_page_of_a_sweep(tmp_path, capsys):
    for order in ("cascading", "independent"):
        for seed in range(3):
            make_run(tmp_path / f"{order}{seed}", seed=seed, randomization=order)
    page = tmp_path / "new" / "report.html"
    main([str(tmp_path), "--quiet", "--report", str(page), "--metric", "ssim"])
    assert "insensitive" in capsys.readouterr().out
    data = data_of(page)
    assert [metric["name"] for metric in data["metrics"]] == ["ssim"]
    assert [group["label"] for group in data["groups"]] == [
        *("randomization=cascading", "randomization=independent")
    ]
    assert [group["runs"] for group in data["groups"]] == [[0, 1, 2], [3, 4, 5]]
    assert data["differ"] == {
        "randomization": ["cascading", "independent"],
        "seed": ["0", "1", "2"],
    }
    for group in data["groups"]:
        assert [row["method"] for row in group["verdicts"]] == list(METHODS)
    assert "6 runs compared" in page.read_text()


def test_compare_says_where_a_page_cannot_be_written(tmp_path, capsys):
    path = make_run(tmp_path / "run", masks=None)
    (tmp_path / "file").write_text("")
    with pytest.raises(SystemExit) as stopped:
        main([str(path), "--quiet", "--report", str(tmp_path / "file" / "report.html")])
    assert stopped.value.code == 2
    assert "Cannot write" in capsys.readouterr().err


def test_a_page_on_some_metrics_knows_that_verdicts_had_more(run):
    scores = load_schemes([run])
    for some, whole in ((scores, True), (scores[scores["metric"] == "ssim"], False)):
        assert [group["whole"] for group in collect(some)["groups"]] == [whole]


def test_each_group_is_answered_by_the_metric_that_decides_it(tmp_path):
    for number, model in enumerate(("small", "large")):
        run = make_run(tmp_path / model, model=model, masks=None)
        info = json.loads((run / "run.json").read_text())
        for row in info["verdicts"]:
            row["primary"] = row["metric"] == ("ssim", "spearman")[number]
        (run / "run.json").write_text(json.dumps(info))
    page = render(collect(load_schemes([tmp_path])))
    assert "Judged by ssim, " in page and "Judged by spearman, " in page
