import io
import math
import re
import struct
import subprocess
import sys
import zlib
from itertools import combinations

import matplotlib
import numpy as np
import pandas as pd
import pytest
from matplotlib.collections import PolyCollection
from matplotlib.figure import Figure
from matplotlib.markers import CARETDOWNBASE, CARETUPBASE
from PIL import Image
from skimage.color import deltaE_ciede2000, rgb2lab

from sanity.analysis import intervals
from sanity.analysis.thresholds import Thresholds
from sanity.randomness import generator
from sanity.report import style
from sanity.report.display import scaled
from sanity.report.figures.article import article_stage, stage_figure
from sanity.report.figures.canvas import Picture, place_picture, save, save_pages
from sanity.report.figures.curves import similarity_curves
from sanity.report.figures.grid import PAGE, grid_pages, mask_grid
from sanity.report.figures.means import stage_means

LAYERS = ["", "logits", "block1", "stem"]
ODD = ["$x$", "<b>&amp;", "_hidden", "$\\frac{$", "naïve", "猫\n\u202e", "100 %"]


def image(size=12):
    return generator("image").random((size, size, 3))


def noise(*shape):
    return generator("noise", *shape).standard_normal(shape)


def grid(**how):
    masks = {"gradient": noise(4, 12, 12, 3), "random_mask": noise(4, 12, 12)}
    return mask_grid(image(), masks, LAYERS, **how)


def scores(methods=("gradient", "edge_detector"), metrics=("ssim",), images=5, stages=4, **columns):
    index = [
        (f"image{i}", method, stage, LAYERS[stage], metric)
        for method in methods
        for stage in range(stages)
        for metric in metrics
        for i in range(images)
    ]
    table = pd.DataFrame(index, columns=["image", "method", "stage", "layer", "metric"])
    values = 1 - 0.2 * table["stage"] + 0.03 * table["image"].str[-1].astype(int)
    return table.assign(value=values.clip(upper=1), null=0.1, reason="", **columns)


def texts(fig):
    found = fig.findobj(matplotlib.text.Text)
    return [text.get_text() for text in found if text.get_text()]


def images(fig):
    return [ax.images[0] for ax in fig.axes if ax.images]


def drawn(fig):
    """The figure's pixels, so that whatever fails only on drawing fails."""
    buffer = io.BytesIO()
    fig.savefig(buffer, format="png", dpi=60)
    return np.asarray(Image.open(buffer).convert("RGB"))


# Grid


def pictures(fig):
    return [artist for artist in fig.artists if isinstance(artist, Picture)]


@pytest.mark.parametrize("kind", ["signed", "absolute"])
def test_grid_shows_each_mask_in_its_own_colours(kind):
    masks = {"a": noise(2, 240, 240, 3), "b": noise(2, 240, 240)}
    fig = mask_grid(image(), masks, LAYERS[:2], kind)
    (picture,) = pictures(fig)
    low = -1 if kind == "signed" else 0
    colors = matplotlib.colormaps["coolwarm" if kind == "signed" else "gray"]
    height, width = picture.pixels.shape[:2]
    for row, method in enumerate(masks):
        for column in (0, 1):
            values, _ = scaled(masks[method][column], kind)
            cell = picture.pixels[row * (height - 240) :, column * (width - 240) :][:240, :240]
            expected = colors((values - low) / (1 - low))[..., :3] * 255
            assert np.abs(cell - expected).max() < 8  # of 255 colours, one to the next
    assert (picture.pixels[240 : height - 240] == 255).all()  # between rows


def test_masks_are_drawn_dot_for_dot(tmp_path):
    fig = mask_grid(image(), {"a": noise(3, 120, 120)}, LAYERS[:3])
    (picture,) = pictures(fig)
    (file,) = save(fig, tmp_path / "grid", ["png"])
    shown = np.asarray(Image.open(file))
    rows = np.lib.stride_tricks.sliding_window_view(shown, picture.pixels.shape)
    row, column = picture.pixels[0, :8], shown
    starts = [
        (y, x)
        for y, x in zip(*np.nonzero((column[:, :-8] == row[0]).all(-1)), strict=True)
        if (column[y, x : x + 8] == row).all()
    ]
    assert any((rows[y, x, 0] == picture.pixels).all() for y, x in starts)


def test_grid_has_image_rows_columns_and_key():
    fig = grid(title="imagenet_00")
    assert len(fig.axes) == 2 and len(pictures(fig)) == 1
    np.testing.assert_array_equal(fig.axes[0].images[0].get_array(), image())
    assert [t for t in texts(fig) if t in ("trained", *LAYERS)] == ["trained", *LAYERS[1:]]
    assert {"gradient", "random_mask", "imagenet_00"} <= set(texts(fig))


