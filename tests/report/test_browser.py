"""The page in a browser: headless Chromium, as its users have it."""

import base64
import hashlib
import io
import json
import os
import subprocess
import tarfile
from pathlib import Path
from types import SimpleNamespace
from xml.etree import ElementTree

import matplotlib
import numpy as np
import pandas as pd
import platformdirs
import pytest
from PIL import Image

from sanity.analysis import intervals
from sanity.analysis.means import means
from sanity.analysis.schemes import load_schemes
from sanity.analysis.verdict_tables import evidence, verdict_tables
from sanity.report.display import scaled
from sanity.report.page import write as page_module
from sanity.report.page.write import write
from sanity.results.load import load_masks, load_predictions
from tests.report import browser as browsers
from tests.report.runs import LAYERS, METHODS, METRICS, make_run

WIDTHS = (1400, 390)
READY = "document.body.dataset.ready === 'ready'"
# The contrast (WCAG 2) of every piece of text that is shown with what lies behind it.
CONTRASTS = """(() => {
  const parse = (text) => text.match(/[\\d.]+/g).map(Number)
    .map((v, i) => (text.startsWith("color(srgb") && i < 3 ? 255 * v : v));
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
# Intervals and p-values in the page's words, with what they take of the rest of its script.
CHANCES = Path(page_module.__file__).parent / "files/script/chances.js"
NUMBERS = """const mean = (values) => values.reduce((sum, v) => sum + v, 0) / values.length;
const clamp = (v, low, high) => Math.max(low, Math.min(high, v));"""
EVIL = "<script>window.hacked=1</script>\"'<img src=x onerror=hacked=2>&lt; é猫"


def missing(why):
    """Skips, but fails in CI: there the page must be looked at."""
    (pytest.fail if os.environ.get("CI") else pytest.skip)(why)


@pytest.fixture(scope="module")
def browser():
    executable = browsers.find()
    if not executable:
        missing("needs Chromium, which is not installed: apt-get install chromium")
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
    assert set(browser.requests()) == {one.page.as_uri()}


def strip(browser, method, stage):
    """The pixels of a mask in the strips, (12, 16, 3), once it is painted."""
    selector = f"#strips canvas[data-method={json.dumps(method)}]"
    browser.run(f"document.querySelector('{selector}').scrollIntoView({{block: 'center'}})")
    browser.wait(f"document.querySelector('{selector}').dataset.painted")
    flat = browser.run(
        f"""(() => {{
          const canvas = document.querySelector('{selector}');
          const data = canvas.getContext("2d").getImageData({16 * stage}, 0, 16, 12).data;
          return [...data];
        }})()"""
    )
    return np.array(flat).reshape(12, 16, 4)[..., :3]


def state(browser, key):
    return browser.run(f"new URLSearchParams(location.hash.slice(1)).get('{key}')")


def stage_of(browser):
    return browser.run("Number(document.getElementById('stage').value)")


def choose(browser, selector, value):
    browser.run(
        f"""(() => {{ const select = document.querySelector("{selector}");
          select.value = {json.dumps(value)};
          select.dispatchEvent(new Event("change", {{bubbles: true}})); }})()"""
    )


def table(browser):
    """The table as the DOM has it, numbers to the bit."""
    browser.run("document.getElementById('table').scrollIntoView()")
    browser.wait("document.querySelector('#table tbody tr')")
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


# The answer


def test_rows_are_sorted_by_similarity_and_say_the_verdict(opened, one):
    rows = "[...document.querySelectorAll('#answer-table tr.verdict')]"
    assert opened.run(f"{rows}.map((row) => row.dataset.method)") == ["guided_backprop", "gradient"]
    info = json.loads((one.run / "run.json").read_text())
    found = {(row["method"], row["metric"]): row for row in info["verdicts"]}
    for number, method in enumerate(["guided_backprop", "gradient"]):
        row = found[method, "ssim"]
        assert opened.run(f"{rows}[{number}].dataset.verdict") == row["verdict"]
        cells = f"[...{rows}[{number}].querySelectorAll('.by .number')].map((n) => n.textContent)"
        early = [found[method, metric]["early"] for metric in METRICS]
        assert opened.run(cells) == [f"{value:.2f}" for value in early]
        said = opened.run(f"{rows}[{number}].querySelector('.plot').getAttribute('aria-label')")
        assert said.startswith(f"early similarity {row['early']:.2f}")
    dot = """((row) => { const plot = row.querySelector('.plot').getBoundingClientRect();
      const dot = row.querySelector('.mean').getBoundingClientRect();
      return (dot.left + dot.width / 2 - plot.left) / plot.width; })"""
    for number, method in enumerate(["guided_backprop", "gradient"]):
        place = opened.run(f"{dot}({rows}[{number}])")
        early = found[method, "ssim"]["early"]
        assert place == pytest.approx((early + 0.25) / 1.35, abs=0.01)
    assert opened.run(f"{rows}[0].querySelectorAll('.reference').length") == 1  # the control
    assert opened.run(f"{rows}[0].querySelectorAll('circle.image').length") == 3  # a ring an image
    axis = opened.run("document.querySelector('thead .similarity').textContent")
    for said in ("edge_detector", "0 another image", "1 unchanged", "0.5"):
        assert said in axis


def test_evidence_is_behind_a_disclosure(opened, one):
    info = json.loads((one.run / "run.json").read_text())
    shown = "[...document.querySelectorAll('tr.evidence')].map((row) => row.offsetHeight > 0)"
    assert opened.run(shown) == [False, False]
    opened.click("tr[data-method=gradient] .why")
    assert opened.run(shown) == [False, True]
    evidence = opened.run("document.querySelectorAll('tr.evidence')[1].textContent")
    assert evidence in [row["evidence"] for row in info["verdicts"] if row["metric"] == "ssim"]


def test_terms_are_explained_on_hover_and_focus(opened):
    assert opened.run("document.getElementById('gloss').hidden")
    opened.run("document.querySelector('#why .term').scrollIntoView({block: 'center'})")
    x, y = opened.run(
        """(() => { const b = document.querySelector("#why .term").getBoundingClientRect();
          return [b.left + 5, b.top + 5]; })()"""
    )
    opened.mouse(x, y, click=False)
    opened.wait("!document.getElementById('gloss').hidden")
    assert "over the early stages" in opened.run("document.getElementById('gloss').textContent")
    opened.mouse(2, 2, click=False)
    opened.wait("document.getElementById('gloss').hidden")
    opened.run("document.querySelector('#why .term:nth-of-type(3)').focus()")
    assert not opened.run("document.getElementById('gloss').hidden")
    assert "other images" in opened.run("document.getElementById('gloss').textContent")


def test_thumbnails_run_from_trained_to_random(opened):
    canvas = "document.querySelector('tr[data-method=gradient] .thumbs canvas')"
    opened.wait(f"{canvas}.dataset.painted")
    assert opened.run(f"{canvas}.dataset.painted").endswith("gradient absolute 0,1,2,3")


def test_the_metric_changes_the_answer(opened):
    now = "document.querySelector('#answer-table thead .by.now').textContent"
    assert opened.run(now) == "ssim, which decides"
    choose(opened, "#metric", "spearman")
    assert opened.run(now) == "spearman"
    opened.run("document.getElementById('panels').scrollIntoView()")  # what is far is not drawn
    opened.wait("document.querySelector('#panels .large').dataset.title === 'spearman'")
    assert state(opened, "metric") == "spearman"


# Masks


def test_masks_are_coloured_as_in_the_figures(opened, one):
    dataset = load_masks(one.run)
    image = opened.run("document.getElementById('image').value")
    for style in ("absolute", "signed"):
        opened.click(f"#{style}")
        for method in METHODS:
            for stage in (0, 2):
                values, _ = scaled(dataset[method].sel(image=image, stage=stage).values, style)
                levels = np.rint(values * 31) / 31
                if style == "signed":
                    map_ = matplotlib.colormaps["coolwarm"]
                    expected = map_((levels + 1) / 2, bytes=True)[..., :3]
                else:
                    expected = np.rint(255 * levels)[..., None].repeat(3, -1)
                shown = strip(opened, method, stage)
                assert np.abs(shown - expected.astype(int)).max() <= 3, (method, stage)


def test_overlay_shows_the_photograph(opened):
    plain = strip(opened, "gradient", 1)
    opened.click("#overlay")
    assert (plain != strip(opened, "gradient", 1)).mean() > 0.5
    opened.click("#overlay")
    np.testing.assert_array_equal(strip(opened, "gradient", 1), plain)


def test_strips_and_curves_point_at_each_other(opened):
    strip(opened, "gradient", 0)
    left, top, width = opened.run(
        """(() => { const b = document.querySelector("#strips .tiles canvas")
          .getBoundingClientRect(); return [b.left, b.top, b.width]; })()"""
    )
    opened.mouse(left + width * 2.5 / 4, top + 10, click=False)
    hover = "document.querySelector('#panels .large .hover')"
    opened.wait(f"{hover}.getAttribute('visibility') === 'visible'")
    third = opened.run(f"Number({hover}.getAttribute('x1'))")
    opened.run("document.querySelector('#panels .large').scrollIntoView({block: 'center'})")
    box = opened.run(
        """(() => { const b = document.querySelector("#panels .large .chart")
          .getBoundingClientRect(); return [b.left, b.top, b.width]; })()"""
    )
    opened.mouse(box[0] + third, box[1] + 60, click=False)
    column = "document.querySelector('#strips .column.hover')"
    opened.wait(f"!{column}.hidden")
    assert opened.run(f"{column}.style.getPropertyValue('--k')") == "2"


def test_a_click_enlarges_and_blinks_against_the_original(opened):
    strip(opened, "gradient", 0)
    left, top, width = opened.run(
        """(() => { const b = document.querySelector("#strips .tiles canvas")
          .getBoundingClientRect(); return [b.left, b.top, b.width]; })()"""
    )
    opened.mouse(left + width * 2.5 / 4, top + 10)
    opened.wait("document.getElementById('large').open")
    painted = "document.getElementById('large-mask').dataset.painted"
    opened.wait(f"({painted} || '').endsWith('gradient absolute 2')")
    assert stage_of(opened) == 2
    opened.click("#blink-original")
    opened.wait(f"{painted}.endsWith('gradient absolute 0')")
    opened.click("#blink-original")
    opened.click("#blink")
    opened.wait(f"{painted}.endsWith('gradient absolute 0')")
    opened.wait(f"{painted}.endsWith('gradient absolute 2')")
    opened.click("#blink")
    opened.click("#large-next")
    opened.wait(f"{painted}.endsWith('guided_backprop absolute 2')")
    opened.click("#large-close")
    assert not opened.run("document.getElementById('large').open")


def test_slider_and_keys_change_the_stage(opened):
    column = "document.querySelector('#strips .column.now').style.getPropertyValue('--k')"
    strip(opened, "gradient", 0)
    opened.run("document.activeElement.blur()")
    opened.key("ArrowRight")  # anywhere
    assert stage_of(opened) == 2 and opened.run(column) == "2"
    opened.run("document.getElementById('stage').focus()")
    opened.key("ArrowRight")  # on the slider
    assert stage_of(opened) == 3 and opened.run(column) == "3"
    opened.key("Home")
    assert stage_of(opened) == 0
    opened.click("#next")
    assert stage_of(opened) == 1
    opened.run("document.getElementById('strips').focus()")
    opened.key("End")
    assert stage_of(opened) == 3


def test_predictions_stand_with_the_image(opened, one):
    choose(opened, "#image", "two")
    rows = load_predictions(one.run)
    row = rows[(rows["image"] == "two") & (rows["stage"] == 1)].iloc[0]
    said = opened.run("document.getElementById('predicted').textContent")
    assert f"at stage 1: {row['predicted_name']} {row['probability']:.3f}" in said
    assert f"its probability now {row['target_probability']:.3f}" in said


# Curves


def test_tooltips_are_the_means_of_the_scores(opened, one):
    scores = load_schemes([one.run])
    expected = means(scores, ["metric", "stage", "method"]).set_index(["metric", "stage", "method"])
    nulls = scores.groupby(["metric", "stage", "method"], observed=True)["null"].mean()
    for metric in METRICS:
        panel = f"#panels [data-title={metric}] .chart"
        opened.run(f"document.querySelector('{panel}').scrollIntoView({{block: 'center'}})")
        left, top, xs = opened.run(
            f"""(() => {{ const chart = document.querySelector('{panel}');
              const b = chart.getBoundingClientRect();
              return [b.left, b.top, [0, 1, 2, 3].map((k) => {{ chart.point(k);
                return Number(chart.querySelector('.hover').getAttribute('x1')); }})]; }})()"""
        )
        for stage in range(len(LAYERS)):
            opened.mouse(left + xs[stage], top + 60, click=False)
            shown = opened.run(
                """[...document.querySelectorAll("#tip tbody tr")].map((r) => ({...r.dataset}))"""
            )
            assert {row["method"] for row in shown} == set(METHODS)
            for row in shown:
                key = (metric, stage, row["method"])
                for name, data in (("mean", "value"), ("low", "low"), ("high", "high")):
                    value = expected.loc[key, name]
                    assert float(row[data] or "nan") == pytest.approx(value, rel=1e-12), key
                assert float(row["null"]) == pytest.approx(nulls[key], rel=1e-12)


def test_a_tap_on_a_stage_moves_there_and_shows_numbers(opened):
    opened.run("document.getElementById('panels').scrollIntoView()")  # then it is painted
    opened.wait("document.querySelector('#panels .large')")
    opened.run("document.querySelector('#panels .large').scrollIntoView({block: 'center'})")
    left, top, x = opened.run(
        """(() => { const chart = document.querySelector("#panels .large .chart");
          const b = chart.getBoundingClientRect(); chart.point(2);
          return [b.left, b.top, Number(chart.querySelector(".hover").getAttribute("x1"))]; })()"""
    )
    opened.tap(left + x, top + 60)
    opened.wait("document.getElementById('stage').value === '2'")
    assert not opened.run("document.getElementById('tip').hidden")
    assert opened.run("document.getElementById('stage-label').textContent") == "stage 2/3 middle"
    opened.run("document.querySelector('#panels .large .chart').focus()")
    opened.key("ArrowLeft")
    assert stage_of(opened) == 1
    said = opened.run("document.querySelector('#panels .chart').getAttribute('aria-valuetext')")
    assert said.startswith("stage 1, top: gradient 0.")


def test_the_scheme_is_stepped_through_by_keyboard_and_pointer(opened):
    opened.run("document.getElementById('scheme').open = true")
    opened.run("document.getElementById('blocks').scrollIntoView()")
    opened.wait("document.querySelector('#blocks .strip')")
    opened.click("#blocks .strip [data-stage='3']")
    assert stage_of(opened) == 3
    opened.run("document.getElementById('blocks').focus()")
    opened.key("ArrowLeft")
    assert stage_of(opened) == 2
    said = opened.run("document.getElementById('blocks').getAttribute('aria-valuetext')")
    assert said == "stage 2: random: top, middle"


def test_early_window_and_threshold_are_drawn(opened):
    large = "document.querySelector('#panels .large')"
    opened.wait(f"{large}?.querySelectorAll('.early, .threshold').length === 2")
    opened.click("#score")
    opened.wait(f"{large}.querySelectorAll('.threshold').length === 0")
    assert opened.run(f"{large}.querySelectorAll('.null').length") == 3
    assert state(opened, "scale") == "score"


def test_methods_are_hidden_everywhere(opened):
    shown = (
        "[...new Set([...document.querySelectorAll('#panels .line')].map((l) => l.dataset.method))]"
    )
    rows = "[...document.querySelectorAll('tr.verdict')].map((row) => row.dataset.method)"
    strips = "[...document.querySelectorAll('#strips canvas')].map((c) => c.dataset.method)"
    opened.run("document.getElementById('legend').scrollIntoView({block: 'center'})")
    opened.wait(f"{shown}.length === 3")
    opened.click("#legend [data-method=gradient]")
    opened.wait(f"{shown}.length === 2")
    assert opened.run(rows) == ["guided_backprop"]
    assert opened.run(strips) == ["guided_backprop", "edge_detector"]
    table(opened)
    opened.wait("!document.getElementById('table').textContent.includes('gradient')")
    assert set(table(opened)["method"]) == {"edge_detector", "guided_backprop"}
    opened.run("document.querySelector('#legend [data-method=gradient]').focus()")
    opened.key(" ")  # by keyboard as well
    assert opened.run(strips) == list(METHODS)
    choose(opened, "#filter", "family:backprop rules")
    assert opened.run(strips) == ["guided_backprop", "edge_detector"]
    opened.click("#all-methods")
    choose(opened, "#filter", "only:gradient")
    assert opened.run(rows) == ["gradient"]


# The address


def test_the_address_keeps_what_is_chosen(opened, one):
    choose(opened, "#metric", "spearman")
    choose(opened, "#image", "two")
    opened.click("#signed")
    opened.click("#legend [data-method=gradient]")
    opened.run("new Promise((done) => setTimeout(done, 800))")
    opened.run("document.getElementById('stage').focus()")
    opened.key("End")
    opened.run("document.body.dataset.ready = 'before'")
    opened.call("Page.reload")
    opened.wait(f"document.body && {READY}")
    values = "['metric', 'image', 'stage'].map((id) => document.getElementById(id).value)"
    assert opened.run(values) == ["spearman", "two", "3"]
    assert opened.run("document.getElementById('signed').getAttribute('aria-pressed')") == "true"
    assert opened.run("document.querySelectorAll('tr.verdict').length") == 1
    opened.run("history.back()")
    opened.wait("document.getElementById('stage').value === '1'")
    assert opened.run(values) == ["spearman", "two", "1"]


@pytest.mark.parametrize(
    "hash",
    [
        "#metric=none&stage=99&image=x&mode=y",
        "#stage=-3&group=7&run=x",
        "#whatif=a,2",
        "#whatif=9,0.6,1e99",
    ],
)
def test_an_address_that_makes_no_sense_is_no_harm(browser, one, hash):
    browser.open(one.page, hash=hash)
    browser.wait(READY)
    assert 0 <= stage_of(browser) <= 3
    assert browser.run("document.querySelectorAll('tr.verdict').length") == 2
    assert browser.errors() == []


# What if


@pytest.mark.parametrize(("images", "seeds"), [(2, 1), (7, 1), (230, 1), (2, 2), (7, 4)])
def test_intervals_and_p_values_are_those_of_the_package(browser, images, seeds):
    draw = np.random.default_rng([images, seeds])
    bottoms = draw.normal(0.9, 0.05, (images, seeds))
    thresholds = [0.3, 0.5, 0.6]
    for spread, high in [(0.02, 0.9), (0.4, 0.55), (0.0, 0.5), (3.0, 0.4)]:
        tops = np.minimum(high + spread * draw.normal(size=(images, seeds)), 1) * bottoms
        found = browser.run(
            f"""(() => {{ {NUMBERS} {CHANCES.read_text()}
              const of = ratioOf({json.dumps(tops.tolist())}, {json.dumps(bottoms.tolist())});
              return [of.mean, of.low, of.high, ...{thresholds}.map(of.p)]; }})()"""
        )
        one = intervals.ratio(tops, bottoms)
        p_values = [intervals.p_value(tops, bottoms, threshold) for threshold in thresholds]
        assert found[:3] == pytest.approx([one.mean, one.low, one.high], abs=1e-4)
        assert found[3:] == pytest.approx(p_values, rel=1e-3, abs=2e-6)


@pytest.fixture(scope="module")
def judged(tmp_path_factory):
    """A page on two seeds and seven images, of which methods keep more or less."""
    folder = tmp_path_factory.mktemp("judged")
    images = tuple("abcdefg")
    for seed in range(2):
        make_run(folder / f"seed{seed}", seed=seed, images=images, change=spread, masks=None)
    scores = load_schemes([folder])
    (found,) = evidence([folder], scores).values()
    page = write(folder / "report.html", scores, verdict_tables([folder], scores))
    return SimpleNamespace(found=found, page=page)


def spread(scores):
    """By spearman gradient stays; images differ, and one of guided_backprop's has no late score."""
    draw = np.random.default_rng(0).normal(0, 0.1, len(scores))
    early = (scores["stage"] > 0) & (scores["method"] != "edge_detector")
    value = scores["value"] + draw * early
    kept = (scores["method"] == "gradient") & (scores["metric"] == "spearman") & early
    lost = (scores["method"] == "guided_backprop") & (scores["stage"] == 3)
    value = value.mask(kept, 0.8 + draw).mask(lost & (scores["image"] == "b"))
    return scores.assign(value=value.clip(upper=1))


