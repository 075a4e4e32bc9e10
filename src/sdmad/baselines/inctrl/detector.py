"""InCTRL: how an image's patch and class tokens differ from those of normal images beside it.

Zhu and Pang, Toward Generalist Anomaly Detection via In-context Residual Learning with Few-shot
Sample Prompts, CVPR 2024. The heads that turn these differences into a score are trained on images
of other modalities; the support set gives the normal images to compare with.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import normalize

from sdmad.backbones import Backbone
from sdmad.baselines.components.anomaly import AnomalyDetector, OnePerCategory
from sdmad.baselines.components.minimise import take_step
from sdmad.baselines.components.once import Once
from sdmad.baselines.components.patch_maps import blocks_of, patches_a_side
from sdmad.baselines.components.published import is_published
from sdmad.baselines.components.state_prompts import compose, encode_states
from sdmad.baselines.inctrl.heads import (
    Heads,
    InCTRLSettings,
    focal_loss,
    nearest_cosines,
    patch_residuals,
    residuals_of,
)
from sdmad.baselines.registry import Auxiliary, Build, Recipe
from sdmad.baselines.winclip.detector import WinCLIPSettings
from sdmad.detector.base import Mask
from sdmad.errors import InputError

EMBED_BATCH = 16
SEARCHED = InCTRLSettings(temperature=25.0, epochs=3)
"""The best of eight on validation phantoms with the embedded backbone (docs/searched.md)."""

PROMPTS = WinCLIPSettings()  # its states and templates, which the authors take


@dataclass(frozen=True)
class Tokens:
    """What the frozen image tower says of n images.

    Attributes:
        patches: unit-length tokens of some blocks, ``(n, L, N, W)``.
        embedding: of the whole image, unit length, ``(n, D)``.
    """

    patches: Tensor
    embedding: Tensor

    def __len__(self) -> int:
        return len(self.embedding)

    def rows(self, choice: Tensor) -> Tokens:
        """Some of the images; the shape of ``choice`` takes the place of n."""
        return Tokens(self.patches[choice], self.embedding[choice])


class TokenReader:
    """Reads patch tokens behind some blocks, and the image's embedding.

    Args:
        backbone: with an image tower whose first token is the class token and whose others are a
            square of patches.
        blocks: of a tower of 24, moved to the tower's depth.

    Raises:
        InputError: if the tower is none of these, or has too few blocks.
    """

    def __init__(self, backbone: Backbone, blocks: Sequence[int]) -> None:
        self.backbone = backbone
        self.patches = patches_a_side(backbone, "InCTRL") ** 2
        self.blocks = blocks_of(backbone, blocks, "InCTRL")

    @torch.no_grad()
    def __call__(self, pixels: Tensor) -> Tokens:
        """Read pixel values ``(n, 3, H, W)``."""
        parts = [self._read(part) for part in pixels.to(self.backbone.device).split(EMBED_BATCH)]
        return Tokens(
            torch.cat([p.patches for p in parts]), torch.cat([p.embedding for p in parts])
        )

    def _read(self, pixels: Tensor) -> Tokens:
        tower, kept = self.backbone.image, []
        hidden, state = tower.embed(pixels)
        for index in range(1, tower.depth + 1):
            hidden = tower.block(index, hidden, state)
            if index in self.blocks:
                kept.append(normalize(hidden[:, 1:].float(), dim=-1))
        return Tokens(torch.stack(kept, dim=1), tower.pool(hidden, state))


class AbnormalPrompts:
    """The probability that an image's embedding is nearer to abnormal than to normal prompts.

    Args:
        backbone: whose text tower reads the prompts.
        temperature: of the cosines.
    """

    def __init__(self, backbone: Backbone, temperature: float) -> None:
        self.backbone, self.temperature = backbone, temperature
        self._features: dict[str, Tensor] = {}

    def __call__(self, embedding: Tensor, modality: str) -> Tensor:
        """Probability ``(n,)`` of embeddings ``(n, D)`` of images of a modality."""
        if modality not in self._features:
            self._features[modality] = encode_states(
                self.backbone,
                compose(PROMPTS.normal, PROMPTS.templates, modality),
                compose(PROMPTS.abnormal, PROMPTS.templates, modality),
            )
        cosine = embedding @ self._features[modality].T
        return (self.temperature * cosine).softmax(dim=1)[:, 1]


@dataclass(frozen=True)
class TrainingImages:
    """The auxiliary set as the frozen towers see it.

    Attributes:
        tokens: of n images.
        text: probability of the abnormal prompts, ``(n,)``.
        abnormal: boolean ``(n,)``.
        kind: number of its modality, ``(n,)``; each has two normal images or more.
    """

    tokens: Tokens
    text: Tensor
    abnormal: Tensor
    kind: Tensor

    def references(self, row: int) -> Tensor:
        """Rows of the other normal images of an image's modality."""
        beside = self.normal_of_kind(int(self.kind[row]))
        return beside[beside != row]

    def normal_of_kind(self, kind: int) -> Tensor:
        """Rows of the normal images of a modality."""
        return ((self.kind == kind) & ~self.abnormal).nonzero()[:, 0]

    @cached_property
    def reference_index(self) -> Tensor:
        """The number of a normal image among those of its modality, ``(n,)``."""
        index = torch.zeros(len(self.kind), dtype=torch.int64)
        for kind in self.kind.unique().tolist():
            normal = self.normal_of_kind(kind)
            index[normal] = torch.arange(len(normal))
        return index

    @cached_property
    def cosines(self) -> Tensor:
        """Nearest cosines of every image with every normal one of its modality, ``(n, R, L, N)``.

        The tokens are frozen, so that each pair is compared once; where a modality has fewer than
        R normal images the rest is -1.
        """
        normal = [self.normal_of_kind(kind) for kind in self.kind.unique().tolist()]
        shape = (len(self.kind), max(map(len, normal)), *self.tokens.patches.shape[1:3])
        found = torch.full(shape, -1.0, device=self.tokens.patches.device)
        for row, kind in enumerate(self.kind.tolist()):
            references = self.tokens.patches[normal[kind]]
            query = self.tokens.patches[row].expand(len(references), -1, -1, -1)
            found[row, : len(references)] = nearest_cosines(query, references[None])[0]
        return found

    def residuals(self, rows: Tensor, beside: Tensor) -> Tensor:
        """How far the patches of b images are from those beside them, ``(b, N)``.

        Args:
            rows: of the images, ``(b,)``.
            beside: rows of normal images of the same modality, ``(k, b)``.
        """
        return residuals_of(self.cosines[rows.expand_as(beside), self.reference_index[beside]])


