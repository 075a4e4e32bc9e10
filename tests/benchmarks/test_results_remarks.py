"""No remark on the results may say anything else than the tables."""

import pytest

from benchmarks import results_tables as stored
from benchmarks.results_page import main_page
from tests.benchmarks.remarks import DOCS, Figures, bullets, check, falls, holds_zero

NAMES, SIGNS, SELECTED = (
    f"zero-shot CLIP, {w}" for w in ("category names", "signs", "signs, selection")
)
NAMES_SHOWN = f"{NAMES} (names not seen in pretraining)"
PROBE, SEARCHED_PROBE = "linear probe", "linear probe, searched"
PRINTED, NO_SELECTION = "SD-MAD as printed", "SD-MAD as printed, no selection"
SEARCHED, RECOMMENDED, BOTH = "SD-MAD as printed, searched", "SD-MAD recommended", "SD-MAD + MVFA"
FOLDER = DOCS / "results"
MODALITIES = ("brain", "chest", "oct")
COLUMNS = [("clean", "1"), ("clean", "4"), ("noisy", "1"), ("noisy", "4")]


def load(kind):
    return {keys: Figures(table) for keys, table in stored.load(FOLDER, kind).items()}


MEANS = load(stored.MEANS)
ONE, FOUR = (load(stored.COMPARED_MEANS)[(shots,)] for shots in "14")
SAYS = bullets("results.md", "What the tables say")
COMPARED = bullets("results.md", "What the comparison says")


def auroc(system, bank, shots):
    return MEANS[bank, shots](system, "Mean AUROC")


def test_every_bullet_has_its_test():
    tested = {value for name, value in globals().items() if name.startswith("BULLET_")}
    assert tested == set(SAYS) | set(COMPARED)


def test_the_page_is_what_the_files_and_the_template_make_and_short():
    page = (DOCS / "results.md").read_text(encoding="utf-8")
    assert page == main_page(FOLDER)
    assert len(page.splitlines()) <= 120


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


BULLET_ABNORMAL = "Is the image abnormal?"
UNTRAINED = (SIGNS, SELECTED, NAMES, "zero-shot CLIP, prompt ensemble", "Xplainer", "Tip-Adapter")
ELSEWHERE = (
    "InCTRL",
    "WinCLIP, zero-shot",
    "WinCLIP+, few normal images",
    "AnomalyCLIP",
    "AA-CLIP",
)


def test_is_the_image_abnormal():
    metric = "Image AUROC"
    best = [s for s in FOUR.ranked(metric, UNTRAINED) if s not in ELSEWHERE][:3]
    assert best == [SEARCHED, "Tip-Adapter-F", RECOMMENDED]
    ensemble = FOUR("zero-shot CLIP, prompt ensemble", metric)
    assert min(FOUR(SIGNS, metric), ensemble) > FOUR(best[0], metric)
    check(
        COMPARED[BULLET_ABNORMAL],
        f"untrained signs ({FOUR(SIGNS, metric)}) and prompt ensembles ({ensemble})",
        f"searched settings ({FOUR(SEARCHED, metric)})",
        f"Tip-Adapter-F ({FOUR('Tip-Adapter-F', metric)})",
        f"then SD-MAD recommended ({FOUR(RECOMMENDED, metric)})",
    )


BULLET_WHICH = "Which categories?"


def test_which_categories():
    assert FOUR.ranked("Mean AUROC")[:3] == ["Tip-Adapter-F", "Tip-Adapter", RECOMMENDED]
    assert FOUR.ranked("Subset accuracy")[:3] == [RECOMMENDED, SEARCHED_PROBE, "MVFA"]
    assert FOUR.ranked("Macro F1")[0] == "Tip-Adapter-F"
    assert FOUR.ranked("Hamming score")[0] == SEARCHED_PROBE
    for modality in MODALITIES:
        decided = load(stored.DECISIONS)[modality, "4"]
        calls = [decided(s, "Sensitivity") for s in ("Tip-Adapter-F", RECOMMENDED, SEARCHED_PROBE)]
        assert falls(calls)
    peers = load(stored.PEERS)["oct", "4"]
    gap = "SD-MAD recommended less it"
    assert peers.cell("Subset accuracy", "Peer") == PROBE
    assert peers.interval("Subset accuracy", gap)[1] < 0
    check(
        COMPARED[BULLET_WHICH],
        *(f"{s} ({FOUR(s, 'Mean AUROC')})" for s in ("Tip-Adapter-F", "Tip-Adapter", RECOMMENDED)),
        f"({FOUR(RECOMMENDED, 'Subset accuracy')}; the linear probe searched "
        f"{FOUR(SEARCHED_PROBE, 'Subset accuracy')}, MVFA {FOUR('MVFA', 'Subset accuracy')}, "
        f"predicting nothing {FOUR('none', 'Subset accuracy')})",
        f"beats it by {-peers('Subset accuracy', gap)} points, interval clear of 0",
        f"best F1 ({FOUR('Tip-Adapter-F', 'Macro F1')} against {FOUR(RECOMMENDED, 'Macro F1')})",
        f"({FOUR(SEARCHED_PROBE, 'Hamming score')} against {FOUR(RECOMMENDED, 'Hamming score')})",
    )


