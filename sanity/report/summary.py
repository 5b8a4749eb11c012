"""The few numbers of scores that a run ends with."""

import pandas as pd


def ends(scores: pd.DataFrame, metric: str) -> pd.DataFrame:
    """Means over images of a metric after the first, the middle and the last stage.

    Args:
        scores: As in scores.parquet.
        metric: Which of its metrics.

    Returns:
        A row a method, a column a stage, named by its layer.
    """
    chosen = scores[(scores["metric"] == metric) & (scores["stage"] > 0)]
    stages = sorted(chosen["stage"].unique())
    if not stages:
        return pd.DataFrame(index=scores["method"].astype(str).unique())
    shown = list(dict.fromkeys([stages[0], stages[len(stages) // 2], stages[-1]]))
    chosen = chosen[chosen["stage"].isin(shown)]
    layers = chosen.drop_duplicates("stage").set_index("stage")["layer"]
    means = chosen.groupby(["method", "stage"], observed=True, sort=False)["value"].mean()
    table = means.unstack("stage")[shown]
    table.columns = [str(layers[stage]) for stage in shown]
    return table


def missing(scores: pd.DataFrame) -> str | None:
    """How many scores are NaN, and why, by method: a line; None if none is.

    Args:
        scores: As in scores.parquet.
    """
    gone = scores[scores["value"].isna()]
    alone = scores["null"].isna() & scores["value"].notna()
    said = []
    if len(gone):
        reasons = gone["reason"].astype(object).fillna("").astype(str)
        unknown = "no reason known to " + gone["metric"].astype(str)
        why = reasons.where(reasons != "", unknown)
        counts = gone.assign(why=why).groupby(["method", "why"], observed=True, sort=False).size()
        each = ", ".join(
            f"{row.method} {row.n} ({row.why})" for row in counts.reset_index(name="n").itertuples()
        )
        said.append(f"{len(gone)} of {len(scores)} scores are NaN: {each}")
    if alone.any():
        counts = scores[alone].groupby("method", observed=True, sort=False).size()
        each = ", ".join(f"{method} {n}" for method, n in counts.items())
        said.append(
            f"{alone.sum()} of {len(scores)} nulls are NaN, because the other image's mask is "
            f"constant or not finite: {each}"
        )
    return "; ".join(said) or None
