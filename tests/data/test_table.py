import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from sdmad.data.labels import canonical_name
from sdmad.data.table import parse_label_table, read_label_table
from sdmad.errors import InputError

NAN = math.nan


def check(table, labels, normal):
    np.testing.assert_array_equal(table.labels, labels)
    assert table.labels.dtype == np.float64
    assert table.normal.tolist() == normal


def test_names_form(make_table, tmp_path):
    table = make_table(
        "file,labels,patient,split\n"
        "a.png,Pleural_Thickening|mass,7,TRAIN\n"
        "sub/b.png,No Finding,,test\n"
        "c.png,,7,val\n"
        "d.png, MASS ,8,val\n",
        ["Mass", "Hernia", "pleural thickening"],
        ["a.png"],
    )
    check(table, [[1, 0, 1], [0, 0, 0], [NAN] * 3, [1, 0, 0]], [False, True, False, False])
    assert table.categories == ("Mass", "Hernia", "pleural thickening")
    assert table.files[1] == tmp_path / "sub" / "b.png"
    assert table.rows == (2, 3, 4, 5)
    assert table.patients == ("7", "", "7", "8")
    assert table.splits == ("train", "test", "val", "val")
    missing = "3 of the 4 files are missing (row 3, 4, 5)"
    assert table.notes == ("no image in the table has Hernia", missing)
    assert table.missing() == (1, 2, 3)
    assert len(table) == 4


def test_names_form_without_a_bank(make_table):
    table = make_table("file,labels\na,mass|Cyst\nb,MASS\nc,none\n", None, ["a"])
    assert table.categories == ("Cyst", "mass")
    check(table, [[1, 1], [0, 1], [0, 0]], [False, False, True])
    assert table.patients is None
    assert table.splits is None


def test_column_form(make_table):
    table = make_table(
        "file,Mass,pleural-thickening\na,1,0\nb,0.0,FALSE\nc,,yes\nd,True,\ne,0,\n",
        ["Pleural_Thickening", "MASS"],
        ["a"],
    )
    check(
        table,
        [[0, 1], [0, 0], [1, NAN], [NAN, 1], [NAN, 0]],
        # all-zero and complete is normal; all-zero with an unknown label is not
        [False, True, False, False, False],
    )


def test_normal_column(make_table):
    table = make_table(
        "file,a,b,No Finding\n1,,0,1\n2,0,0,0\n3,0,0,\n4,0,,\n5,1,0,0\n", ["a", "b"], ["1"]
    )
    check(
        table,
        [[0, 0], [0, 0], [0, 0], [0, NAN], [1, 0]],
        # a blank where normal could have been said is no health
        [True, False, False, False, False],
    )


def test_a_finding_that_is_no_category_is_no_health(make_table):
    text = "file,Mass,Fracture,portable\n1,0,0,0\n2,0,1,0\n3,0,,1\n4,1,0,0\n5,0,,\n"
    table = make_table(text, ["Mass"], ["1"])
    check(table, [[0], [0], [0], [1], [0]], [True, False, False, False, True])
    assert "Fracture, portable; an image with a 1 in one of them, or" in table.notes[0]
    odd = "file,Mass,Fracture,valid\n1,0,0,1\n2,0,1,1\n3,0,-1,1\n4,1,0,1\n5,0,0,1\n"
    table = make_table(odd, ["Mass"], ["1"])  # one odd cell hides no finding; all 1 is none
    check(table, [[0], [0], [0], [1], [0]], [True, False, False, False, True])
    doubtful = "file,Mass,Fracture\n1,0,-1\n2,0,maybe\n3,0,0.0\n4,0,NA\n5,0,1.0\n6,0,0\n7,1,0\n"
    table = make_table(doubtful, ["Mass"], ["1"])  # what is perhaps there is no health either
    check(table, [[0]] * 6 + [[1]], [False, False, True, True, False, True, False])
    male = "file,Mass,male\n1,0,1\n2,0,1\n3,0,0\n4,1,0\n"
    assert "2 of 3 images without a finding do not" in make_table(male, ["Mass"], "1234").notes[-1]
    told = "file,Mass,Fracture,adult\n1,0,,1\n2,0,1,1\n3,0,,1\n4,1,NA,1\n"  # told only where it is
    check(make_table(told, ["Mass"], ["1"]), [[0], [0], [0], [1]], [True, False, True, False])
    declared = "file,Mass,Fracture,normal\n1,0,0,1\n2,0,1,1\n3,0,1,0\n4,0,0,\n"
    table = make_table(declared, ["Mass"], ["1"])
    check(table, [[0]] * 4, [True, True, False, False])


