import csv
import dataclasses
import io
import json
import math
import re
import shutil

import numpy as np
import pytest
from PIL import Image

from sdmad import SDMAD, SDMADConfig, SignBank
from sdmad.data.table import read_label_table
from sdmad.errors import InputError
from sdmad.evaluation.protocols import DECISION_METRICS
from sdmad.reporting.model_evaluation import (
    HEATMAP_IMAGES,
    evaluate_model,
    examples,
    image_groups,
    rows_to_evaluate,
    shown_rows,
    sign_rows,
    write_evaluation,
)

NAMES = ("Ring", "Bar", "Dots")


def quiet(position, error):
    raise AssertionError(f"{position}: {error}")


@pytest.fixture
def table(tmp_path, make_data):
    return read_label_table(make_data(tmp_path / "data"), NAMES)


def fit_on(bank, backbone, table, rows, **more):
    part = table.subset(rows)
    detector = SDMAD(bank, backbone, SDMADConfig(epochs=1))
    return detector.fit(part.files, part.labels, patients=part.patients, **more)


# Which rows are judged


def test_support_images_and_all_images_of_their_patients_are_left_out(
    small_bank, tiny_backbone, table
):
    detector = fit_on(small_bank, tiny_backbone, table, [0, 4, 9])
    rows, notes = rows_to_evaluate(detector, table)
    assert rows.files == tuple(f for i, f in enumerate(table.files) if i not in (0, 1, 4, 5, 8, 9))
    assert notes == (
        "6 images of support patients and 0 more that equal a support or threshold image byte by "
        "byte were left out",
    )


def test_patients_given_from_python_are_recognised_in_a_table(small_bank, tiny_backbone, table):
    detector = SDMAD(small_bank, tiny_backbone, SDMADConfig(epochs=1))
    detector.fit(table.files[:1], table.labels[:1], patients=["person0"])
    rows, _ = rows_to_evaluate(detector, table)
    assert rows.files == table.files[2:]


def test_byte_identical_copies_are_left_out_under_any_name(small_bank, tiny_backbone, table):
    shutil.copy(table.files[0], table.files[20])
    detector = fit_on(small_bank, tiny_backbone, table, [0, 4])
    rows, notes = rows_to_evaluate(detector, table)
    assert table.files[20] not in rows.files
    assert table.files[21] in rows.files
    assert "4 images of support patients and 1 more" in notes[0]


def test_without_patients_the_content_alone_tells(small_bank, tiny_backbone, tmp_path, table):
    text = re.sub(r",person\d+", "", table.path.read_text()).replace(",patient", "")
    table.path.write_text(text)
    plain = read_label_table(table.path, NAMES)
    detector = fit_on(small_bank, tiny_backbone, plain, [0, 4])
    moved = tmp_path / "moved"
    shutil.move(table.path.parent, moved)
    rows, notes = rows_to_evaluate(detector, read_label_table(moved / "labels.csv", NAMES))
    assert len(rows) == 22
    assert "0 images of support patients and 2 more" in notes[0]


def test_training_splits_are_left_out_without_a_word_about_patients(
    small_bank, tiny_backbone, tmp_path, make_data
):
    table = read_label_table(make_data(tmp_path / "split", split=True), NAMES)
    detector = fit_on(small_bank, tiny_backbone, table, [0, 1, 2, 4])
    rows, notes = rows_to_evaluate(detector, table)
    assert rows.files == table.files[12:]
    assert notes == ()


def test_images_that_set_thresholds_are_left_out(small_bank, tiny_backbone, table):
    part = table.subset([0, 2])
    config = SDMADConfig(epochs=1, decision="fpr:0.5")
    detector = SDMAD(small_bank, tiny_backbone, config).fit(part.files, part.labels)
    detector.fit_thresholds([table.files[5], table.files[10]])
    rows, notes = rows_to_evaluate(detector, table)
    assert {f.name for f in table.files} - {f.name for f in rows.files} == {
        "000.png",
        "002.png",
        "005.png",
        "010.png",
    }
    assert "4 more" in notes[0]


def test_nothing_left_to_judge_is_an_error_that_names_the_table(small_bank, tiny_backbone, table):
    detector = fit_on(small_bank, tiny_backbone, table, list(range(24)))
    with pytest.raises(InputError, match=r"labels\.csv: no image is left to judge on"):
        evaluate_model(detector, table, quiet)


# Judging


@pytest.fixture(scope="module")
def judged(small_bank, tiny_backbone, tmp_path_factory, make_data):
    folder = tmp_path_factory.mktemp("judged")
    table = read_label_table(make_data(folder / "data"), NAMES)
    detector = fit_on(small_bank, tiny_backbone, table, [0, 1, 2, 4])
    return evaluate_model(detector, table, quiet, resamples=20)


def test_every_row_that_may_be_judged_is(judged):
    assert len(judged.table) == 24 - 6
    assert judged.scores.scores.shape == (18, 3)
    assert judged.evaluation.images == 18
    assert judged.before.shape == (18, 6)
    assert 0 <= judged.evaluation.mean_auroc <= 1


