"""Methods against each other, on scores whose answer is known."""

import numpy as np
import pandas as pd
import pytest
from scipy import stats

import sanity
from sanity import ConfigError, pairwise_tests, rank_methods
from sanity.analysis import intervals
from sanity.compare import main
from sanity.randomness import generator

LEVELS = {"low": 0.2, "middle": 0.5, "high": 0.6, "blind": 1.0}  # mean score at randomized stages


def scores_of(images=12, seeds=(0,), levels=LEVELS, noise=0.1, identity=1.0, **columns):
    rows = [
        (f"i{i}", method, stage, "m", seed, _value(method, i, stage, seed, level, noise, identity))
        for i in range(images)
        for method, level in levels.items()
        for stage in range(4)
        for seed in seeds
    ]
    frame = pd.DataFrame(rows, columns=["image", "method", "stage", "metric", "seed", "value"])
    frame.attrs["controls"] = ["blind"]
    return frame.assign(null=0.1, **columns)


def _value(method, i, stage, seed, level, noise, identity):
    draw = generator("pairs", method, i, stage, seed).standard_normal()
    return level + noise * draw if stage else identity


def test_one_seed_is_a_paired_t_test_over_images():
    scores = scores_of()
    row = pairwise_tests(scores, methods=["middle", "high"]).iloc[0]
    curves = scores.pivot_table(index="image", columns=["method", "stage"], values="value")
    areas = {m: np.trapezoid(curves[m], axis=1) / 3 for m in ("middle", "high")}
    expected = stats.ttest_rel(areas["middle"], areas["high"])
    assert row["difference"] == pytest.approx((areas["middle"] - areas["high"]).mean())
    assert row["p"] == pytest.approx(expected.pvalue) == row["p_holm"]
    low, high = expected.confidence_interval(0.95)
    assert (row["low"], row["high"]) == (pytest.approx(low), pytest.approx(high))
    assert (row["images"], row["seeds"], row["null"]) == (12, 1, 0)


def test_pairs_are_corrected_and_leave_controls_out():
    table = pairwise_tests(scores_of())
    assert list(zip(table["method"], table["other"], strict=True)) == [
        ("low", "middle"), ("low", "high"), ("middle", "high"),
    ]  # fmt: skip
    assert table["p_holm"].tolist() == intervals.holm(table["p"].tolist()).tolist()
    assert "scheme" not in table and (table["difference"] < 0).all()


def test_seeds_are_crossed_with_images():
    """Seeds that disagree make p large, however many images agree within each."""
    images = [generator(i).normal(0, 0.01) for i in range(200)]
    apart = np.array(images)[:, None] + np.array([0.3, -0.1])
    estimate, p = intervals.difference(apart, np.zeros_like(apart))
    assert stats.ttest_1samp(apart.mean(axis=1), 0).pvalue < 1e-9
    assert p > 0.4 and estimate.low < 0 < estimate.high
    together = apart - [0.2, -0.2] + np.array([0.001, -0.001])
    assert intervals.difference(together, np.zeros_like(together))[1] < 0.01


@pytest.mark.parametrize("seeds", [1, 3])
def test_p_belongs_to_the_interval(seeds):
    values = 0.08 + 0.2 * generator("values").standard_normal((20, seeds))
    _, p = intervals.difference(values, np.zeros_like(values))
    ends = intervals.mean(values, level=1 - p)
    assert min(abs(ends.low), abs(ends.high)) < 1e-9


def test_no_difference_at_all():
    flat = np.zeros((4, 2))
    assert intervals.difference(flat, flat)[1] == 1
    assert intervals.difference(flat + 1, flat)[1] == 0
    assert np.isnan(intervals.difference(flat[:1], flat[:1])[1])


def test_p_values_are_right_under_no_difference():
    """Of equal methods, 5 % of the tests are below 0.05, with seeds that differ or not."""
    for spread in (0.0, 0.1):
        below = 0
        for trial in range(150):
            random = generator("level", trial, spread)
            values = random.normal(0, 0.1, (10, 4)) + random.normal(0, spread, 4)
            below += intervals.difference(values, np.zeros_like(values))[1] < 0.05
        assert below / 150 < 0.1


