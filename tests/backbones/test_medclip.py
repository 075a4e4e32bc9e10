"""MedCLIP: the published layout, stage by stage, and every folder that does not fit."""

import json
import math
import shutil

import numpy as np
import pytest
import safetensors.torch
import torch
from torch.nn.functional import normalize
from transformers import BertConfig, BertModel, BertTokenizer, SwinConfig, SwinModel

from sdmad import SDMAD, SDMADConfig
from sdmad.backbones import load_backbone
from sdmad.backbones.medclip import is_medclip, load_medclip, published_name
from sdmad.errors import ModelError, WeightsMissingError
from sdmad.method.adapters import AdaptedTower, ShiftAdapter

SWIN = {
    "image_size": 48,
    "patch_size": 2,
    "embed_dim": 8,
    "depths": [2, 2, 2, 2],
    "num_heads": [1, 2, 2, 4],
    "window_size": 3,  # feature maps of 24, 12, 6 and 3: the last is one window
}
WORDS = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *"abcdefghijklmnopqrstuvwxyz,.3"]
WORDS += [f"##{letter}" for letter in "abcdefghijklmnopqrstuvwxyz"]
BERT = {
    "vocab_size": len(WORDS),
    "hidden_size": 24,
    "num_hidden_layers": 4,
    "num_attention_heads": 2,
    "intermediate_size": 48,
    "max_position_embeddings": 40,
}
SENTENCES = ["mass", "a small bright focus, 3 mm.", "x"]


def random_model(kind, config, seed):
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = kind(config).eval()
        for name, parameter in model.named_parameters():
            scale = 0.02 if name.endswith("bias") else 0.3
            torch.nn.init.normal_(parameter, std=scale)  # bias tables too, which begin as zeros
            if name.endswith(("norm.weight", "Norm.weight")):
                parameter.data += 1
    return model


def saved_names(model, folder):
    """What transformers writes: the key names of version 4, which MedCLIP was published with."""
    model.save_pretrained(folder)
    return safetensors.torch.load((folder / "model.safetensors").read_bytes())


@pytest.fixture(scope="module")
def parts():
    """The two encoders as transformers has them, and both projections."""
    swin = random_model(SwinModel, SwinConfig(**SWIN), 1)
    bert = random_model(BertModel, BertConfig(**BERT), 2)
    draw = torch.Generator().manual_seed(3)
    return swin, bert, *(torch.randn(16, width, generator=draw) for width in (64, 24))


@pytest.fixture(scope="module")
def published(parts, tmp_path_factory):
    """A state dict as the authors saved it, buffers and all."""
    swin, bert, image_projection, text_projection = parts
    folder = tmp_path_factory.mktemp("parts")
    state = {}
    for key, tensor in saved_names(swin, folder).items():
        state[f"vision_model.model.{key}"] = tensor
    for key in [k for k in state if k.endswith("bias_table")]:
        index = torch.zeros(9, 9, dtype=torch.int64)
        state[key.replace("bias_table", "index")] = index
    for key, tensor in saved_names(bert, folder).items():
        state[f"text_model.model.{key}"] = tensor
    state["text_model.model.embeddings.position_ids"] = torch.arange(40).expand((1, -1))
    state["vision_model.projection_head.weight"] = image_projection
    state["text_model.projection_head.weight"] = text_projection
    state["logit_scale"] = torch.tensor(2.66)
    return state


def write_folder(folder, state):
    safetensors.torch.save_file({k: t.contiguous() for k, t in state.items()}, folder / WEIGHTS)
    (folder / "vocab.txt").write_text("\n".join(WORDS) + "\n", encoding="utf-8")
    config = {"vision_config": SWIN, "text_config": BERT, "projection_dim": 16}
    (folder / "config.json").write_text(json.dumps(config), encoding="utf-8")
    return folder


WEIGHTS = "model.safetensors"


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


def pixels(height, width=None, n=2):
    shape = (n, 3, height, width or height)
    return torch.randn(shape, generator=torch.Generator().manual_seed(height))


def change_weights(folder, change):
    state = change(safetensors.torch.load((folder / WEIGHTS).read_bytes()))
    safetensors.torch.save_file(state, folder / WEIGHTS)


def change_config(folder, **values):
    content = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    for key, value in values.items():
        content[key] = {**content.get(key, {}), **value} if isinstance(value, dict) else value
    (folder / "config.json").write_text(json.dumps(content), encoding="utf-8")


