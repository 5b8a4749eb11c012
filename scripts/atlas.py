"""The atlas of verdicts: runs its sweeps, collects and draws them, writes the tables of its page.

`python scripts/atlas.py FOLDER` does what is left of the sweeps, which takes hours; interrupted,
the same command goes on. What the atlas's data already has is not computed again, whether its runs
are there or not, but with `--again`. `--no-run` takes the runs that there are, `--list` prints the
sweeps that are left, `--only 'lite1-*'` does some of them. Elsewhere, `--docs COPY` adds the rows
to a copy of docs/.
"""

import argparse
import fnmatch
import shlex
import subprocess
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import yaml

from sanity.analysis.health import early_complaint
from sanity.analysis.relative import relative
from sanity.analysis.schemes import load_schemes
from sanity.analysis.verdict_tables import Evidence, evidence
from sanity.analysis.verdicts import early_scores, early_stages
from sanity.files import read_json
from sanity.results.recorded import seconds_of

ROOT = Path(__file__).parents[1]
DOCS = ROOT / "docs"

OUTPUT, INPUT = "cascading", "cascading_bottom_up"
ORDERS = {OUTPUT: "from the output", INPUT: "from the input"}
LEFT_OUT = "left_out"
MODELS = (
    *("efficientnet_lite0", "efficientnet_lite1", "efficientnet_lite2"),
    *("cnn", "mlp", "vit"),
)
COLUMNS = (
    *("model", "order", "method", "metric", "primary", "verdict", "similarity", "low", "high", "p"),
    *("score", "null", "images", "seeds", "stages", "early", "blocks", "settings", "leans", "why"),
    *("part", "minutes", "sanity", "format", "command"),
)

CONTROLS = ("random_mask", "edge_detector", "input", "constant")
ONE_GRADIENT = (  # and those that take none
    *("gradient", "gradient_x_input", "guided_backprop", "deconvnet", "deeplift_rescale"),
    *("deeplift_rescale_local", "epsilon_lrp", "epsilon_lrp_local", "attn_lrp", "grad_cam"),
    *("grad_cam_plus_plus", "guided_grad_cam", "grad_cam_tokens", "attention_rollout"),
    *("attention_relevance", *CONTROLS),
)
AVERAGES = (
    *("smoothgrad", "smoothgrad_squared", "vargrad", "integrated_gradients"),
    *("integrated_gradients_local", "expected_gradients", "expected_gradients_local"),
)
NESTED = (
    *("denoised_gradient_x_input", "denoised_guided_backprop"),
    *("integrated_gradients_smoothgrad", "integrated_gradients_smoothgrad_local"),
)
PATHS = ("blur_ig", "guided_ig", "xrai")
FORWARD = ("occlusion", "rise", "shapley_sampling", "lime", "kernel_shap")
SEGMENTED = ("shapley_sampling", "lime", "kernel_shap")

# What methods take less of than by default.
LESS: dict[str, dict[str, object]] = {
    **dict.fromkeys(("smoothgrad", "smoothgrad_squared", "vargrad"), {"samples": 10}),
    **dict.fromkeys(("integrated_gradients", "integrated_gradients_local"), {"steps": 10}),
    **dict.fromkeys(("expected_gradients", "expected_gradients_local"), {"samples": 10}),
    **dict.fromkeys(("denoised_gradient_x_input", "denoised_guided_backprop"), {"samples": 10}),
    **dict.fromkeys(NESTED[2:], {"steps": 5, "samples": 5}),
    "blur_ig": {"steps": 20},
    "guided_ig": {"steps": 20},
    "xrai": {"steps": 10},
    "rise": {"samples": 200},
    "shapley_sampling": {"samples": 4, "segments": 25},
    "lime": {"samples": 100, "segments": 25},
    "kernel_shap": {"samples": 100, "segments": 25},
}
# On 28 × 28 pixels: squares of 4, whole or two a window.
SMALL = (
    "data=animal_mnist",
    "model.seed=0",
    "metric.hog.pixels_per_cell=4",
)
SMALL_LESS: dict[str, dict[str, object]] = {
    "occlusion": {"size": 8, "stride": 4},
    **{name: {"segmentation": "grid", **LESS[name]} for name in SEGMENTED},
    **{
        name: {**LESS[name], "references": "${data}"}
        for name in ("expected_gradients", "expected_gradients_local")
    },
}
LARGE_LESS: dict[str, dict[str, object]] = {
    "occlusion": {"size": 32, "stride": 32},
    "rise": {"samples": 50},
    "lime": {"samples": 50, "segments": 25},
    "shapley_sampling": {"samples": 2, "segments": 25},
    "blur_ig": {"steps": 10},
    "guided_ig": {"steps": 10},
    "xrai": {"steps": 5},
}


