import gzip

import numpy as np
import pytest
from PIL import Image

from sdmad.data.fewshot import draw_support
from sdmad.data.integrity.counts import count_images
from sdmad.data.integrity.published import PUBLISHED
from sdmad.data.sets import ChestXray8, open_data_set
from sdmad.data.sets.base import Box
from sdmad.data.sets.chestxray8 import CATEGORIES
from sdmad.errors import InputError

HEADER = (
    "Image Index,Finding Labels,Follow-up #,Patient ID,Patient Age,Patient Gender,View Position,"
    "OriginalImage[Width,Height],OriginalImagePixelSpacing[x,y],"
)
ROWS = [
    "00000001_000.png,Cardiomegaly|Effusion,0,1,57,M,PA,2682,2749,0.143,0.143,",
    "00000002_000.png,No Finding,0,2,60,F,AP,2682,2749,0.143,0.143,",
    "00000002_001.png,Infiltration,1,2,61,F,AP,2682,2749,0.143,0.143,",
    "00000003_000.png,No Finding,0,3,44,F,PA,2682,2749,0.143,0.143,",
]
NAMES = [row.split(",")[0] for row in ROWS]
BOXES = "Image Index,Finding Label,Bbox [x,y,w,h],,,\n"


@pytest.fixture
def root(tmp_path):
    """Four images written by hand in the old release's form, one archive unpacked."""
    (tmp_path / "images").mkdir()
    for i, name in enumerate(NAMES):
        picture = np.tile(np.arange(64, dtype=np.uint8) + i, (32, 1))
        Image.fromarray(picture).save(tmp_path / "images" / name)
    (tmp_path / "Data_Entry_2017.csv").write_text("\n".join([HEADER, *ROWS]) + "\n")
    (tmp_path / "train_val_list.txt").write_text("\n".join(NAMES[:1] + NAMES[3:]))
    (tmp_path / "test_list.txt").write_text("\n".join(NAMES[1:3]) + "\n")
    (tmp_path / "BBox_List_2017.csv").write_text(
        BOXES
        + "00000001_000.png,Effusion,0,512,128,256\n"
        + "00000001_000.png,Cardiomegaly,960,0,512,32,,,\n"
        + "00000002_001.png,Infiltrate,32.5,64,16,64\n"
    )
    return tmp_path


def test_by_hand(root):
    data = ChestXray8(root)
    table = data.table
    assert table.categories == CATEGORIES
    assert [file.name for file in table.files] == NAMES
    assert table.rows == (2, 3, 4, 5)
    assert table.patients == ("1", "2", "2", "3")
    assert table.splits == ("train", "test", "test", "train")
    assert table.normal.tolist() == [False, True, False, True]
    expected = np.zeros((4, 14))
    expected[0, [CATEGORIES.index("Cardiomegaly"), CATEGORIES.index("Effusion")]] = 1
    expected[2, CATEGORIES.index("Infiltration")] = 1
    np.testing.assert_array_equal(table.labels, expected)
    assert table.notes[0].startswith("no image in the table has Atelectasis")
    assert data.image(2).getpixel((5, 0)) == 7
    assert len(data) == 4


def test_boxes_and_masks(root):
    data = ChestXray8(root)
    assert data.boxes == {
        0: (Box("Effusion", 0, 512, 128, 256), Box("Cardiomegaly", 960, 0, 512, 32)),
        2: (Box("Infiltration", 32.5, 64, 16, 64),),
    }
    # 1024 px become 64 across and 32 down: a sixteenth and a thirty-second
    expected = np.zeros((32, 64), dtype=bool)
    expected[16:24, 0:8] = True
    expected[0:1, 60:64] = True
    np.testing.assert_array_equal(data.mask(0), expected)
    heart, fluid = (data.table.categories.index(n) for n in ("Cardiomegaly", "Effusion"))
    planes = data.category_masks(0)
    assert planes.shape == (14, 32, 64)
    assert np.flatnonzero(planes.any(axis=(1, 2))).tolist() == [heart, fluid]
    np.testing.assert_array_equal(planes[fluid, :, :60], expected[:, :60])
    np.testing.assert_array_equal(planes[heart, :, 8:], expected[:, 8:])
    # 32.5 / 16 = 2.03 to 3.03: both pixels that are touched
    assert np.argwhere(data.mask(2)).tolist() == [[y, x] for y in (2, 3) for x in (2, 3)]
    assert data.mask(1).shape == (32, 64)
    assert not data.mask(1).any()
    (root / "BBox_List_2017.csv").unlink()
    data = ChestXray8(root)
    assert not data.has_masks
    assert data.mask(0) is data.category_masks(0) is None


