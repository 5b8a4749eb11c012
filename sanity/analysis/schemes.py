"""Schemes: what sets runs apart beside seeds and parts of the images, and their scores."""

import logging
import math
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from sanity.analysis.alike import check_alike
from sanity.errors import ConfigError
from sanity.files import read_json
from sanity.results.columns import counts, owner
from sanity.results.load import load_completed, read_runs
from sanity.results.recorded import digests
from sanity.results.tables import SCORES

log = logging.getLogger(__name__)

_APART = 1e-3  # more than what other processors make of the same scores


def load_schemes(paths: Sequence[str | Path]) -> pd.DataFrame:
    """The scores of completed runs with a column `scheme`: what sets them apart beside the seed.

    `scheme` names the keys in which runs differ, and their values, of those that can matter for a
    row's method and metric; "" if none do. A score that stands in several runs, a method's that is
    the same in all of them, counts once. Runs that are not completed are left out, which is logged.

    Raises:
        ConfigError: There is no run, none is completed, a file is damaged, or runs of the same
            settings have different scores or layers.
    """
    runs = read_runs(list(paths))
    left = Counter(run.status for run in runs)
    completed = left.pop("completed", 0)
    if left and completed:
        said = ", ".join(f"{count} {status}" for status, count in left.items())
        log.warning(
            "left out of %d runs: %s (sanity.runs lists them)", completed + left.total(), said
        )
    scores = load_completed(runs)
    if scores.empty:
        raise ConfigError(f"no run below {', '.join(map(str, paths))} is completed")
    first = scores.drop_duplicates("run").set_index("run")["path"].astype(str)
    scores = scores[scores["path"].astype(str) == scores["run"].map(first).astype(str)]
    attrs = scores.attrs
    keys = scheme_keys(scores)
    kinds = scores.drop_duplicates(["path", "method", "metric"])[
        ["path", "method", "metric", *keys]
    ].reset_index(drop=True)
    kinds["scheme"] = name_schemes(by_content(kinds, keys), keys)
    scores = scores.merge(kinds[["path", "method", "metric", "scheme"]], how="left")
    seed = ["seed"] if "seed" in scores else []
    keys = ["scheme", *seed, "method", "metric", "stage", "image"]
    twice = scores[scores.duplicated(keys, keep=False)]
    found = twice.groupby(keys, observed=True)["value"].agg(["min", "max", "count", "size"])
    some = found["count"].between(1, found["size"] - 1)  # one has a score, another has none
    if (some | (found["max"] - found["min"] > _APART)).any():
        one, *others = twice["path"].astype(str).drop_duplicates().iloc[:2]
        if not others:
            raise ConfigError(
                f"{one} holds several scores of one image at one stage: force=true computes it anew"
            )
        other = others[0]
        raise ConfigError(
            f"{one} and {other} hold different scores of the same settings, as of a model, images "
            "or code that were changed in between: compare them one by one, or by --diff"
        )
    scores = scores.drop_duplicates(keys)
    if len(runs) > 1:
        check_alike(scores)
    scores.attrs = attrs
    return scores


def scheme_keys(scores: pd.DataFrame) -> list[str]:
    """The columns of scores that set runs apart."""
    return [key for key in scores.columns if key not in SCORES and counts(key).scheme]


def by_content(kinds: pd.DataFrame, keys: Sequence[str]) -> pd.DataFrame:
    """The rows, with one path for one content: the first of those that it had.

    A path says where something lay. The same photographs may lie elsewhere on another machine.

    Args:
        kinds: Rows of runs, whose folders the column `path` has; "" where nobody knows.
        keys: Columns of the configuration.
    """
    apart = [key for key in keys if kinds[key].nunique() > 1]
    if not apart:
        return kinds
    paths = [str(path) for path in kinds["path"]]
    infos = {path: read_json(Path(path) / "run.json") for path in set(paths) if path}
    found = {path: digests(info or {}) for path, info in infos.items()}
    contents = {key: [found.get(path, {}).get(key) for path in paths] for key in apart}
    return kinds.assign(
        **{key: first_paths(list(kinds[key]), of) for key, of in contents.items() if any(of)}
    )


def first_paths(values: Sequence[Any], contents: Sequence[str | None]) -> list[Any]:
    """The values, but the first one of those of one content for them all; None: it has none."""
    first: dict[str, Any] = {}
    return [
        value if content is None else first.setdefault(content, value)
        for value, content in zip(values, contents, strict=True)
    ]


def name_schemes(
    kinds: pd.DataFrame, keys: Sequence[str], within: Sequence[str] = ("method", "metric")
) -> pd.Series:
    """The keys in which rows differ, and their values, as text; "" where none do.

    Args:
        kinds: A row a run, method and metric.
        keys: Columns of the configuration.
        within: Rows are set apart from others of the same values here.
    """
    own = [kinds[name].astype(str) for name in within]
    schemes = pd.Series("", index=kinds.index)
    groups = _numbered([*own, schemes])
    for key in in_order(keys):
        values = kinds[key].astype(object).where(kinds[key].notna(), "–").astype(str)
        if entry := owner(key):
            values = values.where(kinds[entry[0]].astype(str) == entry[1], "")
        # A key that says nothing that the ones before it have not said is left out.
        within_groups = groups * len(values) + pd.factorize(values)[0]
        if len(np.unique(within_groups)) > len(np.unique(groups)):
            schemes = schemes + np.where(
                values == "", "", np.where(schemes == "", "", ", ") + f"{key}=" + values
            )
            groups = _numbered([*own, schemes])
    return schemes.groupby(own).transform(lambda part: part if part.nunique() > 1 else "")


def _numbered(columns: Sequence[pd.Series]) -> np.ndarray:
    """A number for each row, the same for the same values in all columns."""
    numbers: np.ndarray = pd.MultiIndex.from_arrays(columns).factorize()[0]
    return numbers


def differing(
    runs: Sequence[Mapping[str, Any]], infos: Sequence[Mapping[str, Any]] | None = None
) -> dict[str, list[str]]:
    """The keys in which runs differ, with each run's value; one of those that say the same.

    A key of a method or metric that some runs do not have (`–`) sets runs apart only if those that
    have it differ.

    Args:
        runs: The columns of each, see `config_columns`.
        infos: What run.json says of each, by which paths of one content are one; without, by name.
    """
    contents = [digests(info) for info in infos or [{}] * len(runs)]
    keys = dict.fromkeys(key for run in runs for key in run)
    found: dict[str, list[str]] = {}
    seen = set()
    for key in in_order(keys):
        shown = [as_text(run.get(key)) if key in run else "–" for run in runs]
        values = first_paths(shown, [content.get(key) for content in contents])
        known = [value for run, value in zip(runs, values, strict=True) if key in run]
        if len(set(known if owner(key) else values)) < 2:
            continue
        order = {value: number for number, value in enumerate(dict.fromkeys(values))}
        alike = tuple(order[value] for value in values)
        if alike not in seen:
            seen.add(alike)
            found[key] = values
    return found


def in_order(keys: Iterable[str]) -> list[str]:
    """Choices first: they are the short names."""
    return sorted(keys, key=lambda key: "." in key)


def as_text(value: Any) -> str:
    """A value of the configuration as it is shown."""
    if value is None or (isinstance(value, float) and math.isnan(value)):
        return "–"
    return str(value).lower() if isinstance(value, bool) else str(value)
