import pytest

from sdmad.archive import listing
from sdmad.archive.listing import packed, read_listing, shard_entries, unpacked, write_listing
from sdmad.archive.places import place_of
from sdmad.errors import InputError
from tests.archive.helpers import write_images


def test_shards_are_cut_in_the_order_of_the_list_over_several_files(tmp_path, monkeypatch):
    monkeypatch.setattr(listing, "SHARDS_A_FILE", 2)
    folder, out = write_images(tmp_path / "images", 23), place_of(tmp_path / "out")
    assert read_listing(out) is None
    found = write_listing([folder], out, 4)
    assert read_listing(out) == found
    assert (found.images, found.shards) == (23, 6)
    assert [found.rows(shard) for shard in range(6)] == [4, 4, 4, 4, 4, 3]
    names = [entry.file for shard in range(6) for entry in shard_entries(out, shard)]
    assert names == [str(folder / f"{i:03d}.png") for i in range(23)]
    assert (out / "listing").names() == [f"part-{i:05d}.parquet" for i in range(3)]


def test_a_name_in_another_encoding_reaches_its_file(tmp_path):
    folder = write_images(tmp_path / "images", 1)
    strange = folder / "na\udcefve.png"
    (folder / "000.png").rename(strange)
    out = place_of(tmp_path / "out")
    write_listing([folder], out)
    (entry,) = shard_entries(out, 0)
    assert entry.holder == str(strange)
    assert entry.file.endswith(r"na\udcefve.png")
    assert unpacked(packed([entry])) == [entry]


def test_an_archive_without_an_image_is_refused(tmp_path):
    (tmp_path / "images").mkdir()
    (tmp_path / "images" / "a.txt").write_text("nothing")
    with pytest.raises(InputError, match=r"no image here; passed over: 1 \.txt"):
        write_listing([tmp_path / "images"], place_of(tmp_path / "out"))
