import gzip

import h5py
import numpy as np
import pytest

from sdmad.data.fewshot import draw_support, read_support, write_support
from sdmad.data.sets import FastMRIPlus
from sdmad.data.sets.base import Box
from sdmad.data.sets.fastmri_plus import CATEGORIES, SMALL_VESSEL
from sdmad.errors import InputError

HEADER = "file,slice,study_level,x,y,width,height,label"
ROWS = [
    "a,0,Yes,,,,,Global label: Small vessel chronic white matter ischemic change",
    "a,5,No,2,1,3,2,Craniotomy ",
    "a,5,No,0,6,1,1,Craniotomy",
    "a,5,No,7,7,5,5,Mass",
    "b,0,Yes,,,,,Normal for age",
    "c,5,No,1,1,1,1,Possible artifact",
    "d,5,No,1,1,2,2,Enlarged ventricles",
    "d,5,No,3,1,2,2,dural thickening",
]
FILES = ("a", "b", "c", "d", "e")


def write(root, rows=ROWS, files=FILES, volumes=FILES):
    (root / "Annotations").mkdir(parents=True)
    (root / "Annotations" / "brain.csv").write_text("\n".join([HEADER, *rows]) + "\n")
    (root / "Annotations" / "brain_file_list.csv").write_text("\n".join(files) + "\n")
    for i, name in enumerate(volumes):
        folder = root / ("multicoil_train" if i % 2 else "multicoil_val/more")
        folder.mkdir(parents=True, exist_ok=True)
        with h5py.File(folder / f"{name}.h5", "w") as file:
            file["reconstruction_rss"] = np.full((16, 8, 8), i, dtype=np.float32)
            if name != "e":
                file.attrs["patient_id"] = f"pseudonym{i // 2}"
    return root


def test_slice_five_by_hand(tmp_path):
    data = FastMRIPlus(write(tmp_path), 5)
    table = data.table
    assert table.categories == CATEGORIES[:5]
    assert [str(f.relative_to(tmp_path)) for f in table.files] == [
        "multicoil_val/more/a.h5#5",
        "multicoil_train/b.h5#5",
        "multicoil_val/more/c.h5#5",
        "multicoil_train/d.h5#5",
        "multicoil_val/more/e.h5#5",
    ]
    expected = np.zeros((5, 5))
    expected[0, 0] = expected[3, 3] = expected[3, 4] = 1
    np.testing.assert_array_equal(table.labels, expected)
    # b carries a label of slice 0 only, c another finding, e none at all
    assert table.normal.tolist() == [False, True, False, False, True]
    assert table.patients == ("pseudonym0", "pseudonym0", "pseudonym1", "pseudonym1", "e")
    assert table.rows == (1, 2, 3, 4, 5)
    assert table.splits is None
    assert table.missing() == ()
    assert table.notes == ()


def test_slice_zero_has_six_categories(tmp_path):
    table = FastMRIPlus(write(tmp_path), 0).table
    assert table.categories == CATEGORIES
    expected = np.zeros((5, 6))
    expected[0, 5] = 1
    np.testing.assert_array_equal(table.labels, expected)
    # b is "Normal for age"; c and d carry findings at slice 5 only
    assert table.normal.tolist() == [False, True, True, True, True]


def test_six_columns_elsewhere_only_when_asked_for(tmp_path):
    table = FastMRIPlus(write(tmp_path), 5, categories=CATEGORIES).table
    assert table.labels.shape == (5, 6)
    assert not table.labels[:, 5].any()
    assert table.notes == (
        f"{SMALL_VESSEL}: a study-level label, recorded at slice 0 only; "
        "0 for every image of slice 5",
    )


def test_a_study_level_label_belongs_to_slice_zero_wherever_it_stands(tmp_path):
    rows = [ROWS[0].replace("a,0", "a,5")]
    write(tmp_path, rows)
    assert FastMRIPlus(tmp_path, 0).table.labels[0, 5] == 1
    assert FastMRIPlus(tmp_path, 5).table.normal.all()


