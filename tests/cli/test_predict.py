import csv
import io
import itertools
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from sdmad import SDMAD, SDMADConfig
from sdmad.reporting.predictions import Predictions, rows_as_csv, rows_as_json_lines
from tests.conftest import draw_pictures


@pytest.fixture
def images(tmp_path, make_data):
    """A folder of six pictures, one of them in a folder of its own."""
    folder = make_data(tmp_path / "images", 6).parent
    (folder / "labels.csv").unlink()
    (folder / "more").mkdir()
    (folder / "005.png").rename(folder / "more" / "005.png")
    return folder


def read(text: str) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(text)))


def test_csv_has_a_row_an_image_with_scores_decisions_and_top_signs(sdmad, model_folder, images):
    done = sdmad("predict", model_folder, images, images / "000.png")
    assert done.status == 0, done.err
    rows = read(done.out)
    expected = [images / f"{i:03d}.png" for i in range(5)] + [images / "more" / "005.png"]
    assert [row["file"] for row in rows] == [str(path) for path in expected]
    model = SDMAD.load(model_folder)
    scored = model.score_images(expected)
    for i, (row, path) in enumerate(zip(rows, expected, strict=True)):
        found = [e for e in model.explain(path).categories if e.found]
        assert row["findings"] == "|".join(e.category for e in found)
        assert row["top_signs"] == "|".join(e.deciding_sign.sentence for e in found)
        for k, name in enumerate(model.categories):
            assert float(row[f"score:{name}"]) == pytest.approx(scored.scores[i, k], abs=2e-5)
            assert row[f"found:{name}"] == str(int(scored.decisions[i, k]))


def test_images_unlike_the_support_set_are_told(sdmad, model_folder, images):
    noise = np.random.default_rng(0).integers(0, 256, (64, 64, 3), np.uint8)
    Image.fromarray(noise).save(images / "zz.png")
    done = sdmad("predict", model_folder, images)
    assert [row["unfamiliar"] for row in read(done.out)] == ["0"] * 6 + ["1"]
    assert "1 of 7 images are unlike those that the model was fitted on" in done.err
    assert "the first is zz.png" in done.err
    lines = sdmad("predict", model_folder, images, "--json").out.splitlines()
    assert [json.loads(line)["unfamiliar"] for line in lines] == [False] * 6 + [True]
    told = sdmad("explain", model_folder, images / "zz.png").out
    assert "UNLIKE the images that the model was fitted on" in told
    assert "UNLIKE" not in sdmad("explain", model_folder, images / "000.png").out


def test_json_lines_say_the_same(sdmad, model_folder, images):
    rows = read(sdmad("predict", model_folder, images).out)
    done = sdmad("predict", model_folder, images, "--json")
    assert done.status == 0, done.err
    lines = [json.loads(line) for line in done.out.splitlines()]
    assert [line["file"] for line in lines] == [row["file"] for row in rows]
    for line, row in zip(lines, rows, strict=True):
        assert list(line["categories"]) == ["Ring", "Bar", "Dots"]
        for name, entry in line["categories"].items():
            assert str(int(entry["found"])) == row[f"found:{name}"]
            assert entry["score"] == pytest.approx(float(row[f"score:{name}"]), abs=1e-5)
            assert entry["threshold"] == float(row[f"threshold:{name}"])
            assert set(entry) == {"score", "threshold", "found", "top_sign", "similarity"}


def test_output_to_a_file_is_the_same_and_nothing_is_replaced_without_force(
    sdmad, model_folder, images, tmp_path
):
    expected = sdmad("predict", model_folder, images).out
    out = tmp_path / "scores.csv"
    done = sdmad("predict", model_folder, images, "--out", out)
    assert (done.status, done.out) == (0, "")
    assert out.read_text(encoding="utf-8") == expected
    out.write_text("years of work")
    done = sdmad("predict", model_folder, images, "--out", out)
    assert done.status == 2
    assert "--force" in done.err
    assert out.read_text() == "years of work"
    assert sdmad("predict", model_folder, images, "--out", out, "--force").status == 0
    assert out.read_text(encoding="utf-8") == expected


@pytest.mark.parametrize("out", ["nowhere/scores.csv", "images"])
def test_a_place_that_cannot_be_written_is_refused_before_any_work(
    sdmad, model_folder, images, tmp_path, monkeypatch, out
):
    def never(*_):
        raise AssertionError("scored before the output was checked")

    monkeypatch.setattr(SDMAD, "score", never)
    done = sdmad("predict", model_folder, images, "--out", tmp_path / out, "--force")
    assert done.status == 2
    assert str(tmp_path / out) in done.err