def refused(folder, message, **overrides):
    with pytest.raises(ModelError, match=message) as caught:
        load_medclip(str(folder), **overrides)
    text = str(caught.value)
    assert str(folder) in text
    assert "\n" not in text


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


# --- the published file, and files that do not fit ------------------------------------------------


def test_the_conversion_of_the_documentation(folder, published, backbone):
    """A pickle as the authors wrote theirs: a plain state dict with buffers."""
    torch.save(dict(published), folder / "pytorch_model.bin")
    (folder / WEIGHTS).unlink()
    state = torch.load(folder / "pytorch_model.bin", map_location="cpu", weights_only=True)
    state = {name: tensor.contiguous() for name, tensor in state.items()}
    safetensors.torch.save_file(state, folder / WEIGHTS)
    assert load_medclip(str(folder)).weights_hash == backbone.weights_hash


def test_the_names_of_transformers_5_do_as_well(folder, parts, backbone):
    def rename(state):
        kept = {k: t for k, t in state.items() if not k.startswith("vision_model.model.")}
        return kept | {f"vision_model.model.{k}": t for k, t in parts[0].state_dict().items()}

    change_weights(folder, rename)
    names = safetensors.torch.load((folder / WEIGHTS).read_bytes())
    assert any(".attention.q_proj." in name for name in names)
    assert load_medclip(str(folder)).weights_hash == backbone.weights_hash


def test_one_tensor_under_two_names(folder):
    old = "vision_model.model.encoder.layers.0.blocks.0.attention.self.query.weight"
    new = old.replace("self.query", "q_proj")
    change_weights(folder, lambda state: state | {new: torch.zeros(8, 8)})
    refused(folder, f"{new} and {old} are one tensor under two names")


def test_half_precision_is_read_as_float32(folder, backbone):
    change_weights(
        folder, lambda s: {k: t.half() if t.dtype.is_floating_point else t for k, t in s.items()}
    )
    half = load_medclip(str(folder)).encode_image(pixels(48))
    assert half.dtype == torch.float32
    torch.testing.assert_close(half, backbone.encode_image(pixels(48)), rtol=0, atol=0.05)


def test_missing_tensors_are_named(folder):
    change_weights(
        folder, lambda s: {k: t for k, t in s.items() if "text_model.projection" not in k}
    )
    refused(folder, r"of whose 225 tensors 224 fit. 1 missing: text_model.projection_head.weight$")


def test_many_missing_tensors_are_counted(folder):
    change_weights(folder, lambda s: {k: t for k, t in s.items() if "layer.0." not in k})
    name = r"text_model.model.encoder.layer.0.attention.output"
    refused(folder, rf"16 missing: {name}.LayerNorm.bias; {name}.LayerNorm.weight; .*; \.\.\.$")


def test_tensors_too_many_are_named(folder):
    change_weights(folder, lambda s: s | {"text_model.projection_head.bias": torch.zeros(16)})
    refused(folder, "1 too many: text_model.projection_head.bias$")


def test_every_kind_of_misfit_in_one_line(folder):
    def spoil(state):
        del state["logit_scale"]
        wrong = {"vision_model.projection_head.weight": torch.zeros(16, 63)}
        return state | wrong | {"classifier.weight": torch.zeros(1)}

    change_weights(folder, spoil)
    refused(
        folder,
        r"225 tensors 223 fit. 1 missing: logit_scale. 1 too many: classifier.weight. "
        r"1 of another shape: vision_model.projection_head.weight is \[16, 63\], not \[16, 64\]",
    )


def test_another_depth_is_refused_before_any_memory_is_taken(folder):
    change_config(folder, text_config={"num_hidden_layers": 5})
    refused(folder, "16 missing: text_model.model.encoder.layer.4")
    change_config(folder, text_config={"num_hidden_layers": 4, "intermediate_size": 10**12})
    refused(folder, r"is \[48, 24\], not \[1000000000000, 24\]")


def test_medclip_resnet_is_told_apart(folder):
    def swap(state):
        kept = {k: t for k, t in state.items() if not k.startswith("vision_model.")}
        return kept | {"vision_model.model.fc.weight": torch.zeros(512, 2048)}

    change_weights(folder, swap)
    refused(folder, "MedCLIP-ResNet; only MedCLIP-ViT")


