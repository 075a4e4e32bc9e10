import numpy as np
import pytest

from sdmad import load_backbone
from sdmad.baselines.registry import Build, load_system
from sdmad.baselines.zero_shot import ZeroShotCLIP
from sdmad.errors import WeightsMissingError
from tests.backbones.medclip_checkpoints import make_parts, published_state, write_folder


@pytest.mark.parametrize("name", ["medclip", "medclip-names", "medclip-ensemble"])
def test_without_its_weights_it_says_where_they_are_had(small_bank, tiny_backbone, name):
    with pytest.raises(WeightsMissingError, match="MedCLIP's weights are missing"):
        load_system(name).build(Build(small_bank, tiny_backbone, 0, lambda: None))


def test_with_them_it_is_zero_shot_scoring_with_signs(small_bank, pictures, tmp_path):
    (tmp_path / "medclip").mkdir()
    folder = write_folder(tmp_path / "medclip", published_state(make_parts(), tmp_path))
    backbone = load_backbone(f"medclip:{folder}")
    detector = load_system("medclip").build(Build(small_bank, backbone, 0, lambda: None))
    expected = ZeroShotCLIP(small_bank, backbone).score_images(pictures[0])
    found = detector.fit(*pictures).score_images(pictures[0])
    assert np.array_equal(found.scores, expected.scores)
    assert np.array_equal(found.decisions, expected.decisions)
    build = Build(small_bank, backbone, 0, lambda: None)
    names, ensemble = (
        load_system(f"medclip-{kind}").build(build).score_images(pictures[0])
        for kind in ("names", "ensemble")
    )
    assert names.scores.shape == ensemble.scores.shape == (12, 3)
    assert not np.allclose(names.scores, ensemble.scores)
