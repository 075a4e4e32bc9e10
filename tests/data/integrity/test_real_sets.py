"""What the check says of the real sets at hand, and of the real tables."""

import gzip

from sdmad.data.integrity import Verdict, check_data_set
from sdmad.data.integrity.counts import count_slices
from sdmad.data.integrity.published import PUBLISHED
from sdmad.data.sets import FastMRIPlus, TableData


def test_patients_on_both_sides_of_the_nih_split(realdata):
    report = check_data_set(TableData(realdata / "nih_cxr14_64px"))
    found = report.finding("patients across splits")
    assert found.verdict is Verdict.FAIL
    table = TableData(realdata / "nih_cxr14_64px").table
    sides = {
        s: {p for p, t in zip(table.patients, table.splits, strict=True) if (t == "test") == s}
        for s in (True, False)
    }
    assert found.count == len(sides[True] & sides[False]) == 9
    # each place names one row of either side, of one patient
    line = {row: i for i, row in enumerate(table.rows)}
    for place in found.where:
        first, second = (line[int(n)] for n in place.removeprefix("rows ").split(", "))
        assert table.patients[first] == table.patients[second]
        assert {table.splits[first] == "test", table.splits[second] == "test"} == {True, False}
    assert report.finding("size and format").verdict is Verdict.PASS


def test_image_size_gives_the_brain_classes_away(realdata):
    report = check_data_set(TableData(realdata / "brain_mri_tumor4" / "labels.csv"))
    found = report.finding("size and format")
    assert found.verdict is Verdict.WARN
    assert found.where[0].startswith("normal: AUROC 0.8")
    assert report.finding("identical images").verdict is Verdict.PASS
    assert report.whole


def test_the_published_counts_of_fastmri_plus(realdata, tmp_path):
    tables = realdata / "tables" / "fastmri_plus"
    (tmp_path / "brain.csv").write_bytes(gzip.decompress((tables / "brain.csv.gz").read_bytes()))
    names = (tables / "brain_file_list.csv").read_text()
    (tmp_path / "brain_file_list.csv").write_text(names)
    assert count_slices(FastMRIPlus(tmp_path)) == PUBLISHED["fastmri-plus"][0].counts


def test_the_oct_images(realdata):
    report = check_data_set(TableData(realdata / "oct2017_val32" / "labels.csv"))
    assert report.whole
    assert {f.verdict for f in report.findings} == {Verdict.PASS}
