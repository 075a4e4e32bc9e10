import numpy as np
import pytest
import torch
from sklearn.metrics import roc_auc_score

from sdmad import SignBank
from sdmad.errors import InputError
from sdmad.signs.measure import MOST_SIGNS, measure_signs, sign_auroc

VECTORS = {
    "a ring": (1.0, 0.0),
    "a circle": (0.8, 0.6),
    "a bar": (0.0, 1.0),
    "an arc": (0.6, 0.8),
}


class Plane:
    """A text tower in the plane; reads four tokens."""

    context_length = 4

    def encode_text(self, sentences):
        return torch.tensor([VECTORS[s] for s in sentences], dtype=torch.float64)

    def token_counts(self, sentences):
        return [len(s) for s in sentences]


@pytest.fixture
def bank():
    return SignBank("b", "x", ("n",), {"Ring": ("a ring", "a circle"), "Bar": ("a bar", "an arc")})


def test_distances_are_those_worked_by_hand(bank):
    """Cosines: ring-circle 0.8, ring-bar 0, ring-arc 0.6, circle-bar 0.6, circle-arc 0.96."""
    found = measure_signs(bank, Plane())
    np.testing.assert_allclose(found.own, [0.2, 0.2, 0.2, 0.2])
    np.testing.assert_allclose(found.foreign, [0.4, 0.04, 0.4, 0.04])
    assert found.nearest_foreign.tolist() == [3, 3, 1, 1]
    assert found.keep.tolist() == [True, False, True, False]
    assert found.tokens.tolist() == [6, 8, 5, 6]
    np.testing.assert_allclose(found.cosine[1], [0.8, 1.0, 0.6, 0.96])
    signs = found.sign_table()
    assert signs.header[-1] == "Tokens"
    assert signs.rows[1] == (
        "Ring", "a circle", "0.200", "0.040", "an arc (Bar)", "discarded", "8 (cut)",
    )  # fmt: skip
    assert found.category_table().rows[0] == ("Ring", "2", "1", "2", "0.80", "0.54")


def test_a_lone_sign_of_a_lone_category_has_no_distance():
    found = measure_signs(SignBank("b", "x", ("n",), {"Ring": ("a ring",)}), Plane())
    assert found.sign_table().rows[0][2:6] == ("n/a", "n/a", "", "kept")
    assert found.category_table().rows[0][4:] == ("n/a", "n/a")


def test_each_sign_is_judged_by_its_own_auroc(bank):
    rng = np.random.default_rng(0)
    labels = rng.integers(0, 2, (30, 2)).astype(float)
    similarity = rng.normal(size=(30, 4))
    labels[3, 0] = np.nan
    similarity[7] = np.nan
    found = sign_auroc(labels, similarity, bank.category_index)
    for sign, category in enumerate(bank.category_index):
        rows = [i for i in range(30) if i != 7 and not np.isnan(labels[i, category])]
        assert found[sign] == roc_auc_score(labels[rows, category], similarity[rows, sign])


def test_the_tables_show_the_auroc_where_it_is_known(bank):
    from dataclasses import replace

    found = replace(measure_signs(bank, Plane()), auroc=np.array([0.5, 1.0, np.nan, np.nan]))
    assert found.sign_table().header[-1] == "AUROC"
    assert [row[-1] for row in found.sign_table().rows] == ["50.0", "100.0", "n/a", "n/a"]
    assert [row[-2:] for row in found.category_table().rows] == [("75.0", "100.0"), ("n/a", "n/a")]


def test_a_bank_too_large_to_compare_is_refused():
    signs = tuple(f"sign {i}" for i in range(MOST_SIGNS + 1))
    with pytest.raises(InputError, match="3,001 signs"):
        measure_signs(SignBank("b", "x", ("n",), {"Ring": signs}), Plane())