def test_columns_without_a_bank(make_table):
    table = make_table(
        "file,age,B,A,sex,empty,normal,patient\n1,57,1,,M,,0,x\n2,1,0,0,F,,1,x\n3,80,,1,M,,0,y\n",
        None,
        ["1"],
    )
    assert table.categories == ("B", "A")
    check(table, [[1, NAN], [0, 0], [NAN, 1]], [False, True, False])


def test_column_notes(make_table):
    table = make_table("file,a,other,age\n1,1,0,5\n2,0,1,1\n", ["a", "b"], "12")
    assert table.notes == (
        "no column for b: unknown for every image not declared normal",
        "columns of 1 and 0 that are no category were ignored: other; an image with a 1 in one of "
        "them, or a mark such as -1, counts as normal only where a column for normal says so",
    )
    check(table, [[1, NAN], [0, NAN]], [False, False])


@pytest.mark.parametrize(
    "name",
    [
        "Image Index",
        "image",
        "path",
        "FILENAME",
        "image_path",
        "image_id",
        "Image-Name",
        "filepath",
    ],
)
@pytest.mark.parametrize("labels", ["Finding Labels", "label", "labels"])
@pytest.mark.parametrize("patient", ["Patient ID", "patient_id", "patient"])
def test_other_names_of_columns(make_table, name, labels, patient):
    table = make_table(f"{name},{labels},{patient}\na.png,Mass,3\n", ["mass"], ["a.png"])
    check(table, [[1]], [False])
    assert table.patients == ("3",)


@pytest.mark.parametrize("separator", [",", ";", "\t"])
@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
@pytest.mark.parametrize("mark", [b"", b"\xef\xbb\xbf"])
def test_separators_line_ends_and_marks(make_table, separator, end, mark):
    lines = ["file,labels,split", "a.png,Ödem,train", "", 'b.png,"normal",test', ""]
    text = end.join(lines).replace(",", separator)
    table = make_table(mark + text.encode(), None, ["a.png"])
    check(table, [[1], [0]], [False, True])
    assert table.categories == ("Ödem",)
    assert table.rows == (2, 4)


