"""Small random checkpoints in the formats of the hub, and the hub's cache."""

import hashlib
import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from huggingface_hub import constants
from tokenizers import Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, processors
from transformers import Siglip2Config, Siglip2Model, SiglipConfig, SiglipModel

LETTERS = "abcdefghijklmnopqrstuvwxyz0123456789"
SPACE = "▁"
COMMIT = "0123456789abcdef0123456789abcdef01234567"


def siglip_tokenizer() -> tuple[Tokenizer, dict]:
    """SigLIP's: unigrams over lower case without punctuation, the end token pads."""
    pieces = ["<pad>", "</s>", "<unk>", SPACE, *LETTERS, SPACE + "mass", "ring"]
    scores = [0.0, 0.0, 0.0, *(-3.0 - i / 100 for i in range(len(pieces) - 3))]
    tokenizer = Tokenizer(models.Unigram(list(zip(pieces, scores, strict=True)), unk_id=2))
    tokenizer.normalizer = normalizers.Sequence(
        [
            normalizers.Lowercase(),
            normalizers.Replace(Regex(r"[!-/:-@\[-`{-~]"), ""),
            normalizers.Replace(Regex(r"\s+"), " "),
            normalizers.Strip(),
        ]
    )
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace(replacement=SPACE, prepend_scheme="always")
    tokenizer.decoder = decoders.Metaspace(replacement=SPACE, prepend_scheme="always")
    tokenizer.post_processor = processors.TemplateProcessing(
        single="$A </s>", pair="$A </s> $B </s>", special_tokens=[("</s>", 1)]
    )
    settings = {
        "clean_up_tokenization_spaces": True,
        "do_lower_case": True,
        "eos_token": "</s>",
        "model_input_names": ["input_ids"],
        "pad_token": "</s>",
        "processor_class": "SiglipProcessor",
        "tokenizer_class": "SiglipTokenizer",
        "unk_token": "<unk>",
    }
    return tokenizer, settings


def gemma_tokenizer(*, lower_case: bool = False) -> tuple[Tokenizer, dict]:
    """SigLIP 2's: Gemma's byte-pair encoding with byte fallback, a pad token of its own."""
    words = ["<pad>", "<eos>", "<bos>", "<unk>", "<mask>"]
    words += [f"<0x{byte:02X}>" for byte in range(256)]
    words += [SPACE, *LETTERS, *LETTERS.upper()[:26], "ma", "ss", "mass"]
    merges = [("m", "a"), ("s", "s"), ("ma", "ss")]
    model = models.BPE(
        {word: i for i, word in enumerate(words)},
        merges,
        unk_token="<unk>",
        fuse_unk=True,
        byte_fallback=True,
    )
    tokenizer = Tokenizer(model)
    space = normalizers.Replace(" ", SPACE)
    tokenizer.normalizer = (
        normalizers.Sequence([normalizers.Lowercase(), space]) if lower_case else space
    )
    tokenizer.pre_tokenizer = pre_tokenizers.Split(" ", "merged_with_previous")
    tokenizer.decoder = decoders.Sequence(
        [decoders.Replace(SPACE, " "), decoders.ByteFallback(), decoders.Fuse()]
    )
    tokenizer.post_processor = processors.TemplateProcessing(
        single="$A <eos>", pair="$A <eos> $B <eos>", special_tokens=[("<eos>", 1)]
    )
    tokenizer.add_special_tokens(words[:5])
    settings = {
        "add_bos_token": False,
        "add_eos_token": True,
        "bos_token": "<bos>",
        "eos_token": "<eos>",
        "model_input_names": ["input_ids"],
        "pad_token": "<pad>",
        "padding_side": "right",
        "processor_class": "SiglipProcessor",
        "tokenizer_class": "GemmaTokenizer",
        "unk_token": "<unk>",
    }
    return tokenizer, settings


