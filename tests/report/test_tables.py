from sanity.analysis.means import means, pivot
from sanity.analysis.thresholds import Thresholds
from sanity.report.tables import latex, markdown, means_table, verdict_table
from tests.report.test_answer import METRICS, answer, scores_of


def tables():
    scores = scores_of({"guided_backprop": 0.9, "edge_detector": 1.0}).assign(scheme="")
    table = means(scores, ["metric", "stage", "method"])
    found = answer(scores).found
    return [verdict_table(found, 4, Thresholds()), means_table(table, pivot(table))]


def test_verdicts_come_with_what_they_are_made_of():
    first = tables()[0]
    assert [title for title, _ in first.blocks][0] == "ssim (magnitude)"
    assert len(first.blocks) == len(METRICS)
    row, control = first.blocks[0][1]
    assert row[:2] == ["guided_backprop", "insensitive"]
    assert row[2].startswith("0.90 [") and row[3:] == ["0.90", "0.00"]
    assert control[:2] == ["edge_detector", "– (control)"]
    assert "stages 1–2 of 4" in first.caption and "ssim decides" in first.caption


def test_a_metric_is_named_once_a_table():
    second = tables()[1]
    assert [title for title, _ in second.blocks] == list(METRICS)
    assert second.head == ["stage", "guided_backprop", "edge_detector"]
    text = markdown([second])
    assert text.count("**ssim**") == text.count("ssim") == 1
    assert text.rstrip().endswith("Mean and 95 % interval over 8 images, 1 seed.")


def test_latex_is_whole():
    text = latex(tables())
    for kind in ("table", "tabular"):
        assert text.count(f"\\begin{{{kind}}}") == text.count(f"\\end{{{kind}}}") == 2
    assert text.count("\\caption{") == 2 and "95 \\%" in text
    assert r"guided\_backprop & insensitive & 0.90 [" in text
    for row in text.splitlines():
        if " & " in row:
            assert row.endswith(r" \\")
