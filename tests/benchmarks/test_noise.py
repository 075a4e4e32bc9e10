import pytest

from benchmarks.noise import noisy_bank
from sdmad.phantoms.cases import MODALITIES, load_modality, load_wordings
from sdmad.signs import SignBank


@pytest.mark.parametrize("name", MODALITIES)
def test_each_category_gets_one_vague_and_one_wrong_sign(name):
    bank, modality = SignBank.load(name), load_modality(name)
    noisy = noisy_bank(bank, modality)
    words = load_wordings(name)["signs"]
    owner = {w: sign for sign, options in words.items() for w in options["held_out"]}
    assert noisy.names == bank.names
    for category, signs in noisy.categories.items():
        assert signs[:-2] == bank.categories[category]
        mine = modality.categories[category]
        assert owner[signs[-1]] not in (*mine.own, *mine.shared)
    added = [sentence for signs in noisy.categories.values() for sentence in signs[-2:]]
    assert len(set(added)) == len(added)
