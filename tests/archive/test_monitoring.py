import json
import os
import subprocess
import sys
from datetime import UTC, datetime

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from sdmad.archive.monitoring import monitor
from sdmad.archive.places import place_of
from sdmad.archive.rows import Columns
from sdmad.archive.shards import write_shard
from sdmad.cli import main
from sdmad.errors import InputError

NAMES = ("Ma<ss", "Effusion")


def write_scores(folder, months, images=400, seed=0, undated=0, names=NAMES, models="m"):
    """Scores of some months, each with how far Effusion's scores and findings have moved."""
    rng = np.random.default_rng(seed)
    schema = Columns(names).schema()
    for shard, (month, shift) in enumerate(months):
        scores = rng.normal(size=(images, 2)) + np.array([0, shift])
        day = datetime(2024, month, 15, tzinfo=UTC)
        rows = {
            "shard": [shard] * images,
            "row": list(range(images)),
            "file": [f"{month}-{i}.png" for i in range(images)],
            "hash": ["0" * 64] * images,
            "date": [None] * undated + [day] * (images - undated),
            "abnormality": scores.max(axis=1),
            "unfamiliar": rng.random(images) < 0.01,
            "error": [None] * (images - 1) + ["bad"],
            "model": [models[shard % len(models)]] * images,
            "version": ["1"] * images,
        }
        for k, name in enumerate(names):
            rows |= {
                f"score:{name}": scores[:, k],
                f"threshold:{name}": np.ones(images),
                f"found:{name}": scores[:, k] > 1,
                f"sign:{name}": ["a sign"] * images,
            }
        columns = [
            pa.array(rows[f.name], f.type.value_type).dictionary_encode()
            if pa.types.is_dictionary(f.type)
            else pa.array(rows[f.name], f.type)
            for f in schema
        ]
        write_shard(place_of(folder), "run", shard, pa.table(columns, schema=schema))
    return folder


def test_the_month_that_changed_alarms_and_no_other(tmp_path):
    scores = write_scores(tmp_path, [(1, 0), (2, 0), (3, 0.8), (4, 0)], undated=10)
    found = monitor(place_of(scores))
    assert found.reference == "2024-01"
    assert [one.name for one in found.periods] == [f"2024-0{i}" for i in (1, 2, 3, 4)]
    assert [one.images for one in found.periods] == [389] * 4
    alarms = {one.name: [(c.what, c.category) for c in one.alarms] for one in found.periods}
    assert alarms == {
        "2024-01": [],
        "2024-02": [],
        "2024-03": [("scores", "Effusion"), ("findings", "Effusion")],
        "2024-04": [],
    }
    assert found.alarmed
    assert found.notes[0] == "40 images have no date and are left out."


def test_a_month_is_the_same_wherever_the_machine_stands(tmp_path):
    """A date without a time begins at midnight UTC, which is the evening before in New York."""
    rows = write_scores(tmp_path, [(1, 0), (2, 0)]) / "scores" / "shard-000001.parquet"
    table = pq.read_table(rows)
    midnight = pa.array([datetime(2024, 2, 1, tzinfo=UTC)] * len(table), table["date"].type)
    at = table.column_names.index("date")
    pq.write_table(table.set_column(at, "date", midnight), rows)
    asked = (
        "from sdmad.archive.monitoring import monitor; from sdmad.archive.places import place_of; "
        f"print([one.name for one in monitor(place_of({str(tmp_path)!r})).periods])"
    )
    environment = {**os.environ, "TZ": "America/New_York"}
    command = [sys.executable, "-c", asked]
    done = subprocess.run(command, capture_output=True, text=True, env=environment, check=True)
    assert done.stdout.strip() == "['2024-01', '2024-02']"


def test_another_archive_may_be_the_reference(tmp_path):
    reference = write_scores(tmp_path / "before", [(1, 0.8), (2, 0.8)], seed=1)
    scores = write_scores(tmp_path / "now", [(3, 0.8), (4, 0)], seed=2)
    found = monitor(place_of(scores), "month", place_of(reference))
    assert [bool(one.alarms) for one in found.periods] == [False, False, True]
    assert found.periods[0].images == 798
    other = write_scores(tmp_path / "other", [(1, 0)], names=("A", "B"))
    with pytest.raises(InputError, match="categories differ"):
        monitor(place_of(scores), "month", place_of(other))
    other = write_scores(tmp_path / "another", [(1, 0.8)], models="n")
    with pytest.raises(InputError, match=r"another model's scores \(n, here m\).*score both"):
        monitor(place_of(scores), "month", place_of(other))


def test_scores_of_two_models_are_told(tmp_path):
    scores = write_scores(tmp_path, [(1, 0), (2, 0)], models="mn")
    assert "2 models made these scores: a change may be theirs." in monitor(place_of(scores)).notes


@pytest.mark.parametrize(
    ("by", "names"),
    [("year", ["2024"]), ("quarter", ["2024-Q1", "2024-Q2"]), ("week", ["2024-W11", "2024-W20"])],
)
def test_periods_of_any_length(tmp_path, by, names):
    scores = write_scores(tmp_path, [(3, 0), (5, 0)], images=40)
    assert [one.name for one in monitor(place_of(scores), by).periods] == names


def test_few_images_are_not_judged_and_none_are_refused(tmp_path):
    scores = write_scores(tmp_path / "few", [(1, 0), (2, 3)], images=20)
    with pytest.raises(InputError, match="no period has 30 images"):
        monitor(place_of(scores))
    undated = write_scores(tmp_path / "undated", [(1, 0)], images=20, undated=20)
    with pytest.raises(InputError, match="no image has a date"):
        monitor(place_of(undated))


def test_the_command_writes_a_report_and_ends_by_its_alarm(tmp_path, monkeypatch, capsys):
    def status(*arguments):
        monkeypatch.setattr(sys, "argv", ["sdmad", "monitor", *map(str, arguments)])
        with pytest.raises(SystemExit) as end:
            main.run()
        return end.value.code or 0

    scores = write_scores(tmp_path / "scores", [(1, 0), (2, 0), (3, 0.8)])
    assert status(scores, "--out", tmp_path / "drift") == 4
    assert "1 of 2 periods differ from 2024-01." in capsys.readouterr().err
    said = json.loads((tmp_path / "drift" / "drift.json").read_text())
    assert said["alarm"] is True
    assert said["expected"] == 0.005
    page = (tmp_path / "drift" / "report.html").read_text()
    assert "Ma&lt;ss" in page
    assert "Ma<ss" not in page
    assert page.count("data:image/svg+xml") == 2
    assert "<script" not in page
    quiet = write_scores(tmp_path / "quiet", [(1, 0), (2, 0)])
    assert status(quiet, "--out", tmp_path / "quiet-drift") == 0
