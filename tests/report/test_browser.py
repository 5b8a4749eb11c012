"""The page in a browser: headless Chromium, as its users have it."""

import json
from types import SimpleNamespace

import matplotlib
import numpy as np
import pandas as pd
import pytest

from sanity.analysis.means import means
from sanity.analysis.schemes import load_schemes
from sanity.analysis.verdict_tables import verdict_tables
from sanity.report.page.write import write
from sanity.results.load import load_masks, load_predictions
from tests.report import browser as browsers
from tests.report.runs import LAYERS, METHODS, METRICS, make_run

WIDTHS = (1400, 390)
READY = "document.body.dataset.masks === 'ready'"
# The contrast (WCAG 2) of every piece of text that is shown with what lies behind it.
CONTRASTS = """(() => {
  const parse = (text) => text.match(/[\\d.]+/g).map(Number);
  const light = (rgb) => rgb.slice(0, 3).map((v) => v / 255)
    .map((v) => (v <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4))
    .reduce((sum, v, i) => sum + v * [0.2126, 0.7152, 0.0722][i], 0);
  const behind = (node) => {
    for (; node; node = node.parentElement) {
      const color = parse(getComputedStyle(node).backgroundColor);
      if (color.length === 3 || color[3] > 0) return color;
    }
  };
  const found = [];
  const walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
  while (walker.nextNode()) {
    const [text, node] = [walker.currentNode.data.trim(), walker.currentNode.parentElement];
    if (!text || node.closest("script, style, noscript, [hidden], :disabled")) continue;
    if (!node.getClientRects().length) continue;
    const style = getComputedStyle(node);
    const own = parse(node.closest("svg") ? style.fill : style.color);
    const [a, b] = [light(own), light(behind(node))].sort((x, y) => y - x);
    found.push([text, (a + 0.05) / (b + 0.05)]);
  }
  return found;
})()"""
EVIL = "<script>window.hacked=1</script>\"'<img src=x onerror=hacked=2>&lt; é猫"


@pytest.fixture(scope="module")
def browser():
    executable = browsers.find()
    if not executable:
        pytest.skip("needs Chromium, which is not installed: apt-get install chromium")
    found = browsers.Browser(executable)
    yield found
    found.close()


@pytest.fixture(scope="module")
def one(tmp_path_factory):
    """A page on one run."""
    folder = tmp_path_factory.mktemp("one")
    run = make_run(folder / "run", change=some_lost)
    return SimpleNamespace(run=run, page=write(folder / "report.html", load_schemes([run])))


@pytest.fixture(scope="module")
def sweep(tmp_path_factory):
    """A page on six runs."""
    folder = tmp_path_factory.mktemp("sweep")
    for order in ("cascading", "independent"):
        for seed in range(3):
            make_run(folder / f"{order}{seed}", seed=seed, randomization=order)
    scores = load_schemes([folder])
    found = verdict_tables([folder], scores)
    return SimpleNamespace(scores=scores, page=write(folder / "report.html", scores, found))


def some_lost(scores):
    lost = (scores["method"] == "gradient") & (scores["stage"] == 3) & (scores["image"] == "two")
    return scores.assign(value=scores["value"].mask(lost), reason=lost.map({True: "constant mask"}))


@pytest.fixture
def opened(browser, one):
    browser.open(one.page)
    browser.wait(READY)
    yield browser
    assert browser.errors() == []
    assert browser.requests() == [one.page.as_uri()]


def picture(browser, method, image="one", side=1):
    """A canvas's pixels, (12, 16, 3)."""
    flat = browser.run(
        f"""(() => {{
          const card = [...document.querySelectorAll(".card[data-method]")].find((c) =>
            c.dataset.method === {json.dumps(method)} && c.dataset.image === {json.dumps(image)});
          const canvas = card.querySelectorAll("canvas")[{side}];
          return [...canvas.getContext("2d").getImageData(0, 0, canvas.width, canvas.height).data];
        }})()"""
    )
    return np.array(flat).reshape(12, 16, 4)[..., :3]


