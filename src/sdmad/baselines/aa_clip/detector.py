"""AA-CLIP: adapters in CLIP's text tower, then in its image tower, both trained elsewhere.

Ma et al., AA-CLIP: Enhancing Zero-shot Anomaly Detection via Anomaly-Aware CLIP, CVPR 2025. First
the text of a normal and of a damaged thing are driven apart against frozen patches, then the
patches are drawn to that text.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Self

import torch
from torch import Tensor
from torch.nn.functional import cross_entropy, normalize

from sdmad.backbones import Backbone
from sdmad.baselines.aa_clip.adapters import ImageAdapters, TextAdapters
from sdmad.baselines.components.anomaly import AnomalyDetector, OnePerCategory
from sdmad.baselines.components.auxiliary import AuxiliaryTensors, read_auxiliary
from sdmad.baselines.components.dense_features import dense_features, plain_towers, share_of_blocks
from sdmad.baselines.components.minimise import Schedule, minimise
from sdmad.baselines.components.once import Once
from sdmad.baselines.components.patch_maps import gaussian_blur, patches_a_side, to_pixels
from sdmad.baselines.components.pixel_losses import both_sides_loss
from sdmad.baselines.components.published import Compat, is_published, unstandardised, with_gelu
from sdmad.baselines.components.state_prompts import compose, mean_direction
from sdmad.baselines.registry import Auxiliary, Build, Recipe
from sdmad.detector.base import Mask
from sdmad.errors import NotFittedError
from sdmad.method.adapters import adapted_blocks

NORMAL_STATES = ("{}", "a {}", "the {}")
ABNORMAL_STATES = (
    "a damaged {}",
    "a broken {}",
    "a {} with flaw",
    "a {} with defect",
    "a {} with damage",
)
TEMPLATES = ("{}.", "a photo of {}.")
TEXT_DEPTH = 12  # blocks of the authors' text tower
PUBLISHED_SIDE = 37  # patches along a side of their images
BATCH = 16


@dataclass(frozen=True)
class AACLIPSettings:
    """Hyper-parameters as published.

    Attributes:
        object_name: what every image is said to show: the authors' word where they know no name.
        text_blocks: first text blocks with an adapter, of 12.
        image_blocks: first image blocks with an adapter, of 24.
        blocks: image blocks whose patches are compared with the text, of 24.
        share: of an adapter in the stream behind a block.
        scale: what a cosine is multiplied with before the softmax.
        value_blocks: last image blocks with v-v attention in the first stage, of 24.
        betas: of Adam, in both stages.
        text_rate: learning rate of the first stage.
        text_epochs: passes over the auxiliary set in the first stage.
        text_batch: images a step in the first stage.
        apart: weight of the squared cosine between the two states' features.
        image_rate: learning rate of the second stage.
        image_epochs: passes over the auxiliary set in the second stage.
        image_batch: images a step in the second stage.
        milestones: steps of the second stage after which its learning rate is halved.
        sigma: deviation of the map's blur, in patches of a grid of 37.
        compat: ``"published"`` repeats what the authors' code does wrong, with a warning.
    """

    object_name: str = "object"
    text_blocks: int = 3
    image_blocks: int = 6
    blocks: tuple[int, ...] = (6, 12, 18, 24)
    share: float = 0.1
    scale: float = 100.0
    value_blocks: int = 19
    betas: tuple[float, float] = (0.5, 0.999)
    text_rate: float = 1e-5
    text_epochs: int = 5
    text_batch: int = 16
    apart: float = 0.1
    image_rate: float = 5e-4
    image_epochs: int = 20
    image_batch: int = 2
    milestones: tuple[int, ...] = (16000, 32000)
    sigma: float = 1.5
    compat: Compat = "none"


SEARCHED = AACLIPSettings(scale=25.0)
"""The best of eight on validation phantoms with the embedded backbone (docs/searched.md)."""

FLAWS = (
    "the exact GELU, pixels without mean and deviation, and a first stage that learns from the "
    "last level only"
)


def level_loss(patches: Tensor, text: Tensor, masks: Tensor, scale: float) -> Tensor:
    """Focal and both Dice losses of one level's map.

    Args:
        patches: features ``(n, P, D)``.
        text: of the normal and the abnormal state, ``(2, D)``, unit length.
        masks: 1 where abnormal, else 0; ``(n, H, H)``.
        scale: of the cosines.
    """
    difference = scale * patches @ (text[1] - text[0])
    abnormal = to_pixels(difference, masks.shape[-1], corners=True).sigmoid()
    return both_sides_loss(abnormal, masks).mean()


def apart_loss(text: Tensor) -> Tensor:
    """Squared cosine between the features of the two states, ``(2, D)``."""
    return (text[0] @ text[1]) ** 2


class TrainedAdapters:
    """Adapters that are trained on an auxiliary set, once, when they are first needed.

    Args:
        backbone: the frozen model.
        auxiliary: gives the auxiliary set.
        settings: hyper-parameters.
        seed: of the adapters' initial weights and the order of the images.

    Attributes:
        text_: the text adapters; None before :meth:`train`.
        image_: the image adapters; None before :meth:`train`.
        text_log_: mean loss of each epoch of the first stage.
        log_: mean loss of each epoch of the second stage.
    """

    def __init__(
        self,
        backbone: Backbone,
        auxiliary: Callable[[], Auxiliary],
        settings: AACLIPSettings | None = None,
        seed: int = 0,
    ) -> None:
        self.auxiliary, self.seed = auxiliary, seed
        self.settings = settings or AACLIPSettings()
        plain_towers(backbone, "AA-CLIP")
        self.side = patches_a_side(backbone, "AA-CLIP")
        self.published = is_published(self.settings.compat, "AA-CLIP", FLAWS)
        self.backbone = with_gelu(backbone) if self.published else backbone
        self.tower, self.text_tower = plain_towers(self.backbone, "AA-CLIP")
        self.blocks = adapted_blocks(self.tower.depth, self.settings.blocks)
        self.text_: TextAdapters | None = None
        self.image_: ImageAdapters | None = None
        self.text_log_: list[float] = []
        self.log_: list[float] = []
        self.levels_of = Once(self._levels)

    def to_input(self, pixels: Tensor) -> Tensor:
        """Preprocessed images ``(n, 3, H, W)`` as the adapted tower reads them."""
        pixels = pixels.to(self.backbone.device)
        return unstandardised(pixels, self.backbone) if self.published else pixels

    @torch.no_grad()
    def _levels(self, pixels: Tensor) -> Tensor:
        """Unit-length patches of each level, ``(levels, n, P, D)``."""
        assert self.image_ is not None
        found = [torch.stack(self.image_(batch)[0]) for batch in self.to_input(pixels).split(BATCH)]
        return torch.cat(found, dim=1)

    def states(self) -> Tensor:
        """Unit-length features of the normal and the abnormal state, ``(2, D)``."""
        assert self.text_ is not None
        found = []
        for states in (NORMAL_STATES, ABNORMAL_STATES):
            ids = self.backbone.tokenize(compose(states, TEMPLATES, self.settings.object_name))
            found.append(mean_direction(self.text_(ids.to(self.backbone.device))))
        return torch.stack(found)

    @property
    def learnt(self) -> tuple[Tensor, ...]:
        """The weights of both kinds of adapters."""
        kinds = (kind for kind in (self.text_, self.image_) if kind is not None)
        return tuple(weight for kind in kinds for weight in kind.parameters())

    def train(self) -> Self:
        """Train both stages; does nothing the second time.

        Raises:
            InputError: if the auxiliary set lacks normal or abnormal images, or a loss is no
                longer finite.
        """
        if self.image_ is not None:
            return self
        settings = self.settings
        material = read_auxiliary(self.auxiliary, self.backbone, "AA-CLIP")
        material = replace(material, pixels=self.to_input(material.pixels))
        tower, text_tower = self.tower, self.text_tower
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(self.seed)
            until = share_of_blocks(tower.depth, settings.image_blocks)
            size = self.backbone.dimension
            image = ImageAdapters(tower, until, self.blocks, size, settings.share)
            until = share_of_blocks(text_tower.depth, settings.text_blocks, TEXT_DEPTH)
            text = TextAdapters(text_tower, until, size, settings.share)
        self.text_ = text.to(self.backbone.device)
        self.text_log_ = self._text_stage(material)
        image = image.to(self.backbone.device)
        self.log_ = self._image_stage(material, image)
        self.image_ = image
        return self

    def _text_stage(self, material: AuxiliaryTensors) -> list[float]:
        """Drive the two states apart against the frozen patches; one mean loss an epoch."""
        assert self.text_ is not None
        settings = self.settings
        last = share_of_blocks(self.tower.depth, settings.value_blocks)
        found = dense_features(self.tower, material.pixels, last, self.blocks)
        with torch.no_grad():
            whole = normalize(self.tower.project(found.class_token), dim=-1).unsqueeze(1)
            patches = [normalize(level, dim=-1) + whole for level in found.patches]
        used = patches[-1:] if self.published else patches

        def loss_of(rows: Tensor) -> Tensor:
            text, masks = self.states(), material.masks[rows]
            losses = [level_loss(level[rows], text, masks, settings.scale) for level in used]
            return torch.stack(losses).sum() + settings.apart * apart_loss(text)

        schedule = Schedule(
            settings.text_epochs, settings.text_batch, settings.text_rate, settings.betas, self.seed
        )
        log: list[float] = minimise(
            loss_of, self.text_.parameters(), len(material.pixels), schedule, "AA-CLIP"
        ).tolist()
        return log

    def _image_stage(self, material: AuxiliaryTensors, image: ImageAdapters) -> list[float]:
        """Draw the patches to the text, which stays as it is; one mean loss an epoch."""
        settings = self.settings
        with torch.no_grad():
            text = self.states()
        parts = [image.frozen(batch) for batch in material.pixels.split(BATCH)]
        tokens = torch.cat([hidden for hidden, _ in parts])
        states = [state for _, state in parts if state is not None]
        state = torch.cat(states) if states else None

        def loss_of(rows: Tensor) -> Tensor:
            levels, whole = image.adapted(tokens[rows], state if state is None else state[rows])
            masks, truth = material.masks[rows], material.truth[rows]
            loss = cross_entropy(whole @ text.T, truth.long())
            for level in levels:
                loss = loss + level_loss(level, text, masks, settings.scale)
            return loss

        schedule = Schedule(
            settings.image_epochs,
            settings.image_batch,
            settings.image_rate,
            settings.betas,
            self.seed,
            settings.milestones,
        )
        log: list[float] = minimise(
            loss_of, image.parameters(), len(material.pixels), schedule, "AA-CLIP"
        ).tolist()
        return log


class AACLIP(AnomalyDetector):
    """AA-CLIP's adapters applied to images; the support set teaches it nothing.

    It knows one kind of anomaly, so that the detectors of all categories say the same.

    Args:
        trained: the adapters, shared with the detectors of the other categories.
    """

    has_maps = True

    def __init__(self, trained: TrainedAdapters) -> None:
        self.trained = trained
        self.natural_threshold = len(trained.blocks) / 2  # both states as near
        self.text_: Tensor | None = None

    @property
    def learnt(self) -> tuple[Tensor, ...]:
        """The adapters' weights."""
        return self.trained.learnt

    def _fit(self, pixels: Tensor, abnormal: Tensor, masks: Sequence[Mask | None]) -> None:
        """Train the shared adapters on the auxiliary set, unless they are trained already."""
        del pixels, abnormal, masks
        self.trained.train()
        with torch.no_grad():
            self.text_ = self.trained.states()

    @property
    def losses(self) -> tuple[float, ...]:
        """Mean loss of each epoch of the second stage on the auxiliary set."""
        return tuple(self.trained.log_)

    def score_pixels(self, pixels: Tensor) -> Tensor:
        """Largest value of the map, ``(n,)``, of preprocessed images ``(n, 3, H, W)``."""
        return self.map_pixels(pixels).amax(dim=(1, 2))

    @torch.no_grad()
    def map_pixels(self, pixels: Tensor) -> Tensor:
        """Where they are abnormal, ``(n, h, w)``; larger is more."""
        trained, settings = self.trained, self.trained.settings
        if self.text_ is None or trained.image_ is None:
            raise NotFittedError("this AA-CLIP detector is not fitted: call fit")
        levels = trained.levels_of(pixels)
        cosines = settings.scale * levels @ (self.text_[1] - self.text_[0])
        patches = ((cosines + 1) / 2).sum(dim=0)
        grid = patches.unflatten(1, (trained.side, trained.side))
        blurred = gaussian_blur(grid, settings.sigma * trained.side / PUBLISHED_SIDE)
        return to_pixels(blurred.flatten(1), pixels.shape[-1], corners=True)


def _make(build: Build, settings: AACLIPSettings) -> OnePerCategory:
    trained = TrainedAdapters(build.backbone, build.auxiliary, settings, build.seed)
    return OnePerCategory(build.bank.names, build.backbone, lambda _: AACLIP(trained))


RECIPES = {"aa-clip": Recipe(_make, AACLIPSettings(), SEARCHED)}
