"""What `sdmad reproduce` asks for."""


def test_the_order_of_drawing_is_asked_for(sdmad, tmp_path, monkeypatch):
    asked = []
    monkeypatch.setattr(
        "sdmad.studies.reproduction.reproduce", lambda request, say: asked.append(request) or []
    )
    given = ("reproduce", "table2", "--data", "phantom", "--out", tmp_path / "r")
    assert sdmad(*given).status == 0
    assert sdmad(*given, "--draw", "patient-by-patient").status == 0
    assert [one.order for one in asked] == ["round-robin", "patient-by-patient"]
