"""Prints verdict beside truth, for the runs of `experiment=known_truth` below a folder."""

import argparse
from collections import Counter
from pathlib import Path

from sanity.files import read_json
from sanity.models.known import TRUTHS
from sanity.results import find_runs
from sanity.results.recorded import configuration


def main() -> None:
    """A row a network and method; a verdict that all seeds share stands once."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    folder = parser.parse_args().folder
    found: dict[tuple[str, str], Counter[str]] = {}
    for run in find_runs(folder):
        network = configuration(run)["model"]["network"]
        for row in (read_json(run / "run.json") or {})["verdicts"]:
            if row["primary"]:
                found.setdefault((network, row["method"]), Counter())[row["verdict"]] += 1
    print("| network | method | truth | verdict |\n|---|---|---|---|")
    for network, truths in TRUTHS.items():
        for method, truth in truths.items():
            words = found.get((network, method), Counter())
            said = ", ".join(f"{word} ({n})" for word, n in words.items())
            print(f"| {network} | {method} | {truth} | {said} |")


if __name__ == "__main__":
    main()
