from benchmarks.results_glance import Point, glance_plot, last, points
from sdmad.table import Table

ROWS = (
    ("none", "n/a", "50.0", "28.4"),
    ("a", "5", "61.0", "30.1"),
    ("b", "3", "77.3", "n/a"),
    ("c °", "5", "n/a", "n/a"),
    ("d", "5", "70.0", "33.0"),
)
MEANS = Table("", ("System", "Draws", "Mean AUROC", "Subset accuracy"), ROWS)
COSTS = Table(
    "",
    ("System", "Fit, s"),
    (("a", "0.0"), ("b", "1,057.3"), ("c °", "2.0"), ("d", "n/a")),
)


def test_a_point_is_a_system_of_both_tables_the_best_first():
    found = points(MEANS, [COSTS, Table("", COSTS.header, (("a", "75.8"), ("b", "3.0")))])
    assert found == [Point("b", 1057.3, 77.3, None), Point("a", 75.8, 61.0, 30.1)]
    assert glance_plot(found).startswith(b"\x89PNG")


def test_the_last_table_has_the_most_shots():
    tables = {("brain", "16"): MEANS, ("brain", "4"): COSTS}
    assert last(tables) is MEANS
