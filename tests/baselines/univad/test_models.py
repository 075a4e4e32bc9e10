"""The frozen models: read from small checkpoints, made at their published sizes."""

import json
from types import SimpleNamespace

import pytest
import torch
import transformers
from safetensors.torch import load_file, save_file
from transformers import BertTokenizer

from sdmad.backbones.fetching.layouts import NETWORKS
from sdmad.baselines.univad import models
from sdmad.baselines.univad.features import ClipReader, TransformerPatches
from sdmad.baselines.univad.masks import BOXES, GroundedMasks
from sdmad.baselines.univad.models import CONTEXT, DENSE, DETECTORS, SEGMENTERS, load_model
from sdmad.baselines.univad.settings import Question, UniVADSettings
from sdmad.errors import InputError, ModelError, WeightsMissingError

WORDS = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", ".", "mri", "background"]
TOWER = {"hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2}
SWIN = {"embed_dim": 8, "depths": [1, 1, 1, 1], "num_heads": [1, 1, 2, 2], "window_size": 4}
GROUNDING = {
    "backbone_config": SWIN | {"model_type": "swin", "out_indices": [2, 3, 4]},
    "text_config": TOWER
    | {"model_type": "bert", "intermediate_size": 16, "vocab_size": len(WORDS)},
    "d_model": 32,
    "encoder_layers": 1,
    "decoder_layers": 2,
    "encoder_ffn_dim": 16,
    "decoder_ffn_dim": 16,
    "encoder_attention_heads": 2,
    "decoder_attention_heads": 2,
    "num_queries": 5,
}
SEGMENTING = {
    "vision_config": TOWER
    | {
        "image_size": 64,
        "patch_size": 16,
        "output_channels": 16,
        "num_pos_feats": 8,
        "window_size": 2,
        "global_attn_indexes": [1],
        "mlp_dim": 32,
    },
    "prompt_encoder_config": {
        "hidden_size": 16,
        "image_size": 64,
        "patch_size": 16,
        "mask_input_channels": 4,
    },
    "mask_decoder_config": {
        "hidden_size": 16,
        "mlp_dim": 16,
        "num_attention_heads": 2,
        "iou_head_hidden_dim": 16,
    },
}
HQ = SEGMENTING | {"mask_decoder_config": SEGMENTING["mask_decoder_config"] | {"vit_dim": 16}}
SMALL = {
    "grounding-dino": (DETECTORS, GROUNDING),
    "sam_hq": (SEGMENTERS, HQ),
    "sam": (SEGMENTERS, SEGMENTING),
    "dinov2": (DENSE, TOWER | {"image_size": 56}),
    "vit": (CONTEXT, TOWER | {"image_size": 32, "patch_size": 8, "intermediate_size": 24}),
}


def random_model(kind):
    known, sizes = SMALL[kind][0][kind], SMALL[kind][1]
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(1)
        config = getattr(transformers, known.config)(**sizes)
        return getattr(transformers, known.model)(config)


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory):
    """Write a small random checkpoint, once a kind; no test may alter it."""
    written = {}

    def get(kind):
        if kind not in written:
            folder = tmp_path_factory.mktemp(kind)
            random_model(kind).save_pretrained(folder)
            if kind == "grounding-dino":
                vocabulary = {word: number for number, word in enumerate(WORDS)}
                BertTokenizer(vocab=vocabulary).save_pretrained(folder)
            written[kind] = folder
        return written[kind]

    return get


@pytest.mark.parametrize("kind", SMALL)
def test_a_checkpoint_is_read_as_it_was_written(kind, checkpoint):
    loaded = load_model(SMALL[kind][0], checkpoint(kind), 0)
    own, written = (dict(one.named_parameters()) for one in (loaded.model, random_model(kind)))
    lost = [name for name, value in own.items() if not torch.equal(value, written[name])]
    assert own
    assert not lost
    assert not loaded.model.training
    assert not any(value.requires_grad for value in own.values())