def test_pages_hold_all_within_a_papers_text():
    masks = {f"method_{i}": noise(30, 30, 30) for i in range(17)}
    layers = ["", *(f"block{i}" for i in range(29))]
    pages = list(grid_pages(image(), masks, layers, title="zebra"))
    assert len(pages) > 1
    seen = set()
    for page in pages:
        width, height = page.get_size_inches()
        assert width <= PAGE[0] + 0.01 and height <= PAGE[1] + 0.01
        names = texts(page)
        seen |= {(m, s) for m in masks for s in layers[1:] if m in names and s in names}
        for picture in pictures(page):
            assert picture.pixels.shape[0] >= 100  # a third of an inch at 300 dots
    assert len(seen) == 17 * 29
    assert any(f"zebra, 1 of {len(pages)}" in text for text in texts(pages[0]))


def test_all_pages_are_one_file_with_embedded_fonts(tmp_path):
    masks = {"a": noise(4, 12, 12), "b": noise(4, 12, 12)}
    pages = [*grid_pages(image(), masks, LAYERS), *grid_pages(image(), masks, LAYERS, "absolute")]
    file = save_pages(iter(pages), tmp_path / "new" / "grids")
    content = file.read_bytes()
    assert file.name == "grids.pdf" and list(file.parent.iterdir()) == [file]
    assert content.count(b"/Type /Page ") == 2 and b"/FontFile2" in content
    assert content.count(b"/Subtype /Image") == 2 * 3  # the image, its masks, their key
    assert content.index(b"/Subtype /Image") < content.rindex(b"/Type /Page ")  # page by page
    assert save_pages(iter(pages), tmp_path / "again").read_bytes() == content


def test_grid_calls_methods_as_told():
    found = texts(grid(names={"gradient": "Vanilla Gradient"}))
    assert "Vanilla Gradient" in found and "gradient" not in found and "random_mask" in found


@pytest.mark.parametrize("kind", ["signed", "absolute"])
def test_grid_says_what_cannot_be_shown(kind):
    mask = noise(4, 12, 12, 3)
    mask[0, 3, 4, 1] = np.nan
    mask[1, 0, 0] = [np.inf, 0, 0]
    mask[2] = 0.25
    fig = mask_grid(image(), {"gradient": mask}, LAYERS, kind)
    cells = fig.axes[1:-1]
    assert [[t.get_text() for t in ax.texts] for ax in cells] == [
        ["NaN"],
        ["infinite"],
        ["constant"],
    ]
    assert [ax.patches[0].get_hatch() for ax in cells] == ["////", "////", None]
    assert any("hatched: not finite; flat grey: constant" in text for text in texts(fig))
    drawn(fig)


def test_infinities_of_both_signs_are_nan():
    mask = noise(1, 12, 12, 3)
    mask[0, 0, 0] = [np.inf, -np.inf, 0]
    fig = mask_grid(image(), {"gradient": mask}, [""])
    assert [text.get_text() for text in fig.axes[1].texts] == ["NaN"]


@pytest.mark.parametrize("make", [mask_grid, grid_pages])
@pytest.mark.parametrize("n", [(1, 1), (3, 20)])
@pytest.mark.parametrize("layer", ["l", "InceptionV3/Mixed_7c"])
def test_nothing_in_a_grid_overlaps_or_sticks_out(make, n, layer):
    masks = {f"method_{i}": noise(n[1], 4, 4) for i in range(n[0])}
    made = make(image(), masks, [layer] * n[1])
    for fig in made if make is grid_pages else [made]:
        fig.draw_without_rendering()
        labels = [text.get_window_extent() for text in fig.texts]
        whole = fig.bbox.padded(1)
        for box in [ax.get_window_extent() for ax in fig.axes] + labels:
            assert whole.x0 <= box.x0 and whole.y0 <= box.y0
            assert box.x1 <= whole.x1 and box.y1 <= whole.y1
        headers = [t for t in fig.texts if t.get_text() == layer]
        if headers[0].get_rotation() == 0:
            for one, other in combinations([t.get_window_extent() for t in headers[:3]], 2):
                assert not one.overlaps(other)


def test_headers_turn_when_they_do_not_fit():
    turned = [
        {
            t.get_rotation()
            for t in mask_grid(image(), {"a": noise(20, 4, 4)}, [name] * 20).texts
            if t.get_text() == name
        }
        for name in ("block1", "InceptionV3/Mixed_7c")
    ]
    assert turned == [{0}, {45}]


def test_cells_keep_the_proportions_of_the_image():
    fig = mask_grid(generator("wide").random((10, 20, 3)), {"a": noise(1, 10, 20)}, LAYERS[:1])
    height, width = pictures(fig)[0].pixels.shape[:2]
    assert width == 2 * height
    box = fig.axes[0].get_window_extent()
    assert box.width / box.height == pytest.approx(2)