def stage_of(browser):
    return browser.run("Number(document.getElementById('stage').value)")


def table(browser):
    """The table as the DOM has it, numbers to the bit."""
    return pd.DataFrame(
        browser.run(
            """[...document.querySelectorAll("#table tbody tr")].map((row) =>
              Object.fromEntries([...row.children].map((cell) => [cell.dataset.column,
                !("value" in cell.dataset) ? cell.textContent :
                  cell.dataset.value === "" ? null : Number(cell.dataset.value)])))"""
        )
    )


def all_rows(browser):
    if browser.run("!document.getElementById('more').hidden"):
        browser.click("#more")
    return table(browser)


@pytest.mark.parametrize("width", WIDTHS)
@pytest.mark.parametrize("dark", [False, True])
@pytest.mark.parametrize("which", ["one", "sweep"])
def test_it_fits_the_window_and_asks_for_nothing(browser, request, which, width, dark):
    page = request.getfixturevalue(which).page
    browser.open(page, width, dark=dark)
    browser.wait(READY)
    assert browser.errors() == []
    assert browser.requests() == [page.as_uri()]
    assert browser.run("[document.documentElement.scrollWidth, innerWidth]") == [width, width]
    wide = """[...document.querySelectorAll("body *")].filter((n) => !n.closest(".scroll")
      && n.getBoundingClientRect().right > innerWidth + 1).map((n) => n.outerHTML.slice(0, 99))"""
    assert browser.run(wide) == []
    assert browser.run("getComputedStyle(document.body).backgroundColor") == (
        "rgb(20, 23, 28)" if dark else "rgb(255, 255, 255)"
    )


@pytest.mark.parametrize("dark", [False, True])
def test_text_has_contrast(browser, sweep, dark):
    browser.open(sweep.page, dark=dark)
    browser.wait(READY)
    found = browser.run(CONTRASTS)
    assert len(found) > 100
    poor = {text: round(ratio, 2) for text, ratio in found if ratio < 4.5}
    assert poor == {}


# Masks


def test_masks_are_coloured_as_in_the_figures(opened, one):
    dataset = load_masks(one.run)
    opened.key("ArrowRight")
    assert stage_of(opened) == 2
    for method in METHODS:
        for side, stage in enumerate((0, 2)):
            mask = dataset[method].sel(image="one", stage=stage).values.astype(np.float64)
            values = mask.sum(-1) if mask.ndim == 3 else mask
            scaled = np.clip(values / np.percentile(values, 99), -1, 1)
            levels = np.rint(scaled * 31) / 31
            expected = matplotlib.colormaps["coolwarm"]((levels + 1) / 2, bytes=True)[..., :3]
            shown = picture(opened, method, side=side)
            assert np.abs(shown - expected.astype(int)).max() <= 3, (method, stage)
    opened.click("#absolute")
    shown = picture(opened, method)
    np.testing.assert_allclose(shown / 255, np.abs(levels)[..., None].repeat(3, -1), atol=0.003)


def test_overlay_shows_the_photograph(opened):
    plain = picture(opened, "gradient")
    opened.click("#overlay")
    over = picture(opened, "gradient")
    assert (plain != over).mean() > 0.5
    opened.click("#absolute")
    light = picture(opened, "gradient")
    assert light.mean() < over.mean()
    opened.click("#overlay")
    opened.click("#signed")
    np.testing.assert_array_equal(picture(opened, "gradient"), plain)


def test_slider_and_keys_change_the_masks(opened):
    before = picture(opened, "gradient")
    original = picture(opened, "gradient", side=0)
    opened.key("ArrowRight")  # anywhere
    second = picture(opened, "gradient")
    assert stage_of(opened) == 2 and (second != before).any()
    opened.run("document.getElementById('stage').focus()")
    opened.key("ArrowRight")  # on the slider
    assert stage_of(opened) == 3 and (picture(opened, "gradient") != second).any()
    opened.key("Home")
    assert stage_of(opened) == 0
    np.testing.assert_array_equal(picture(opened, "gradient"), original)
    opened.click("#next")
    np.testing.assert_array_equal(picture(opened, "gradient"), before)
    np.testing.assert_array_equal(picture(opened, "gradient", side=0), original)
    said = opened.run(
        "document.querySelector('.card[data-method=gradient] canvas + small').textContent"
    )
    assert said == "as trained"


