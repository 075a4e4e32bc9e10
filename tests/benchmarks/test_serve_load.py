"""The page of many readers: p95, rates and shares by hand."""

from collections import Counter

from benchmarks.serve_load import Load, table


def test_figures_stand_beside_what_they_are_held_to():
    # p95 of 21 answers is the second longest; a page takes 5 static files, a prediction 40 passes.
    file = Load((0.01,) * 19 + (0.02, 9.0), 1.0, Counter({200: 21}))
    page = Load((0.01,) * 19 + (0.1, 9.0), 1.0, Counter({200: 20, 503: 1}))
    prediction = Load((0.1,) * 19 + (0.4, 9.0), 2.1, Counter({200: 21}))
    loads = {"a static file": file, "a page": page, "a prediction": prediction}
    text = table(loads, alone=0.01, rate=12.5).markdown()
    rows = [[cell.strip() for cell in line.split("|")[1:-1]] for line in text.splitlines()]
    assert ["a static file", "21", "0", "20", "", ""] in rows
    assert ["a page", "21", "1", "100", "5.0 static files", "at most 10"] in rows
    assert ["a prediction", "21", "0", "400", "40.0 bare passes", "at most 60"] in rows
    share = "80% of the bare tower's"
    assert ["predictions a second", "10.0", "", "", share, "at least 80%"] in rows