def test_nothing_but_sizes_is_heard_of_a_configuration(checkpoint, tmp_path):
    content = json.loads((checkpoint("grounding-dino") / "config.json").read_text("utf-8"))
    content |= {"auto_map": {"AutoModel": "evil.Model"}, "torch_dtype": "float16"}
    content["backbone_config"] |= {"model_type": "timm_backbone", "backbone": "evil"}
    for file in checkpoint("grounding-dino").iterdir():
        (tmp_path / file.name).write_bytes(file.read_bytes())
    (tmp_path / "config.json").write_text(json.dumps(content), encoding="utf-8")
    model = load_model(DETECTORS, tmp_path, 0).model
    assert model.config.backbone_config.model_type == "swin"
    assert model.dtype == torch.float32


def altered(folder, into, change):
    """A copy of a checkpoint with other weights or another configuration."""
    tensors = load_file(folder / "model.safetensors")
    content = json.loads((folder / "config.json").read_text("utf-8"))
    change(tensors, content)
    save_file(tensors, into / "model.safetensors", {"format": "pt"})
    (into / "config.json").write_text(json.dumps(content), encoding="utf-8")
    return into


def drop_one(tensors, content):
    del tensors[min(tensors)]


def spoil_one(tensors, content):
    tensors[min(tensors)].fill_(float("nan"))


def widen(tensors, content):
    content["num_hidden_layers"] = 200


def deepen(tensors, content):
    content["num_hidden_layers"] = 10**9


def nest(tensors, content):
    content["hidden_size"] = {"a": 1}


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (drop_one, "the weights lack 1 tensors"),
        (spoil_one, "NaN or infinite"),
        (widen, "asks for .* weights, but the weight files have"),
        (deepen, "num_hidden_layers is above"),
        (nest, "must be a number or a word"),
    ],
)
def test_what_does_not_fit_is_refused(change, told, checkpoint, tmp_path):
    folder = altered(checkpoint("dinov2"), tmp_path, change)
    with pytest.raises(ModelError, match=told):
        load_model(DENSE, folder, 0)


def test_another_kind_and_pickles_are_refused(checkpoint, tmp_path):
    with pytest.raises(ModelError, match="says model_type 'dinov2'"):
        load_model(SEGMENTERS, checkpoint("dinov2"), 0)
    (tmp_path / "config.json").write_text('{"model_type": "dinov2"}', encoding="utf-8")
    (tmp_path / "pytorch_model.bin").write_bytes(b"\x80")
    with pytest.raises(WeightsMissingError, match=r"lacks model\.safetensors"):
        load_model(DENSE, tmp_path, 0)


MILLIONS = {
    "grounding-dino": 172.250626,
    "sam_hq": 642.686256,
    "sam": 641.090864,
    "dinov2": 1136.480768,
    "vit": 21.670272,
}
"""Of numbers in the published sizes."""


@pytest.mark.parametrize("kind", SMALL)
def test_the_published_sizes(kind):
    known = SMALL[kind][0][kind]
    with torch.device("meta"):
        config = models._configuration(known, known.sizes)
        model = getattr(transformers, known.model)(config, **known.options)
    assert sum(value.numel() for value in model.parameters()) == round(1e6 * MILLIONS[kind])


def test_the_models_beside_clip_weigh_as_the_readme_says():
    there = ("grounding-dino", "sam_hq", "dinov2", "vit")
    assert round(4e-3 * sum(MILLIONS[kind] for kind in there), 1) == 7.9  # GB in float32


def test_random_weights_follow_the_seed(monkeypatch):
    small = models.Kind("ViTModel", "ViTConfig", {}, sizes=SMALL["vit"][1])
    first, again, other = (load_model({"vit": small}, "random", seed) for seed in (0, 0, 1))
    weights = [one.model.embeddings.cls_token for one in (first, again, other)]
    assert torch.equal(weights[0], weights[1])
    assert not torch.equal(weights[0], weights[2])


# --- masks ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("segmenter", ["sam_hq", "sam"])
def test_boxes_and_masks_of_small_models(segmenter, checkpoint):
    detector = load_model(DETECTORS, checkpoint("grounding-dino"), 0)
    segmenter = load_model(SEGMENTERS, checkpoint(segmenter), 0)
    finder = GroundedMasks(detector, segmenter, Question("", "MRI", 0.0), (), -1.0)
    assert finder.words == ["[CLS]", "mri", ".", "[SEP]"]
    image = torch.rand(3, 32, 32, generator=torch.Generator().manual_seed(0))
    finder.learn(image[None])
    boxes = finder.boxes(image)
    assert boxes.shape == (5, 4)
    assert (boxes[:, :2] <= boxes[:, 2:]).all()
    masks = finder(image)
    assert (masks.shape, masks.dtype) == ((5, 32, 32), torch.bool)
    assert torch.equal(finder(image), masks)
    strict = GroundedMasks(detector, segmenter, Question("", "MRI", 1.0), (), 0.0)
    assert strict(image).shape == (0, 32, 32)