def test_abnormal_population(tmp_path):
    data = FastMRIPlus(write(tmp_path), 5, "abnormal")
    assert [file.name for file in data.table.files] == ["a.h5#5", "d.h5#5"]
    assert data.table.labels.sum(axis=1).tolist() == [1, 2]
    assert data.table.rows == (1, 4)
    assert data.abnormal == {"a", "d"}
    assert set(data.boxes) == {0, 1}


def test_masks_are_in_the_orientation_of_the_boxes(tmp_path):
    data = FastMRIPlus(write(tmp_path), 5)
    assert data.has_masks
    assert data.boxes == {
        0: (Box("Craniotomy", 2, 1, 3, 2), Box("Craniotomy", 0, 6, 1, 1)),
        3: (Box("Enlarged ventricles", 1, 1, 2, 2), Box("Dural thickening", 3, 1, 2, 2)),
    }
    expected = np.zeros((8, 8), dtype=bool)
    expected[1:3, 2:5] = True
    expected[6, 0] = True
    np.testing.assert_array_equal(data.mask(0), expected)
    assert not data.mask(1).any()
    assert data.mask(2) is None
    dura, ventricles = data.category_masks(3)[3:]
    assert np.argwhere(dura).tolist() == [[y, x] for y in (1, 2) for x in (3, 4)]
    assert np.argwhere(ventricles).tolist() == [[y, x] for y in (1, 2) for x in (1, 2)]
    assert not data.category_masks(3)[:3].any()


def test_a_finding_of_study_level_has_no_mask(tmp_path):
    data = FastMRIPlus(write(tmp_path), 0)
    assert data.mask(0) is None
    assert data.mask(1).shape == (8, 8)


def test_volumes_that_lack_are_noted_and_addressed(tmp_path):
    data = FastMRIPlus(write(tmp_path, volumes=("a", "c")), 5)
    assert data.table.missing() == (1, 3, 4)
    assert data.table.notes == ("3 of 5 reviewed volumes are not on the disk",)
    assert data.table.files[1] == tmp_path / "b.h5#5"
    assert data.table.patients[1] == "b"


def test_no_volume_at_all(tmp_path):
    with pytest.raises(InputError, match=r"none of its 5 images is there; looked for .*a.h5#5"):
        _ = FastMRIPlus(write(tmp_path, volumes=()), 5).table


def test_a_damaged_volume_is_a_patient_of_its_own(tmp_path):
    write(tmp_path)
    (tmp_path / "multicoil_train" / "b.h5").write_bytes(b"\x89HDF\r\n\x1a\n broken")
    assert FastMRIPlus(tmp_path, 5).table.patients[1] == "b"


def test_support_files_hold_addresses(pristine, tmp_path):
    data = FastMRIPlus(pristine / "fastmri-plus", 5)
    support = draw_support(data.table, 1, 0)
    write_support(tmp_path / "s.json", support, data.table)
    assert ".h5#5" in (tmp_path / "s.json").read_text()
    assert read_support(tmp_path / "s.json", data.table) == support


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ("z,5,No,1,1,1,1,Craniotomy", "brain.csv, row 2: z is not in the list of reviewed"),
        ("a,16,No,1,1,1,1,Craniotomy", "row 2: slice must be 0 to 15, got '16'"),
        ("a,x,No,1,1,1,1,Craniotomy", "row 2: slice must be 0 to 15, got 'x'"),
        ("a,5,No,1,1,1,1,Craniotmy", "row 2: unknown label 'Craniotmy'; did you mean 'Craniot"),
        ("a,5,No,1,1,1,1,Qwertz", "row 2: unknown label 'Qwertz'; is this the table of the brain"),
        ("a,5,No,1,,1,1,Craniotomy", "row 2: a box needs x, y, width and height"),
        ("a,5,No,1,1,-1,1,Craniotomy", "row 2: a box needs"),
        ("a,5,No,1,inf,1,1,Craniotomy", "row 2: a box needs"),
    ],
)
def test_bad_rows(tmp_path, row, message):
    with pytest.raises(InputError, match=message):
        _ = FastMRIPlus(write(tmp_path, [row]), 5).table