def test_an_image_without_a_box_has_no_mask(root):
    (root / "BBox_List_2017.csv").write_text(BOXES + "00000002_001.png,Infiltrate,1,1,1,1\n")
    assert ChestXray8(root).mask(0) is None


def test_twelve_archives_are_read_like_one(root):
    for i, name in enumerate(NAMES):
        part = root / f"images_{i + 1:03d}" / "images"
        part.mkdir(parents=True)
        (root / "images" / name).rename(part / name)
    (root / "images").rmdir()
    table = ChestXray8(root).table
    assert table.missing() == ()
    assert table.files[3] == root / "images_004" / "images" / NAMES[3]


def test_the_newer_release_goes_first(root):
    changed = [HEADER, ROWS[0].replace("Cardiomegaly|Effusion", "Mass"), *ROWS[1:]]
    (root / "Data_Entry_2017_v2020.csv").write_text("\n".join(changed))
    table = ChestXray8(root).table
    assert table.path.name == "Data_Entry_2017_v2020.csv"
    assert table.labels[0, CATEGORIES.index("Mass")] == 1


def test_shuffled_columns_and_a_mark_change_nothing(root):
    expected = ChestXray8(root).table
    order = [3, 1, 10, 0, 2, 4, 5, 6, 7, 8, 9]
    lines = [",".join(line.split(",")[k] for k in order) for line in [HEADER, *ROWS]]
    data = b"\xef\xbb\xbf" + "\r\n".join(lines).encode()
    (root / "Data_Entry_2017.csv").write_bytes(data)
    table = ChestXray8(root).table
    np.testing.assert_array_equal(table.labels, expected.labels)
    assert (table.patients, table.files) == (expected.patients, expected.files)
    boxes = "Finding Label,y,w,h],Image Index,Bbox [x\nInfiltrate,64,16,64,00000002_001.png,32.5\n"
    (root / "BBox_List_2017.csv").write_text(boxes)
    assert ChestXray8(root).boxes == {2: (Box("Infiltration", 32.5, 64, 16, 64),)}


def test_images_that_lack_are_noted(root):
    (root / "images" / NAMES[1]).unlink()
    table = ChestXray8(root).table
    assert table.missing() == (1,)
    assert "1 of 4 images of Data_Entry_2017.csv are not on the disk" in table.notes
    for name in (NAMES[0], *NAMES[2:]):
        (root / "images" / name).unlink()
    with pytest.raises(InputError, match=r"none of its 4 images is there; looked for .*images"):
        _ = ChestXray8(root).table


