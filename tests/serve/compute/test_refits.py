"""Refits in a process of their own: compared, switched, and killed."""

import json
import os
import signal
import sys
import time

import numpy as np
import pytest

from sdmad import SDMAD
from sdmad.data.table import read_label_table
from sdmad.evaluation.intervals import paired_difference
from sdmad.evaluation.labelled_scores import labelled_scores
from sdmad.evaluation.metrics import mean_auroc
from sdmad.output import csv_text
from sdmad.serve.compute.models import Models
from sdmad.serve.compute.refits import NotNowError, Refits, UnknownRefitError


@pytest.fixture(scope="module")
def table(make_data, small_bank, tmp_path_factory):
    path = make_data(tmp_path_factory.mktemp("labelled"), 48, seed=8)
    return read_label_table(path, small_bank.names)


@pytest.fixture(scope="module")
def labels(table):
    """The table as a server exports it."""
    rows = [
        [file, patient, "", *map(int, row), int(normal)]
        for file, patient, row, normal in zip(
            table.files, table.patients, table.labels, table.normal, strict=True
        )
    ]
    return csv_text(["file", "patient", "split", *table.categories, "normal"], rows)


@pytest.fixture(scope="module")
def old(small_bank, tiny_backbone, make_data, tmp_path_factory):
    """A model fitted elsewhere, on disk."""
    folder = tmp_path_factory.mktemp("old")
    elsewhere = read_label_table(make_data(folder / "data", 12, seed=1), small_bank.names)
    detector = SDMAD(small_bank, tiny_backbone).fit(
        elsewhere.files, elsewhere.labels, patients=[f"other {p}" for p in elsewhere.patients]
    )
    detector.save(folder / "model")
    return folder / "model"


@pytest.fixture
def models(old):
    found = Models([old])
    yield found
    found.close()


@pytest.fixture
def house(models, tmp_path):
    """Refits, and the models that were switched to."""
    switched = []
    refits = Refits(tmp_path / "refits", models, switched.append)
    yield refits, switched
    refits.close()


def ended(refits, number, seconds=120):
    until = time.monotonic() + seconds
    while (found := refits.get(number)).state in ("waiting", "running"):
        assert time.monotonic() < until, found
        time.sleep(0.05)
    return found


def began(refits, number, seconds=60):
    until = time.monotonic() + seconds
    while not (refits._folder / f"{number:06d}" / "progress.json").is_file():
        assert time.monotonic() < until
        time.sleep(0.02)


def test_a_refit_is_judged_beside_the_model_in_use_and_switched_to(
    house, models, labels, table, old
):
    refits, switched = house
    number = refits.start(labels, shots=6, seed=1).id
    found = ended(refits, number)
    assert (found.state, found.progress, number) == ("done", 1, 1), found.message
    assert models.active.folder == old  # nothing is switched by itself
    rows = {row["metric"]: row for row in found.comparison["rows"]}

    new = SDMAD.load(refits._folder / "000001" / "model")
    before = SDMAD.load(old)
    left = [i for i, file in enumerate(table.files) if _unseen(new, table, i)]
    assert found.comparison["held_out"] == len(left) > 0
    held = table.subset(left)
    scored = [one.score_images(held.files) for one in (before, new)]
    sides = [
        labelled_scores(
            held.labels, s.scores, s.decisions, s.abnormality, held.normal, held.patients
        )
        for s in scored
    ]
    gap = paired_difference(sides[1], sides[0], 1000)["mean_auroc"]
    told = rows["mean_auroc"]
    assert told["old"] == pytest.approx(mean_auroc(held.labels, scored[0].scores))
    assert told["new"] == pytest.approx(mean_auroc(held.labels, scored[1].scores))
    assert [told["difference"], told["low"], told["high"]] == pytest.approx(
        [gap.difference, gap.low, gap.high], nan_ok=True
    )

    model = refits.switch(number)
    assert switched == [model]
    assert models.active is model
    assert refits.get(number).model == model.id

    again = Models([old])
    restored = Refits(refits._folder, again, switched.append)
    try:
        restored.restore()
        assert again.active.hash == model.hash
        assert [one.id for one in restored.all()] == [1]
    finally:
        restored.close()
        again.close()


