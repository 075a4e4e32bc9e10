import shutil

import pytest

from sdmad import SignBank, load_backbone
from sdmad.method.selection import select_signs
from sdmad.signs.check import FAR_FROM_READ, NEAR_DUPLICATE, WORDINGS, check_bank, read_wordings
from sdmad.signs.provenance import Provenance


def make_bank(normal=("a plain picture",), **categories):
    return SignBank("bank", "picture", normal, categories)


def kinds(complaints):
    return {(c.kind, c.category, c.sentence) for c in complaints}


def test_a_sign_of_two_categories_is_reported_for_both(tiny_backbone):
    bank = make_bank(Ring=("a mark", "a ring"), Bar=("A mark", "a bar"), Dots=("dots", "points"))
    found = [c for c in check_bank(bank, tiny_backbone) if c.kind == "duplicate"]
    assert kinds(found) == {("duplicate", "Ring", "a mark"), ("duplicate", "Bar", "A mark")}
    assert "also a sign of Bar" in found[0].message


def test_a_sign_marked_as_shared_by_all_its_categories_is_no_duplicate(tiny_backbone):
    signs = {"Ring": ("a mark", "a ring"), "Bar": ("A mark", "a bar"), "Dots": ("dots", "points")}
    shared = Provenance(shared=True)
    marks = {("Ring", "a mark"): shared, ("Bar", "A mark"): shared}
    bank = SignBank("bank", "picture", ("a plain picture",), signs, marks)
    found = [c for c in check_bank(bank, tiny_backbone) if c.kind in ("duplicate", "shared")]
    assert kinds(found) == {("shared", "Ring", "a mark"), ("shared", "Bar", "A mark")}
    assert found[0].message == (
        "marked as shared with Bar: Eq. 6 discards it from all its categories, so it serves only "
        "with selection none"
    )
    discarded = [c.sentence for c in check_bank(bank, tiny_backbone) if c.kind == "discarded"]
    assert {"a mark"} <= set(discarded)


def test_a_sign_marked_as_shared_in_one_of_its_categories_stays_a_duplicate(tiny_backbone):
    signs = {"Ring": ("a mark", "a ring"), "Bar": ("a mark", "a bar")}
    marks = {("Ring", "a mark"): Provenance(shared=True)}
    bank = SignBank("bank", "picture", ("a plain picture",), signs, marks)
    found = [c for c in check_bank(bank, tiny_backbone) if c.kind in ("duplicate", "shared")]
    assert kinds(found) == {("duplicate", "Ring", "a mark"), ("duplicate", "Bar", "a mark")}


def test_a_sign_twice_in_one_category_but_for_its_case_is_reported(tiny_backbone):
    bank = make_bank(Ring=("a mark", "A Mark"), Bar=("a bar", "a line"))
    found = [c for c in check_bank(bank, tiny_backbone) if c.kind == "duplicate"]
    assert kinds(found) == {("duplicate", "Ring", "A Mark")}


def test_a_sign_that_is_also_normal_is_reported(tiny_backbone):
    bank = make_bank(("Nothing here",), Ring=("nothing here", "a ring"), Bar=("a bar", "line"))
    found = [c for c in check_bank(bank, tiny_backbone) if c.kind == "duplicate"]
    assert kinds(found) == {("duplicate", "Ring", "nothing here")}
    assert "normal sentence" in found[0].message


def test_a_category_of_one_sign_is_reported(tiny_backbone):
    bank = make_bank(Ring=("a ring",), Bar=("a bar", "a line"))
    found = [c for c in check_bank(bank, tiny_backbone) if c.kind == "one sign"]
    assert kinds(found) == {("one sign", "Ring", "a ring")}


def test_sentences_beyond_the_context_length_are_reported(tiny_backbone):
    limit = tiny_backbone.context_length
    fits, cut = "x" * (limit - 2), "y" * (limit - 1)
    bank = make_bank((cut,), Ring=(fits, "a ring"), Bar=(cut, "a bar"))
    found = [c for c in check_bank(bank, tiny_backbone) if c.kind == "cut"]
    assert kinds(found) == {("cut", "Bar", cut), ("cut", "normal", cut)}
    assert f"{limit + 1} tokens" in found[0].message
    assert f"context length of {limit}" in found[0].message


def test_near_duplicates_are_those_above_the_cosine(tiny_backbone):
    bank = make_bank(Ring=("a round ring", "a round rinG!"), Bar=("q", "0123456789"))
    features = tiny_backbone.encode_text(bank.sentences)
    cosine = (features @ features.T).tolist()
    expected = {
        (bank.sentences[a], bank.sentences[b])
        for a in range(4)
        for b in range(a + 1, 4)
        if cosine[a][b] >= NEAR_DUPLICATE
    }
    found = [c for c in check_bank(bank, tiny_backbone) if c.kind == "near-duplicate"]
    assert {c.sentence for c in found} == {a for a, _ in expected}
    for complaint in found:
        assert any(complaint.sentence == a and repr(b) in complaint.message for a, b in expected)


def test_signs_that_selection_would_discard_are_reported(small_bank, tiny_backbone):
    import torch

    features = tiny_backbone.encode_text(small_bank.sentences)
    keep = select_signs(features, torch.tensor(small_bank.category_index))
    expected = {s for s, kept in zip(small_bank.sentences, keep.tolist(), strict=True) if not kept}
    found = [c for c in check_bank(small_bank, tiny_backbone) if c.kind == "discarded"]
    assert {c.sentence for c in found} == expected


def test_far_signs_are_told_only_where_the_read_wordings_are_known(tiny_clip, tmp_path):
    folder = shutil.copytree(tiny_clip, tmp_path / "clip")
    backbone = load_backbone(folder)
    bank = make_bank(Ring=("a ring", "zzzz 9999"), Bar=("a bar", "a line"))
    assert read_wordings(backbone) == []
    assert not [c for c in check_bank(bank, backbone) if c.kind == "far"]
    (folder / WORDINGS).write_text("a ring\na bar\na line\n", encoding="utf-8")
    cosine = (
        backbone.encode_text(bank.sentences) @ backbone.encode_text(["a ring", "a bar", "a line"]).T
    ).amax(dim=1)
    expected = {
        s for s, c in zip(bank.sentences, cosine.tolist(), strict=True) if c < FAR_FROM_READ
    }
    found = {c.sentence for c in check_bank(bank, backbone) if c.kind == "far"}
    assert found == expected
    assert "a ring" not in found


@pytest.mark.parametrize("name", ["brain", "chest", "oct", "breast", "thyroid", "skin", "fundus"])
def test_the_packaged_banks_fit_the_packaged_backbone(name):
    """No sentence is cut, none stands in two categories, each category has several."""
    found = check_bank(SignBank.load(name), load_backbone("lite"))
    assert not [c for c in found if c.kind in ("cut", "duplicate", "one sign")]


def test_the_embedded_backbone_knows_what_it_has_read():
    read = read_wordings(load_backbone("lite"))
    assert len(read) > 241
    assert len(set(read)) == len(read)
    assert all(line == " ".join(line.split()) and line for line in read)
