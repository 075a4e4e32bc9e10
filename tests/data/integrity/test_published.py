from sdmad.data.integrity.published import PUBLISHED
from sdmad.data.sets import DATA_SETS


def test_counts_add_up_to_the_totals_that_are_stated_elsewhere():
    (nih,) = PUBLISHED["chestxray8"]
    assert nih.counts["train"]["images"] + nih.counts["test"]["images"] == 112_120
    new, old = PUBLISHED["oct17"]
    assert sum(new.counts["train"].values()) == 83_484
    assert sum(old.counts["train"].values()) == 108_309
    assert sum(new.counts["test and val"].values()) == 1_000
    # BMAD's OCT2017 is made of Kermany's val (32), test without val (968) and normal train images
    (bmad,) = PUBLISHED["bmad-oct2017"]
    assert bmad.counts["train"]["images"] == new.counts["train"]["normal"]
    assert bmad.counts["valid"]["images"] + bmad.counts["test"]["images"] == 1_000


def test_every_entry_is_a_data_set_with_a_source():
    assert set(PUBLISHED) <= set(DATA_SETS)
    assert all(release.source for releases in PUBLISHED.values() for release in releases)
