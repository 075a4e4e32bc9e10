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
from torch.nn.functional import cross_entropy, normalize
from transformers import CLIPModel

from pretraining.corpus import Captions, Sentence
from pretraining.model import CONTEXT, SignHeads, normalise
from pretraining.objective import contrastive_loss, pairwise_loss, present_loss
from pretraining.pictures import Pictures
from pretraining.tokens import DroppingEncoder

FLIPS = ("brain", "oct")
PATCH_WEIGHT, LOCAL_WEIGHT = 4.0, 2.0
TEXT_SCALE = 15.0
DROPPED_WORDS = 0.1


@dataclass(frozen=True)
class Recipe:
    """The settings of one pretraining run.

    Attributes:
        steps: optimiser steps.
        batch: images a step, all of one modality.
        learning_rate: peak of the cosine schedule of everything but the blocks' matrices.
        matrix_rate: peak of the schedule of the blocks' matrices.
        sign_share: share of the steps in which both towers learn towards the prototypes alone,
            before they are set against each other.
        early: sentences a step until then.
        compositions: sentences a step that claim what some image of the batch shows.
        strangers: sentences a step that speak of other modalities.
        average: decay of the running average of the weights, which is what is saved.
        seed: of everything that is drawn.
    """

    steps: int = 3400
    batch: int = 64
    learning_rate: float = 1.5e-3
    matrix_rate: float = 0.02
    sign_share: float = 0.7
    early: int = 22
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
        self.columns = {
            name: [p.modality.signs.index(sign) for sign in captions[name].signs]
            for name, p in pictures.items()
        }
        self.heads = SignHeads({name: len(columns) for name, columns in self.columns.items()})
        self.scale = nn.Parameter(torch.tensor(math.log(10.0)))
        self.bias = nn.Parameter(torch.tensor(-3.0))
        self.rng = np.random.default_rng(recipe.seed)
        self.optimisers = self._optimisers()
        self.averaged = copy.deepcopy(model)

    def _optimisers(self) -> list[torch.optim.Optimizer]:
        """Muon for the image blocks' matrices, AdamW for everything else.

        Muon (Jordan et al. 2024) needs about a third of the images that AdamW needs here.
        """
        recipe = self.recipe
        matrices = {
            name: p
            for name, p in self.model.vision_model.named_parameters()
            if p.ndim == 2 and ".layers." in f".{name}"
        }
        taken = {id(p) for p in matrices.values()}
        others = [*self.model.parameters(), *self.heads.parameters(), self.scale, self.bias]
        others = [p for p in others if id(p) not in taken]
        decayed = [p for p in others if p.ndim > 1]
        plain = [p for p in others if p.ndim < 2]
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
            signs = sorted(shown[index])
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
        embedded = normalize(self.model.visual_projection(tokens), dim=-1)
        signs = signs[:, self.columns[name]]
        places = patches.flatten(1, 2)[:, :, self.columns[name]]
        states = torch.from_numpy(np.hstack([signs, ~signs.any(axis=1, keepdims=True)]))
        heads = self.heads
        parts = {
            "patch": PATCH_WEIGHT * present_loss(heads.patch[name](tokens[:, 1:]), places),
            "local": LOCAL_WEIGHT * present_loss(heads.local(name, embedded[:, 1:]), places),
            "whole": present_loss(heads.whole(name, embedded[:, 0]), states),
        }
        names = list(self.captions[name].signs)
        shown = [frozenset(names[i] for i in np.flatnonzero(row)) for row in signs]
        said = self.sentences(name, shown)
        joint = progress >= self.recipe.sign_share
        if not joint:
            said = [said[i] for i in self.rng.choice(len(said), self.recipe.early, replace=False)]
        text = self.embed_text(said)
        parts["text"] = self.text_loss(said, text)
        if joint:
            cosine = embedded[:, 0] @ text.T
            logits = self.scale.clamp(max=math.log(40.0)).exp() * cosine
            truth = self.truth(said, shown)
            parts["contrast"] = 0.5 * contrastive_loss(logits, truth)
            parts["pairs"] = 0.5 * pairwise_loss(logits + self.bias, truth)
        total = torch.stack(list(parts.values())).sum()
        return total, {key: value.item() for key, value in parts.items()}

    def embed_text(self, said: list[Sentence]) -> Tensor:
        """Unit-length embeddings ``(S, D)``."""
        ids = self.encoder.encode([s.text for s in said], self.rng, DROPPED_WORDS, CONTEXT)
        with torch.autocast("cpu", torch.bfloat16):
            pooled = self.model.text_model(torch.from_numpy(ids)).pooler_output
        return normalize(self.model.text_projection(pooled.float()), dim=-1)

    def text_loss(self, said: list[Sentence], text: Tensor) -> Tensor:
        """Bring each sentence to the prototypes of what it claims, among those of all modalities.

        Args:
            said: the sentences.
            text: their unit-length embeddings, shape ``(S, D)``.
        """
        directions = torch.cat([self.heads.directions(n) for n in self.captions]).detach()
        target = torch.zeros(len(said), len(directions))
        start = 0
        for other, captions in self.captions.items():
            names = list(captions.signs)
            for row, sentence in enumerate(said):
                if sentence.modality == other:
                    claimed = [names.index(s) for s in sentence.signs] or [len(names)]
                    target[row, [start + c for c in claimed]] = 1 / len(claimed)
            start += len(names) + 1
        return cross_entropy(TEXT_SCALE * text @ directions.T, target)

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