def what_if(browser):
    """The table of verdicts that are not the run's, by method."""
    rows = browser.run(
        """[...document.querySelectorAll("#what-if-table tbody tr")].map((row) =>
          [row.dataset.method, row.dataset.verdict,
           ...["early", "low", "high", "p"].map((key) => Number(row.dataset[key]))])"""
    )
    return pd.DataFrame(rows, columns=["method", "verdict", "early", "low", "high", "p"])


@pytest.mark.parametrize("metric", METRICS)
@pytest.mark.parametrize(
    "changes", [(0.5, 3, 5), (0.3, 3, 3), (0.25, 1, 3), (0.7, 2, 7), (0.85, 1, 2), (0.1, 1, 6)]
)
def test_what_if_judges_as_the_package_does(browser, judged, metric, changes):
    said = ",".join(map(str, changes))
    browser.open(judged.page, hash=f"#metric={metric}&whatif={said}")
    browser.wait(READY)
    browser.run("document.getElementById('what-if').open = true")
    browser.wait("document.querySelector('#what-if-table tbody tr')")
    shown = what_if(browser).set_index("method")
    table = judged.found.verdicts(dict(zip(("threshold", "early", "images"), changes, strict=True)))
    chosen = table[(table["metric"] == metric) & (table["method"] != "edge_detector")]
    expected = chosen.set_index("method").loc[shown.index]
    assert len(shown) == 2
    assert shown["verdict"].tolist() == expected["verdict"].tolist()
    for key in ("early", "low", "high", "p"):
        one = shown[key].to_numpy(float)
        np.testing.assert_allclose(one, expected[key].to_numpy(float), rtol=1e-3, atol=1e-4)
    assert browser.errors() == []


