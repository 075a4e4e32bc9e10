import json
import os
import shutil

import pytest

from tests.trees import write_bmad_tree


@pytest.fixture
def whole(data, tmp_path):
    """A table of pictures that nothing is wrong with: the last is neither twice nor a leak."""
    return data


def test_a_whole_table_ends_with_zero(sdmad, whole):
    done = sdmad("data", "check", "--labels", whole)
    assert done.status == 0, done.err
    assert "24 images, whole" in done.out
    assert "PASS" in done.out
    assert "FAIL" not in done.out


def test_a_failed_check_ends_with_one_and_says_where(sdmad, whole, tmp_path):
    (whole.parent / "003.png").unlink()
    target = tmp_path / "check.json"
    done = sdmad("data", "check", "--labels", whole, "--json", "--out", target)
    assert done.status == 1
    assert done.out == f"{target}: table: 24 images, NOT whole and right\n"
    content = json.loads(target.read_text())
    assert content["whole"] is False
    assert content["images"] == 24
    (missing,) = [f for f in content["findings"] if f["check"] == "missing files"]
    assert missing["verdict"] == "FAIL"
    assert missing["where"] == ["003.png"]
    assert missing["mend"].startswith("download or unpack")
    again = sdmad("data", "check", "--labels", whole, "--json", "--out", target)
    assert again.status == 2
    assert "exists already" in again.err
    done = sdmad("data", "check", "--labels", whole, "--json", "--out", target, "--force")
    assert done.status == 1


def test_a_data_set_by_its_name_with_counts(sdmad, tmp_path):
    write_bmad_tree(tmp_path / "brain", "brain", 24)
    done = sdmad("data", "check", "--data", "bmad-brain", "--root", tmp_path)
    assert done.status == 1
    flat = " ".join(done.out.split())
    assert "7,500" in flat
    assert "each with a mask of its size" in flat
    shutil.rmtree(tmp_path / "brain" / "test")
    done = sdmad("data", "check", "--data", "bmad-brain", "--root", tmp_path)
    assert done.status == 1
    assert "neither this folder nor" in " ".join(done.out.split())


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--data", "oct17", "--root", "nowhere"), "no such folder"),
        (("--labels", "nowhere.csv"), "no such file"),
        (("--labels", "x" * 300), "no such file"),
        (("--data", "oct17"), "needs --root FOLDER"),
        (("--data", "oct17", "--labels", "x.csv"), "give one of both"),
        ((), "give --data NAME and --root FOLDER, or --labels LABELS.csv"),
    ],
)
def test_mistakes_are_one_line(sdmad, arguments, message):
    done = sdmad("data", "check", *arguments)
    assert done.status == 2
    assert message in done.err
    assert "Traceback" not in done.err


def test_a_table_that_is_no_regular_file(sdmad, tmp_path):
    os.mkfifo(tmp_path / "pipe.csv")
    done = sdmad("data", "check", "--labels", str(tmp_path / "pipe.csv"))
    assert done.status == 1
    assert "not a regular file" in " ".join(done.out.split())


def test_no_patient_is_named(sdmad, whole):
    text = whole.read_text().replace("file,patient,labels", "file,patient,labels,split")
    lines = text.splitlines()
    spoilt = [
        lines[0],
        *(f"{line},{'test' if i % 2 else 'train'}" for i, line in enumerate(lines[1:])),
    ]
    whole.write_text("\n".join(spoilt) + "\n")
    done = sdmad("data", "check", "--labels", whole)
    assert done.status == 1
    assert "12 of 12 patients are on both sides" in " ".join(done.out.split())
    assert "person" not in done.out + done.err
