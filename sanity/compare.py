"""Compares runs: `python -m sanity.compare PATH…`, or `sanity-compare` once installed."""

import logging
import math
from argparse import Namespace
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sanity.arguments import Parser, in_list, mistakes_told
from sanity.errors import ConfigError

if TYPE_CHECKING:
    import pandas as pd

    from sanity.analysis.thresholds import Thresholds
    from sanity.analysis.verdict_tables import Evidence


_BY = "metric,stage,method"
_WRITTEN = ("csv", "markdown", "latex", "figure", "report")  # options that name a file to write


def main(arguments: Sequence[str] | None = None) -> None:
    """Prints what was asked for; a user's mistake is one sentence and exit code 2."""
    logging.basicConfig(format="%(message)s")
    with mistakes_told("sanity-compare"):
        compare(_parser().read(arguments))


def compare(options: Namespace) -> None:
    """Does what the command line says.

    Raises:
        ConfigError: Something asked for cannot be done.
    """
    if options.diff or options.rescore:
        if asked := next((name for name in _WRITTEN if getattr(options, name)), None):
            raise ConfigError(
                f"--{asked} writes what is made of whole runs: not together with "
                f"{'--diff' if options.diff else '--rescore'}"
            )
    if options.diff:
        if options.paths or options.rescore:
            raise ConfigError("--diff takes two runs and nothing beside them")
        _diff(*map(Path, options.diff))
        return
    if options.width is not None and not 0 < options.width < math.inf:
        raise ConfigError(f"--width {options.width:g} must be above 0: of an interval, such as 0.1")
    if not options.paths:
        raise ConfigError("at least one PATH must be given: a run's folder, or one above runs")
    if options.rescore:
        _rescore(options.paths, options.rescore, options.config_dir)
        return
    from sanity.analysis.means import means
    from sanity.analysis.schemes import load_schemes

    thresholds = _thresholds(options.verdict or [])
    everything = load_schemes(options.paths)
    scores = _filter(everything, options)
    table = means(scores, in_list(options.by))
    _write_means(table, options)
    if options.figure:
        _figure(scores, options.figure)
    judged: list[Judged] = []
    if options.report or options.thresholds or options.width is not None or not options.no_verdicts:
        judged = _judge(everything, scores, thresholds, options)
    if not options.quiet:
        _print_means(table, judged, options)
    if options.pairs:
        _print_pairs(scores, options)
    _write_tables(table, [] if options.no_verdicts else judged, options)
    _print_judged(judged, thresholds, options)
    if options.report:
        from sanity.report.page.write import write

        verdicts = {one.scheme: one.found for one in judged}
        write(options.report, scores, verdicts, thresholds=thresholds)
    for name in _WRITTEN:
        if file := getattr(options, name):
            print(f"wrote {file}")


@dataclass(frozen=True)
class Judged:
    """The verdicts of one scheme.

    Attributes:
        scheme: What sets its runs apart from others.
        known: What the verdicts are made from.
        found: Those asked for, see `analysis.verdicts.verdicts`.
        thresholds: Theirs.
    """

    scheme: str
    known: "Evidence"
    found: "pd.DataFrame"
    thresholds: "Thresholds"

    @property
    def runs(self) -> list[Path]:
        """The folders of its runs."""
        return [Path(path) for path in dict.fromkeys(self.known.scores["path"].astype(str))]


def _judge(
    everything: "pd.DataFrame",
    scores: "pd.DataFrame",
    thresholds: dict[str, Any],
    options: Namespace,
) -> list[Judged]:
    """The verdicts; from everything, since they are corrected for how many methods there are.

    Those by the metric that decides are always among them.
    """
    from sanity.analysis.verdict_tables import evidence

    judged = []
    for scheme, known in evidence(options.paths, everything, trust=options.trust).items():
        whole = known.verdicts(thresholds)
        method, metric = (
            whole[name].isin(scores[name].astype(str)) for name in ("method", "metric")
        )
        found = whole[method & (metric | whole["primary"])]  # no metric is judged without it
        judged.append(Judged(scheme, known, found, known.thresholds(thresholds)))
    return judged


