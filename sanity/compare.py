"""Compares runs: `python -m sanity.compare PATH…`, or `sanity-compare` once installed."""

import logging
from argparse import Namespace
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sanity.arguments import Parser, mistakes_told
from sanity.errors import ConfigError

if TYPE_CHECKING:
    import pandas as pd


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
        writes = ("csv", "markdown", "latex", "figure", "report")
        if asked := next((name for name in writes if getattr(options, name)), None):
            raise ConfigError(
                f"--{asked} writes what is made of whole runs: not together with "
                f"{'--diff' if options.diff else '--rescore'}"
            )
    if options.diff:
        if options.paths or options.rescore:
            raise ConfigError("--diff takes two runs and nothing beside them")
        _diff(*map(Path, options.diff))
        return
    if not options.paths:
        raise ConfigError("at least one PATH must be given: a run's folder, or one above runs")
    if options.rescore:
        _rescore(options.paths, options.rescore)
        return
    from sanity.analysis.means import caption, means, pivot
    from sanity.analysis.schemes import load_schemes

    thresholds = _thresholds(options.verdict or [])
    everything = load_schemes(options.paths)
    scores = _filter(everything, options)
    table = means(scores, options.by.split(","))
    _write(table, options)
    if options.figure:
        _figure(scores, options.figure)
    if not options.quiet:
        print(caption(table))
        print(_text(pivot(table, options.digits)))
    if options.pairs:
        from sanity.analysis.pairs import text

        print(text(scores, options.method.split(",") if options.method else None))
    verdicts = {}
    if options.report or options.thresholds or options.width or not options.no_verdicts:
        verdicts = _verdicts(everything, scores, thresholds, options)
    if options.report:
        from sanity.report.page.write import write

        write(options.report, scores, verdicts, thresholds=thresholds)


def _verdicts(
    everything: "pd.DataFrame",
    scores: "pd.DataFrame",
    thresholds: dict[str, Any],
    options: Namespace,
) -> dict[str, "pd.DataFrame"]:
    """The verdicts by scheme, and prints what was asked for of them.

    They are made from everything, since they are corrected for how many methods there are.
    """
    from sanity.analysis.stability import by_threshold, for_width
    from sanity.analysis.verdict_tables import evidence
    from sanity.analysis.wording import table

    found = {}
    for scheme, known in evidence(options.paths, everything, trust=options.trust).items():
        whole = known.verdicts(thresholds)
        shown = [whole[name].isin(scores[name].astype(str)) for name in ("method", "metric")]
        found[scheme] = whole[shown[0] & shown[1]]
        heading = "\n" + (f"{scheme}\n" if scheme else "")
        if not options.no_verdicts:
            print(heading + table(found[scheme]))
        if options.thresholds:
            print(heading + "verdicts with each threshold moved alone")
            moved = by_threshold(known, thresholds)[["threshold", "value", "changed", "moved"]]
            print(moved.to_string(index=False))
        if options.width:
            print(heading + f"images that an interval of width {options.width:g} takes")
            print(for_width(known, options.width, thresholds).to_string(index=False))
    return found


def _parser() -> Parser:
    parser = Parser("sanity-compare", "Compares runs.")
    add = parser.add_argument
    add("paths", nargs="*", metavar="PATH", help="a run's folder, or a folder above runs")
    add(
        "--by",
        default="metric,stage,method",
        help="what is told apart, the last one as columns (%(default)s); without stage: the area"
        " under the curve; any column of load_runs",
    )
    add("--metric", help="only these, with commas between")
    add("--method", help="only these, with commas between")
    add("--digits", type=int, default=2, choices=range(7), help="after the point (%(default)s)")
    add("--csv", metavar="FILE", help="writes the table, one row a mean")
    add("--markdown", metavar="FILE", help="writes the table as printed")
    add("--latex", metavar="FILE", help="writes it for LaTeX (booktabs)")
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
        metavar="metric=[…]",
        help="computes scores from stored masks: checks those there, adds those of new metrics",
    )
    return parser