class Boxed:
    """A segmenter whose mask of a box is the box."""

    config = SimpleNamespace(vision_config=SimpleNamespace(image_size=64))

    def __init__(self):
        self.asked = []

    def get_image_embeddings(self, pixels):
        assert pixels.shape == (1, 3, 64, 64)
        return pixels, ["inner"]

    def __call__(self, *, input_boxes, multimask_output, intermediate_embeddings, **image):
        assert not multimask_output
        assert intermediate_embeddings == ["inner"]
        self.asked.append(input_boxes.shape[1])
        place = torch.arange(16) + 0.5
        left, top, right, bottom = (input_boxes[0] / 4).T[:, :, None]
        columns, rows = (place > left) & (place < right), (place > top) & (place < bottom)
        found = (rows[:, :, None] & columns[:, None]).float() - 0.5
        return SimpleNamespace(pred_masks=found[None, :, None])


def test_a_mask_lies_where_its_box_is():
    finder = GroundedMasks.__new__(GroundedMasks)
    finder.segmenter, image = Boxed(), torch.rand(3, 32, 32)
    (mask,) = finder.segment(image, torch.tensor([[0.5, 0.25, 1, 0.5]]))
    expected = torch.zeros(32, 32, dtype=torch.bool)
    expected[8:16, 16:32] = True
    assert torch.equal(mask, expected)
    assert len(finder.segment(image, torch.tensor([[0, 0, 1.0, 1]]).expand(BOXES + 3, 4))) == 35
    assert finder.segmenter.asked == [1, BOXES, 3]


# --- patches --------------------------------------------------------------------------------------


@pytest.mark.parametrize(("kind", "side"), [("dinov2", 4), ("vit", 7)])
def test_patches_at_another_size_than_that_of_training(kind, side, checkpoint):
    reader = TransformerPatches(load_model(SMALL[kind][0], checkpoint(kind), 0), 56)
    images = torch.rand(2, 3, 40, 40, generator=torch.Generator().manual_seed(0))
    patches = reader(images)
    assert patches.shape == (2, side, side, 16)
    torch.testing.assert_close(patches.norm(dim=-1), torch.ones(2, side, side))
    torch.testing.assert_close(reader(images[1:]), patches[1:], atol=1e-5, rtol=0)


@torch.no_grad()
def test_clip_is_read_on_two_paths(tiny_backbone, pictures):
    pixels = tiny_backbone.preprocessing(pictures[0][:3])
    settings = UniVADSettings(blocks=(8, 24), local=8)  # of 6 blocks the second, the last; two
    tokens = ClipReader(tiny_backbone, settings)(pixels)
    tower = tiny_backbone.image
    hidden, state = tower.embed(pixels)
    after = [hidden]
    for index in range(1, 7):
        after.append(tower.block(index, after[-1], state))

    def unit(value):
        return value / value.norm(dim=-1, keepdim=True)

    for level, block in zip(tokens.levels.unbind(1), (2, 6), strict=True):
        torch.testing.assert_close(level, unit(after[block][:, 1:]))
    local = after[4] + tower.value_attention(5, after[4]) + tower.value_attention(6, after[5])
    projected = unit(local[:, 1:] @ tower.projection.weight.T)
    torch.testing.assert_close(tokens.local, projected, atol=1e-5, rtol=0)
    torch.testing.assert_close(tokens.embedding, tower(pixels), atol=1e-5, rtol=0)
    torch.testing.assert_close(tokens.mean, tokens.levels[:, 1].mean(dim=1))


def test_every_kind_can_be_fetched():
    assert {*DETECTORS, *SEGMENTERS, *DENSE, *CONTEXT} == set(NETWORKS)


def test_a_tower_whose_blocks_are_closed_is_refused(tiny_backbone):
    closed = SimpleNamespace(image=None, text=tiny_backbone.text, name="closed")
    with pytest.raises(InputError, match="UniVAD reaches into the blocks"):
        ClipReader(closed, UniVADSettings())
