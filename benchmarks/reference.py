"""SD-MAD as plainly as the paper reads: both whole towers at every step, float32, no shortcut.

Written independently of the package, on ``transformers`` alone, to check its results and to time it
against. Loops where the paper sums; pads every sentence to the whole context; scores images one by
one.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from transformers import CLIPModel, CLIPTokenizer


class Adapter(nn.Module):
    """Eq. 1 and 2."""

    def __init__(self, width: int, lam: float = 0.8) -> None:
        super().__init__()
        self.w1 = nn.Linear(width, int(0.75 * width), bias=False)
        self.w2 = nn.Linear(int(0.75 * width), width, bias=False)
        self.lam = lam

    def forward(self, f: Tensor) -> Tensor:
        """Interpolate a block's output with its adapted form."""
        alpha = nn.functional.leaky_relu
        return self.lam * f + (1 - self.lam) * alpha(self.w2(alpha(self.w1(f))))


class Reference(nn.Module):
    """Two towers with adapters, the loss of Eq. 5, the scores of Eq. 7 and the rule of Eq. 8.

    Args:
        folder: a CLIP checkpoint.
        image_blocks: blocks with an adapter, from 1.
        signs: the signs of each category.
        normal: the normal sentences.
        seed: of the adapters.
    """

    def __init__(
        self,
        folder: str,
        image_blocks: Sequence[int],
        signs: Sequence[Sequence[str]],
        normal: Sequence[str],
        seed: int = 0,
    ) -> None:
        super().__init__()
        whole = {"local_files_only": True, "dtype": torch.float32}
        self.clip = CLIPModel.from_pretrained(folder, **whole).eval()
        self.clip.requires_grad_(False)
        vision, text = self.clip.config.vision_config, self.clip.config.text_config
        torch.manual_seed(seed)
        self.image_adapters = nn.ModuleDict(
            {str(b): Adapter(vision.hidden_size) for b in image_blocks}
        )
        self.text_adapters = nn.ModuleDict({str(text.num_hidden_layers): Adapter(text.hidden_size)})
        tokenizer = CLIPTokenizer.from_pretrained(folder, local_files_only=True)
        sentences = [s for category in signs for s in category] + list(normal)
        encoded = tokenizer(
            sentences, padding="max_length", truncation=True,
            max_length=text.max_position_embeddings, return_tensors="pt",
        )  # fmt: skip
        self.tokens = encoded["input_ids"]
        self.ends = (self.tokens == tokenizer.eos_token_id).int().argmax(dim=1)
        self.category = [c for c, category in enumerate(signs) for _ in category]

    def image(self, pixels: Tensor) -> Tensor:
        """Unit-length image embeddings ``(n, D)``."""
        tower = self.clip.vision_model
        f = tower.pre_layrnorm(tower.embeddings(pixels, interpolate_pos_encoding=True))
        for i, block in enumerate(tower.encoder.layers, 1):
            f = block(f, None)
            if str(i) in self.image_adapters:
                f = self.image_adapters[str(i)](f)
        f = self.clip.visual_projection(tower.post_layernorm(f[:, 0]))
        return f / f.norm(dim=1, keepdim=True)

    def text(self) -> tuple[Tensor, Tensor]:
        """Unit-length sign embeddings ``(S, D)`` and the anchor ``(D,)``."""
        tower = self.clip.text_model
        f = tower.embeddings(input_ids=self.tokens)
        length = self.tokens.shape[1]
        mask = torch.full((length, length), -torch.inf).triu(1)[None, None]
        for i, block in enumerate(tower.encoder.layers, 1):
            f = block(f, mask)
            if str(i) in self.text_adapters:
                f = self.text_adapters[str(i)](f)
        f = tower.final_layer_norm(f[torch.arange(len(f)), self.ends])
        f = self.clip.text_projection(f)
        f = f / f.norm(dim=1, keepdim=True)
        signs, normal = f[: len(self.category)], f[len(self.category) :]
        anchor = normal.mean(dim=0)
        return signs, anchor / anchor.norm()

    def loss(self, pixels: Tensor, labels: Tensor) -> Tensor:
        """Eq. 3, 4 and 5 of a batch: pixels ``(n, 3, H, W)``, labels ``(n, K)`` of 1 and 0."""
        images, (signs, anchor) = self.image(pixels), self.text()
        total = images.new_zeros(())
        for f, label in zip(images, labels, strict=True):
            to_anchor = 1 - f @ anchor
            if not label.any():
                total = total + to_anchor  # a normal image: the anchor is its positive
            for sign, c in zip(signs, self.category, strict=True):
                d = 1 - f @ sign
                if label[c] == 1:
                    total = total + d + torch.relu(d - to_anchor)
                else:
                    total = total + torch.relu(to_anchor - d)
        return total / len(images)

    def fit(
        self, pixels: Tensor, labels: Tensor, epochs: int, batch: int = 8, seed: int = 0
    ) -> list[float]:
        """Adam over the adapters; returns the mean loss of each epoch."""
        adapters = [*self.image_adapters.parameters(), *self.text_adapters.parameters()]
        optimiser = torch.optim.Adam(adapters, lr=1e-3, betas=(0.5, 0.999))
        order = torch.Generator().manual_seed(seed)
        losses = []
        for _ in range(epochs):
            steps = []
            for rows in torch.randperm(len(pixels), generator=order).split(batch):
                loss = self.loss(pixels[rows], labels[rows])
                optimiser.zero_grad()
                loss.backward()
                optimiser.step()
                steps.append(loss.item())
            losses.append(sum(steps) / len(steps))
        return losses

    @torch.no_grad()
    def score(self, pixels: Tensor) -> tuple[Tensor, Tensor]:
        """Eq. 7 and 8 with Eq. 6's selection: scores ``(n, K)`` and decisions ``(n, K)``."""
        signs, anchor = self.text()
        kept = self.kept(signs)
        scores, found = [], []
        for pixel in pixels:
            f = self.image(pixel[None])[0]
            cosines = [[(f @ signs[s]).item() for s in mine] for mine in kept]
            scores.append([max(mine) for mine in cosines])
            found.append([min(mine) > (f @ anchor).item() for mine in cosines])
        return torch.tensor(scores), torch.tensor(found)

    def kept(self, signs: Tensor) -> list[list[int]]:
        """Indices of each category's signs that Eq. 6 keeps; of none the one nearest to it."""
        found = []
        for c in range(max(self.category) + 1):
            mine = [s for s, k in enumerate(self.category) if k == c]
            others = [s for s, k in enumerate(self.category) if k != c]
            margin = {}
            for s in mine:
                own = min((1 - signs[s] @ signs[t]).item() for t in mine if t != s)
                delta = min((1 - signs[s] @ signs[t]).item() for t in others)
                margin[s] = delta - own
            best = max(mine, key=lambda s: margin[s])
            found.append([s for s in mine if margin[s] > 0] or [best])
        return found
