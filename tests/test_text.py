import pytest

from sdmad.data.plane import ImageError
from sdmad.errors import SDMADError
from sdmad.text import AS_BYTES, LONGEST, readable


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("plain, Ödem, 鼻 and\u3000more", "plain, Ödem, 鼻 and\u3000more"),
        ("a\x1b[2J\r\nb\x00\t", r"a\x1b[2J\r\nb\x00\t"),
        ("\u202egnp.exe", r"\u202egnp.exe"),
        ("img\udcff.png", r"img\udcff.png"),
        ("\u2028\x85\ufeff", r"\u2028\x85\ufeff"),
    ],
)
def test_control_characters_become_escapes(text, shown):
    assert readable(text) == shown
    assert str(SDMADError(text)) == shown


@pytest.mark.parametrize("letter", ["x", "\x1b", "\U000e0001"])
def test_messages_are_bounded(letter):
    error = ImageError(f"first {letter * 9_000_000} last")
    assert len(str(error)) == LONGEST
    assert str(error).startswith("first ")
    assert str(error).endswith(" last")
    assert readable("x" * LONGEST) == "x" * LONGEST


def test_what_an_encoding_cannot_hold_is_written_as_bytes():
    text = "a\u00f6\udcff\ud800"
    assert text.encode("ascii", AS_BYTES) == b"a\xc3\xb6\xff\\ud800"
    assert text.encode("latin-1", AS_BYTES) == b"a\xf6\xff\\ud800"
    with pytest.raises(UnicodeDecodeError):
        b"\xff".decode("utf-8", AS_BYTES)