@pytest.mark.parametrize("layout", [[], ["--json"]], ids=["csv", "jsonl"])
def test_unreadable_images_are_named_and_skipped_with_status_three(
    sdmad, model_folder, images, layout
):
    (images / "001.png").write_bytes(b"")
    (images / "002.png").write_bytes((images / "003.png").read_bytes()[:60])
    (images / "004.png").write_text("not an image")
    Image.new("L", (1, 1)).save(images / "dot.png")
    done = sdmad("predict", model_folder, images, *layout)
    assert done.status == 3
    for name in ("001.png", "002.png", "004.png", "dot.png"):
        assert any(
            line.startswith(f"error: {images / name}: ") for line in done.err.splitlines()
        ), name
    assert "4 of 7 images could not be read and were skipped" in done.err
    rows = done.out.splitlines() if layout else done.out.splitlines()[1:]
    assert len(rows) == 3


def test_nothing_readable_gives_no_row(sdmad, model_folder, tmp_path):
    bad = tmp_path / "bad.png"
    bad.write_bytes(b"")
    done = sdmad("predict", model_folder, bad)
    assert done.status == 3
    assert len(done.out.splitlines()) == 1
    done = sdmad("predict", model_folder, bad, "--json")
    assert (done.status, done.out) == (3, "")


def test_an_address_is_told_which_engine_reads_it(sdmad, model_folder):
    done = sdmad("predict", model_folder, "s3://bucket/images")
    assert done.status == 2
    assert "s3://bucket/images: addresses are read by --engine ray alone" in done.err


def test_a_path_that_is_not_there_and_an_empty_folder_stop(sdmad, model_folder, tmp_path):
    done = sdmad("predict", model_folder, tmp_path / "nowhere")
    assert done.status == 2
    assert "no such file or folder" in done.err
    (tmp_path / "empty").mkdir()
    done = sdmad("predict", model_folder, tmp_path / "empty")
    assert done.status == 2
    assert "no image in this folder" in done.err


def test_deep_colour_palette_and_transparent_images_are_read(sdmad, model_folder, tmp_path):
    folder = tmp_path / "kinds"
    folder.mkdir()
    ramp = np.linspace(0, 1, 40 * 40).reshape(40, 40)
    Image.fromarray((ramp * 4095).astype(np.uint16)).save(folder / "deep.png")
    grey = Image.fromarray((ramp * 255).astype(np.uint8))
    grey.save(folder / "grey.png")
    grey.convert("RGBA").save(folder / "rgba.png")
    grey.convert("P").save(folder / "palette.png")
    rows = {row["file"]: row for row in read(sdmad("predict", model_folder, folder).out)}
    assert len(rows) == 4
    expected = float(rows[str(folder / "grey.png")]["score:Ring"])
    for name in ("deep", "rgba", "palette"):
        score = float(rows[str(folder / f"{name}.png")]["score:Ring"])
        assert score == pytest.approx(expected, abs=0.05), name


def test_formulas_in_file_names_are_guarded(sdmad, model_folder, images, tmp_path, monkeypatch):
    monkeypatch.chdir(images)
    for name in ("=1+1.png", "@x.png", "+y.png"):
        shutil.copy("000.png", name)
    rows = read(sdmad("predict", model_folder, "=1+1.png", "@x.png", "+y.png").out)
    assert [row["file"] for row in rows] == ["'=1+1.png", "'@x.png", "'+y.png"]


def test_a_file_name_in_another_encoding_does_no_harm(sdmad, model_folder, images, tmp_path):
    odd = os.fsdecode(os.fsencode(images) + b"/na\xefve.png")
    try:
        shutil.copy(images / "000.png", odd)
    except OSError:
        pytest.skip("this file system takes UTF-8 names only")
    for layout in ([], ["--json"]):
        out = tmp_path / f"scores{len(layout)}"
        done = sdmad("predict", model_folder, odd, *layout, "--out", out)
        assert done.status == 0, done.err
        if layout:
            assert json.loads(out.read_text(encoding="utf-8"))["file"] == odd
        else:
            assert b"/na\xefve.png," in out.read_bytes()


def test_names_can_be_matched_on_a_broken_terminal(model_folder, images):
    names = [
        os.fsencode(images) + name for name in (b"/na\xefve.png", b"/\xc3\xb6\xe9\xbc\xbb.png")
    ]
    try:
        for name in names:
            shutil.copy(images / "000.png", name)
    except OSError:
        pytest.skip("this file system takes UTF-8 names only")
    terminal = {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}
    environment = {**os.environ, **terminal, "PYTHONPATH": os.pathsep.join(sys.path)}
    program = "from sdmad.cli.main import run; run()"
    command = [sys.executable, "-c", program, "predict", str(model_folder), *names]
    rows, lines = (
        subprocess.run([*command, *more], env=environment, capture_output=True, check=True).stdout
        for more in ([], ["--json"])
    )
    for name in names:
        assert b"\n" + name + b"," in rows
    found = [json.loads(line)["file"] for line in lines.splitlines()]
    assert [name.encode("utf-8", "surrogateescape") for name in found] == names


