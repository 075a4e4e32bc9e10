"""The training loop of the nano backbone."""

from __future__ import annotations

import copy
import math
import time
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn.functional import normalize
from transformers import CLIPModel

from pretraining.corpus import Captions, Sentence
from pretraining.model import CONTEXT, SignHeads, normalise
from pretraining.objective import contrastive_loss, pairwise_loss, present_loss
from pretraining.pictures import Pictures
from pretraining.tokens import DroppingEncoder

FLIPS = ("brain", "oct")
PATCH_WEIGHT = 4.0
DROPPED_WORDS = 0.1


@dataclass(frozen=True)
class Recipe:
    """The settings of one pretraining run.

    Attributes:
        steps: optimiser steps.
        batch: images a step, all of one modality.
        learning_rate: peak of the cosine schedule of everything but the blocks' matrices.
        matrix_rate: peak of the schedule of the blocks' matrices.
        sign_share: share of the steps that train on signs of patches alone.
        compositions: sentences a step that claim what some image of the batch shows.
        strangers: sentences a step that speak of other modalities.
        average: decay of the running average of the weights, which is what is saved.
        seed: of everything that is drawn.
    """

    steps: int = 4600
    batch: int = 64
    learning_rate: float = 1.2e-3
    matrix_rate: float = 0.02
    sign_share: float = 0.12
    compositions: int = 12
    strangers: int = 4
    average: float = 0.998
    seed: int = 0


