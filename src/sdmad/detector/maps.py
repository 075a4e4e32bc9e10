"""Where an image looks like a sign: its patches in the adapted tower against the sign's text.

A patch's embedding is its token behind the last block, passed through the final norm and the
projection that were trained for the class token. Read as trained, the patches of many a CLIP point
the wrong way and their maps come out inverted, since attention in the last block gathers what
concerns the whole image. So in the last block every token attends to itself alone, as Zhou et al.
proposed for dense inference (MaskCLIP, ECCV 2022). ``docs/maps.md`` compares both, and others.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from math import isqrt

from torch import Tensor
from torch.nn.functional import normalize

from sdmad.backbones import Backbone
from sdmad.backbones.transformer import ImageTransformer
from sdmad.data.images import ImageSource, to_image
from sdmad.data.preprocessing import Preprocessing
from sdmad.detector.head import SignHead
from sdmad.errors import InputError
from sdmad.method.adapters import AdaptedTower
from sdmad.signs import SignBank

LOWEST, HIGHEST = -2.0, 2.0
"""No map leaves this range: cosines, and differences of two cosines."""


@dataclass(frozen=True)
class PatchMaps:
    """Maps of n images on the square grid of an image tower's patches.

    Attributes:
        signs: cosine of each patch with each sign, ``(n, S, h, h)``.
        categories: the kept signs of each category pooled as its score is, ``(n, K, h, h)``.
        anchor: cosine of each patch with the normal anchor, ``(n, h, h)``.
    """

    signs: Tensor
    categories: Tensor
    anchor: Tensor

    @property
    def anomaly(self) -> Tensor:
        """The best category above the anchor, ``(n, h, h)``: protocol 1's rule at each patch."""
        return self.categories.amax(dim=1) - self.anchor


def gives_maps(backbone: Backbone) -> bool:
    """Whether a backbone's image tower has what maps need: see :func:`check_gives_maps`."""
    return isinstance(backbone.image, ImageTransformer)


def check_gives_maps(backbone: Backbone) -> None:
    """Refuse a backbone whose patches cannot be read one by one.

    Raises:
        InputError: if its image tower is not a CLIP's vision transformer: a class token before a
            square grid of patches, which share its final norm and projection.
    """
    if not gives_maps(backbone):
        raise InputError(
            f"the backbone {backbone.name} gives no maps: they need an image tower with a class "
            "token before a square grid of patches, a CLIP in the transformers format; its own is "
            f"a {type(backbone.image).__name__}"
        )


def patch_features(image: AdaptedTower, pixels: Tensor, values: bool | None = None) -> Tensor:
    """Embed the patches of images in the space of the texts.

    Args:
        image: the adapted image tower, of a CLIP's vision transformer.
        pixels: shape ``(n, 3, H, H)``, on the tower's device and of its type.
        values: whether tokens attend to themselves alone in the last block; False is the plain
            reading, the block as it was trained. The tower's own way when not given.

    Returns:
        Unit length, float32, ``(n, P, D)``, row by row.

    Raises:
        InputError: if the tower is of another kind.
    """
    tower = image.tower
    if not isinstance(tower, ImageTransformer):
        raise InputError(f"a {type(tower).__name__} has no patches beside a class token")
    values = tower.local_values if values is None else values
    hidden, state = tower.embed(pixels)
    for index in range(1, tower.depth + 1):
        own = values and index == tower.depth
        hidden = tower.value_block(index, hidden) if own else tower.block(index, hidden, state)
        hidden = image.adapt(index, hidden)
    return normalize(tower.project(hidden[:, 1:]), dim=-1)


def patch_maps(
    backbone: Backbone, image: AdaptedTower, head: SignHead, pixels: Tensor
) -> PatchMaps:
    """Hold the patches of preprocessed images to the signs and the anchor.

    Args:
        backbone: whose image tower was adapted.
        image: the adapted image tower.
        head: the trained signs.
        pixels: shape ``(n, 3, H, H)``.

    Raises:
        InputError: if the image tower has no patches beside a class token.
    """
    check_gives_maps(backbone)
    return compare(head, patch_features(image, backbone.pixels(pixels)))


def compare(head: SignHead, features: Tensor) -> PatchMaps:
    """Hold patch features ``(n, P, D)``, P a square, to the signs and the anchor."""
    count, patches, _ = features.shape
    side = isqrt(patches)
    flat = features.flatten(0, 1)
    cosines = head.cosines(flat)

    def on_the_grid(values: Tensor) -> Tensor:
        return values.view(count, side, side, -1).permute(0, 3, 1, 2)

    return PatchMaps(
        on_the_grid(cosines),
        on_the_grid(head.pooled(cosines)),
        head.anchor_similarity(flat).view(count, side, side),
    )


def maps_of_image(
    image: ImageSource, preprocessing: Preprocessing, maps: Callable[[Tensor], PatchMaps]
) -> tuple[PatchMaps, tuple[int, int]]:
    """Maps of one image on the grid of patches, and the image's own height and width.

    Args:
        image: a path, a Pillow image or an array.
        preprocessing: how it becomes pixel values.
        maps: gives the maps of pixel values ``(1, 3, H, W)``.

    Raises:
        ImageError: if the image cannot be read.
    """
    picture = to_image(image, preprocessing.window)
    return maps(preprocessing([picture])), (picture.height, picture.width)


def sign_index(bank: SignBank, category: int, sentence: str) -> int:
    """The place of a category's sign among all signs of a bank.

    >>> bank = SignBank("b", "x", ("n",), {"A": ("s", "t"), "B": ("t",)})
    >>> sign_index(bank, 0, "t"), sign_index(bank, 1, "t")
    (1, 2)

    Args:
        bank: the signs.
        category: index of the category; a sentence may stand in several.
        sentence: the sign.
    """
    return list(zip(bank.category_index, bank.sentences, strict=True)).index((category, sentence))
