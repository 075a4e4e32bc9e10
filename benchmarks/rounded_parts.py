"""Which part of the embedded backbone does bfloat16 cost what it knows?

Run ``python -m benchmarks.rounded_parts`` (a minute). One part after the other runs in bfloat16,
all others in float32; printed are the smallest cosines with the whole tower in float32 of images'
embeddings, evidence and patches, over phantoms of brain, chest and OCT.
"""

from __future__ import annotations

import copy
from collections.abc import Sequence
from dataclasses import fields, is_dataclass, replace
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import cosine_similarity, normalize

from sdmad import load_backbone
from sdmad.backbones.transformer import ImageTransformer
from sdmad.phantoms.cases import STUDIED, draw_cases, load_modality

IMAGES, SEED = 24, 12  # of each modality
PARTS = {
    "trunk": ("trunk",),
    "trunk: stem": ("trunk.stem",),
    **{f"trunk: stage {i + 1}": (f"trunk.stages.{i}",) for i in range(7)},
    "patch embedding": ("patch",),
    "all blocks": tuple(f"blocks.{i}" for i in range(4)),
    "norms before and after": ("norm_before", "norm_after"),
    "projection": ("projection",),
    "all but the trunk": (
        *("patch", "norm_before", "norm_after", "projection"),
        *(f"blocks.{i}" for i in range(4)),
    ),
}


def as_type(values: Any, dtype: torch.dtype) -> Any:
    """Tensors of numbers, or those of a data class, in a type."""
    if is_dataclass(values):
        parts = {one.name: as_type(getattr(values, one.name), dtype) for one in fields(values)}
        return replace(values, **parts)  # type: ignore[type-var]
    return values.to(dtype) if isinstance(values, Tensor) else values


def rounded(tower: ImageTransformer, parts: Sequence[str]) -> ImageTransformer:
    """A copy of a tower of which some parts run in bfloat16, and give float32 on."""
    tower = copy.deepcopy(tower)
    for name in parts:
        part = tower.get_submodule(name).to(torch.bfloat16)
        part.register_forward_pre_hook(_take_bfloat16)
        part.register_forward_hook(_give_float32)
    return tower


def _take_bfloat16(part: nn.Module, given: tuple[Any, ...]) -> tuple[Any, ...]:
    del part
    return tuple(as_type(one, torch.bfloat16) for one in given)


def _give_float32(part: nn.Module, given: tuple[Any, ...], found: Any) -> Any:
    del part, given
    return as_type(found, torch.float32)


def knowledge(tower: ImageTransformer, pixels: Tensor) -> list[Tensor]:
    """Embeddings, evidence and patches of images, rows of vectors."""
    hidden, state = tower.run(pixels)
    patches = normalize(tower.project(hidden[:, 1:]), dim=-1)
    return [tower.pool(hidden, state), tower.evidence(hidden, state), patches.flatten(0, 1)]


@torch.no_grad()
def main() -> None:
    """A row for each part."""
    backbone = load_backbone("lite")
    tower = backbone.image
    assert isinstance(tower, ImageTransformer)
    cases = [case for name in STUDIED for case in draw_cases(load_modality(name), IMAGES, SEED)]
    pixels = backbone.preprocessing([case.image for case in cases])
    expected = knowledge(tower, pixels)
    print("| in bfloat16 | embedding | evidence | patches |\n| --- | ---: | ---: | ---: |")
    for name, parts in PARTS.items():
        found = knowledge(rounded(tower, parts), pixels)
        both = zip(found, expected, strict=True)
        least = [float(cosine_similarity(*pair).min()) for pair in both]
        print(f"| {name} |", " | ".join(f"{cosine:.4f}" for cosine in least), "|", flush=True)


if __name__ == "__main__":
    main()
