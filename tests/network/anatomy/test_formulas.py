"""Arrays that formulas give are told from learned ones."""

import numpy as np
import pytest

from sanity.network.anatomy.formulas import follows_formula, has_two_values

DRAW = np.random.default_rng(0)
STEPS = np.linspace(-1, 1, 9)
LOGS = np.sign(STEPS) * np.log2(1 + 8 * np.abs(STEPS)) / 3  # Swin V2's
GRID = np.stack(np.meshgrid(LOGS, LOGS, indexing="ij"), -1)
ANGLES = np.arange(12)[:, None] * 100.0 ** (-np.arange(4) / 4)
SINES = np.concatenate([np.sin(ANGLES), np.cos(ANGLES)], 1)

FORMULAS = {
    "a row": np.arange(20.0),
    "a grid": GRID[None],
    "a grid in a list": GRID.reshape(-1, 2),
    "a grid, coordinates first": np.moveaxis(GRID, -1, 0),
    "sines, then cosines": SINES,
    "sines and cosines in turn": np.stack([np.sin(ANGLES), np.cos(ANGLES)], -1).reshape(12, 8),
    "of rows and of columns": np.concatenate([SINES, SINES[::-1]], 1),
    "behind a class token": np.concatenate([np.zeros((1, 8)), SINES]),
}


@pytest.mark.parametrize("kind", [np.float32, np.float16])
@pytest.mark.parametrize("name", FORMULAS)
def test_formulas_are_told(name, kind):
    assert follows_formula(FORMULAS[name].astype(kind))


@pytest.mark.parametrize("shape", [(2,), (512, 2), (64, 3, 3, 3), (1, 17, 8), (30,), (4, 5)])
def test_draws_are_none(shape):
    assert not follows_formula(DRAW.normal(size=shape).astype(np.float32))


@pytest.mark.parametrize(
    "values",
    [
        np.zeros((64, 2)),  # not trained
        np.ones(30),
        DRAW.integers(0, 2, (9, 2)) + DRAW.normal(size=(9, 1)),
        np.where(DRAW.random((40, 2)) < 0.5, 0, DRAW.normal(size=(40, 2))),  # pruned
        np.eye(4),
        DRAW.integers(-1, 2, (3, 3, 6, 3)),  # kernels of few bits
        DRAW.integers(0, 2, (3, 3, 3, 4)),
    ],
)
def test_these_neither(values):
    assert not follows_formula(values.astype(np.float32))


def test_what_masks_has_two_values():
    assert has_two_values(np.array([0, 0, -100.0]))
    assert not has_two_values(np.zeros(3)) and not has_two_values(np.arange(3.0))
