import re

import numpy as np
import pytest

from pretraining.corpus import Captions, draw_seen_signs, held_out_pairs, training_captions
from pretraining.tokens import DroppingEncoder, learn_tokenizer
from sdmad.phantoms.cases import MODALITIES, load_modality

SIGN_WORDS = {"nodule", "mass"}


@pytest.fixture(params=MODALITIES)
def modality(request):
    return load_modality(request.param)


def test_unseen_signs_and_held_out_pairs_are_never_drawn(modality):
    held_out = held_out_pairs(modality.signs)
    assert held_out
    rng = np.random.default_rng(0)
    drawn = set()
    for view, signs in modality.views.items():
        for _ in range(600):
            chosen = draw_seen_signs(modality, view, rng)
            assert set(chosen) <= set(signs) - modality.unseen
            assert not any(pair <= set(chosen) for pair in held_out | modality.excludes)
            drawn |= set(chosen)
    assert drawn >= set(modality.signs) - modality.unseen


def test_held_out_pairs_hang_on_the_names_alone(modality):
    signs = modality.signs
    assert held_out_pairs(signs) == held_out_pairs(tuple(reversed(signs)))
    total = len(signs) * (len(signs) - 1) / 2
    assert 0.02 < len(held_out_pairs(signs)) / total < 0.3


def test_unseen_signs_are_never_spoken_of(modality):
    for held_out in (False, True):
        captions = Captions(modality, held_out)
        assert not modality.unseen & set(captions.signs)


def test_every_seen_sign_is_worded_and_some_wordings_are_held_out(modality):
    read, kept_back = Captions(modality), Captions(modality, held_out=True)
    assert set(read.signs) >= set(modality.signs) - modality.unseen
    assert kept_back.signs
    for sign, wordings in kept_back.signs.items():
        assert not set(wordings) & set(read.signs[sign])
    assert not set(kept_back.all_texts()) & {w for o in read.signs.values() for w in o}


def test_wordings_never_name_a_category_unless_the_name_is_a_sign(modality):
    names = {name.replace("_", " ").casefold() for name in modality.categories} - SIGN_WORDS
    for held_out in (False, True):
        for text in Captions(modality, held_out).all_texts():
            for name in names:
                assert not re.search(rf"\b{re.escape(name)}s?\b", text.casefold()), (name, text)


def test_a_sentence_claims_the_signs_that_it_words(modality):
    captions = Captions(modality)
    rng = np.random.default_rng(0)
    signs = sorted(captions.signs)
    for count in (0, 1, 2):
        for _ in range(20):
            said = [str(s) for s in rng.permutation(signs)[:count]]
            sentence = captions.sentence(said, rng)
            assert sentence.signs == frozenset(said)
            assert "{" not in sentence.text
            for sign in said:
                assert any(wording in sentence.text for wording in captions.signs[sign])
            if not said:
                assert any(wording in sentence.text for wording in captions.normal)


def test_encoding_without_dropping_gives_the_tokenizers_own_ids():
    texts = [t for captions in training_captions().values() for t in captions.all_texts()]
    tokenizer = learn_tokenizer(texts, merges=300, context_length=32)
    rng = np.random.default_rng(0)
    some = [str(t) for t in rng.permutation(sorted(set(texts)))[:200]]
    encoder = DroppingEncoder(tokenizer, some, rng)
    ids = encoder.encode(some, rng, share=0.0, length=32)
    expected = tokenizer(some, padding="longest", truncation=True, max_length=32)["input_ids"]
    assert ids.tolist() == expected
    dropped = encoder.encode(some, rng, share=1.0, length=32)
    assert dropped.tolist() != expected
    for row, text in zip(dropped, some, strict=True):
        kept = [
            i for i in row.tolist() if i not in (tokenizer.bos_token_id, tokenizer.eos_token_id)
        ]
        if len(kept) < 30:
            plain = "".join(tokenizer.convert_ids_to_tokens(kept)).replace("</w>", "")
            whole = tokenizer(text)["input_ids"][1:-1]
            assert plain == "".join(tokenizer.convert_ids_to_tokens(whole)).replace("</w>", "")


def test_an_unknown_word_of_a_user_has_tokens():
    tokenizer = learn_tokenizer(["a nodule", "haze"], merges=20, context_length=32)
    for word in ("zebra", "Ödem", "肺炎", "x²", "🫁"):
        ids = tokenizer(word)["input_ids"]
        assert len(ids) > 2
        assert tokenizer.decode(ids[1:-1]).replace(" ", "") == word.lower()
