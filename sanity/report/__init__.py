"""What people look at: the look of each method, and figures."""
