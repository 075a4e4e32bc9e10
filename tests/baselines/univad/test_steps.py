"""Every step on numbers worked by hand."""

import math

import pytest
import torch
from torch.nn.functional import normalize
from torch.utils._python_dispatch import TorchDispatchMode

from sdmad.baselines.components import nearest
from sdmad.baselines.univad.clusters import (
    cluster_centres,
    cluster_of_pixels,
    coreset,
    join_masks,
)
from sdmad.baselines.univad.fusion import fused, image_scores, score_beside, summed
from sdmad.baselines.univad.graph import (
    Nodes,
    box_of,
    geometry_of,
    lab_colours,
    masked_crops,
    passed,
    structure_distance,
)
from sdmad.baselines.univad.masks import Gate, caption, gate_of, kept_boxes, large_enough
from sdmad.baselines.univad.matching import component_distance, covered, patch_distance, widened
from sdmad.baselines.univad.settings import Question, UniVADSettings

# --- masks and the gate ---------------------------------------------------------------------------


def masks_of(*shares):
    """Masks on ten by ten pixels that cover so many pixels each."""
    found = torch.zeros(len(shares), 100, dtype=torch.bool)
    for mask, share in zip(found, shares, strict=True):
        mask[:share] = True
    return found.reshape(-1, 10, 10)


@pytest.mark.parametrize(
    ("shares", "gate"),
    [
        ((), Gate.TEXTURE),
        ((66,), Gate.TEXTURE),
        ((66, 3), Gate.TEXTURE),
        ((66, 3, 3), Gate.MULTI),
        ((65,), Gate.SINGLE),
        ((20,), Gate.SINGLE),
        ((65, 3), Gate.MULTI),
    ],
)
def test_the_gate(shares, gate):
    settings = UniVADSettings()
    assert gate_of(masks_of(*shares), settings.whole, settings.few) is gate


def test_a_thing_must_exceed_a_share_of_the_image():
    assert large_enough(masks_of(1, 2, 3), 0.01).flatten(1).sum(dim=1).tolist() == [2, 3]
    assert large_enough(masks_of(), 0.01).shape == (0, 10, 10)


def test_what_grounding_dino_is_asked():
    ask = UniVADSettings().question
    assert ask("Brain MRI").threshold == 0.2
    assert ask("liver CT").threshold == 0.4
    assert caption(ask("chest X-ray").prompt) == "chest. xray."
    histology = ask("lymph node histopathology")
    assert (histology.prompt, histology.mean) == ("texture . object . tissue", True)
    assert not ask("retinal OCT").mean


def test_boxes_are_likely_and_no_background():
    words = ["[CLS]", "mri", ".", "background", ".", "[SEP]"]
    probability = torch.zeros(4, 6)
    probability[0, 1] = 0.3
    probability[1, 1], probability[1, 3] = 0.9, 0.5  # is called background too
    probability[2, 1] = 0.2  # not above the threshold
    probability[3, 1], probability[3, 3] = 0.8, 0.1
    boxes = torch.tensor([[0.5, 0.5, 0.2, 0.4], [0, 0, 0, 0], [0, 0, 0, 0], [0.9, 0.5, 0.4, 1.0]])
    kept = kept_boxes(probability, boxes, words, Question("", "", 0.2), ("background",))
    expected = torch.tensor([[0.7, 0, 1, 1], [0.4, 0.3, 0.6, 0.7]])  # cut at the image's edge
    torch.testing.assert_close(kept, expected)
    none = kept_boxes(probability, boxes, words, Question("", "", 0.95), ())
    assert none.shape == (0, 4)


# --- clusters -------------------------------------------------------------------------------------


def test_the_coreset_goes_from_far_to_far():
    features = torch.tensor([[0.0, 0], [0, 1], [10, 0], [10, 1], [5, 0.4]])
    taken = coreset(features, 0.6)  # the mean is 5, 0.48
    assert taken.tolist() == [[0, 1], [10, 0], [5, pytest.approx(0.4)]]
    assert coreset(features, 0.01).shape == (1, 2)


def test_centres_have_unit_length_and_follow_the_seed():
    near_x = normalize(torch.tensor([[1.0, 0.1], [1, -0.1]]), dim=1)
    near_y = normalize(torch.tensor([[0.1, 1.0], [-0.1, 1]]), dim=1)
    centres = cluster_centres(torch.cat([near_x, near_y]), 2, 0)
    expected = torch.tensor([[0.0, 1], [1, 0]])
    order = centres[:, 0].argsort()
    torch.testing.assert_close(centres[order], expected, atol=1e-6, rtol=0)
    assert torch.equal(cluster_centres(torch.cat([near_x, near_y]), 2, 0), centres)
    assert cluster_centres(near_x[:1], 2, 0).shape == (1, 2)


def test_a_pixel_goes_to_the_cluster_that_exceeds_its_mean_most():
    # cosines with the first centre 1, .8, .8 and with the second 0, .6, .6: the first is always
    # nearer, but above its own mean (.867 and .4) only on the left.
    patches = torch.tensor([[[1.0, 0], [0.8, 0.6], [0.8, 0.6]]]).expand(3, 3, 2)
    assert cluster_of_pixels(patches, torch.eye(2), 3).tolist() == [[0, 1, 1]] * 3


