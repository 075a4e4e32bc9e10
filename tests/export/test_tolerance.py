"""What the check of an export allows: the squares of Pillow, and then the scores of the model."""

import numpy as np
import pytest

from sdmad.detector.scores import ImageScores
from sdmad.errors import ModelError
from sdmad.export import verify
from sdmad.export.exporting import describe, resizing


def square(seed=0):
    return np.random.default_rng(seed).integers(1, 255, (50, 50, 3), dtype=np.uint8)


def test_one_value_in_a_hundred_may_be_one_level_off():
    mine = square()
    flat = mine.reshape(-1)
    flat[:75] += 1
    verify.check_square(mine, square())
    flat[75] += 1
    with pytest.raises(ModelError, match=r"does not resize as Pillow does: 1\.01%"):
        verify.check_square(mine, square())


def test_no_value_may_be_three_levels_off():
    mine = square() // 2
    mine[3, 4, 1] += 2
    verify.check_square(mine, square() // 2)
    mine[3, 4, 1] += 1
    with pytest.raises(ModelError, match="by up to 3 grey levels"):
        verify.check_square(mine, square() // 2)


def test_a_grey_square_stands_for_three_channels():
    grey = square()[..., 0]
    verify.check_square(np.stack([grey] * 3, axis=2), grey)
    other = np.stack([grey, grey, grey + 1], axis=2)
    with pytest.raises(ModelError, match="33"):
        verify.check_square(other, grey)


@pytest.mark.parametrize("runtime", ["openvino", "onnx"])
def test_the_graphs_resize_as_pillow_does(runtime, fitted):
    pytest.importorskip(runtime, reason=f"needs the extra sdmad[{runtime}]")
    preprocessing = fitted.backbone_.preprocessing
    resize = resizing(runtime, preprocessing.size)
    for image in verify.random_images(preprocessing.size, 3):
        found = resize(*verify._as_given(image))[0].transpose(1, 2, 0).astype(np.uint8)
        verify.check_square(found, preprocessing.square(image))


class Shifted:
    """An export that is the model, but for a shift of its cosines."""

    def __init__(self, detector, shift):
        self.detector, self.shift = detector, shift
        self.description = describe(detector, "openvino", "float32")

    def resize(self, pixels, black, white):
        image = the_image(pixels)
        found = self.detector.backbone_.preprocessing.square(image)
        found = found if found.ndim == 3 else np.stack([found] * 3, axis=2)
        return found.transpose(2, 0, 1)[None].astype(np.float32)

    def run(self, pixels, black, white):
        scored = self.detector.score_images([the_image(pixels)])
        scored.similarity[:] = scored.similarity + self.shift
        return scored


def the_image(pixels):
    return pixels[0, :, :, 0] if pixels.shape[3] == 1 else pixels[0]


def test_the_scores_of_the_same_squares_are_held_to_the_tolerance(fitted):
    right, wrong = Shifted(fitted, 0.0), Shifted(fitted, np.float64(0.0011))
    assert verify.check(fitted, right, right.resize).random.cosine < 1e-5
    with pytest.raises(ModelError, match="the float32 graph is not the model"):
        verify.check(fitted, wrong, wrong.resize)


def test_a_graph_that_resizes_otherwise_is_refused(fitted):
    right = Shifted(fitted, 0.0)

    def brighter(pixels, black, white):
        return np.minimum(right.resize(pixels, black, white) + 1, 255)

    with pytest.raises(ModelError, match="does not resize as Pillow does"):
        verify.check(fitted, right, brighter)


def scores(unfamiliar, anchor=0.2):
    count = len(unfamiliar)
    return ImageScores(
        np.zeros((count, 2)),
        np.zeros((count, 2), bool),
        np.zeros(count),
        np.zeros((count, 3)),
        np.full(count, anchor),
        np.array(unfamiliar),
    )


def test_an_image_may_be_unfamiliar_to_one_alone_only_where_it_lies_near_the_limit():
    model, export = scores([False, False, True]), scores([False, True, False])
    found = verify.Difference.between(model, export, np.array([0.3, 0.02, -0.004]))
    assert (found.unlike, found.familiarity) == (2, 0.02)
    assert found.within(verify.Tolerance(cosine=0.02, score=0), standardised=True)
    assert not found.within(verify.Tolerance(cosine=0.019, score=0), standardised=True)
    unknown = verify.Difference.between(model, export)
    assert not unknown.within(verify.TOLERANCES["int8"], standardised=True)
    assert verify.Difference.between(model, model).familiarity == 0


def test_what_is_no_number_is_refused():
    one, other = scores([False]), scores([False], np.nan)
    assert not verify.Difference.between(one, other).within(verify.TOLERANCES["int8"], True)
    flipped = verify.Difference.between(one, scores([True]), np.array([np.nan]))
    assert not flipped.within(verify.TOLERANCES["int8"], True)


def test_a_graph_that_takes_the_familiar_for_unfamiliar_is_refused(fitted):
    export = Shifted(fitted, 0.0)
    right = export.run
    export.run = lambda *raw: flipped(right(*raw))
    with pytest.raises(ModelError, match="18 images are unfamiliar to one alone"):
        verify.check(fitted, export, export.resize)


def flipped(scored):
    scored.unfamiliar[:] = ~scored.unfamiliar
    return scored
