"""Both towers before training: whitened trunk features as tokens, sine-cosine positions."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn.functional import normalize, unfold
from transformers import CLIPTokenizer

from pretraining.pictures import GRID
from sdmad.backbones.lite import CHANNELS, PLACES, TrunkTransformer
from sdmad.backbones.transformer import ImageTransformer, Shape, TextTransformer

WIDTH = 128
IMAGE_BLOCKS = 4
TEXT_BLOCKS = 4
CONTEXT = 48
EPSILON = 1e-5
STEEPNESS = 10.0  # of a sign's logit in its cosine, at the start


def shape(depth: int) -> Shape:
    """Sizes of a tower of some blocks."""
    return Shape(WIDTH, depth, WIDTH // 32, 4 * WIDTH, WIDTH, EPSILON, "gelu")


def build_towers(tokenizer: CLIPTokenizer) -> tuple[TrunkTransformer, TextTransformer]:
    """Both towers with random weights; the trunk's are not set."""
    image = TrunkTransformer(shape(IMAGE_BLOCKS), GRID)
    end = tokenizer.eos_token_id
    text = TextTransformer(shape(TEXT_BLOCKS), len(tokenizer), CONTEXT, end)
    image.trunk.requires_grad_(False)
    for known in (image.centre, image.seen, image.least):
        known.requires_grad_(False).zero_()
    for tower in (image, text):
        initialise(tower)
    set_positions(image)
    return image, text


@torch.no_grad()
def initialise(tower: ImageTransformer | TextTransformer) -> None:
    """Random weights: matrices by their fan-in, those that add to the stream by the depth too."""
    for block in tower.blocks:
        for name, value in block.named_parameters():
            if value.ndim < 2:
                continue
            deep = (2 * tower.depth) ** -0.5 if name.startswith(("out", "fc2")) else 1.0
            nn.init.normal_(value, std=value.shape[1] ** -0.5 * deep)
        for layer in (block.qkv, block.out, block.fc1, block.fc2):
            nn.init.zeros_(layer.bias)
    nn.init.normal_(tower.projection.weight, std=WIDTH**-0.5)
    nn.init.normal_(tower.position, std=0.01)
    nn.init.normal_(tower.class_token if isinstance(tower, ImageTransformer) else tower.token,
                    std=0.02)  # fmt: skip


@torch.no_grad()
def whiten_tokens(image: TrunkTransformer, maps: Tensor) -> None:
    """Set the token embedding to the whitened principal components of the trunk's maps.

    Args:
        image: the tower.
        maps: of some pictures at stride 8, ``(n, 152, 30, 30)``.
    """
    places = unfold(maps, PLACES, stride=PLACES)  # (n, 152 * 9, 100)
    tokens = places.transpose(1, 2).flatten(0, 1).double()
    scale = tokens.std(dim=0)
    centre, standard = tokens.mean(dim=0), (tokens - tokens.mean(dim=0)) / scale
    spectrum, vectors = torch.linalg.eigh(torch.cov(standard.T))
    spectrum, vectors = spectrum.flip(0)[:WIDTH], vectors.flip(1)[:, :WIDTH]
    filters = (vectors / (spectrum + 1e-2 * spectrum[0]).sqrt()).T / scale
    image.patch.weight.copy_(filters.float().unflatten(1, (CHANNELS, PLACES, PLACES)))
    image.patch.bias.copy_(-(filters @ centre).float())


@torch.no_grad()
def set_positions(image: TrunkTransformer) -> None:
    """Start the image positions from two-dimensional sines and cosines."""
    quarter = WIDTH // 4
    frequency = 1 / 50 ** (torch.arange(quarter) / quarter)
    y, x = torch.meshgrid(torch.arange(GRID), torch.arange(GRID), indexing="ij")
    angles = torch.cat(
        [axis.flatten()[:, None] * frequency for axis in (y.float(), x.float())], dim=1
    )
    image.position[0] = 0
    image.position[1:] = torch.cat([angles.sin(), angles.cos()], dim=1) * 0.5


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
        self.biases = nn.ModuleDict(
            {
                "whole": _biases({name: n + 1 for name, n in signs.items()}, -2.0),
                "local": _biases(signs, -3.0),
                "peak": _biases(signs, -4.0),
            }
        )
        self.scales = nn.ParameterDict(
            {part: nn.Parameter(torch.tensor(STEEPNESS).log()) for part in self.biases}
        )

    def directions(self, name: str) -> Tensor:
        """Unit-length prototypes ``(P + 1, D)`` of a modality, the normal state last."""
        return normalize(self.prototypes[name], dim=-1)

    def logits(self, part: str, name: str, cosine: Tensor) -> Tensor:
        """Logits of cosines with the prototypes, ``(..., P)`` or ``(..., P + 1)``.

        Args:
            part: ``"whole"``, of an image; ``"local"``, of a patch; ``"peak"``, of an image by its
                best patch.
            name: the modality.
            cosine: with the modality's prototypes.
        """
        return self.scales[part].exp() * cosine + self.biases[part][name]


def _biases(counts: dict[str, int], value: float) -> nn.ParameterDict:
    return nn.ParameterDict(
        {name: nn.Parameter(torch.full((n,), value)) for name, n in counts.items()}
    )
