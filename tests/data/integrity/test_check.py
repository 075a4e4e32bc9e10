"""Each trap is planted in a miniature tree and found by its check, and by no other."""

import json
import shutil

import numpy as np
import pytest
from PIL import Image

from sdmad.data.integrity import Verdict, check_data_set
from sdmad.data.integrity.published import PUBLISHED, Published
from sdmad.data.sets import BMAD, OCT17, ChestXray8, TableData
from sdmad.output import json_text

PASS, WARN, FAIL = Verdict.PASS, Verdict.WARN, Verdict.FAIL


def verdicts(report, leave="counts"):
    """What is not PASS, apart from the counts, which no miniature tree reaches."""
    return {f.check: f.verdict for f in report.findings if f.verdict is not PASS} | {leave: None}


def only(report, check, verdict):
    assert verdicts(report) == {check: verdict, "counts": None}
    return report.finding(check)


@pytest.fixture(autouse=True)
def no_published(monkeypatch):
    """Miniature trees have no published counts."""
    for name in list(PUBLISHED):
        monkeypatch.delitem(PUBLISHED, name)


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("chestxray8", ChestXray8),
        ("oct17", OCT17),
        ("brain", lambda root: BMAD(root, "brain")),
    ],
)
def test_a_whole_tree_passes(pristine, name, kind):
    report = check_data_set(kind(pristine / name))
    assert verdicts(report) == {"counts": None}
    assert report.whole
    assert report.images == len(kind(pristine / name))
    json.loads(json_text(report.content()))


def test_a_file_that_lacks(tree):
    root = tree("chestxray8")
    gone = sorted((root / "images_001" / "images").iterdir())[3]
    gone.unlink()
    found = only(check_data_set(ChestXray8(root)), "missing files", FAIL)
    assert found.count == 1
    assert found.where == (f"images_001/images/{gone.name}",)
    assert found.what == "1 of 40 images have no file"


