import csv
import io
import json
import sys

import pytest

from sdmad import SDMAD, SDMADConfig
from sdmad.archive.checking import Seen, check_archive
from sdmad.archive.engine import Resources
from sdmad.archive.places import place_of
from sdmad.archive.scores import opened_scores
from sdmad.archive.stages import Judge
from sdmad.archive.suggesting import suggest_from_scores
from sdmad.cli import main
from sdmad.data.integrity import Verdict
from sdmad.detector.sign_detector import SignDetector
from sdmad.detector.suggesting import check_odds, doubt
from sdmad.errors import InputError
from tests.archive.helpers import staged, write_images
from tests.conftest import draw_pictures


@pytest.fixture(scope="module")
def odds_model(small_bank, tiny_clip, tmp_path_factory):
    config = SDMADConfig(epochs=0, image_evidence="cross-modal", decision="odds")
    folder = tmp_path_factory.mktemp("odds") / "model"
    SDMAD(small_bank, str(tiny_clip), config).fit(*draw_pictures(12, seed=5)).save(folder)
    return folder


@pytest.fixture(scope="module")
def scored(odds_model, tmp_path_factory):
    folder = write_images(tmp_path_factory.mktemp("suggested") / "images", 40, (3,))
    out = tmp_path_factory.mktemp("suggested") / "out"
    staged([folder], out, Judge.of(SignDetector.load(odds_model)))
    return folder, out


def test_the_first_is_the_most_doubtful_and_all_differ(scored, odds_model):
    folder, out = scored
    with opened_scores(place_of(out)) as opened:
        found = suggest_from_scores(opened, odds_model, 10)
    files = [path for path in sorted(folder.iterdir()) if path.name != "003.png"]
    doubts = doubt(SignDetector.load(odds_model).score_images(files).scores)
    most = int(doubts.max(axis=1).argmax())
    assert found[0].file == str(files[most])
    assert found[0].doubt == pytest.approx(doubts[most].max())
    assert found[0].category == ("Ring", "Bar", "Dots")[int(doubts[most].argmax())]
    assert len({one.file for one in found}) == 10


def test_the_command_writes_a_table_to_fill_in(scored, odds_model, tmp_path, monkeypatch, capsys):
    def sdmad(*arguments):
        monkeypatch.setattr(sys, "argv", ["sdmad", *map(str, arguments)])
        with pytest.raises(SystemExit) as end:
            main.run()
        return end.value.code or 0

    assert sdmad("suggest", odds_model, "--scores", scored[1], "--budget", 3) == 0
    rows = list(csv.DictReader(io.StringIO(capsys.readouterr().out)))
    assert [row["rank"] for row in rows] == ["1", "2", "3"]
    assert sdmad("suggest", odds_model) == 2
    assert sdmad("suggest", odds_model, scored[0], "--scores", scored[1]) == 2


def test_scores_that_are_no_log_odds_are_refused():
    with pytest.raises(InputError, match="log odds"):
        check_odds(SDMADConfig.paper(), 3)


@pytest.mark.usefixtures("cluster")
def test_headers_of_an_archive_are_checked(tmp_path):
    folder = write_images(tmp_path / "images", 40, (3, 4))
    (folder / "copy.png").write_bytes((folder / "005.png").read_bytes())
    report = check_archive([folder], Resources(), 16)
    assert (report.images, report.whole) == (41, False)
    assert report.finding("unreadable").count == 2
    assert report.finding("unreadable").where[0].startswith(str(folder / "003.png"))
    assert report.finding("identical images").count == 1
    assert report.finding("kinds of images").what == "39 PNG L 32 x 32"


@pytest.mark.usefixtures("cluster")
def test_the_command_says_what_is_wrong_and_ends_with_a_fault(tmp_path, monkeypatch, capsys):
    folder = write_images(tmp_path / "images", 10, (3,))
    monkeypatch.setattr(sys, "argv", ["sdmad", "data", "check", "--archive", str(folder), "--json"])
    with pytest.raises(SystemExit) as end:
        main.run()
    assert end.value.code == 1
    said = json.loads(capsys.readouterr().out)
    assert (said["images"], said["whole"], said["root"]) == (10, False, str(folder))


def test_nothing_wrong_passes():
    assert {one.verdict for one in Seen().findings(3)} == {Verdict.PASS}