@pytest.mark.parametrize(
    ("file", "text", "message"),
    [
        ("test_list.txt", None, "no test_list.txt here; the official split"),
        ("Data_Entry_2017.csv", None, "no Data_Entry_2017_v2020.csv or Data_Entry_2017.csv here"),
        ("test_list.txt", "00000002_000.png\n\nx.png\n", "test_list.txt, row 3: x.png is not in"),
        ("test_list.txt", "00000001_000.png\n", "row 1: 00000001_000.png is in train_val_list"),
        (
            "test_list.txt",
            "00000002_000.png\n",
            r"Data_Entry_2017.csv, row 4: 00000002_001.png is neither .* \(1 such images\)",
        ),
        ("test_list.txt", b"\xff\xfe\x00", "test_list.txt, line 1: not UTF-8 text"),
        (
            "Data_Entry_2017.csv",
            "\n".join([HEADER, ROWS[0].replace("Effusion", "Effusoin")]),
            "row 2, column Finding Labels: unknown label 'Effusoin'; did you mean 'Effusion'",
        ),
        (
            "Data_Entry_2017.csv",
            "\n".join([HEADER, *ROWS, ROWS[0].replace("|Effusion", "")]),
            "rows 2 and 6: 00000001_000.png stands twice with different labels",
        ),
    ],
)
def test_bad_tables_and_lists(root, file, text, message):
    if text is None:
        (root / file).unlink()
    else:
        (root / file).write_bytes(text if isinstance(text, bytes) else text.encode())
    with pytest.raises(InputError, match=message):
        _ = ChestXray8(root).table


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (BOXES + "x.png,Mass,1,1,1,1\n", "row 2: x.png is not in Data_Entry_2017.csv"),
        (BOXES + "00000001_000.png,Bump,1,1,1,1\n", "row 2: unknown finding 'Bump'; known: Atel"),
        (BOXES + "00000001_000.png,Mass,1,1,,1\n", "row 2: a box needs x, y, width and height"),
        (BOXES + "00000001_000.png,Mass,1,1,-1,1\n", "row 2: a box needs"),
        (BOXES + "00000001_000.png,Mass,nan,1,1,1\n", "row 2: a box needs"),
        ("Image Index,Finding Label,x,y\n1,Mass,1,1\n", r"no column for bbox\[x"),
    ],
)
def test_bad_boxes(root, text, message):
    (root / "BBox_List_2017.csv").write_text(text)
    with pytest.raises(InputError, match=message):
        ChestXray8(root).mask(0)


def test_no_images_at_all(root):
    (root / "images").rename(root / "pictures")
    with pytest.raises(InputError, match="no folder images or images_001; unpack"):
        _ = ChestXray8(root).table
    with pytest.raises(InputError, match="no such folder"):
        ChestXray8(root / "nowhere")


def test_miniature_tree(pristine):
    data = open_data_set("chestxray8", pristine / "chestxray8")
    table = data.table
    assert len(table) == 40
    assert table.missing() == ()
    pool, evaluation, notes = table.pools()
    assert notes == ()
    for side in (pool, evaluation):
        assert (table.labels[side].sum(axis=0) >= 1).all()
        assert table.normal[side].any()
    assert set(np.array(table.patients)[pool]).isdisjoint(np.array(table.patients)[evaluation])
    support = draw_support(table, 1, 0)
    assert all(len(rows) >= 1 for rows in support.served.values())
    boxed = [row for row in range(len(table)) if data.boxes.get(row)]
    assert boxed
    for row in boxed:
        assert data.mask(row).any()
        names = {box.category for box in data.boxes[row]}
        assert all(table.labels[row, CATEGORIES.index(name)] == 1 for name in names)


def test_the_real_table(realdata, tmp_path):
    tables = realdata / "tables" / "nih"
    text = gzip.decompress((tables / "Data_Entry_2017_v2020.csv.gz").read_bytes())
    names = [line.split(b",")[0].decode() for line in text.splitlines()[1:]]
    (tmp_path / "Data_Entry_2017_v2020.csv").write_bytes(text)
    (tmp_path / "BBox_List_2017.csv").write_bytes((tables / "BBox_List_2017.csv").read_bytes())
    (tmp_path / "train_val_list.txt").write_text("\n".join(names[:86524]))
    (tmp_path / "test_list.txt").write_text("\n".join(names[86524:]))
    (tmp_path / "images").mkdir()
    Image.new("L", (1024, 1024)).save(tmp_path / "images" / "00013118_008.png")
    data = ChestXray8(tmp_path)
    assert len(data) == 112_120
    assert count_images(data.table)["all"] == PUBLISHED["chestxray8"][0].counts["all"]
    assert len(data.boxes) == 880
    assert sum(map(len, data.boxes.values())) == 984
    row = names.index("00013118_008.png")
    # one row: x 225.08, y 547.02, w 86.78, h 79.19
    assert data.mask(row)[547:627, 225:312].all()
    assert data.mask(row).sum() == 80 * 87