def test_grey_images_are_shown_grey():
    fig = mask_grid(generator("grey").random((6, 6, 1)), {"a": noise(1, 6, 6)}, [""])
    assert fig.axes[0].images[0].get_array().shape == (6, 6)
    pixels = drawn(fig)
    height, width = pixels.shape[:2]
    corner = fig.axes[0].get_position()
    x = slice(int(corner.x0 * width) + 1, int(corner.x1 * width) - 1)
    y = slice(int((1 - corner.y1) * height) + 1, int((1 - corner.y0) * height) - 1)
    assert np.ptp(pixels[y, x].astype(int), axis=-1).max() == 0


@pytest.mark.parametrize(
    ("how", "message"),
    [
        ({"masks": {}}, "a method and a stage"),
        ({"masks": {"gradient": noise(3, 12, 12)}}, "masks of gradient have shape"),
        ({"masks": {"gradient": noise(4, 12)}}, "masks of gradient have shape"),
        ({"style": "colourful"}, "style=colourful is none of signed, absolute"),
    ],
)
def test_grid_refuses(how, message):
    how = {"masks": {"gradient": noise(4, 12, 12)}, **how}
    with pytest.raises(ValueError, match=message):
        mask_grid(image(), layers=LAYERS, **how)


def test_default_grid_is_below_five_megabytes(tmp_path):
    masks = {f"noise{i}": noise(20, 224, 224) for i in range(7)}  # noise compresses worst
    layers = ["", "logits", "head", *(f"block{i}" for i in range(16, -1, -1))]
    (file,) = save(mask_grid(image(224), masks, layers), tmp_path / "grid", ["png"])
    assert file.stat().st_size < 5e6


# The article's figure


@pytest.mark.parametrize(("columns", "places"), [(3, (2, 3)), (6, (1, 6))])
def test_article_stage_has_six_panels(columns, places):
    labels = ["Vanilla Gradient", "SmoothGrad", "Gradient × Input", "Guided Backprop", "IG"]
    masks = {label: noise(12, 12, 3) + i for i, label in enumerate(labels)}
    title = "Randomized: InceptionV3/Logits/Conv2d_1c_1x1/weights"
    fig = article_stage(image(), masks, title, columns=columns)
    panels = fig.axes[:-1]
    assert len(panels) == 6
    boxes = [ax.get_position() for ax in panels]
    assert len({round(b.y0, 6) for b in boxes}) == places[0]
    assert len({round(b.x0, 6) for b in boxes}) == places[1]
    np.testing.assert_array_equal(panels[0].images[0].get_array(), image())
    for ax, mask in zip(panels[1:], masks.values(), strict=True):
        limit = np.sort(mask.sum(-1), None)
        limit = limit[141] + 0.57 * (limit[142] - limit[141])  # 0.99 × 143 is 141.57
        shown = ax.images[0].get_array()
        np.testing.assert_allclose(shown, np.clip(mask.sum(-1) / limit, -1, 1), atol=1e-6)
    assert [t for t in texts(fig) if t in ("image", *labels)] == ["image", *labels]
    assert title in texts(fig)


def test_the_article_s_panels_name_the_class_explained():
    fig = stage_figure(image(), {"a": noise(12, 12)}, 3, "stem randomized", "dog 0.4000", "zebra")
    assert {"explained: zebra", "stage 3, stem randomized: dog 0.4000"} <= set(texts(fig))


def test_article_stage_refuses_a_style():
    with pytest.raises(ValueError, match="style=both"):
        article_stage(image(), {"a": noise(12, 12)}, style="both")


# Means


def test_means_and_intervals_by_hand():
    table = pd.DataFrame(
        {
            "image": ["a", "b", "c", "a", "b", "c"],
            "method": "gradient",
            "stage": [0, 0, 0, 1, 1, 1],
            "layer": ["", "", "", "logits", "logits", "logits"],
            "metric": "ssim",
            "value": [0.1, 0.2, 0.6, 0.5, np.nan, np.inf],
            "null": [0.0, 0.1, 0.2, np.nan, np.nan, np.nan],
        }
    )
    means = stage_means(table).set_index("stage")
    assert means.loc[0, "mean"] == pytest.approx(0.3)
    half = 4.302652730 * np.sqrt(0.07) / np.sqrt(3)  # t at 0.975 with 2 degrees of freedom
    assert means.loc[0, "low"] == pytest.approx(0.3 - half)
    assert means.loc[0, "high"] == pytest.approx(0.3 + half)
    assert means.loc[0, "null"] == pytest.approx(0.1)
    assert means.loc[1, "mean"] == 0.5
    assert means.loc[1, ["low", "high", "null"]].isna().all()
    assert means["images"].tolist() == [3, 1] and means["missing"].tolist() == [0, 2]
    assert means["layer"].tolist() == ["", "logits"]


