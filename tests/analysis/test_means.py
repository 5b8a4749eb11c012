"""Means of scores as tables."""

import numpy as np
import pandas as pd
import pytest

from sanity.analysis.means import by_image, caption, means, pivot


def scores(**columns):
    """Two images, stages 0 to 2: of `a` 1, 0.4 and 0.2, of `b` 1, 0.8 and 0.6."""
    values = {"a": [1, 0.4, 0.2], "b": [1, 0.8, 0.6]}
    known = {"method": "m", "metric": "ssim", "seed": 0, "scheme": "", "null": 0.0, **columns}
    return pd.DataFrame(
        [
            {"image": image, "stage": stage, "layer": f"l{stage}" if stage else "", "value": value}
            for image, row in values.items()
            for stage, value in enumerate(row)
        ]
    ).assign(**known)


def test_an_images_score_is_its_mean_over_stages_or_the_area_under_its_curve():
    part = scores()
    later = part[part["stage"] > 0]
    assert by_image(later, staged=True).tolist() == pytest.approx([0.3, 0.7])
    assert by_image(part, staged=False).tolist() == pytest.approx([0.5, 0.8])  # trapezoids
    missing = part.assign(value=part["value"].where(part["stage"] != 2))
    assert by_image(missing, staged=False).isna().all()
    alone = part[part["stage"] == 1]
    assert by_image(alone, staged=False).tolist() == [0.4, 0.8]


def test_methods_and_metrics_are_told_apart_only_where_there_are_several():
    one = scores()
    assert means(one, ["stage"]).columns[:2].tolist() == ["stage", "layer"]
    assert means(one, ["stage"])["mean"].tolist() == pytest.approx([1, 0.6, 0.4])
    several = pd.concat([one, scores(method="n")])
    found = means(several, ["stage"])
    assert found.columns[:3].tolist() == ["method", "stage", "layer"] and len(found) == 6
    # Of one scheme there are two metrics, and of the other one: they are told apart.
    mixed = pd.concat([one, scores(metric="mse"), scores(scheme="seed=1")])
    assert means(mixed, ["scheme"]).columns[:2].tolist() == ["metric", "scheme"]


def test_a_table_of_three_keys_has_the_last_as_columns():
    parts = [
        scores(method=method, metric=metric, seed=seed)
        for method in ("m", "n")
        for metric in ("ssim", "mse")
        for seed in (1, 2)
    ]
    table = means(pd.concat(parts), ["method", "metric", "seed"])
    table["mean"], table["low"] = np.arange(8.0), np.nan
    found = pivot(table)
    assert found.columns.tolist() == [1, 2] and found.index.names == ["method", "metric"]
    assert found.loc[("n", "mse")].tolist() == ["6.00", "7.00"]


def test_a_caption_says_how_many_images_and_seeds_there_are():
    table = pd.DataFrame({"images": [4, 2], "seeds": [3, 1]})
    assert caption(table).endswith("over 2 to 4 images, 1 to 3 seeds")
    assert caption(table[1:]).endswith("over 2 images, 1 seed")