def alike(scores):
    """Masks of other images are nearly as alike as a mask with itself."""
    return scores.assign(null=0.95)


def blends(own, other):
    """What run.json says of metrics that discriminate so little, for one method each."""
    rows = [
        {"method": method, "metric": metric, "mostly_own": own, "mostly_other": other}
        for method in ("gradient", "guided_backprop")
        for metric in METRICS
    ]
    return {"discrimination": rows}


@pytest.mark.parametrize(
    ("verdicts", "options", "found_out"),
    [
        ({"invalid"}, {"share": 0.01}, {}),
        (
            {"invalid"},
            {},
            {"survives": {"parameters": 50, "of": 100, "variables": {"head/kernel": 50}}},
        ),
        ({"same_for_every_image"}, {"change": alike}, {}),
        ({"inconclusive", "insensitive"}, {}, blends(0.2, 0.1)),  # too strict
        ({"inconclusive", "sensitive"}, {}, blends(0.95, 0.9)),  # too lenient
        ({"insensitive", "sensitive"}, {}, blends(0.9, 0.1)),
    ],
)
def test_what_if_withholds_what_the_package_does(browser, tmp_path, verdicts, options, found_out):
    run = make_run(tmp_path / "run", images=tuple("abcdefg"), masks=None, **options)
    info = json.loads((run / "run.json").read_text())
    (run / "run.json").write_text(json.dumps({**info, **found_out}))
    scores = load_schemes([run])
    ((scheme, found),) = evidence([run], scores).items()
    page = write(tmp_path / "report.html", scores, {scheme: found.verdicts()})
    browser.open(page, hash="#whatif=0.55,3,3")
    browser.wait(READY)
    browser.run("document.getElementById('what-if').open = true")
    browser.wait("document.querySelector('#what-if-table tbody tr')")
    shown = what_if(browser).set_index("method")["verdict"]
    table = found.verdicts({"threshold": 0.55, "early": 3, "images": 3})
    expected = table[table["metric"] == "ssim"].set_index("method")["verdict"]
    assert shown.to_dict() == expected.loc[shown.index].to_dict()
    assert set(shown) == verdicts