def test_seeds_are_averaged_within_images():
    one, two = scores(images=3, seed=0), scores(images=3, seed=1)
    two["value"] -= 0.1
    both, single = stage_means(pd.concat([one, two])), stage_means(one)
    assert (both["images"] == 3).all()
    np.testing.assert_allclose(both["mean"], single["mean"] - 0.05)
    assert (both["high"] - both["low"] > single["high"] - single["low"]).all()


def test_several_seeds_have_the_interval_of_the_tables():
    """Two seeds of equal mean, whose scores differ by image: there is but one interval."""
    one, two = (
        scores(("gradient",), stages=1, images=3, seed=0),
        scores(("gradient",), stages=1, images=3, seed=1),
    )
    one["value"], two["value"] = [-0.4, -0.5, -0.6], [-0.6, -0.5, -0.4]
    (row,) = stage_means(pd.concat([one, two])).itertuples()
    expected = intervals.mean(np.array([[-0.4, -0.6], [-0.5, -0.5], [-0.6, -0.4]]))
    assert row.images == 3
    np.testing.assert_allclose(
        (row.mean, row.low, row.high), (expected.mean, expected.low, expected.high)
    )


def test_categories_and_missing_columns_are_fine():
    table = scores()
    expected = stage_means(table)
    columns = {name: "category" for name in ["image", "method", "layer", "metric"]}
    pd.testing.assert_frame_equal(stage_means(table.astype(columns)), expected)
    without = stage_means(table.drop(columns=["null", "reason"]))
    assert without["null"].isna().all()
    pd.testing.assert_series_equal(without["mean"], expected["mean"])


@pytest.mark.parametrize(
    ("table", "message"),
    [
        (scores()[:0], "no scores"),
        (pd.concat([scores(), scores()]), "several scores of one metric, method, stage, image:"),
        (pd.concat([scores(seed=1), scores(seed=1)]), "image, seed: choose a run"),
        (
            pd.concat([scores(seed=1), scores(seed=2).replace("block1", "block2")]),
            "several layers of one stage",
        ),
    ],
)
def test_means_refuse_what_is_several_runs(table, message):
    with pytest.raises(ValueError, match=message):
        stage_means(table)


# Curves


def curve(ax, method):
    look = style.method_style(method)
    lines = [
        line
        for line in ax.get_lines()
        if line.get_color() == look.color
        and line.get_marker() == look.marker
        and len(line.get_xdata()) > 1  # not that beside its name
    ]
    assert len(lines) == 1
    return lines[0]


def test_curves_are_the_means():
    table = scores(metrics=("ssim", "hog"))
    fig = similarity_curves(table)
    assert [ax.get_title(loc="left") for ax in fig.axes] == ["ssim", "hog"]
    means = stage_means(table)
    for ax in fig.axes:
        for method in ("gradient", "edge_detector"):
            rows = means[(means["metric"] == "ssim") & (means["method"] == method)]
            np.testing.assert_array_equal(curve(ax, method).get_xdata(), range(4))
            np.testing.assert_allclose(curve(ax, method).get_ydata(), rows["mean"])
        assert [t.get_text() for t in ax.get_xticklabels()] == ["trained", *LAYERS[1:]]
        assert ax.get_ylim() == (-0.1, 1.05)
        assert {"gradient", "edge_detector"} <= {text.get_text() for text in ax.texts}
    legend = [text.get_text() for text in fig.legends[0].get_texts()]
    assert legend == ["95% interval, n = 5 images", "null, in the method's colour"]


def test_bands_are_the_intervals():
    table = scores(methods=("gradient",))
    ax = similarity_curves(table).axes[0]
    means = stage_means(table)
    (band,) = [c for c in ax.collections if isinstance(c, PolyCollection)]
    corners = {tuple(np.round(xy, 9)) for path in band.get_paths() for xy in path.vertices}
    for stage, low, high in zip(means["stage"], means["low"], means["high"], strict=True):
        assert {(stage, round(low, 9)), (stage, round(high, 9))} <= corners


def test_curves_of_no_scores_are_refused():
    with pytest.raises(ValueError, match="no scores to show"):
        similarity_curves(scores().iloc[:0])


def test_one_image_has_neither_band_nor_entry():
    fig = similarity_curves(scores(images=1).assign(null=np.nan))
    assert not fig.legends
    assert not fig.axes[0].collections