def blocks(model: str) -> list[str]:
    """A model's blocks from output to input, as its YAML lists them."""
    found: list[str] = yaml.safe_load((ROOT / f"conf/model/{model}.yaml").read_text())["blocks"]
    return found


@dataclass(frozen=True)
class Part:
    """Some methods on one model: a sweep for each order of the blocks.

    Attributes:
        name: Its own.
        model: The option.
        methods: Theirs; one that the model has no use for is left out by its run.
        images: How many.
        seeds: Of how many draws of the weights.
        stages: How many blocks are randomized, of those that are first; None: all, and the first
            third of them decides, as always.
        small: Whether images are small, see `SMALL`.
    """

    name: str
    model: str
    methods: Sequence[str]
    images: int
    seeds: int
    stages: int | None = None
    small: bool = False

    @property
    def settings(self) -> dict[str, dict[str, object]]:
        """What each method takes less of than by default."""
        less = LESS | (SMALL_LESS if self.small else LARGE_LESS)
        return {name: less[name] for name in self.methods if name in less}

    def overrides(self, order: str, folder: Path) -> list[str]:
        """Those of the sweep of an order.

        Args:
            order: One of `ORDERS`.
            folder: Where results go.
        """
        settings = [
            f"method.{name}.{key}={value}"
            for name, values in self.settings.items()
            for key, value in values.items()
        ]
        return [
            f"name={self.name}-{order}",
            f"model={self.model}",
            f"randomization={order}",
            f"seed={','.join(map(str, range(self.seeds)))}",
            f"method=[{','.join(self.methods)}]",
            *(SMALL if self.small else ()),
            f"data.limit={self.images}",
            *self._layers(order),
            *settings,
            *("figures=none", "report=false", f"output={folder}"),
        ]

    def _layers(self, order: str) -> list[str]:
        """The blocks of the early stages, all of which are early then."""
        if self.stages is None:
            return []
        if order == "cascading":
            return [f"layers.last={self.stages}", "verdict.early=1"]
        names = blocks(self.model)[-self.stages :]
        return [f"layers.names=[{','.join(names)}]", "verdict.early=1"]


GRADIENTS = (*ONE_GRADIENT, *AVERAGES, *NESTED)
COSTLY = (*PATHS, *FORWARD)
PLAN = (
    Part("cnn-gradients", "cnn", GRADIENTS, 20, 3, small=True),
    Part("lite0-gradients", "efficientnet_lite0", ONE_GRADIENT, 7, 3, 7),
    Part("lite1-gradients", "efficientnet_lite1", ONE_GRADIENT, 7, 1, 8),
    Part("lite2-gradients", "efficientnet_lite2", ONE_GRADIENT, 7, 1, 8),
    Part("vit-gradients", "vit", (*ONE_GRADIENT, *AVERAGES), 10, 3, small=True),
    Part("lite0-averages", "efficientnet_lite0", AVERAGES, 7, 1, 7),
    Part("cnn-costly", "cnn", COSTLY, 10, 3, small=True),
    Part("mlp-gradients", "mlp", GRADIENTS, 20, 3, small=True),
    Part("mlp-costly", "mlp", COSTLY, 10, 3, small=True),
    Part("lite0-forward", "efficientnet_lite0", FORWARD, 6, 1, 7),
    Part("vit-costly", "vit", (*COSTLY, *NESTED), 10, 1, small=True),
    Part("lite0-costly", "efficientnet_lite0", (*PATHS, *NESTED), 6, 1, 7),
    Part("lite1-averages", "efficientnet_lite1", AVERAGES, 5, 1, 8),
    Part("lite2-averages", "efficientnet_lite2", AVERAGES, 5, 1, 8),
    Part("lite1-costly", "efficientnet_lite1", (*COSTLY, *NESTED), 3, 1, 8),
    Part("lite2-costly", "efficientnet_lite2", (*COSTLY, *NESTED), 3, 1, 8),
)