def _print_pairs(scores: "pd.DataFrame", options: Namespace) -> None:
    from sanity.analysis.pairs import pairwise_tests, rank_methods
    from sanity.report.comparisons import pair_parts, rank_parts
    from sanity.report.console import for_console

    methods = in_list(options.method) if options.method else None
    print(for_console(partial(rank_parts, rank_methods(scores, methods=methods))))
    print(for_console(partial(pair_parts, pairwise_tests(scores, methods=methods))))


def _print_judged(judged: Sequence[Judged], thresholds: dict[str, Any], options: Namespace) -> None:
    """Prints what was asked for of the verdicts."""
    from sanity.analysis.settling import other_draws, settling
    from sanity.analysis.stability import by_threshold, for_width
    from sanity.report.answer import Answer
    from sanity.report.comparisons import threshold_parts, width_parts
    from sanity.report.console import for_console, wrapped

    for one in judged:
        heading = f"\n{wrapped(one.scheme)}" if one.scheme else ""
        if not options.no_verdicts and len(one.found):
            settled = settling(one.runs, one.found)
            others = other_draws(one.runs)
            answer = Answer(one.found, one.known.scores, one.thresholds, settled, others)
            print(f"{heading}\n{for_console(answer.parts)}")
        if options.thresholds:
            moved = by_threshold(one.known, thresholds)
            print(heading + for_console(partial(threshold_parts, moved)))
        if options.width:
            needed = for_width(one.known, options.width, thresholds)
            print(heading + for_console(partial(width_parts, needed, options.width)))


def _parser() -> Parser:
    parser = Parser("sanity-compare", "Compares runs.")
    add = parser.add_argument
    add("paths", nargs="*", metavar="PATH", help="a run's folder, or a folder above runs")
    add(
        "--by",
        default=_BY,
        help="what is told apart, the last one as columns (%(default)s); without stage: the area"
        " under the curve; any column of load_runs",
    )
    add("--metric", help="only these, with commas between")
    add("--method", help="only these, with commas between")
    add("--digits", type=int, default=2, choices=range(7), help="after the point (%(default)s)")
    add("--csv", metavar="FILE", help="writes the table, one row a mean")
    add("--markdown", metavar="FILE", help="writes verdicts and means as Markdown")
    add("--latex", metavar="FILE", help="writes them for LaTeX (booktabs), with captions")
    add("--figure", metavar="FILE", help="writes the curves: .pdf, .png, .svg")
    add(
        "--report", metavar="FILE", help="writes one self-contained HTML page: curves, masks, table"
    )
    add("--quiet", action="store_true", help="print no table")
    add("--pairs", action="store_true", help="paired tests and ranks between methods")
    add("--no-verdicts", action="store_true", help="give no verdicts")
    add(
        "--verdict",
        nargs="+",
        metavar="KEY=VALUE",
        help="other thresholds than the runs': primary, threshold, early, images, dead, alike",
    )
    add("--thresholds", action="store_true", help="how verdicts move with each threshold")
    add(
        "--width",
        type=float,
        help="how many images and seeds make early similarities' intervals so narrow, e.g. 0.1",
    )
    add(
        "--trust",
        action="store_true",
        help="run the code of metrics that are not sanity's, which the runs name",
    )
    add("--diff", nargs=2, metavar=("A", "B"), help="what differs between two runs, and how much")
    add(
        "--rescore",
        nargs="+",
        metavar="METRIC",
        help="computes scores from stored masks: checks those there, adds those of new metrics; "
        "names, or metric=[…] and metric.NAME.KEY=… as for sanity",
    )
    add(
        "--config-dir",
        "-cd",
        metavar="FOLDER",
        help="a folder of YAMLs of your own, whose metrics --rescore takes as well",
    )
    return parser


def _filter(scores: "pd.DataFrame", options: Namespace) -> "pd.DataFrame":
    for name in ("metric", "method"):
        if asked := getattr(options, name):
            known = list(dict.fromkeys(scores[name].astype(str)))
            wanted = in_list(asked)
            if unknown := [value for value in wanted if value not in known]:
                raise ConfigError(f"--{name} {unknown[0]} is none of {', '.join(known)}")
            scores = scores[scores[name].isin(wanted)]
    return scores


