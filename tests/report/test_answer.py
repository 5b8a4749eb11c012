import io
import re

import numpy as np
import pandas as pd
import pytest
from rich.cells import cell_len
from rich.console import Console

from sanity.analysis.settling import Settling
from sanity.analysis.thresholds import Thresholds
from sanity.analysis.verdicts import verdicts
from sanity.metrics import Pearson, Spearman, Ssim
from sanity.report.answer import Answer
from sanity.report.console import WIDTH, for_console, for_file

METRICS = {"ssim": Ssim(), "spearman": Spearman(), "pearson": Pearson()}
LONG = "integrated_gradients_smoothgrad_of_my_own_network"
SIMILAR = {"guided_backprop": 0.95, "gradient": 0.1, LONG: 0.5, "edge_detector": 1.0}
SETTLED = Settling(
    40, "python -m sanity 'method=[" + ",".join(["gradient"] * 20) + "]' data.limit=40"
)


def scores_of(similar=SIMILAR, images=8, metrics=tuple(METRICS), stages=5, change=None):
    rows = [
        (f"i{i}", method, stage, f"block{stage}" if stage else "", metric)
        for method in similar
        for metric in metrics
        for stage in range(stages)
        for i in range(images)
    ]
    table = pd.DataFrame(rows, columns=["image", "method", "stage", "layer", "metric"])
    value = table["method"].map(similar) + 0.02 * (table["image"].str[1:].astype(int) - 3.5)
    for (method, metric), new in (change or {}).items():
        value = value.where((table["method"] != method) | (table["metric"] != metric), new)
    return table.assign(value=np.where(table["stage"] == 0, 1.0, value), null=0.0, reason="")


def answer(scores=None, order="cascading", settled=None):
    scores = scores_of() if scores is None else scores
    found = verdicts(scores, None, METRICS, order, controls=["edge_detector"])
    return Answer(found, scores, Thresholds(), settled)


def lines(text, first):
    return [line for line in text.splitlines() if line.startswith(first)]


def test_methods_stand_by_similarity_and_controls_last():
    text = for_file(answer().parts)
    names = [line.split()[0] for line in text.splitlines()[1:6]]
    assert names[0] == "guided_backprop" and names[-2:] == ["gradient", "edge_detector"]
    row = lines(text, "guided_backprop")[0]
    assert re.search(r"insensitive +0\.95 \[0\.\d\d, 0\.\d\d\]  ─+┼?─*━+●", row)
    assert "– (control)" in lines(text, "edge_detector")[0]
    said = " ".join(text.split())
    assert said.count("95 % interval") == 1
    assert "by ssim over early stages 1–2 of 4; 8 images" in said


@pytest.mark.parametrize("width", [30, 40, 60, 78])
def test_all_fits(width, monkeypatch):
    monkeypatch.setenv("COLUMNS", str(width))
    text = for_console(answer(settled=SETTLED).parts, io.StringIO())
    assert max(map(cell_len, text.splitlines())) <= width
    squeezed = "".join(text.split()).replace("\\", "")
    for name in SIMILAR:
        assert name in squeezed or width < 60


@pytest.mark.parametrize("width", ["200", "78"])
def test_it_is_never_wider_than_78(width, monkeypatch):
    monkeypatch.setenv("COLUMNS", width)
    text = for_console(answer().parts, io.StringIO())
    assert max(map(cell_len, text.splitlines())) <= WIDTH
    assert text == for_file(answer().parts)


def test_the_metrics_stand_side_by_side_and_disagreement_is_marked():
    text = for_file(answer(scores_of(change={("guided_backprop", "pearson"): 0.1})).parts)
    assert "depends on the metric" in lines(text, "guided_backprop")[0]
    assert lines(text, "guided_backprop")[1].split()[1:] == ["0.95", "0.95", "0.10≠"]
    assert lines(text, "by each metric")[0].split()[3:] == list(METRICS)
    assert "≠ the opposite of what ssim says" in text and "leans to" not in text
    assert "≠" not in for_file(answer().parts)


def test_a_mark_beside_a_verdict_that_stands_is_explained():
    """Another metric that only leans the other way does not unsettle it."""
    found = answer().found
    against = (found["method"] == "gradient") & (found["metric"] == "pearson")
    found.loc[against, ["verdict", "leans"]] = ["inconclusive", "insensitive"]
    text = " ".join(for_file(Answer(found, scores_of(), Thresholds()).parts).split())
    assert "≠ leans to the opposite of what ssim says" in text
    depends = found["method"] == "guided_backprop"
    found.loc[depends & found["primary"], "verdict"] = "depends_on_metric"
    found.loc[depends & (found["metric"] == "pearson"), "verdict"] = "sensitive"
    text = " ".join(for_file(Answer(found, scores_of(), Thresholds()).parts).split())
    assert "≠ the opposite of what ssim says, or leans to it where the verdict is another" in text


def test_the_heading_of_the_metrics_is_on_one_line_beside_short_names():
    found = answer().found
    one = found[found["method"] == "gradient"]
    assert lines(for_file(Answer(one, scores_of(), Thresholds()).parts), "by each metric")


