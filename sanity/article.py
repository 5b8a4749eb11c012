"""What the article that this project reproduces prints and draws at each stage."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.figure import Figure

    from sanity.randomization import Stage


def printed(stage: "Stage", frame: "pd.DataFrame", class_names: Sequence[str] | None) -> list[str]:
    """The article's lines on a stage: what was randomized, and what is predicted now.

    Args:
        stage: The stage.
        frame: Its predictions, a row an image.
        class_names: The model's, if known.
    """
    lines = [f"Randomized: {name}" for name in stage.new]
    several = len(frame) > 1
    for row in frame.to_dict("records"):
        number = row["target"]
        target = class_names[number] if class_names else f"class {number}"
        called = target.split(",")[0].capitalize()
        named = f" ({row['predicted_name']})" if class_names else ""
        lines.append(
            (f"{row['image']}: " if several else "")
            + f"Predicted Label: {row['predicted']}{named} {called}: "
            + f"{row['target_probability']:.8f}"
        )
    return lines


def stage_figure(
    image: np.ndarray,
    masks: Mapping[str, np.ndarray],
    stage: int,
    change: str,
    predicted: str,
) -> "Figure":
    """The article's figure of a stage: the image and its masks, six panels for five methods.

    Args:
        image: (H, W, C).
        masks: (H, W) or (H, W, C) by method.
        stage: Its index.
        change: What sets it apart from stage 0, as `Stage.change`.
        predicted: What the network says now.
    """
    from sanity.report.figures import article_stage

    return article_stage(image, masks, f"stage {stage}, {change}: {predicted}")
