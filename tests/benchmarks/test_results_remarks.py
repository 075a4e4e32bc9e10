"""No remark on the results may say anything else than the tables."""

import pytest

from benchmarks import results_tables as stored
from benchmarks.results_page import main_page
from tests.benchmarks.remarks import DOCS, Figures, bullets, check

NAMES, SIGNS, SELECTED = (
    f"zero-shot CLIP, {w}" for w in ("category names", "signs", "signs, selection")
)
NAMES_SHOWN = f"{NAMES} (names not seen in pretraining)"
PROBE = "linear probe"
PRINTED, NO_SELECTION = "SD-MAD as printed", "SD-MAD as printed, no selection"
RECOMMENDED = "SD-MAD recommended"
FOLDER = DOCS / "results"
MODALITIES = ("brain", "chest", "oct")
COLUMNS = [("clean", "1"), ("clean", "4"), ("noisy", "1"), ("noisy", "4")]


def load(kind):
    return {keys: Figures(table) for keys, table in stored.load(FOLDER, kind).items()}


MEANS = load(stored.MEANS)
SAYS = bullets("results.md", "What the tables say")


def auroc(system, bank, shots):
    return MEANS[bank, shots](system, "Mean AUROC")


def test_every_bullet_has_its_test():
    tested = {value for name, value in globals().items() if name.startswith("BULLET_")}
    assert tested == set(SAYS)


def test_the_page_is_what_the_files_and_the_template_make_and_short():
    page = (DOCS / "results.md").read_text(encoding="utf-8")
    assert page.partition("\n*Made with")[0].rstrip("\n") == main_page(FOLDER).rstrip("\n")
    assert len(page.splitlines()) <= 80


BULLET_SELECTION = (
    "Selection (Eq. 6) costs a little where the bank is clean and pays where it is noisy."
)


def test_selection():
    shown = []
    for bank, sign in (("clean", -1), ("noisy", 1)):
        before, after = (auroc(s, bank, "1") for s in (SIGNS, SELECTED))
        assert sign * (after - before) > 0
        shown.append(f"from {before} to {after} on {bank}")
    gains = [f"{auroc(PRINTED, *c) - auroc(NO_SELECTION, *c):+.1f}" for c in COLUMNS]
    lost = [MEANS[c](NO_SELECTION, "Hamming") - MEANS[c](PRINTED, "Hamming") for c in COLUMNS]
    check(
        SAYS[BULLET_SELECTION],
        *shown,
        f"by {gains[0]} and {gains[1]} (clean, 1 and 4 shots) and by {gains[2]} and "
        f"{gains[3]} (noisy)",
        f"lowers Hamming by {min(lost):.1f} to {max(lost):.1f}",
    )


BULLET_PRINTED = "The loss as printed hurts the ranking."


def test_the_printed_loss():
    both = [(s, "clean", shots) for s in (PRINTED, NO_SELECTION) for shots in "14"]
    ranks = [auroc(*one) for one in both]
    untrained = auroc(SIGNS, "clean", "1")
    gaps = [round(untrained - rank, 1) for rank in ranks]
    clean = MEANS["clean", "1"]

    def spread(metric):
        values = [MEANS["clean", shots](s, metric) for s, _, shots in both]
        return f"{clean(SIGNS, metric)} to between {min(values)} and {max(values)}"

    assert min(gaps) > 0
    check(
        SAYS[BULLET_PRINTED],
        f"({min(ranks)} to {max(ranks)}) lies {min(gaps)} to {max(gaps)} points below",
        f"without any training ({untrained})",
        f"takes Hamming from {spread('Hamming')}",
        f"predicting nothing ({clean('predict nothing', 'Hamming')})",
        f"subset accuracy from {spread('Subset')}",
    )


BULLET_RECOMMENDED = "The recommended settings"


