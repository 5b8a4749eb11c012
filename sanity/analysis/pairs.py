"""Methods against each other: paired tests and ranks over images, crossed with seeds."""

from collections.abc import Collection, Iterator, Sequence
from itertools import combinations

import numpy as np
import pandas as pd

from sanity.analysis import intervals
from sanity.analysis.means import by_image
from sanity.analysis.schemes import by_content, name_schemes, scheme_keys
from sanity.errors import ConfigError, did_you_mean
from sanity.results.columns import owner

_NEEDED = ("image", "method", "stage", "metric", "value")
_TESTS = ("difference", "low", "high", "p", "p_holm", "null", "images", "seeds")
_RANKS = ("rank", "low", "high", "first", "images", "seeds")


def pairwise_tests(scores: pd.DataFrame, *, methods: Collection[str] | None = None) -> pd.DataFrame:
    """Each two methods compared, image by image, by the area under their curves over the stages.

    A difference says that one method's masks stay more alike than the other's, not which method is
    better; and a method of smooth masks scores higher by chance alone (see the column `null`).

    Args:
        scores: As `load_runs` gives them, or some of their rows; of completed runs.
        methods: Only these; by default all but controls (`scores.attrs["controls"]`).

    Returns:
        One row a metric and pair, by `scheme` where runs differ in more than seeds: method, other,
        difference (of mean areas, method − other, in units of the score) with its 95 % interval low
        to high, p (of no difference: a paired t-test over images, of several seeds crossed with
        them), p_holm (corrected by Holm over the pairs of that metric and scheme), null (the
        difference of mean nulls at randomized stages), images and seeds (that both have).

    Raises:
        ConfigError: A column is missing, there is no such method, or there are not two.
    """
    rows = []
    for (scheme, metric), areas, nulls in _areas(scores, methods):
        tests = []
        for one, other in combinations(areas, 2):
            both = pd.concat([areas[one], areas[other]], axis=1, join="inner", keys=["a", "b"])
            a, b = (both[side].unstack("seed").to_numpy() for side in "ab")
            estimate, p = intervals.difference(a, b)
            tests.append((scheme, metric, one, other, estimate, p))
        corrected = intervals.holm([p for *_, p in tests])
        rows += [
            (*names, one, other, found.mean, found.low, found.high, p, q)
            + (nulls[one] - nulls[other], found.images, found.seeds)
            for (*names, one, other, found, p), q in zip(tests, corrected.tolist(), strict=True)
        ]
    return _table(rows, ("scheme", "metric", "method", "other", *_TESTS))


def rank_methods(scores: pd.DataFrame, *, methods: Collection[str] | None = None) -> pd.DataFrame:
    """The methods' ranks in each image and seed, by the area under their curves over the stages.

    Rank 1 is the method whose masks stay least like the original ones: whose area is farthest from
    what the metric gives a mask with itself. By a metric without such a value it is the lowest.

    Args:
        scores: See `pairwise_tests`.
        methods: See there.

    Returns:
        One row a metric and method, by `scheme` where runs differ in more than seeds: rank (mean;
        equal areas share theirs) with its 95 % interval low to high, first (share of images and
        seeds in which it has rank 1), images and seeds (that all methods have).

    Raises:
        ConfigError: See `pairwise_tests`.
    """
    rows = []
    for (scheme, metric), areas, _ in _areas(scores, methods):
        together = pd.concat(areas, axis=1, join="inner").dropna()
        own = scores["value"][(scores["metric"] == metric) & (scores["stage"] == 0)].dropna()
        alike = -1.0 if len(own) and np.ptp(own) < 1e-6 else 1.0
        distance = (together - own.mean()).abs() if alike < 0 else together
        ranks = (alike * distance).rank(axis=1)
        for method in areas:
            wide = ranks[method].unstack("seed").to_numpy()
            found = intervals.mean(wide, (1.0, float(len(areas))))
            first = float((ranks[method] == ranks.min(axis=1)).mean())
            low = max(found.low, 1.0) if found.images > 1 else found.low
            estimate = (found.mean, low, found.high, first, found.images, found.seeds)
            rows.append((scheme, metric, method, *estimate))
    return _table(rows, ("scheme", "metric", "method", *_RANKS))


def _areas(
    scores: pd.DataFrame, methods: Collection[str] | None
) -> Iterator[tuple[tuple[str, str], dict[str, pd.Series], dict[str, float]]]:
    """By scheme and metric: the area of each method, by image and seed, and its mean null.

    Runs with other parameters of a method are other methods, called `smoothgrad (samples=4)`.
    """
    if gone := [name for name in _NEEDED if name not in scores]:
        raise ConfigError(f"the scores have no column {gone[0]}: load_runs(path) has all")
    chosen = scores[scores["method"].isin(_methods(scores, methods))]
    chosen = chosen.assign(path=chosen["path"].astype(str) if "path" in chosen else "")
    keys = scheme_keys(chosen)
    names = ["path", "method", "metric"]
    kinds = chosen.drop_duplicates(names)[[*names, *(k for k in keys if k not in names)]]
    kinds = kinds.reset_index(drop=True).astype(dict.fromkeys(names, str))
    kinds = by_content(kinds, [key for key in keys if key not in names])
    of_methods = [key for key in keys if (owner(key) or ("",))[0] == "method"]
    rest = [key for key in keys if key not in of_methods]
    kinds["setting"] = name_schemes(kinds, rest, within=["metric"])
    keyed = zip(name_schemes(kinds, of_methods), kinds["method"], strict=True)
    short = [text.replace(f"method.{name}.", "") for text, name in keyed]
    kinds["label"] = kinds["method"] + [f" ({text})" if text else "" for text in short]
    kinds = kinds[[*names, "setting", "label"]]
    rows = chosen.astype(dict.fromkeys(names, str)).merge(kinds, on=names)
    seed = ["seed"] if "seed" in rows else []
    rows = rows.drop_duplicates(["setting", "label", "metric", "image", "stage", *seed])
    found = 0
    for (setting, metric), part in rows.groupby(["setting", "metric"], sort=False):
        own = {str(label): one for label, one in part.groupby("label", sort=False)}
        if len(own) > 1:
            found += 1
            areas = {label: by_image(one, staged=False) for label, one in own.items()}
            yield (str(setting), str(metric)), areas, {k: _null(one) for k, one in own.items()}
    if not found:
        alone = ", ".join(dict.fromkeys(rows["label"]))
        raise ConfigError(f"a comparison takes two methods with scores of one kind, not {alone}")


def _null(part: pd.DataFrame) -> float:
    """The mean null at randomized stages; NaN where there is none."""
    return float(part.loc[part["stage"] > 0, "null"].mean()) if "null" in part else float("nan")


def _methods(scores: pd.DataFrame, methods: Collection[str] | None) -> list[str]:
    """The names of those that are compared."""
    known = [str(name) for name in dict.fromkeys(scores["method"])]
    if methods is None:
        passive = scores.attrs.get("controls", [])
        found = [name for name in known if name not in passive]
    else:
        found = [methods] if isinstance(methods, str) else list(methods)
        for name in found:
            if name not in known:
                hint = did_you_mean(name, known)
                raise ConfigError(f"{name} is none of the methods{hint} ({', '.join(known)})")
    if not found:
        raise ConfigError("there is no method to compare: all are controls")
    return found


def _table(rows: Sequence[tuple[object, ...]], columns: tuple[str, ...]) -> pd.DataFrame:
    """With `scheme` only where there are several."""
    table = pd.DataFrame(rows, columns=list(columns))
    return table if table["scheme"].nunique() > 1 else table.drop(columns="scheme")