def test_predictions_stand_with_the_image(opened, one):
    rows = load_predictions(one.run)
    row = rows[(rows["image"] == "two") & (rows["stage"] == 1)].iloc[0]
    said = opened.run("document.querySelectorAll('.predicted')[1].textContent")
    assert f"at stage 1{row['predicted_name']} {row['probability']:.3f}" in said
    assert f"its probability now {row['target_probability']:.3f}" in said


# Curves


def test_tooltips_are_the_means_of_the_scores(opened, one):
    scores = load_schemes([one.run])
    expected = means(scores, ["metric", "stage", "method"]).set_index(["metric", "stage", "method"])
    nulls = scores.groupby(["metric", "stage", "method"], observed=True)["null"].mean()
    for number, metric in enumerate(METRICS):
        opened.run(f"document.querySelectorAll('#panels .chart')[{number}].scrollIntoView()")
        box = opened.run(
            f"""(() => {{ const b = document.querySelectorAll("#panels .chart")[{number}]
              .getBoundingClientRect(); return [b.left, b.top, b.width]; }})()"""
        )
        for stage in range(len(LAYERS)):
            x = box[0] + 40 + (box[2] - 52) * stage / (len(LAYERS) - 1)
            opened.mouse(x, box[1] + 100, click=False)
            shown = opened.run(
                """[...document.querySelectorAll("#tip tr")].map((row) => ({...row.dataset}))"""
            )
            assert {row["method"] for row in shown} == set(METHODS)
            for row in shown:
                key = (metric, stage, row["method"])
                for name, data in (("mean", "value"), ("low", "low"), ("high", "high")):
                    value = expected.loc[key, name]
                    assert float(row[data] or "nan") == pytest.approx(value, rel=1e-12), key
                assert float(row["null"]) == pytest.approx(nulls[key], rel=1e-12)


def test_a_click_on_a_stage_moves_there(opened, one):
    before = picture(opened, "gradient")
    opened.run("document.querySelector('#panels .chart').scrollIntoView({block: 'center'})")
    left, top, width = opened.run(
        """(() => { const b = document.querySelector("#panels .chart").getBoundingClientRect();
          return [b.left, b.top, b.width]; })()"""
    )
    opened.mouse(left + 40 + (width - 52) * 2 / 3, top + 60)
    assert stage_of(opened) == 2
    assert (picture(opened, "gradient") != before).any()
    assert (
        opened.run("document.getElementById('stage-label').textContent") == "stage 2 of 3: middle"
    )
    opened.run("document.querySelector('#panels .chart').focus()")
    opened.key("ArrowLeft")
    assert stage_of(opened) == 1
    said = opened.run("document.querySelector('#panels .chart').getAttribute('aria-valuetext')")
    scores = load_schemes([one.run])
    first = scores[(scores["stage"] == 1) & (scores["metric"] == "ssim")]
    means = first.groupby("method", observed=True)["value"].mean()
    each = [f"{name} {means[name]:.3f}" for name in ("edge_detector", *list(METHODS)[:2])]
    assert said == f"stage 1, top: {', '.join(each)}"
    assert not opened.run("document.getElementById('tip').hidden")
    opened.click("#blocks .strip [data-stage='3']")
    assert stage_of(opened) == 3


def test_methods_are_shown_and_hidden(opened):
    shown = "[...document.querySelectorAll('#panels .line')].map((l) => l.dataset.method)"
    cards = "[...document.querySelectorAll('.card[data-method]')].filter((c) => !c.hidden).length"
    assert opened.run(shown) == ["edge_detector", "gradient", "guided_backprop"] * 2
    assert opened.run(cards) == 9
    opened.click("#legend [data-method=gradient]")
    assert opened.run(shown) == ["edge_detector", "guided_backprop"] * 2
    assert opened.run(cards) == 6
    assert set(table(opened)["method"]) == {"edge_detector", "guided_backprop"}
    opened.run("document.querySelector('#legend [data-method=gradient]').focus()")
    opened.key(" ")  # by keyboard as well
    assert opened.run(shown) == ["edge_detector", "gradient", "guided_backprop"] * 2
    assert opened.run(cards) == 9


