"""Step 1 of UniVAD's component clustering: masks of the things in an image, and what it is like.

Grounding DINO finds boxes of what it is asked for, SAM-HQ a mask in each.
"""

from __future__ import annotations

from collections.abc import Sequence
from enum import Enum
from typing import Protocol

import torch
from torch import Tensor
from torch.nn.functional import interpolate
from transformers.image_transforms import center_to_corners_format

from sdmad.backbones.bert import read_bert_words
from sdmad.baselines.components.pseudo import Brightness
from sdmad.baselines.components.trunk import IMAGENET_MEAN, IMAGENET_STD
from sdmad.baselines.univad.models import Loaded
from sdmad.baselines.univad.settings import Question

DETECTOR_SIDE = 800
"""Of a square; Grounding DINO reads images whose shorter side has so many pixels."""
BOXES = 32
"""That SAM's decoder answers at once."""
RANDOM_WORDS = (101, 102)
"""A sentence for random weights, which have no tokenizer: BERT's first and last token."""
LONGEST = 256

standardise = Brightness(IMAGENET_MEAN, IMAGENET_STD).standardise


class Gate(Enum):
    """How the images of a kind are compared."""

    TEXTURE = "as a whole"
    SINGLE = "as one thing"
    MULTI = "as several components"


class MaskFinder(Protocol):
    """Finds the things in images."""

    def learn(self, values: Tensor) -> None:
        """Look at the normal images, channel values ``(n, 3, H, H)`` in [0, 1]."""
        ...

    def __call__(self, values: Tensor) -> Tensor:
        """Masks ``(m, H, H)``, boolean, of one image's channel values ``(3, H, H)``."""
        ...


def large_enough(masks: Tensor, least: float) -> Tensor:
    """Those masks that cover more than a share of the image.

    >>> large_enough(torch.tensor([[[1, 1], [0, 0]], [[1, 0], [0, 0]]]).bool(), 0.25).shape[0]
    1

    Args:
        masks: boolean ``(m, H, W)``.
        least: share of the image.
    """
    return masks[masks.flatten(1).float().mean(dim=1) > least]


def gate_of(masks: Tensor, whole: float, few: int) -> Gate:
    """What the masks of the first reference make of all images.

    Args:
        masks: boolean ``(m, H, W)``.
        whole: share of the image above which the largest makes it a texture.
        few: masks that a texture has at most.
    """
    if len(masks) == 0:
        return Gate.TEXTURE
    largest = float(masks.flatten(1).float().mean(dim=1).max())
    if largest > whole and len(masks) <= few:
        return Gate.TEXTURE
    return Gate.SINGLE if len(masks) == 1 else Gate.MULTI


def caption(prompt: str) -> str:
    """A prompt as Grounding DINO was trained on it.

    >>> caption(" Retina . object")
    'retina . object.'
    """
    words = prompt.lower().strip()
    return words if words.endswith(".") else f"{words}."


def kept_boxes(
    probability: Tensor,
    boxes: Tensor,
    words: Sequence[str],
    question: Question,
    background: Sequence[str],
) -> Tensor:
    """Boxes that are likely, and are not said to be background.

    Args:
        probability: of each box and word of the prompt, ``(q, T)``.
        boxes: centre, width and height as shares of the image, ``(q, 4)``.
        words: of the prompt, T.
        question: with the threshold.
        background: words of phrases that are left out.

    Returns:
        Corners x, y, x, y as shares of the image, ``(m, 4)``, likeliest first.
    """
    likely = probability > question.threshold
    found = []
    for row in probability.amax(dim=1).argsort(descending=True).tolist():
        said = {word for word, on in zip(words, likely[row].tolist(), strict=True) if on}
        if said and not said & set(background):
            found.append(row)
    return center_to_corners_format(boxes[found]).clamp(0, 1)


class GroundedMasks:
    """Grounding DINO and SAM-HQ.

    Args:
        detector: Grounding DINO.
        segmenter: SAM-HQ or SAM.
        question: what the detector is asked.
        background: words of phrases that are left out.
        least: share of the image that a mask must exceed.

    Raises:
        ModelError: if the detector's tokenizer is unreadable or another's.
    """

    def __init__(
        self,
        detector: Loaded,
        segmenter: Loaded,
        question: Question,
        background: Sequence[str],
        least: float,
    ) -> None:
        self.detector, self.segmenter = detector.model, segmenter.model
        self.question, self.background, self.least = question, tuple(background), least
        self.ids, self.words = torch.tensor([RANDOM_WORDS]), [""] * len(RANDOM_WORDS)
        if detector.folder is not None:
            text = self.detector.config.text_config
            known = read_bert_words(detector.folder, text.vocab_size, text.pad_token_id, LONGEST)
            self.ids = known.ids([caption(question.prompt)])
            self.words = known.tokenizer.convert_ids_to_tokens(self.ids[0].tolist())

    def learn(self, values: Tensor) -> None:
        """Nothing: these models know what a thing is."""

    @torch.no_grad()
    def __call__(self, values: Tensor) -> Tensor:
        """Masks ``(m, H, H)``, boolean, of one image's channel values ``(3, H, H)``."""
        boxes = self.boxes(values)
        if len(boxes) == 0:
            return values.new_zeros(0, *values.shape[1:], dtype=torch.bool)
        return large_enough(self.segment(values, boxes), self.least)

    def boxes(self, values: Tensor) -> Tensor:
        """Corners x, y, x, y as shares of the image, ``(m, 4)``."""
        said = self.detector(
            pixel_values=standardise(_resized(values, DETECTOR_SIDE)),
            input_ids=self.ids.to(values.device),
        )
        probability = said.logits[0, :, : len(self.words)].sigmoid()
        return kept_boxes(
            probability, said.pred_boxes[0], self.words, self.question, self.background
        )

    def segment(self, values: Tensor, boxes: Tensor) -> Tensor:
        """The thing in each box, boolean ``(m, H, H)``."""
        side = self.segmenter.config.vision_config.image_size
        found = self.segmenter.get_image_embeddings(standardise(_resized(values, side)))
        image, inner = found if isinstance(found, tuple) else (found, None)
        beside = {} if inner is None else {"intermediate_embeddings": inner}
        masks = []
        for part in boxes.split(BOXES):
            said = self.segmenter(
                image_embeddings=image,
                input_boxes=part[None] * side,
                multimask_output=False,
                **beside,
            )
            wide = interpolate(said.pred_masks[0], values.shape[-2:], mode="bilinear")
            masks.append(wide[:, 0] > 0)
        return torch.cat(masks)


def _resized(values: Tensor, side: int) -> Tensor:
    """One image ``(3, H, W)`` as a batch on a square of ``side``."""
    return interpolate(values[None], (side, side), mode="bilinear", antialias=True)
