"""A fitted SD-MAD at work: scores, decisions, explanations and maps; needs no scikit-learn."""

from __future__ import annotations

import copy
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Self

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from sdmad.backbones import Backbone
from sdmad.choices import Precision
from sdmad.data.images import ImageSource, content_hash
from sdmad.data.preprocessing import Preprocessing
from sdmad.detector.base import BATCH_SIZE, Detector, TrainingSet, as_image_list, resize_map
from sdmad.detector.batches import LANE_BATCH
from sdmad.detector.calibration import Likelihood, Prevalence, likelihood, stated
from sdmad.detector.checkpoint import read_state, write_state
from sdmad.detector.config import INFERENCE_SETTINGS, SDMADConfig, parse_decision
from sdmad.detector.features import ImageFeatures, finish
from sdmad.detector.findings import Explanation, explanations
from sdmad.detector.head import SignHead, thresholds_at
from sdmad.detector.held_out import Answers, answering
from sdmad.detector.maps import PatchMaps, gives_maps, maps_of_image, patch_maps
from sdmad.detector.patients import PatientHashes
from sdmad.detector.scores import ImageScores
from sdmad.detector.state import FittedState
from sdmad.detector.training import EpochLog
from sdmad.errors import InputError
from sdmad.method.selection import SignMargins, sign_margins
from sdmad.signs import SignBank