def _filter(scores: "pd.DataFrame", options: Namespace) -> "pd.DataFrame":
    for name in ("metric", "method"):
        if asked := getattr(options, name):
            known = list(dict.fromkeys(scores[name].astype(str)))
            wanted = asked.split(",")
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


def _text(table: "pd.DataFrame") -> str:
    """For the terminal: blocks of equal first keys, however many columns there are."""
    import pandas as pd

    with pd.option_context("display.width", None):
        return table.to_string(index_names=True)


def _write(table: "pd.DataFrame", options: Namespace) -> None:
    from sanity.analysis.means import caption, pivot
    from sanity.files import replace_file

    if options.csv:
        replace_file(_ready(options.csv), table.to_csv(index=False).encode())
    if not (options.markdown or options.latex):
        return
    wide = pivot(table, options.digits)
    about = caption(table)
    if options.markdown:
        text = f"{_markdown(wide)}\n\n{about[0].upper()}{about[1:]}.\n"
        replace_file(_ready(options.markdown), text.encode())
    if options.latex:
        replace_file(_ready(options.latex), _latex(wide, about).encode())


def _ready(name: str) -> Path:
    from sanity.files import writing

    path = Path(name)
    with writing(path):
        path.parent.mkdir(parents=True, exist_ok=True)
    return path


def _cells(table: "pd.DataFrame") -> tuple[list[str], list[list[str]]]:
    """Head and rows as text."""
    flat = table.reset_index()
    return [str(name) for name in flat.columns], flat.astype(str).to_numpy().tolist()


def _markdown(table: "pd.DataFrame") -> str:
    head, rows = _cells(table)
    keys = table.index.nlevels
    lines = [head, ["---"] * keys + ["---:"] * (len(head) - keys), *rows]
    return "\n".join(f"| {' | '.join(c.replace('|', chr(92) + '|') for c in r)} |" for r in lines)


def _latex(table: "pd.DataFrame", about: str) -> str:
    head, rows = _cells(table)
    keys = table.index.nlevels

    def line(cells: Sequence[str]) -> str:
        return " & ".join(map(_escape, cells)) + r" \\"

    body = "\n".join(map(line, rows))
    columns = "l" * keys + "r" * (len(head) - keys)
    return (
        f"% {about}\n\\begin{{tabular}}{{{columns}}}\n\\toprule\n{line(head)}\n\\midrule\n"
        f"{body}\n\\bottomrule\n\\end{{tabular}}\n"
    )


def _escape(text: str) -> str:
    special = {"\\": r"\textbackslash{}", "~": r"\textasciitilde{}", "^": r"\textasciicircum{}"}
    special |= {char: f"\\{char}" for char in "&%$#_{}"} | {"–": "--"}
    text = "".join(special.get(char, char) for char in text)
    # After \\ a bracket would be taken for an optional argument, and a minus is no hyphen.
    return f"{{{text}}}" if text.startswith("[") else text.replace("-0.", "$-$0.")


def _figure(scores: "pd.DataFrame", name: str) -> None:
    from sanity.report.figures.canvas import save
    from sanity.report.figures.curves import similarity_curves

    if scores["scheme"].nunique() > 1:  # a line for each scheme and method
        labels = scores["method"].astype(str) + (" · " + scores["scheme"]).where(
            scores["scheme"] != "", ""
        )
        scores = scores.assign(method=labels)
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
    from sanity.results.listing import find_runs

    for run in (a, b):
        if find_runs(run) != [run]:
            raise ConfigError(f"--diff {run} must be one run's folder")
    keys = differing_keys(a, b)
    print(f"A: {a}\nB: {b}\n")
    print("\n".join(f"{key}: {old} → {new}" for key, old, new in keys) or "no key differs")
    table = differences(a, b)
    table = table.rename(columns={"mean": "B − A"})
    print("\nscores at randomized stages, B − A, mean over images (p after Holm)")
    print(table.to_string(index=False, float_format=lambda value: f"{value:.3g}", na_rep="–"))


def _rescore(paths: Sequence[str], overrides: Sequence[str]) -> None:
    from sanity.experiment.rescore import chosen_metrics, rescore
    from sanity.results.listing import find_runs

    metrics, nodes = chosen_metrics(overrides)
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
