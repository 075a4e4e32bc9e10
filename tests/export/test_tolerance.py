"""What the check of an export allows: nothing beyond its tolerance for images as they are."""

import numpy as np
import pytest

from sdmad.data.images import to_image
from sdmad.errors import ModelError
from sdmad.export import verify
from sdmad.export.exporting import describe


def test_what_a_grey_level_changes_widens_a_tolerance_and_never_narrows_it():
    moved = verify.Difference(images=4, cosine=0.003, score=0.005, decisions=8, changed=0)
    assert moved.at_least(verify.Tolerance(0.001, 0.01)) == verify.Tolerance(0.003, 0.01)


class Shifted:
    """An export that is the model, but for a shift of its cosines."""

    def __init__(self, detector, shift):
        self.detector, self.shift = detector, shift
        self.description = describe(detector, "openvino", "float32")

    def run(self, pixels, black, white):
        image = pixels[0, :, :, 0] if pixels.shape[3] == 1 else pixels[0]
        scored = self.detector.score_images([to_image(image, "auto")])
        scored.similarity[:] = scored.similarity + self.shift
        return scored


def test_images_that_need_no_resizing_are_held_to_the_tolerance_alone(fitted, monkeypatch):
    huge = verify.Difference(images=1, cosine=1.0, score=1.0, decisions=1, changed=0)
    monkeypatch.setattr(verify, "_one_level_off", lambda *_: huge)
    verify.check(fitted, Shifted(fitted, 0.0))
    with pytest.raises(ModelError, match="the float32 graph is not the model"):
        verify.check(fitted, Shifted(fitted, np.float64(0.01)))
