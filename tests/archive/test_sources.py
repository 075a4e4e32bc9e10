import io
import tarfile
from collections import Counter
from datetime import UTC, datetime

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from fsspec.implementations.local import LocalFileOpener

from sdmad.archive.sources import Passed, entries
from sdmad.data.listing import list_images
from sdmad.errors import InputError
from tests.archive.helpers import write_images, write_tar


def listed(*sources):
    passed = Passed(Counter())
    return list(entries(sources, passed)), passed.kinds


def test_a_folder_is_listed_as_the_plain_engine_lists_it(tmp_path):
    folder = write_images(tmp_path / "images", 6)
    for name in ("b", "00", "004.d", ".hidden"):
        write_images(folder / name, 2)
    (folder / "notes.txt").write_text("nothing")
    (folder / "a-dicom-without-suffix").write_bytes(bytes(128) + b"DICM")
    (folder / "b" / "circle").symlink_to(folder)
    found, passed = listed(folder)
    with pytest.warns(UserWarning, match="passed over"):
        assert [one.file for one in found] == [str(path) for path in list_images([folder])]
    assert passed == {".txt": 1}
    assert found[0].size == (folder / "00" / "000.png").stat().st_size
    assert found[0].date.timestamp() == pytest.approx((folder / "00" / "000.png").stat().st_mtime)


def test_what_is_not_there_is_refused(tmp_path):
    with pytest.raises(InputError, match="no such file or folder"):
        listed(tmp_path / "none")


def test_the_images_of_a_tar_file_are_ranges_of_its_bytes(tmp_path):
    path = write_tar(tmp_path / "x.tar", {"a.png": b"first", "a.json": b"{}", "b.jpg": b"second!"})
    found, _ = listed(tmp_path)
    assert [one.file for one in found] == [f"{path}/a.png", f"{path}/b.jpg"]
    whole = path.read_bytes()
    assert [whole[o.offset : o.offset + o.size] for o in found] == [b"first", b"second!"]
    assert found[0].date == datetime(1970, 1, 2, tzinfo=UTC)


def test_a_tar_file_cut_short_gives_what_lies_before_and_an_error(tmp_path):
    path = write_tar(tmp_path / "x.tar", {"a.png": b"first" * 200, "b.png": b"second" * 200})
    path.write_bytes(path.read_bytes()[:1700])  # into the second header
    found, _ = listed(path)
    assert [one.kind for one in found] == ["tar", "missing"]
    assert "damaged or cut short" in found[1].error


def header(kind, size):
    """A tar header of some type, which claims so many bytes behind it."""
    info = tarfile.TarInfo("a.png")
    info.type, info.size = kind, size
    return info.tobuf(tarfile.GNU_FORMAT)


SPARSE = b"22 GNU.sparse.major=1\n22 GNU.sparse.minor=0\n"


@pytest.mark.parametrize(
    "more",
    [
        header(tarfile.GNUTYPE_LONGNAME, 3 << 30),
        header(tarfile.XHDTYPE, 3 << 30),
        header(tarfile.XGLTYPE, 3 << 30),
        header(tarfile.GNUTYPE_LONGNAME, 512) * 4000,
        header(tarfile.XHDTYPE, len(SPARSE))
        + SPARSE.ljust(512, b"\0")
        + header(tarfile.REGTYPE, 0)
        + b"7" * (2 << 20),
    ],
    ids=["name", "pax", "global", "names", "sparse"],
)
def test_headers_of_a_tar_file_that_claim_gigabytes_are_not_read(tmp_path, monkeypatch, more):
    path = write_tar(tmp_path / "x.tar", {"a.png": b"first"})
    with path.open("r+b") as file:
        file.seek(1024)
        file.write(more)
        file.truncate(5 << 30)
    asked = []
    opened = LocalFileOpener.read
    monkeypatch.setattr(
        LocalFileOpener, "read", lambda *given: asked.append(given[1]) or opened(*given)
    )
    found, _ = listed(path)
    assert [one.kind for one in found] == ["tar", "missing"]
    assert "damaged or cut short" in found[1].error
    assert sum(asked) < 3 << 20


def test_what_is_named_twice_is_listed_once(tmp_path):
    folder = write_images(tmp_path / "images", 2)
    assert len(listed(folder, f"{folder}/")[0]) == 2


def test_a_row_that_cannot_be_used_is_named(tmp_path):
    table = tmp_path / "list.csv"
    table.write_text("file\r\na.png\r\nftp://host/b.png\r\n", newline="")
    with pytest.raises(InputError, match=r"list\.csv, row 3, column file: .*ftp is not read"):
        listed(table)
    rows = pa.table({"file": ["a.png", "b.png"], "date": ["2024-03-31", "soon"]})
    pq.write_table(rows, tmp_path / "list.parquet")
    with pytest.raises(InputError, match=r"list\.parquet, row 1 \(from 0\): 'soon' is no date"):
        listed(tmp_path / "list.parquet")


def test_a_date_that_no_calendar_has_costs_no_member(tmp_path):
    path = tmp_path / "x.tar"
    with tarfile.open(path, "w", format=tarfile.PAX_FORMAT) as archive:
        for name, when in (("a.png", "1e300"), ("b.png", "86400")):
            info = tarfile.TarInfo(name)
            info.pax_headers = {"mtime": when}
            archive.addfile(info, io.BytesIO())
    found, _ = listed(path)
    assert [one.date for one in found] == [None, datetime(1970, 1, 2, tzinfo=UTC)]


def test_a_compressed_tar_file_is_refused_with_the_way_out(tmp_path):
    (tmp_path / "x.tar.gz").write_bytes(b"")
    with pytest.raises(InputError, match=r"unpack it to a \.tar"):
        listed(tmp_path)


def test_parquet_holds_bytes_or_addresses(tmp_path):
    held = tmp_path / "held.parquet"
    pq.write_table(pa.table({"path": ["a.png", "b.png"], "image": [b"1", b"2"]}), held)
    found, _ = listed(held)
    assert [(o.file, o.kind, o.offset) for o in found] == [
        (f"{held}/a.png", "parquet", 0),
        (f"{held}/b.png", "parquet", 1),
    ]
    named = tmp_path / "named.parquet"
    days = [datetime(2024, 3, 31), None]
    pq.write_table(pa.table({"file": ["a.png", "s3://bucket/b.png"], "date": days}), named)
    found, _ = listed(named)
    assert [o.holder for o in found] == [str(tmp_path / "a.png"), "s3://bucket/b.png"]
    assert [o.date for o in found] == [datetime(2024, 3, 31, tzinfo=UTC), None]
    pq.write_table(pa.table({"x": [1]}), named)
    with pytest.raises(InputError, match="no column of bytes"):
        listed(named)


def test_a_table_names_addresses_and_dates(tmp_path):
    table = tmp_path / "list.csv"
    table.write_text("Image Index,Date\nimg/a.png,2024-03-31\nvolume.nii.gz#7,20240401\n")
    found, _ = listed(table)
    assert [o.file for o in found] == [
        str(tmp_path / "img/a.png"),
        str(tmp_path / "volume.nii.gz#7"),
    ]
    assert [o.date.day for o in found] == [31, 1]
    table.write_text("file,date\na.png,soon\n")
    with pytest.raises(InputError, match="row 2, column date: 'soon' is no date"):
        listed(table)
