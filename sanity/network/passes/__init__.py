"""Rewritten graphs: faster ones, other gradients, other statistics."""
