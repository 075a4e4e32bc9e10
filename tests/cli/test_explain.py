import json

import pytest
from PIL import Image

from sdmad import SDMAD
from sdmad.detector.sign_detector import SignDetector
from sdmad.reporting.explanations import explanation_table


@pytest.fixture
def image_path(pictures, tmp_path):
    path = tmp_path / "[red]picture.png"
    Image.fromarray(pictures[0][0]).save(path)
    return path


def test_the_table_shows_every_sign_and_marks_the_deciding_ones(sdmad, model_folder, image_path):
    done = sdmad("explain", model_folder, image_path, "--decision", "mean")
    assert done.status == 0, done.err
    model = SDMAD.load(model_folder).with_inference(decision="mean")
    explanation = model.explain(image_path)
    for sentence in model.bank_.sentences:
        assert sentence in done.out
    assert "[red]picture.png" in done.out
    assert f"{explanation.anchor_similarity:.3f}" in done.out
    table = explanation_table(explanation, "x")
    decided = [row[3] for row in table.rows if row[-1] == "decided"]
    assert sorted(decided) == sorted(
        entry.deciding_sign.sentence for entry in explanation.categories
    )
    for row in table.rows:
        entry = next(e for e in explanation.categories if e.category == row[0])
        sign = next(s for s in entry.signs if s.sentence == row[3])
        assert float(row[4]) == pytest.approx(sign.similarity, abs=6e-4)
        above = sign.similarity - explanation.anchor_similarity
        assert float(row[5]) == pytest.approx(above, abs=6e-4)
        assert (row[-1] == "discarded") == (not sign.kept)


def test_a_threshold_and_a_probability_stand_beside_the_score(
    sdmad, small_bank, tiny_clip, pictures, image_path, tmp_path
):
    SDMAD(small_bank, str(tiny_clip)).fit(*pictures).save(tmp_path / "model")
    model = SDMAD.load(tmp_path / "model")
    explanation, (likely,) = model.explain(image_path), model.predict_proba([image_path], 0.2)
    table = explanation_table(explanation, "x", likely.tolist())
    assert table.header == (
        *("Category", "Decision", "Score", "Threshold", "Probability", "Sign", "Cosine"),
        "",
    )
    for row in table.rows:
        k = model.categories.index(row[0])
        assert (row[1] == "found") == (float(row[2]) > float(row[3]))
        assert float(row[4]) == pytest.approx(100 * likely[k], abs=0.06)
    done = sdmad("explain", tmp_path / "model", image_path, "--prevalence", "0.2", "--json")
    told = json.loads(done.out)["probabilities"]
    assert list(told.values()) == pytest.approx(likely.tolist())


def test_found_categories_come_first(model_folder, image_path):
    explanation = SDMAD.load(model_folder).explain(image_path)
    order = [row[1] for row in explanation_table(explanation, "x").rows]
    assert order == sorted(order, key=lambda word: word != "found")


def test_json_holds_the_whole_explanation(sdmad, model_folder, image_path):
    done = sdmad("explain", model_folder, image_path, "--json")
    assert done.status == 0, done.err
    content = json.loads(done.out)
    explanation = SDMAD.load(model_folder).explain(image_path)
    assert content["anchor_similarity"] == explanation.anchor_similarity
    assert [c["category"] for c in content["categories"]] == ["Ring", "Bar", "Dots"]
    first = content["categories"][0]
    assert first["deciding_sign"]["sentence"] == explanation.categories[0].deciding_sign.sentence
    assert len(first["signs"]) == 2


def test_an_image_that_is_none_is_named(sdmad, model_folder, tmp_path):
    (tmp_path / "x.png").write_text("no image")
    for name, said in (("x.png", "not an image"), ("y.png", "no such file"), (".", "a folder")):
        done = sdmad("explain", model_folder, tmp_path / name)
        assert done.status == 2
        assert said in done.err


def test_maps_are_a_picture_a_found_category(sdmad, model_folder, image_path, tmp_path):
    seen = tmp_path / "seen"
    rule = ("--decision", "mean")
    done = sdmad("explain", model_folder, image_path, "--json", "--maps", seen, *rule)
    assert done.status == 0, done.err
    found = [c for c in json.loads(done.out)["categories"] if c["found"]]
    assert found
    found.sort(key=lambda c: -c["score"])
    names = ["00-anomaly.png"] + [f"{i:02d}-{c['category']}.png" for i, c in enumerate(found, 1)]
    assert sorted(path.name for path in seen.iterdir()) == names
    assert done.err == f"{seen}: {', '.join(names)}\n"
    for name in names:
        with Image.open(seen / name) as picture:
            picture.load()
            assert (picture.format, min(picture.size) > 400) == ("PNG", True)


def test_maps_replace_nothing_without_force(sdmad, model_folder, image_path, tmp_path):
    kept = tmp_path / "seen" / "work.txt"
    kept.parent.mkdir()
    kept.write_text("years")
    done = sdmad("explain", model_folder, image_path, "--maps", kept.parent)
    assert (done.status, done.out, kept.read_text()) == (2, "", "years")
    assert "--force" in done.err
    assert sdmad("explain", model_folder, image_path, "--maps", kept.parent, "--force").status == 0
    assert not kept.exists()


def test_another_rule_and_its_normal_images_decide(
    sdmad, model_folder, image_path, pictures, tmp_path
):
    normals = tmp_path / "normals"
    normals.mkdir()
    for i, picture in enumerate(pictures[0][:8]):
        Image.fromarray(picture).save(normals / f"{i}.png")
    rule = ("--decision", "fpr:0.25", "--normals", normals)
    done = sdmad("explain", model_folder, image_path, "--json", *rule)
    assert done.status == 0, done.err
    model = SDMAD.load(model_folder).with_inference(decision="fpr:0.25")
    model.fit_thresholds(sorted(normals.iterdir()))
    found = {c["category"]: c["found"] for c in json.loads(done.out)["categories"]}
    assert found == {c.category: c.found for c in model.explain(image_path).categories}
    done = sdmad("explain", model_folder, image_path, "--decision", "fpr:0.25")
    assert done.status == 2
    assert "--normals FOLDER" in done.err


def test_the_towers_precision_is_the_readers_choice(sdmad, model_folder, image_path, monkeypatch):
    asked = []
    load = SignDetector.load

    def record(*arguments):
        asked.append(arguments[3])
        return load(*arguments)

    monkeypatch.setattr(SignDetector, "load", record)
    assert sdmad("explain", model_folder, image_path, "--precision", "auto").status == 0
    assert asked == ["auto"]