BULLET_ONE_EACH = "One detector a category can be done"


def test_one_detector_a_category():
    elsewhere = [FOUR(system, "Mean AUROC") for system in ELSEWHERE]
    ones = [ONE(s, "Mean AUROC") for s in (BOTH, "MVFA")]
    assert falls(ones)
    check(
        COMPARED[BULLET_ONE_EACH],
        f"a mean AUROC of {FOUR('MVFA', 'Mean AUROC')} and a subset accuracy of "
        f"{FOUR('MVFA', 'Subset accuracy')}",
        f"gets {FOUR(BOTH, 'Mean AUROC')} and {FOUR(BOTH, 'Subset accuracy')}, but "
        f"{FOUR(BOTH, 'Macro F1')} in F1 against {FOUR('MVFA', 'Macro F1')}",
        f"gets {ones[0]} in mean AUROC where MVFA gets {ones[1]}",
        f"stay at {min(elsewhere)} to {max(elsewhere)}",
    )


BULLET_WHERE = "Where is it?"


def test_where_is_it():
    metric = "Pixel AUROC"
    assert FOUR.ranked(metric)[:4] == ["MVFA", BOTH, SEARCHED, RECOMMENDED]
    peers = [load(stored.PEERS)[m, "4"] for m in MODALITIES]
    assert all(p.cell(metric, "Peer") == "MVFA" for p in peers)
    gaps = [-p(metric, "SD-MAD recommended less it") for p in peers]
    assert all(p.interval(metric, "SD-MAD recommended less it")[1] < 0 for p in peers)
    check(
        COMPARED[BULLET_WHERE],
        f"({metric[0].lower()}{metric[1:]} {FOUR('MVFA', metric)} and {FOUR(BOTH, metric)})",
        f"searched ({FOUR(SEARCHED, metric)}) and recommended ({FOUR(RECOMMENDED, metric)})",
        f"lies {min(gaps)} to {max(gaps)} points below MVFA, every interval below 0",
    )


BULLET_ADDED = "What the loss of Eq. 5 adds to MVFA"


def test_what_the_loss_adds():
    tables, gap = load(stored.ADDED_LOSS), f"{BOTH} less it"
    image, pixel = (
        [t(metric, gap) for t in tables.values()] for metric in ("Image AUROC", "Pixel AUROC")
    )
    assert all(holds_zero(t.interval("Image AUROC", gap)) for t in tables.values())
    clear = {k: t("Pixel AUROC", gap) > 0 for k, t in tables.items()
             if not holds_zero(t.interval("Pixel AUROC", gap))}  # fmt: skip
    assert clear == {("brain", "1"): True, ("chest", "4"): False}
    check(
        COMPARED[BULLET_ADDED],
        f"from {min(image):+} to {max(image):+}, every interval holds 0",
        f"from {min(pixel):+} to {max(pixel):+}, and the interval leaves 0",
    )


BULLET_BUDGET = "The same budget matters."


def test_the_same_budget():
    image, mean = ((FOUR(PRINTED, m), FOUR(SEARCHED, m)) for m in ("Image AUROC", "Mean AUROC"))
    assert image[1] > image[0]
    assert mean[1] > mean[0]
    lost = FOUR(PRINTED, "Hamming score") - FOUR(SEARCHED, "Hamming score")
    (settled,) = load(stored.SETTLED).values()
    late, before = ([settled(s, f"{m}, 4 shots") for m in MODALITIES] for s in (SEARCHED, PRINTED))
    assert min(late) > max(before)
    assert set(before) == {1.0}
    check(
        COMPARED[BULLET_BUDGET],
        f"from {image[0]} to {image[1]} in image AUROC",
        f"from {mean[0]} to {mean[1]} in mean AUROC, by training less, for {lost:.1f} points",
        f"{min(late):.0f} to {max(late):.0f} percent of the fall is in the last tenth of the "
        "epochs, against 1",
    )


@pytest.mark.parametrize("modality", MODALITIES)
def test_no_row_of_a_page_is_lost(modality):
    page = (FOLDER / f"{modality}.md").read_text(encoding="utf-8")
    systems = stored.load(FOLDER, stored.SYSTEMS)
    shown = [systems[modality, bank, shots] for bank, shots in COLUMNS]
    for table in shown:
        assert table.markdown().split("\n", 2)[2] in page
