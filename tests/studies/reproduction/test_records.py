import json

import pytest

from sdmad.evaluation.intervals import DrawSummary
from sdmad.studies.reproduction.records import (
    FIELDS,
    Record,
    compact_table,
    long_tables,
    write_records,
)

NAN = float("nan")


def record(**changes):
    values = {
        "part": "slice 5",
        "population": "abnormal",
        "columns": 5,
        "what": "hamming_score",
        "system": "some system",
        "summary": DrawSummary(0.75, 0.02, 0.7, 0.8, (0.72, 0.78), (0.71, 0.79)),
        "paper": 81.0,
        "images": (100, 98),
        "positives": (12, 14),
        "negatives": (88, 84),
    }
    return Record(**{**values, **changes})


def test_the_difference_and_its_mark():
    assert record().difference == pytest.approx(-6)
    assert record().outside
    assert not record(paper=79.9).outside
    assert not record(paper=None).outside
    none = record(summary=None, note="weights missing")
    assert none.difference != none.difference
    assert not none.outside


def test_a_row_holds_percent_and_spans_over_the_draws():
    row = record().to_dict()
    assert tuple(row) == FIELDS
    assert (row["value"], row["draws_low"], row["cases_high"], row["high"]) == (75, 72, 79, 80)
    assert (row["images"], row["positives"], row["draws"]) == ("98-100", "12-14", 2)
    assert record(summary=None, note="weights missing").to_dict()["value"] is None


def test_tables_show_ours_beside_the_papers():
    both = [record(), record(system="other", summary=None, note="weights missing", paper=50.0)]
    compact = compact_table("T", both)
    assert compact.rows == (
        ("slice 5, abnormal, 5 categories: Hamming score", "75.0 (81)", "weights missing (50)"),
    )
    (long,) = long_tables(both)
    assert "paper" in long.header
    assert long.rows[0][2:8] == (
        *("75.0 ± 2.0", "[72.0, 78.0]", "[71.0, 79.0]", "[70.0, 80.0]"),
        *("81", "-6.0 *"),
    )


def test_each_part_has_a_table_of_its_own():
    tables = long_tables([record(), record(part="slice 10"), record(columns=6)])
    assert [len(table.rows) for table in tables] == [1, 1, 1]
    assert "slice 10" in tables[1].title


def test_three_files_are_written(tmp_path):
    files = write_records(tmp_path, "table3", "Title", ["run"], [record()])
    assert [file.name for file in files] == ["table3.md", "table3.csv", "table3.json"]
    header, row = files[1].read_text(encoding="utf-8").splitlines()
    assert header.split(",") == list(FIELDS)
    assert row.split(",")[FIELDS.index("paper")] == "81.0"
    content = json.loads(files[2].read_text(encoding="utf-8"))
    assert content["records"][0]["difference"] == -6