@pytest.mark.parametrize(
    ("spoil", "why"),
    [
        (lambda data: b"", "empty file (0 bytes)"),
        (lambda data: data[: len(data) // 2], "cut short (no end mark)"),
        (lambda data: b"<html>" + data[6:], "not an image that can be read"),
    ],
)
def test_a_file_that_cannot_be_read(tree, spoil, why):
    root = tree("chestxray8")
    bad = sorted((root / "images_002" / "images").iterdir())[0]
    bad.write_bytes(spoil(bad.read_bytes()))
    found = only(check_data_set(ChestXray8(root)), "unreadable", FAIL)
    assert found.count == 1
    assert found.where[0].startswith(f"images_002/images/{bad.name}: {why}")


def test_a_jpeg_that_was_cut_short(tree):
    root = tree("oct17")
    bad = sorted((root / "train" / "CNV").iterdir())[0]
    bad.write_bytes(bad.read_bytes()[:-200])
    found = only(check_data_set(OCT17(root)), "unreadable", FAIL)
    assert "cut short" in found.where[0]


def test_a_file_without_a_row(tree):
    root = tree("chestxray8")
    Image.new("L", (9, 9)).save(root / "images_001" / "images" / "00099999_000.png")
    found = only(check_data_set(ChestXray8(root)), "unlisted files", WARN)
    assert found.where == ("images_001/images/00099999_000.png",)


def test_the_rest_of_a_download(tree):
    root = tree("oct17")
    (root / "test" / "DME" / "DME-1-1.jpeg.crdownload").write_bytes(b"x")
    (root / "test" / "DME" / "README.txt").write_text("x")
    found = only(check_data_set(OCT17(root)), "unlisted files", WARN)
    assert found.where == ("test/DME/DME-1-1.jpeg.crdownload",)


def test_a_patient_on_both_sides(tree):
    root = tree("chestxray8")
    table = ChestXray8(root).table
    twice = [p for p in set(table.patients) if table.patients.count(p) == 2]
    rows = [i for i, p in enumerate(table.patients) if p == twice[0]]
    splits = [
        "test" if i == rows[0] else "train" if i == rows[1] else table.splits[i]
        for i in range(len(table))
    ]
    for file, split in (("train_val_list.txt", "train"), ("test_list.txt", "test")):
        names = [f.name for f, s in zip(table.files, splits, strict=True) if s == split]
        (root / file).write_text("\n".join(names))
    found = only(check_data_set(ChestXray8(root)), "patients across splits", FAIL)
    assert found.count == 1
    lines = [table.rows[i] for i in rows]
    assert found.where == (f"rows {lines[1]}, {lines[0]}",)
    assert found.what.startswith(f"1 of {len(set(table.patients))} patients")


def test_patients_of_a_published_archive_are_a_warning(tree):
    root = tree("oct17")
    source = sorted((root / "train" / "CNV").iterdir())[0]
    number = source.stem.split("-")[1]
    shutil.move(source, root / "test" / "CNV" / f"CNV-{number}-77.jpeg")
    Image.new("L", (96, 96), 9).save(root / "train" / "CNV" / f"CNV-{number}-78.jpeg")
    found = only(check_data_set(OCT17(root)), "patients across splits", WARN)
    assert found.where == (f"train/CNV/CNV-{number}-78.jpeg, test/CNV/CNV-{number}-77.jpeg",)


def test_a_table_without_patients(write_table):
    rows = [("Mass", "train", "", (20, 20), "png"), ("normal", "test", "", (20, 20), "png")]
    found = only(check_data_set(TableData(write_table(rows))), "patients across splits", WARN)
    assert "no patient ids" in found.what


def copy_over(table, source, target):
    shutil.copy(table.files[source], table.files[target])


def pick(table, **wanted):
    """The first row of a split that is normal, or that shows a finding."""
    return [
        i
        for i in range(len(table))
        if table.splits[i] == wanted["split"] and table.normal[i] == wanted["normal"]
    ]


def test_one_image_on_both_sides(tree):
    root = tree("chestxray8")
    table = ChestXray8(root).table
    source, target = (pick(table, split=s, normal=True)[0] for s in ("train", "test"))
    copy_over(table, source, target)
    found = only(check_data_set(ChestXray8(root)), "identical images", FAIL)
    assert "both sides of the split" in found.what
    assert found.where == (f"rows {table.rows[source]}, {table.rows[target]}",)


def test_one_image_with_two_labels(tree):
    root = tree("chestxray8")
    table = ChestXray8(root).table
    source = pick(table, split="train", normal=True)[0]
    target = pick(table, split="train", normal=False)[0]
    copy_over(table, source, target)
    found = only(check_data_set(ChestXray8(root)), "identical images", FAIL)
    assert "different labels" in found.what


def test_one_image_twice_on_one_side(tree):
    root = tree("chestxray8")
    table = ChestXray8(root).table
    copy_over(table, *pick(table, split="train", normal=True)[:2])
    found = only(check_data_set(ChestXray8(root)), "identical images", WARN)
    assert "more than once" in found.what


def test_files_of_one_length_and_end_are_compared_whole(write_table, tmp_path):
    rows = [("Mass", "train", i, (20, 20), "bmp") for i in range(3)]
    path = write_table(rows)
    pixels = np.zeros((60, 60), dtype=np.uint8)
    for i, first in enumerate((0, 1, 1)):
        pixels[-1, 0] = first  # BMP: the last row stands first in the file
        Image.fromarray(pixels).save(tmp_path / f"{i:03d}.bmp")
    found = only(check_data_set(TableData(path)), "identical images", WARN)
    assert found.where == ("rows 3, 4",)


def many(normal, finding, count=40):
    """Rows whose two classes have their own sizes and formats, each image its own patient."""
    rows = []
    for i in range(count):
        label = "normal" if i % 2 else "Mass"
        size, kind = normal if i % 2 else finding
        rows.append((label, "train" if i % 4 < 2 else "test", i, size, kind))
    return rows


@pytest.mark.parametrize(
    ("normal", "finding", "tells"),
    [
        (((20, 20), "png"), ((20, 24), "png"), "PNG L 20 x "),
        (((20, 20), "png"), ((20, 20), "jpg"), "L 20 x 20"),
    ],
)
def test_size_or_format_gives_the_class_away(write_table, normal, finding, tells):
    report = check_data_set(TableData(write_table(many(normal, finding))))
    found = only(report, "size and format", WARN)
    assert found.count == 2
    assert all("AUROC 1.00" in place and tells in place for place in found.where)
    assert {place.split(":")[0] for place in found.where} == {"normal", "Mass"}


def test_depth_gives_the_class_away(write_table, tmp_path):
    path = write_table(many(((20, 20), "png"), ((20, 20), "png")))
    for file in sorted(tmp_path.glob("*.png"))[::2]:
        Image.fromarray(np.asarray(Image.open(file)).astype(np.uint16) * 257).save(file)
    found = only(check_data_set(TableData(path)), "size and format", WARN)
    assert "PNG I;16 20 x 20" in found.where[0] or "PNG L 20 x 20" in found.where[0]


def test_sizes_that_differ_alike_in_both_classes_pass(write_table):
    rows = many(((20, 20), "png"), ((20, 20), "png"), 80)
    rows = [(*row[:3], (20 + i // 2 % 4, 20), "png") for i, row in enumerate(rows)]
    report = check_data_set(TableData(write_table(rows)))
    assert verdicts(report) == {"counts": None}
    assert "4 kinds of header" in report.finding("size and format").what


def test_tables_that_contradict_each_other_end_the_check(tree):
    root = tree("chestxray8")
    with (root / "test_list.txt").open("a") as file:
        file.write("00099999_000.png\n")
    report = check_data_set(ChestXray8(root))
    assert not report.whole
    (found,) = report.findings
    assert found.check == "tables"
    assert "00099999_000.png is not in Data_Entry_2017_v2020.csv" in found.what
    root = tree("oct17")
    shutil.rmtree(root / "test" / "CNV")
    assert "no folder CNV" in check_data_set(OCT17(root)).finding("tables").what


def test_bad_boxes_end_the_check(tree):
    root = tree("chestxray8")
    with (root / "BBox_List_2017.csv").open("a") as file:
        file.write("00000001_000.png,Bump,1,1,1,1\n")
    assert "'Bump'" in check_data_set(ChestXray8(root)).finding("tables").what


def test_a_split_that_is_none(write_table):
    rows = [("Mass", "train", 1, (20, 20), "png"), ("normal", "holdout", 2, (20, 20), "png")]
    report = check_data_set(TableData(write_table(rows)))
    assert report.finding("split").verdict is FAIL
    assert "row 3, column split: 'holdout' is not a split" in report.finding("split").what


def test_masks(tree):
    root = tree("brain")
    masks = sorted((root / "test" / "Ungood" / "label").iterdir())
    masks[0].unlink()
    Image.new("L", (96, 90)).save(masks[1])
    shutil.copy(masks[2], masks[2].with_name("99999_1.png"))
    found = only(check_data_set(BMAD(root, "brain")), "masks", FAIL)
    assert set(found.where) == {
        f"test/Ungood/label/{masks[0].name}: missing",
        f"test/Ungood/label/{masks[1].name}: 96 x 90 px, its image 96 x 96",
        "test/Ungood/label/99999_1.png: no image of this name",
    }
    for split in ("valid", "test"):
        shutil.rmtree(root / split / "Ungood" / "label")
    found = only(check_data_set(BMAD(root, "brain")), "masks", FAIL)
    assert "no folder of masks" in found.what


def test_counts_beside_the_published(tree, monkeypatch):
    root = tree("oct17")
    plain = check_data_set(OCT17(root))
    assert "no published counts" in plain.finding("counts").what
    counted = {(c.split, c.name): c.found for c in plain.counts}
    names = ("CNV", "DME", "DRUSEN", "normal")
    # val and test together are compared with the published test set
    both = {n: counted["val", n] + counted["test", n] for n in names}
    train = {n: counted["train", n] for n in names}
    old = Published("old release", {"train": {**train, "normal": 99}, "test and val": both})
    new = Published("new release", {"train": train, "test and val": both})
    monkeypatch.setitem(PUBLISHED, "oct17", (old, new))
    report = check_data_set(OCT17(root))
    assert report.finding("counts").what == "as published (new release)"
    assert report.whole
    sorted((root / "train" / "NORMAL").iterdir())[0].unlink()
    found = check_data_set(OCT17(root)).finding("counts")
    assert found.verdict is FAIL
    assert found.where == (f"train normal: {train['normal'] - 1} of {train['normal']}",)
    # without val the release has its images in test
    for name in names[:3]:
        shutil.rmtree(root / "val" / name)
    shutil.rmtree(root / "val")
    monkeypatch.setitem(PUBLISHED, "oct17", (Published("x", {"test and val": both}),))
    assert check_data_set(OCT17(root)).finding("counts").verdict is FAIL


def test_no_patient_id_is_told(write_table):
    rows = [("Mass", s, "Doe^Jane", (20, 20 + i), "png") for i, s in enumerate(("train", "test"))]
    rows += [("normal", s, "Roe^Max", (20, 30), "png") for s in ("train", "test")]
    report = check_data_set(TableData(write_table(rows)))
    text = json_text(report.content())
    assert report.finding("patients across splits").count == 2
    assert "Doe" not in text
    assert "Roe" not in text
