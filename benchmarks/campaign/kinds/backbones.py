"""Backbones' folders with damaged files: CLIP, SigLIP and the embedded one's layout."""

from __future__ import annotations

import shutil
from pathlib import Path
from random import Random

import torch

from benchmarks.campaign.frame import READ
from benchmarks.campaign.material import damage_file
from benchmarks.random_clip import write_random_checkpoint
from sdmad.backbones import LITE_FOLDER, load_backbone

COUNT = 1000
WEIGHTS = 200_000_000
"""Bytes of a folder beyond which copying it a thousand times is no campaign."""

LAYOUTS = ("clip", "siglip", "lite")


def prepare(folder: Path) -> None:
    """Write a small random checkpoint of each kind."""
    (folder / "clip").mkdir()
    write_random_checkpoint(folder / "clip", "small")
    (folder / "siglip").mkdir()
    _write_siglip(folder / "siglip")
    shutil.copytree(LITE_FOLDER, folder / "lite")


def attack(random: Random, material: Path, place: Path) -> str:
    """Damage one file of a copy, load it, and embed a sentence and a picture."""
    source = material / random.choice(LAYOUTS)
    copy = place / source.name
    copy.mkdir()
    for path in source.iterdir():  # weights are linked, unless it is they that are damaged
        (copy / path.name).symlink_to(path)
    files = sorted(path.name for path in source.iterdir() if path.suffix != ".md")
    name = random.choice(files)
    (copy / name).unlink()
    shutil.copy(source / name, copy / name)
    damage_file(random, copy / name)
    backbone = load_backbone(copy)
    backbone.token_counts(["a small bright focus"])
    backbone.encode_text(["a small bright focus", "Ödem, 3 mm!"])
    size = backbone.preprocessing.size
    if size <= 512:  # larger ones are allowed, and slow
        backbone.encode_image(torch.zeros(1, 3, size, size))
    return READ


def _write_siglip(folder: Path) -> None:
    from tokenizers import Tokenizer, models, pre_tokenizers, processors
    from transformers import PreTrainedTokenizerFast, SiglipConfig, SiglipModel

    words = ["<pad>", "</s>", "<unk>", *"abcdefghijklmnopqrstuvwxyz0123456789,.!- "]
    tokenizer = Tokenizer(models.BPE({w: i for i, w in enumerate(words)}, [], unk_token="<unk>"))  # noqa: S106
    tokenizer.pre_tokenizer = pre_tokenizers.Split(" ", "isolated")
    tokenizer.post_processor = processors.TemplateProcessing(
        "$A </s>", special_tokens=[("</s>", 1)]
    )
    marks = {"pad_token": "<pad>", "eos_token": "</s>", "unk_token": "<unk>"}
    fast = PreTrainedTokenizerFast(tokenizer_object=tokenizer, **marks)
    fast.save_pretrained(folder)
    tower = {"hidden_size": 32, "intermediate_size": 48, "num_attention_heads": 2}
    text = {**tower, "num_hidden_layers": 2, "vocab_size": len(words), "projection_size": 32}
    vision = {**tower, "num_hidden_layers": 2, "image_size": 32, "patch_size": 8}
    SiglipModel(SiglipConfig(text_config=text, vision_config=vision)).save_pretrained(folder)
