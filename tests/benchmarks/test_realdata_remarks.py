"""No remark on the real sets may say anything else than the page's tables."""

from pathlib import Path

from benchmarks import realdata
from tests.benchmarks.remarks import DOCS, Figures, bullets, check, holds_zero, tables

PAGE = "realdata.md"
SAYS = bullets(PAGE, "What the tables say")
FOUND = {names[-1]: Figures(table) for names, table in tables(PAGE).items()}
OCT, CHEST, BRAIN = (f"{real.title}, 4 shots, 5 draws" for real in realdata.SETS)
AUROC, SUBSET, F1, ABNORMAL = "Mean AUROC", "Subset accuracy", "Macro F1", "Image AUROC"
SIGNS, SELECTED = "zero-shot CLIP, signs", "zero-shot CLIP, signs, selection"
NAMES, NOTHING, EVERYTHING = (
    "zero-shot CLIP, category names",
    "predict nothing",
    "predict everything",
)
PROBE, SEARCHED_PROBE, PRINTED = "linear probe", "linear probe, searched", "SD-MAD as printed"
RECOMMENDED, TIP, DINO = "SD-MAD recommended", "Tip-Adapter", "AnomalyDINO"


def figures(title, system, *metrics):
    return [FOUND[title](system, metric) for metric in metrics]


def peer(title, metric):
    """The best peer, and the interval of what the recommended settings are ahead of it."""
    found = FOUND[f"{title}: best peers"]
    return found.cell(metric, "Peer"), found.interval(metric, "SD-MAD recommended less it")


def test_the_page_ends_with_the_remarks():
    remarks = Path(realdata.__file__).with_name("realdata_remarks.md").read_text("utf-8")
    page = (DOCS / PAGE).read_text("utf-8").partition("\n*Made with")[0]
    assert page.rstrip().endswith(remarks.rstrip())


def test_every_bullet_has_its_test():
    begun = {
        "Retinal OCT carries over.",
        "The brain set is judged across a shift of origin",
        "Chest X-rays of 64 px are hardly above chance.",
        "Is the image abnormal?",
        "Selection of signs mostly hurts without training",
    }
    assert set(SAYS) == begun


def test_oct():
    own = figures(OCT, RECOMMENDED, AUROC, SUBSET, F1)
    assert FOUND[OCT].ranked(SUBSET)[:3] == [RECOMMENDED, PROBE, "ProKeR"]
    assert FOUND[OCT].ranked(F1)[0] == RECOMMENDED
    assert peer(OCT, F1)[0] == "ProKeR"
    gaps = [row[0] for row in FOUND[f"{OCT}: best peers"].table.rows]
    assert all(holds_zero(peer(OCT, metric)[1]) for metric in gaps)
    printed, signs = (figures(OCT, s, AUROC, SUBSET, F1) for s in (PRINTED, SIGNS))
    check(
        SAYS["Retinal OCT carries over."],
        f"a mean AUROC of {own[0]}, where the linear probe has {FOUND[OCT](PROBE, AUROC)}",
        f"({own[1]}; the probe {FOUND[OCT](PROBE, SUBSET)}, ProKeR {FOUND[OCT]('ProKeR', SUBSET)})",
        f"({own[2]}; ProKeR {FOUND[OCT]('ProKeR', F1)})",
        "{}, {} and {}, the untrained".format(*printed),
        "to {}, {} and {}.".format(*signs),
        "clear of 0",
    )


def test_brain():
    found = FOUND[BRAIN]
    assert peer(BRAIN, AUROC)[0] == peer(BRAIN, SUBSET)[0] == SEARCHED_PROBE
    assert found.ranked(SUBSET)[0] == RECOMMENDED
    assert all(holds_zero(peer(BRAIN, metric)[1]) for metric in (AUROC, SUBSET))
    assert peer(BRAIN, F1)[0] == TIP
    assert peer(BRAIN, F1)[1][1] < 0
    check(
        SAYS["The brain set is judged across a shift of origin"],
        f"({found(SEARCHED_PROBE, AUROC)} against {found(RECOMMENDED, AUROC)})",
        f"(subset {found(RECOMMENDED, SUBSET)} against {found(SEARCHED_PROBE, SUBSET)})",
        f"({found(TIP, F1)} against {found(RECOMMENDED, F1)})",
        f"predicting everything has {found(EVERYTHING, F1)}",
        "intervals hold 0",
        "clear of 0",
    )


def test_chest():
    found = FOUND[CHEST]
    assert found.ranked(AUROC)[:2] == [RECOMMENDED, PROBE]
    assert found.ranked(SUBSET)[0] == RECOMMENDED
    assert found.ranked(F1)[0] == TIP
    check(
        SAYS["Chest X-rays of 64 px are hardly above chance."],
        "of 64 px",
        f"({found(RECOMMENDED, AUROC)}; the linear probe {found(PROBE, AUROC)})",
        f"({found(RECOMMENDED, SUBSET)}; predicting nothing {found(NOTHING, SUBSET)})",
        f"a macro F1 of {found(RECOMMENDED, F1)}: with four",
        f"F1 of {found(TIP, F1)} is near that of predicting everything, {found(EVERYTHING, F1)}",
    )


def test_is_the_image_abnormal():
    memories = (DINO, "PatchCore", NAMES)
    first, second, third = (FOUND[OCT](system, ABNORMAL) for system in memories)
    assert FOUND[BRAIN].ranked(ABNORMAL)[:2] == [TIP, "APE"]
    brain = [FOUND[BRAIN](system, ABNORMAL) for system in (TIP, "APE", RECOMMENDED)]
    check(
        SAYS["Is the image abnormal?"],
        f"(image AUROC of AnomalyDINO {first}, of PatchCore {second})",
        f"so do untrained category names ({third})",
        "(mean AUROC {}, {} and {})".format(*(FOUND[OCT](s, AUROC) for s in memories)),
        f"Tip-Adapter ({brain[0]}) and APE ({brain[1]}) are ahead",
        f"settings ({brain[2]})",
    )


def test_selection():
    pairs = [[FOUND[t](s, AUROC) for s in (SIGNS, SELECTED)] for t in (OCT, BRAIN, CHEST)]
    assert [after < before for before, after in pairs] == [True, True, False]
    retina, brain, chest = (f"from {before} to {after}" for before, after in pairs)
    check(
        SAYS["Selection of signs mostly hurts without training"],
        f"{retina} on OCT and {brain} on brain, but {chest} on chest",
    )
