"""What is published of UniVAD."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from sdmad.baselines.components.state_prompts import (
    ABNORMAL_STATES,
    NORMAL_STATES,
    PHOTO_TEMPLATES,
    SCENE_TEMPLATES,
    Phrases,
)


@dataclass(frozen=True)
class Question:
    """What Grounding DINO is asked about images of a kind.

    Attributes:
        kind: word of the modality by which images of the kind are known.
        prompt: phrases with full stops between them.
        threshold: probability that a box must exceed, and a word of its phrase too.
        mean: whether an image's score is its map's mean, not its maximum.
    """

    kind: str
    prompt: str
    threshold: float
    mean: bool = False


ANYTHING = Question("", "object", 0.35)
"""About kinds of images that the authors do not have."""

QUESTIONS = (
    Question("brain", "MRI", 0.2),
    Question("liver", "CT", 0.4),
    Question("retinal", "Retina . object", 0.35),
    Question("chest", "chest. Xray", 0.35),
    Question("histopathology", "texture . object . tissue", 0.35, mean=True),
    ANYTHING,
)


@dataclass(frozen=True)
class UniVADSettings:
    """The published values.

    Attributes:
        detector: Grounding DINO: a folder, a name on the hub, or ``"random"`` for its published
            size with random weights; so too the next three.
        segmenter: SAM-HQ, or SAM.
        dense: DINOv2, whose patches are compared beside CLIP's.
        context: DINO, whose patches are clustered.
        size: side in pixels of what the last two read.
        questions: what Grounding DINO is asked; the first whose kind stands in the modality.
        background: boxes of a phrase with one of these words are left out.
        least: share of the image above which a mask is a component.
        whole: share of the image above which the largest mask makes it a texture, if there are
            at most ``few``.
        few: see ``whole``.
        coreset: share of a reference's patches that are clustered.
        clusters: components that masks are joined to.
        reference_dilation: how much wider components of references are, as a share of the side.
        query_dilation: the same of the judged image.
        blocks: whose CLIP patches are compared, of a tower of 24.
        local: how many of the last blocks, of 24, have v-v attention in the second path.
        thing: how what is in the image is called.
        normal: how a normal thing is called.
        abnormal: how an abnormal thing is called.
        templates: sentences around a thing.
        scale: cosines with the sentences are multiplied by it.
    """

    detector: str | Path = "IDEA-Research/grounding-dino-tiny"
    segmenter: str | Path = "syscv-community/sam-hq-vit-huge"
    dense: str | Path = "facebook/dinov2-giant"
    context: str | Path = "facebook/dino-vits8"
    size: int = 448
    questions: tuple[Question, ...] = QUESTIONS
    background: tuple[str, ...] = ("background",)
    least: float = 0.001
    whole: float = 0.65
    few: int = 2
    coreset: float = 0.01
    clusters: int = 2
    reference_dilation: float = 20 / 448
    query_dilation: float = 5 / 448
    blocks: tuple[int, ...] = (6, 12, 18, 24)
    local: int = 6
    thing: str = "object"
    normal: Phrases = NORMAL_STATES
    abnormal: Phrases = ABNORMAL_STATES
    templates: Phrases = (*PHOTO_TEMPLATES, *SCENE_TEMPLATES)
    scale: float = 100.0

    def question(self, modality: str) -> Question:
        """What is asked about images of a modality.

        >>> UniVADSettings().question("chest X-ray").prompt
        'chest. Xray'
        >>> UniVADSettings().question("dermoscopy of the skin").prompt
        'object'
        """
        return next((q for q in self.questions if q.kind in modality.lower()), ANYTHING)
