import csv

import pytest

from benchmarks.results_tables import Kind, join_means, load, split_means, store
from sdmad.table import Table

SPREAD = Table(
    "",
    ("System", "AUROC", "Note"),
    (("a", "71.3 ± 1.7 [68.8, 73.7]", "8.68 to 1.03"), ("b", "52.5 [43.4, 62.0]", "n/a")),
)
SIGNED = Table("", ("Less", "AUROC"), (("minus b", "+10.7 [-0.3, +13.7]"), ("a", "-0.0")))
COUNTED = Table("", ("System", "Numbers"), (("a", "1,494,660"), ("b", "774")))


@pytest.mark.parametrize(
    ("kind", "table"),
    [
        (Kind("spread", ("modality", "shots")), SPREAD),
        (Kind("signed", ("modality", "shots"), signed=True), SIGNED),
        (Kind("counted", ("modality", "shots"), thousands=True), COUNTED),
        (Kind("turned", ("modality", "shots"), turned=True), SPREAD),
    ],
)
def test_what_is_stored_is_read_back_as_it_was(tmp_path, kind, table):
    tables = {("brain", "1"): table, ("oct", "4"): table}
    store(tmp_path, kind, tables.items())
    assert load(tmp_path, kind) == tables


def test_a_cell_takes_four_columns_of_numbers(tmp_path):
    store(tmp_path, Kind("k", ("shots",)), [(("4",), SPREAD)])
    with (tmp_path / "k.csv").open(encoding="utf-8", newline="") as file:
        header, first, second = csv.reader(file)
    assert header[1:6] == ["System", "AUROC", "AUROC: deviation", "AUROC: low", "AUROC: high"]
    assert first[2:6] == ["71.3", "1.7", "68.8", "73.7"]
    assert second[2:] == ["52.5", "", "43.4", "62.0", ""]


def test_a_difference_is_a_number_without_a_guard(tmp_path):
    store(tmp_path, Kind("k", signed=True), [((), SIGNED)])
    assert "minus b,10.7,,-0.3,13.7" in (tmp_path / "k.csv").read_text(encoding="utf-8")


def test_means_are_taken_apart_and_put_together():
    table = Table(
        "", ("System", "clean, 1 shot", "noisy, 4 shots"), (("a", "1.0 / 2.0", "3.0 / 4.0"),)
    )
    apart = dict(split_means(table, ("x", "y")))
    assert apart["noisy", "4"] == Table("", ("System", "x", "y"), (("a", "3.0", "4.0"),))
    assert join_means(apart) == {"a": ["1.0 / 2.0", "3.0 / 4.0"]}
