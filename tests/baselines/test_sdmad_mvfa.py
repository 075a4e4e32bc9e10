import numpy as np
import pytest
import torch
from sklearn.metrics import roc_auc_score

from sdmad.baselines.mvfa.detector import MVFA, MVFASettings
from sdmad.baselines.registry import Build, load_system
from sdmad.baselines.sdmad_mvfa import SDMADMVFA
from sdmad.errors import InputError
from sdmad.method.losses import inter_anomaly_loss

QUICK = MVFASettings(epochs=3, batch_size=8)


@pytest.fixture(scope="module")
def masks(pictures):
    return [(image > 130) & bool(row.any()) for image, row in zip(*pictures, strict=True)]


@pytest.fixture(scope="module")
def trained(small_bank, tiny_backbone, pictures, masks):
    return SDMADMVFA(small_bank, tiny_backbone, QUICK).fit(*pictures, masks=masks)


def test_equation_5_of_the_final_embedding_is_added(small_bank, tiny_backbone, pictures, masks):
    """In one batch before any step: the loss is MVFA's plus Eq. 5 of all augmented images."""
    images, labels = pictures
    once = MVFASettings(epochs=1, batch_size=1000)
    both = SDMADMVFA(small_bank, tiny_backbone, once).fit(images, labels, masks=masks)
    pixels = tiny_backbone.preprocessing(images)
    abnormal = torch.tensor(labels.any(axis=1))
    seen = []

    def spy(embeddings, sources):
        truth = torch.tensor(labels, dtype=torch.float32)[sources]
        scorer = both.head
        seen.append(
            inter_anomaly_loss(embeddings, scorer.signs, scorer.category, scorer.anchor, truth)
        )
        return 0 * seen[-1]

    alone = MVFA(small_bank.modality, tiny_backbone, once).train(pixels, abnormal, masks, spy)
    assert seen[0] > 0.1
    assert both.losses[0] == pytest.approx(alone.log_[0] + seen[0].item(), rel=1e-5)


def test_whether_and_where_are_mvfas(trained, tiny_backbone, pictures):
    pixels = tiny_backbone.preprocessing(pictures[0])
    scored = trained.score_pixels(pixels)
    mvfa = trained.mvfa
    np.testing.assert_allclose(scored.abnormality, mvfa.score_pixels(pixels).numpy(), atol=1e-6)
    torch.testing.assert_close(trained.map_pixels(pixels), mvfa.map_pixels(pixels))
    assert roc_auc_score(pictures[1].any(axis=1), scored.abnormality) > 0.9


def test_categories_are_equations_7_and_8_on_the_adapted_embedding(
    trained, tiny_backbone, pictures
):
    pixels = tiny_backbone.preprocessing(pictures[0])
    scored, embedding = trained.score_pixels(pixels), trained.mvfa.parts(pixels).embedding
    torch.testing.assert_close(embedding.norm(dim=1), torch.ones(12))
    assert not torch.allclose(embedding, tiny_backbone.encode_image(pixels), atol=1e-3)
    cosines = (embedding @ trained.head.signs.T).numpy()
    np.testing.assert_allclose(scored.similarity, cosines, atol=1e-6)
    anchor = (embedding @ trained.head.anchor).numpy()
    keep = trained.head.keep.numpy()
    for k in range(3):
        mine = cosines[:, [i for i in (2 * k, 2 * k + 1) if keep[i]]]
        np.testing.assert_allclose(scored.scores[:, k], mine.max(axis=1), atol=1e-6)
        assert np.array_equal(scored.decisions[:, k], mine.min(axis=1) > anchor)


def test_the_adapters_learn_equation_5(trained, small_bank, tiny_backbone, pictures, masks):
    pixels = tiny_backbone.preprocessing(pictures[0])
    alone = MVFA(small_bank.modality, tiny_backbone, QUICK)
    alone.fit(pixels, torch.tensor(pictures[1].any(axis=1)), masks)
    truth, scorer = torch.tensor(pictures[1], dtype=torch.float32), trained.head
    with_it, without = (
        inter_anomaly_loss(
            detector.parts(pixels).embedding, scorer.signs, scorer.category, scorer.anchor, truth
        )
        for detector in (trained.mvfa, alone)
    )
    assert with_it < 0.9 * without
    assert trained.losses[-1] < trained.losses[0]


def test_images_that_may_be_normal_are_left_out(small_bank, tiny_backbone, pictures, masks):
    images, labels = pictures
    hidden = labels.copy()
    hidden[4, 0] = np.nan  # a normal picture of which this is no longer known
    settings = MVFASettings(epochs=1, batch_size=32)
    detector = SDMADMVFA(small_bank, tiny_backbone, settings).fit(images, hidden, masks=masks)
    assert len(detector.mvfa.memory_[0]) == 3 * 11
    rest = [i for i in range(12) if i != 4]
    fewer = SDMADMVFA(small_bank, tiny_backbone, settings).fit(
        [images[i] for i in rest], labels[rest], masks=[masks[i] for i in rest]
    )
    assert detector.losses == fewer.losses


def test_mistakes_are_refused(small_bank, tiny_backbone, pictures):
    images, labels = pictures
    detector = SDMADMVFA(small_bank, tiny_backbone, QUICK)
    with pytest.raises(InputError, match="not fitted yet"):
        detector.score_images(images)
    with pytest.raises(InputError, match="no image to fit on"):
        detector.fit([], np.zeros((0, 3)))
    with pytest.raises(InputError, match="every label is unknown"):
        detector.fit(images, np.full((12, 3), np.nan))
    with pytest.raises(InputError, match="normal images"):
        detector.fit(images[:4], labels[:4])


def test_the_registry_builds_it(small_bank, tiny_backbone):
    built = load_system("sd-mad-mvfa").build(Build(small_bank, tiny_backbone, 7, lambda: None))
    assert isinstance(built, SDMADMVFA)
    assert (built.mvfa.seed, built.mvfa.settings) == (7, MVFASettings())
    assert (built.config.margin, built.config.image_text_weight) == (0.0, 1.0)
