import csv
import io

import pytest

from sdmad import SDMAD, SDMADConfig
from tests.conftest import draw_pictures


@pytest.fixture
def odds_model(small_bank, tiny_clip, tmp_path):
    config = SDMADConfig(epochs=0, image_evidence="cross-modal", decision="odds")
    folder = tmp_path / "odds"
    SDMAD(small_bank, str(tiny_clip), config).fit(*draw_pictures(12, seed=5)).save(folder)
    return folder


def test_what_it_suggests_can_be_filled_in_and_fitted(
    sdmad, odds_model, make_data, small_bank_file, tiny_clip, tmp_path
):
    table = make_data(tmp_path / "images", 24)
    truth = {row["file"]: row["labels"] for row in csv.DictReader(table.open(encoding="utf-8"))}
    out = tmp_path / "label-me.csv"
    done = sdmad("suggest", odds_model, table.parent, "--budget", 12, "--out", out)
    assert done.status == 0, done.err
    assert "fill in the column labels" in done.err
    rows = list(csv.DictReader(out.open(encoding="utf-8")))
    assert len(rows) == 12
    assert [row["rank"] for row in rows] == [str(i) for i in range(1, 13)]
    assert all(row["labels"] == "" for row in rows)
    for row in rows:
        row["labels"] = truth[row["file"].removeprefix("images/")]
    with out.open("w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, rows[0])
        writer.writeheader()
        writer.writerows(rows)
    model = tmp_path / "model"
    arguments = ["--signs", small_bank_file, "--backbone", tiny_clip, "--shots", 1]
    done = sdmad("fit", out, *arguments, "--out", model)
    assert done.status == 0, done.err


def test_without_a_file_it_writes_to_the_standard_output(sdmad, odds_model, make_data, tmp_path):
    folder = make_data(tmp_path / "images", 6).parent
    done = sdmad("suggest", odds_model, folder, "--budget", 2)
    assert done.status == 0, done.err
    assert len(list(csv.DictReader(io.StringIO(done.out)))) == 2
    (folder / "bad.png").write_bytes(b"")
    assert sdmad("suggest", odds_model, folder, "--budget", 2).status == 3
    assert sdmad("suggest", odds_model, folder, "--budget", 0).status == 2