def test_what_if_leaves_out_images_that_a_draw_lacks(browser, tmp_path):
    for seed, images in enumerate(("abc", "abcdefgh")):
        make_run(tmp_path / str(seed), seed=seed, images=tuple(images), masks=None)
    scores = load_schemes([tmp_path])
    table = verdict_tables([tmp_path], scores)
    browser.open(write(tmp_path / "report.html", scores, table), hash="#whatif=0.55,3,3")
    browser.wait(READY)
    browser.run("document.getElementById('what-if').open = true")
    browser.wait("document.querySelector('#what-if-table tbody tr')")
    shown = what_if(browser).set_index("method")["verdict"]
    (found,) = evidence([tmp_path], scores).values()
    expected = found.verdicts({"threshold": 0.55}).query("primary").set_index("method")["verdict"]
    assert shown.to_dict() == expected.loc[shown.index].to_dict()
    assert "invalid" not in set(shown)


def odd(scores):
    """Gradient falls far below other images; of guided_backprop one image is far from others."""
    early = scores["stage"] > 0
    draw = np.random.default_rng(1).normal(0, 0.02, len(scores))
    low = early & (scores["method"] == "gradient")
    one = early & (scores["method"] == "guided_backprop") & (scores["image"] == "far_away")
    return scores.assign(value=scores["value"].mask(low, -0.3 + draw).mask(one, 0.3))


