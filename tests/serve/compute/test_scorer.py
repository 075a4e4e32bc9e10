"""What the scorer says is what ``sdmad predict`` says."""

import json
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from typer.testing import CliRunner

from sdmad.cli.main import app
from sdmad.errors import InputError
from sdmad.serve.compute.batching import BusyError
from sdmad.serve.compute.models import Models
from sdmad.serve.compute.scorer import Scorer, Stated


@pytest.fixture(scope="module")
def files(make_data, tmp_path_factory):
    folder = tmp_path_factory.mktemp("images")
    make_data(folder, 12, seed=5)
    (folder / "003.png").write_bytes(b"no picture at all")
    return sorted(folder.glob("*.png"))


@pytest.fixture(scope="module")
def models(model_folder):
    found = Models([model_folder])
    yield found
    found.close()


@pytest.fixture(scope="module")
def scorer():
    found = Scorer()
    yield found
    found.close()


@pytest.fixture(scope="module")
def predicted(model_folder, files):
    """What the command writes, by file."""
    said = CliRunner().invoke(app, ["predict", str(model_folder), *map(str, files), "--json"])
    assert said.exit_code == 3
    rows = [json.loads(line) for line in said.stdout.splitlines()]
    return {row["file"]: row for row in rows}


def plain(row):
    """A scored row as the command writes it."""
    return {
        "file": str(row.file),
        "unfamiliar": row.unfamiliar,
        "categories": {
            one.category: {
                "score": one.score,
                "threshold": one.threshold,
                "found": one.decision,
                "top_sign": one.sign.sentence,
            }
            for one in row.findings
        },
    }


def told(row):
    """The part of a written row that :func:`plain` gives."""
    keys = ("score", "threshold", "found", "top_sign")
    kinds = {name: {key: found[key] for key in keys} for name, found in row["categories"].items()}
    return {"file": row["file"], "unfamiliar": row["unfamiliar"], "categories": kinds}


def test_a_request_alone_has_the_scores_of_the_command_to_the_bit(models, scorer, files, predicted):
    rows = scorer.score(models.active, files)
    assert [plain(row) for row in rows if row.error is None] == [
        told(row) for row in predicted.values()
    ]
    (bad,) = [row for row in rows if row.error is not None]
    assert bad.file.name == "003.png"
    assert (bad.findings, bad.unfamiliar, bad.abnormal) == ((), None, None)


def test_requests_that_share_batches_have_them_nearly(models, scorer, files, predicted):
    with ThreadPoolExecutor(12) as pool:
        rows = list(pool.map(lambda file: scorer.score(models.active, [file])[0], files))
    for row in rows:
        if row.error is None:
            mine, theirs = plain(row), told(predicted[str(row.file)])
            for name, found in mine["categories"].items():
                other = theirs["categories"][name]
                assert found.pop("score") == pytest.approx(other.pop("score"), abs=1e-5)
            assert mine == theirs


def test_abnormal_is_half_where_a_category_is_just_found(models, scorer, files, fitted):
    rows = [row for row in scorer.score(models.active, files) if row.error is None]
    for row in rows:
        assert (row.abnormal > 0.5) == any(one.decision for one in row.findings)
        assert 0 <= row.unsure <= 1
    margins = [max(one.score - one.threshold for one in row.findings) for row in rows]
    ordered = [rows[place].abnormal for place in np.argsort(margins)]
    assert ordered == sorted(ordered)
    assert ordered[0] < ordered[-1]


def test_the_deciding_sign_is_the_best_kept_one(models, scorer, files, small_bank):
    row = scorer.score(models.active, files[:1])[0]
    for one in row.findings:
        kept = [sign for sign in one.signs if sign.kept]
        assert one.sign == max(kept, key=lambda sign: sign.contribution)
        number = small_bank.categories[one.category].index(one.sign.sentence) + 1
        assert one.sign.name == f"{one.category} {number}"


def test_probabilities_and_answers_are_given_where_they_are_asked_for(
    scorer, files, make_data, small_bank, tiny_backbone, tmp_path
):
    from sdmad import SDMAD
    from sdmad.data.table import read_label_table

    table = read_label_table(make_data(tmp_path / "more", 48, seed=2), small_bank.names)
    detector = SDMAD(small_bank, tiny_backbone)
    detector.fit(table.files, table.labels, patients=table.patients).save(tmp_path / "odds")
    models = Models([tmp_path / "odds"])
    try:
        (bare,) = scorer.score(models.active, files[:1])
        (row,) = scorer.score(models.active, files[:1], Stated(0.1, 0.2))
        likely = detector.predict_proba(files[:1], prevalence=0.1)[0]
    finally:
        models.close()
    assert [one.probability for one in bare.findings] == [None] * 3
    assert [one.probability for one in row.findings] == pytest.approx(likely.tolist(), abs=1e-12)
    assert {one.answer for one in row.findings} <= {"yes", "no", "unsure"}


def test_what_a_model_cannot_give_is_refused(models, scorer, files):
    with pytest.raises(InputError, match=r"calibrat|probabilit"):
        scorer.score(models.active, files[:1], Stated(prevalence=0.1))
    with pytest.raises(InputError, match="error rate"):
        scorer.score(models.active, files[:1], Stated(error_rate=0.1))


def test_maps_are_those_of_the_detector(models, scorer, files, fitted, small_bank):
    found = scorer.category_map(models.active, files[0], "Bar")
    assert found.tolist() == list(fitted.category_maps(files[0]))[1].tolist()
    sign = small_bank.categories["Bar"][1]
    found = scorer.sign_map(models.active, files[0], "Bar", sign)
    assert found.tolist() == list(fitted.sign_maps(files[0]))[3].tolist()
    with pytest.raises(InputError, match="no category 'Knob'"):
        scorer.category_map(models.active, files[0], "Knob")
    with pytest.raises(InputError, match="no sign 'x'"):
        scorer.sign_map(models.active, files[0], "Bar", "x")


def test_a_request_beyond_the_room_is_refused(models, scorer, files):
    with pytest.raises(BusyError, match="wait already"):
        scorer.score(models.active, [files[0]] * (models.active.batcher.most + 1))
    assert models.active.batcher.waiting == 0


def test_the_background_gives_the_same_rows(models, scorer, files):
    asked = scorer.score(models.active, files)
    assert scorer.score_behind(models.active, files) == asked


def test_an_export_answers_as_it_does_alone(openvino_export, scorer, files):
    from sdmad.export.runtime import ExportedModel

    models = Models([openvino_export])
    try:
        model = models.active
        rows = scorer.score(model, files[4:8])
        alone = ExportedModel.load(openvino_export).score_images(files[4:8])
        assert (model.kind, model.name) == ("export", "openvino")
        assert np.array([[one.score for one in row.findings] for row in rows]) == pytest.approx(
            alone.scores, abs=1e-5
        )
        with pytest.raises(InputError, match="gives no maps"):
            scorer.category_map(model, files[0], "Bar")
    finally:
        models.close()
