"""The traps of fastMRI+, planted in volumes of sixteen small slices."""

import h5py
import numpy as np
import pytest

from sdmad.data.integrity import Verdict, check_data_set
from sdmad.data.sets import FastMRIPlus

HEADER = "file,slice,study_level,x,y,width,height,label"
VOLUMES = 12


def write(root, flip=True, outside=False, slices=16, rows=()):
    """Volumes with a bright square where the box is; stored upside down unless spoilt."""
    (root / "Annotations").mkdir(parents=True)
    lines = [HEADER, *rows]
    rng = np.random.default_rng(3)
    for i in range(VOLUMES):
        volume = rng.uniform(0.1, 0.2, (slices, 40, 40)).astype(np.float32)
        top, left = 4 + i % 5, 6 + i
        volume[5, top : top + 6, left : left + 8] += 0.8
        with h5py.File(root / f"v{i}.h5", "w") as file:
            file["reconstruction_rss"] = volume[:, ::-1] if flip else volume
        if i < VOLUMES - 2:
            width = 80 if outside and i == 0 else 8
            lines.append(f"v{i},5,No,{left},{top},{width},6,Nonspecific lesion")
    (root / "Annotations" / "brain.csv").write_text("\n".join(lines) + "\n")
    names = "\n".join(f"v{i}" for i in range(VOLUMES))
    (root / "Annotations" / "brain_file_list.csv").write_text(names)
    return root


def finding(root, check):
    return check_data_set(FastMRIPlus(root)).finding(check)


def test_a_whole_set(tmp_path):
    report = check_data_set(FastMRIPlus(write(tmp_path, rows=["v0,0,Yes,,,,,Normal for age"])))
    assert {f.check for f in report.findings if f.verdict is not Verdict.PASS} == {"counts"}
    # of ten volumes with a box, all ten stand out
    assert report.finding("flipped boxes").what.startswith("10 of 10 volumes")
    assert report.finding("boxes outside").what == "all 10 boxes lie inside their images"
    assert report.finding("study-level labels").what.startswith("1, all at slice 0")
    assert report.finding("reviewed without finding").what.startswith("2 of 12 volumes")
    assert "0 volumes here were not reviewed" in report.finding("unlisted files").what
    counts = {(c.split, c.name): (c.found, c.published) for c in report.counts}
    assert counts["all", "reviewed volumes"] == (12, 1001)
    assert counts["slice 5", "Nonspecific lesion"] == (10, 50)


def test_volumes_that_someone_flipped(tmp_path):
    found = finding(write(tmp_path, flip=False), "flipped boxes")
    assert found.verdict is Verdict.FAIL
    assert "0 of 10 volumes" in found.what
    assert "upside down to each other" in found.what


def test_undecided_orientation(tmp_path):
    write(tmp_path)
    for i in range(0, VOLUMES, 2):
        with h5py.File(tmp_path / f"v{i}.h5", "a") as file:
            file["reconstruction_rss"][:] = file["reconstruction_rss"][:][:, ::-1]
    found = finding(tmp_path, "flipped boxes")
    assert found.verdict is Verdict.WARN
    assert "5 of 10 volumes" in found.what


def test_boxes_outside(tmp_path):
    found = finding(write(tmp_path, outside=True), "boxes outside")
    assert found.verdict is Verdict.FAIL
    assert found.where == ("row 2 of brain.csv",)


def test_study_level_label_at_another_slice(tmp_path):
    rows = ["v0,0,Yes,,,,,Normal for age", "v1,5,Yes,,,,,Normal for age"]
    found = finding(write(tmp_path, rows=rows), "study-level labels")
    assert found.verdict is Verdict.WARN
    assert found.where == ("row 3 of brain.csv",)
    assert found.what.startswith("1 of 2")


def test_slices_that_lack(tmp_path):
    rows = ["v0,9,No,1,1,2,2,Mass"]
    found = finding(write(tmp_path, slices=8, rows=rows), "slices")
    assert found.verdict is Verdict.FAIL
    assert found.where == ("row 2 of brain.csv: slice 9, the volume has 8",)


def test_volumes_without_a_reconstruction_and_damaged_ones(tmp_path):
    write(tmp_path)
    with h5py.File(tmp_path / "v1.h5", "w") as file:
        file["kspace"] = np.zeros((16, 4, 4))
    (tmp_path / "v2.h5").write_bytes((tmp_path / "v2.h5").read_bytes()[:3000])
    found = finding(tmp_path, "unreadable")
    assert found.verdict is Verdict.FAIL
    assert found.count == 2
    assert "v1.h5: HDF5 without reconstruction_rss" in found.where[0]
    assert "v2.h5: a damaged HDF5 file" in found.where[1]


def test_a_volume_that_nobody_reviewed(tmp_path):
    write(tmp_path)
    (tmp_path / "v11.h5").rename(tmp_path / "other.h5")
    report = check_data_set(FastMRIPlus(tmp_path))
    assert "1 volumes here were not reviewed" in report.finding("unlisted files").what
    assert report.finding("missing files").where == ("v11.h5",)


@pytest.mark.parametrize("name", ["v0", "v1"])
def test_one_volume_under_two_names(tmp_path, name):
    write(tmp_path)
    (tmp_path / f"{name}.h5").write_bytes((tmp_path / "v10.h5").read_bytes())
    found = finding(tmp_path, "identical images")
    # v10 has no finding; at slice 0 neither has the other
    assert found.verdict is Verdict.WARN