def test_headers_of_the_nih_table(make_table):
    table = make_table(
        "Image Index,Finding Labels,Follow-up #,Patient ID,OriginalImage[Width,Height],\n"
        "1.png,Mass|Nodule,0,12,2682,2749,\n",
        ["Mass", "Nodule"],
        ["1.png"],
    )
    check(table, [[1, 1]], [False])


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "empty; a header line"),
        ("\n \n", "empty; a header line"),
        ("file,labels\n", "no rows below the header"),
        ("a.png,Mass\nb.png,Mass\n", "no column named file .* found: a.png, Mass"),
        ("file,age\na,57\n", r"no column for any category \(Mass, Cyst\) and no labels column"),
        ("file,labels\na,Mas\n", "row 2, column labels: unknown label 'Mas'; did you mean 'Mass'"),
        ("file,labels\na,Qwertz\n", "unknown label 'Qwertz'; known: Mass, Cyst, normal"),
        ("file,labels\na,Mass|normal\n", "row 2, column labels: .* both normal and a finding"),
        ("file,labels\na,|\n", "row 2, column labels: no name in"),
        ("file,labels\n,Mass\n", "row 2, column file: no file name"),
        ("file,labels\na,\nb,\n", "every label is unknown; fill in column labels"),
        ("file,Mass,Cyst\na,,\n", "every label is unknown; fill in columns Mass, Cyst"),
        ("file,Mass\na,1\nb,2\n", "row 3, column Mass: '2' is no label; use 1, 0 or an empty"),
        ("file,Mass,normal\na,1,1\n", "row 2: both normal and Mass are 1"),
        ("file,Mass,normal\na,1,x\n", "row 2, column normal: 'x' is no label"),
        ("file,Mass,MASS\na,1,1\n", "columns 'Mass' and 'MASS' mean the same"),
        ("file,Mass,normal,healthy\na,1,0,0\n", "columns 'normal' and 'healthy' mean the same"),
        ("file,labels,Labels\na,Mass,Mass\n", "two columns named labels"),
        ("file,File,labels\na,a,Mass\n", "columns file and File mean the same"),
        ("file,patient,Patient ID,labels\na,1,1,Mass\n", "patient and Patient ID mean the same"),
        ("file,labels\na,Mass\na,Cyst\n", "rows 2 and 3: a stands twice with different labels"),
        ("file,labels\na,Mass\n./x/../a,\n", "rows 2 and 3: a stands twice"),
        ("file,labels\nb/1.png,Mass\n", "none of the 1 files exists; looked for .*1.png. File"),
        ("file,labels\na,Mass,x\n", "row 2: 3 fields, but the header has 2"),
        ("file,labels\nb,Mass\na\n", "row 3: 1 fields, but the header has 2"),
        ('file,labels\na,Mass\nb,"Mass\n', "row 3: cannot be read as CSV"),
        (f"file,labels\na,{'x' * 200_000}\n", "row 2: cannot be read as CSV .*field limit"),
        (" , ,\n , ,\n", "empty; a header line"),
        ("sep=|\nfile|labels\na|Mass\n", "row 1: '|' is no separator that is read"),
        ("sep=;\nfile;labels\na;Mas\n", "row 3, column labels: unknown label 'Mas'"),
        (
            f"file,labels\n{'x' * 5000},Mass\n",
            r"none of the 1 files exists; looked for .*x \.\.\. x",
        ),
        ("file,labels\nC:\\x\\1.png,Mass\n", "1.png, which is a path of another machine"),
        ("file,labels\n\\\\server\\1.png,Mass\n", "path of another machine, under Windows"),
        ("image_path,imagepath,labels\na,a,Mass\n", "image_path and imagepath mean the same"),
        (b"file,labels\na,Mass\nb,M\0\n", "row 3: holds a NUL byte"),
        (b"file,labels\na,M\xe4ss\n", r"row 2: not UTF-8 text \(byte 0xe4\); save it as CSV"),
        ("file,labels\na,Mass\n".encode("utf-16"), "encoded as UTF-16"),
    ],
)
def test_bad_tables(make_table, text, message):
    with pytest.raises(InputError, match=message) as caught:
        make_table(text, ["Mass", "Cyst"], ["a"])
    assert "labels.csv" in str(caught.value)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("file,Mass\na,1\nb,2\n", "row 3, column Mass: '2' among labels of 1 and 0"),
        ("file,age\na,57\n", "no column for any category"),
        ("file,labels\na,normal\n", "no image has a finding"),
    ],
)
def test_bad_tables_without_a_bank(make_table, text, message):
    with pytest.raises(InputError, match=message):
        make_table(text, None, ["a"])


@pytest.mark.parametrize(
    ("categories", "message"),
    [
        (["Mass", "mass"], "'Mass' and 'mass' are the same name"),
        (["No finding"], "means the normal class"),
        ([], "at least one category"),
    ],
)
def test_bad_categories(make_table, categories, message):
    with pytest.raises(InputError, match=message):
        make_table("file,labels\na,Mass\n", categories, ["a"])


def test_a_line_may_name_the_separator(make_table):
    for first in ("sep=;", '"sep=;"', "SEP=;\r", "\ufeffsep=;"):
        table = make_table(f"{first}\nfile;labels\na,b;Mass\n", None, ["a,b"])
        assert table.rows == (3,)
        check(table, [[1]], [False])
    assert make_table("sep=\t\nfile\tlabels\na\tMass\n", None, ["a"]).rows == (3,)


@pytest.mark.parametrize("one", ["1,0", "1,000", "1"])
def test_numbers_with_a_decimal_comma(make_table, one):
    table = make_table(f"file;Mass;Cyst\na;{one};0,0\nb;0;{one}\n", None, "ab")
    check(table, [[1, 0], [0, 1]], [False, False])
    with pytest.raises(InputError, match="row 3, column Mass: '0,5'"):
        make_table(f"file;Mass\na;{one}\nb;0,5\n", ["Mass"], "ab")


@pytest.mark.parametrize("word", ["NA", "n/a", "NaN", "null", "#N/A", "<NA>"])
def test_words_for_nothing_are_unknown(make_table, word):
    table = make_table(f"file,Mass,patient\na,1,{word}\nb,{word},{word}\n", ["Mass"], "ab")
    check(table, [[1], [NAN]], [False, False])
    assert table.patients == ("", "")
    named = make_table(f"file,labels\na,Mass\nb,{word}\n", None, "ab")
    assert named.categories == ("Mass",)
    check(named, [[1], [NAN]], [False, False])
    check(make_table(f"file,labels\na,{word}\n", [word], "a"), [[1]], [False])


