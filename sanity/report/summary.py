"""The few numbers that a run ends with."""

import pandas as pd


def summary(scores: pd.DataFrame, metric: str) -> str:
    """A table of a metric after the first, the middle and the last stage, means over images.

    Args:
        scores: As in scores.parquet.
        metric: Which of its metrics.
    """
    chosen = scores[(scores["metric"] == metric) & (scores["stage"] > 0)]
    stages = sorted(chosen["stage"].unique())
    shown = list(dict.fromkeys([stages[0], stages[len(stages) // 2], stages[-1]]))
    chosen = chosen[chosen["stage"].isin(shown)]
    layers = chosen.drop_duplicates("stage").set_index("stage")["layer"]
    means = chosen.groupby(["method", "stage"], observed=True, sort=False)["value"].mean()
    table = means.unstack("stage")[shown]
    table.columns = [str(layers[stage]) for stage in shown]
    table.index.name = None
    images = chosen["image"].nunique()
    title = f"{metric}: similarity to the original mask, mean over {images} images"
    return f"{title}\n{table.round(2).to_string(na_rep='-')}"