def test_what_is_cut_has_arrows_and_outliers_their_names(browser, tmp_path):
    images = ("a", "b", "c", "d", "e", "f", "far_away")
    run = make_run(tmp_path / "run", images=images, change=odd, masks=None)
    browser.open(write(tmp_path / "report.html", load_schemes([run])))
    browser.wait(READY)
    marks = {
        method: browser.run(
            f"""((row) => ["path.arrow", "line.interval", "circle.image", "path.image"]
              .map((kind) => row.querySelectorAll(kind).length))(document.querySelector(
              "#answer-table tr.verdict[data-method={method}]"))"""
        )
        for method in ("gradient", "guided_backprop")
    }
    assert marks == {"gradient": [1, 1, 0, 7], "guided_backprop": [0, 1, 7, 0]}
    names = "[...document.querySelectorAll('#answer-table text.odd')].map((n) => n.textContent)"
    assert browser.run(names) == ["far_away"]
    few = make_run(tmp_path / "few", images=images[:2], change=odd, masks=None)
    browser.open(write(tmp_path / "few.html", load_schemes([few])))
    browser.wait(READY)
    count = "document.querySelectorAll('#answer-table {}').length"
    assert browser.run(count.format("circle.few")) == 2
    assert browser.run(count.format("path.few")) == 2  # of gradient's, beyond the axis
    assert browser.run(count.format("line.interval")) == 0
    assert browser.run(count.format("path.arrow")) == 0


