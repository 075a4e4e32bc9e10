import pytest

from sdmad import SignBank
from sdmad.errors import InputError
from sdmad.signs.bank import list_banks
from sdmad.signs.noise import KINDS, add_noise, halves
from sdmad.signs.provenance import Provenance


def added_to(noisy, category):
    """The added sentences of a category, by what they are."""
    index = noisy.bank.names.index(category)
    return [
        (mark, sentence)
        for mark, sentence, owner in zip(
            noisy.added, noisy.bank.sentences, noisy.bank.category_index, strict=True
        )
        if mark and owner == index
    ]


def sentences_added(noisy):
    return [s for name in noisy.bank.names for _, s in added_to(noisy, name)]


@pytest.mark.parametrize("name", list_banks())
@pytest.mark.parametrize("kind", KINDS)
def test_every_packaged_bank_takes_eight_of_each_kind(name, kind):
    bank = SignBank.load(name)
    noisy = add_noise(bank, kind, 8, seed=1)
    assert noisy.bank.names == bank.names
    assert noisy.bank.normal == bank.normal
    for category, signs in bank.categories.items():
        assert noisy.bank.categories[category][: len(signs)] == signs
        assert len(added_to(noisy, category)) == 8
    known = {s.casefold() for s in (*bank.sentences, *bank.normal)}
    new = [s.casefold() for s in sentences_added(noisy)]
    assert len(set(new)) == len(new)
    assert known.isdisjoint(new)


@pytest.mark.parametrize("kind", KINDS)
def test_more_noise_keeps_the_sentences_of_less(small_bank, kind):
    few, many = add_noise(small_bank, kind, 2, seed=5), add_noise(small_bank, kind, 6, seed=5)
    for category in small_bank.names:
        assert added_to(many, category)[:2] == added_to(few, category)


def test_the_seed_decides_which_sentences(small_bank):
    one = add_noise(small_bank, "mixture", 4, seed=0)
    assert one == add_noise(small_bank, "mixture", 4, seed=0)
    assert one.bank != add_noise(small_bank, "mixture", 4, seed=1).bank


def test_a_vague_sentence_names_the_modality_and_no_sign(small_bank):
    words = {w for s in small_bank.sentences for w in s.split()} - {"a", "an"}
    for sentence in sentences_added(add_noise(small_bank, "vague", 8, seed=0)):
        assert "picture" in sentence
        assert words.isdisjoint(sentence.split())


def test_a_wrong_sentence_is_of_another_category_or_of_none(small_bank):
    noisy = add_noise(small_bank, "wrong", 4, seed=2)
    foreign = {
        "Ring": {"Bar", "Dots"},
        "Bar": {"Ring", "Dots"},
        "Dots": {"Ring", "Bar"},
    }
    crossed = {
        name: {halves(a, b, ()) for a, b in (signs, signs[::-1])}
        for name, signs in small_bank.categories.items()
    }
    for category, others in foreign.items():
        theirs = set().union(*(crossed[other] for other in others))
        words = [sentence for _, sentence in added_to(noisy, category)]
        assert words[0] in theirs
        assert "picture" in words[1]
        assert words[1] not in theirs


def test_a_bank_of_one_category_gets_findings_that_no_image_shows():
    bank = SignBank("one", "CT", ("a normal CT",), {"Mass": ("a dark mass", "a round mass")})
    words = sentences_added(add_noise(bank, "wrong", 4, seed=0))
    assert all("CT" in sentence and "mass" not in sentence for sentence in words)


def test_a_duplicate_holds_a_sign_of_its_own_category(small_bank):
    noisy = add_noise(small_bank, "duplicate", 2, seed=0)
    for category, signs in small_bank.categories.items():
        words = [sentence for _, sentence in added_to(noisy, category)]
        held = [[sign for sign in signs if sign in sentence] for sentence in words]
        assert sorted(held) == sorted([sign] for sign in signs)


def test_a_mixture_takes_turns(small_bank):
    noisy = add_noise(small_bank, "mixture", 4, seed=0)
    for category in small_bank.names:
        marks = [mark for mark, _ in added_to(noisy, category)]
        assert marks == ["vague", "wrong", "duplicate", "vague"]
    alone = {kind: add_noise(small_bank, kind, 1, seed=0) for kind in ("vague", "wrong")}
    for place, kind in enumerate(alone):
        assert added_to(noisy, "Ring")[place] == added_to(alone[kind], "Ring")[0]


def test_no_noise_leaves_the_bank_as_it_is():
    marks = {("Ring", "a ring"): Provenance(shared=True)}
    bank = SignBank("b", "picture", ("plain",), {"Ring": ("a ring", "a circle")}, marks)
    clean = add_noise(bank, "vague", 0, seed=0)
    assert clean.bank == bank
    assert clean.added == ("", "")
    assert add_noise(bank, "vague", 1, seed=0).bank.provenance(0).shared


def test_halves_are_cut_at_the_joint_nearest_the_middle():
    joints = ("with", "of")
    assert halves("brain with a dark rim of blood", "a b c d with e", joints) == (
        "brain with a dark rim with e"
    )
    assert halves("one two three four", "five six seven eight", joints) == "one two seven eight"
    assert halves("bright mass, with fluid", "x of y", joints) == "bright mass, of y"
    assert halves("alone", "other", joints) == "alone"


def test_what_cannot_be_added_is_told(small_bank):
    with pytest.raises(InputError, match=r"no noise 'loud'.*vague"):
        add_noise(small_bank, "loud", 1, 0)
    with pytest.raises(InputError, match="0 or more"):
        add_noise(small_bank, "vague", -1, 0)
    with pytest.raises(InputError, match="not enough vague sentences for 'Bar'; add fewer"):
        add_noise(small_bank, "vague", 54, 0)
