import csv
import json
import shutil

import duckdb
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from sdmad.archive import evaluating
from sdmad.archive.evaluating import evaluate_archive
from sdmad.archive.places import place_of
from sdmad.archive.scores import Scores, opened_scores, quoted
from sdmad.archive.stages import Judge
from sdmad.data.table import read_label_table
from sdmad.detector.sign_detector import SignDetector
from sdmad.errors import InputError
from sdmad.evaluation.labelled_scores import SUMMARY_METRICS
from sdmad.reporting.model_evaluation import evaluate_model
from tests.archive.helpers import staged
from tests.conftest import draw_pictures

NAN = float("nan")


@pytest.fixture(scope="module")
def scored(model_folder, make_data, tmp_path_factory):
    """A label table and the scores of its images as an archive."""
    table = make_data(tmp_path_factory.mktemp("judged") / "data", 48, seed=3)
    out = tmp_path_factory.mktemp("judged") / "scores"
    staged([table], out, Judge.of(SignDetector.load(model_folder)), 32)
    return table, out


def judged(scored, model_folder, labels=None, resamples=50):
    table, out = scored
    with opened_scores(place_of(out)) as opened:
        return evaluate_archive(opened, labels or table, model_folder, resamples)


def test_figures_are_those_of_the_images(scored, model_folder):
    found = judged(scored, model_folder).evaluation
    detector = SignDetector.load(model_folder)
    table = read_label_table(scored[0], detector.categories)
    other = evaluate_model(detector, table, lambda *_: None, 50).evaluation
    for name in SUMMARY_METRICS:
        assert getattr(found, name) == getattr(other, name)
        assert found.intervals[name] == other.intervals[name]


def test_very_many_are_judged_by_category_with_the_same_figures(scored, model_folder, monkeypatch):
    whole = judged(scored, model_folder).evaluation
    monkeypatch.setattr(evaluating, "MOST_RESAMPLED", 10)
    found = judged(scored, model_folder)
    assert found.roc is None
    assert found.evaluation.patients == whole.patients
    for name in SUMMARY_METRICS:
        assert getattr(found.evaluation, name) == pytest.approx(getattr(whole, name), abs=1e-12)


def test_labels_as_parquet_say_the_same(scored, model_folder, tmp_path):
    table = read_label_table(scored[0], ("Ring", "Bar", "Dots"))
    columns = {name: table.labels[:, k] for k, name in enumerate(table.categories)}
    rows = {"file": [str(f) for f in table.files], "patient": list(table.patients), **columns}
    pq.write_table(pa.table(rows), tmp_path / "labels.parquet")
    mine = judged(scored, model_folder, tmp_path / "labels.parquet").evaluation
    assert mine.mean_auroc == judged(scored, model_folder).evaluation.mean_auroc
    assert mine.patients == 24
    pq.write_table(pa.table({"file": ["a"]}), tmp_path / "labels.parquet")
    with pytest.raises(InputError, match="no column Ring, Bar, Dots"):
        judged(scored, model_folder, tmp_path / "labels.parquet")


FORMS = {
    "another finding": {"Fracture": [0, 1, None, 0, 0, 0]},
    "another finding, told where it is there": {"Fracture": [None, 1, None, None, None, None]},
    "normal told": {"normal": [1, 0, 1, 0, 0, 0]},
    "normal left blank": {"normal": [1.0, NAN, None, 0.0, 0.0, 0.0]},
    "normal by another name": {"No Finding": [1, 0, 1, 0, 0, 0]},
    "normal of another finding": {"normal": [1, 1, 0, 0, 0, 0], "Fracture": [0, 1, 0, 0, 0, 0]},
}


@pytest.mark.parametrize("more", FORMS.values(), ids=FORMS.keys())
def test_both_forms_of_a_table_find_the_same_images_normal(more, tmp_path):
    """Three rows of zeros, one with a blank, two with a finding."""
    told = {
        "file": [f"{i}.png" for i in range(6)],
        "Ring": [0.0, 0, 0, 0, 1, 0],
        "Bar": [0, 0, 0, None, 0, 1],
    }
    columns = told | more
    pq.write_table(pa.table(columns), tmp_path / "labels.parquet")
    rows = [
        ["" if v is None or v != v else v for v in row]
        for row in zip(*columns.values(), strict=True)
    ]
    with (tmp_path / "labels.csv").open("w", newline="") as file:
        csv.writer(file).writerows([list(columns), *rows])
    found = []
    for name in ("labels.csv", "labels.parquet"):
        with duckdb.connect() as database:
            scores = Scores(database, ("Ring", "Bar"), 6, 0, ())
            notes = evaluating._label(scores, tmp_path / name)
            asked = 'SELECT normal, "label:Ring", "label:Bar" FROM labels ORDER BY file'
            rows = [[None if v != v else v for v in row] for row in scores.list(asked)]
        found.append((rows, any("are no category were ignored: Fracture" in n for n in notes)))
    assert found[0] == found[1]
    assert sum(normal for normal, *_ in found[1][0]) < 3


