import json

import pyarrow as pa
import pytest

from sdmad.archive.listing import Listing
from sdmad.archive.places import place_of
from sdmad.archive.shards import Done, Gathering, Manifest, read_done, shard_name, write_shard

LISTING = Listing(10, 3, 4, ("x",), {})


def rows(shard, numbers):
    errors = ["bad" if number == 2 else None for number in numbers]
    return pa.table(
        {
            "shard": pa.array([shard] * len(numbers), pa.int32()),
            "row": pa.array(numbers, pa.int32()),
            "unfamiliar": [number == 1 for number in numbers],
            "error": pa.array(errors, pa.string()),
        }
    )


def test_rows_come_in_any_order_and_twice_and_leave_whole_once():
    gathering = Gathering(LISTING)
    assert list(gathering.add(rows(0, [2, 3]))) == []
    assert list(gathering.add(rows(0, [2, 3]))) == []  # what a killed process had sent already
    both = pa.concat_tables([rows(2, [1]), rows(0, [0, 1])])
    ((shard, whole),) = gathering.add(both)
    assert (shard, whole["row"].to_pylist()) == (0, [0, 1, 2, 3])
    assert list(gathering.add(rows(0, [0, 1, 2, 3]))) == []
    ((shard, whole),) = gathering.add(rows(2, [0]))
    assert (shard, whole["row"].to_pylist()) == (2, [0, 1])
    assert gathering.waiting == {}


def test_a_rerun_takes_what_the_manifest_names_and_what_came_after(tmp_path):
    out = place_of(tmp_path)
    manifest = Manifest.read(out, "run", LISTING)
    assert manifest.missing == [0, 1, 2]
    manifest.add(0, write_shard(out, "run", 0, rows(0, [0, 1, 2, 3])))
    manifest.write()
    write_shard(out, "run", 2, rows(2, [0, 1]))  # killed before it was noted
    again = Manifest.read(out, "run", LISTING)
    assert again.missing == [1]
    assert again.done == {0: Done(4, 1, 1), 2: Done(2, 0, 1)}
    assert Manifest.read(out, "another", LISTING).missing == [0, 1, 2]
    (tmp_path / "scores" / shard_name(0)).unlink()
    assert Manifest.read(out, "run", LISTING).missing == [0, 1]


@pytest.mark.parametrize("keep", [0, 100, -1])
def test_a_damaged_shard_is_not_there(tmp_path, keep):
    out = place_of(tmp_path)
    write_shard(out, "run", 1, rows(1, [0, 1, 2, 3]))
    path = tmp_path / "scores" / shard_name(1)
    assert read_done(out, "run", 1) == Done(4, 1, 1)
    assert read_done(out, "run", 2) is None
    path.write_bytes(path.read_bytes()[:keep])
    assert read_done(out, "run", 1) is None


def test_the_manifest_tells_when_all_is_done(tmp_path):
    out = place_of(tmp_path)
    manifest = Manifest.read(out, "run", LISTING)
    for shard in range(3):
        manifest.add(shard, Done(1, 0, 0))
    manifest.write()
    assert json.loads((tmp_path / "manifest.json").read_text())["complete"] is True
