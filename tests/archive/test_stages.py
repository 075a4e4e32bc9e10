"""The stages one after the other in this process: Ray only carries what they say."""

import numpy as np
import pytest

from sdmad.archive.reading import Looked
from sdmad.archive.sources import Entry
from sdmad.archive.stages import Judge, chunk_size, pack, unpack
from sdmad.data.images import ImageError, content_hash
from sdmad.detector.sign_detector import SignDetector
from tests.archive.helpers import check_equal, staged, write_images


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