@pytest.mark.parametrize(
    ("ring", "normal", "told"),
    [(2.0, 0, "2 is no label; use 1, 0 or nothing"), (1.0, 1, "1 goes with normal; keep one")],
)
def test_labels_as_parquet_are_refused_as_those_of_a_table(ring, normal, told, tmp_path):
    columns = {"file": ["a.png", "b.png"], "Ring": [0.0, ring], "normal": [1, normal]}
    pq.write_table(pa.table(columns), tmp_path / "labels.parquet")
    with (
        duckdb.connect() as database,
        pytest.raises(InputError, match=f"b.png, column Ring: {told}"),
    ):
        evaluating._label(Scores(database, ("Ring",), 2, 0, ()), tmp_path / "labels.parquet")


def test_patients_and_files_in_parquet_are_those_of_a_table(tmp_path):
    """Blanks made a column of numbers one of floats: patient 12 is not another one, 12.0."""
    labels = tmp_path / "labels.parquet"
    told = {"file": ["a", "b", "c"], "Ring": [0.0, 1, 0], "patient": [12.0, None, 7.5]}
    pq.write_table(pa.table(told), labels)
    with duckdb.connect() as database:
        scores = Scores(database, ("Ring",), 3, 0, ())
        evaluating._label(scores, labels)
        found = scores.list("SELECT patient FROM labels ORDER BY file")
        assert [row[0] for row in found] == ["12", "", "7.5"]
    pq.write_table(pa.table(told | {"file": ["a", "b", "a"]}), labels)
    with duckdb.connect() as database, pytest.raises(InputError, match="a stands twice; keep one"):
        evaluating._label(Scores(database, ("Ring",), 3, 0, ()), labels)


def test_files_that_moved_are_found_by_their_names(scored, model_folder, tmp_path):
    moved = tmp_path / "labels.csv"
    moved.write_bytes(scored[0].read_bytes())
    mine = judged(scored, model_folder, moved).evaluation
    assert mine.mean_auroc == judged(scored, model_folder).evaluation.mean_auroc
    moved.write_text("file,labels\nother.png,Ring\n")
    with pytest.raises(InputError, match="none of its files was scored"):
        judged(scored, model_folder, moved)
    moved.write_text("file,labels\na/000.png,Ring\nb/000.png,Bar\n")
    with pytest.raises(InputError, match="do not tell them apart"):
        judged(scored, model_folder, moved)


def test_what_the_model_learnt_from_is_left_out(model_folder, tmp_path):
    """Pictures of the fit's, as arrays hashed otherwise: by patient they are known."""
    from PIL import Image

    folder = tmp_path / "data"
    folder.mkdir()
    lines = ["file,patient,labels"]
    for i, picture in enumerate(draw_pictures(24, 9)[0]):
        Image.fromarray(picture).save(folder / f"{i}.png")
        patient = "patient-0" if i < 4 else f"new-{i}"
        lines.append(f"{i}.png,{patient},{('Ring', 'normal')[i % 2]}")
    (folder / "labels.csv").write_text("\n".join(lines))
    staged([folder], tmp_path / "out", Judge.of(SignDetector.load(model_folder)))
    found = judged((folder / "labels.csv", tmp_path / "out"), model_folder)
    assert found.evaluation.images == 20
    assert any("4 images of support patients and 0 more" in note for note in found.notes)


def test_the_command_writes_figures_tables_and_a_report(scored, model_folder, tmp_path, capsys):
    import sys

    from sdmad.cli import main

    table, out = scored
    arguments = ["evaluate", model_folder, table, "--scores", out, "--out", tmp_path / "results"]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "argv", ["sdmad", *map(str, arguments), "--resamples", "20"])
        with pytest.raises(SystemExit) as end:
            main.run()
    assert not end.value.code
    said = json.loads((tmp_path / "results" / "metrics.json").read_text())
    assert said["images"] == 48
    assert any("not this model's own" in note for note in said["notes"])
    assert "ROC" in (tmp_path / "results" / "report.html").read_text()
    rows = list(csv.reader((tmp_path / "results" / "table1.csv").open()))
    assert len(rows) > 1
    assert "report:" in capsys.readouterr().out