@pytest.mark.parametrize("width", [1400, 1281, 1000, 390])
def test_what_leans_leaves_the_drawing_free(browser, tmp_path, width):
    run = make_run(tmp_path / "run", images=("a", "b"), change=odd, masks=None)
    browser.open(write(tmp_path / "report.html", load_schemes([run])), width=width)
    browser.wait(READY)
    covered = """[...document.querySelectorAll('#answer-table tr.verdict')].filter((row) => {
      const box = (name) => row.querySelector(name).getBoundingClientRect();
      const [why, plot] = [box('.why'), box('.plot')];
      return why.right > plot.left && why.bottom > plot.top && why.top < plot.bottom;
    }).length"""
    assert browser.run(covered) == 0


def test_the_headline_of_many_methods_names_some(browser, tmp_path):
    methods = tuple(f"method{k}" for k in range(9))
    run = make_run(tmp_path / "run", images=tuple("abcdefg"), methods=methods, masks=None)
    browser.open(write(tmp_path / "report.html", load_schemes([run])))
    browser.wait(READY)
    said = browser.run("document.querySelector('.headline .sentence').innerText")
    assert said.count("method") == 4 and " and 5 others keep their masks" in said


@pytest.mark.parametrize(
    ("order", "said"),
    [("cascading", "over stage 1 of 3, with"), ("independent", "no verdicts, as there are no")],
)
def test_the_caption_for_latex_names_the_stages_that_count(browser, tmp_path, order, said):
    run = make_run(tmp_path / "run", randomization=order, masks=None)
    browser.open(write(tmp_path / "report.html", load_schemes([run])))
    browser.wait(READY)
    browser.run(SAVED)
    assert said in saved(browser, "#verdicts-latex")[1].decode()


def test_a_step_leaves_the_gallery_where_it_is(opened):
    opened.run("document.getElementById('gallery').scrollIntoView()")
    opened.wait("document.querySelector('#gallery canvas[data-painted]')")
    shot = "document.querySelector('#gallery .shot')"
    opened.run(f"{shot}.kept = true")
    said = f"{shot}.querySelector('canvas').getAttribute('aria-label')"
    before = opened.run(said)
    opened.run("document.getElementById('next').click()")
    opened.wait(f"{said} !== {json.dumps(before)}")
    opened.wait(f"{shot}.querySelector('canvas').dataset.painted.endsWith('0,2')")
    assert opened.run(f"{shot}.kept")


def test_what_if_leaves_the_runs_verdicts_alone(browser, judged):
    browser.open(judged.page)
    browser.wait(READY)
    answer = "document.getElementById('answer-table').innerText"
    own = browser.run(answer)
    browser.click("#what-if summary")
    browser.wait("document.querySelector('#what-if-table tbody tr')")
    said = "document.getElementById('what-if-said').textContent"
    assert browser.run(said).startswith("As the run has it")
    before = what_if(browser)
    browser.run("document.getElementById('what-if-threshold').focus()")
    browser.key("End")
    assert state(browser, "whatif") == "0.9,3,3"
    assert browser.run(said).startswith("Not the run’s verdicts: threshold 0.9, stage 1 of 3")
    assert browser.run("document.querySelector('.changed') !== null")
    assert browser.run(answer) == own
    browser.run("document.body.dataset.ready = 'before'")
    browser.call("Page.reload")
    browser.wait(f"document.body && {READY}")
    assert browser.run("document.getElementById('what-if').open")
    assert not what_if(browser).equals(before)
    browser.call("Emulation.setEmulatedMedia", media="print")
    assert browser.run("document.getElementById('what-if').offsetHeight") == 0
    browser.call("Emulation.setEmulatedMedia", media="")
    browser.click("#what-if-reset")
    pd.testing.assert_frame_equal(what_if(browser), before)
    assert state(browser, "whatif") is None
    assert browser.errors() == []


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
        choose(opened, "#image", image)
        for method in METHODS:
            numbers = opened.run(
                f"""[...document.querySelectorAll(".strip-row[data-method={method}] .numbers span")]
                  .map((node) => node.dataset.value)"""
            )
            values = expected.loc[[(image, method, stage, "ssim") for stage in range(4)], "value"]
            np.testing.assert_array_equal([float(v or "nan") for v in numbers], values)


def test_the_table_sorts_and_copies(opened):
    table(opened)
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
    options = "[...document.getElementById('image').options].map((o) => o.value)"
    assert f"1 {EVIL}" in browser.run(options)
    browser.run("document.querySelectorAll('details').forEach((node) => (node.open = true))")
    browser.run("window.dispatchEvent(new Event('beforeprint'))")
    text = browser.run("document.body.textContent")
    for name in (*layers, *methods, "<b>folder</b> é", f"</script x>{EVIL}"):
        assert name in text, name
    browser.click("#each")
    assert set(all_rows(browser)["reason"]) == {EVIL}
    assert browser.errors() == []
    assert browser.requests() == [page.as_uri()]


# Taking along


