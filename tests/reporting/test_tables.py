import csv
import io

import numpy as np
import pytest
from rich.console import Console

from sdmad.errors import InputError
from sdmad.evaluation.protocols import evaluate
from sdmad.reporting.tables import category_table, percent_interval, protocol_tables
from sdmad.table import Table

NAN = float("nan")


def judge(labels=None, shift=0.0, categories=("mass", "hernia"), resamples=40):
    labels = np.repeat([[1, 0], [0, 0]], 6, axis=0) if labels is None else labels
    scores = np.linspace(0.9, 0.1, len(labels))[:, None] + np.zeros(labels.shape) + shift
    normal = ~(labels == 1).any(axis=1)
    return evaluate(labels, scores, scores > 0.5, scores[:, 0], normal, categories, None, resamples)


def rows_of(table):
    return {row[0]: dict(zip(table.header[1:], row[1:], strict=True)) for row in table.rows}


def test_percent_with_interval():
    assert percent_interval(0.57451, (0.51, 0.632)) == "57.5 [51.0, 63.2]"
    assert percent_interval(0.575, (NAN, NAN)) == "57.5"
    assert percent_interval(NAN, (0.1, 0.2)) == "n/a"


def test_markdown_escapes_what_a_cell_may_hold():
    table = Table("T", ("A|B", "C"), (("x|y\nz", "<b>*_`[1]("),), "a|b")
    assert table.markdown() == (
        "### T\n\n| A\\|B | C |\n| --- | --- |\n| x\\|y z | \\<b\\>\\*\\_\\`\\[1\\]( |\n\na\\|b\n"
    )


def test_rich_reads_no_markup_in_a_cell():
    console = Console(width=80, record=True, file=io.StringIO())
    console.print(Table("[bold]T", ("A",), (("[red]x[/red]",),)).rich())
    assert "[red]x[/red]" in console.export_text()


def test_csv_is_guarded_against_formulas(tmp_path):
    path = tmp_path / "table.csv"
    Table("T", ("System", "Value"), (("=1+1", "57.5 [51.0, 63.2]"),)).write_csv(path)
    with path.open(newline="") as file:
        header, row = csv.reader(file)
    assert header == ["System", "Value"]
    assert not row[0].startswith("=")
    assert row[1] == "57.5 [51.0, 63.2]"


def test_a_row_of_another_length_is_refused():
    with pytest.raises(InputError, match="row 1: expected 2 cells, got 1"):
        Table("T", ("A", "B"), (("1", "2"), ("1",)))


def test_every_protocol_shows_the_trivial_predictors():
    general, integrated, category_wise, by_category = protocol_tables(judge(), "Model")
    first = rows_of(general)
    assert first["Model"]["Image AUROC"].startswith("100.0 [")
    assert first["Trivial: prevalence"]["Image AUROC"] == "50.0"
    second = rows_of(integrated)
    # 6 positives in 24 cells
    assert second["Trivial: none (predict nothing)"]["Hamming score"] == "75.0"
    assert second["Trivial: all (predict everything)"]["Hamming score"] == "25.0"
    assert second["Trivial: all (predict everything)"]["Sensitivity"] == "100.0"
    # the model calls both categories on the first six images: 6 errors in 24
    assert second["Model"]["Hamming score"].startswith("75.0 [")
    third = rows_of(category_wise)
    assert third["Model"]["mass"] == "100.0"
    assert third["Model"]["hernia"] == "n/a"
    assert third["Trivial: none (predict nothing)"]["hernia"] == "n/a"
    assert third["Positives"] == {"Mean AUROC": "6", "mass": "6", "hernia": "0"}
    fourth = rows_of(by_category)
    assert fourth["mass"]["Positives"] == "6"
    assert "0 positives" in fourth["hernia"]["Note"]


def test_several_systems_are_rows_and_columns():
    tables = protocol_tables({"A": judge(), "B": judge(shift=-1)})
    assert [row[0] for row in tables[1].rows][-2:] == ["A", "B"]
    assert tables[3].header == (
        "Category",
        "Positives",
        "Negatives",
        "Unknown",
        "A",
        "B",
        "Note",
    )


def test_many_categories_stand_in_their_own_table_only():
    names = tuple(f"c{number}" for number in range(9))
    labels = np.tile([[1], [1], [0], [0]], (1, 9))
    tables = protocol_tables(judge(labels, categories=names))
    assert tables[2].header == ("System", "Mean AUROC")
    assert [row[0] for row in tables[3].rows] == list(names)


def test_systems_on_different_images_are_not_put_together():
    other = judge(np.array([[1, 0], [1, 1], [0, 0], [0, 0]]))
    with pytest.raises(InputError, match="'A' and 'B' were judged on different images"):
        protocol_tables({"A": judge(), "B": other})
    with pytest.raises(InputError, match="no system"):
        protocol_tables({})


def test_a_single_system_gets_its_decisions_by_category():
    table = category_table(judge(resamples=0))
    assert rows_of(table)["mass"]["AUROC"] == "100.0"
    assert rows_of(table)["mass"]["Sensitivity"] == "100.0"
    assert rows_of(table)["hernia"]["Specificity"] == "50.0"


def test_delong_is_a_column_of_a_single_system_where_it_is_defined():
    # five positives, the third of them below one of five negatives
    labels = np.array([[1], [1], [0], [1], [1], [1], [0], [0], [0], [0]])
    evaluation = judge(labels, categories=("mass",), resamples=0)
    low, high = evaluation.categories["mass"].delong
    table = category_table(evaluation)
    assert rows_of(table)["mass"]["DeLong"] == f"[{100 * low:.1f}, {100 * high:.1f}]"
    assert "DeLong" in table.caption
    assert "DeLong" not in category_table({"A": evaluation, "B": evaluation}).header
    # a perfect AUROC has no variance
    perfect = category_table(judge(resamples=0))
    assert "DeLong" not in perfect.header
    assert "DeLong" not in perfect.caption
