"""MedCLIP: transformers' own numbers, stage by stage; adapters, tokens, preprocessing."""

import math
import shutil

import numpy as np
import pytest
import torch
from torch.nn.functional import normalize
from transformers import BertTokenizer, SwinModel

from sdmad import SDMAD, SDMADConfig
from sdmad.backbones import load_backbone
from sdmad.backbones.medclip import is_medclip, load_medclip, published_name
from sdmad.method.adapters import AdaptedTower, ShiftAdapter
from tests.backbones.medclip_checkpoints import (
    SENTENCES,
    WEIGHTS,
    WORDS,
    change_config,
    change_weights,
    make_parts,
    pixels,
    published_state,
    refused,
    write_folder,
)


@pytest.fixture(scope="module")
def parts():
    """The two encoders as transformers has them, and both projections."""
    return make_parts()


@pytest.fixture(scope="module")
def published(parts, tmp_path_factory):
    """A state dict as the authors saved it, buffers and all."""
    return published_state(parts, tmp_path_factory.mktemp("parts"))


@pytest.fixture(scope="module")
def medclip_folder(published, tmp_path_factory):
    return write_folder(tmp_path_factory.mktemp("medclip"), published)


@pytest.fixture(scope="module")
def backbone(medclip_folder):
    return load_backbone(f"medclip:{medclip_folder}")


@pytest.fixture
def folder(medclip_folder, tmp_path):
    """A copy, to be damaged."""
    return shutil.copytree(medclip_folder, tmp_path / "checkpoint")


# --- the same numbers as a straight use of transformers -------------------------------------------


@pytest.mark.parametrize("size", [(48, 48), (60, 60), (51, 51), (48, 62), (97, 54)])
def test_images_agree_with_transformers(backbone, parts, size):
    swin, _, projection, _ = parts
    fresh = SwinModel(swin.config).eval()  # a used one has shrunk its windows
    fresh.load_state_dict(swin.state_dict())
    values = pixels(*size)
    with torch.no_grad():
        expected = normalize(fresh(values).pooler_output @ projection.T, dim=-1)
    torch.testing.assert_close(backbone.encode_image(values), expected, rtol=0, atol=1e-5)


def test_the_text_agrees_with_medclips_rule(backbone, parts):
    """Blocks 1, 2 and last, averaged over the tokens, as its code does for a sentence alone."""
    _, bert, _, projection = parts
    found = backbone.encode_text(SENTENCES)
    for sentence, embedding in zip(SENTENCES, found, strict=True):
        with torch.no_grad():
            hidden = bert(backbone.tokenize([sentence]), output_hidden_states=True).hidden_states
            mean = torch.stack([hidden[1], hidden[2], hidden[-1]]).mean(dim=(0, 2))
            expected = normalize(mean @ projection.T, dim=-1)[0]
        torch.testing.assert_close(embedding, expected, rtol=0, atol=1e-5)


def test_a_sentence_embeds_alike_in_any_company(backbone):
    alone = torch.cat([backbone.encode_text([s]) for s in SENTENCES])
    torch.testing.assert_close(backbone.encode_text(SENTENCES), alone, rtol=0, atol=1e-5)
    assert (alone[0] @ alone[1]) < 0.99  # and not because all are the same


def test_a_small_image_changes_nothing_for_a_large_one(medclip_folder):
    fresh = load_medclip(str(medclip_folder))
    before = fresh.encode_image(pixels(60))
    small = fresh.encode_image(pixels(9, 2))  # feature maps smaller than a window
    assert small.isfinite().all()
    assert torch.equal(fresh.encode_image(pixels(60)), before)


