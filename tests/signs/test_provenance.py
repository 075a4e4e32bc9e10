import pytest

from sdmad import SDMAD, SDMADConfig, SignBank
from sdmad.errors import InputError
from sdmad.signs import Provenance

SHA256 = "ab" * 32
PAGE = Provenance("https://example.org/page", shared=True)


def test_the_source_follows_from_the_model():
    assert Provenance().source == "author"
    assert Provenance(model="m").source == "model"
    assert Provenance("author", model="m").source == "author"
    assert not Provenance().is_page
    assert not Provenance(model="m").is_page
    assert Provenance("http://example.org").is_page


@pytest.mark.parametrize(
    ("parts", "short", "kept"),
    [
        ({}, "author", {}),
        ({"shared": True}, "author, shared", {"shared": True}),
        ({"model": "m"}, "m", {"model": "m"}),
        ({"source": "author", "model": "m"}, "m", {"source": "author", "model": "m"}),
        (
            {"source": "https://e.org/x", "model": " m\n1 ", "date": "2026-01-31", "edited": True},
            "m 1, https://e.org/x, 2026-01-31, edited",
            {"source": "https://e.org/x", "model": "m 1", "date": "2026-01-31", "edited": True},
        ),
        (
            {"prompt_sha256": SHA256, "model": "m"},
            "m, prompt abababababab",
            {"model": "m", "prompt_sha256": SHA256},
        ),
    ],
)
def test_what_is_shown_and_kept(parts, short, kept):
    provenance = Provenance(**parts)
    assert provenance.short() == short
    assert provenance.to_dict() == kept
    assert Provenance(**provenance.to_dict()) == provenance


@pytest.mark.parametrize(
    ("parts", "message"),
    [
        ({"source": None}, "'source' must be text, got NoneType"),
        ({"model": 3}, "'model' must be text, got int"),
        ({"model": "a\x07"}, "'model' holds characters that cannot be printed"),
        ({"date": 20260131}, "'date' must be a day as YYYY-MM-DD, got 20260131"),
        ({"date": "2026-13-01"}, "'date' must be a day"),
        ({"date": "\uff12\uff10\uff12\uff16-01-01"}, "'date' must be a day"),
        ({"prompt_sha256": 5}, "64 lower-case hexadecimal digits"),
        ({"prompt_sha256": "AB" * 32}, "64 lower-case hexadecimal digits"),
        ({"edited": "yes"}, "'edited' must be true or false, got 'yes'"),
        ({"shared": 1}, "'shared' must be true or false, got 1"),
        ({"source": "javascript:alert(1)"}, "must be author, model or an http"),
        ({"source": "https://user@example.org/"}, "holds a user name or a password"),
    ],
)
def test_malformed_parts(parts, message):
    with pytest.raises(InputError, match=message):
        Provenance(**parts)


def test_a_saved_model_keeps_the_origins(small_bank, tiny_backbone, pictures, tmp_path):
    first = small_bank.names[0], small_bank.sentences[0]
    origins = {first: Provenance(model="tiny:1b"), ("normal", small_bank.normal[0]): PAGE}
    bank = SignBank(
        small_bank.name, small_bank.modality, small_bank.normal, small_bank.categories, origins
    )
    SDMAD(bank, tiny_backbone, SDMADConfig(epochs=0)).fit(*pictures).save(tmp_path / "model")
    loaded = SDMAD.load(tmp_path / "model", tiny_backbone)
    assert loaded.bank_ == bank
    assert loaded.bank_.provenance(0).model == "tiny:1b"
    assert loaded.bank_.normal_provenance(0) == PAGE
    loaded.save(tmp_path / "again")
    kept = (tmp_path / "model" / "bank.yaml").read_bytes()
    assert (tmp_path / "again" / "bank.yaml").read_bytes() == kept
