"""Figures: masks by method and stage, the article's panels, similarity by stage; and saving them.

Pure functions from arrays and tables to Matplotlib figures, by the object-oriented interface alone.
Their look depends neither on a matplotlibrc nor on the caller's settings. Names are shown
literally, never read as formulas.
"""

from sanity.report.display import absolute_limits, channel_abs, channel_sum, signed_limits
from sanity.report.figures.article import article_stage
from sanity.report.figures.canvas import save, save_pages
from sanity.report.figures.curves import similarity_curves
from sanity.report.figures.grid import grid_pages, mask_grid
from sanity.report.figures.means import stage_means

__all__ = [
    "absolute_limits",
    "article_stage",
    "channel_abs",
    "channel_sum",
    "grid_pages",
    "mask_grid",
    "save",
    "save_pages",
    "signed_limits",
    "similarity_curves",
    "stage_means",
]