def test_the_similarities_before_training_are_the_bare_backbones(judged):
    backbone, bank = judged.detector.backbone_, judged.detector.bank_
    images = backbone.encode_image(backbone.preprocessing(list(judged.table.files)))
    expected = images @ backbone.encode_text(bank.sentences).T
    np.testing.assert_allclose(judged.before, expected.numpy(), atol=1e-5)


def test_unreadable_images_are_told_and_left_out(small_bank, tiny_backbone, table):
    detector = fit_on(small_bank, tiny_backbone, table, [0, 2])
    table.files[10].write_bytes(b"no image")
    table.files[13].unlink()
    told = []
    evaluated = evaluate_model(
        detector, table, lambda i, error: told.append(error.path), resamples=0
    )
    assert told == [table.files[10], table.files[13]]
    assert len(evaluated.table) == 20 - 2
    assert not {table.files[10], table.files[13]} & set(evaluated.table.files)
    assert evaluated.notes[-1] == "2 images could not be read and were left out"
    alone = detector.decision_function(evaluated.table.files)
    np.testing.assert_allclose(evaluated.scores.scores, alone, atol=1e-5)


def test_nothing_readable_is_an_error(small_bank, tiny_backbone, table):
    detector = fit_on(small_bank, tiny_backbone, table, [0, 2])
    for file in table.files:
        file.write_bytes(b"no image")
    with pytest.raises(InputError, match="none of the 20 images could be read"):
        evaluate_model(detector, table, lambda *_: None)


