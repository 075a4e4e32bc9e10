from dataclasses import replace

import numpy as np
import pytest
from PIL import Image

from sdmad.data.fewshot import read_support, write_support
from sdmad.data.mvfa_lists import read_mvfa_support
from sdmad.data.sets import MVFA
from sdmad.data.table import read_label_table
from sdmad.errors import InputError

ROWS = [
    "v/good/1.png,normal,valid",
    "v/good/2.png,normal,valid",
    "v/bad/1.png,A,valid",
    "v/bad/3.png,A|B,valid",
    "t/good/1.png,normal,test",
    "t/bad/3.png,B,test",
    "u/9.png,,valid",
]


@pytest.fixture
def table(make_table):
    return make_table("file,labels,split\n" + "\n".join(ROWS) + "\n", files=["v/good/1.png"])


@pytest.fixture
def listed(tmp_path):
    def write(text):
        path = tmp_path / "2-shot.txt"
        path.write_bytes(text if isinstance(text, bytes) else text.encode())
        return path

    return write


@pytest.mark.parametrize(
    "text", ["n-0: 2.png 1.png\na-0: 3.png 1.png", "a-0: 3.png 1.png \r\n\nn-0: 2.png 1.png\n"]
)
def test_by_hand(table, listed, text, tmp_path):
    support = read_mvfa_support(listed(text), table)
    assert support.indices == (0, 1, 2, 3)
    assert support.served == {"A": (2, 3), "B": (3,), "normal": (0, 1)}
    assert (support.shots, support.seed, support.notes) == (2, 0, ())
    assert np.flatnonzero(support.evaluation(table)).tolist() == [4, 5]
    write_support(tmp_path / "s.json", support, table)
    assert read_support(tmp_path / "s.json", table) == support


def test_without_a_split_all_images_are_looked_at(make_table, listed):
    table = make_table("file,labels\na.png,A\nb.png,normal\n", files=["a.png"])
    assert read_mvfa_support(listed("a-0: a.png\nn-0: b.png"), table).indices == (0, 1)


def test_several_draws_and_unequal_sides(table, listed):
    path = listed("n-0: 1.png\na-0: 1.png\nn-1: 1.png 2.png\na-1: 3.png\n")
    support = read_mvfa_support(path, table, 1)
    assert support.indices == (0, 1, 3)
    assert (support.shots, support.seed) == (1, 1)
    assert support.notes == ("2-shot.txt: 2 normal and 1 abnormal images",)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("n-0: 1.png\na-0: 4.png", "row 2: 4.png is not among the valid abnormal images"),
        ("a-0: 2.png\nn-0: 1.png", "row 1: 2.png is listed as abnormal, but .* has it as normal"),
        ("n-0: 1.png\na-0: 9.png", "row 2: 9.png is not among"),
        ("n-0: 1.png", "no line 'a-0: file ...' with abnormal images"),
        ("n-0:\na-0: 1.png", "no line 'n-0: file ...' with normal images"),
        ("n-1: 1.png\na-1: 1.png", "no line 'n-0"),
        ("n-0: 1.png 1.png\na-0: 1.png", "row 1: names 1.png twice"),
        ("n-0: 1.png\nn-0: 2.png", "row 2: a second line n-0:"),
        ("normal: 1.png\n", "row 1: a line must begin with n-0: or a-0:"),
        (b"\xff\xfe", "line 1: not UTF-8 text"),
        (b"n-0: " + b"x" * (1 << 20), "larger than 1,048,576 bytes"),
    ],
)
def test_mistakes(table, listed, text, message):
    with pytest.raises(InputError, match=message) as caught:
        read_mvfa_support(listed(text), table)
    assert "2-shot.txt" in str(caught.value)


def test_no_list(table, tmp_path):
    with pytest.raises(InputError, match=r"none.txt: no such file"):
        read_mvfa_support(tmp_path / "none.txt", table)


def test_one_name_twice_on_a_side(make_table, listed):
    table = make_table("file,labels\na/1,A\nb/1,A\nc,normal\n", files=["c"])
    with pytest.raises(InputError, match="1 stands 2 times among the abnormal images"):
        read_mvfa_support(listed("a-0: 1\nn-0: c"), table)


CLASSES = ["Brain", "Liver", "Retina_RESC", "Retina_OCT2017", "Chest", "Histopathology"]


@pytest.mark.parametrize("name", CLASSES)
def test_the_real_lists(realdata, tmp_path, name):
    """Every list fits a tree that holds the images of the longest."""
    lists = realdata / "tables" / "mvfa_fewshot" / name
    sides = {"n": "good", "a": "Ungood"}
    for side in sides.values():
        (tmp_path / f"{name}_AD" / "test" / side / "img").mkdir(parents=True)
        (tmp_path / f"{name}_AD" / "valid" / side / "img").mkdir(parents=True)
    for path in lists.glob("*.txt"):
        for line in path.read_text().splitlines():
            head, *files = line.split()
            for file in files:
                folder = tmp_path / f"{name}_AD" / "valid" / sides[head[0]] / "img"
                Image.new("L", (4, 4)).save(folder / file)
    data = MVFA(tmp_path, name)
    for shots in (2, 4, 8, 16):
        support = read_mvfa_support(lists / f"{shots}-shot.txt", data.table)
        assert len(support.served["abnormal"]) == len(support.served["normal"]) == shots
        assert support.notes == ()


def test_the_real_oct_images_are_those_of_the_lists(realdata, listed):
    """The abnormal images of Retina_OCT2017's list are among the 32; here they end in .jpg."""
    table = read_label_table(realdata / "oct2017_val32" / "labels.csv")
    table = replace(table, files=tuple(file.with_suffix(".jpeg") for file in table.files))
    path = realdata / "tables" / "mvfa_fewshot" / "Retina_OCT2017" / "16-shot.txt"
    (abnormal,) = [line for line in path.read_text().splitlines() if line.startswith("a-0:")]
    normal = table.files[int(np.argmax(table.normal))].name
    support = read_mvfa_support(listed(f"{abnormal}\nn-0: {normal}"), table)
    counts = {name: len(rows) for name, rows in support.served.items()}
    assert counts == {"CNV": 6, "DME": 4, "DRUSEN": 6, "normal": 1}  # counted in the list by hand
