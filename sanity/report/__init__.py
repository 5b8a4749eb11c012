"""What people look at: figures, the page, the few lines that a run ends with."""
