"""SD-MAD: few-shot detection of several anomaly categories, explained by signs."""

from __future__ import annotations

import copy
import dataclasses
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Self

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from sdmad.backbones import Backbone, load_backbone
from sdmad.data.images import ImageSource, content_hash
from sdmad.detector.base import Detector, Mask, check_images, check_labels
from sdmad.detector.config import SDMADConfig, parse_decision
from sdmad.detector.evidence import Combined, SignAndImageEvidence
from sdmad.detector.findings import Explanation, explanations
from sdmad.detector.maps import PatchMaps, gives_maps, patch_maps, whole_maps
from sdmad.detector.operating_point import thresholds_at
from sdmad.detector.patients import PatientHashes
from sdmad.detector.precision import choose_precision, in_precision
from sdmad.detector.scores import ImageScores
from sdmad.detector.sign_scorer import SignScorer
from sdmad.detector.training import (
    SignTexts,
    SupportImages,
    TextFeatures,
    build_adapters,
    train_adapters,
)
from sdmad.errors import InputError
from sdmad.method.adapters import AdaptedTower
from sdmad.method.selection import SignMargins, emptied_categories, sign_margins
from sdmad.signs import SignBank


class SDMAD(Detector):
    """The SD-MAD detector.

    Hyper-parameters stand in ``config``; what is learnt ends in an underscore.

    >>> import numpy as np
    >>> from sdmad import SDMAD, SDMADConfig
    >>> images = [np.full((128, 128), value, np.uint8) for value in (30, 90, 150)]
    >>> labels = np.array([[1, 0, 0], [0, 1, 0], [0, 0, 0]])
    >>> detector = SDMAD("oct", config=SDMADConfig(epochs=1)).fit(images, labels)
    >>> detector.decision_function(images).shape
    (3, 3)

    Args:
        signs: a sign bank, the name of a packaged one or a YAML file.
        backbone: a loaded backbone, or what :func:`~sdmad.backbones.load_backbone` takes.
        config: the settings; ``SDMADConfig.paper()`` is the paper to the letter.
        seed: of the adapters' initial weights and the order of the images.
        device: ``"auto"`` takes a GPU when there is one, else the CPU.
        precision: of the towers: ``"float32"``, ``"bfloat16"`` or ``"auto"``, which is bfloat16
            where the device has it; adapters are trained in float32 whatever it is.

    Attributes:
        scorer_: signs, anchor and kept marks after training.
        log_: one entry an epoch: loss and mean cosine between signs.
        notes_: what a person should know about this fit.
        support_hashes_: SHA-256 of each support image's content.
        support_patients_: salted hashes of the support patients; no id is kept.
        thresholds_: a threshold a category for the ``fpr`` rule, or None.
        threshold_hashes_: SHA-256 of each normal image behind the thresholds.
    """

    def __init__(
        self,
        signs: SignBank | str | Path,
        backbone: Backbone | str | Path = "nano",
        config: SDMADConfig | None = None,
        seed: int = 0,
        device: str = "auto",
        precision: str = "float32",
    ) -> None:
        self.bank = signs if isinstance(signs, SignBank) else SignBank.load(signs)
        self.categories = self.bank.names
        base = backbone if isinstance(backbone, Backbone) else load_backbone(backbone)
        place = choose_device(device)
        self.backbone = in_precision(base.to(place), choose_precision(precision, place))
        self.has_maps = gives_maps(self.backbone)
        self.config = config or SDMADConfig()
        self.seed = _check_seed(seed)
        self.device = device
        self.scorer_: SignScorer | None = None
        self.thresholds_: NDArray[np.float64] | None = None
        self.threshold_hashes_: tuple[str, ...] = ()

    def fit(
        self,
        images: Sequence[ImageSource],
        labels: NDArray[np.float64],
        patients: Sequence[object] | None = None,
        progress: str | None = None,
        *,
        masks: Sequence[Mask | None] | None = None,
    ) -> Self:
        """Train the adapters on the support set, select signs and fix the constants.

        Args:
            images: n paths, Pillow images or arrays.
            labels: 1 present, 0 absent, NaN unknown, shape ``(n, K)`` in the bank's order; an
                all-zero row is a normal image.
            patients: id of each image's patient, ``""`` if unknown; only salted hashes are kept.
            progress: what to call the work on a progress bar; none when not given.
            masks: ignored; the paper learns from image labels alone.

        Returns:
            Itself.

        Raises:
            ImageError: if an image cannot be read.
            InputError: if shapes disagree, there is no image, or no label is known.
        """
        del masks
        check_images(images)
        if len(images) == 0:
            raise InputError("there is no image to fit on")
        values = check_labels(labels, len(images), len(self.categories))
        if np.isnan(values).all():
            raise InputError("every label is unknown (NaN); there is nothing to learn from")
        if patients is not None and len(patients) != len(images):
            raise InputError(f"{len(patients)} patients for {len(images)} images")
        pixels = self.backbone.preprocessing(images)
        self.support_hashes_ = tuple(sorted({content_hash(image) for image in images}))
        self.support_patients_ = PatientHashes.of(() if patients is None else patients)
        self.notes_ = tuple(
            f"{name}: no positive in the support set"
            for k, name in enumerate(self.categories)
            if not (values[:, k] == 1).any()
        )
        self.thresholds_, self.threshold_hashes_ = None, ()
        self._train(pixels, values, progress)
        return self

    def _train(self, pixels: Tensor, labels: NDArray[np.float64], progress: str | None) -> None:
        config, device = self.config, self.backbone.device
        image_tower, text_tower = build_adapters(self.backbone, config, self.seed)
        self.set_towers(image_tower, SignTexts(self.bank, self.backbone, text_tower))
        texts = self._texts
        images = SupportImages(pixels, self.backbone, self._image)
        category = torch.tensor(self.bank.category_index, device=device)
        targets = torch.tensor(labels, dtype=torch.float32, device=device)
        self.log_ = train_adapters(images, texts, targets, category, config, self.seed, progress)
        with torch.no_grad():
            text = texts()
            features = torch.cat([images(slice(i, i + 32)) for i in range(0, len(images), 32)])
        self.scorer_ = SignScorer.build(text, self.bank, config.selection, config.pooling)
        if config.selection == "paper":
            emptied = [self.categories[k] for k in emptied_categories(text.signs, category)]
            if emptied:
                self.notes_ += (
                    f"selection discarded every sign of {', '.join(emptied)}; of each the one "
                    "with the largest margin is kept",
                )
        self.evidence_ = SignAndImageEvidence.fit(self.scorer_, features, labels, config)

    def check_fitted(self) -> None:
        """Raise InputError if the detector has neither been fitted nor loaded."""
        if self.scorer_ is None:
            raise InputError("this detector is not fitted yet: call fit, or SDMAD.load(folder)")

    @torch.no_grad()
    def image_features(self, pixels: Tensor) -> Tensor:
        """Embeddings in the adapted image tower, ``(n, D)``, of pixels ``(n, 3, H, W)``."""
        hidden, state = self.backbone.image.embed(
            pixels.to(self.backbone.device, self.backbone.dtype)
        )
        features: Tensor = self._image(self._image.frozen_part(hidden, state), state)
        return features

    @torch.no_grad()
    def score_pixels(self, pixels: Tensor) -> ImageScores:
        """Score preprocessed images, pixel values ``(n, 3, H, W)``."""
        self.check_fitted()
        scorer = self.scorer
        features = self.image_features(pixels)
        similarity = scorer.similarity(features)
        anchor = scorer.anchor_similarity(features)
        combined = self.evidence_(scorer, similarity, anchor, features)
        return ImageScores.of(combined, self._decide(combined), similarity, anchor)

    @torch.no_grad()
    def patch_maps(self, pixels: Tensor) -> PatchMaps:
        """Maps of preprocessed images ``(n, 3, H, W)`` on the grid of patches.

        Raises:
            InputError: if the image tower has no patches beside a class token.
        """
        return patch_maps(self.backbone, self._image, self.scorer, pixels)

    def map_pixels(self, pixels: Tensor) -> Tensor:
        """Where preprocessed images are abnormal: the best category's map above the anchor's."""
        return self.patch_maps(pixels).anomaly

    def sign_maps(self, image: ImageSource) -> Iterator[NDArray[np.float32]]:
        """Where one image looks like each sign, in the bank's order: cosines ``(H, W)``."""
        return whole_maps(self, image, "signs")

    def category_maps(self, image: ImageSource) -> Iterator[NDArray[np.float32]]:
        """Where one image looks like each category: its kept signs' maps, pooled, ``(H, W)``."""
        return whole_maps(self, image, "categories")

    def _decide(self, combined: Combined) -> Tensor:
        """Apply the decision rule: boolean ``(n, K)``."""
        if parse_decision(self.config.decision)[0] != "fpr":
            return combined.margins > 0
        if self.thresholds_ is None:
            raise InputError(
                "the decision rule fpr needs thresholds: call fit_thresholds with normal images "
                "(on the command line --normals FOLDER)"
            )
        return combined.scores.double() > torch.from_numpy(self.thresholds_).to(
            combined.scores.device
        )

    def with_inference(self, **changes: Any) -> SDMAD:
        """The same training, judged otherwise: another selection, pooling or decision rule.

        Thresholds of the ``fpr`` rule belong to one rule and one way of scoring; where either
        changes, the copy has none until ``fit_thresholds``.

        Args:
            changes: new values of ``selection``, ``pooling``, ``decision`` or
                ``evidence_weight``.

        Raises:
            InputError: if another setting is named, or a value is unknown.
        """
        other = set(changes) - {"selection", "pooling", "decision", "evidence_weight"}
        if other:
            raise InputError(f"{sorted(other)[0]} belongs to training; fit again to change it")
        config = dataclasses.replace(self.config, **changes)
        twin = copy.copy(self)
        text = TextFeatures(self.scorer.signs, self.scorer.anchor)
        twin.config = config
        twin.scorer_ = SignScorer.build(text, self.bank, config.selection, config.pooling)
        twin.evidence_ = dataclasses.replace(self.evidence_, config=config)
        if config != self.config:
            twin.thresholds_, twin.threshold_hashes_ = None, ()
        return twin

    def fit_thresholds(self, normals: Sequence[ImageSource]) -> Self:
        """Set a threshold a category at the false-positive rate of the ``fpr`` rule.

        Args:
            normals: normal images, never the ones that will be judged.

        Raises:
            InputError: if the rule is another, or there are too few images for the rate.
        """
        kind, rate = parse_decision(self.config.decision)
        if kind != "fpr" or rate is None:
            raise InputError(f"thresholds belong to the rule fpr:RATE, not {self.config.decision}")
        undecided = self.with_inference(decision="mean")
        self.thresholds_ = thresholds_at(undecided.score(normals).scores, rate)
        self.threshold_hashes_ = tuple(sorted({content_hash(image) for image in normals}))
        return self

    @property
    def scorer(self) -> SignScorer:
        """Signs, anchor and kept marks; InputError before fitting."""
        self.check_fitted()
        assert self.scorer_ is not None
        return self.scorer_

    def margins(self) -> SignMargins:
        """Definition 3.2's distances of the trained signs."""
        return sign_margins(self.scorer.signs, self.scorer.category)

    def explain(self, image: ImageSource) -> Explanation:
        """Tell which signs speak for each category in one image."""
        return self.explanations(self.score([image]))[0]

    def explanations(self, scored: ImageScores) -> list[Explanation]:
        """Explanations of images that were scored already."""
        return explanations(self.bank, self.scorer.keep.cpu().numpy(), scored)

    def save(self, folder: str | Path, force: bool = False) -> None:
        """Write the detector as one flat directory of JSON, YAML and safetensors.

        Args:
            folder: where to; written under a temporary name and renamed.
            force: replace what is there.

        Raises:
            InputError: if the folder holds something and ``force`` is off.
            SDMADError: if it cannot be written.
        """
        from sdmad.detector.checkpoint import save_detector

        save_detector(self, Path(folder), force)

    @classmethod
    def load(
        cls,
        folder: str | Path,
        backbone: Backbone | str | Path | None = None,
        device: str = "auto",
        precision: str = "float32",
    ) -> SDMAD:
        """Read a saved detector.

        Args:
            folder: what :meth:`save` wrote.
            backbone: where the base weights are on this machine, if not under the stored name.
            device: as in the constructor.
            precision: as in the constructor.

        Raises:
            ModelError: if a file is missing, altered or unreadable, or the base weights differ.
        """
        from sdmad.detector.checkpoint import load_detector

        return load_detector(Path(folder), backbone, device, precision)

    def set_towers(self, image: AdaptedTower, texts: SignTexts) -> None:
        """Take adapted towers, trained or about to be."""
        self._image, self._texts = image, texts

    @property
    def towers(self) -> tuple[AdaptedTower, SignTexts]:
        """The adapted image tower, and the bank's sentences in the adapted text tower."""
        return self._image, self._texts

    @property
    def image_adapters(self) -> nn.ModuleDict:
        """Block number to adapter of the image tower."""
        return self._image.adapters

    @property
    def text_adapters(self) -> nn.ModuleDict:
        """Block number to adapter of the text tower."""
        return self._texts.tower.adapters


def choose_device(name: str) -> torch.device:
    """``"auto"`` takes a GPU when there is one.

    Raises:
        InputError: if the device is not there.
    """
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        device = torch.device(name)
        torch.zeros(1, device=device).item()
    except (RuntimeError, AssertionError) as error:
        raise InputError(f"no device {name!r} here; auto, cpu or cuda") from error
    return device


def _check_seed(seed: int) -> int:
    if isinstance(seed, bool) or not isinstance(seed, int) or not 0 <= seed < 2**63:
        raise InputError(f"seed must be a whole number from 0 to 2**63 - 1, got {seed!r}")
    return seed