@pytest.mark.parametrize(
    ("name", "file"),
    [
        ("img\\a.png", "img/a.png"),
        (".\\img\\..\\img\\a.png", "img/a.png"),
        ("a.PNG", "a.png"),
        ("A.png", "a.PNG"),
        ("Img\\A.Png", "img/a.png"),
        ("1.2.840.1", "1.2.840.1.dcm"),
        ("scan", "scan.nii.gz"),
        ("VOL\\scan#8", "vol/scan.nii.gz#8"),
    ],
)
def test_files_are_found_under_another_spelling(make_table, tmp_path, name, file):
    there = [file.partition("#")[0], "img/b.png"]
    table = make_table(f"file,labels\n{name},Mass\nimg/b.png,Mass\n", None, there)
    assert table.files == (tmp_path / file, tmp_path / "img" / "b.png")
    (note,) = table.notes
    assert note.startswith("1 files were found under another spelling")
    assert note.endswith(f"{name} as {Path(file).name}")


def test_a_name_to_the_letter_comes_first_and_two_others_are_one_too_many(make_table, tmp_path):
    there = ["x\\a.png", "x/a.png", "b.png", "b.PNG", "c.png", "c.dcm", "d.png"]
    names = ("x\\a.png", "b.png", "B.png", "c", "d.png/", "e\\f.png")
    text = "file,labels\n" + "".join(f"{name},Mass\n" for name in names)
    table = make_table(text, None, there)
    letters = ("x\\a.png", "b.png", "B.png", "c", "d.png", "e\\f.png")
    assert table.files == tuple(tmp_path / name for name in letters)
    assert table.missing() == (2, 3, 5)
    assert table.notes == ("3 of the 6 files are missing (row 4, 5, 7)",)


def test_rows_of_one_file_in_two_spellings_are_one(make_table):
    with pytest.raises(InputError, match=r"rows 2 and 3: a\.png stands twice"):
        make_table("file,labels\nx\\a.png,Mass\nx/a.png,Cyst\n", None, ["x/a.png"])


def test_a_cell_that_no_file_can_be_called_is_a_missing_file(make_table):
    table = make_table(f"file,labels\na,Mass\n{'x' * 5000},Mass\n{'y/' * 5000},Mass\n", None, "a")
    assert table.missing() == (1, 2)


def test_a_table_that_is_no_small_file_is_refused(tmp_path, monkeypatch):
    with pytest.raises(InputError, match="not a regular file"):
        read_label_table("/dev/zero")
    monkeypatch.setattr("sdmad.data.csvfile.MAX_TABLE", 10)
    (tmp_path / "labels.csv").write_text("file,labels\na,Mass\n")
    with pytest.raises(InputError, match="larger than 10 bytes"):
        read_label_table(tmp_path / "labels.csv")


def test_no_table(tmp_path):
    with pytest.raises(InputError, match=r"none\.csv: no such file"):
        read_label_table(tmp_path / "none.csv")
    with pytest.raises(InputError, match="a folder; give the file"):
        read_label_table(tmp_path)


def test_repeated_rows_are_dropped(make_table):
    table = make_table("file,labels\na,Mass\nb,normal\n./a,mass\na,\n"[:-3], None, "ab")
    assert table.rows == (2, 3)
    assert table.notes == ("1 repeated rows dropped (row 4)",)
    check(table, [[1], [0]], [False, True])


def test_row_is_the_line_even_after_a_cell_of_two_lines(make_table):
    path = make_table('file,labels,note\na,Mass,"one\ntwo"\nb,Mas,\n', read=False)
    with pytest.raises(InputError, match="row 4, column labels"):
        read_label_table(path, ["Mass"])


def test_relative_path_of_the_table(make_table, tmp_path, monkeypatch):
    make_table("file,labels\na,Mass\n", files=["a"], read=False)
    monkeypatch.chdir(tmp_path)
    table = read_label_table("labels.csv")
    assert table.files == (tmp_path / "a",)
    assert table.path == tmp_path / "labels.csv"


def test_canonical_name():
    assert canonical_name("Pleural_Thickening") == canonical_name(" pleural-THICKENING")
    assert canonical_name("Mass") != canonical_name("Masses")