def test_stages_widths_and_grids(backbone):
    assert (backbone.image.depth, backbone.image.widths) == (4, (16, 32, 64, 64))
    assert (backbone.text.depth, backbone.text.widths) == (4, (24,) * 4)
    hidden, state = backbone.image.embed(pixels(51))
    assert state == ((26, 26), (13, 13), (7, 7), (4, 4))
    shapes = [hidden.shape[1:]]
    for index in range(1, 5):
        hidden = backbone.image.block(index, hidden, state)
        shapes.append(hidden.shape[1:])
    assert shapes == [(676, 8), (169, 16), (49, 32), (16, 64), (16, 64)]
    assert backbone.image.pool(hidden, state).shape == (2, 16) == (2, backbone.dimension)


def test_the_published_sizes_are_the_default(tmp_path):
    """Swin-tiny and BERT-base with a cased vocabulary, counted without allocating them."""
    from sdmad.backbones.medclip import _read_settings

    with torch.device("meta"):
        model = _read_settings(tmp_path / "config.json").build()
    shapes = {published_name(k): tuple(t.shape) for k, t in model.state_dict().items()}
    table = "encoder.layers.3.blocks.1.attention.self.relative_position_bias_table"
    assert shapes[f"vision_model.model.{table}"] == (169, 24)
    assert shapes["vision_model.projection_head.weight"] == (512, 768)
    assert shapes["text_model.model.embeddings.word_embeddings.weight"] == (28_996, 768)
    assert shapes["text_model.model.pooler.dense.bias"] == (768,)
    assert shapes["text_model.projection_head.weight"] == (512, 768)
    assert shapes["logit_scale"] == ()
    assert sum(math.prod(s) for s in shapes.values()) == 27_519_354 + 108_310_272 + 2 * 393_216 + 1


# --- state, adapters, training --------------------------------------------------------------------


def test_the_state_of_some_sentences(backbone):
    ids = backbone.tokenize(SENTENCES)
    tower = backbone.text
    with torch.no_grad():
        whole = tower(ids)
        hidden, state = tower.embed(ids)
        rows = slice(1, 3)
        part, part_state = hidden[rows], state[rows]
        for index in range(1, 5):
            part = tower.block(index, part, part_state)
            hidden = tower.block(index, hidden, state)
        torch.testing.assert_close(tower.pool(part, part_state), whole[rows])
        torch.testing.assert_close(tower.pool(hidden[rows], state[rows]), whole[rows])


def test_pooling_before_the_blocks_is_refused(backbone):
    hidden, state = backbone.text.embed(backbone.tokenize(SENTENCES))
    with pytest.raises(ValueError, match="run all blocks with this state first"):
        backbone.text.pool(hidden, state)


@pytest.mark.parametrize("block", [1, 2, 3, 4])
def test_an_adapter_that_changes_nothing_and_one_that_does(backbone, block):
    ids = backbone.tokenize(SENTENCES)
    plain = backbone.text(ids)

    def run(lam):
        torch.manual_seed(0)
        tower = AdaptedTower(backbone.text, {block: ShiftAdapter(24, lam=lam)})
        hidden, state = backbone.text.embed(ids)
        return tower, tower(tower.frozen_part(hidden, state), state)

    torch.testing.assert_close(run(1.0)[1], plain)
    tower, shifted = run(0.5)
    assert (shifted - plain).abs().max() > 1e-3
    shifted[:, 0].sum().backward()
    assert all(p.grad.abs().max() > 0 for p in tower.adapters.parameters())


def test_an_adapted_early_block_is_pooled_as_adapted(backbone):
    """With lambda 0 and a zero adapter, block 1 adds nothing to the mean of the three."""
    tower = backbone.text
    ids = backbone.tokenize(["a mass"])
    adapter = ShiftAdapter(24, lam=0.0)
    torch.nn.init.zeros_(adapter.up.weight)
    hidden, state = tower.embed(ids)
    adapted = AdaptedTower(tower, {1: adapter})
    found = adapted(adapted.frozen_part(hidden, state), state)
    second = tower.bert.encoder.layer[1](torch.zeros_like(hidden))
    last = tower.bert.encoder.layer[3](tower.bert.encoder.layer[2](second))
    mean = (second.mean(dim=1) + last.mean(dim=1)) / 3
    torch.testing.assert_close(found, normalize(tower.projection(mean), dim=-1))


