"""The training loop of the embedded backbone: everything but the trunk, which stays as it is."""

from __future__ import annotations

import copy
import math
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn.functional import cross_entropy, normalize

from pretraining.corpus import Captions, Sentence
from pretraining.model import CONTEXT, SignHeads
from pretraining.muon import Muon
from pretraining.objective import contrastive_loss, pairwise_loss, present_loss
from pretraining.pictures import Pictures
from pretraining.tokens import DroppingEncoder
from sdmad.backbones.lite import TrunkTransformer
from sdmad.backbones.transformer import TextTransformer
from sdmad.detector.precision import has_bfloat16

PATCH_WEIGHT, LOCAL_WEIGHT, PEAK_WEIGHT = 4.0, 2.0, 1.0
TEXT_SCALE = 15.0
DROPPED_WORDS = 0.1
KEPT_EVERY = 100  # steps between two checkpoints


@dataclass(frozen=True)
class Recipe:
    """The settings of one pretraining run.

    Attributes:
        steps: optimiser steps, shared by the modalities as the square roots of their pictures.
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

    steps: int = 7000
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
        image: TrunkTransformer,
        text: TextTransformer,
        pictures: dict[str, Pictures],
        captions: dict[str, Captions],
        encoder: DroppingEncoder,
        recipe: Recipe,
    ) -> None:
        self.towers = nn.ModuleDict({"image": image, "text": text})
        self.image, self.text = image, text
        self.pictures, self.captions = pictures, captions
        self.encoder, self.recipe = encoder, recipe
        self.columns = {
            name: [p.modality.signs.index(sign) for sign in captions[name].signs]
            for name, p in pictures.items()
        }
        self.heads = SignHeads({name: len(columns) for name, columns in self.columns.items()})
        self.heads.scale = nn.Parameter(torch.tensor(math.log(10.0)))
        self.heads.bias = nn.Parameter(torch.tensor(-3.0))
        self.rng = np.random.default_rng(recipe.seed)
        self.optimisers = self._optimisers()
        self.averaged = copy.deepcopy(self.towers)
        self.native = has_bfloat16(torch.device("cpu"))
        self.start, self.seconds = 0, 0.0

    def _optimisers(self) -> list[torch.optim.Optimizer]:
        """Muon for the image blocks' matrices, AdamW for everything else.

        Muon (Jordan et al. 2024) needs about a third of the images that AdamW needs here.
        """
        recipe = self.recipe
        matrices = [
            value for block in self.image.blocks for value in block.parameters() if value.ndim == 2
        ]
        taken = {id(value) for value in matrices}
        everything = [*self.towers.parameters(), *self.heads.parameters()]
        others = [p for p in everything if id(p) not in taken and p.requires_grad]
        decayed = [p for p in others if p.ndim > 1]
        plain = [p for p in others if p.ndim < 2]
        return [
            Muon(matrices, lr=recipe.matrix_rate),
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
        """The trunk's maps of some images, their signs, and the signs of their patches."""
        data = self.pictures[name]
        rows = np.sort(self.rng.choice(len(data), self.recipe.batch, replace=False))
        return data.maps_of(rows), data.signs[rows], torch.from_numpy(data.patches[rows])

    def embed_images(self, maps: Tensor) -> tuple[Tensor, Tensor]:
        """Tokens behind the final norm ``(n, T, W)`` and their unit-length embeddings."""
        hidden = self.image.arrange(self.image.patch(maps))
        with torch.autocast("cpu", torch.bfloat16, enabled=self.native):
            for block in self.image.blocks:
                hidden = block(hidden, causal=False)
        hidden = hidden.float()
        return self.image.norm_after(hidden), normalize(self.image.project(hidden), dim=-1)

    def loss(self, name: str, progress: float) -> tuple[Tensor, dict[str, float]]:
        """The loss of one batch of a modality at a point of the run in [0, 1]."""
        maps, signs, patches = self.batch(name)
        tokens, embedded = self.embed_images(maps)
        signs = signs[:, self.columns[name]]
        places = patches.flatten(1, 2)[:, :, self.columns[name]]
        states = torch.from_numpy(np.hstack([signs, ~signs.any(axis=1, keepdims=True)]))
        parts = self.sign_losses(name, tokens, embedded, states, places)
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
            logits = self.heads.scale.clamp(max=math.log(40.0)).exp() * cosine
            truth = self.truth(said, shown)
            parts["contrast"] = 0.5 * contrastive_loss(logits, truth)
            parts["pairs"] = 0.5 * pairwise_loss(logits + self.heads.bias, truth)
        total = torch.stack(list(parts.values())).sum()
        return total, {key: value.item() for key, value in parts.items()}

    def sign_losses(
        self, name: str, tokens: Tensor, embedded: Tensor, states: Tensor, places: Tensor
    ) -> dict[str, Tensor]:
        """Is the sign there? Asked of patches, of whole images, of images by their best patch.

        Args:
            name: the modality.
            tokens: behind the final norm, ``(n, T, W)``.
            embedded: unit length, ``(n, T, D)``.
            states: which signs each image shows, the normal state last, ``(n, P + 1)``.
            places: which signs each patch shows, ``(n, T - 1, P)``.
        """
        heads = self.heads
        cosine = embedded @ heads.directions(name).T
        local = cosine[:, 1:, :-1]
        peak = heads.logits("peak", name, local.amax(dim=1))
        return {
            "patch": PATCH_WEIGHT * present_loss(heads.patch[name](tokens[:, 1:]), places),
            "local": LOCAL_WEIGHT * present_loss(heads.logits("local", name, local), places),
            "peak": PEAK_WEIGHT * present_loss(peak, states[:, :-1]),
            "whole": present_loss(heads.logits("whole", name, cosine[:, 0]), states),
        }

    def embed_text(self, said: list[Sentence]) -> Tensor:
        """Unit-length embeddings ``(S, D)``."""
        ids = self.encoder.encode([s.text for s in said], self.rng, DROPPED_WORDS, CONTEXT)
        hidden, state = self.text.embed(torch.from_numpy(ids))
        with torch.autocast("cpu", torch.bfloat16, enabled=self.native):
            for index in range(1, self.text.depth + 1):
                hidden = self.text.block(index, hidden, state)
        return self.text.pool(hidden.float(), state)

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
        for slow, fast in zip(self.averaged.parameters(), self.towers.parameters(), strict=True):
            slow.lerp_(fast, 1 - decay)

    def _state(self) -> dict[str, Any]:
        return {
            "towers": self.towers.state_dict(),
            "averaged": self.averaged.state_dict(),
            "heads": self.heads.state_dict(),
            "optimisers": [optimiser.state_dict() for optimiser in self.optimisers],
            "random": self.rng.bit_generator.state,
            "step": self.start,
            "seconds": self.seconds,
        }

    def save(self, path: Path) -> None:
        """Write everything that going on needs; the file appears whole or not at all."""
        part = path.with_suffix(".part")
        torch.save(self._state(), part)
        part.replace(path)

    def resume(self, path: Path) -> None:
        """Go on from a checkpoint, if there is one."""
        if not path.exists():
            return
        state = torch.load(path, weights_only=True)
        self.towers.load_state_dict(state["towers"])
        self.averaged.load_state_dict(state["averaged"])
        self.heads.load_state_dict(state["heads"])
        for optimiser, stored in zip(self.optimisers, state["optimisers"], strict=True):
            optimiser.load_state_dict(stored)
        self.rng.bit_generator.state = state["random"]
        self.start, self.seconds = state["step"], state["seconds"]

    def step(self, number: int, name: str) -> dict[str, float]:
        """One step on a modality; the parts of its loss."""
        self._set_rates(number)
        loss, parts = self.loss(name, number / self.recipe.steps)
        for optimiser in self.optimisers:
            optimiser.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(self.towers.parameters(), 1.0)
        for optimiser in self.optimisers:
            optimiser.step()
        self._average(number)
        return parts

    def run(self, checkpoint: Path) -> tuple[TrunkTransformer, TextTransformer]:
        """Train; returns the averaged towers.

        Args:
            checkpoint: where to keep what going on needs.
        """
        self.resume(checkpoint)
        recipe, names = self.recipe, list(self.pictures)
        weights = np.sqrt([len(one) for one in self.pictures.values()])
        start = time.monotonic() - self.seconds
        recent: dict[str, dict[str, float]] = {}
        for number in range(self.start, recipe.steps):
            name = names[int(self.rng.choice(len(names), p=weights / weights.sum()))]
            parts = self.step(number, name)
            before = recent.get(name, parts)
            recent[name] = {
                key: 0.95 * before.get(key, value) + 0.05 * value for key, value in parts.items()
            }
            self.start = number + 1
            if self.start % KEPT_EVERY == 0 or self.start == recipe.steps:
                self.seconds = time.monotonic() - start
                self.save(checkpoint)
                rate = self.start * recipe.batch / self.seconds
                told = {n: {k: round(v, 3) for k, v in p.items()} for n, p in recent.items()}
                print(f"step {self.start}/{recipe.steps}  {rate:.0f} images/s  {told}", flush=True)
        image, text = self.averaged["image"], self.averaged["text"]
        assert isinstance(image, TrunkTransformer)
        assert isinstance(text, TextTransformer)
        return image, text