def test_the_meaning_in_a_sentence():
    text = " ".join(for_file(answer().parts).split())
    assert "guided_backprop keeps its masks though the last layers are random" in text
    assert "gradient changes with the weights, which does not make it faithful" in text


@pytest.mark.parametrize(
    ("others", "said"),
    [
        (Settling(0, "python -m sanity -m seed=0,1,2", draws=3), "agree: python -m sanity -m seed"),
        (Settling(0, None, "seed=0,1,2 in each of the runs", 3), "agree: seed=0,1,2 in each"),
        ("as masks in a file each", "Next: other draws of the weights, as masks in a file each."),
    ],
)
def test_one_draw_that_decides_names_how_to_see_others(others, said):
    one = answer()
    text = for_file(Answer(one.found, one.scores, Thresholds(), other_draws=others).parts)
    assert said in " ".join(text.split())
    open_ = answer(scores_of(images=3))
    found = for_file(Answer(open_.found, open_.scores, Thresholds(), other_draws=others).parts)
    assert "Next" not in found and "Next" not in for_file(one.parts)


def test_what_leans_is_told_from_what_is_decided():
    early = {"kept": 0.99, "open": 0.45, "lost": 0.0}
    scores = scores_of(early, images=6, metrics=("ssim",))
    wide = scores["image"].str[1:].astype(int) % 2 * 0.3
    scores["value"] += wide * ((scores["method"] == "open") & (scores["stage"] > 0))
    one = answer(scores)
    rows = one.found.set_index("method")
    assert rows.loc["open", "leans"] == "insensitive"
    assert list(rows.loc[["kept", "lost"], "verdict"]) == ["insensitive", "sensitive"]
    said = " ".join(for_file(one.parts).split())
    decided, _, leaning = said.partition("As far as 6 images can tell, ")
    assert "kept keeps its masks" in decided and "lost changes with" in decided
    assert "open keeps its masks" in leaning and "kept" not in leaning and "lost" not in leaning


def test_what_leans_says_so_and_by_which_command_it_is_settled():
    text = for_file(answer(scores_of(images=3), settled=SETTLED).parts)
    assert "leans insensitive" in lines(text, "guided_backprop")[0]
    assert "As far as 3 images can tell" in text and "40 images:" in text
    command = text[text.index("python -m") :].replace("\\\n", "")
    import shlex

    assert shlex.split(command) == shlex.split(str(SETTLED.command))


def test_more_draws_are_named_where_more_images_do_not_decide():
    more = Settling(0, "python -m sanity -m seed=0,1,2,3", draws=4)
    text = " ".join(for_file(answer(settled=more).parts).split())
    assert "draws of the weights differ too much for more images to decide, 4 draws:" in text
    assert "-m seed=0,1,2,3" in text


def test_without_a_verdict_the_means_are_shown_and_why():
    text = for_file(answer(order="independent").parts)
    assert text.splitlines()[0].split() == ["method", "block1", "block3", "block4"]
    assert lines(text, "gradient")[0].split() == ["gradient", "0.10", "0.10", "0.10"]
    assert "no verdict: no cascade from the output (order independent)" in text


def test_one_image_has_no_interval_and_nothing_is_minus_zero():
    text = for_file(answer(scores_of({"gradient": -0.001}, images=1).assign(value=-0.001)).parts)
    assert "-0.00" not in text and "interval" not in text and "[" not in text


def test_a_terminal_gets_colours_unless_told_otherwise(monkeypatch):
    class Terminal(io.StringIO):
        def isatty(self):
            return True

    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.delenv("NO_COLOR", raising=False)
    assert "\x1b[1;31m" in for_console(answer().parts, Terminal())
    assert "\x1b" not in for_console(answer().parts, io.StringIO())
    monkeypatch.setenv("NO_COLOR", "1")
    assert not re.search("\x1b\\[[0-9;]*3[0-7]m", for_console(answer().parts, Terminal()))
    monkeypatch.setenv("TERM", "dumb")
    assert "\x1b" not in for_console(answer().parts, Terminal())


def test_a_terminal_without_unicode_can_show_it():
    class Ascii(io.StringIO):
        encoding = "ascii"

    parts = answer(scores_of(change={("gradient", "pearson"): 0.9})).parts
    said = for_console(parts, Ascii())
    assert said.isascii() and "gradient" in said


@pytest.mark.parametrize("width", range(48, 79, 3))
def test_numbers_and_words_are_not_broken(width):
    """Also where methods have shorter names than the heading above them."""
    parts = answer(scores_of({"gb": 0.98, "grad": 0.2}, images=6)).parts(width)
    text = io.StringIO()
    Console(file=text, width=width).print(parts[0])
    found = [line.split() for line in text.getvalue().splitlines()]
    assert [line[0] for line in found] == ["method", "gb", "grad"]
    assert all(re.search(r"0\.\d\d \[0\.\d\d, 0\.\d\d\]", " ".join(line)) for line in found[1:])
