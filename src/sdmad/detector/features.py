"""What an image tower says of images: all that scores are made of."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields
from typing import Any, Self

import torch
from torch import Tensor
from torch.nn.functional import normalize

from sdmad.backbones import Backbone
from sdmad.backbones.transformer import ImageTransformer
from sdmad.detector.config import SDMADConfig
from sdmad.errors import InputError
from sdmad.method.adapters import AdaptedTower


@dataclass(frozen=True)
class Wanted:
    """What of an image tower's output is read beside the embeddings.

    Attributes:
        evidence: what it knows before the projection.
        patches: the embeddings of the patches.
    """

    evidence: bool = False
    patches: bool = False


@dataclass(frozen=True)
class ImageFeatures:
    """What an image tower says of n images.

    Attributes:
        embedding: unit length, ``(n, D)``.
        evidence: what the tower knows before the projection, ``(n, E)``; None where nothing reads
            it.
        patches: unit-length embeddings of the patches, ``(n, P, D)``; None where nothing reads
            them.
    """

    embedding: Tensor
    evidence: Tensor | None = None
    patches: Tensor | None = None

    def __len__(self) -> int:
        return len(self.embedding)

    def rows(self, choice: Any) -> Self:
        """Those of some of the images.

        Args:
            choice: indices or a mask, as a tensor is indexed.
        """
        beside = (None if part is None else part[choice] for part in (self.evidence, self.patches))
        return type(self)(self.embedding[choice], *beside)

    @classmethod
    def join(cls, parts: Sequence[Self]) -> Self:
        """Concatenate along the images."""

        def joined(name: str) -> Any:
            found = [getattr(part, name) for part in parts]
            return None if found[0] is None else torch.cat(found)

        return cls(*(joined(field.name) for field in fields(cls)))


def finish(image: AdaptedTower, frozen: Tensor, state: Any, wanted: Wanted) -> ImageFeatures:
    """Run an adapted image tower to its end, for no more than is wanted.

    Args:
        image: the adapted tower.
        frozen: its :meth:`~sdmad.method.adapters.AdaptedTower.frozen_part`.
        state: the tower's own.
        wanted: what is read beside the embeddings; patches only of a tower that has them.
    """
    if not (wanted.evidence or wanted.patches):
        return ImageFeatures(image(frozen, state))
    tower: Any = image.tower
    last = image.finish(frozen, state)
    return ImageFeatures(
        tower.pool(last, state).float(),
        tower.evidence(last, state) if wanted.evidence else None,
        normalize(tower.project(last[:, 1:]), dim=-1) if wanted.patches else None,
    )


def reads_patches(backbone: Backbone, config: SDMADConfig) -> bool:
    """Whether signs are seen in patches on a backbone under some settings.

    Raises:
        InputError: if they shall be, and the backbone's patches were never taught what signs look
            like.
    """
    tower = backbone.image
    taught = isinstance(tower, ImageTransformer) and not tower.local_values
    if config.sign_view == "patch" and not taught:
        raise InputError(
            f"sign_view patch: the patches of the backbone {backbone.name} were never taught what "
            "signs look like; take image or auto"
        )
    return taught and config.sign_view != "image"