def test_shuffled_columns_change_nothing(tmp_path):
    order = [7, 0, 6, 5, 4, 3, 2, 1]
    expected = FastMRIPlus(write(tmp_path / "a"), 5)
    write(tmp_path / "b")
    lines = [",".join(line.split(",")[k] for k in order) for line in [HEADER, *ROWS]]
    text = b"\xef\xbb\xbf" + "\r\n".join(lines).encode()
    (tmp_path / "b" / "Annotations" / "brain.csv").write_bytes(text)
    data = FastMRIPlus(tmp_path / "b", 5)
    np.testing.assert_array_equal(data.table.labels, expected.table.labels)
    assert data.boxes == expected.boxes


def test_files_that_lack(tmp_path):
    write(tmp_path)
    (tmp_path / "Annotations" / "brain.csv").rename(tmp_path / "brain.csv")
    assert len(FastMRIPlus(tmp_path, 5)) == 5
    (tmp_path / "brain.csv").write_text("file,slice,label\na,1,Mass\n")
    with pytest.raises(InputError, match="no column studylevel, x, y, width, height"):
        _ = FastMRIPlus(tmp_path, 5).table
    (tmp_path / "Annotations" / "brain_file_list.csv").write_text("\n")
    (tmp_path / "brain.csv").write_text("\n".join([HEADER, *ROWS]))
    with pytest.raises(InputError, match=r"brain_file_list.csv: empty"):
        _ = FastMRIPlus(tmp_path, 5).table
    (tmp_path / "brain.csv").unlink()
    with pytest.raises(InputError, match=r"no Annotations/brain.csv or brain.csv here"):
        _ = FastMRIPlus(tmp_path, 5).table


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((16,), "slice must be 0 to 15"),
        ((-1,), "slice must be 0 to 15"),
        ((0, "normal"), "population must be all or abnormal"),
        ((0, "all", ("Mass",)), "categories must be some of Craniotomy"),
        ((0, "all", ("",)), "categories must be some of"),
    ],
)
def test_bad_arguments(tmp_path, arguments, message):
    with pytest.raises(InputError, match=message):
        FastMRIPlus(tmp_path, *arguments)


def test_miniature_tree(pristine):
    for index in (0, 5, 10):
        data = FastMRIPlus(pristine / "fastmri-plus", index)
        assert (data.table.labels.sum(axis=0) >= 2).all()
        assert data.table.normal.any()
        # an image of another finding only
        assert ((data.table.labels.sum(axis=1) == 0) & ~data.table.normal).any()


def test_the_boxes_mark_what_the_phantom_shows(pristine):
    """Inside its box the displayed image differs from its mirror image, which the file holds."""
    data = FastMRIPlus(pristine / "fastmri-plus", 5)
    differences = []
    for row, boxes in data.boxes.items():
        shown = np.asarray(data.image(row), dtype=float)
        for box in boxes:
            top, left = int(box.y), int(box.x)
            cut = np.s_[top : top + int(box.height), left : left + int(box.width)]
            background = shown[cut].mean() - shown[::-1][cut].mean()
            differences.append(background)
    assert np.mean(np.array(differences) > 0) > 0.5


# METHOD's populations, counted in the CSV; distinct files per slice and category as published
COUNTS = {
    0: ([28, 54, 70, 23, 37, 220], 466, 349),
    5: ([43, 71, 50, 25, 31], 713, 164),
    10: ([67, 64, 27, 13, 2], 798, 135),
}


@pytest.mark.parametrize("index", COUNTS)
def test_the_real_annotations(realdata, tmp_path, index):
    tables = realdata / "tables" / "fastmri_plus"
    text = gzip.decompress((tables / "brain.csv.gz").read_bytes())
    (tmp_path / "brain.csv").write_bytes(text)
    names = (tables / "brain_file_list.csv").read_text()
    (tmp_path / "brain_file_list.csv").write_text(names)
    with h5py.File(tmp_path / f"{names.split()[0]}.h5", "w") as file:
        file["reconstruction_rss"] = np.zeros((16, 320, 320), dtype=np.float32)
    data = FastMRIPlus(tmp_path, index)
    positives, normal, abnormal = COUNTS[index]
    assert len(data) == 1001
    assert data.table.labels.sum(axis=0).tolist() == positives
    assert int(data.table.normal.sum()) == normal
    assert len(data.abnormal) == abnormal
    assert len(data.annotations) == 8213
    assert len({note.file for note in data.annotations}) == 997
