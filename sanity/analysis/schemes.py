"""The scores of several runs, with what sets schemes apart beside seeds and parts of the images."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd

from sanity.errors import ConfigError
from sanity.results.load import load_runs

# What differs between runs that belong together: draws, parts of the images, names.
_TOGETHER = ("seed", "name", "run", "path", "status", "data.shard", "masks.keep")
_SCORES = ("image", "target", "method", "stage", "layer", "metric", "value", "null", "reason")


def load_schemes(paths: Sequence[str | Path]) -> pd.DataFrame:
    """The scores of completed runs with a column `scheme`: what sets them apart beside the seed.

    A run that is there twice, under two names, counts once. `scheme` names the keys in which runs
    differ, and their values, of those that can matter for a row's method and metric; "" if none do.

    Raises:
        ConfigError: There is no run, none is completed, or a file is damaged.
    """
    scores = load_runs(list(paths), status="completed")
    if scores.empty:
        raise ConfigError(f"no run below {', '.join(map(str, paths))} is completed")
    first = scores.drop_duplicates("run").set_index("run")["path"].astype(str)
    scores = scores[scores["path"].astype(str) == scores["run"].map(first).astype(str)]
    keys = [c for c in scores.columns if c not in _SCORES + _TOGETHER]
    kinds = scores.drop_duplicates(["path", "method", "metric"])[
        ["path", "method", "metric", *keys]
    ].reset_index(drop=True)
    schemes = pd.Series("", index=kinds.index)
    for key in sorted(keys, key=lambda key: "." in key):  # choices first: they are the short names
        owner = key.split(".")
        values = kinds[key].astype(object).where(kinds[key].notna(), "–").astype(str)
        if len(owner) > 1 and owner[0] in ("method", "metric"):
            values = values.where(kinds[owner[0]].astype(str) == owner[1], "")
        groups = values.groupby([kinds["method"], kinds["metric"], schemes], observed=True)
        # A key that says nothing that the ones before it have not said is left out.
        if (groups.nunique() > 1).any():
            schemes = schemes + np.where(
                values == "", "", np.where(schemes == "", "", ", ") + f"{key}=" + values
            )
    schemes = schemes.groupby([kinds["method"], kinds["metric"]], observed=True).transform(
        lambda part: part if part.nunique() > 1 else ""
    )
    kinds["scheme"] = schemes
    return scores.merge(kinds[["path", "method", "metric", "scheme"]], how="left")