def write_siglip(
    folder: Path,
    *,
    version: int = 1,
    naflex: bool = False,
    lower_case: bool = False,
    image_depth: int = 5,
    text_depth: int = 4,
    image_size: int = 32,
    patch_size: int = 8,
    projection: int | None = None,
    shard_size: str = "5GB",
    seed: int = 0,
) -> Path:
    """Write a random SigLIP with the files and the keys that the hub's checkpoints have."""
    tokenizer, settings = (
        siglip_tokenizer() if version == 1 else gemma_tokenizer(lower_case=lower_case)
    )
    tower = {
        "hidden_size": 32,
        "intermediate_size": 48,
        "num_attention_heads": 2,
        "attention_dropout": 0.0,
        "hidden_act": "gelu_pytorch_tanh",
        "layer_norm_eps": 1e-06,
    }
    text = {
        **tower,
        "model_type": "siglip_text_model",
        "num_hidden_layers": text_depth,
        "vocab_size": tokenizer.get_vocab_size(),
        "max_position_embeddings": 24,
        "projection_size": projection or 32,
    }
    vision = {
        **tower,
        "model_type": "siglip_vision_model",
        "num_channels": 3,
        "num_hidden_layers": image_depth,
        "patch_size": patch_size,
    }
    if naflex:
        vision |= {"model_type": "siglip2_vision_model", "num_patches": 16}
        text |= {"model_type": "siglip2_text_model"}
    else:
        vision |= {"image_size": image_size}
    values = {"text_config": text, "vision_config": vision}
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = (
            Siglip2Model(Siglip2Config(**values)) if naflex else SiglipModel(SiglipConfig(**values))
        )
        with torch.no_grad():
            for name, parameter in model.named_parameters():
                if "norm" not in name and parameter.ndim > 1:
                    parameter.mul_(1.5)  # so that a block's mistake is not lost in rounding
                elif name.endswith("bias"):
                    parameter.normal_(std=0.1)
    model.save_pretrained(folder, max_shard_size=shard_size)
    config = {
        "architectures": [type(model).__name__],
        "initializer_factor": 1.0,
        "model_type": "siglip2" if naflex else "siglip",
        **values,
        "torch_dtype": "float32",
        "transformers_version": "4.49.0",
    }
    processor = {
        "do_normalize": True,
        "do_rescale": True,
        "do_resize": True,
        "image_mean": [0.5, 0.5, 0.5],
        "image_processor_type": "Siglip2ImageProcessor" if naflex else "SiglipImageProcessor",
        "image_std": [0.5, 0.5, 0.5],
        "resample": 3,
        "rescale_factor": 0.00392156862745098,
        **(
            {"max_num_patches": 256, "patch_size": patch_size}
            if naflex
            else {"size": {"height": image_size, "width": image_size}}
        ),
    }
    specials = {key: settings[key] for key in settings if key.endswith("_token")}
    specials = {key: value for key, value in specials.items() if isinstance(value, str)}
    for name, content in (
        ("config.json", config),
        ("preprocessor_config.json", processor),
        ("tokenizer_config.json", {**settings, "model_max_length": 24}),
        ("special_tokens_map.json", specials),
    ):
        (folder / name).write_text(json.dumps(content, indent=2), encoding="utf-8")
    tokenizer.save(str(folder / "tokenizer.json"))
    return folder


@pytest.fixture(scope="session")
def make_siglip(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Path]:
    """Write a small random SigLIP checkpoint; takes :func:`write_siglip`'s keywords."""

    def make(**settings: int) -> Path:
        return write_siglip(tmp_path_factory.mktemp("siglip"), **settings)

    return make


@pytest.fixture(scope="session")
def tiny_siglip(make_siglip: Callable[..., Path]) -> Path:
    """A small random SigLIP that no test may alter: 5 image and 4 text blocks, 32 px."""
    return make_siglip()


@pytest.fixture
def offline(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """No network and an empty cache, whose folder this is."""
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "fetched"))
    return tmp_path / "cache"


def put_into_cache(folder: Path, cache: Path, name: str) -> Path:
    """Lay a folder out as the hub's client does: blobs, a snapshot of links, a reference."""
    home = cache / f"models--{name.replace('/', '--')}"
    snapshot = home / "snapshots" / COMMIT
    snapshot.mkdir(parents=True)
    (home / "blobs").mkdir()
    (home / "refs").mkdir()
    (home / "refs" / "main").write_text(COMMIT, encoding="utf-8")
    for path in folder.iterdir():
        blob = home / "blobs" / hashlib.sha256(path.read_bytes()).hexdigest()
        shutil.copy(path, blob)
        (snapshot / path.name).symlink_to(Path("..") / ".." / "blobs" / blob.name)
    return snapshot


@pytest.fixture
def cached() -> Callable[[Path, Path, str], Path]:
    """Copy a checkpoint into a cache as the hub's; :func:`put_into_cache`'s arguments."""
    return put_into_cache