SAVED = """window.saved = []; const make = URL.createObjectURL;
  URL.createObjectURL = (blob) => { window.blob = blob; return make.call(URL, blob); };
  HTMLAnchorElement.prototype.click = function () {
    window.saved.push([this.download, window.blob]); };"""


def saved(browser, selector):
    """Name and content (base64) of what a click saves."""
    browser.run("window.saved.length = 0")
    browser.click(selector)
    browser.wait("window.saved.length === 1")
    name, content = browser.run(
        """new Promise((done) => { const reader = new FileReader();
          reader.onload = () => done([window.saved[0][0], reader.result.split(",")[1]]);
          reader.readAsDataURL(window.saved[0][1]); })"""
    )
    return name, base64.b64decode(content)


def test_charts_and_masks_are_saved_as_pictures(opened):
    strip(opened, "gradient", 0)
    opened.run(SAVED)
    name, content = saved(opened, "#panels .large .export button:first-child")
    svg = ElementTree.fromstring(content)
    assert name == "ssim_by_stage.svg" and svg.tag == "{http://www.w3.org/2000/svg}svg"
    lines = [node for node in svg.iter() if node.get("data-method")]
    assert {node.get("data-method") for node in lines} == set(METHODS)
    assert all(node.get("stroke", "").startswith("rgb") for node in lines)  # its looks go with it
    name, content = saved(opened, "#panels .large .export button:last-child")
    picture = np.asarray(Image.open(io.BytesIO(content)).convert("RGB"))
    assert name == "ssim_by_stage.png" and picture.std() > 5
    for kind in ("svg", "png"):
        name, content = saved(opened, f"#strips-{kind}")
        assert name == f"masks.{kind}" and len(content) > 5000
    name, content = saved(opened, "#answer-png")
    assert np.asarray(Image.open(io.BytesIO(content)).convert("RGB")).std() > 5


def test_tables_are_saved_as_csv_and_latex(opened, one):
    opened.run(SAVED)
    _, content = saved(opened, "#verdicts-csv")
    found = pd.read_csv(io.BytesIO(content)).set_index(["method", "metric"])
    info = json.loads((one.run / "run.json").read_text())
    for row in info["verdicts"]:
        if row["method"] != "edge_detector":
            assert found.loc[(row["method"], row["metric"]), "early"] == row["early"]
    name, content = saved(opened, "#verdicts-latex")
    text = content.decode()
    assert name == "verdicts.tex"
    assert "guided\\_backprop & ssim & " in text and "\\toprule" in text
    assert text.count("\\begin{") == text.count("\\end{") == 2


# Several runs


def test_a_sweep_has_a_heat_map_and_small_multiples(browser, sweep):
    browser.open(sweep.page)
    browser.wait(READY)
    cells = """[...document.querySelectorAll('#heat tbody tr')].map((row) =>
      [...row.querySelectorAll('.number')].map((n) => n.textContent))"""
    found = browser.run(cells)
    assert len(found) == 2 and all(len(row) == 2 for row in found)
    assert [row[1] for row in found] == ["–", "–"]  # no cascade, no early stages
    assert "0." in found[0][0]
    browser.run("document.getElementById('small').scrollIntoView()")
    titles = "[...document.querySelectorAll('#small figcaption')].map((c) => c.textContent)"
    browser.wait(f"{titles}.length")
    assert browser.run(titles) == ["randomization=cascading", "randomization=independent"]
    choose(browser, "#key", "seed")
    browser.wait(f"{titles}.length === 3")
    assert browser.run(titles) == ["seed=0", "seed=1", "seed=2"]
    panel = "document.querySelectorAll('#small .panel')[1]"
    browser.run(f"{panel}.scrollIntoView()")
    lines = f"[...{panel}.querySelectorAll('.line[data-method=gradient]')]"
    browser.wait(f"{lines}.length === 2")  # of both schemes, in different dashes
    dashes = browser.run(f"{lines}.map((line) => line.getAttribute('stroke-dasharray'))")
    assert len(set(dashes)) == 2
    choose(browser, "#group", "1")
    assert "independent" in browser.run("document.getElementById('answer-label').textContent")
    sentences = "[...document.querySelectorAll('.headline')].find((n) => !n.hidden).textContent"
    assert "No verdicts: no cascade" in browser.run(sentences)
    before = strip(browser, "gradient", 1)
    choose(browser, "#run-select", "5")
    assert (strip(browser, "gradient", 1) != before).any()  # another seed's
    table(browser)
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


def test_two_methods_are_compared_image_by_image(opened, one):
    opened.run("document.getElementById('pair').scrollIntoView()")
    opened.wait("document.querySelector('#pair circle')")
    said = "document.getElementById('pair-said').textContent"
    first = "By ssim, guided_backprop keeps more than gradient in 3 of 3 images; on average 0.6"
    assert opened.run(said).startswith(first)
    choose(opened, "#pair-a", "edge_detector")
    opened.wait(f"{said}.includes('edge_detector keeps more than gradient')")
    assert state(opened, "pair") == "edge_detector,gradient"


def test_images_are_sorted_and_chosen(opened):
    opened.run("document.getElementById('gallery').scrollIntoView()")
    shots = "[...document.querySelectorAll('.shot')]"
    opened.wait(f"{shots}.length === 3")
    early = [
        float(text.split()[1].rstrip(";"))
        for text in opened.run(f"{shots}.map((node) => node.querySelector('.key').textContent)")
    ]
    assert early == sorted(early, reverse=True)
    image = opened.run(f"{shots}[2].dataset.image")
    opened.click(".shot:nth-child(3)")
    assert opened.run("document.getElementById('image').value") == image


