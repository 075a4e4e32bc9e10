"""What is read of an image tower, and that no more is computed than is wanted."""

import pytest
import torch

from sdmad import SDMAD, SDMADConfig, load_backbone
from sdmad.detector.features import ImageFeatures, Wanted, finish, reads_patches
from sdmad.detector.maps import patch_features
from sdmad.errors import InputError
from sdmad.method.adapters import AdaptedTower


@pytest.fixture
def taught(tiny_clip):
    """A backbone whose patches count as taught."""
    backbone = load_backbone(tiny_clip)
    backbone.image.local_values = False
    return backbone


def run(backbone, pixels, wanted):
    tower = AdaptedTower(backbone.image, {})
    with torch.no_grad():
        hidden, state = backbone.image.embed(pixels)
        return finish(tower, tower.frozen_part(hidden, state), state, wanted)


def test_features_are_those_of_the_backbone_and_of_the_maps(taught, pictures):
    pixels = taught.preprocessing(pictures[0][:3])
    found = run(taught, pixels, Wanted(evidence=True, patches=True))
    embedding, evidence = taught.encode_with_evidence(pixels)
    torch.testing.assert_close(found.embedding, embedding)
    torch.testing.assert_close(found.evidence, evidence)
    with torch.no_grad():
        patches = patch_features(AdaptedTower(taught.image, {}), pixels)
    torch.testing.assert_close(found.patches, patches)
    alone = run(taught, pixels, Wanted())
    torch.testing.assert_close(alone.embedding, embedding)
    assert alone.evidence is alone.patches is None
    assert run(taught, pixels, Wanted(patches=True)).evidence is None


def test_parts_are_joined_along_the_images():
    one = ImageFeatures(torch.zeros(2, 3), None, torch.zeros(2, 4, 3))
    two = ImageFeatures(torch.ones(1, 3), None, torch.ones(1, 4, 3))
    both = ImageFeatures.join([one, two])
    assert len(both) == 3
    assert both.embedding[:, 0].tolist() == [0, 0, 1]
    assert both.evidence is None
    assert both.patches.shape == (3, 4, 3)


def test_signs_are_seen_in_patches_that_were_taught(tiny_backbone, taught):
    assert reads_patches(taught, SDMADConfig(sign_view="auto"))
    assert reads_patches(taught, SDMADConfig(sign_view="patch"))
    assert not reads_patches(taught, SDMADConfig(sign_view="image"))
    assert not reads_patches(tiny_backbone, SDMADConfig(sign_view="auto"))
    with pytest.raises(InputError, match="never taught what signs look like; take image or auto"):
        reads_patches(tiny_backbone, SDMADConfig(sign_view="patch"))


def test_nothing_is_trained_without_epochs(small_bank, tiny_backbone, pictures):
    detector = SDMAD(small_bank, tiny_backbone, SDMADConfig(epochs=0)).fit(*pictures)
    assert len(detector.image_adapters_) == len(detector.text_adapters_) == 0
    assert detector.losses == ()
    pixels = tiny_backbone.preprocessing(pictures[0])
    torch.testing.assert_close(
        detector.image_features(pixels).embedding, tiny_backbone.encode_image(pixels)
    )