def _thresholds(pairs: Sequence[str]) -> dict[str, Any]:
    """The thresholds given; whether they are in range is checked where they are used."""
    from dataclasses import fields

    from sanity.analysis.thresholds import Thresholds

    known = [field.name for field in fields(Thresholds)]
    found: dict[str, Any] = {}
    for pair in pairs:
        key, _, value = pair.partition("=")
        if key not in known:
            raise ConfigError(f"--verdict {pair} must be one of {', '.join(known)}, with =VALUE")
        try:
            kind = {"images": int, "early": int, "primary": str}.get(key, float)
            found[key] = kind(value)
        except ValueError:
            raise ConfigError(f"--verdict {pair} must be a number") from None
    return found


def _print_means(table: "pd.DataFrame", judged: Sequence[Judged], options: Namespace) -> None:
    """Prints the means; by the metric that decides alone where none is asked for."""
    from sanity.analysis.means import caption, pivot
    from sanity.report.console import for_console, means_parts, wrapped

    others: list[str] = []
    if options.by == _BY and not options.metric:
        known = list(dict.fromkeys(table["metric"]))
        first = [name for one in judged for name in one.found.query("primary")["metric"]]
        shown = list(dict.fromkeys(first)) or known[:1]
        others = [name for name in known if name not in shown]
        table = table[table["metric"].isin(shown)]
    wide = pivot(table, options.digits)
    print(f"{wrapped(caption(table))}\n{for_console(partial(means_parts, wide))}")
    if others:
        print(wrapped(f"by others: --metric {','.join(others)}"))


def _write_means(table: "pd.DataFrame", options: Namespace) -> None:
    from sanity.files import replace_file

    if options.csv:
        replace_file(_ready(options.csv), table.to_csv(index=False).encode())


def _write_tables(table: "pd.DataFrame", judged: Sequence[Judged], options: Namespace) -> None:
    """Writes the verdicts and the means, as Markdown and LaTeX."""
    from sanity.analysis.means import pivot
    from sanity.files import replace_file
    from sanity.report.tables import latex, markdown, means_table, verdict_table

    if not (options.markdown or options.latex):
        return
    tables = [
        verdict_table(
            one.found,
            int(one.known.scores["stage"].max()),
            one.thresholds,
            one.scheme,
            options.digits,
        )
        for one in judged
        if one.found["early"].notna().any()  # else each cell would be a dash
    ]
    tables.append(means_table(table, pivot(table, options.digits)))
    for name, text in ((options.markdown, markdown), (options.latex, latex)):
        if name:
            replace_file(_ready(name), text(tables).encode())


def _ready(name: str) -> Path:
    from sanity.files import writing

    path = Path(name)
    with writing(path):
        path.parent.mkdir(parents=True, exist_ok=True)
    return path


def _figure(scores: "pd.DataFrame", name: str) -> None:
    from sanity.report.figures.canvas import save
    from sanity.report.figures.curves import similarity_curves

    path = Path(name)
    kind = path.suffix.lstrip(".")
    if kind not in ("pdf", "png", "svg"):
        raise ConfigError(f"--figure {name} must end in .pdf, .png or .svg")
    try:
        figure = similarity_curves(scores)
    except ValueError as error:
        raise ConfigError(f"--figure: {error}") from error
    save(figure, _ready(name).with_suffix(""), formats=(kind,))


def _diff(a: Path, b: Path) -> None:
    from sanity.analysis.differences import differences, differing_keys
    from sanity.report.comparisons import difference_parts
    from sanity.report.console import for_console
    from sanity.results.listing import find_runs

    for run in (a, b):
        if find_runs(run) != [run]:
            raise ConfigError(f"--diff {run} must be one run's folder")
    keys = differing_keys(a, b)
    print(f"A: {a}\nB: {b}\n")
    print(for_console(partial(difference_parts, keys, differences(a, b))))


def _rescore(paths: Sequence[str], overrides: Sequence[str], config_dir: str | None) -> None:
    from sanity.experiment.rescore import chosen_metrics, rescore
    from sanity.results.listing import find_runs

    metrics, nodes = chosen_metrics(overrides, config_dir)
    for run in find_runs(paths):
        print(run)
        for row in rescore(run, metrics, nodes).itertuples():
            if row.added:
                print(f"  {row.metric}: {row.rows} scores added")
            elif row.largest == 0:
                print(f"  {row.metric}: {row.rows} scores, equal to those stored")
            else:
                print(
                    f"  {row.metric}: {row.rows} scores, up to {row.largest:.2g} from those stored"
                )


if __name__ == "__main__":
    main()
