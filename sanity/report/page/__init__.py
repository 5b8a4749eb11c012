"""One self-contained HTML page on one run or several."""