@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_weights_that_are_no_number(folder, value):
    change_weights(folder, lambda s: s | {"logit_scale": torch.tensor(value)})
    refused(folder, "holds NaN or infinite values, first in logit_scale")


@pytest.mark.parametrize("keep", [0, 5, 100, 5_000, -10])
def test_truncated_weights(folder, keep):
    path = folder / WEIGHTS
    path.write_bytes(path.read_bytes()[:keep])
    refused(folder, "model.safetensors is no readable safetensors file")


@pytest.mark.parametrize("where", [" ", "/no/such/folder", "~nosuchuser", "x" * 5_000])
def test_missing_weights_say_where_they_are_had(where):
    with pytest.raises(
        WeightsMissingError, match=r"MedCLIP's weights are missing: .*pretrained.zip"
    ):
        load_backbone(f"medclip:{where.strip()}")


def test_the_name_alone_says_so_too():
    with pytest.raises(WeightsMissingError, match="no folder was given"):
        load_backbone("medclip")


def test_a_pickle_is_not_read(folder, published):
    torch.save(dict(published), folder / "pytorch_model.bin")
    (folder / WEIGHTS).unlink()
    with pytest.raises(WeightsMissingError, match=r"has no model.safetensors.*never read itself"):
        load_medclip(str(folder))


@pytest.mark.parametrize(
    "content", ["", "{bad", "[]", "3", '{"vision_config": 3}', "[" * 100_000, '{"image_mean": 1}']
)
def test_a_broken_configuration(folder, content):
    (folder / "config.json").write_text(content, encoding="utf-8")
    refused(
        folder, "config.json (describes no MedCLIP|is not readable JSON)|config.json: image_mean"
    )


@pytest.mark.filterwarnings("ignore:Initializing zero-element tensors")
@pytest.mark.parametrize(
    ("part", "values"),
    [
        ("vision_config", {"embed_dim": "abc"}),
        ("vision_config", {"num_heads": [1]}),
        ("vision_config", {"image_size": [48, 48]}),
        ("vision_config", {"use_absolute_embeddings": True}),
        ("text_config", {"num_hidden_layers": 1}),
        ("text_config", {"num_hidden_layers": 10**9}),
        ("text_config", {"hidden_size": 25}),
        ("text_config", {"is_decoder": True}),
        ("projection_dim", "many"),
    ],
)
def test_a_configuration_that_makes_no_medclip(folder, part, values):
    change_config(folder, **{part: values})
    refused(folder, "config.json describes no MedCLIP")


def test_a_deviation_that_is_none(folder):
    change_config(folder, image_std=[0.1, 0.1, 0.0])
    refused(folder, "config.json: image_std must be three finite numbers")


def test_the_configuration_of_bio_clinicalbert_beside_the_weights(folder):
    (folder / "config.json").write_text(json.dumps({"model_type": "bert", **BERT}))
    refused(folder, "vision_model")  # its text part is taken, Swin-tiny's sizes are not these
    with pytest.raises(ModelError) as caught:
        load_medclip(str(folder))
    assert "text_model.model" not in str(caught.value)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda words: None, "tokenizer is missing: vocab.txt or tokenizer.json"),
        (lambda words: words[:2] + words[3:], r"vocab.txt lacks \[CLS\]; it is not BERT's"),
        (lambda words: [*words, "more"], "has 61 tokens .* the text tower has 60"),
        (lambda words: ["x", *words[:1], *words[2:], "[UNK]"], "pads with token 1, .* with 0"),
        (lambda words: ["\udcff"], "no readable BERT tokenizer"),
    ],
)
def test_a_tokenizer_that_does_not_belong(folder, change, message):
    words = change(WORDS)
    path = folder / "vocab.txt"
    if words is None:
        path.unlink()
    else:
        path.write_text("\n".join(words) + "\n", encoding="utf-8", errors="surrogateescape")
    refused(folder, message)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("{bad", "tokenizer.json is no readable BERT tokenizer"),
        ('{"model": {"type": "BPE"}}', "of type BPE; BERT's is WordPiece"),
        ('{"model": {"type": "WordPiece", "vocab": {}}}', r"lacks \[PAD\], \[UNK\]"),
    ],
)
def test_a_broken_tokenizer_json(folder, content, message):
    (folder / "tokenizer.json").write_text(content)
    refused(folder, message)
