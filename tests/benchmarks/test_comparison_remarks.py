"""No remark on the compared systems may say anything else than the tables."""

from benchmarks import results_tables as stored
from benchmarks.comparison_page import main_page
from tests.benchmarks.remarks import DOCS, Figures, bullets, check, falls, holds_zero

SIGNS, SELECTED, NAMES = (
    f"zero-shot CLIP, {w}" for w in ("signs", "signs, selection", "category names")
)
PROBE, SEARCHED_PROBE = "linear probe", "linear probe, searched"
PRINTED = "SD-MAD as printed"
SEARCHED, RECOMMENDED, BOTH = "SD-MAD as printed, searched", "SD-MAD recommended", "SD-MAD + MVFA"
FOLDER = DOCS / "comparison"
MODALITIES = ("brain", "chest", "oct")


def load(kind):
    return {keys: Figures(table) for keys, table in stored.load(FOLDER, kind).items()}


ONE, FOUR = (load(stored.COMPARED_MEANS)[(shots,)] for shots in "14")
COMPARED = bullets("comparison.md", "What the comparison says")


def test_every_bullet_has_its_test():
    tested = {value for name, value in globals().items() if name.startswith("BULLET_")}
    assert tested == set(COMPARED)


def test_the_page_is_what_the_files_and_the_template_make_and_one_screen():
    page = (DOCS / "comparison.md").read_text(encoding="utf-8")
    assert page.partition("\n*Made with")[0].rstrip("\n") == main_page(FOLDER).rstrip("\n")
    assert len(page.splitlines()) <= 60


def test_no_row_of_the_long_tables_is_lost():
    page = (FOLDER / "means.md").read_text(encoding="utf-8")
    for table in stored.load(FOLDER, stored.COMPARED_MEANS).values():
        for row in table.rows[3:]:  # trivial predictors have a longer name there
            assert " | ".join(row) in page


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
    settled = load(stored.SETTLED).values()
    late, before = ([one(s, "4 shots") for one in settled] for s in (SEARCHED, PRINTED))
    assert min(late) > max(before)
    assert set(before) == {1.0}
    check(
        COMPARED[BULLET_BUDGET],
        f"from {image[0]} to {image[1]} in image AUROC",
        f"from {mean[0]} to {mean[1]} in mean AUROC, by training less, for {lost:.1f} points",
        f"{min(late):.0f} to {max(late):.0f} percent of the fall is in the last tenth of the "
        "epochs, against 1",
    )