def test_a_full_disk_and_ctrl_c_leave_nothing_behind(
    sdmad, model_folder, images, tmp_path, monkeypatch
):
    for error, status in ((OSError(28, "No space left on device"), 2), (KeyboardInterrupt(), 130)):

        def fail(*_, error=error, **__):
            raise error

        monkeypatch.setattr("sdmad.output.os.fdopen", fail)
        before = sorted(tmp_path.rglob("*"))
        done = sdmad("predict", model_folder, images, "--out", tmp_path / "scores.csv")
        assert done.status == status
        assert "Traceback" not in done.err
        assert sorted(tmp_path.rglob("*")) == before


def test_no_rows_are_a_header_or_nothing():
    header = "file,abnormality,unfamiliar,findings,top_signs,score:A,threshold:A,found:A\n"
    assert rows_as_csv(["A"], []) == header
    assert rows_as_json_lines(["A"], []) == ""


def test_a_row_is_explained_when_it_is_asked_for(fitted, pictures):
    images = pictures[0][:4]
    scored, files = fitted.score_images(images), [Path(f"{i}.png") for i in range(4)]
    asked = []

    class Watched:
        def explanations(self, scores):
            asked.append(len(scores))
            return fitted.explanations(scores)

    rows = Predictions(Watched(), files, scored, {1})
    assert (len(rows), asked) == (3, [])
    assert [row.file.stem for row in rows] == ["0", "2", "3"]
    assert asked == [1, 1, 1]
    whole = fitted.explanations(scored)
    assert [row.explanation for row in rows[1:]] == whole[2:]
    assert rows[-1].explanation == whole[3]


def test_predict_writes_probabilities(sdmad, small_bank, tiny_clip, make_data, tmp_path):
    images, labels = draw_pictures(12, seed=1)
    detector = SDMAD(
        small_bank,
        str(tiny_clip),
        SDMADConfig(epochs=0, image_evidence="cross-modal", decision="odds"),
    ).fit(images, labels)
    detector.save(tmp_path / "model")
    folder = make_data(tmp_path / "images", 4).parent
    done = sdmad("predict", tmp_path / "model", folder, "--prevalence", "Ring=0.1,Bar=0.2,Dots=0.3")
    assert done.status == 0, done.err
    rows = list(csv.DictReader(io.StringIO(done.out)))
    files = [row["file"] for row in rows]
    expected = detector.predict_proba(files, prevalence={"Ring": 0.1, "Bar": 0.2, "Dots": 0.3})
    for row, values in zip(rows, expected, strict=True):
        told = [float(row[f"probability:{name}"]) for name in ("Ring", "Bar", "Dots")]
        assert told == pytest.approx(values, abs=1e-5)
    lines = sdmad("predict", tmp_path / "model", folder, "--prevalence", "0.2", "--json").out
    first = json.loads(lines.splitlines()[0])["categories"]["Bar"]
    assert 0 < first["probability"] < 1
    wrong = sdmad("predict", tmp_path / "model", folder, "--prevalence", "Ring=0.1")
    assert wrong.status == 2
    assert "no prevalence is stated of Bar, Dots" in wrong.err
    assert "probability" not in sdmad("predict", tmp_path / "model", folder).out


def test_score_threshold_decision_and_answer_agree(
    sdmad, small_bank, tiny_clip, make_data, tmp_path
):
    config = SDMADConfig(epochs=0, image_evidence="cross-modal", decision="odds")
    detector = SDMAD(small_bank, str(tiny_clip), config).fit(*draw_pictures(12, seed=1))
    detector.save(tmp_path / "model")
    folder = make_data(tmp_path / "images", 8).parent
    limits = detector.head_.held_out.thresholds()
    assert (limits != 0).any()
    for rule, extra, expected in (
        ("odds", (), np.zeros(3)),
        ("support", (), limits),
        ("likely:0.3", ("--prevalence", "0.2"), None),
        ("mean", (), None),
    ):
        done = sdmad(
            "predict", tmp_path / "model", folder, "--decision", rule, *extra, "--error-rate", "0.4"
        )
        assert done.status == 0, done.err
        rows = list(csv.DictReader(io.StringIO(done.out)))
        for row, (k, name) in itertools.product(rows, enumerate(detector.categories)):
            found, score = row[f"found:{name}"] == "1", float(row[f"score:{name}"])
            assert row[f"answer:{name}"] in ("yes", "no", "unsure")
            if rule == "mean":
                assert row[f"threshold:{name}"] == ""
                continue
            threshold = float(row[f"threshold:{name}"])
            assert found == (score > threshold)
            if expected is not None:
                assert threshold == pytest.approx(expected[k], abs=1e-6)
            else:
                assert found == (float(row[f"probability:{name}"]) > 0.3)
    needs = sdmad("predict", tmp_path / "model", folder, "--decision", "likely:0.3")
    assert needs.status == 2
    assert "--decision likely:0.3 goes with --prevalence" in needs.err
