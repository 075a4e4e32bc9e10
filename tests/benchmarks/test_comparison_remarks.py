"""No remark on the compared systems may say anything else than the tables."""

from benchmarks import results_tables as stored
from benchmarks.comparison_page import main_page
from tests.benchmarks.remarks import DOCS, Figures, bullets, check, falls, holds_zero

SIGNS, PROBE, PROKER = "zero-shot CLIP, signs", "linear probe", "ProKeR"
PRINTED, SEARCHED = "SD-MAD as printed", "SD-MAD as printed, searched"
RECOMMENDED, BOTH, MVFA = "SD-MAD recommended", "SD-MAD + MVFA", "MVFA"
MEMORY, UNIVAD = "AnomalyDINO", "UniVAD on the embedded trunk"
GAP, ADDED = f"{RECOMMENDED} less it", f"{BOTH} less it"
FOLDER = DOCS / "comparison"


def load(kind):
    return {keys: Figures(table) for keys, table in stored.load(FOLDER, kind).items()}


ONE, FOUR, MANY = (load(stored.COMPARED_MEANS)[(shots,)] for shots in ("1", "4", "16"))
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


def peers(shots):
    """The default less the best peer, on the one modality that there is."""
    (found,) = (table for keys, table in load(stored.PEERS).items() if keys[1] == shots)
    return found


BULLET_ABNORMAL = "Is the image abnormal?"


def test_is_the_image_abnormal():
    metric = "Image AUROC"
    assert set(FOUR.ranked(metric)[:3]) == {MEMORY, UNIVAD, SIGNS}
    assert holds_zero(peers("4").interval(metric, GAP))
    check(
        COMPARED[BULLET_ABNORMAL],
        f"AnomalyDINO ({FOUR(MEMORY, metric)}) and UniVAD ({FOUR(UNIVAD, metric)}), and untrained "
        f"signs ({FOUR(SIGNS, metric)}) come first",
        f"comes to {FOUR(RECOMMENDED, metric)}; its difference from the best, "
        f"{peers('4').cell(metric, GAP)}, holds 0",
    )


BULLET_WHICH = "Which categories?"


def test_which_categories():
    metric, decided, balanced = "Mean AUROC", "Subset accuracy", "Macro F1"
    close = ("Tip-Adapter", PROKER, SIGNS, RECOMMENDED)
    assert set(FOUR.ranked(metric)[:4]) == set(close)
    assert ONE.ranked(decided)[:2] == [RECOMMENDED, PROKER]
    for found in (decided, balanced):
        assert FOUR.ranked(found)[:2] == [RECOMMENDED, PROKER]
        assert peers("4").cell(found, "Peer") == PROKER
        assert holds_zero(peers("4").interval(found, GAP))
    told = "Tip-Adapter ({}), ProKeR ({}), untrained signs ({}) and SD-MAD recommended ({})"
    check(
        COMPARED[BULLET_WHICH],
        told.format(*(FOUR(system, metric) for system in close)),
        f"subset accuracy {FOUR(RECOMMENDED, decided)} (ProKeR {FOUR(PROKER, decided)}, the linear "
        f"probe {FOUR(PROBE, decided)}, predicting nothing {FOUR('none', decided)})",
        f"macro F1 {FOUR(RECOMMENDED, balanced)} (ProKeR {FOUR(PROKER, balanced)})",
        f"{peers('4').cell(decided, GAP)} and {peers('4').cell(balanced, GAP)}, hold 0",
        f"subset accuracy {ONE(RECOMMENDED, decided)}, ProKeR {ONE(PROKER, decided)}",
    )


BULLET_MANY = "With 16 shots it is caught up with"


def test_with_many_shots():
    metric, decided = "Mean AUROC", "Subset accuracy"
    above = (MVFA, BOTH, "Tip-Adapter", PROKER)
    assert set(MANY.ranked(metric)[:4]) == set(above)
    assert peers("16").cell(metric, "Peer") == MVFA
    assert peers("16").interval(metric, GAP)[1] < 0
    assert peers("16").cell(decided, "Peer") == PROKER
    assert holds_zero(peers("16").interval(decided, GAP))
    told = "MVFA ({}), SD-MAD + MVFA ({}), Tip-Adapter ({}) and ProKeR ({}) are above it ({})"
    check(
        COMPARED[BULLET_MANY],
        "With 16 shots",
        f"subset accuracy {MANY(RECOMMENDED, decided)} beside ProKeR's {MANY(PROKER, decided)}",
        told.format(*(MANY(system, metric) for system in (*above, RECOMMENDED))),
        f"{-peers('16')(metric, GAP)} points behind MVFA on one draw, interval below 0",
    )


BULLET_ONE_EACH = "One detector a category can be done"
ELSEWHERE = (
    *("WinCLIP, zero-shot", "WinCLIP+, few normal images", "InCTRL", "PatchCore", "AnomalyDINO"),
    *("UniVAD on the embedded trunk", "AnomalyCLIP", "AA-CLIP"),
)


def test_one_detector_a_category():
    mvfa, both = ([f(s, "Mean AUROC") for f in (ONE, FOUR, MANY)] for s in (MVFA, BOTH))
    elsewhere = [FOUR(system, "Mean AUROC") for system in ELSEWHERE]
    check(
        COMPARED[BULLET_ONE_EACH],
        "with 1, 4 and 16 shots is {}, {} and {},".format(*mvfa),
        "one training and gets {}, {} and {}".format(*both),
        f"stay at {min(elsewhere)} to {max(elsewhere)}",
    )


BULLET_WHERE = "Where is it?"


def test_where_is_it():
    metric = "Pixel AUROC"
    best = FOUR.ranked(metric)[:3]
    assert set(best) == {BOTH, MVFA, MEMORY}
    (peer,) = {peers("4").cell(metric, "Peer")} & {MVFA, MEMORY}
    assert peers("4").interval(metric, GAP)[1] < 0
    check(
        COMPARED[BULLET_WHERE],
        *(f"{system} ({FOUR(system, metric)})" for system in best),
        f"searched ({FOUR(SEARCHED, metric)}) and recommended ({FOUR(RECOMMENDED, metric)})",
        f"lie {-peers('4')(metric, GAP)} points below {peer} on one draw, interval below 0",
    )


BULLET_ADDED = "What the loss of Eq. 5 adds to MVFA"


def test_what_the_loss_adds():
    one, four, many = load(stored.ADDED_LOSS).values()
    assert one.interval("Mean AUROC", ADDED)[0] > 0
    assert falls([t("Mean AUROC", ADDED) for t in (one, four, many)])
    check(
        COMPARED[BULLET_ADDED],
        f"{one('Mean AUROC', ADDED):+} points with one, interval above 0, "
        f"{four('Mean AUROC', ADDED):+} with 4, and {many('Mean AUROC', ADDED):+} with 16",
    )


BULLET_BUDGET = "The same budget matters."


def test_the_same_budget():
    image, mean = ((FOUR(PRINTED, m), FOUR(SEARCHED, m)) for m in ("Image AUROC", "Mean AUROC"))
    assert falls(image[::-1])
    assert falls(mean[::-1])
    decided = "Subset accuracy"
    check(
        COMPARED[BULLET_BUDGET],
        f"from {image[0]} to {image[1]} in image AUROC",
        f"from {mean[0]} to {mean[1]} in mean AUROC, by training less",
        f"{FOUR(SEARCHED, decided)} against {FOUR(RECOMMENDED, decided)} of SD-MAD recommended",
    )