class SignDetector(Detector):
    """What a fitted SD-MAD can do; :class:`~sdmad.SDMAD` adds the fitting.

    Args:
        state: what a fit settled.
    """

    state_: FittedState
    set_by_fit = "state_"

    def __init__(self, state: FittedState) -> None:
        self.state_ = state

    @classmethod
    def of_state(cls, state: FittedState, device: str, precision: Precision) -> Self:
        """A detector from what a fit settled.

        Args:
            state: what a fit settled.
            device: as it was asked for.
            precision: as it was asked for.
        """
        del device, precision
        return cls(state)

    @classmethod
    def load(
        cls,
        folder: str | Path,
        backbone: Backbone | str | Path | None = None,
        device: str = "auto",
        precision: Precision = "float32",
    ) -> Self:
        """Read a saved detector.

        Args:
            folder: what :meth:`save` wrote.
            backbone: where the base weights are on this machine, if not under the stored name.
            device: ``"auto"`` takes a GPU when there is one, else the CPU.
            precision: of the towers.

        Raises:
            ModelError: if a file is missing, altered or unreadable, or the base weights differ.
        """
        state = read_state(Path(folder), backbone, device, precision)
        return cls.of_state(state, device, precision)

    def save(self, folder: str | Path, force: bool = False) -> None:
        """Write the detector as one flat directory of JSON, YAML and safetensors.

        Args:
            folder: where to; written under a temporary name and renamed.
            force: replace what is there.

        Raises:
            InputError: if the folder holds something and ``force`` is off.
            SDMADError: if it cannot be written.
        """
        self.check_fitted()
        write_state(self.state_, Path(folder), force)

    @classmethod
    def from_pretrained(
        cls,
        name: str | Path,
        backbone: Backbone | str | Path | None = None,
        device: str = "auto",
        precision: Precision = "float32",
        revision: str | None = None,
    ) -> Self:
        """Read a detector from the hub, or from a folder; held to the same checks as any file.

        Args:
            name: ``OWNER/NAME``, or what :meth:`save` wrote. ``HF_HUB_OFFLINE=1`` asks the hub's
                cache alone.
            backbone: as :meth:`load`.
            device: as :meth:`load`.
            precision: as :meth:`load`.
            revision: of the repository: a branch, a tag or a commit; its main branch when None.

        Raises:
            WeightsMissingError: if the hub does not give it.
            ModelError: as :meth:`load`.
        """
        from sdmad.detector.sharing import find_model

        return cls.load(find_model(name, revision), backbone, device, precision)

    def push_to_hub(self, name: str, private: bool = True, backbone: str | None = None) -> str:
        """Upload the detector, as :meth:`save` writes it, with a model card of the fit's facts.

        Args:
            name: ``OWNER/NAME``; made unless it is there.
            private: whether nobody else may read it; one that is public is then refused.
            backbone: where others find the base weights, if it was fitted on a folder.

        Returns:
            The address of the commit.

        Raises:
            InputError: if the name is none, the base weights have no name for others, or the
                repository is public and ``private`` is on.
            ModelError: if the hub does not take it.
        """
        from sdmad.detector.sharing import push

        self.check_fitted()
        return push(self.state_, name, private, backbone)

    def _fit(self, training: TrainingSet) -> None:
        del training
        raise InputError("this detector is fitted already; sdmad.SDMAD learns anew")

    # What was settled

    def _fitted(self) -> FittedState:
        self.check_fitted()
        return self.state_

    @property
    def bank_(self) -> SignBank:
        """The signs."""
        return self._fitted().bank

    @property
    def backbone_(self) -> Backbone:
        """The frozen model, where and in which type it runs."""
        return self._fitted().backbone

    @property
    def config_(self) -> SDMADConfig:
        """The settings it was trained with and decides by."""
        return self._fitted().config

    @property
    def head_(self) -> SignHead:
        """Signs, anchor, kept marks, image evidence and thresholds."""
        return self._fitted().head

    @property
    def log_(self) -> tuple[EpochLog, ...]:  # type: ignore[override]
        """One entry an epoch: loss and mean cosine between signs."""
        return self._fitted().log

    @property
    def notes_(self) -> tuple[str, ...]:
        """What a person should know about this fit."""
        return self._fitted().notes

    @property
    def support_hashes_(self) -> tuple[str, ...]:
        """SHA-256 of each support image's content."""
        return self._fitted().support_hashes

    @property
    def support_patients_(self) -> PatientHashes:
        """Salted hashes of the support patients; no id is kept."""
        return self._fitted().support_patients

    @property
    def thresholds_(self) -> NDArray[np.float64] | None:
        """A threshold a category ``(K,)`` for the ``fpr`` rule, or None."""
        return self._fitted().head.thresholds

    @property
    def threshold_hashes_(self) -> tuple[str, ...]:
        """SHA-256 of each normal image behind the thresholds."""
        return self._fitted().threshold_hashes

    @property
    def trained_parameters(self) -> int:
        """Numbers of the adapters and of the probe."""
        adapters = (*self.image_adapters_.parameters(), *self.text_adapters_.parameters())
        evidence = self.head_.evidence
        beside = () if evidence is None else (evidence.probe.weights, evidence.probe.bias)
        return sum(tensor.numel() for tensor in (*adapters, *beside))

    @property
    def losses(self) -> tuple[float, ...]:
        """Mean loss of each epoch."""
        return tuple(epoch.loss for epoch in self.log_)

    @property
    def kept_signs(self) -> NDArray[np.bool_]:
        """Signs that Eq. 6 kept, ``(S,)``; all of them without selection."""
        return self.head_.kept_signs

    @property
    def image_adapters_(self) -> nn.ModuleDict:
        """Block number to adapter of the image tower."""
        return self._fitted().image.adapters

    @property
    def text_adapters_(self) -> nn.ModuleDict:
        """Block number to adapter of the text tower."""
        return self._fitted().texts.tower.adapters

    @property
    def categories(self) -> tuple[str, ...]:  # type: ignore[override]
        """The K category names, in the bank's order."""
        return self._fitted().bank.names

    @property
    def has_maps(self) -> bool:  # type: ignore[override]
        """Whether its backbone's patches can be read one by one."""
        return gives_maps(self._fitted().backbone)

    @property
    def several_at_once(self) -> bool:  # type: ignore[override]
        """Whether its towers run on this machine's processor."""
        return self._fitted().backbone.device.type == "cpu"

    @property
    def batch(self) -> int:  # type: ignore[override]
        """Images that are scored together: few on a processor, whose lanes have one batch each."""
        return LANE_BATCH if self.several_at_once else BATCH_SIZE

    @property
    def preprocessing(self) -> Preprocessing:
        """How an image becomes pixel values."""
        return self._fitted().backbone.preprocessing

    def margins(self) -> SignMargins:
        """Definition 3.2's distances of the trained signs."""
        return sign_margins(self.head_.signs, self.head_.category)

    # Scores

    @torch.no_grad()
    def image_features(self, pixels: Tensor) -> ImageFeatures:
        """What the adapted image tower says, as far as the head reads it.

        Args:
            pixels: preprocessed images, ``(n, 3, H, W)``.
        """
        state = self._fitted()
        backbone, tower = state.backbone, state.image
        hidden, carried = backbone.image.embed(backbone.pixels(pixels))
        return finish(tower, tower.frozen_part(hidden, carried), carried, state.head.wanted)

    @torch.no_grad()
    def score_pixels(self, pixels: Tensor) -> ImageScores:
        """Score preprocessed images, pixel values ``(n, 3, H, W)``."""
        return self.head_(self.image_features(pixels))

    def explain(self, image: ImageSource) -> Explanation:
        """Tell which signs speak for each category in one image."""
        return self.explanations(self.score_images([image]))[0]

    def explanations(self, scored: ImageScores) -> list[Explanation]:
        """Explanations of images that were scored already."""
        return explanations(self.bank_, self.kept_signs, scored, self.head_.limits())

    def at_prevalence(self, prevalence: Prevalence) -> Likelihood:
        """What makes probabilities ``(n, K)`` of the scores of n images.

        Args:
            prevalence: how common a finding is where the images come from: one number between 0
                and 1, or one of each category by name. The support set does not tell it.

        Raises:
            InputError: if the detector's scores cannot be calibrated, a category is missing or a
                value out of range.
        """
        return likelihood(self.head_.calibration, self.categories, prevalence)

    def answering(self, rate: float) -> Answers:
        """What answers yes, no or unsure of the scores of n images, at an error rate.

        Args:
            rate: of wrong answers among images with a finding, and among images without.

        Raises:
            InputError: if the detector's scores were not held out, or there are too few patients
                for the rate.
        """
        return answering(self.head_.held_out, self.categories, rate)

    def predict_proba(
        self,
        images: Sequence[ImageSource] | NDArray[Any],
        prevalence: Prevalence | None = None,
    ) -> NDArray[np.float64]:
        """How likely each category is, ``(n, K)``; see :meth:`at_prevalence`.

        Raises:
            InputError: if no prevalence is stated.
        """
        self.check_fitted()
        if prevalence is None:
            raise InputError(
                "a probability needs the prevalence where the images come from, which the support "
                "set does not tell: predict_proba(images, prevalence=0.05), or one of each category"
            )
        return self.at_prevalence(prevalence)(self.score_images(images))

    # Maps

    @torch.no_grad()
    def patch_maps(self, pixels: Tensor) -> PatchMaps:
        """Maps of preprocessed images ``(n, 3, H, W)`` on the grid of patches.

        Raises:
            InputError: if the image tower has no patches beside a class token.
        """
        state = self._fitted()
        return patch_maps(state.backbone, state.image, state.head, pixels)

    def map_pixels(self, pixels: Tensor) -> Tensor:
        """Where preprocessed images are abnormal: the best category's map above the anchor's."""
        return self.patch_maps(pixels).anomaly

    def image_maps(self, image: ImageSource) -> tuple[PatchMaps, tuple[int, int]]:
        """Maps of one image on the grid of patches, and the image's own height and width.

        Raises:
            ImageError: if the image cannot be read.
            InputError: if the backbone gives no maps.
        """
        return maps_of_image(image, self.preprocessing, self.patch_maps)

    def sign_maps(self, image: ImageSource) -> Iterator[NDArray[np.float32]]:
        """Where one image looks like each sign, in the bank's order: cosines ``(H, W)``."""
        small, shape = self.image_maps(image)
        return (resize_map(values, shape) for values in small.signs[0])

    def category_maps(self, image: ImageSource) -> Iterator[NDArray[np.float32]]:
        """Where one image looks like each category: its kept signs' maps, pooled, ``(H, W)``."""
        small, shape = self.image_maps(image)
        return (resize_map(values, shape) for values in small.categories[0])

    # The operating point

    def with_inference(self, **changes: Any) -> Self:
        """The same training, judged otherwise: another selection, pooling or decision rule.

        Thresholds of the ``fpr`` rule belong to one rule and one way of scoring; where either
        changes, the copy has none until ``fit_thresholds``.

        Args:
            changes: new values of ``selection``, ``pooling``, ``decision`` or
                ``evidence_weight``.

        Raises:
            InputError: if another setting is named, or a value is unknown.
        """
        state = self._fitted()
        other = sorted(set(changes) - set(INFERENCE_SETTINGS))
        if other:
            raise InputError(f"{other[0]} belongs to training; fit again to change it")
        config = state.config.replace(**changes)
        if config.image_evidence == "cross-modal" and config != state.config.replace(
            decision=config.decision
        ):
            raise InputError(
                "cross-modal evidence was fitted on the signs' scores as they are selected and "
                "pooled: only the decision can change; fit again for the rest"
            )
        kept = state.threshold_hashes if config == state.config else ()
        head = state.head.with_config(state.bank, config)
        twin = copy.copy(self)
        twin.state_ = replace(state, config=config, head=head, threshold_hashes=kept)
        return twin

    def with_settings(self, settings: Any) -> Self | None:
        """The same training under other settings, where these differ in inference alone.

        The scale of a probe beside the signs was fitted with the signs' scores, so another way of
        scoring needs a fit of its own.
        """
        if not isinstance(settings, SDMADConfig):
            return None
        if settings.image_evidence != self.config_.image_evidence:
            return None
        changes = {name: getattr(settings, name) for name in INFERENCE_SETTINGS}
        if self.config_.replace(**changes) != settings:
            return None
        if settings.image_evidence != "none" and settings != self.config_:
            return None
        return self.with_inference(**changes)

    def decide_at(self, prevalence: Prevalence) -> Self:
        """Set a threshold a category where the probability is that of the rule ``likely``.

        Args:
            prevalence: as :meth:`at_prevalence`.

        Raises:
            InputError: if the rule is another, or :meth:`at_prevalence` refuses.
        """
        state = self._fitted()
        kind, chance = parse_decision(state.config.decision)
        if kind != "likely" or chance is None:
            raise InputError(
                f"a prevalence decides under the rule likely:CHANCE, not {state.config.decision}"
            )
        self.at_prevalence(prevalence)
        assert state.head.calibration is not None
        limits = state.head.calibration.odds_at(chance, stated(prevalence, self.categories))
        self.state_ = replace(state, head=replace(state.head, thresholds=limits))
        return self

    def fit_thresholds(self, normals: Sequence[ImageSource]) -> Self:
        """Set a threshold a category at the false-positive rate of the ``fpr`` rule.

        Args:
            normals: normal images, never the ones that will be judged.

        Raises:
            InputError: if the rule is another, or there are too few images for the rate.
        """
        state = self._fitted()
        kind, rate = parse_decision(state.config.decision)
        if kind != "fpr" or rate is None:
            raise InputError(f"thresholds belong to the rule fpr:RATE, not {state.config.decision}")
        images = as_image_list(normals)
        undecided = self.with_inference(decision="mean")
        thresholds = thresholds_at(undecided.score_images(images).scores, rate)
        hashes = tuple(sorted({content_hash(image) for image in images}))
        head = replace(state.head, thresholds=thresholds)
        self.state_ = replace(state, head=head, threshold_hashes=hashes)
        return self