def test_of_few_images_each_is_a_dot():
    table = scores(methods=("gradient",), images=3)
    fig = similarity_curves(table)
    assert not fig.axes[0].collections
    (dots,) = [line for line in fig.axes[0].get_lines() if line.get_marker() == "."]
    found = sorted(zip(dots.get_xdata(), dots.get_ydata(), strict=True))
    np.testing.assert_allclose(found, sorted(zip(table["stage"], table["value"], strict=True)))
    assert fig.legends[0].get_texts()[0].get_text() == "each of 3 images"


def test_where_a_band_is_cut_an_arrowhead_says_so():
    table = scores(methods=("gradient",), stages=2).assign(null=np.nan)
    table.loc[table["stage"] == 1, "value"] = [0.0, 0.0, 0.0, 0.0, 1.0]
    ends = table[table["stage"] == 0].assign(value=[0.9, 1.0, 1.0, 1.0, 1.1])
    fig = similarity_curves(pd.concat([ends, table[table["stage"] == 1]]))
    low, high = fig.axes[0].get_ylim()
    for line in fig.axes[0].get_lines():
        if line.get_marker() in (CARETDOWNBASE, CARETUPBASE):
            assert set(line.get_ydata()) <= {low, high}
    (band,) = [c for c in fig.axes[0].collections if isinstance(c, PolyCollection)]
    for path in band.get_paths():
        assert path.vertices[:, 1].min() >= low and path.vertices[:, 1].max() <= high


def test_the_early_stages_are_shaded_and_the_threshold_is_drawn():
    table = scores(methods=("gradient",)).assign(null=0.2)
    fig = similarity_curves(table, thresholds=Thresholds(threshold=0.5, early=3))
    (window,) = fig.axes[0].patches
    assert window.get_x() == 0.5 and window.get_width() == 1  # one of three stages
    (line,) = [
        one
        for one in fig.axes[0].get_lines()
        if len(one.get_xdata()) == 2 and one.get_linestyle() == "--"
    ]
    original = table.loc[table["stage"] == 0, "value"].mean()
    np.testing.assert_allclose(line.get_ydata(), 0.2 + 0.5 * (original - 0.2))
    legend = [text.get_text() for text in fig.legends[0].get_texts()]
    assert "early stages" in legend and "similarity 0.5 by the median null" in legend


def test_two_schemes_of_a_method_differ_in_dash():
    parts = [scores(methods=("gradient",), scheme=f"target={k}") for k in (1, 2)]
    fig = similarity_curves(pd.concat(parts))
    color = style.method_style("gradient").color
    lines = [
        line
        for line in fig.axes[0].get_lines()
        if line.get_color() == color and line.get_marker() == "o" and len(line.get_xdata()) == 4
    ]
    assert [line.is_dashed() for line in lines] == [False, True]
    assert {"gradient · target=1", "gradient · target=2"} <= set(texts(fig))


def test_long_schemes_of_one_key_are_called_by_their_values():
    orders = ("cascading", "independent")
    parts = [scores(methods=("guided_backprop",), scheme=f"randomization={k}") for k in orders]
    found = set(texts(similarity_curves(pd.concat(parts))))
    assert {"guided_backprop · cascading", "guided_backprop · independent"} <= found


def test_names_at_the_lines_ends_do_not_overlap():
    fig = similarity_curves(scores(methods=("gradient", "lime", "rise", "xrai")), width_inches=7)
    fig.draw_without_rendering()
    boxes = [text.get_window_extent() for text in fig.axes[0].texts]
    assert len(boxes) == 4
    for one, other in combinations(boxes, 2):
        assert not one.padded(-1).overlaps(other.padded(-1))


def test_nulls_are_dotted():
    ax = similarity_curves(scores(methods=("gradient",)).assign(null=0.25)).axes[0]
    (null,) = [
        line
        for line in ax.get_lines()
        if line.get_marker() == "None" and len(line.get_xdata()) == 4
    ]
    np.testing.assert_array_equal(null.get_ydata(), [0.25] * 4)
    assert null.get_color() == style.method_style("gradient").color
    assert null.is_dashed() and null.get_linewidth() < 1


def test_missing_values_leave_gaps_and_are_counted():
    table = scores()
    table.loc[(table["method"] == "gradient") & (table["stage"] == 2), "value"] = np.nan
    fig = similarity_curves(table)
    assert np.isnan(curve(fig.axes[0], "gradient").get_ydata()).tolist() == [
        False,
        False,
        True,
        False,
    ]
    (note,) = [t for t in texts(fig) if t.startswith("left out")]
    assert note == "left out, not finite: gradient\u00a05"
    drawn(fig)


def test_curves_without_any_finite_value():
    fig = similarity_curves(scores().assign(value=np.nan, null=np.nan))
    drawn(fig)
    (note,) = [t for t in texts(fig) if t.startswith("left out")]
    assert note.startswith("left out, not finite: ") and "gradient" in note


