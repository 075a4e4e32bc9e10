import numpy as np
import pytest
import torch
from sklearn.metrics import roc_auc_score

from sdmad.baselines.inctrl.detector import (
    PROMPTS,
    AbnormalPrompts,
    HeadTraining,
    TokenReader,
    Tokens,
    TrainingImages,
    build_inctrl,
)
from sdmad.baselines.inctrl.heads import Heads, InCTRLSettings, focal_loss, patch_residuals
from sdmad.baselines.registry import Auxiliary, Build, load_system
from sdmad.errors import InputError
from tests.conftest import draw_picture, draw_pictures

QUICK = InCTRLSettings(epochs=3, steps=10)


def auxiliary(count=24, modalities=True):
    """Pictures of bars and dots: the kinds of anomaly that the tests then look for are others."""
    marks = [(), (1,), (), (2,)]
    images = [draw_picture(marks[i % 4], 500 + i) for i in range(count)]
    abnormal = np.array([bool(marks[i % 4]) for i in range(count)])
    masks = tuple(np.zeros((32, 32), bool) for _ in images)
    names = tuple("drawing" if i < count // 2 else "sketch" for i in range(count))
    return Auxiliary(tuple(images), abnormal, masks, names if modalities else ())


@pytest.fixture
def build(small_bank, tiny_backbone):
    def make(settings=QUICK, seed=0, given=None):
        given = given or auxiliary()
        return build_inctrl(Build(small_bank, tiny_backbone, seed, lambda: given), settings)

    return make


@pytest.fixture(scope="module")
def inctrl(small_bank, tiny_backbone, pictures):
    """Fitted on the shared pictures; no test may alter it."""
    given = Build(small_bank, tiny_backbone, 0, auxiliary)
    return build_inctrl(given, QUICK).fit(*pictures)


# --- numbers worked by hand -----------------------------------------------------------------------


def test_prompts_name_the_modality(tiny_backbone):
    prompts = AbnormalPrompts(tiny_backbone, 100.0)
    embedding = tiny_backbone.encode_image(torch.randn(2, 3, 32, 32))
    sides = []
    for states in (PROMPTS.normal, PROMPTS.abnormal):
        sentences = [t.format(s.format("chest X-ray")) for s in states for t in PROMPTS.templates]
        assert len(sentences) in (7 * 22, 4 * 22)
        sides.append(tiny_backbone.encode_text(sentences).mean(dim=0))
    logits = torch.stack([100 * embedding @ side / side.norm() for side in sides], dim=1)
    expected = 1 / (1 + torch.exp(logits[:, 0] - logits[:, 1]))
    torch.testing.assert_close(prompts(embedding, "chest X-ray"), expected, rtol=1e-3, atol=1e-5)


def test_blocks_are_7_9_and_11_of_12(make_clip):
    from sdmad.backbones import load_backbone

    backbone = load_backbone(make_clip(image_depth=12))
    reader = TokenReader(backbone, InCTRLSettings().blocks)
    assert reader.blocks == (7, 9, 11)
    pixels = torch.randn(3, 3, 32, 32)
    tokens = reader(pixels)
    assert tokens.patches.shape == (3, 3, 16, 32)
    hidden, state = backbone.image.embed(pixels)
    for block in range(1, 10):
        hidden = backbone.image.block(block, hidden, state)
    ninth = torch.nn.functional.normalize(hidden[:, 1:], dim=-1)
    torch.testing.assert_close(tokens.patches[:, 1], ninth)
    torch.testing.assert_close(tokens.embedding, backbone.encode_image(pixels))


def fit_general(detector, pictures):
    """Abnormality of the pictures after a fit of the first detector alone."""
    images, labels = pictures
    pixels = detector.preprocessing(images)
    abnormal = torch.from_numpy(labels.any(axis=1))
    fitted = detector.general.fit(pixels, abnormal, [None] * len(images))
    return fitted.score_pixels(pixels).double().numpy()


# --- training -------------------------------------------------------------------------------------


def test_references_are_the_other_normal_images_of_the_modality():
    abnormal, kind = torch.tensor([0, 1, 0, 0, 0, 1]).bool(), torch.tensor([0, 0, 0, 1, 1, 1])
    images = TrainingImages(Tokens(torch.zeros(6), torch.zeros(6)), torch.zeros(6), abnormal, kind)
    found = [images.references(row).tolist() for row in range(6)]
    assert found == [[2], [0, 2], [0], [4], [3], [3, 4]]


def test_it_learns_from_the_auxiliary_set(inctrl, build):
    log = build(InCTRLSettings(epochs=6, steps=10)).fit(*draw_pictures(12)).general.log_
    assert len(log) == 6
    assert log[-1] < 0.7 * log[0]
    images, labels = draw_pictures(48, seed=5)
    scored = inctrl.score_images(images)
    assert roc_auc_score(labels.any(axis=1), scored.abnormality) > 0.8
    assert ((scored.abnormality >= 0) & (scored.abnormality <= 1)).all()


def test_the_same_seed_gives_the_same_scores(build, inctrl, pictures):
    again = fit_general(build(), pictures)
    assert np.array_equal(again, inctrl.score_images(pictures[0]).abnormality)
    assert not np.array_equal(again, fit_general(build(seed=1), pictures))


def test_heads_are_trained_once_for_each_number_of_references(inctrl):
    training = inctrl.general.training
    # Four normal pictures; eight or nine without a category's mark, and at most eight count; but a
    # modality of the auxiliary set has six normal images, of which five can stand beside one.
    assert sorted(training._trained) == [4, 5]
    assert inctrl.general.heads_ is training._trained[4][0]
    assert len({id(one.heads_) for one in inctrl.single}) == 1


def test_all_detectors_share_one_pass_of_the_tower(inctrl, pictures, monkeypatch):
    calls = []
    reader = inctrl.general.training.reader
    monkeypatch.setattr(
        inctrl.general.reader, "function", lambda pixels: calls.append(1) or reader(pixels)
    )
    inctrl.score_images(pictures[0])
    assert len(calls) == 1


def test_published_losses_take_probabilities_for_logits(build, tiny_backbone, pictures):
    with pytest.warns(UserWarning, match="InCTRL.*published.*probabilities for logits"):
        published = build(InCTRLSettings(epochs=1, steps=1, compat="published"))
    published.fit(*pictures)
    # One step: both losses are of the untrained heads on the same batch.
    right = build(InCTRLSettings(epochs=1, steps=1)).fit(*pictures)
    training = right.general.training
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        heads = Heads(16, 16, QUICK)
    rows, truth, beside = training._draw(training.images, 4, torch.Generator().manual_seed(0))
    query, references = training.images.tokens.rows(rows), training.images.tokens.rows(beside)
    residuals = patch_residuals(query.patches, references.patches)
    text = training.images.text[rows]
    with torch.no_grad():
        scores = heads(query.embedding, references.embedding, residuals, text)
    wrong = sum(float(focal_loss(torch.sigmoid(s), truth, 2.0)) for s in scores)
    assert published.general.log_[0] == pytest.approx(wrong, rel=1e-5)
    assert right.general.log_[0] == pytest.approx(
        sum(float(focal_loss(s, truth, 2.0)) for s in scores), rel=1e-5
    )


# --- scoring --------------------------------------------------------------------------------------


def test_a_score_depends_on_its_image_alone(inctrl, pictures):
    images = pictures[0]
    whole = inctrl.score_images(images)
    order = np.random.default_rng(0).permutation(12)
    shuffled = inctrl.score_images([images[i] for i in order])
    np.testing.assert_allclose(shuffled.scores, whole.scores[order], atol=1e-5)
    alone = np.concatenate([inctrl.score_images([image]).scores for image in images])
    np.testing.assert_allclose(alone, whole.scores, atol=1e-5)


def test_the_order_of_the_support_set_does_not_matter(build, inctrl, pictures):
    images, labels = pictures
    order = np.random.default_rng(1).permutation(12)
    shuffled = fit_general(build(), ([images[i] for i in order], labels[order]))
    np.testing.assert_allclose(shuffled, inctrl.score_images(images).abnormality[order], atol=1e-5)


def test_the_abnormal_images_play_no_part(build, inctrl, pictures):
    images, labels = pictures
    normal = ~labels.any(axis=1)
    detector = inctrl.general
    pixels = inctrl.preprocessing(images)
    alone = build().general.fit(
        pixels[torch.from_numpy(normal)], torch.zeros(int(normal.sum()), dtype=torch.bool), []
    )
    torch.testing.assert_close(alone.score_pixels(pixels), detector.score_pixels(pixels))


def test_no_normal_support_image_is_compared_with_itself(build, pictures):
    images, labels = pictures
    detector = build()
    fit_general(detector, pictures)
    general, pixels = detector.general, detector.preprocessing(images)
    normal = torch.from_numpy(~labels.any(axis=1))
    found, plain = general.support_scores(pixels), general.score_pixels(pixels)
    torch.testing.assert_close(found[~normal], plain[~normal])
    first = int(normal.nonzero()[0, 0])
    assert not general.compared_with_itself(pixels).any()
    general.references_ = general.references_.rows(torch.arange(1, int(normal.sum())))
    torch.testing.assert_close(found[first], general.score_pixels(pixels[first][None])[0])
    assert abs(found[first] - plain[first]) > 1e-6


def test_the_only_normal_image_is_known(build, pictures):
    images, labels = pictures
    rows = [int(np.flatnonzero(~labels.any(axis=1))[0]), *np.flatnonzero(labels.any(axis=1))]
    detector, few = build(), ([images[i] for i in rows], labels[rows])
    fit_general(detector, few)
    pixels = detector.preprocessing(few[0])
    assert detector.general.compared_with_itself(pixels).nonzero().tolist() == [[0]]


# --- wrong input ----------------------------------------------------------------------------------


def test_mistakes_are_refused(build, tiny_backbone, small_bank, pictures):
    images, labels = pictures
    with pytest.raises(InputError, match="at least one normal image"):
        build().fit(images[:4], labels[:4])
    with pytest.raises(InputError, match="compat must be none or published"):
        build(InCTRLSettings(compat="fast"))
    with pytest.raises(InputError, match="makes no anomaly maps"):
        build().map_pixels(torch.zeros(1, 3, 32, 32))
    with pytest.raises(InputError, match="not fitted"):
        build().score_images(images)


def test_an_auxiliary_set_that_cannot_teach_is_refused(build, pictures):
    whole = auxiliary()
    normal = Auxiliary(whole.images, np.zeros(24, bool), whole.masks, whole.modalities)
    single = Auxiliary(whole.images[:2], whole.abnormal[:2], whole.masks[:2])
    for given in (normal, single):
        with pytest.raises(InputError, match="auxiliary set needs abnormal images"):
            build(given=given).fit(*pictures)


def test_without_modalities_all_auxiliary_images_are_of_one_kind(tiny_backbone, small_bank):
    given = Build(small_bank, tiny_backbone, 0, lambda: auxiliary(8, modalities=False))
    training = build_inctrl(given, QUICK).general.training
    assert isinstance(training, HeadTraining)
    assert training.images.kind.tolist() == [0] * 8


def test_a_tower_that_is_too_shallow_is_refused(make_clip, small_bank):
    from sdmad.backbones import load_backbone

    backbone = load_backbone(make_clip(image_depth=2))
    with pytest.raises(InputError, match="2 blocks"):
        build_inctrl(Build(small_bank, backbone, 0, auxiliary))


def test_it_is_registered():
    system = load_system("inctrl")
    assert (system.learns_from, system.single, system.maps) == ("auxiliary set", True, False)
    assert "CVPR 2024" in system.source