def test_the_recommended_settings():
    subset = [MEANS[c](RECOMMENDED, "Subset") for c in COLUMNS]
    probe = [MEANS[c](PROBE, "Subset") for c in COLUMNS]
    assert all(MEANS[c].ranked("Subset")[0] == RECOMMENDED for c in COLUMNS)
    hamming = {c: MEANS[c](RECOMMENDED, "Hamming") for c in COLUMNS}
    for bank in ("clean", "noisy"):
        assert MEANS[bank, "4"].ranked("Hamming")[0] == RECOMMENDED
        assert MEANS[bank, "1"].ranked("Hamming")[0] == PROBE
    first = MEANS["clean", "1"]
    chest = load(stored.DIFFERENCES)["chest", "clean", "4"]
    lost = chest(f"minus {SIGNS}", "Mean AUROC")
    assert chest.interval(f"minus {SIGNS}", "Mean AUROC")[1] < 0
    gained = [auroc(RECOMMENDED, "noisy", s) - auroc(SIGNS, "noisy", s) for s in "14"]
    check(
        SAYS[BULLET_RECOMMENDED],
        f"({auroc(RECOMMENDED, 'clean', '1')} and {auroc(RECOMMENDED, 'clean', '4')} against "
        f"{auroc(SIGNS, 'clean', '1')}; on chest they lose {-lost} points, interval below 0)",
        f"gain {gained[0]:.1f} and {gained[1]:.1f} points on noisy",
        f"({min(subset)} to {max(subset)}; the probe {min(probe)} to {max(probe)}, predicting "
        f"nothing {first('predict nothing', 'Subset')})",
        f"four shots ({hamming['clean', '4']} and {hamming['noisy', '4']})",
        f"({first(PROBE, 'Hamming')} against {hamming['clean', '1']} and {hamming['noisy', '1']})",
        f"predicting nothing has {first('predict nothing', 'Hamming')} too",
    )


BULLET_PROBE = "The linear probe"


def test_the_linear_probe():
    one, four = (auroc(PROBE, "clean", shots) for shots in "14")
    assert four > one
    check(SAYS[BULLET_PROBE], f"mean AUROC {one} at one, {four} at four")


BULLET_NAMES = "Category names"


def test_category_names():
    value = auroc(NAMES_SHOWN, "clean", "1")
    assert abs(value - 50) < 3
    check(SAYS[BULLET_NAMES], f"({value})")


BULLET_UNSEEN = "The truly few-shot categories"


def test_the_unseen_categories():
    tables = load(stored.CATEGORIES)
    dural, hernia, cnv = "Dural thickening *", "Hernia *", "CNV *"
    brain, chest, oct_ = (tables[m, "clean", "4"] for m in MODALITIES)
    marked = [row for table in tables.values() for row in table.rows if row.endswith("*")]
    assert set(marked) == {dural, hernia, cnv}
    assert oct_(cnv, SIGNS) > max(brain(dural, SIGNS), chest(hernia, SIGNS))
    craniotomy = [
        tables["brain", "clean", shots]("Craniotomy", system)
        for shots in "14"
        for system in brain.table.header[2:]
    ]
    assert all(abs(value - 50) < 2 for value in craniotomy)
    for system in (SIGNS, RECOMMENDED):
        assert abs(brain(dural, system) - 50) < 7
        assert abs(chest(hernia, system) - 50) < 7
    check(
        SAYS[BULLET_UNSEEN],
        f"with untrained signs ({brain(dural, SIGNS)} and {chest(hernia, SIGNS)})",
        f"little ({brain(dural, RECOMMENDED)} and {chest(hernia, RECOMMENDED)})",
        f"the probe more ({brain(dural, PROBE)} and {chest(hernia, PROBE)})",
        f"({oct_(cnv, SIGNS)} untrained)",
        f"({min(craniotomy)} to {max(craniotomy)})",
    )


@pytest.mark.parametrize("modality", MODALITIES)
def test_no_row_of_a_page_is_lost(modality):
    page = (FOLDER / f"{modality}.md").read_text(encoding="utf-8")
    systems = stored.load(FOLDER, stored.SYSTEMS)
    shown = [systems[modality, bank, shots] for bank, shots in COLUMNS]
    for table in shown:
        assert table.markdown().split("\n", 2)[2] in page