def test_scores_are_those_of_the_folder_that_was_named_whatever_its_name(scored, tmp_path):
    """``[1]``, ``*`` and ``file=x`` mean something to DuckDB."""
    given = tmp_path / "a[1]*" / "file=x" / "date=2020-01-01"
    other = tmp_path / "a1" / "file=x" / "date=2020-01-01" / "scores"
    given.mkdir(parents=True)
    (given / "scores").symlink_to(scored[1] / "scores")
    other.mkdir(parents=True)
    for file in (scored[1] / "scores").iterdir():
        pq.write_table(pq.read_table(file).slice(0, 1), other / file.name)
    asked = "SELECT file, date FROM scores ORDER BY ALL"
    with opened_scores(place_of(scored[1])) as opened:
        wanted = opened.list(asked)
    with opened_scores(place_of(given)) as opened:
        assert opened.list(asked) == wanted


def test_an_image_that_was_scored_twice_counts_once(scored, model_folder, tmp_path):
    once = judged(scored, model_folder)
    shutil.copytree(scored[1] / "scores", tmp_path / "scores")
    (first, *_) = sorted((tmp_path / "scores").iterdir())
    shutil.copy(first, tmp_path / "scores" / "shard-000009.parquet")
    found = judged((scored[0], tmp_path), model_folder)
    assert found.evaluation.images == once.evaluation.images
    assert found.evaluation.intervals == once.evaluation.intervals
    assert found.notes == ("32 images were scored twice, and count once", *once.notes)


def test_a_name_of_several_images_is_refused(scored, model_folder, tmp_path):
    table = pa.concat_tables(map(pq.read_table, sorted((scored[1] / "scores").iterdir())))
    names = table["file"].to_pylist()
    named = pa.array([names[1], *names[1:]])
    (tmp_path / "scores").mkdir()
    at = table.column_names.index("file")
    pq.write_table(table.set_column(at, "file", named), tmp_path / "scores" / "x.parquet")
    with pytest.raises(InputError, match="1 of its files stand for several images"):
        judged((scored[0], tmp_path), model_folder)


def test_labels_without_a_score_are_counted(scored, model_folder, tmp_path):
    (tmp_path / "scores").mkdir()
    (first, *_) = sorted((scored[1] / "scores").iterdir())
    shutil.copy(first, tmp_path / "scores")
    told = "16 of 48 labelled images have no score (not scored, or not readable then)"
    assert any(note.startswith(told) for note in judged((scored[0], tmp_path), model_folder).notes)


def test_a_run_that_is_not_finished_is_told(scored, tmp_path):
    (tmp_path / "scores").symlink_to(scored[1] / "scores")
    with opened_scores(place_of(tmp_path)) as opened:
        assert opened.notes == ()
    (tmp_path / "run.json").write_text("{}")
    for content in (None, '{"complete": false}'):
        if content:
            (tmp_path / "manifest.json").write_text(content)
        with opened_scores(place_of(tmp_path)) as opened:
            (note,) = opened.notes
            assert note.startswith(f"{tmp_path}: the run is not finished")
    (tmp_path / "manifest.json").write_text('{"complete": true}')
    with opened_scores(place_of(tmp_path)) as opened:
        assert opened.notes == ()


def test_a_table_of_labels_may_hold_addresses(tmp_path):
    labels = tmp_path / "labels.csv"
    labels.write_text("file,labels\ns3://bucket/a/0.png,Ring\ns3://bucket/b/0.png,Bar\n")
    with duckdb.connect() as database:
        scores = Scores(database, ("Ring", "Bar"), 2, 0, ())
        evaluating._label(scores, labels)
        files = [file for (file,) in scores.list("SELECT file FROM labels ORDER BY 1")]
    assert files == ["s3://bucket/a/0.png", "s3://bucket/b/0.png"]


def test_columns_may_have_any_name():
    assert quoted('score:a"; DROP') == '"score:a""; DROP"'


def test_what_is_no_archive_is_told(tmp_path):
    with (
        pytest.raises(InputError, match="no scores of an archive"),
        opened_scores(place_of(tmp_path)),
    ):
        pass
    pq.write_table(pa.table({"x": np.zeros(3)}), tmp_path / "x.parquet")
    with (
        pytest.raises(InputError, match="its columns are others"),
        opened_scores(place_of(tmp_path / "x.parquet")),
    ):
        pass