def test_the_metric_changes_the_answer(opened):
    visible = "[...document.querySelectorAll('.answer')].filter((a) => !a.hidden)"
    assert opened.run(f"{visible}.map((a) => a.dataset.metric)") == ["ssim"]
    opened.click("#metric-tabs [data-metric=spearman]")
    assert opened.run(f"{visible}.map((a) => a.dataset.metric)") == ["spearman"]
    assert opened.run("document.getElementById('metric').value") == "spearman"
    first = opened.run("document.querySelector('.card[data-method] .number').textContent")
    assert first.startswith("spearman ")
    order = opened.run(
        f"[...{visible}[0].querySelectorAll('.verdict')].map((v) => v.dataset.method)"
    )
    assert order[0] == "edge_detector"  # controls first


# Scores


def test_scores_in_the_page_are_those_of_the_run(opened, one):
    opened.click("#each")
    opened.click("#all-metrics")
    shown = all_rows(opened)
    scores = pd.read_parquet(one.run / "scores.parquet").rename(columns={"layer": "block"})
    keys = ["image", "method", "stage", "metric"]
    assert len(shown) == len(scores) == 3 * 3 * 4 * 2
    both = shown.set_index(keys).sort_index()
    expected = scores.set_index(keys).sort_index()
    for column in ("value", "null"):
        np.testing.assert_array_equal(
            both[column].astype(float), expected[column].astype(float), strict=True
        )
    assert both["block"].tolist() == expected["block"].tolist()
    assert both["reason"].tolist() == expected["reason"].fillna("").tolist()
    for image in ("one", "two", "three"):
        for method in METHODS:
            number = opened.run(
                f"""[...document.querySelectorAll(".card[data-method]")].find((c) =>
                  c.dataset.method === "{method}" && c.dataset.image === "{image}")
                  .querySelector(".number").dataset.value"""
            )
            assert float(number) == expected.loc[(image, method, 1, "ssim"), "value"]


def test_the_table_sorts_and_copies(opened):
    opened.click("#table thead th:nth-child(5) button")
    means = table(opened)["mean"]
    assert opened.run("document.querySelector('#table [aria-sort=descending]').textContent") == (
        "mean ↓"
    )
    assert means.is_monotonic_decreasing
    opened.key("Enter")  # the header keeps the focus
    assert table(opened)["mean"].is_monotonic_increasing
    opened.run(
        """document.addEventListener("copy", () => { window.copied = String(getSelection())
          || document.activeElement.value; }); Object.defineProperty(navigator, "clipboard",
          {value: {writeText: async (text) => { window.copied = text; }}})"""
    )
    opened.click("#copy")
    opened.wait("document.getElementById('copied').textContent === 'Copied 12 rows as CSV.'")
    lines = opened.run("window.copied").splitlines()
    assert lines[0] == "metric,method,stage,block,mean,low,high,null,images,missing"
    shown = table(opened)
    assert [float(line.split(",")[4]) for line in lines[1:]] == shown["mean"].tolist()