def test_stages_stand_in_order_whatever_the_rows_order():
    shuffled = scores().sample(frac=1, random_state=np.random.RandomState(0))  # noqa: NPY002
    ax = similarity_curves(shuffled).axes[0]
    assert [t.get_text() for t in ax.get_xticklabels()] == ["trained", *LAYERS[1:]]
    np.testing.assert_allclose(
        curve(ax, "gradient").get_ydata(),
        curve(similarity_curves(scores()).axes[0], "gradient").get_ydata(),
    )


def test_a_method_without_some_stage_has_a_gap():
    table = scores()
    table = table[(table["method"] != "gradient") | (table["stage"] != 1)]
    line = curve(similarity_curves(table).axes[0], "gradient").get_ydata()
    assert np.isnan(line).tolist() == [False, True, False, False]


@pytest.mark.parametrize(
    ("values", "limits"),
    [
        ([1, 0.5, 0.2, 0.0], (-0.1, 1.05)),
        ([1, -0.5, -0.6, 0.0], (-0.65, 1.05)),
        ([0, 0.01, 0.02, 0.02], (-0.001, 0.021)),  # a distance
        ([0, 10, 30, 40], (-2, 42)),
    ],
)
def test_y_range(values, limits):
    table = scores(methods=("gradient",), images=1)
    table = table.assign(value=[float(v) for v in values], null=np.nan)
    assert similarity_curves(table).axes[0].get_ylim() == pytest.approx(limits)


@pytest.mark.parametrize("width", [None, 7, 3.3])
@pytest.mark.parametrize(("n", "methods"), [(1, style.KNOWN), (4, style.KNOWN[:7]), (3, ("lime",))])
def test_panels_and_key_fit(width, n, methods):
    metrics = ["ssim", "spearman", "spearman_abs", "hog"][:n]
    fig = similarity_curves(scores(methods, metrics), width_inches=width, title="A title")
    panels = [ax for ax in fig.axes if ax.get_title(loc="left")]
    assert [ax.get_title(loc="left") for ax in panels] == metrics
    assert fig.get_size_inches()[0] == (width or (10 if n > 1 else 7))
    fig.draw_without_rendering()
    legend = next(iter(fig.findobj(matplotlib.legend.Legend))).get_window_extent()
    boxes = [ax.get_tightbbox() for ax in panels]
    for box in [legend, *boxes]:
        assert fig.bbox.x0 - 1 <= box.x0 and box.x1 <= fig.bbox.x1 + 1
        assert fig.bbox.y0 - 1 <= box.y0 and box.y1 <= fig.bbox.y1 + 1
    for one, other in combinations([legend, *boxes], 2):
        assert not one.padded(-1).overlaps(other.padded(-1))
    for ax in panels:
        box = ax.get_window_extent()
        assert min(box.width, box.height) > 0.8 * fig.dpi


def test_the_key_has_no_empty_column():
    fig = similarity_curves(scores(style.KNOWN), width_inches=7)
    key = fig.legends[0]
    assert len(key.get_texts()) > key._ncols * (math.ceil(len(key.get_texts()) / key._ncols) - 1)


def test_controls_come_last():
    fig = similarity_curves(
        scores(methods=(*style.KNOWN[:22], "random_mask", "input")), width_inches=3
    )
    legend = [text.get_text() for text in fig.legends[0].get_texts()]
    assert legend[:24] == [*style.KNOWN[:22], "random_mask", "input"]


# Styles


def test_every_known_method_looks_different():
    looks = [style.method_style(name) for name in style.KNOWN]
    assert len({(look.color, look.marker) for look in looks}) == len(looks)
    assert {look.marker for look in looks}.isdisjoint(style._OTHER_MARKERS)


def test_controls_are_grey_and_dashed_and_no_others_are_grey():
    assert set(style.CONTROLS) == {"random_mask", "edge_detector", "input", "constant"}
    for name in style.KNOWN:
        look = style.method_style(name)
        red, green, blue = (int(look.color[i : i + 2], 16) for i in (1, 3, 5))
        assert (max(red, green, blue) - min(red, green, blue) < 10) == look.control
        assert look.control == (name in style.CONTROLS)
        assert look.dash or not look.control


def test_unknown_names_get_a_look_of_their_own_that_never_changes():
    look = style.method_style("mine")
    assert look == style.Style("#e06a9f", (), ">")
    assert look == style.method_style("mine") and not look.control
    assert len({style.method_style(f"mine{i}") for i in range(100)}) > 50


def test_variants_take_their_method_s_colour():
    for name, relative in [
        ("smoothgrad_100", "smoothgrad"),
        ("integrated_gradients_white", "integrated_gradients"),
        ("grad_cam_plus_plus_head", "grad_cam_plus_plus"),
    ]:
        assert style.method_style(name).color == style.method_style(relative).color
    assert style.method_style("input_gradient").color in style.COLORS