def test_a_mask_joins_the_cluster_it_covers_most():
    cluster = torch.tensor([[0, 0, 1], [0, 0, 1]])
    masks = torch.tensor(
        [
            [[1, 0, 0], [1, 0, 0]],  # both pixels in 0
            [[0, 1, 1], [0, 0, 1]],  # one in 0, two in 1
            [[0, 1, 0], [0, 0, 0]],
        ]
    ).bool()
    joined = join_masks(masks, cluster, 3)
    assert joined.int().tolist() == [
        [[1, 1, 0], [1, 0, 0]],
        [[0, 1, 1], [0, 0, 1]],
        [[0, 0, 0], [0, 0, 0]],
    ]


# --- patches --------------------------------------------------------------------------------------

X, Y, DIAGONAL = [1.0, 0.0], [0.0, 1.0], [0.6, 0.8]


def test_a_patch_is_compared_with_all_references_at_every_level():
    query = torch.tensor([[DIAGONAL, X], [X, X]])
    references = torch.tensor([[[X, X], [X, Y]], [[X, Y], [DIAGONAL, Y]]])
    found = patch_distance(query, references)  # levels: .2 and 0; 0 and 0
    torch.testing.assert_close(found, torch.tensor([0.1, 0.0]))
    found = patch_distance(query, references[:1])  # only the first reference: .4 and 0
    torch.testing.assert_close(found, torch.tensor([0.2, 0.0]))


def test_a_patch_is_compared_within_its_components():
    query = torch.tensor([[DIAGONAL, DIAGONAL, DIAGONAL, DIAGONAL]])
    references = torch.tensor([[[X, Y, DIAGONAL, X]], [[X, X, X, X]]])
    covers = torch.tensor([[1, 1, 0, 0], [0, 1, 0, 0], [0, 0, 0, 1]]).bool()
    reference_covers = torch.zeros(2, 3, 4, dtype=torch.bool)
    reference_covers[0, 0, 0] = reference_covers[1, 0, 0] = True  # X: distance .4
    reference_covers[0, 1, 1] = True  # Y: distance .2; no reference has the third component
    whole = patch_distance(query, references)
    assert whole.tolist() == pytest.approx([0, 0, 0, 0], abs=1e-6)
    found = component_distance(query, references, covers, reference_covers, whole + 0.7)
    assert found.tolist() == pytest.approx([0.4, 0.2, 0, 0.7])


def test_nothing_covered_is_zero_everywhere():
    query, references = torch.tensor([[X, Y]]), torch.tensor([[[X, X]]])
    none = torch.zeros(1, 2, dtype=torch.bool)
    whole = patch_distance(query, references)
    assert component_distance(query, references, none, none[None], whole).tolist() == [0, 0]


def test_masks_are_widened_to_both_sides_and_patches_have_any_pixel():
    mask = torch.zeros(1, 8, 8, dtype=torch.bool)
    mask[0, 3, 3] = True
    assert widened(mask, 1).sum() == 1
    rows, columns = widened(mask, 3)[0].nonzero().T
    assert (rows.min(), rows.max(), columns.min(), columns.max()) == (2, 4, 2, 4)
    assert widened(mask, 4).sum() == 16
    assert covered(mask, 4)[0].nonzero()[:, 0].tolist() == [5]
    assert covered(widened(mask, 3), 4)[0].nonzero()[:, 0].tolist() == [5, 6, 9, 10]
    assert covered(mask[:0], 4).shape == (0, 16)


class LargestProduct(TorchDispatchMode):
    """Bytes of the largest matrix product."""

    bytes = 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        found = func(*args, **(kwargs or {}))
        if isinstance(found, torch.Tensor) and func is torch.ops.aten.mm.default:
            self.bytes = max(self.bytes, found.numel() * found.element_size())
        return found


def test_products_are_as_large_as_the_formula_says(monkeypatch):
    patches, references, width = 36, 5, 7
    query = normalize(torch.randn(2, patches, width), dim=-1)
    normal = normalize(torch.randn(references, 2, patches, width), dim=-1)
    plain = patch_distance(query, normal)
    for chunk in (64, 1000):
        monkeypatch.setattr(nearest, "CHUNK", chunk)
        with LargestProduct() as largest:
            found = patch_distance(query, normal)
        assert largest.bytes == 4 * patches * min(references * patches, chunk)
        torch.testing.assert_close(found, plain)


def test_the_published_size_stays_far_below_six_gigabytes():
    patches, references, chunk = 32 * 32, 4, 16384
    assert chunk == nearest.CHUNK
    product = 4 * patches * min(references * patches, chunk)
    stored = 4 * references * patches * (4 * 1024 + 1536)  # CLIP's four levels and DINOv2
    assert product == 16_777_216
    assert (round(stored / references, -6), round(product * 1024, -9)) == (23e6, 17e9)
    assert product + 2 * stored < 0.25e9  # a query takes the rows that it is compared with