def test_training_and_a_saved_detector(backbone, small_bank, pictures, tmp_path):
    detector = SDMAD(small_bank, backbone, SDMADConfig(epochs=1, text_blocks=(1, 4)), seed=3)
    detector.fit(*pictures)
    scores = detector.decision_function(pictures[0])
    assert scores.shape == (12, 3)
    detector.save(tmp_path / "model")
    again = SDMAD.load(tmp_path / "model", backbone=backbone)
    np.testing.assert_array_equal(again.decision_function(pictures[0]), scores)


def test_everything_is_frozen_and_in_evaluation_mode(backbone):
    for tower in (backbone.image, backbone.text):
        assert not any(p.requires_grad for p in tower.parameters())
        assert not any(m.training for m in tower.children())


def test_loading_leaves_the_callers_random_numbers_alone(medclip_folder):
    torch.manual_seed(7)
    expected = torch.rand(3)
    torch.manual_seed(7)
    load_medclip(str(medclip_folder))
    assert torch.equal(torch.rand(3), expected)


# --- tokenizer and preprocessing ------------------------------------------------------------------


def test_the_tokenizer_lowers_case_and_cuts(backbone):
    assert backbone.tokenize(["Ab", "b"]).tolist() == [[2, 5, WORDS.index("##b"), 3], [2, 6, 3, 0]]
    assert backbone.token_counts(["ab", "x" * 50]) == [4, 52]
    assert backbone.tokenize(["x" * 50]).shape == (1, 40) == (1, backbone.context_length)


def test_the_context_is_medclips(folder, published):
    name = "text_model.model.embeddings.position_embeddings.weight"
    change_weights(folder, lambda state: state | {name: torch.randn(100, 24)})
    change_config(folder, text_config={"max_position_embeddings": 100})
    assert load_medclip(str(folder)).context_length == 77


def test_a_tokenizer_json_does_as_well(folder, backbone):
    BertTokenizer.from_pretrained(folder, local_files_only=True).save_pretrained(folder)
    (folder / "vocab.txt").unlink()
    assert (folder / "tokenizer.json").is_file()
    assert torch.equal(load_medclip(str(folder)).tokenize(SENTENCES), backbone.tokenize(SENTENCES))


def test_preprocessing_is_the_published_one(backbone, medclip_folder):
    preprocessing = backbone.preprocessing
    assert preprocessing.size == 48
    assert preprocessing.mean == pytest.approx((0.5863,) * 3, abs=1e-4)
    assert preprocessing.std == pytest.approx((0.2795,) * 3, abs=1e-4)
    assert load_medclip(str(medclip_folder), 60).preprocessing.size == 60


def test_overrides_must_agree_with_the_checkpoint(folder):
    same = load_medclip(str(folder), activation="gelu", mean=(0.5863,) * 3, std=[0.2795] * 3)
    assert same.preprocessing.mean == (0.5862785803043838,) * 3
    refused(folder, "Either leave activation= out, or.* hidden_act", activation="quick_gelu")
    refused(folder, r"mean=\(0.5, .*Either leave mean= out, or.* image_mean", mean=(0.5,) * 3)
    refused(folder, "Either leave std= out, or.* image_std", std=[0.3] * 3)
    change_config(folder, image_mean=[0.5] * 3)
    assert load_medclip(str(folder)).preprocessing.mean == (0.5,) * 3
    assert load_medclip(str(folder), mean=(0.5,) * 3).preprocessing.mean == (0.5,) * 3
    refused(folder, "mean=.* by config.json", mean=(0.5863,) * 3)


def test_the_folder_alone_is_recognised(folder, tmp_path):
    assert is_medclip(folder)
    change_weights(folder, lambda state: {k: t for k, t in state.items() if "text" not in k})
    assert not is_medclip(folder)
    (folder / WEIGHTS).write_bytes(b"nothing")
    assert not is_medclip(folder)
    assert not is_medclip(tmp_path)