def test_a_method_looks_the_same_whatever_is_beside_it():
    alone = similarity_curves(scores(methods=("mine",)))
    among = similarity_curves(scores(methods=("gradient", "other", "mine", "lime")))
    for fig in (alone, among):
        line = curve(fig.axes[0], "mine")
        assert (line.get_color(), line.get_marker()) == ("#e06a9f", ">")


# Machado, Oliveira and Fernandes 2009, table 1, severity 1
DEFICIENCIES = {
    "none": np.eye(3),
    "protan": [
        [0.152286, 1.052583, -0.204868],
        [0.114503, 0.786281, 0.099216],
        [-0.003882, -0.048116, 1.051998],
    ],
    "deutan": [
        [0.367322, 0.860646, -0.227968],
        [0.280085, 0.672501, 0.047413],
        [-0.011820, 0.042940, 0.968881],
    ],
    "tritan": [
        [1.255528, -0.076749, -0.178779],
        [-0.078411, 0.930809, 0.147602],
        [0.004733, 0.691367, 0.303900],
    ],
}


def linear(colors):
    rgb = np.array([[int(color[i : i + 2], 16) / 255 for i in (1, 3, 5)] for color in colors])
    return np.where(rgb <= 0.04045, rgb / 12.92, ((rgb + 0.055) / 1.055) ** 2.4)


@pytest.mark.parametrize("deficiency", DEFICIENCIES)
def test_colours_differ_to_every_eye(deficiency):
    seen = np.clip(linear(style.COLORS) @ np.transpose(DEFICIENCIES[deficiency]), 0, 1)
    encoded = np.where(seen <= 0.0031308, 12.92 * seen, 1.055 * seen ** (1 / 2.4) - 0.055)
    lab = rgb2lab(encoded)
    for one, other in combinations(lab, 2):
        assert deltaE_ciede2000(one, other) >= 10


@pytest.mark.parametrize("color", [*style.COLORS, *style.GREYS])
def test_contrast_on_light_and_dark(color):
    luminance = linear([color, style.PAPER, style.NIGHT]) @ [0.2126, 0.7152, 0.0722]
    assert (luminance[1] + 0.05) / (luminance[0] + 0.05) >= 3
    assert (luminance[0] + 0.05) / (luminance[2] + 0.05) >= 3


def test_dashes_for_matplotlib_and_svg():
    solid, dashed = style.method_style("gradient"), style.method_style("random_mask")
    assert (solid.linestyle, solid.dasharray(2)) == ("-", "none")
    assert (dashed.linestyle, dashed.dasharray(2)) == ((0, (3, 1.5)), "6 3")


# Names


def test_odd_names_are_shown_literally(tmp_path):
    masks = {name: noise(len(ODD), 4, 4) for name in ODD}
    panels = {name: noise(4, 4) for name in ODD}
    curves = scores(methods=ODD, stages=2).replace("logits", ODD[3])
    curves["metric"] = ODD[0]
    curves.loc[(curves["method"] == ODD[2]) & (curves["stage"] == 1), "value"] = np.nan
    figures = [
        mask_grid(image(4), masks, ODD, title=ODD[3]),
        article_stage(image(4), panels, ODD[3]),
        similarity_curves(curves, title=ODD[3]),
    ]
    plain = [name for name in ODD if name.isprintable() and name.isascii()] + ["naïve"]
    for index, fig in enumerate(figures):
        found = texts(fig)
        assert set(plain) <= set(found)
        assert any("\\n\\u202e" in text for text in found)  # neither breaks nor turns the line
        save(fig, tmp_path / f"{index}")  # a name read as a formula would fail or warn
        for text in fig.findobj(matplotlib.text.Text):
            assert not text.get_parse_math() or "$" not in text.get_text()


def test_long_names_are_cut_in_the_middle():
    (name,) = (
        t for t in texts(mask_grid(image(), {"a" * 50 + "z": noise(1, 4, 4)}, [""])) if "…" in t
    )
    assert len(name) == 32 and name.startswith("aaa") and name.endswith("aaz")


# Saving


@pytest.fixture(params=["grid", "curves", "article"])
def draw(request):
    panels = {"Vanilla Gradient": noise(6, 6), "NaN": noise(6, 6) * np.nan}
    return {
        "grid": grid,
        "curves": lambda: similarity_curves(scores(metrics=("ssim", "hog"))),
        "article": lambda: article_stage(image(), panels, "Predicted Label: 341"),
    }[request.param]


