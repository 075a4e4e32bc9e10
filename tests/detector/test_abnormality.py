"""Log odds of any category, by hand and where chances round to 0 or 1."""

import numpy as np
import pytest
import torch

from sdmad.detector.abnormality import abnormality_beside_signs, any_of


def test_odds_of_any_by_hand():
    chances = np.array([[0.5, 0.75, 0.2], [0.1, 0.1, 0.1]])
    none = np.array([0.5 * 0.25 * 0.8, 0.9**3])
    odds = any_of(torch.tensor(chances).logit())
    np.testing.assert_allclose(odds, np.log((1 - none) / none), rtol=1e-12)


def test_one_category_is_itself_and_the_order_of_several_is_nothing():
    odds = torch.randn(5, 4, generator=torch.Generator().manual_seed(0)).double()
    torch.testing.assert_close(any_of(odds[:, :1]), odds[:, 0])
    torch.testing.assert_close(any_of(odds), any_of(odds.flip(1)))


@pytest.mark.parametrize("level", [-200.0, -50.0, 50.0, 200.0])
def test_small_and_large_odds_stay_numbers_in_order(level):
    odds = level + torch.tensor([[0.0, 0.0], [0.5, 0.0], [1.0, 0.0]])
    found = any_of(odds)
    assert found.isfinite().all()
    assert (found.diff() > 0).all()
    # Rare ones add up: log 2 above one of them; of likely ones, the odds multiply.
    expected = level + np.log(2) if level < 0 else 2 * level
    assert float(found[0]) == pytest.approx(expected, rel=1e-5)


def test_the_signs_are_added():
    odds, signs = torch.zeros(2, 1), torch.tensor([0.25, -1.0])
    assert abnormality_beside_signs(odds, signs).tolist() == [0.25, -1.0]
