import json
import shutil

import pytest

from sdmad.phantoms.trees import write_bmad_tree


@pytest.fixture
def whole(data, tmp_path):
    """A table of pictures that nothing is wrong with: the last is neither twice nor a leak."""
    return data


def test_a_whole_table_ends_with_zero(sdmad, whole):
    done = sdmad("data", "check", "table", whole)
    assert done.status == 0, done.err
    assert "24 images, whole" in done.out
    assert "PASS" in done.out
    assert "FAIL" not in done.out


def test_a_failed_check_ends_with_one_and_says_where(sdmad, whole, tmp_path):
    (whole.parent / "003.png").unlink()
    target = tmp_path / "check.json"
    done = sdmad("data", "check", "table", whole.parent, "--json", target)
    assert done.status == 1
    flat = " ".join(done.out.split())
    assert "NOT whole and right" in flat
    assert "003.png" in flat
    content = json.loads(target.read_text())
    assert content["whole"] is False
    assert content["images"] == 24
    (missing,) = [f for f in content["findings"] if f["check"] == "missing files"]
    assert missing["verdict"] == "FAIL"
    assert missing["where"] == ["003.png"]
    assert missing["mend"].startswith("download or unpack")
    again = sdmad("data", "check", "table", whole.parent, "--json", target)
    assert again.status == 2
    assert "exists already" in again.err
    assert sdmad("data", "check", "table", whole, "--json", target, "--force").status == 1


def test_a_data_set_by_its_name_with_counts(sdmad, tmp_path):
    write_bmad_tree(tmp_path / "brain", "brain", 24)
    done = sdmad("data", "check", "bmad-brain", tmp_path)
    assert done.status == 1
    flat = " ".join(done.out.split())
    assert "7,500" in flat
    assert "each with a mask of its size" in flat
    shutil.rmtree(tmp_path / "brain" / "test")
    done = sdmad("data", "check", "bmad-brain", tmp_path)
    assert done.status == 1
    assert "neither this folder nor" in " ".join(done.out.split())


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("chestxray", "."), "did you mean 'chestxray8'"),
        (("oct17", "nowhere"), "no such folder"),
        (("table", "nowhere.csv"), "no such file"),
    ],
)
def test_mistakes_are_one_line(sdmad, arguments, message):
    done = sdmad("data", "check", *arguments)
    assert done.status == 2
    assert message in done.err
    assert "Traceback" not in done.err


def test_no_patient_is_named(sdmad, whole):
    text = whole.read_text().replace("file,patient,labels", "file,patient,labels,split")
    lines = text.splitlines()
    spoilt = [
        lines[0],
        *(f"{line},{'test' if i % 2 else 'train'}" for i, line in enumerate(lines[1:])),
    ]
    whole.write_text("\n".join(spoilt) + "\n")
    done = sdmad("data", "check", "table", whole)
    assert done.status == 1
    assert "12 of 12 patients are on both sides" in " ".join(done.out.split())
    assert "person" not in done.out + done.err
