import numpy as np
import pytest
from PIL import Image

from sdmad.data.sets import OCT17
from sdmad.errors import InputError

FILES = [
    "train/CNV/CNV-11-1.jpeg",
    "train/CNV/CNV-11-2.jpeg",
    "train/DME/DME-12-1.jpeg",
    "train/DRUSEN/DRUSEN-13-1.jpeg",
    "train/NORMAL/NORMAL-14-1.jpeg",
    "test/CNV/CNV-21-1.jpeg",
    "test/DME/DME-22-1.jpeg",
    "test/DRUSEN/DRUSEN-23-1.jpeg",
    "test/NORMAL/NORMAL-24-1.jpeg",
]


def write(root, files):
    for name in files:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        Image.new("L", (20, 10)).save(root / name)
    return root


@pytest.mark.parametrize("place", ["", "OCT2017", "OCT2017 ", "CellData/OCT"])
def test_by_hand(tmp_path, place):
    top = write(tmp_path / place, FILES)
    (top / "train/CNV/.DS_Store").write_bytes(b"x")
    (top / "train/CNV/._CNV-11-1.jpeg").write_bytes(b"x")
    data = OCT17(tmp_path)
    table = data.table
    assert [str(file.relative_to(top)) for file in table.files] == FILES
    assert table.categories == ("CNV", "DME", "DRUSEN")
    expected = [[1, 0, 0], [1, 0, 0], [0, 1, 0], [0, 0, 1], [0, 0, 0]]
    np.testing.assert_array_equal(table.labels, expected + expected[1:])
    assert table.normal.tolist() == [False] * 4 + [True] + [False] * 3 + [True]
    assert table.patients == ("11", "11", "12", "13", "14", "21", "22", "23", "24")
    assert table.splits == ("train",) * 5 + ("test",) * 4
    assert not data.has_masks
    assert data.mask(0) is None


def test_val_belongs_to_the_pool(tmp_path):
    files = [name.replace("train", "val").replace("-1", "-3") for name in FILES[1:5]]
    table = OCT17(write(tmp_path, FILES + files)).table
    pool, evaluation, _ = table.pools()
    assert [file.parent.parent.name for file in np.array(table.files)[pool]] == (
        ["train"] * 5 + ["val"] * 4
    )
    assert evaluation.sum() == 4


@pytest.mark.parametrize(
    ("files", "message"),
    [
        (FILES[5:], "no train here; OCT-17 has train/ and test/"),
        ([*FILES[:4], *FILES[5:]], "train: no folder NORMAL; each of train, test and val holds"),
        ([*FILES, "test/DME/CNV-9-1.jpeg"], "CNV-9-1.jpeg: lies in DME but its name says CNV"),
        ([*FILES, "test/DME/scan7.jpeg"], "not of the form DME-<patient>-<number>"),
    ],
)
def test_mistakes(tmp_path, files, message):
    write(tmp_path, files)
    with pytest.raises(InputError, match=message):
        _ = OCT17(tmp_path).table


def test_empty_folders(tmp_path):
    for name in FILES:
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
    with pytest.raises(InputError, match="no image in train, test or val"):
        _ = OCT17(tmp_path).table


def test_miniature_tree(pristine):
    table = OCT17(pristine / "oct17").table
    assert len(table) == 24
    assert {s: table.splits.count(s) for s in ("train", "val", "test")} == {
        "train": 10,
        "val": 4,
        "test": 10,
    }
    for side in table.pools()[:2]:
        assert (table.labels[side].sum(axis=0) > 0).all()
        assert table.normal[side].any()