def test_names_are_shown_and_not_run(browser, tmp_path):
    layers = ("", f"top {EVIL}", "middle", "stem")
    methods = ("gradient", f"a{EVIL.replace('/', '')}")
    run = make_run(
        tmp_path / 'a "quoted" <b>folder</b> é',
        images=[f"1 {EVIL}", "2.png", "3.png"],
        layers=layers,
        methods=methods,
        names=(f"</script x>{EVIL}", "dog"),
        model=EVIL,
        change=lambda scores: scores.assign(reason=EVIL),
    )
    page = write(tmp_path / "report.html", load_schemes([run]), title=EVIL)
    browser.open(page)
    browser.wait(READY)
    assert browser.run("typeof window.hacked") == "undefined"
    assert browser.run("document.querySelectorAll('img[src=x]').length") == 0
    assert browser.run("document.querySelectorAll('script').length") == 2
    assert browser.run("document.querySelector('h1').textContent") == EVIL
    assert browser.run("document.querySelector('h3').textContent") == f"1 {EVIL}"
    text = browser.run("document.body.textContent")
    for name in (*layers, *methods, "<b>folder</b> é", f"</script x>{EVIL}"):
        assert name in text, name
    browser.click("#each")
    assert set(all_rows(browser)["reason"]) == {EVIL}
    assert browser.errors() == []
    assert browser.requests() == [page.as_uri()]


# Several runs


def test_a_sweep_has_small_multiples_and_schemes(browser, sweep):
    browser.open(sweep.page)
    browser.wait(READY)
    titles = "[...document.querySelectorAll('#small figcaption')].map((c) => c.textContent)"
    assert browser.run(titles) == ["randomization=cascading", "randomization=independent"]
    choose = """(id, value) => { const select = document.getElementById(id); select.value = value;
      select.dispatchEvent(new Event("change", {bubbles: true})); }"""
    browser.run(f"({choose})('key', 'seed')")
    assert browser.run(titles) == ["seed=0", "seed=1", "seed=2"]
    lines = "document.querySelectorAll('#small .panel')[1].querySelectorAll('.line').length"
    assert browser.run(lines) == 2 * len(METHODS)  # of both schemes
    browser.run(f"({choose})('group', '1')")
    browser.wait(READY)
    visible = "[...document.querySelectorAll('.answer')].filter((a) => !a.hidden)"
    assert browser.run(f"{visible}.map((a) => a.dataset.group)") == ["1"]
    assert "No verdicts: no cascade" in browser.run(f"{visible}[0].textContent")
    before = picture(browser, "gradient")
    browser.run(f"({choose})('run-select', '5')")
    browser.wait(READY)
    assert (picture(browser, "gradient") != before).any()  # another seed's
    browser.click("#each")
    browser.click("#all-metrics")
    shown = all_rows(browser)
    scores = sweep.scores.astype({"seed": str})
    keys = ["randomization", "seed", "image", "method", "stage", "metric"]
    expected = scores.astype({k: str for k in keys if k != "stage"}).set_index(keys)["value"]
    found = shown.set_index(keys)["value"]
    assert len(found) == len(expected) == 6 * 72
    np.testing.assert_array_equal(found.sort_index(), expected.sort_index())
    assert browser.errors() == []


def test_it_prints(browser, one):
    browser.open(one.page)
    browser.wait(READY)
    pdf = browser.call("Page.printToPDF", printBackground=True)["data"]
    assert len(pdf) > 10_000
    browser.call("Emulation.setEmulatedMedia", media="print")
    hidden = "[...document.querySelectorAll('#theme, .tabs, #copy')].map((n) => n.offsetHeight)"
    assert not any(browser.run(hidden))
    assert browser.run("document.querySelectorAll('canvas').length") > 0
    assert browser.errors() == []


@pytest.mark.slow
def test_the_default_jobs_page(browser, default_run):
    page = default_run.folder / "report.html"
    assert 3e6 < page.stat().st_size < 15e6
    browser.open(page)
    browser.wait(READY)
    assert browser.run("document.querySelectorAll('.card[data-method]').length") == 21
    assert browser.run("document.querySelectorAll('#panels .line').length") == 28
    browser.click("#each")
    browser.click("#all-metrics")
    shown = all_rows(browser)
    keys = ["image", "method", "stage", "metric"]
    scores = pd.read_parquet(default_run.folder / "scores.parquet").set_index(keys)
    found = shown.set_index(keys)["value"].astype(float)
    np.testing.assert_array_equal(found.sort_index(), scores["value"].sort_index())
    assert browser.errors() == []
    assert browser.requests() == [page.as_uri()]