def test_subset(make_table):
    table = make_table(
        "file,labels,patient,split\na,Mass,1,train\nb,normal,2,test\nc,Mass,3,test\n",
        files=["a"],
    )
    part = table.subset([2, 0])
    assert [file.name for file in part.files] == ["c", "a"]
    assert (part.rows, part.patients, part.splits) == ((4, 2), ("3", "1"), ("test", "train"))
    check(part, [[1], [1]], [False, False])
    assert table.subset(table.normal).rows == (3,)
    assert len(table.subset([])) == 0
    with pytest.raises(ValueError, match=r"expected a mask of shape \(3,\), got \(2,\)"):
        table.subset(np.array([True, False]))
    with pytest.raises(ValueError, match="expected indices from 0 to 2"):
        table.subset([3])


def splits_table(make_table, splits):
    rows = "".join(f"{i},Mass,{split}\n" for i, split in enumerate(splits))
    return make_table("file,labels,split\n" + rows, files=["0"])


def test_pools(make_table):
    words = ["train", "Training", "val", "VALID", "validation", "test", "Testing"]
    pool, evaluation, notes = splits_table(make_table, words).pools()
    assert pool.tolist() == [True] * 5 + [False] * 2
    assert evaluation.tolist() == [False] * 5 + [True] * 2
    assert notes == ()


@pytest.mark.parametrize("words", [["val", "val"], ["train", "val"], ["test", "testing"]])
def test_one_sided_split_is_ignored_with_a_note(make_table, words):
    pool, evaluation, notes = splits_table(make_table, words).pools()
    assert pool.all()
    assert evaluation.all()
    assert len(notes) == 1
    assert "split column ignored" in notes[0]


def test_no_split(make_table):
    for table in (
        splits_table(make_table, ["", ""]),
        make_table("file,labels\n0,Mass\n1,Mass\n", files=["0"]),
    ):
        pool, evaluation, notes = table.pools()
        assert pool.all()
        assert evaluation.all()
        assert notes == ()


@pytest.mark.parametrize("word", ["holdout", ""])
def test_unknown_split(make_table, word):
    table = splits_table(make_table, ["train", word, "test"])
    with pytest.raises(InputError, match=f"row 3, column split: '{word}' is not a split"):
        table.pools()


def test_patient_keys(make_table):
    table = make_table("file,labels,patient\na,Mass,1\nb,Mass,\nc,Mass,1\nd,Mass,\n", files=["a"])
    keys = table.patient_keys()
    assert keys[0] == keys[2]
    assert len(set(keys)) == 3


def test_slices_of_a_volume_stand_for_their_file(make_table, tmp_path):
    table = make_table("file,labels\nv.h5#3,A\nv.h5#4,normal\nw.h5#0,A\n", files=["v.h5"])
    assert table.files[0] == tmp_path / "v.h5#3"
    assert table.missing() == (2,)


def test_ordered_as_in_a_bank(make_table):
    table = make_table("file,Big_Mass,Cyst,Node\na,1,0,\nb,0,1,1\n", files=["a"])
    same = table.ordered(["node", "big mass", "Cyst"])
    assert same.categories == ("node", "big mass", "Cyst")
    check(same, [[NAN, 1, 0], [1, 0, 1]], [False, False])
    assert same.files == table.files
    with pytest.raises(InputError, match="not in the table: Edema; only in the table: Node"):
        table.ordered(["Big_Mass", "Cyst", "Edema"])


def test_the_folder_of_a_table_and_of_a_data_set_without_one(make_table, tmp_path):
    table = make_table("file,labels\na,A\n", files=["a"])
    assert table.folder == tmp_path
    assert replace(table, path=tmp_path).folder == tmp_path


def test_a_table_may_be_parsed_before_its_images_are_there(make_table, tmp_path):
    path = make_table("file,labels\na,A\nb,normal\n", read=False)
    table = parse_label_table(path, None, lambda name: tmp_path / "deep" / name)
    assert table.files == (tmp_path / "deep" / "a", tmp_path / "deep" / "b")
    assert table.missing() == (0, 1)


def test_unnamed_columns_at_the_end_may_be_left_out(make_table):
    table = make_table("file,labels,,\na,A\nb,normal,,\nc,A,\n", files=["a"])
    check(table, [[1], [0], [1]], [False, True, False])