def commands(folder: Path) -> Iterator[tuple[Part, str, list[str]]]:
    """Each part and order as they are computed, with the words of its sweep after `python`."""
    for order in ORDERS:
        for part in PLAN:
            yield part, order, ["-m", "sanity", "-m", *part.overrides(order, folder)]


def left(folder: Path, known: pd.DataFrame) -> Iterator[tuple[Part, str, list[str]]]:
    """Of `commands`, those whose rows are not all known."""
    asked = commands(Path("outputs/atlas"))
    for (part, order, words), (_, _, there) in zip(commands(folder), asked, strict=True):
        rows = known[known["command"] == shlex.join(["python", *there])]
        if not rows["seeds"].max() >= part.seeds:
            yield part, order, words


def only(
    sweeps: Iterable[tuple[Part, str, list[str]]], patterns: Sequence[str]
) -> list[tuple[Part, str, list[str]]]:
    """The sweeps whose names fit a pattern.

    Raises:
        SystemExit: A pattern fits none.
    """
    named = {f"{part.name}-{order}": (part, order, words) for part, order, words in sweeps}
    for pattern in patterns:
        if not fnmatch.filter(named, pattern):
            raise SystemExit(f"--only {pattern}: no sweep left has that name: {', '.join(named)}")
    fits = {name for pattern in patterns for name in fnmatch.filter(named, pattern)}
    return [sweep for name, sweep in named.items() if name in fits]


def compute(sweeps: Iterable[tuple[Part, str, list[str]]]) -> None:
    """Does what is left of every sweep; one that fails does not end the others.

    Raises:
        KeyboardInterrupt: One was interrupted.
    """
    for part, order, words in sweeps:
        print(f"{part.name}, {ORDERS[order]}", flush=True)
        done = subprocess.run([sys.executable, *words], cwd=ROOT, check=False)
        if done.returncode == 130:
            raise KeyboardInterrupt
        if done.returncode:
            print(f"{part.name}, {ORDERS[order]}: exit code {done.returncode}", flush=True)


def collect(folder: Path, known: pd.DataFrame) -> pd.DataFrame:
    """A row a model, order, method and metric; see docs/atlas.md.

    A method that a model has no use for has one row, without a metric. Rows of the runs that are
    completed take the place of those known, unless these are of more draws.

    Args:
        folder: Where runs are.
        known: The rows that there were.

    Raises:
        SystemExit: There is neither a run nor a row.
    """
    tables = []
    for part, order, words in commands(Path("outputs/atlas")):
        path = folder / f"{part.name}-{order}"
        found = sorted(path.glob("*/run.json"))
        infos = [read_json(run) or {} for run in found]
        done = [info for info in infos if info.get("status") == "completed"]
        if done:
            table = judge(part, order, path, done)
            tables.append(table.assign(command=shlex.join(["python", *words]))[list(COLUMNS)])
    if not tables and known.empty:
        raise SystemExit(f"no run below {folder} is completed")
    table = known
    for new in tables:
        table = merge(table, new)
    first = [name for name in (*GRADIENTS, *COSTLY) if name not in CONTROLS]
    places = {name: i for i, name in enumerate((*MODELS, *first, *CONTROLS, *ORDERS.values()))}
    keys = ["method", "model", "order"]
    return table.sort_values(keys, key=lambda column: column.map(places), kind="stable")


def merge(known: pd.DataFrame, new: pd.DataFrame) -> pd.DataFrame:
    """The rows of both: of a model, order and method the new ones, unless they have fewer draws."""
    keys = ["model", "order", "method"]
    draws = [table.groupby(keys)["seeds"].max().fillna(0) for table in (known, new)]
    fewer = draws[1] < draws[0].reindex(draws[1].index, fill_value=0)
    new = new[~pd.MultiIndex.from_frame(new[keys]).isin(fewer.index[fewer])]
    same = pd.MultiIndex.from_frame(known[keys]).isin(pd.MultiIndex.from_frame(new[keys]))
    return pd.concat([part for part in (known[~same], new) if len(part)], ignore_index=True)