# --- the graph ------------------------------------------------------------------------------------


def test_features_pass_once_along_the_graph():
    features = torch.tensor([[2.0, 0], [0.6, 0.8], [-3, 0]])
    # cosines .6 with each other's direction; the third is opposed to the first: no edge.
    first = torch.tensor([1 + 0.6 * 0.6, 0.6 * 0.8]) / 1.6
    second = torch.tensor([0.6 * 1 + 0.6, 0.8]) / 1.6
    expected = normalize(torch.stack([first, second, torch.tensor([-1.0, 0])]), dim=1)
    torch.testing.assert_close(passed(features), expected)


def test_geometry_is_area_colour_and_place():
    values = torch.full((3, 4, 8), 0.5)
    mask = torch.zeros(4, 8, dtype=torch.bool)
    mask[0:2, 4:8] = True
    assert box_of(mask) == (4, 0, 8, 2)
    found = geometry_of(values, mask)
    torch.testing.assert_close(found, torch.tensor([0.25, 1.0, 0.75, 0.25]), atol=1e-3, rtol=0)


def test_lab_colours_are_those_of_the_tables():
    red, green, blue = lab_colours(torch.eye(3)).T  # sRGB primaries in CIE Lab, D65
    torch.testing.assert_close(red, torch.tensor([80.09, 67.20]), atol=0.1, rtol=0)
    torch.testing.assert_close(green, torch.tensor([-86.18, 83.18]), atol=0.1, rtol=0)
    torch.testing.assert_close(blue, torch.tensor([79.19, -107.86]), atol=0.1, rtol=0)
    values = torch.tensor([1.0, 0, 0])[:, None, None].expand(3, 2, 2)
    ratio = geometry_of(values, torch.ones(2, 2, dtype=torch.bool))[1]
    assert float(ratio) == pytest.approx(((128 + 67.20) / (128 + 80.09)) ** 2, rel=1e-3)


def test_a_component_is_cut_out_and_turned():
    values = torch.arange(16.0).reshape(1, 4, 4).expand(3, 4, 4)
    mask = torch.zeros(1, 4, 4, dtype=torch.bool)
    mask[0, 1, 1] = mask[0, 2, 2] = True
    crops = masked_crops(values, mask)
    assert crops.shape == (4, 3, 4, 4)
    corners = crops[0, 0][[0, 0, -1, -1], [0, -1, 0, -1]]
    assert corners.tolist() == [5, 0, 0, 10]  # pixels outside the mask are black
    assert torch.equal(crops[1], torch.rot90(crops[0], 1, (1, 2)))
    assert torch.equal(crops[2], crops[0].flip(1, 2))


def nodes(clip, dense, geometry):
    return Nodes(*(torch.tensor(one) for one in (clip, dense, geometry)))


def test_the_distance_is_that_of_the_most_unlike_component():
    references = nodes([X, Y], [X, X], [X, DIAGONAL])
    own = nodes([X, DIAGONAL], [X, Y], [X, Y])
    # the first is like one; the second 1 - .8, 1 - 0, 1 - .8.
    assert float(structure_distance(own, references)) == pytest.approx(0.2 + 1 + 0.2)
    both = Nodes.together([references, nodes([DIAGONAL], [Y], [Y])])
    assert float(structure_distance(own, both)) == pytest.approx(0, abs=1e-6)


# --- fusion ---------------------------------------------------------------------------------------


def test_maps_are_the_mean_of_clip_dense_and_words():
    whole = torch.tensor([[[0.2]], [[0.4]]])
    parts = torch.tensor([[[0.1]], [[0.9]]])
    text = torch.tensor([[[0.6]]])
    texture = fused(summed(whole, None)[None], text)
    assert float(texture) == pytest.approx((0.2 + 0.4 + 0.6) / 3)
    single = fused(summed(whole, parts)[None], text)
    assert float(single) == pytest.approx((0.3 + 0.5 + 0.6) / 3)


def test_what_is_added_to_the_score():
    whole, structure = torch.tensor(0.3), torch.tensor(0.8)
    assert float(score_beside(Gate.TEXTURE, whole, structure)) == 0
    assert float(score_beside(Gate.SINGLE, whole, structure)) == pytest.approx(0.3)
    assert float(score_beside(Gate.MULTI, whole, structure)) == pytest.approx(0.7)
    maps = torch.tensor([[[0.1, 0.3]], [[0.2, 0.2]]])
    beside = torch.tensor([0.0, 1.0])
    assert image_scores(maps, beside, mean=False).tolist() == pytest.approx([0.3, 1.2])
    assert image_scores(maps, beside, mean=True).tolist() == pytest.approx([0.2, 1.2])


def test_as_published_there_are_35_templates_and_five_abnormal_states():
    settings = UniVADSettings()
    assert (len(settings.templates), len(settings.normal), len(settings.abnormal)) == (35, 7, 5)
    assert math.isclose(448 * settings.reference_dilation, 20)
    assert math.isclose(448 * settings.query_dilation, 5)
