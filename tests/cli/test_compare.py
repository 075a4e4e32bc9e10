import pytest


def test_systems_are_named_by_wildcards(sdmad, tmp_path, monkeypatch):
    asked = []
    monkeypatch.setattr(
        "sdmad.studies.comparison.compare", lambda request, say: asked.append(request) or []
    )
    done = sdmad("compare", "--systems", "sd-mad-p*, linear-probe", "--out", tmp_path / "c")
    assert done.status == 0
    assert asked[0].systems == ("sd-mad-printed", "linear-probe")
    assert asked[0].order == "round-robin"
    order = ("--draw", "patient-by-patient")
    assert sdmad("compare", "--out", tmp_path / "c", *order).status == 0
    assert asked[1].order == "patient-by-patient"
    assert len(asked[1].systems) == 38


@pytest.mark.parametrize("names", ["sd-mda", "nothing*", "sd-mad,,"])
def test_a_name_or_a_wildcard_that_means_nothing_is_refused(sdmad, tmp_path, names):
    done = sdmad("compare", "--systems", names, "--out", tmp_path / "c")
    assert done.status == 2
    assert "no system" in done.err
    assert not (tmp_path / "c").exists()
