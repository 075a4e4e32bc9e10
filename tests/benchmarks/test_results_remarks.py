"""No remark on the results may say anything else than the tables."""

import pytest

from benchmarks import results_tables as stored
from benchmarks.results_page import main_page
from tests.benchmarks.remarks import DOCS, Figures, bullets, check, holds_zero

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


BULLET_RECOMMENDED = "The recommended settings"


def test_the_recommended_settings():
    for metric in ("Mean AUROC", "Hamming", "Subset"):
        assert all(MEANS[c].ranked(metric)[0] == RECOMMENDED for c in COLUMNS)
    ahead = [load(stored.DIFFERENCES)[m, "clean", "4"] for m in MODALITIES]
    for metric in ("Mean AUROC", "Hamming score", "Subset accuracy", "Macro F1"):
        assert all(one.interval(row, metric)[0] > 0 for one in ahead for row in one.rows)
    assert MEANS["clean", "4"].ranked("Subset")[1] == PROBE
    rank, subset = (
        [one(f"minus {PROBE}", metric) for one in ahead]
        for metric in ("Mean AUROC", "Subset accuracy")
    )
    check(
        SAYS[BULLET_RECOMMENDED],
        "every interval above 0",
        f"by {min(rank)} to {max(rank)} points of AUROC and {min(subset)} to {max(subset)} of",
    )


BULLET_ABNORMAL = "Whether an image is abnormal at all"


def test_whether_an_image_is_abnormal():
    ahead = [load(stored.DIFFERENCES)[m, "clean", "4"] for m in MODALITIES]

    def less(*rivals):
        return [(one, f"minus {rival}", "Image AUROC") for one in ahead for rival in rivals]

    assert all(holds_zero(one.interval(*row)) for one, *row in less(SIGNS))
    rivals = less(PROBE), less(PRINTED, NO_SELECTION)
    assert all(one.interval(*row)[0] > 0 for rival in rivals for one, *row in rival)
    brain, chest, oct_ = (one(*row) for one, *row in less(SIGNS))
    probe, printed = ([one(*row) for one, *row in rival] for rival in rivals)
    check(
        SAYS[BULLET_ABNORMAL],
        "each interval around 0",
        "intervals above 0",
        f"by {brain} points of image AUROC on brain, {chest} on chest and {oct_:+} on OCT",
        f"the linear probe (by {min(probe)} to {max(probe)})",
        f"printed (by {min(printed)} to {max(printed)}) on each",
    )


BULLET_SELECTION = (
    "Selection (Eq. 6) does not pay without training, and with it at four shots alone."
)


def test_selection():
    shown = []
    for bank in ("clean", "noisy"):
        before, after = (auroc(s, bank, "1") for s in (SIGNS, SELECTED))
        assert after < before
        shown.append(f"from {before} to {after} on {bank}")
    gains = [auroc(PRINTED, *c) - auroc(NO_SELECTION, *c) for c in COLUMNS]
    assert [gain > 0 for gain in gains] == [False, True, False, True]
    gains = [f"{gain:+.1f}" for gain in gains]
    moved = [MEANS[c](PRINTED, "Hamming") - MEANS[c](NO_SELECTION, "Hamming") for c in COLUMNS]
    check(
        SAYS[BULLET_SELECTION],
        *shown,
        f"by {gains[0]} and {gains[1]} (clean, 1 and 4 shots) and by {gains[2]} and "
        f"{gains[3]} (noisy)",
        f"Hamming by {min(moved):+.1f} to {max(moved):+.1f}",
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


BULLET_PROBE = "The linear probe"


def test_the_linear_probe():
    one, four = (auroc(PROBE, "clean", shots) for shots in "14")
    assert four > one
    check(SAYS[BULLET_PROBE], f"mean AUROC {one} at one, {four} at four")


BULLET_NAMES = "Category names"


def test_category_names():
    value = auroc(NAMES_SHOWN, "clean", "1")
    assert value < auroc(SIGNS, "clean", "1") - 20
    dme = load(stored.CATEGORIES)["oct", "clean", "4"]("DME", NAMES)
    assert dme < 50
    check(SAYS[BULLET_NAMES], f"({value})", f"({dme})")


BULLET_UNSEEN = "The truly few-shot categories"


def test_the_unseen_categories():
    tables = load(stored.CATEGORIES)
    dural, hernia, cnv = "Dural thickening *", "Hernia *", "CNV *"
    brain, chest, oct_ = (tables[m, "clean", "4"] for m in MODALITIES)
    marked = [row for table in tables.values() for row in table.rows if row.endswith("*")]
    assert set(marked) == {dural, hernia, cnv}
    untrained, own, probe = (
        (brain(dural, system), chest(hernia, system)) for system in (SIGNS, RECOMMENDED, PROBE)
    )
    assert max(untrained) < 52
    assert all(a < b < c for a, b, c in zip(untrained, own, probe, strict=True))
    assert oct_(cnv, SIGNS) > max(untrained)
    check(
        SAYS[BULLET_UNSEEN],
        f"with untrained signs ({untrained[0]} and {untrained[1]})",
        f"SD-MAD recommended to {own[0]} and {own[1]}, the probe to {probe[0]} and {probe[1]}",
        f"({oct_(cnv, SIGNS)} untrained, {oct_(cnv, RECOMMENDED)} by",
    )


@pytest.mark.parametrize("modality", MODALITIES)
def test_no_row_of_a_page_is_lost(modality):
    page = (FOLDER / f"{modality}.md").read_text(encoding="utf-8")
    systems = stored.load(FOLDER, stored.SYSTEMS)
    shown = [systems[modality, bank, shots] for bank, shots in COLUMNS]
    for table in shown:
        assert table.markdown().split("\n", 2)[2] in page