# Access


@pytest.fixture(scope="module")
def axe():
    """axe-core's script, pinned, from npm."""
    name, digest = (
        "axe-core-4.10.3",
        ("0f2b4d7dcdf7d1219df8d1959ad68e565f51d14c3f0d88bb71cd59abeb956292"),
    )
    file = platformdirs.user_cache_path("sanity-tests") / f"{name}.tgz"
    if not file.exists():
        file.parent.mkdir(parents=True, exist_ok=True)
        command = ["npm", "pack", name.replace("core-", "core@"), "--silent"]
        try:
            subprocess.run(command, cwd=file.parent, check=True, timeout=60, capture_output=True)
        except (OSError, subprocess.SubprocessError) as error:
            missing(f"needs axe-core, which npm could not fetch: {error}")
    content = file.read_bytes()
    assert hashlib.sha256(content).hexdigest() == digest, f"{file} is not the one pinned"
    with tarfile.open(fileobj=io.BytesIO(content)) as archive:
        return archive.extractfile("package/axe.min.js").read().decode()


@pytest.mark.parametrize("dark", [False, True])
@pytest.mark.parametrize(("which", "width"), [("one", 1400), ("one", 390), ("sweep", 1000)])
def test_axe_finds_nothing(browser, request, axe, which, width, dark):
    browser.open(request.getfixturevalue(which).page, width, dark=dark)
    browser.wait(READY)
    browser.run("document.querySelectorAll('details').forEach((node) => (node.open = true))")
    browser.run("window.dispatchEvent(new Event('beforeprint'))")
    browser.run(axe)
    found = browser.run(
        """axe.run({rules: {"target-size": {enabled: true}}}).then((r) => r.violations.map((v) =>
          [v.id, v.nodes.map((n) => n.html.slice(0, 150))]))"""
    )
    assert found == []


def test_focus_is_never_under_the_bar(opened):
    opened.run("document.querySelectorAll('details').forEach((node) => (node.open = true))")
    covered = opened.run(
        """[...document.querySelectorAll("main button, main select, main [tabindex]")]
          .filter((node) => node.offsetParent && !node.closest("#bar")).filter((node) => {
            window.scrollTo(0, document.body.scrollHeight);
            node.focus();
            const bar = document.getElementById("bar").getBoundingClientRect();
            const box = node.getBoundingClientRect();
            return box.top < bar.bottom - 1 && box.height < innerHeight - bar.height;
          }).map((node) => node.outerHTML.slice(0, 80))"""
    )
    assert covered == []


def test_the_bar_is_one_line_and_stays_put_on_low_screens(browser, sweep):
    for width in (1400, 1000, 390):
        browser.open(sweep.page, width)
        browser.wait(READY)
        assert browser.run("document.getElementById('bar').offsetHeight") < 60
    position = "getComputedStyle(document.getElementById('bar')).position"
    assert browser.run(position) == "sticky"
    browser.resize(800, 400)
    assert browser.run(position) == "static"


def test_forced_colours_keep_marks(browser, one):
    browser.open(one.page, forced=True)
    browser.wait(READY)
    assert browser.run("matchMedia('(forced-colors: active)').matches")
    colours = browser.run(
        """[[".plot .mean", "fill"], [".plot .image", "stroke"], [".plot .end", "stroke"],
          [".chart .line", "stroke"], [".chart .cursor", "stroke"]].map(([selector, key]) =>
            getComputedStyle(document.querySelector(selector))[key])"""
    )
    back = browser.run("getComputedStyle(document.body).backgroundColor")
    assert all(colour not in (back, "none") for colour in colours)


def test_it_prints_and_says_what_it_leaves_out(browser, one):
    browser.open(one.page)
    browser.wait(READY)
    pdf = browser.call("Page.printToPDF", printBackground=True)["data"]
    assert len(pdf) > 10_000
    browser.call("Emulation.setEmulatedMedia", media="print")
    hidden = (
        "[...document.querySelectorAll('#theme, .tabs, #copy, #run')].map((n) => n.offsetHeight)"
    )
    assert not any(browser.run(hidden))
    left = browser.run("document.getElementById('left-out').innerText")
    for said in ("ssim, stage 1", "masks of 2 other images", "signed masks", "folded"):
        assert said in left
    browser.run("document.querySelector('#run > details').open = true")
    assert "What was run" in browser.run("document.getElementById('run').innerText")
    assert browser.errors() == []


@pytest.mark.slow
def test_the_default_jobs_page(browser, default_run):
    page = default_run.folder / "report.html"
    assert 3e6 < page.stat().st_size < 15e6
    browser.open(page)
    browser.wait(READY)
    assert browser.run("document.querySelectorAll('#strips canvas').length") == 7
    assert browser.run("document.querySelectorAll('tr.verdict').length") == 5
    table(browser)
    browser.click("#each")
    browser.click("#all-metrics")
    shown = all_rows(browser)
    keys = ["image", "method", "stage", "metric"]
    scores = pd.read_parquet(default_run.folder / "scores.parquet").set_index(keys)
    found = shown.set_index(keys)["value"].astype(float)
    np.testing.assert_array_equal(found.sort_index(), scores["value"].sort_index())
    assert browser.errors() == []
    assert browser.requests() == [page.as_uri()]
