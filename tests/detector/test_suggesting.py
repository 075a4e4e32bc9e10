"""Suggestions: doubt by hand, spread by hand, and nothing unreadable."""

import numpy as np
import pytest
import torch
from PIL import Image

from sdmad import SDMAD, SDMADConfig
from sdmad.data.images import ImageError
from sdmad.detector.suggesting import doubt, spread, suggest
from sdmad.errors import InputError

FROZEN = SDMADConfig(epochs=0, image_evidence="cross-modal", decision="odds")


@pytest.fixture(scope="module")
def detector(small_bank, tiny_backbone, pictures):
    return SDMAD(small_bank, tiny_backbone, FROZEN).fit(*pictures)


@pytest.fixture
def files(tmp_path):
    from tests.conftest import draw_pictures

    made = []
    for i, picture in enumerate(draw_pictures(9, seed=3)[0]):
        made.append(tmp_path / f"{i}.png")
        Image.fromarray(picture).save(made[-1])
    return made


def test_doubt_is_largest_at_a_toss_up():
    found = doubt(np.log([[1.0, 3.0, 1 / 3]]))
    np.testing.assert_allclose(found, [[1.0, 0.75, 0.75]])


def test_the_next_is_doubtful_and_far_from_those_before():
    # Two alike that are most doubtful, one opposite that is less so, one alike and certain.
    evidence = torch.tensor([[1.0, 0.1], [1.0, 0.0], [-1.0, 0.0], [-1.0, -0.1]])
    doubts = np.array([0.9, 0.8, 0.3, 0.0])
    assert spread(doubts, evidence, 2) == [0, 2]
    assert sorted(spread(doubts, evidence, 4)) == [0, 1, 2, 3]
    assert len(spread(doubts, evidence, 9)) == 4


def test_suggestions_are_the_images_files_with_their_doubt(detector, files):
    found = suggest(detector, files, 4)
    assert len({one.file for one in found}) == 4
    doubts = doubt(detector.decision_function(files))
    for one in found:
        row = doubts[files.index(one.file)]
        assert one.doubt == pytest.approx(row.max(), abs=1e-5)
        assert one.category == detector.categories[row.argmax()]
    assert found[0].file == files[int(doubts.max(axis=1).argmax())]


def test_unreadable_images_are_left_out(detector, files):
    files[2].write_bytes(b"")
    told = []
    found = suggest(detector, files, 20, lambda place, _: told.append(place))
    assert told == [2]
    assert files[2] not in [one.file for one in found]
    assert len(found) == 8
    with pytest.raises(ImageError):
        suggest(detector, files, 1)
    with pytest.raises(InputError, match="none of the 1 images"):
        suggest(detector, files[2:3], 1, lambda *_: None)


def test_what_cannot_suggest_says_so(detector, files, small_bank, tiny_backbone, pictures):
    with pytest.raises(InputError, match="1 or more"):
        suggest(detector, files, 0)
    paper = SDMAD(small_bank, tiny_backbone, SDMADConfig.paper(epochs=1)).fit(*pictures)
    with pytest.raises(InputError, match="log odds"):
        suggest(paper, files, 1)