class HeadTraining:
    """Trains heads on the auxiliary set, once for each number of references.

    Args:
        reader: of the frozen image tower.
        prompts: of the frozen text tower.
        auxiliary: gives the auxiliary set; called when heads are first asked for.
        settings: hyper-parameters.
        seed: of weights and draws.
    """

    def __init__(
        self,
        reader: TokenReader,
        prompts: AbnormalPrompts,
        auxiliary: Callable[[], Auxiliary],
        settings: InCTRLSettings,
        seed: int,
    ) -> None:
        self.reader, self.prompts, self.settings, self.seed = reader, prompts, settings, seed
        self._auxiliary = auxiliary
        self._trained: dict[int, tuple[Heads, list[float]]] = {}

    @cached_property
    def images(self) -> TrainingImages:
        """The auxiliary set in the frozen towers.

        Raises:
            InputError: if no modality has two normal images, or there is no abnormal one.
        """
        given = self._auxiliary()
        names = np.array(given.modalities or ["medical image"] * len(given.images))
        kinds = [k for k in dict.fromkeys(names) if (~given.abnormal[names == k]).sum() > 1]
        rows = np.flatnonzero(np.isin(names, kinds))
        if not given.abnormal[rows].any():
            raise InputError(
                "the auxiliary set needs abnormal images, and two normal ones of their modality"
            )
        tokens, text = [], []
        for row in rows:
            pixels = self.reader.backbone.preprocessing([given.images[row]])
            tokens.append(self.reader(pixels))
            text.append(self.prompts(tokens[-1].embedding, str(names[row])))
        return TrainingImages(
            Tokens(
                torch.cat([one.patches for one in tokens]),
                torch.cat([one.embedding for one in tokens]),
            ),
            torch.cat(text),
            torch.from_numpy(given.abnormal[rows]),
            torch.tensor([kinds.index(names[row]) for row in rows]),
        )

    def heads(self, references: int) -> tuple[Heads, list[float]]:
        """Heads trained with a number of normal images beside each image, and their losses.

        Args:
            references: at most ``most_references`` and one less than the normal images of a
                modality are taken.
        """
        images = self.images
        normal = images.kind[~images.abnormal].bincount()
        count = min(references, self.settings.most_references, int(normal.min()) - 1)
        if count not in self._trained:
            self._trained[count] = self._train(images, count)
        return self._trained[count]

    def _train(self, images: TrainingImages, count: int) -> tuple[Heads, list[float]]:
        settings = self.settings
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(self.seed)
            heads = Heads(images.tokens.embedding.shape[1], self.reader.patches, settings)
        heads.to(images.text.device).train()
        optimiser = torch.optim.AdamW(heads.parameters(), lr=settings.learning_rate)
        draws = torch.Generator().manual_seed(self.seed)
        log = []
        for _ in range(settings.epochs):
            total = 0.0
            for _ in range(settings.steps):
                loss = self._loss(heads, images, *self._draw(images, count, draws))
                total += take_step(optimiser, loss)
            log.append(total / settings.steps)
        return heads.eval(), log

    def _draw(
        self, images: TrainingImages, count: int, draws: torch.Generator
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Rows of a batch, its truth, and rows of its references ``(count, batch)``."""
        half = self.settings.batch_size // 2
        rows = []
        for abnormal, size in ((False, half), (True, self.settings.batch_size - half)):
            among = (images.abnormal == abnormal).nonzero()[:, 0]
            rows.append(among[torch.randint(len(among), (size,), generator=draws)])
        beside = []
        for row in torch.cat(rows).tolist():
            others = images.references(row)
            beside.append(others[torch.randperm(len(others), generator=draws)[:count]])
        truth = torch.cat([torch.full((len(r),), float(i)) for i, r in enumerate(rows)])
        return torch.cat(rows), truth, torch.stack(beside, dim=1)

    def _loss(
        self, heads: Heads, images: TrainingImages, rows: Tensor, truth: Tensor, beside: Tensor
    ) -> Tensor:
        embedding, residuals = images.tokens.embedding, images.residuals(rows, beside)
        scores = heads(embedding[rows], embedding[beside], residuals, images.text[rows])
        truth = truth.to(residuals.device)
        if self.settings.compat == "published":
            scores = tuple(torch.sigmoid(score) for score in scores)
        total, image = (focal_loss(score, truth, self.settings.gamma) for score in scores)
        return total + image


class InCTRL(AnomalyDetector):
    """Compares images with the normal images of the support set; learns nothing from the others.

    Args:
        training: gives the trained heads.
        reader: of the frozen image tower.
        modality: what the images are, such as ``"brain MRI"``.

    Attributes:
        heads_: trained on the auxiliary set with as many references as the support set has.
        references_: tokens of the normal support images.
        abnormal_: which of the support images are abnormal, ``(n,)``.
        log_: mean loss of each epoch of the heads' training.
    """

    needs_normal = True

    def __init__(
        self, training: HeadTraining, reader: Callable[[Tensor], Tokens], modality: str
    ) -> None:
        self.training, self.reader, self.modality = training, reader, modality
        self.heads_: Heads | None = None
        self.references_: Tokens | None = None
        self.abnormal_ = torch.zeros(0, dtype=torch.bool)
        self.log_: list[float] = []

    @property
    def learnt(self) -> tuple[Tensor, ...]:
        """The heads' weights."""
        return () if self.heads_ is None else tuple(self.heads_.parameters())

    def _fit(self, pixels: Tensor, abnormal: Tensor, masks: Sequence[Mask | None]) -> None:
        """Keep the tokens of the normal images; the abnormal ones and the masks are ignored."""
        del masks
        self.references_, self.abnormal_ = self.reader(pixels).rows(~abnormal), abnormal
        self.heads_, self.log_ = self.training.heads(len(self.references_))

    @torch.no_grad()
    def score_pixels(self, pixels: Tensor) -> Tensor:
        """Abnormality ``(n,)`` in [0, 1] of preprocessed images ``(n, 3, H, W)``."""
        assert self.references_ is not None
        return self._scores(self.reader(pixels), self.references_)

    @torch.no_grad()
    def support_scores(self, pixels: Tensor) -> Tensor:
        """Scores of the support images; a normal one is compared with the others only.

        The only normal image is compared with itself.
        """
        references = self.references_
        assert references is not None
        tokens, among = self.reader(pixels), torch.arange(len(references))
        place, found = 0, []
        for row, abnormal in enumerate(self.abnormal_.tolist()):
            others = references
            if not abnormal:
                others = references.rows(among[among != place]) if len(among) > 1 else references
                place += 1
            found.append(self._scores(tokens.rows(torch.tensor([row])), others))
        return torch.cat(found)

    def compared_with_itself(self, pixels: Tensor) -> Tensor:
        """Which support images are the only normal one, boolean ``(n,)``."""
        del pixels
        assert self.references_ is not None
        return ~self.abnormal_ if len(self.references_) == 1 else torch.zeros_like(self.abnormal_)

    def _scores(self, tokens: Tokens, references: Tokens) -> Tensor:
        assert self.heads_ is not None
        residuals = patch_residuals(tokens.patches, references.patches[:, None])
        text = self.training.prompts(tokens.embedding, self.modality)
        beside = references.embedding[:, None]
        scores: Tensor = self.heads_(tokens.embedding, beside, residuals, text)[0]
        return scores


def build_inctrl(build: Build, settings: InCTRLSettings | None = None) -> OnePerCategory:
    """One InCTRL a category; all share the trained heads and the frozen tower's tokens.

    Args:
        build: what it is built from.
        settings: hyper-parameters; as published when not given.

    Raises:
        InputError: if the backbone has no patch tokens, or ``compat`` is another word.
    """
    settings = settings or InCTRLSettings()
    is_published(settings.compat, "InCTRL", "the loss takes probabilities for logits")
    reader = TokenReader(build.backbone, settings.blocks)
    prompts = AbnormalPrompts(build.backbone, settings.temperature)
    training = HeadTraining(reader, prompts, build.auxiliary, settings, build.seed)
    shared = Once(reader)

    return OnePerCategory(
        build.bank.names, build.backbone, lambda _: InCTRL(training, shared, build.bank.modality)
    )


RECIPES = {"inctrl": Recipe(build_inctrl, InCTRLSettings(), SEARCHED)}
