import pytest

from sdmad import SignBank
from sdmad.signs.diff import MOST_PAIRS, Change, diff_banks

OLD = SignBank(
    "old",
    "picture",
    ("a plain picture", "an empty sheet"),
    {
        "Ring": ("a round ring", "an open circle", "a curved edge"),
        "Long_bar": ("a long bar", "an upright line"),
    },
)


def changed(normal=OLD.normal, modality="picture", **categories):
    found = {"Ring": OLD.categories["Ring"], "Long_bar": OLD.categories["Long_bar"], **categories}
    return SignBank("new", modality, normal, {n: s for n, s in found.items() if s})


def test_equal_banks_have_no_change():
    assert diff_banks(OLD, changed()) == []


def test_the_order_does_not_count():
    assert diff_banks(OLD, changed(Ring=tuple(reversed(OLD.categories["Ring"])))) == []


@pytest.mark.parametrize(
    ("new", "changes"),
    [
        (changed(modality="photo"), [Change("modality", "", "picture", "photo")]),
        (
            changed(Ring=(*OLD.categories["Ring"], "many tiny rings")),
            [Change("added", "Ring", "", "many tiny rings")],
        ),
        (changed(Ring=("a round ring", "an open circle")),
         [Change("removed", "Ring", "a curved edge", "")]),
        (
            changed(Ring=("a round ring", "an open circle", "a strongly curved edge")),
            [Change("reworded", "Ring", "a curved edge", "a strongly curved edge")],
        ),
        (
            changed(
                Ring=("a round ring", "an open circle"),
                Long_bar=("a long bar", "a curved edge", "an upright line"),
            ),
            [Change("moved", "Ring", "a curved edge", "Long_bar")],
        ),
        (
            changed(Long_bar=(*OLD.categories["Long_bar"], "a curved edge")),
            [Change("added", "Long_bar", "", "a curved edge")],
        ),
        (
            changed(normal=("a plain picture", "one empty sheet")),
            [Change("reworded", "normal", "an empty sheet", "one empty sheet")],
        ),
        (
            changed(Dots=("many dots",)),
            [
                Change("category added", "Dots", "", "Dots"),
                Change("added", "Dots", "", "many dots"),
            ],
        ),
        (
            changed(Ring=()),
            [
                Change("category removed", "Ring", "Ring", ""),
                *(Change("removed", "Ring", sign, "") for sign in OLD.categories["Ring"]),
            ],
        ),
        (
            changed(**{"Long_bar": (), "long bar": ("a long bar", "a line")}),
            [
                Change("category renamed", "Long_bar", "Long_bar", "long bar"),
                Change("removed", "Long_bar", "an upright line", ""),
                Change("added", "Long_bar", "", "a line"),
            ],
        ),
    ],
)  # fmt: skip
def test_each_change_is_told(new, changes):
    assert diff_banks(OLD, new) == changes


def test_the_most_alike_are_paired():
    """Word ratios: 2*3/7 for the pair that shares three of 4 and 3 words, 2*2/6 for the other."""
    old = SignBank("a", "x", ("n",), {"Ring": ("one two three", "one two nine")})
    new = SignBank("b", "x", ("n",), {"Ring": ("one two three four",)})
    assert diff_banks(old, new) == [
        Change("reworded", "Ring", "one two three", "one two three four"),
        Change("removed", "Ring", "one two nine", ""),
    ]


def test_very_long_categories_are_not_compared_pair_by_pair():
    count = int(MOST_PAIRS**0.5) + 1
    old = SignBank("a", "x", ("n",), {"Ring": tuple(f"sign number {i}" for i in range(count))})
    new = SignBank("b", "x", ("n",), {"Ring": tuple(f"sign number {i}!" for i in range(count))})
    kinds = [change.kind for change in diff_banks(old, new)]
    assert kinds == ["removed"] * count + ["added"] * count


def test_a_change_names_the_old_banks_sign_that_it_touches():
    assert Change("moved", "Ring", "a", "Bar").sign == ("Ring", "a")
    assert Change("reworded", "Ring", "a", "b").sign == ("Ring", "a")
    assert Change("added", "Ring", "", "b").sign is None
    assert Change("removed", "normal", "a", "").sign is None
    assert Change("category removed", "Ring", "Ring", "").sign is None
