"""Fixtures that several rooms share: small random CLIPs, pictures, a fitted detector."""

import json
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from PIL import Image
from tokenizers import pre_tokenizers
from transformers import CLIPConfig, CLIPModel, CLIPTokenizer

from sdmad import SDMAD, SDMADConfig, SignBank
from sdmad.backbones import Backbone, load_backbone
from tests.hub_server import HubServer, point_at

IMAGE_MEAN = [0.35, 0.4, 0.45]
IMAGE_STD = [0.25, 0.27, 0.29]


def write_checkpoint(
    folder: Path,
    *,
    image_depth: int = 6,
    text_depth: int = 4,
    width: int = 32,
    image_size: int = 32,
    patch_size: int = 8,
    context_length: int = 24,
    end_token: int | None = None,
    seed: int = 0,
) -> Path:
    """Write a random CLIP with its tokenizer and preprocessor configuration.

    The tokenizer knows every byte, alone and at the end of a word, and no merge, so every text
    has tokens. ``end_token`` is the ``eos_token_id`` of the configuration; the tokenizer's own
    when not given. The end-of-text token has the largest number, as in OpenAI's vocabulary.
    """
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    symbols = [*alphabet, *(a + "</w>" for a in alphabet), "<|startoftext|>", "<|endoftext|>"]
    tokenizer = CLIPTokenizer(
        vocab={symbol: i for i, symbol in enumerate(symbols)},
        merges=[],
        model_max_length=context_length,
    )
    tower = {
        "hidden_size": width,
        "intermediate_size": 2 * width,
        "num_attention_heads": 2,
        "projection_dim": 16,
        # Larger random weights than usual, so that a block's mistake is not lost in rounding.
        "initializer_factor": 3.0,
    }
    config = CLIPConfig(
        text_config={
            **tower,
            "num_hidden_layers": text_depth,
            "vocab_size": len(symbols),
            "max_position_embeddings": context_length,
            "bos_token_id": tokenizer.bos_token_id,
            "eos_token_id": tokenizer.eos_token_id if end_token is None else end_token,
            "pad_token_id": tokenizer.pad_token_id,
        },
        vision_config={
            **tower,
            "num_hidden_layers": image_depth,
            "image_size": image_size,
            "patch_size": patch_size,
        },
        projection_dim=16,
    )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        CLIPModel(config).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    preprocessor = {"image_mean": IMAGE_MEAN, "image_std": IMAGE_STD}
    (folder / "preprocessor_config.json").write_text(json.dumps(preprocessor), encoding="utf-8")
    return folder


@pytest.fixture(scope="session")
def make_clip(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Path]:
    """Write a small random CLIP checkpoint; takes :func:`write_checkpoint`'s keywords."""

    def make(**settings: int) -> Path:
        return write_checkpoint(tmp_path_factory.mktemp("clip"), **settings)

    return make


@pytest.fixture(scope="session")
def tiny_clip(make_clip: Callable[..., Path]) -> Path:
    """A small random CLIP checkpoint that no test may alter: 6 image and 4 text blocks, 32 px."""
    return make_clip()


@pytest.fixture(scope="session")
def small_bank() -> SignBank:
    """Three categories of two signs each."""
    return SignBank(
        "small",
        "picture",
        ("a plain picture", "a picture without any mark"),
        {
            "Ring": ("a round ring", "an open circle"),
            "Bar": ("a long bar", "an upright line"),
            "Dots": ("many dots", "scattered points"),
        },
    )


@pytest.fixture(scope="session")
def tiny_backbone(tiny_clip: Path) -> Backbone:
    """The small random CLIP, loaded."""
    return load_backbone(tiny_clip)


def draw_picture(marks: tuple[int, ...], seed: int, size: int = 32) -> NDArray[np.uint8]:
    """Noise with a ring (0), a bar (1) or dots (2) in it."""
    rng = np.random.default_rng(seed)
    picture = rng.normal(70, 15, (size, size))
    y, x = np.mgrid[:size, :size] - size / 2
    if 0 in marks:
        picture[np.abs(np.hypot(y, x) - 9) < 2] += 110
    if 1 in marks:
        picture[:, 5:8] += 110
    if 2 in marks:
        picture[3::8, 3::8] += 150
    return np.clip(picture, 0, 255).astype(np.uint8)


MARKS = ((0,), (1,), (2,), (0, 1), (), ())


def draw_pictures(count: int, seed: int = 0) -> tuple[list[NDArray[np.uint8]], NDArray[np.float64]]:
    """Pictures with one mark, two marks or none, and their labels ``(n, 3)``."""
    marks = [MARKS[i % len(MARKS)] for i in range(count)]
    pictures = [draw_picture(m, 1000 * seed + i) for i, m in enumerate(marks)]
    return pictures, np.array([[float(k in m) for k in range(3)] for m in marks])


@pytest.fixture(scope="session")
def pictures() -> tuple[list[NDArray[np.uint8]], NDArray[np.float64]]:
    """Twelve pictures and their labels."""
    return draw_pictures(12)


@pytest.fixture(scope="session")
def fitted(
    small_bank: SignBank,
    tiny_backbone: Backbone,
    pictures: tuple[list[NDArray[np.uint8]], NDArray[np.float64]],
) -> SDMAD:
    """A detector of two epochs that no test may alter."""
    detector = SDMAD(small_bank, tiny_backbone, SDMADConfig(epochs=2), seed=3)
    return detector.fit(*pictures, patients=[f"patient-{i // 2}" for i in range(12)])


@pytest.fixture(scope="session")
def model_folder(fitted: SDMAD, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The fitted detector on disk; copy it before altering anything."""
    folder = tmp_path_factory.mktemp("models") / "model"
    fitted.save(folder)
    return folder


def write_data(folder: Path, count: int = 24, seed: int = 0, split: bool = False) -> Path:
    """Write pictures, two a patient, and their table; returns ``labels.csv``."""
    folder.mkdir(parents=True, exist_ok=True)
    pictures, labels = draw_pictures(count, seed)
    names = ("Ring", "Bar", "Dots")
    lines = ["file,patient,labels" + (",split" if split else "")]
    for i, (picture, row) in enumerate(zip(pictures, labels, strict=True)):
        Image.fromarray(picture).save(folder / f"{i:03d}.png")
        said = "|".join(n for n, v in zip(names, row, strict=True) if v) or "normal"
        side = f",{'train' if i < count // 2 else 'test'}" if split else ""
        lines.append(f"{i:03d}.png,person{i // 2},{said}{side}")
    table = folder / "labels.csv"
    table.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return table


@pytest.fixture(scope="session")
def make_data() -> Callable[..., Path]:
    """Write a folder of pictures with their table; :func:`write_data`'s arguments."""
    return write_data


@pytest.fixture(scope="session")
def small_bank_file(small_bank: SignBank, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The small bank as YAML."""
    path = tmp_path_factory.mktemp("banks") / "small.yaml"
    path.write_text(small_bank.to_yaml(), encoding="utf-8")
    return path


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[HubServer]:
    """A hub without repositories on this machine; its client has empty caches and no token."""
    with HubServer() as server:
        point_at(server.url, monkeypatch, tmp_path / "caches")
        yield server
