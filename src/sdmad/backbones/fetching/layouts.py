"""How repositories lay a checkpoint out, and which of their files are needed."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from typing import Literal

from sdmad.backbones.files import INDEX, PICKLES
from sdmad.backbones.tokenizer_files import SENTENCEPIECE
from sdmad.errors import ModelError, WeightsMissingError

Kind = Literal["transformers", "open_clip", "bare"]
"""Whose format: ``bare`` is a file of weights alone."""

CONFIG, OPEN_CLIP_CONFIG = "config.json", "open_clip_config.json"
SAFETENSORS, OPEN_CLIP_SAFETENSORS = "model.safetensors", "open_clip_model.safetensors"
PICKLED, PICKLED_INDEX = "pytorch_model.bin", "pytorch_model.bin.index.json"
OPEN_CLIP_PICKLED = "open_clip_pytorch_model.bin"
TOKENIZERS = ("tokenizer.json", "vocab.json", "vocab.txt", SENTENCEPIECE, "tokenizer.model")
BESIDE = (
    *(CONFIG, OPEN_CLIP_CONFIG, "preprocessor_config.json", "processor_config.json", *TOKENIZERS),
    *("merges.txt", "tokenizer_config.json", "special_tokens_map.json", "added_tokens.json"),
    *("LICENSE", "LICENSE.txt", "LICENSE.md", "LICENCE", "NOTICE"),
)
"""What belongs to a checkpoint beside its weights."""

NETWORKS = ("dinov2", "grounding-dino", "sam", "sam_hq", "vit")
"""Types of model, no backbones, that compared systems take: UniVAD's. They take timm's too."""

_SHARD = re.compile(r"(?:pytorch_)?model-\d{5}-of-\d{5}\.(?:safetensors|bin)")


@dataclass(frozen=True)
class Layout:
    """What of a repository or a folder makes a backbone.

    Attributes:
        kind: whose format.
        weights: the files with weights; several where they are in shards.
        index: the file that says what lies in which shard, or None.
        beside: the other files.
    """

    kind: Kind
    weights: tuple[str, ...]
    index: str | None
    beside: tuple[str, ...]

    @property
    def pickled(self) -> bool:
        """Whether the weights have to be converted."""
        return self.weights[0].endswith(PICKLES)


def choose(names: Collection[str], where: str, kind: Kind | None = None) -> Layout:
    """Choose what is needed: safetensors where they are, else pickles.

    Args:
        names: of the files, without those in folders.
        where: for messages.
        kind: the format that was asked for; told by the files when None.

    Raises:
        WeightsMissingError: if there are no weights, or too many to choose from.
    """
    beside = tuple(name for name in BESIDE if name in names)
    by_kind = {"transformers": _transformers(names), "open_clip": _open_clip(names)}
    wanted: Kind
    for wanted in ("transformers", "open_clip"):
        found = by_kind[wanted]
        needs = CONFIG if wanted == "transformers" else OPEN_CLIP_CONFIG
        if found and needs in names and kind in (None, wanted):
            index = found[0] if found[0].endswith(".json") else None
            weights = tuple(found[1:]) if index else tuple(found)
            check_parts(weights, index, where)
            return Layout(wanted, weights, index, beside)
    bare = sorted(n for n in names if n.endswith((*PICKLES, ".safetensors")))
    if len(bare) == 1:
        check_parts(bare, None, where)
        return Layout("bare", tuple(bare), None, beside)
    if not bare:
        raise WeightsMissingError(
            f"{where} holds no weights (.safetensors, .bin, .pt, .pth); in folders inside it none "
            "are looked for"
        )
    raise WeightsMissingError(
        f"{where} holds several files of weights in no layout that is known: "
        f"{', '.join(bare[:5])}. Download the one that you want (hf download) and make a folder "
        "of it: sdmad backbone convert FILE --out FOLDER"
    )


def _transformers(names: Collection[str]) -> list[str]:
    """Weights in the format of ``transformers``, an index first."""
    for whole, index in ((SAFETENSORS, INDEX), (PICKLED, PICKLED_INDEX)):
        if whole in names:
            return [whole]
        if index in names:
            return [index, *shards(names, whole.rpartition(".")[2])]
    return []


def shards(names: Iterable[str], ending: str) -> tuple[str, ...]:
    """The files among others that hold a part of the weights each."""
    return tuple(sorted(n for n in names if _SHARD.fullmatch(n) and n.endswith(ending)))


def check_parts(weights: Collection[str], index: str | None, where: str) -> None:
    """Refuse an index without its files, and one of several files without their index.

    Args:
        weights: the files.
        index: the file that says what lies in which of them, or None.
        where: for messages.

    Raises:
        WeightsMissingError: if it is so.
    """
    if index and not weights:
        raise WeightsMissingError(f"{where} has {index}, and none of the files it is of")
    parts = [name for name in weights if _SHARD.fullmatch(name)]
    if parts and not index:
        ending = parts[0].rpartition(".")[2]
        raise WeightsMissingError(
            f"{where}: {parts[0]} is one of several files of weights, and has to be read with the "
            f"others by their index, {PICKLED_INDEX if ending == 'bin' else INDEX}"
        )


def _open_clip(names: Collection[str]) -> list[str]:
    known = (OPEN_CLIP_SAFETENSORS, "open_clip_pytorch_model.safetensors", OPEN_CLIP_PICKLED)
    return next(([name] for name in known if name in names), [])


def converted_name(name: str, kind: Kind) -> str:
    """What the safetensors of a pickle are called.

    >>> converted_name("pytorch_model-00001-of-00002.bin", "transformers")
    'model-00001-of-00002.safetensors'
    """
    if kind == "open_clip":
        return OPEN_CLIP_SAFETENSORS
    if _SHARD.fullmatch(name):
        return f"{name.removeprefix('pytorch_').rpartition('.')[0]}.safetensors"
    return SAFETENSORS


def kind_of_tensors(names: Iterable[str]) -> Kind:
    """Whose format weights are in, by the names of their tensors."""
    starts = {name.partition(".")[0] for name in names}
    if {"vision_model", "text_model"} <= starts:  # CLIP, SigLIP, MedCLIP
        return "transformers"
    if "visual" in starts and starts & {"transformer", "text", "token_embedding"}:
        return "open_clip"
    return "bare"


def network_of(config: Mapping[str, object]) -> str:
    """The network that a compared system takes, by its ``config.json``; "" where it is none.

    >>> network_of({"model_type": "dinov2"})
    'dinov2'
    >>> network_of({"architecture": "resnet18", "num_classes": 1000})
    "timm's resnet18"
    >>> network_of({"model_type": "clip"})
    ''
    """
    kind, architecture = config.get("model_type"), config.get("architecture")
    if kind is None and isinstance(architecture, str):
        return f"timm's {architecture[:80]}"
    return str(kind) if kind in NETWORKS else ""


def check_shards(index: dict[str, object], there: Collection[str], where: str) -> dict[str, str]:
    """An index's map of tensors to files, where every file is one of those there.

    Raises:
        ModelError: if it holds no such map, or names a file that is not there.
    """
    told = index.get("weight_map")
    if not isinstance(told, dict) or not told:
        raise ModelError(f"{where} has no weight_map; download it again")
    files = {str(name): str(file) for name, file in told.items()}
    if lost := sorted(set(files.values()) - set(there)):
        raise ModelError(f"{where} names {lost[0][:200]}, which is not there; download it again")
    return files