def judge(part: Part, order: str, path: Path, infos: Sequence[Mapping[str, Any]]) -> pd.DataFrame:
    """The rows of a part and order, but for `command`.

    Args:
        part: Which.
        order: One of `ORDERS`.
        path: Where the runs are.
        infos: What run.json has of those that are completed.
    """
    (found,) = evidence([path], load_schemes([path])).values()
    last = int(found.scores["stage"].max())
    early = early_stages(last, found.thresholds().early)
    table = found.verdicts().rename(columns={"early": "similarity"})
    if order != OUTPUT:
        same = similarities(found, early)
        kept = [name for name in table if name in ("method", "metric") or name not in same]
        table = table[kept].merge(same, on=["method", "metric"])
        broken = early_complaint(found.predictions, early, found.thresholds().dead)
        table["why"] = broken or ""
    left = infos[0].get("left_out", {}).items()
    rows = [
        {"method": name, "verdict": LEFT_OUT, "why": why, "primary": True} for name, why in left
    ]
    table = pd.concat([table, pd.DataFrame(rows)], ignore_index=True)
    table["primary"], table["leans"] = table["primary"].astype(bool), table["leans"].fillna("")
    return table.assign(
        model=part.model,
        order=ORDERS[order],
        part=part.name,
        stages=last,
        early=len(early),
        blocks=last if part.stages is None else len(blocks(part.model)),
        settings=[said(part.settings.get(name, {})) for name in table["method"]],
        sanity=infos[0]["versions"]["sanity"],
        format=infos[0].get("format"),
        minutes=sum(map(seconds_of, infos)) / 60,
    )


def similarities(found: Evidence, early: range) -> pd.DataFrame:
    """What verdicts are made from, over the stages that are first where there is no verdict."""
    rows = []
    for (method, metric), part in found.scores.groupby(["method", "metric"], observed=True):
        identity = found.metrics[str(metric)].identity
        if identity is None:
            continue
        values, nulls = early_scores(part, early)
        one = relative(values, nulls, identity)
        some = len(values) > 0
        rows.append(
            {
                **{"method": method, "metric": metric, "images": one.images, "seeds": one.seeds},
                **{"similarity": one.mean, "low": one.low, "high": one.high},
                "score": values.mean() if some else np.nan,
                "null": nulls.mean() if some else np.nan,
            }
        )
    return pd.DataFrame(rows)


def said(settings: Mapping[str, object]) -> str:
    """Settings in a line."""
    return ", ".join(f"{key}={value}" for key, value in settings.items())


def main() -> None:
    """Reads the command line, and does what it says."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("folder", type=Path, help="where runs go")
    parser.add_argument("--list", action="store_true", help="print the sweeps left and stop")
    parser.add_argument(
        "--only", nargs="+", metavar="NAME", help="of the sweeps, those named, `*` for any part"
    )
    parser.add_argument("--again", action="store_true", help="compute what the data has as well")
    parser.add_argument("--no-run", action="store_true", help="take the runs that there are")
    parser.add_argument("--docs", type=Path, default=DOCS, help="where the atlas is (%(default)s)")
    asked = parser.parse_args()
    data = asked.docs / "data/atlas.parquet"
    known = pd.read_parquet(data) if data.exists() else pd.DataFrame(columns=list(COLUMNS))
    folder = asked.folder.absolute()
    due = commands(folder) if asked.again else left(folder, known)
    sweeps = only(due, asked.only) if asked.only else list(due)
    if asked.list:
        for _, _, words in sweeps:
            print(shlex.join(["python", *words]))
        return
    if not asked.no_run:
        compute(sweeps)
    table = collect(asked.folder, known)
    data.parent.mkdir(parents=True, exist_ok=True)
    table.to_parquet(data, index=False)
    page = Path(__file__).with_name("atlas_page.py")
    subprocess.run([sys.executable, page, "--docs", asked.docs], check=True)


if __name__ == "__main__":
    main()
