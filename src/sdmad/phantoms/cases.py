"""Draw whole phantom cases: which categories, which signs, what acquisition."""

from __future__ import annotations

import importlib
import importlib.resources
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, get_args

import numpy as np
import yaml
from numpy.typing import NDArray
from threadpoolctl import threadpool_limits

from sdmad.choices import PhantomModality
from sdmad.errors import InputError
from sdmad.phantoms.acquisition import STYLES, acquire
from sdmad.phantoms.base import Mask, Modality

MODALITIES = get_args(PhantomModality)
STUDIED = ("brain", "chest", "oct")
"""What the studies and their pages are about, and what auxiliary sets are drawn of."""

SHARED_SIGN_PROBABILITY = 0.4
CATEGORY_COUNTS = (0.25, 0.45, 0.22, 0.08)
TWO_IMAGES = 0.1
MIN_SIZE, MAX_SIZE = 96, 2048


@dataclass(frozen=True)
class Case:
    """One phantom image and everything that is true of it.

    Attributes:
        image: 8-bit, shape ``(size, size)``, or ``(size, size, 3)`` of a modality in colour.
        categories: names of the categories present; empty for a normal image.
        signs: names of the signs drawn.
        masks: one boolean mask ``(size, size)`` for each sign.
        patient: number of the phantom patient; a second image of one shows the same anatomy.
    """

    image: NDArray[np.uint8]
    categories: tuple[str, ...]
    signs: tuple[str, ...]
    masks: dict[str, Mask]
    patient: int


def load_modality(name: str) -> Modality:
    """The modality called ``name``.

    Raises:
        InputError: if there is no such modality.
    """
    if name not in MODALITIES:
        raise InputError(f"no phantom modality {name!r}; there are {', '.join(MODALITIES)}")
    modality: Modality = importlib.import_module(f"sdmad.phantoms.{name}").MODALITY
    return modality


def load_wordings(name: str) -> dict[str, Any]:
    """The wordings that speak of a modality: its names, views, normal state and signs.

    Args:
        name: a phantom modality.
    """
    resource = importlib.resources.files("sdmad.phantoms") / "wordings" / f"{name}.yaml"
    words: dict[str, Any] = yaml.safe_load(resource.read_text(encoding="utf-8"))
    return words


def draw_categories(modality: Modality, rng: np.random.Generator) -> tuple[str, ...]:
    """Draw the categories of one image; none means a normal image."""
    counts = CATEGORY_COUNTS if modality.multi_label else (0.25, 0.75)
    count = int(rng.choice(len(counts), p=counts))
    names = sorted(modality.categories)
    return tuple(sorted(rng.choice(names, size=count, replace=False).tolist()))


def draw_signs(
    modality: Modality, categories: Sequence[str], rng: np.random.Generator
) -> tuple[str, ...]:
    """Draw the signs that the given categories show: at least one of each one's own.

    Raises:
        ValueError: if the modality's excluded pairs leave a category without any own sign.
    """
    chosen: list[str] = []

    def fits(sign: str) -> bool:
        return not any(frozenset((sign, other)) in modality.excludes for other in chosen)

    for name in categories:
        own = [str(sign) for sign in rng.permutation(modality.categories[name].own)]
        wanted = int(rng.integers(1, len(own) + 1))
        added = 0
        for sign in own:
            if added < wanted and fits(sign):
                chosen.append(sign)
                added += 1
        if added == 0:
            raise ValueError(f"{name} cannot show any own sign beside {chosen}")
    for name in categories:
        for sign in modality.categories[name].shared:
            if rng.random() < SHARED_SIGN_PROBABILITY and sign not in chosen and fits(sign):
                chosen.append(sign)
    return tuple(sorted(chosen))


def render_case(
    modality: Modality,
    signs: Sequence[str],
    style: str,
    size: int,
    seeds: tuple[int, int],
    view: str | None = None,
) -> tuple[NDArray[np.uint8], dict[str, Mask]]:
    """Draw one picture.

    Args:
        modality: what to draw.
        signs: the signs to draw into it.
        style: a key of :data:`~sdmad.phantoms.acquisition.STYLES`.
        size: side in pixels.
        seeds: seed of the anatomy with its signs, and of the acquisition.
        view: one of the modality's views; the main one when not given.

    Returns:
        The 8-bit image and one mask a sign.
    """
    image, masks = modality.render(
        np.random.default_rng(seeds[0]), signs, size, view or modality.main_view
    )
    rng = np.random.default_rng(seeds[1])
    return acquire(image, masks, rng, STYLES[style], modality.without)


def draw_cases(
    modality: Modality, images: int, seed: int, style: str = "test", size: int = 128
) -> Iterator[Case]:
    """Draw cases one by one; case ``i`` depends on the seed, the style and ``i`` alone.

    Args:
        modality: what to draw.
        images: how many.
        seed: any integer from 0; styles never share a case.
        style: ``"pretraining"``, ``"validation"``, ``"test"`` or ``"distant"``.
        size: side in pixels, 96 to 2048.

    Raises:
        InputError: if a value is out of range.
    """
    if style not in STYLES:
        raise InputError(f"no acquisition style {style!r}; there are {', '.join(STYLES)}")
    if not MIN_SIZE <= size <= MAX_SIZE:
        raise InputError(f"phantoms are {MIN_SIZE} to {MAX_SIZE} px, got {size}")
    if images < 1 or seed < 0:
        raise InputError(f"images must be at least 1 and seed at least 0, got {images} and {seed}")
    with threadpool_limits(1):  # the pictures are small: more threads only wait for each other
        yield from _draw(modality, images, (seed, list(STYLES).index(style)), style, size)


def _draw_findings(
    modality: Modality, rng: np.random.Generator
) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Categories and signs; drawn again where excluded pairs leave a category without its own."""
    while True:
        categories = draw_categories(modality, rng)
        try:
            return categories, draw_signs(modality, categories, rng)
        except ValueError:
            continue


def _draw(
    modality: Modality, images: int, seeds: tuple[int, int], style: str, size: int
) -> Iterator[Case]:
    patient, previous = -1, None
    for index in range(images):
        rng = np.random.default_rng([*seeds, index])
        again = previous is not None and rng.random() < TWO_IMAGES
        if not again or previous is None:
            patient += 1
            previous = (*_draw_findings(modality, rng), int(rng.integers(2**31)))
            second = False
        else:
            second = True
        categories, signs, anatomy = previous
        image, masks = render_case(
            modality, signs, style, size, (anatomy, int(rng.integers(2**31)))
        )
        if second:
            previous = None
        yield Case(image, categories, signs, masks, patient)
