import pytest

from sdmad.dicom_out.multipart import write_first_part
from sdmad.errors import SDMADError


@pytest.mark.parametrize("size", [1, 2, 3, 7, 10_000])
def test_a_part_is_written_whole_however_it_is_cut(tmp_path, size):
    content = bytes(range(256)) * 3 + b"\r\n--par\r\n--"
    body = b"preamble\r\n--part\r\nA: b\r\n\r\n" + content + b"\r\n--part--\r\n"
    pieces = (body[i : i + size] for i in range(0, len(body), size))
    write_first_part(pieces, 'multipart/related; boundary="part"', tmp_path / "a")
    assert (tmp_path / "a").read_bytes() == content


@pytest.mark.parametrize(
    ("kind", "body"),
    [
        ("text/html", b"<html>"),
        ("multipart/related; boundary=part", b"--part\r\n\r\nhalf"),
        ("multipart/related; boundary=part", b"x" * 200_000),
        ("multipart/related", b"--part\r\n\r\nhalf\r\n--part--"),
        ("", b""),
    ],
)
def test_an_answer_that_is_no_file_or_breaks_off_is_refused(tmp_path, kind, body):
    with pytest.raises(SDMADError):
        write_first_part(iter([body]), kind, tmp_path / "a")