def test_ranks():
    table = rank_methods(scores_of(noise=0.01)).set_index("method")
    assert table["rank"].to_dict() == {"low": 1, "middle": 2, "high": 3}
    assert table["first"].to_dict() == {"low": 1, "middle": 0, "high": 0}
    assert (table["low"] >= 1).all() and (table["high"] <= 3).all()
    # By a distance, 0 is alike and the largest is first.
    table = rank_methods(scores_of(noise=0.01, identity=0.0)).set_index("method")
    assert table["rank"].to_dict() == {"low": 3, "middle": 2, "high": 1}
    equal = rank_methods(scores_of(levels={"a": 0.5, "b": 0.5}, noise=0)).set_index("method")
    assert equal["rank"].tolist() == [1.5, 1.5] and equal["first"].tolist() == [1, 1]


def test_only_what_both_have_is_compared():
    scores = scores_of(seeds=(0, 1))
    scores.loc[(scores["image"] == "i3") & (scores["method"] == "low"), "value"] = np.nan
    scores = scores[~((scores["method"] == "high") & (scores["seed"] == 1))]
    table = pairwise_tests(scores).set_index(["method", "other"])
    assert table.loc[("low", "middle"), ["images", "seeds"]].tolist() == [11, 2]
    assert table.loc[("low", "high"), ["images", "seeds"]].tolist() == [11, 1]


def test_settings_stay_apart_and_parameters_make_methods():
    """Other randomizations are not mixed; SmoothGrad with 2 and 4 samples are two methods."""
    parts = []
    for order in ("cascading", "independent"):
        for samples, level in ((2, 0.5), (4, 0.3)):
            levels = {"gradient": 0.2, "smoothgrad": level}
            own = {"randomization": order, "method.smoothgrad.samples": samples}
            part = scores_of(
                levels=levels, path=f"{order}{samples}", run=f"{order}{samples}", **own
            )
            parts.append(part.assign(value=part["value"] + 0.1 * (order == "independent")))
    table = pairwise_tests(pd.concat(parts))
    assert sorted(set(table["scheme"])) == ["randomization=cascading", "randomization=independent"]
    assert {*table["method"], *table["other"]} == {
        "gradient", "smoothgrad (samples=2)", "smoothgrad (samples=4)",
    }  # fmt: skip
    assert len(table) == 6 and (table["images"] == 12).all()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda s: (s.drop(columns="stage"), None), "no column stage"),
        (lambda s: (s, ["low", "hihg"]), "hihg is none of the methods; did you mean high"),
        (lambda s: (s, ["low"]), "takes two methods .* not low"),
        (lambda s: (s[s["method"] == "blind"], None), "all are controls"),
    ],
)
@pytest.mark.parametrize("function", [pairwise_tests, rank_methods])
def test_mistakes(change, message, function):
    scores, methods = change(scores_of())
    with pytest.raises(ConfigError, match=message):
        function(scores, methods=methods)


def test_compare_shows_them(tmp_path, capsys):
    from tests.report.runs import make_run

    make_run(tmp_path / "run")
    main([str(tmp_path), "--pairs", "--quiet", "--no-verdicts"])
    printed = capsys.readouterr().out
    assert "gradient − difference p null guided_backprop" in " ".join(printed.split())
    table = sanity.pairwise_tests(sanity.load_runs(tmp_path), methods=["gradient", "edge_detector"])
    assert len(table) == 2 and (table["p"] < 0.05).all()


def test_no_number_of_images_is_looked_for_where_draws_of_the_weights_decide(monkeypatch):
    """Seeds that disagree keep the interval wide, which took minutes to find out."""
    monkeypatch.setattr(intervals, "_least", lambda holds, most: pytest.fail("looked for"))
    draws = np.linspace(0.2, 0.8, 6)[:, None] * np.array([0.5, 1.0, 1.5])
    ones = np.ones_like(draws)
    assert intervals.images_to_exclude(draws, ones, 0.6) is None
    assert intervals.images_needed(draws, ones, width=0.2, seeds=3) is None
