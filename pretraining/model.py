"""The nano CLIP before training: whitened patches, sine-cosine positions."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn.functional import normalize
from transformers import CLIPConfig, CLIPModel, CLIPTokenizer

from pretraining.pictures import SIZE

PATCH = 16
WIDTH = 128
IMAGE_BLOCKS = 6
TEXT_BLOCKS = 4
CONTEXT = 48
MEAN, STD = 0.35, 0.27


def build_model(tokenizer: CLIPTokenizer) -> CLIPModel:
    """A CLIP of about two million parameters with random weights."""
    tower = {
        "hidden_size": WIDTH,
        "intermediate_size": 4 * WIDTH,
        "num_attention_heads": WIDTH // 32,
        "hidden_act": "gelu",
        "projection_dim": WIDTH,
    }
    return CLIPModel(
        CLIPConfig(
            text_config={
                **tower,
                "num_hidden_layers": TEXT_BLOCKS,
                "vocab_size": len(tokenizer),
                "max_position_embeddings": CONTEXT,
                "bos_token_id": tokenizer.bos_token_id,
                "eos_token_id": tokenizer.eos_token_id,
                "pad_token_id": tokenizer.pad_token_id,
            },
            vision_config={
                **tower,
                "num_hidden_layers": IMAGE_BLOCKS,
                "image_size": SIZE,
                "patch_size": PATCH,
            },
            projection_dim=WIDTH,
            # On a CPU, in bfloat16, the fused attention's backward pass takes twice as long.
            attn_implementation="eager",
        )
    )


def normalise(images: Tensor) -> Tensor:
    """8-bit grey ``(n, H, W)`` to pixel values ``(n, 3, H, W)``."""
    values = (images.float() / 255 - MEAN) / STD
    return values.unsqueeze(1).expand(-1, 3, -1, -1)


@torch.no_grad()
def whiten_patches(model: CLIPModel, images: NDArray[np.uint8]) -> None:
    """Set the patch embedding to the whitened principal components of the pictures' patches."""
    values = normalise(torch.from_numpy(images))[:, 0]
    patches = values.unfold(1, PATCH, PATCH).unfold(2, PATCH, PATCH).reshape(-1, PATCH * PATCH)
    covariance = torch.cov(patches.double().T)
    spectrum, vectors = torch.linalg.eigh(covariance)
    spectrum, vectors = spectrum.flip(0)[:WIDTH], vectors.flip(1)[:, :WIDTH]
    filters = (vectors / (spectrum + 1e-3 * spectrum[0]).sqrt()).T.float()
    weight = filters.reshape(WIDTH, 1, PATCH, PATCH).expand(-1, 3, -1, -1) / 3
    model.vision_model.embeddings.patch_embedding.weight.copy_(weight)


@torch.no_grad()
def set_positions(model: CLIPModel) -> None:
    """Start the image positions from two-dimensional sines and cosines."""
    side = SIZE // PATCH
    quarter = WIDTH // 4
    frequency = 1 / 50 ** (torch.arange(quarter) / quarter)
    y, x = torch.meshgrid(torch.arange(side), torch.arange(side), indexing="ij")
    angles = torch.cat(
        [axis.flatten()[:, None] * frequency for axis in (y.float(), x.float())], dim=1
    )
    table = torch.cat([angles.sin(), angles.cos()], dim=1) * 0.5
    weight = model.vision_model.embeddings.position_embedding.weight
    weight[0] = 0
    weight[1:] = table


class SignHeads(nn.Module):
    """What each sign, and the normal state, look like in the embedding space: for pretraining.

    A prototype is the direction that the embedding of an image with the sign should have, and of
    a sentence that claims it; so the image tower and the text tower learn towards the same place
    before they are set against each other.

    Args:
        signs: number of signs of each modality.
    """

    def __init__(self, signs: dict[str, int]) -> None:
        super().__init__()
        self.patch = nn.ModuleDict({name: nn.Linear(WIDTH, n) for name, n in signs.items()})
        self.prototypes = nn.ParameterDict(
            {
                name: nn.Parameter(torch.randn(n + 1, WIDTH) * WIDTH**-0.5)
                for name, n in signs.items()
            }
        )
        self.whole_bias = nn.ParameterDict(
            {name: nn.Parameter(torch.full((n + 1,), -2.0)) for name, n in signs.items()}
        )
        self.local_bias = nn.ParameterDict(
            {name: nn.Parameter(torch.full((n,), -3.0)) for name, n in signs.items()}
        )
        self.whole_scale = nn.Parameter(torch.tensor(10.0).log())
        self.local_scale = nn.Parameter(torch.tensor(10.0).log())

    def directions(self, name: str) -> Tensor:
        """Unit-length prototypes ``(P + 1, D)`` of a modality, the normal state last."""
        return normalize(self.prototypes[name], dim=-1)

    def whole(self, name: str, embedded: Tensor) -> Tensor:
        """Logits ``(n, P + 1)`` of unit-length image embeddings ``(n, D)``."""
        cosine = embedded @ self.directions(name).T
        return self.whole_scale.exp() * cosine + self.whole_bias[name]

    def local(self, name: str, embedded: Tensor) -> Tensor:
        """Logits ``(n, T, P)`` of unit-length patch embeddings ``(n, T, D)``."""
        cosine = embedded @ self.directions(name)[:-1].T
        return self.local_scale.exp() * cosine + self.local_bias[name]
