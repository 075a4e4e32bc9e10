"""The stages one after the other in this process: Ray only carries what they say."""

import numpy as np
import pytest

from sdmad import SDMAD, SDMADConfig
from sdmad.archive.reading import Looked
from sdmad.archive.sources import Entry
from sdmad.archive.stages import Judge, chunk_size, pack, unpack
from sdmad.data.images import ImageError, content_hash
from sdmad.detector.sign_detector import SignDetector
from sdmad.export.exporting import export_model
from sdmad.export.runtime import ExportedModel
from tests.archive.helpers import check_equal, staged, write_images
from tests.conftest import draw_pictures


def test_rows_say_to_the_bit_what_the_plain_engine_says(model_folder, tmp_path):
    bad = (5, 40)
    folder = write_images(tmp_path / "images", 100, bad)
    detector = SignDetector.load(model_folder)
    rows = staged([folder], tmp_path / "out", Judge.of(detector), 64)
    files = sorted(folder.iterdir())
    check_equal(rows, detector, files, bad)
    assert rows[5]["error"].startswith(f"{files[5]}: ")
    assert [row["hash"] for row in rows] == [content_hash(file) for file in files]
    assert {row["model"] for row in rows} == {"m" * 64}
    explained = detector.explanations(detector.score_images(files[:5]))
    for row, one in zip(rows, explained, strict=False):
        for entry in one.categories:
            assert row[f"sign:{entry.category}"] == entry.deciding_sign.sentence
            assert row[f"threshold:{entry.category}"] == entry.threshold


def test_a_chunk_keeps_grey_colour_and_errors_in_their_places():
    rng = np.random.default_rng(0)
    grey, colour = (rng.integers(0, 256, shape, np.uint8) for shape in ((8, 8), (8, 8, 3)))
    found = [grey, ImageError("no"), colour, grey[::-1]]
    chunk = pack(3, 32, [Looked(Entry(str(i), ""), None, one) for i, one in enumerate(found)])
    back = unpack(chunk, 0, 8)
    assert isinstance(back[1], ImageError)
    for i in (0, 2, 3):
        np.testing.assert_array_equal(back[i], found[i])


@pytest.mark.parametrize("side", [16, 224, 512, 4096])
def test_chunks_begin_at_whole_batches(side):
    assert chunk_size(side) % 32 == 0


def test_nothing_but_errors_is_a_shard_too(model_folder, tmp_path):
    folder = write_images(tmp_path / "images", 3, (0, 1, 2))
    judge = Judge.of(SignDetector.load(model_folder))
    rows = staged([folder], tmp_path / "out", judge, 32)
    assert [bool(row["error"]) for row in rows] == [True] * 3
    assert all(row["unfamiliar"] is None and row["abnormality"] is None for row in rows)


def test_an_export_says_to_the_bit_what_it_says_in_the_plain_engine(fitted, tmp_path):
    for name in ("onnx", "onnxscript", "onnxruntime"):
        pytest.importorskip(name, reason="needs the extra sdmad[onnx]")
    export_model(fitted, tmp_path / "export", "onnx")
    folder = write_images(tmp_path / "images", 50, (5,))
    exported = ExportedModel.load(tmp_path / "export")
    rows = staged([folder], tmp_path / "out", Judge.of(exported), 32)
    check_equal(rows, exported, sorted(folder.iterdir()), (5,))


def test_probabilities_and_answers_are_those_of_the_model(small_bank, tiny_clip, tmp_path):
    config = SDMADConfig(epochs=0, image_evidence="cross-modal", decision="odds")
    people = [f"p{i}" for i in range(48)]
    detector = SDMAD(small_bank, str(tiny_clip), config)
    detector.fit(*draw_pictures(48, seed=5), patients=people)
    folder = write_images(tmp_path / "images", 40, (5,))
    rows = staged([folder], tmp_path / "out", Judge.of(detector, 0.05, 0.25))
    scored = detector.score_images(sorted(folder.iterdir()), lambda *_: None)
    likely, said = detector.at_prevalence(0.05)(scored), detector.answering(0.25)(scored)
    words = {1: "yes", 0: "no", -1: "unsure"}
    for i, row in enumerate(rows):
        for k, name in enumerate(detector.categories):
            wanted = (None, None) if i == 5 else (likely[i, k], words[said[i, k]])
            assert (row[f"probability:{name}"], row[f"answer:{name}"]) == wanted