def test_every_format_is_written_and_reproducible(draw, tmp_path):
    fig = draw()
    first = save(fig, tmp_path / "new" / "imagenet_0.5")
    assert first == [
        tmp_path / "new" / f"imagenet_0.5.{suffix}" for suffix in ("png", "pdf", "svg")
    ]
    assert sorted((tmp_path / "new").iterdir()) == sorted(first)
    png, pdf, svg = (file.read_bytes() for file in first)
    assert (b"\x89PNG", b"%PDF", b"<?xml") == (png[:4], pdf[:4], svg[:5])
    for other in (save(fig, tmp_path / "again"), save(draw(), tmp_path / "anew")):
        assert [file.read_bytes() for file in other] == [png, pdf, svg]


def test_saving_moves_nothing(draw, tmp_path):
    fig = draw()
    before = [ax.get_position().bounds for ax in fig.axes]
    save(fig, tmp_path / "a", dpi=77)
    assert [ax.get_position().bounds for ax in fig.axes] == before


def test_text_stays_text(draw, tmp_path):
    pdf, svg = (file.read_bytes() for file in save(draw(), tmp_path / "a", ["pdf", "svg"]))
    assert b"/FontFile2" in pdf and b"/Type3" not in pdf and b"/CreationDate" not in pdf
    assert b"<text" in svg and b"<dc:date>" not in svg


def settings():
    """All but the backend, which Matplotlib chooses when it is first looked at."""
    return {k: matplotlib.rcParams[k] for k in matplotlib.rcParams if not k.startswith("backend")}


def test_settings_of_the_caller_neither_matter_nor_change(draw, tmp_path):
    usual = [file.read_bytes() for file in save(draw(), tmp_path / "a")]
    theirs = {
        "font.size": 20,
        "axes.facecolor": "black",
        "image.cmap": "jet",
        "image.origin": "lower",
        "savefig.bbox": "tight",
        "axes.grid": True,
        "text.usetex": True,
        "pdf.fonttype": 3,
    }
    with matplotlib.rc_context(theirs):
        before = settings()
        unusual = [file.read_bytes() for file in save(draw(), tmp_path / "b")]
        assert settings() == before
    assert usual == unusual


def test_png_has_the_width_asked_for(tmp_path):
    fig = similarity_curves(scores(), width_inches=3.4)
    (file,) = save(fig, tmp_path / "a", ["png"], dpi=100)
    with Image.open(file) as picture:
        assert picture.width == 340
        assert picture.info["dpi"] == pytest.approx((100, 100), abs=0.1)


def test_an_old_file_is_replaced(tmp_path):
    (tmp_path / "a.png").write_bytes(b"old")
    save(grid(), tmp_path / "a", ["png"])
    assert [file.name for file in tmp_path.iterdir()] == ["a.png"]
    assert (tmp_path / "a.png").read_bytes()[:4] == b"\x89PNG"


def test_an_unknown_format_writes_nothing(tmp_path):
    with pytest.raises(ValueError, match="docx"):
        save(grid(), tmp_path / "a", ["docx"])
    assert not list(tmp_path.iterdir())


def test_pyplot_is_not_used():
    code = "import sys, sanity.report.figures; print('matplotlib.pyplot' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"


def test_a_grey_picture_is_grey_in_a_pdf(tmp_path):
    grey = np.random.default_rng(0).integers(0, 256, (9, 14), np.uint8)
    fig = Figure((2, 2), dpi=100)
    place_picture(fig, np.repeat(grey[..., None], 3, 2), 0.2, 0.3)
    pdf = save(fig, tmp_path / "a", ["pdf"])[0].read_bytes()
    found = re.search(rb"/ColorSpace /DeviceGray(?:(?!stream).)*stream\r?\n", pdf, re.DOTALL)
    assert found and b"/DeviceRGB" not in pdf
    # A picture's stream in a PDF is that of a PNG.
    unpacker = zlib.decompressobj()
    unpacker.decompress(pdf[found.end() :])
    stream = pdf[found.end() : len(pdf) - len(unpacker.unused_data)]
    header = struct.pack(">IIBBBBB", 14, 9, 8, 0, 0, 0, 0)
    png = b"\x89PNG\r\n\x1a\n"
    for kind, content in ((b"IHDR", header), (b"IDAT", stream), (b"IEND", b"")):
        crc = zlib.crc32(kind + content)
        png += struct.pack(">I", len(content)) + kind + content + struct.pack(">I", crc)
    np.testing.assert_array_equal(np.asarray(Image.open(io.BytesIO(png))), grey)
    fig = Figure((2, 2), dpi=100)
    place_picture(fig, np.dstack([grey, grey, grey // 2]), 0.2, 0.3)
    assert b"/DeviceGray" not in save(fig, tmp_path / "b", ["pdf"])[0].read_bytes()
