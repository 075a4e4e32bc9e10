"""The packaged banks: what each holds, where its sentences come from, what its page says."""

import re
from collections import Counter
from pathlib import Path

import pytest

from sdmad import SignBank, load_backbone
from sdmad.data.labels import canonical_name
from sdmad.data.sets import chestxray8, fastmri_plus, oct17
from sdmad.phantoms.cases import MODALITIES
from sdmad.signs import list_banks
from sdmad.signs.bank import NORMAL
from sdmad.signs.check import check_bank

PAGE = Path(__file__).parents[2] / "docs" / "signs.md"
CATEGORIES = {
    "chestxray8": [
        *("Atelectasis", "Cardiomegaly", "Effusion", "Infiltration", "Mass", "Nodule"),
        *("Pneumonia", "Pneumothorax", "Consolidation", "Edema", "Emphysema", "Fibrosis"),
        *("Pleural_Thickening", "Hernia"),
    ],
    "oct17": ["CNV", "DME", "DRUSEN"],
    "fastmri_plus": [
        *("Craniotomy", "Posttreatment change", "Nonspecific lesion", "Dural thickening"),
        *("Enlarged ventricles", "Small vessel chronic white matter ischemic change"),
    ],
    "brain_tumor": ["glioma", "meningioma", "pituitary"],
    "bmad_brain": ["abnormal"],
    "bmad_chest": ["abnormal"],
    "bmad_histopathology": ["abnormal"],
    "bmad_liver": ["abnormal"],
    "bmad_oct2017": ["abnormal"],
    "bmad_resc": ["abnormal"],
}
NAMED_IN_A_SIGN = {("fastmri_plus", "Craniotomy")}
"""The paper's own example names what is seen; elsewhere a sign describes and does not diagnose."""


@pytest.fixture(params=sorted(CATEGORIES))
def bank(request):
    return SignBank.load(request.param)


def test_the_packaged_banks_are_those_of_phantoms_and_of_data_sets():
    assert list_banks() == sorted([*MODALITIES, *CATEGORIES])


def test_the_categories_are_spelled_as_in_the_data_set(bank):
    assert list(bank.names) == CATEGORIES[bank.name]


@pytest.mark.parametrize("data_set", [chestxray8, fastmri_plus, oct17])
def test_the_categories_are_those_that_the_data_set_gives(data_set):
    name = data_set.__name__.rpartition(".")[2]
    assert SignBank.load(name).names == data_set.CATEGORIES


def test_a_category_has_6_to_12_signs_and_a_bank_3_normal_sentences(bank):
    for name, signs in bank.categories.items():
        assert 6 <= len(signs) <= 12, name
    assert len(bank.normal) >= 3


def words(sentence):
    """What stays of a sentence when case and marks do not count."""
    return " ".join(re.findall(r"[a-z0-9]+", sentence.casefold()))


def test_no_sentence_stands_twice(bank):
    counts = Counter(words(sentence) for sentence in (*bank.sentences, *bank.normal))
    assert [sentence for sentence, count in counts.items() if count > 1] == []


def test_sentences_are_short_and_plain(bank):
    """Far below CLIP's 77 tokens: a word takes some one and a half."""
    for sentence in (*bank.sentences, *bank.normal):
        assert 3 <= len(sentence.split()) <= 15, sentence
        assert len(sentence) <= 80, sentence
        assert sentence.isascii(), sentence
        assert not sentence.endswith("."), sentence


def test_sentences_say_what_is_there(bank):
    """Text towers read a negated word much as the word itself."""
    for sentence in (*bank.sentences, *bank.normal):
        assert not {"no", "not", "without"} & set(words(sentence).split()), sentence


def test_a_sign_describes_and_does_not_name_its_category(bank):
    naming = {
        (bank.name, bank.names[owner])
        for sentence, owner in zip(bank.sentences, bank.category_index, strict=True)
        if canonical_name(bank.names[owner]) in canonical_name(sentence)
    }
    assert naming <= NAMED_IN_A_SIGN


def test_no_sign_names_another_category(bank):
    for sentence, owner in zip(bank.sentences, bank.category_index, strict=True):
        for other in set(bank.names) - {bank.names[owner]}:
            assert canonical_name(other) not in canonical_name(sentence), (sentence, other)


def test_a_source_is_the_author_or_a_page(bank):
    for provenance in map(bank.provenance, range(len(bank.sentences))):
        assert provenance.source == "author" or provenance.source.startswith("https://")
        assert not provenance.model
        assert not provenance.edited


def test_shared_signs_are_marked_in_two_categories_at_least(bank):
    shared = {name for (name, _), origin in bank.origins.items() if origin.shared}
    assert len(shared) != 1
    assert NORMAL not in shared


def test_the_round_trip_keeps_the_origins(bank):
    again = SignBank.parse(bank.to_yaml(), bank.name, "again")
    assert again == bank
    assert again.origins == bank.origins


def test_the_check_finds_no_fault_of_structure(bank):
    """Nothing is cut or doubled; what is far from the phantoms' wordings is no fault here."""
    found = check_bank(bank, load_backbone("lite"))
    assert not [c for c in found if c.kind in ("cut", "duplicate", "one sign")]


def test_the_phantom_banks_are_all_their_authors():
    for name in MODALITIES:
        assert not SignBank.load(name).origins


def test_the_page_lists_every_bank_with_its_categories():
    rows = re.findall(r"^\| `(\w+)` \|.*\| (\d+) \|$", PAGE.read_text(encoding="utf-8"), re.M)
    assert dict(rows) == {name: str(len(SignBank.load(name).names)) for name in list_banks()}
    assert len(rows) == len(list_banks())


def test_the_page_lists_every_source_and_no_other():
    page = PAGE.read_text(encoding="utf-8")
    listed = re.findall(r"^- <(https://\S+)>$", page, re.M)
    used = {
        origin.source
        for name in list_banks()
        for origin in SignBank.load(name).origins.values()
        if origin.is_page
    }
    assert len(listed) == len(set(listed))
    assert set(listed) == used


def test_the_example_on_the_page_is_a_bank():
    (example,) = re.findall(r"^```yaml\n(.*?)^```$", PAGE.read_text(encoding="utf-8"), re.M | re.S)
    bank = SignBank.parse(example, "example", "the page")
    assert bank.provenance(0).source == "author"
    assert bank.provenance(1).is_page
    assert bank.provenance(2).model
    assert bank.provenance(2).edited
    assert bank.provenance(2).shared
