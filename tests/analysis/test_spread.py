"""What lies between images, told from parts."""

import numpy as np
import pytest

from sanity.analysis.spread import Heard, Spread, between_share


@pytest.mark.parametrize("apart", [0.05, 0.2, 1.0])
def test_the_share_at_features_is_that_of_many_random_outputs(apart):
    draw = np.random.default_rng(0)
    features = draw.random(40) + apart * draw.normal(size=(30, 40))
    outputs = features @ draw.normal(size=(40, 4000))
    found = (Spread.of(features[:7]) + Spread.of(features[7:])).feature_share
    assert found == pytest.approx(between_share(outputs), rel=0.1)
    assert found == pytest.approx(Spread.of(1e6 * features).feature_share, rel=1e-9)
    assert np.isnan(Spread.of(features[:1]).feature_share)


@pytest.mark.parametrize("offset", [0.0, 1e5])  # a dead network's images hardly differ
@pytest.mark.parametrize("cuts", [[], [1], [1, 2, 9], [4, 5]])
def test_parts_add_up_to_the_whole(cuts, offset):
    logits = offset + np.random.default_rng(1).normal(size=(12, 30))
    first, *rest = (Spread.of(part) for part in np.split(logits, cuts))
    together = sum(rest, start=first)
    between = np.var(logits, axis=0, ddof=1).mean()
    common = max(np.var(logits.mean(axis=0)) - between / 12, 0)
    assert together.between_share == pytest.approx(between / (between + common), rel=1e-9)
    np.testing.assert_allclose(together.mean, logits.mean(axis=0), rtol=1e-12)


@pytest.mark.parametrize("outputs", [1, 2, 4, 30])
@pytest.mark.parametrize("featured", [True, False])
def test_what_was_heard_comes_back_from_a_file(outputs, featured):
    draw = np.random.default_rng(2)
    parts = [
        Heard(
            Spread.of(draw.normal(size=(n, outputs))),
            Spread.of(1 + draw.normal(size=(n, 5))) if featured else None,
        )
        for n in (3, 4)
    ]
    stored = [Heard.unpacked(part.packed()) for part in parts]
    assert (stored[0] + stored[1]).share == (parts[0] + parts[1]).share
    assert (parts[0].features is None) == (stored[0].features is None)
    if featured and outputs <= 2:
        share = (parts[0].features + parts[1].features).feature_share
        assert (stored[0] + stored[1]).share == share


def test_outputs_that_never_change_are_not_excused_by_features():
    alive = Spread.of(np.random.default_rng(3).normal(size=(6, 8)))
    assert Heard(Spread.of(np.full((6, 2), 3.0) + [[0, 1]]), alive).share == 0
    assert Heard(Spread.of(np.arange(6.0)[:, None]), alive).share == alive.feature_share