def _unseen(detector, table, row):
    return not detector.support_patients_.contain([table.patients[row]])[0]


def test_labels_that_do_not_suffice_are_told(house, table):
    refits, _ = house
    text = csv_text(
        ["file", "patient", "split", *table.categories, "normal"],
        [[table.files[4], "", "", 0, 0, 0, 1]],
    )
    found = ended(refits, refits.start(text, 4, 0).id)
    assert (found.state, found.comparison) == ("failed", None)
    assert "no category has an image" in found.message
    with pytest.raises(NotNowError, match="it is failed"):
        refits.switch(found.id)


def test_a_refit_whose_process_is_killed_says_so(house, labels, models, old):
    refits, _ = house
    number = refits.start(labels, 6, 0).id
    began(refits, number)
    os.kill(refits._running.pid, signal.SIGKILL)
    found = ended(refits, number)
    assert found.state == "failed"
    assert "interrupted: its process ended while" in found.message
    assert "no reading is lost" in found.message
    assert models.active.folder == old


def test_after_a_server_that_was_killed_the_next_start_says_what_happened(
    house, labels, models, tmp_path
):
    refits, _ = house
    # What a killed server leaves: a folder that was asked for, and how far it was.
    left = refits._folder / "000007"
    left.mkdir(parents=True)
    (left / "request.json").write_text("{}", encoding="utf-8")
    (left / "progress.json").write_text(json.dumps({"step": 2}), encoding="utf-8")
    fresh = Refits(refits._folder, models, lambda _: None)
    try:
        (found,) = [one for one in fresh.all() if one.id == 7]
        assert found.state == "failed"
        assert "interrupted: the server ended while fitting" in found.message
        assert fresh.start(labels, 1, 0).id == 8
    finally:
        fresh.close()


def test_servers_with_one_folder_leave_each_others_refits_alone(house, labels, models, monkeypatch):
    waits = (sys.executable, "-c", "import sys; sys.stdin.read()")
    monkeypatch.setattr("sdmad.serve.compute.refits.program", lambda _: waits)
    refits, _ = house
    first, second = refits.start(labels, 1, 0).id, refits.start(labels, 1, 0).id
    while refits.get(first).state == "waiting":
        time.sleep(0.01)
    other = Refits(refits._folder, models, lambda _: None)
    try:
        assert [one.state for one in other.all()] == ["waiting", "waiting"]
        assert other.start(labels, 1, 0).id == 3
    finally:
        other.close()
    assert [refits.get(number).state for number in (first, second)] == ["running", "waiting"]
    refits.close()
    again = Refits(refits._folder, models, lambda _: None)
    again.close()
    assert {one.state for one in again.all()} == {"failed"}


def test_a_process_ends_with_its_server(house, labels):
    refits, _ = house
    number = refits.start(labels, 6, 0).id
    began(refits, number)
    process = refits._running
    process.stdin.close()  # what the system does with a killed server's pipes
    assert process.wait(30) == 1
    assert ended(refits, number).state == "failed"


def test_what_is_not_there_and_what_cannot_learn(house, openvino_export, labels, tmp_path):
    refits, _ = house
    with pytest.raises(UnknownRefitError, match="no refit 5"):
        refits.get(5)
    export = Models([openvino_export])
    other = Refits(tmp_path / "of-export", export, lambda _: None)
    try:
        with pytest.raises(NotNowError, match="an export cannot learn"):
            other.start(labels, 4, 0)
    finally:
        other.close()
        export.close()


def test_the_folder_is_made_with_the_first_refit_and_is_private(house, labels):
    refits, _ = house
    assert not refits._folder.exists()
    refits.start(labels, 4, 0)
    assert refits._folder.stat().st_mode & 0o077 == 0
    assert np.all([one.stat().st_mode & 0o077 == 0 for one in refits._folder.iterdir()])