class Trainer:
    """Holds the model, the data and the sources of randomness of one run."""

    def __init__(
        self,
        model: CLIPModel,
        pictures: dict[str, Pictures],
        captions: dict[str, Captions],
        encoder: DroppingEncoder,
        recipe: Recipe,
    ) -> None:
        self.model, self.pictures, self.captions = model, pictures, captions
        self.encoder, self.recipe = encoder, recipe
        self.heads = SignHeads({n: len(p.modality.signs) for n, p in pictures.items()})
        self.scale = nn.Parameter(torch.tensor(math.log(10.0)))
        self.bias = nn.Parameter(torch.tensor(-3.0))
        self.local_scale = nn.Parameter(torch.tensor(math.log(10.0)))
        self.local_bias = nn.Parameter(torch.tensor(-3.0))
        self.rng = np.random.default_rng(recipe.seed)
        self.optimisers = self._optimisers()
        self.averaged = copy.deepcopy(model)

    def _optimisers(self) -> list[torch.optim.Optimizer]:
        """Muon for the blocks' matrices, AdamW for everything else.

        Muon (Jordan et al. 2024) needs about a third of the images that AdamW needs here.
        """
        recipe = self.recipe
        matrices = {
            name: p
            for name, p in self.model.named_parameters()
            if p.ndim == 2 and ".layers." in name
        }
        others = [p for name, p in self.model.named_parameters() if name not in matrices]
        scales = [self.scale, self.bias, self.local_scale, self.local_bias]
        plain = [p for p in others if p.ndim < 2] + scales
        decayed = [p for p in [*others, *self.heads.parameters()] if p.ndim > 1]
        plain += [p for p in self.heads.parameters() if p.ndim < 2]
        return [
            torch.optim.Muon(
                matrices.values(),
                lr=recipe.matrix_rate,
                weight_decay=0.01,
                momentum=0.95,
                ns_steps=4,
            ),
            torch.optim.AdamW(
                [
                    {"params": decayed, "weight_decay": 0.05},
                    {"params": plain, "weight_decay": 0.0},
                ],
                lr=recipe.learning_rate,
                betas=(0.9, 0.98),
            ),
        ]

    def _set_rates(self, step: int) -> None:
        recipe = self.recipe
        warm = min(1.0, (step + 1) / 100)
        cosine = 0.5 + 0.5 * math.cos(math.pi * step / recipe.steps)
        rates = (recipe.matrix_rate, recipe.learning_rate)
        for optimiser, rate in zip(self.optimisers, rates, strict=True):
            for group in optimiser.param_groups:
                group["lr"] = rate * warm * cosine

    def sentences(self, name: str, shown: list[frozenset[str]]) -> list[Sentence]:
        """Sentences for one batch: every sign, the normal state, compositions, strangers."""
        captions, rng = self.captions[name], self.rng
        claims: list[tuple[str, ...]] = [(sign,) for sign in captions.signs]
        claims += [()] * 3
        for index in rng.integers(len(shown), size=self.recipe.compositions):
            signs = sorted(shown[index] & set(captions.signs))
            count = min(len(signs), int(rng.integers(1, 3)))
            claims.append(tuple(rng.permutation(signs)[:count].tolist()))
        said = [captions.sentence(claim, rng) for claim in claims]
        others = [other for other in self.captions if other != name]
        for _ in range(self.recipe.strangers):
            stranger = self.captions[others[int(rng.integers(len(others)))]]
            sign = list(stranger.signs)[int(rng.integers(len(stranger.signs)))]
            said.append(stranger.sentence((sign,) if rng.random() < 0.8 else (), rng))
        return said

    def truth(self, said: list[Sentence], shown: list[frozenset[str]]) -> Tensor:
        """Which sentence is true of which image: boolean ``(images, sentences)``."""
        own = len(said) - self.recipe.strangers
        table = np.zeros((len(shown), len(said)), bool)
        for j, sentence in enumerate(said[:own]):
            for i, signs in enumerate(shown):
                table[i, j] = sentence.signs <= signs if sentence.signs else not signs
        return torch.from_numpy(table)

    def batch(self, name: str) -> tuple[Tensor, NDArray[np.bool_], Tensor]:
        """Images as pixel values, their signs, and the signs of their patches."""
        data, rng = self.pictures[name], self.rng
        rows = np.sort(rng.choice(len(data.images), self.recipe.batch, replace=False))
        images, patches = data.images[rows], data.patches[rows]
        if name in FLIPS and rng.random() < 0.5:
            images, patches = images[:, :, ::-1].copy(), patches[:, :, ::-1].copy()
        values = normalise(torch.from_numpy(images))[:, :1]
        contrast = torch.from_numpy(rng.uniform(0.8, 1.2, (len(rows), 1, 1, 1)).astype(np.float32))
        shift = torch.from_numpy(rng.uniform(-0.2, 0.2, (len(rows), 1, 1, 1)).astype(np.float32))
        pixels = (values * contrast + shift).expand(-1, 3, -1, -1)
        return pixels, data.signs[rows], torch.from_numpy(patches)

    def loss(self, name: str, progress: float) -> tuple[Tensor, dict[str, float]]:
        """The loss of one batch of a modality at a point of the run in [0, 1]."""
        pixels, signs, patches = self.batch(name)
        with torch.autocast("cpu", torch.bfloat16):
            tokens = self.model.vision_model(pixels).last_hidden_state
        tokens = self.model.vision_model.post_layernorm(tokens.float())
        embedded = self.model.visual_projection(tokens)
        places = patches.flatten(1, 2)
        on_signs = PATCH_WEIGHT * present_loss(
            self.heads.patch[name](tokens[:, 1:]), places
        ) + present_loss(self.heads.whole[name](embedded[:, 0]), torch.from_numpy(signs))
        if progress < self.recipe.sign_share:
            return on_signs, {"signs": on_signs.item()}
        columns = self.pictures[name].modality.signs
        shown = [frozenset(columns[i] for i in np.flatnonzero(row)) for row in signs]
        said = self.sentences(name, shown)
        text = self.embed_text(said)
        embedded = normalize(embedded, dim=-1)
        logits = self.scale.clamp(max=math.log(40.0)).exp() * embedded[:, 0] @ text.T
        truth = self.truth(said, shown)
        contrast = contrastive_loss(logits, truth)
        pairs = pairwise_loss(logits + self.bias, truth)
        local = self.local_loss(name, embedded[:, 1:], text, places)
        fade = 1 - 0.8 * (progress - self.recipe.sign_share) / (1 - self.recipe.sign_share)
        total = contrast + pairs + PATCH_WEIGHT * local + fade * on_signs
        parts = {"signs": on_signs, "contrast": contrast, "pairs": pairs, "local": local}
        return total, {key: value.item() for key, value in parts.items()}

    def embed_text(self, said: list[Sentence]) -> Tensor:
        """Unit-length embeddings ``(S, D)``."""
        ids = self.encoder.encode([s.text for s in said], self.rng, DROPPED_WORDS, CONTEXT)
        with torch.autocast("cpu", torch.bfloat16):
            pooled = self.model.text_model(torch.from_numpy(ids)).pooler_output
        return normalize(self.model.text_projection(pooled.float()), dim=-1)

    def local_loss(self, name: str, embedded: Tensor, text: Tensor, places: Tensor) -> Tensor:
        """Where is what the sentence says? Patches against the sentences of single signs.

        Args:
            name: the modality.
            embedded: unit-length patch embeddings, shape ``(n, T, D)``.
            text: the batch's sentences; the first ones speak of one sign each.
            places: which patch shows which sign, boolean, shape ``(n, T, P)``.
        """
        captions = self.captions[name]
        columns = [self.pictures[name].modality.signs.index(sign) for sign in captions.signs]
        logits = self.local_scale.exp() * embedded @ text[: len(columns)].T + self.local_bias
        return present_loss(logits, places[:, :, columns])

    @torch.no_grad()
    def _average(self, step: int) -> None:
        decay = min(self.recipe.average, (1 + step) / (10 + step))
        for slow, fast in zip(self.averaged.parameters(), self.model.parameters(), strict=True):
            slow.lerp_(fast, 1 - decay)

    def run(self) -> CLIPModel:
        """Train; returns the averaged model."""
        recipe = self.recipe
        names = list(self.pictures)
        weights = np.array([len(self.captions[n].signs) + 6 for n in names], float)
        start, recent = time.monotonic(), {}
        for step in range(recipe.steps):
            self._set_rates(step)
            name = names[int(self.rng.choice(len(names), p=weights / weights.sum()))]
            loss, parts = self.loss(name, step / recipe.steps)
            for optimiser in self.optimisers:
                optimiser.zero_grad()
            loss.backward()
            nn.utils.clip_grad_norm_(self.model.parameters(), 1.0)
            for optimiser in self.optimisers:
                optimiser.step()
            self._average(step)
            recent[name] = {
                key: 0.95 * recent.get(name, parts).get(key, value) + 0.05 * value
                for key, value in parts.items()
            }
            if (step + 1) % 100 == 0:
                seen = (step + 1) * recipe.batch
                rate = seen / (time.monotonic() - start)
                told = {n: {k: round(v, 3) for k, v in p.items()} for n, p in recent.items()}
                print(f"step {step + 1}/{recipe.steps}  {rate:.0f} images/s  {told}", flush=True)
        return self.averaged
