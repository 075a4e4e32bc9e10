"""No remark on noisy signs may say anything else than the page's tables."""

import pytest

from tests.benchmarks.remarks import DOCS, bullets, check, tables

PAGE = "signs-stress.md"
TABLES = tables(PAGE)
SAYS = bullets(PAGE, "What the figures say")
UNTRAINED, PRINTED, RECOMMENDED = "zero-shot CLIP", "SD-MAD as printed", "SD-MAD recommended"
BANKS = ("brain", "chest", "oct")
AUROC, F1 = "Does selection pay? Mean AUROC", "Does selection pay? Macro F1"
(MEAN,) = (table for names, table in TABLES.items() if names[-1] == "Mean of the three banks")


def row(noise, added, system):
    """A row of the mean of the banks, by column."""
    (found,) = (r for r in MEAN.rows if r[:3] == (noise, str(added), system))
    return dict(zip(MEAN.header, found, strict=True))


def gains(system, *kinds):
    """What selection adds to the mean AUROC, by level."""
    rows = [r for r in MEAN.rows if r[2] == system and (r[0] in kinds or not kinds)]
    return [r[MEAN.header.index("paper less none")] for r in rows]


def pays(bank, title, system):
    """A system's row of one bank's table of differences, by column."""
    table = TABLES[bank, title]
    (found,) = (r for r in table.rows if r[0] == system)
    return dict(zip(table.header, found, strict=True))


def levels(title, system):
    """At how many levels of each bank the interval lies above 0, holds it, lies below."""
    return [
        tuple(map(int, pays(bank, title, system)["above / with / below"].split(" / ")))
        for bank in BANKS
    ]


def signed(cells):
    """Smallest and largest of figures that were written with a sign."""
    ordered = sorted(cells, key=float)
    return ordered[0], ordered[-1]


def told(cell):
    """1 where the interval lies above 0, -1 where it lies below, 0 where it holds 0."""
    if not cell.endswith(" *"):
        return 0
    return -1 if cell.startswith("-") else 1


def test_every_bullet_has_its_test():
    tested = {value for name, value in globals().items() if name.startswith("BULLET_")}
    assert tested == set(SAYS)


def test_levels_are_counted():
    assert sum(sum(levels(AUROC, PRINTED), ())) == 36
    assert "36 levels of noise a system: three banks" in (DOCS / PAGE).read_text("utf-8")


BULLET_PRINTED = "On SD-MAD as printed it pays, and little of that is certain."


def test_it_pays_as_printed():
    vague, wrong = (signed(gains(PRINTED, kind)) for kind in ("vague", "wrong"))
    above, _, below = zip(*levels(AUROC, PRINTED), strict=True)
    assert (sum(above), above[1], below) == (9, 8, (0, 0, 1))
    more, _, less = map(sum, zip(*levels(AUROC, UNTRAINED), strict=True))
    clean = row("clean", 0, UNTRAINED)["paper less none"]
    assert [told(pays(bank, AUROC, UNTRAINED)["clean"]) for bank in BANKS] == [0, -1, -1]
    check(
        SAYS[BULLET_PRINTED],
        f"adds {vague[0][1:]} to {vague[1][1:]} points of mean AUROC with vague",
        f"{wrong[0][1:]} to {wrong[1][1:]} with wrong",
        "above 0 at 9 levels, eight of them on chest, and below at one, on oct",
        f"gain {row('vague', 8, UNTRAINED)['paper less none'][1:]} with eight",
        f"(above 0 at {more} levels, below at one)",
        f"lose {clean[1:]} without noise, the intervals on chest and oct below 0",
    )
    assert less == 1


BULLET_LIMITS = "It limits the damage and does not undo it."


def test_it_limits_the_damage():
    before, after = row("clean", 0, PRINTED), row("vague", 8, PRINTED)
    check(
        SAYS[BULLET_LIMITS],
        f"from {before['selection none']} to {after['selection none']} without",
        f"to {after['selection paper']} with it",
    )


BULLET_RECOMMENDED = "The recommended settings rank better without it,"


def test_the_recommended_settings_are_better_without():
    clean = row("clean", 0, RECOMMENDED)
    bad = {kind: row(kind, 8, RECOMMENDED)["selection none"] for kind in ("vague", "wrong")}
    worst = min(bad, key=lambda kind: float(bad[kind]))
    assert worst == "wrong"
    assert float(clean["selection none"]) - float(bad[worst]) == pytest.approx(1)
    above, _, below = map(sum, zip(*levels(AUROC, RECOMMENDED), strict=True))
    assert (above, below) == (0, 1)
    low, high = signed(gains(RECOMMENDED))
    assert [told(pays(bank, AUROC, RECOMMENDED)["clean"]) for bank in BANKS] == [-1, -1, 0]
    check(
        SAYS[BULLET_RECOMMENDED],
        f"({clean['selection none']} to {bad[worst]}, wrong)",
        f"by {low} to {high.removeprefix('+')} on average",
        "above 0 at no level and below at one",
        f"costs {clean['paper less none'][1:]}, the intervals on brain and chest below 0",
    )


BULLET_DECISIONS = "Decisions by Eq. 8 need it; those of the recommended settings do not."


def test_decisions():
    brain, _, oct_ = (pays(bank, F1, PRINTED)["clean"].split(" ")[0] for bank in BANKS)
    cells = [
        cell
        for bank in BANKS
        for name, cell in pays(bank, F1, RECOMMENDED).items()
        if name.endswith(", 8")
    ]
    low, high = signed(cell.split(" ")[0] for cell in cells)
    assert sorted(map(told, cells))[:2] == [-1, 0]
    assert max(map(told, cells)) == 0
    check(
        SAYS[BULLET_DECISIONS],
        f"adds {brain[1:]} points of macro F1 on the clean brain bank and {oct_[1:]} on oct",
        f"by {low} to {high} where",
        "no interval above 0 and one below",
    )


BULLET_FINDS = "It finds the bad signs, and takes good ones along."


def test_it_finds_the_bad_signs():
    bad, column = [r for r in MEAN.rows if r[0] in ("vague", "wrong")], MEAN.header.index("recall")
    shares = [int(r[column][:-1]) for r in bad]
    clean = [int(row("clean", 0, s)["share"][:-1]) for s in (UNTRAINED, PRINTED)]
    assert all(33 <= share <= 40 for share in clean)
    assert all(int(row("wrong", 8, s)["share"][:-1]) > 67 for s in (UNTRAINED, PRINTED))
    wrong = [row("wrong", 8, s) for s in (UNTRAINED, PRINTED)]
    ((precision, chance),) = {(one["precision"], one["by chance"]) for one in wrong}
    check(
        SAYS[BULLET_FINDS],
        f"discards {min(shares)} to {max(shares)}% of what is vague or wrong",
        f"({precision[:-1]} against {chance}, wrong, eight)",
    )


BULLET_DUPLICATES = "Duplicates switch it off."


def test_duplicates():
    systems = (UNTRAINED, PRINTED, RECOMMENDED)
    lost = [
        float(row("clean", 0, s)["selection none"])
        - float(row("duplicate", n, s)["selection none"])
        for s in systems
        for n in (2, 4, 8)
    ]
    assert {row("duplicate", 8, s)["Own discarded"] for s in systems} == {"1 of 417"}
    own = {int(row("clean", 0, s)["Own discarded"].split(" ")[0]) for s in systems}
    check(
        SAYS[BULLET_DUPLICATES],
        f"cost the ranking {max(lost):.1f} points at most",
        "discards one good sign of 417",
        f"instead of {min(own)} to {max(own)}",
    )