def test_the_heat_map_shows_an_even_share_of_each_group(judged):
    groups = image_groups(judged.table)
    assert set(groups) == {"Ring", "Bar", "Dots", "normal"}
    assert shown_rows(judged.table).tolist() == list(range(18))
    many = judged.table.subset(list(range(18)) * 50)
    shown = shown_rows(many)
    assert len(shown) <= HEATMAP_IMAGES
    counts = [sum(image_groups(many)[i] == name for i in shown) for name in set(groups)]
    assert counts == [HEATMAP_IMAGES // 4] * 4


def test_an_image_with_unknown_labels_only_is_of_the_other_group(judged):
    labels = judged.table.labels.copy()
    labels[0] = np.nan
    table = dataclasses.replace(judged.table, labels=labels, normal=np.zeros(18, bool))
    assert image_groups(table)[0] == "other"


def test_sign_rows_tell_distances_and_marks(judged):
    rows = sign_rows(judged.detector)
    margins = judged.detector.margins()
    assert [row.sentence for row in rows] == list(judged.detector.bank_.sentences)
    assert [row.category for row in rows] == ["Ring", "Ring", "Bar", "Bar", "Dots", "Dots"]
    assert [row.kept for row in rows] == judged.detector.head_.keep.tolist()
    np.testing.assert_allclose([row.margin for row in rows], margins.margin.tolist())


def test_the_best_examples_rank_a_present_category_highest(judged):
    best, worst = examples(judged)
    assert len(best) == len(worst) == 4
    assert not {e.name for e in best} & {e.name for e in worst}
    scores, labels = judged.scores.scores, judged.table.labels
    standard = (scores - scores.mean(axis=0)) / scores.std(axis=0)

    def goodness(example):
        row = [f.name for f in judged.table.files].index(example.name)
        return standard[row][labels[row] == 1].min() - standard[row][labels[row] == 0].max()

    values = [goodness(example) for example in (*best, *worst[::-1])]
    assert values == sorted(values, reverse=True)


def test_one_category_has_examples_too(tiny_backbone, table):
    bank = SignBank("one", "picture", ("plain",), {"Ring": ("a ring", "a circle")})
    path = table.path
    path.write_text(path.read_text().replace("Ring|Bar", "Ring").replace("Bar", "normal"))
    path.write_text(path.read_text().replace("Dots", "normal"))
    single = read_label_table(path, ["Ring"])
    detector = fit_on(bank, tiny_backbone, single, [0, 2, 4])
    evaluated = evaluate_model(detector, single, quiet, resamples=0)
    best, worst = examples(evaluated)
    assert best
    assert worst
    write_evaluation(evaluated, path.parent)


# Writing


@pytest.fixture(scope="module")
def written(judged, tmp_path_factory):
    folder = tmp_path_factory.mktemp("written")
    write_evaluation(judged, folder, title="A <b>title</b>")
    return folder


def test_metrics_json_has_every_number_on_its_top_level(written, judged):
    metrics = json.loads((written / "metrics.json").read_text(encoding="utf-8"))
    assert 0 <= metrics["mean_auroc"] <= 1
    assert metrics["mean_auroc"] == pytest.approx(judged.evaluation.mean_auroc)
    for name in ("image_auroc", *DECISION_METRICS):
        assert 0 <= metrics[name] <= 1
        low, high = metrics["intervals"][name]
        assert low <= high
    assert set(metrics["categories"]) == set(NAMES)
    assert metrics["categories"]["Ring"]["positives"] == int(judged.table.labels[:, 0].sum())
    assert set(metrics["trivial"]) == {"none", "all", "prevalence"}
    assert metrics["images"] == 18
    assert metrics["patients"] == 9
    assert set(judged.notes) <= set(metrics["notes"])


def test_scores_csv_has_a_row_an_image_that_reads_back(written, judged):
    with (written / "scores.csv").open(newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    assert [row["file"] for row in rows] == [str(f) for f in judged.table.files]
    for i, row in enumerate(rows):
        for k, name in enumerate(NAMES):
            assert float(row[f"score:{name}"]) == judged.scores.scores[i, k]
            assert float(row[f"label:{name}"]) == judged.table.labels[i, k]
            assert row[f"found:{name}"] == str(int(judged.scores.decisions[i, k]))
        assert float(row["abnormality"]) == judged.scores.abnormality[i]


def test_tables_and_report_are_written_and_the_report_leads_to_pages_of_its_own_alone(written):
    names = {path.name for path in written.iterdir()}
    assert {"metrics.json", "scores.csv", "tables.md", "table1.csv", "report.html"} <= names
    report = (written / "report.html").read_text(encoding="utf-8")
    assert "A &lt;b&gt;title&lt;/b&gt;" in report
    assert "<b>title" not in report
    links = re.findall(r"""(?:src|href)=["'](?!data:|#)([^"']*)""", report)
    pages = sorted(written.glob("images/*.html"))
    assert sorted(written / link for link in links) == pages
    assert len(pages) == 8
    assert "<script" not in report.lower()


def test_every_shown_image_has_maps_and_a_page(written, judged):
    report = (written / "report.html").read_text(encoding="utf-8")
    best, worst = examples(judged)
    shown = (*best, *worst)
    assert report.count("laid over the image") == sum(len(example.maps) for example in shown)
    for example in shown:
        found = sum(finding.decision for finding in example.findings)
        assert len(example.maps) == max(1, found)
        page = (written / example.page.address).read_text(encoding="utf-8")
        assert example.name in page
        assert page.count("laid over the image") == 1 + 2 * found
        for sign in judged.detector.bank_.sentences:
            assert sign in page


def test_hostile_names_signs_and_labels_are_escaped(tiny_backbone, tmp_path, make_data):
    evil = "<script>alert(1)</script>"
    bank = SignBank(
        "evil",
        f"picture {evil}",
        (f"plain {evil}",),
        {f"Ring {evil}": (f"a ring {evil}", "=1+1"), "Bar": (f"@bar {evil}", "an upright line")},
    )
    source = make_data(tmp_path / "data").parent
    lines = ["file,labels"]
    for i in range(18):
        name = f"={i}<script>alert({i})<img src=x>.png".replace("/", "")
        shutil.copy(source / f"{i:03d}.png", source / name)
        lines.append(f'"{name}","{("Ring " + evil, "bar", "normal")[i % 3]}"')
    table_path = source / "evil.csv"
    table_path.write_text("\n".join(lines))
    table = read_label_table(table_path, bank.names)
    detector = fit_on(bank, tiny_backbone, table, [0, 1, 2])
    evaluated = evaluate_model(detector, table, quiet, resamples=0)
    write_evaluation(evaluated, tmp_path, title=evil)
    pages = [tmp_path / "report.html", *(tmp_path / "images").iterdir()]
    assert len(pages) > 4
    for page in pages:
        html = page.read_text(encoding="utf-8")
        assert "<script" not in html.lower()
        assert "<img src=x" not in html
        assert "&lt;script&gt;" in html
    for path in tmp_path.glob("*.csv"):
        with path.open(newline="", encoding="utf-8") as file:
            for row in csv.reader(file):
                for cell in row:
                    assert not cell.startswith(("=", "+", "@", "\t")), (path.name, cell)
                    if cell.startswith("-"):
                        assert math.isfinite(float(cell))


def test_pictures_of_every_kind_get_a_thumbnail(small_bank, tiny_backbone, table):
    deep = (np.arange(48 * 40).reshape(48, 40) * 30).astype(np.uint16)
    Image.fromarray(deep).save(table.files[6])
    Image.fromarray(np.zeros((40, 30, 4), np.uint8)).save(table.files[7])
    Image.fromarray(np.zeros((3, 900), np.uint8)).convert("P").save(table.files[8])
    detector = fit_on(small_bank, tiny_backbone, table, [0, 2])
    evaluated = evaluate_model(detector, table.subset([0, 6, 7, 8, 9]), quiet, resamples=0)
    best, worst = examples(evaluated)
    for example in (*best, *worst):
        width, height = Image.open(io.BytesIO(example.thumbnail_png)).size
        assert 1 <= min(width, height) <= max(width, height) <= 192
