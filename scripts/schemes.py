"""How much a verdict depends on the scheme: similarity by stage under several randomizations.

Usage: python scripts/schemes.py FOLDER OUTPUT.png, where FOLDER holds runs of several
randomizations with the methods gradient and guided_backprop and the metric ssim, such as those of
docs/randomizations.md. It draws a panel a scheme, means over images and seeds, and prints the table
that stands there.
"""

import argparse

import pandas as pd
from matplotlib.figure import Figure

import sanity
from sanity.report.style import method_style


def schemes(folder: str) -> pd.DataFrame:
    """Mean similarity over images and seeds: randomization, method, stage, layer, value."""
    scores = sanity.load_runs(folder, metric="ssim")
    group = ["randomization", "method", "stage", "layer"]
    return scores.groupby(group, observed=True, sort=False)["value"].mean().reset_index()


def figure(means: pd.DataFrame) -> Figure:
    """A panel a scheme, one line a method, over the stages."""
    names = list(means["randomization"].unique())
    fig = Figure(figsize=(9, 5.2), layout="constrained")
    axes = fig.subplots(2, -(-len(names) // 2), sharex=True, sharey=True, squeeze=False).ravel()
    for ax, name in zip(axes, names, strict=False):
        rows = means[means["randomization"] == name]
        for method, line in rows.groupby("method", observed=True, sort=False):
            color = method_style(str(method)).color
            marker = "o" if len(line) == 2 else None
            ax.plot(line["stage"], line["value"], label=method, marker=marker, color=color)
        if rows.loc[rows["stage"] > 0, "value"].isna().all():
            ax.text(0.5, 0.5, "constant masks:\nno score", ha="center", transform=ax.transAxes)
        ax.set_title(name, loc="left", fontsize=10)
        ax.set_ylim(0, 1.02)
        ax.spines[["top", "right"]].set_visible(False)
    for ax in axes[len(names) :]:
        ax.set_axis_off()
    axes[0].legend(frameon=False, fontsize=9)
    fig.supxlabel("stage", fontsize=10)
    fig.supylabel("SSIM to the original mask", fontsize=10)
    return fig


def table(means: pd.DataFrame, predictions: pd.DataFrame) -> pd.DataFrame:
    """Guided Backprop / Gradient at some stages, and the share between images at the last."""
    result = {}
    for name in means["randomization"].unique():
        rows = means[means["randomization"] == name]
        last = rows["stage"].max()
        values = rows.set_index(["method", "stage"])["value"]
        cells = {}
        for title, stage in (("stage 1", 1), ("stage 10", 10), ("last stage", last)):
            if stage <= last:
                pair = values["guided_backprop", stage], values["gradient", stage]
                cells[title] = " / ".join("none" if pd.isna(v) else f"{v:.2f}" for v in pair)
        end = predictions[(predictions["randomization"] == name) & (predictions["stage"] == last)]
        cells["share between images"] = f"{end['between_share'].mean():.1g}"
        result[name] = cells
    return pd.DataFrame(result).T.fillna("")


def main() -> None:
    """Draws the panels and prints the table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("folder")
    parser.add_argument("output", help=".png, .pdf or .svg")
    asked = parser.parse_args()
    means = schemes(asked.folder)
    figure(means).savefig(asked.output, dpi=130)
    print(table(means, sanity.load_predictions(asked.folder)).to_string())


if __name__ == "__main__":
    main()
