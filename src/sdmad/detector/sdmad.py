"""SD-MAD: few-shot detection of several anomaly categories, explained by signs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Self

import numpy as np
import torch
from numpy.typing import NDArray
from sklearn import exceptions
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.utils import Tags
from sklearn.utils.metadata_routing import UNUSED
from torch import Tensor

from sdmad.backbones import Backbone, load_backbone
from sdmad.choices import EMBEDDED, Precision
from sdmad.data.images import content_hash
from sdmad.data.preprocessing import Preprocessing
from sdmad.data.windows import Window, parse_window
from sdmad.detector.base import Detector, TrainingSet
from sdmad.detector.config import SDMADConfig
from sdmad.detector.cross_fitting import fit_head
from sdmad.detector.features import Wanted, reads_patches
from sdmad.detector.head import SignHead
from sdmad.detector.maps import gives_maps
from sdmad.detector.patients import PatientHashes
from sdmad.detector.precision import choose_device, choose_precision, placed
from sdmad.detector.sign_detector import SignDetector
from sdmad.detector.state import FittedState
from sdmad.detector.training import SignTexts, SupportImages, build_adapters, train_adapters
from sdmad.errors import InputError, NotFittedError
from sdmad.method.selection import emptied_categories
from sdmad.signs import SignBank

MANY_UNFAMILIAR = 0.2  # share of the support set
LITTLE_TRUST = 0.5  # weight of the signs' score below which a person is told
FEATURE_BATCH = 32
UNSEEN = "no positive in the support set"
NESTED = "config__"


class UnfittedError(NotFittedError, exceptions.NotFittedError):
    """Scoring before fitting, as scikit-learn and this package name it."""


class SDMAD(ClassifierMixin, BaseEstimator, SignDetector):
    """The SD-MAD detector, a scikit-learn classifier of images with several labels.

    The constructor stores what it is given and does nothing else; ``fit`` resolves it. What is
    learnt ends in an underscore. ``config__margin`` and its like name single settings in
    ``set_params`` and in a search's grid.

    >>> import numpy as np
    >>> from sdmad import SDMAD, SDMADConfig
    >>> images = [np.full((128, 128), value, np.uint8) for value in (30, 90, 150)]
    >>> labels = np.array([[1, 0, 0], [0, 1, 0], [0, 0, 0]])
    >>> detector = SDMAD("oct", config=SDMADConfig(epochs=1)).fit(images, labels)
    >>> detector.decision_function(images).shape
    (3, 3)

    Args:
        signs: a sign bank, the name of a packaged one or a YAML file.
        backbone: a loaded backbone, which is neither moved nor altered, or what
            :func:`~sdmad.backbones.load_backbone` takes.
        config: the settings, :class:`SDMADConfig` when None; ``SDMADConfig.paper()`` is the paper
            to the letter.
        seed: of the adapters' initial weights and the order of the images.
        device: ``"auto"`` takes a GPU when there is one, else the CPU.
        precision: of the towers: ``"float32"``, ``"bfloat16"`` or ``"auto"``, which is bfloat16
            where the device has it; adapters are trained in float32 whatever it is.
        image_size: side of the input in pixels of a backbone given by name; its own when None.
        window: how grey values become brightness: ``"auto"``, ``"lut"``, ``"full"``,
            ``"percentiles"`` or (center, width); the backbone's own, mostly auto, when None.

    Attributes:
        classes_: the K category names, ``(K,)``.
        bank_: the resolved signs.
        backbone_: the resolved backbone, where and in which type it runs.
        config_: the resolved settings.
        head_: signs, anchor, kept marks, image evidence and thresholds.
        log_: one entry an epoch: loss and mean cosine between signs.
        notes_: what a person should know about this fit.
        support_hashes_: SHA-256 of each support image's content.
        support_patients_: salted hashes of the support patients; no id is kept.
        thresholds_: a threshold a category for the ``fpr`` rule, or None.
        threshold_hashes_: SHA-256 of each normal image behind the thresholds.
    """

    # What scikit-learn calls X and y is no metadata; normal, patients and masks are.
    __metadata_request__fit = {"images": UNUSED, "labels": UNUSED, "progress": UNUSED}  # noqa: RUF012
    __metadata_request__score = {"images": UNUSED, "labels": UNUSED}  # noqa: RUF012
    __metadata_request__predict = {"images": UNUSED}  # noqa: RUF012
    __metadata_request__decision_function = {"images": UNUSED}  # noqa: RUF012

    def __init__(
        self,
        signs: SignBank | str | Path,
        backbone: Backbone | str | Path = EMBEDDED,
        config: SDMADConfig | None = None,
        seed: int = 0,
        device: str = "auto",
        precision: Precision = "float32",
        image_size: int | None = None,
        window: Window | None = None,
    ) -> None:
        self.signs = signs
        self.backbone = backbone
        self.config = config
        self.seed = seed
        self.device = device
        self.precision = precision
        self.image_size = image_size
        self.window = window

    # Fitting

    def _fit(self, training: TrainingSet) -> None:
        """Train the adapters on the support set, select signs and fix the constants."""
        config, seed = _check_config(self.config), _check_seed(self.seed)
        bank, backbone = self._resolve_bank(), self._resolve_backbone()
        pixels = backbone.preprocessing(training.images)
        image, text_tower = build_adapters(backbone, config, seed)
        texts = SignTexts(bank, backbone, text_tower)
        support = SupportImages(pixels, backbone, image)
        category = torch.tensor(bank.category_index, device=backbone.device)
        targets = torch.tensor(training.labels, dtype=torch.float32, device=backbone.device)
        normal = torch.tensor(training.normal, device=backbone.device)
        log = train_adapters(
            support, texts, targets, category, config, seed, training.progress, normal
        )
        with torch.no_grad():
            text = texts()
        by_patch = reads_patches(backbone, config)
        known = support.features(FEATURE_BATCH, Wanted(evidence=True, patches=by_patch))
        bare = SignHead.build(text, bank, config, by_patch)
        parts = backbone.image.evidence_parts
        trunk = backbone.image.has_trunk
        head, weights = fit_head(bare, known, training.labels, parts, training.patients, trunk)
        emptied = emptied_categories(text.signs, category) if config.selection == "paper" else []
        self.state_ = FittedState(
            bank,
            backbone,
            config,
            seed,
            image,
            texts,
            head,
            tuple(log),
            (
                *_notes(bank, training.labels, emptied),
                *_doubted(weights.prior),
                *_unfamiliar(backbone, known.evidence),
            ),
            tuple(sorted({content_hash(one) for one in training.images})),
            PatientHashes.of(training.patients),
        )
        self.classes_ = np.array(bank.names)

    def _resolve_bank(self) -> SignBank:
        return self.signs if isinstance(self.signs, SignBank) else SignBank.load(self.signs)

    def _resolve_backbone(self) -> Backbone:
        """The backbone that is asked for, loaded, in its place; the caller's own is left alone."""
        device = choose_device(self.device)
        given = self.backbone
        if isinstance(given, Backbone) and self.image_size not in (None, given.preprocessing.size):
            raise InputError(
                f"image_size {self.image_size} goes with a backbone's name; this one was loaded "
                f"with {given.preprocessing.size} px: load_backbone(name, image_size)"
            )
        base = given if isinstance(given, Backbone) else load_backbone(given, self.image_size)
        if self.window is not None:
            window = parse_window(self.window) if isinstance(self.window, str) else self.window
            base = base.with_preprocessing(replace(base.preprocessing, window=window))
        return placed(base, device, choose_precision(self.precision, device))

    @classmethod
    def of_state(cls, state: FittedState, device: str, precision: Precision) -> Self:
        """An estimator whose parameters are those of a fit, already fitted."""
        made = cls(state.bank, state.backbone, state.config, state.seed, device, precision)
        made.state_, made.classes_ = state, np.array(state.bank.names)
        return made

    def with_inference(self, **changes: Any) -> Self:
        """The same training, judged otherwise; its ``config`` says how.

        See :meth:`~sdmad.detector.sign_detector.SignDetector.with_inference`.
        """
        twin = super().with_inference(**changes)
        twin.config = twin.state_.config
        return twin

    # As scikit-learn knows an estimator

    def check_fitted(self) -> None:
        """Raise NotFittedError, an InputError, if it has neither been fitted nor loaded."""
        if not self.__sklearn_is_fitted__():
            raise UnfittedError("this detector is not fitted yet: call fit, or SDMAD.load(folder)")

    def __sklearn_is_fitted__(self) -> bool:
        return hasattr(self, "state_")

    def __sklearn_tags__(self) -> Tags:
        tags = super().__sklearn_tags__()
        tags.input_tags.two_d_array = False  # a list of images, not a matrix of features
        tags.input_tags.string = True  # paths
        tags.target_tags.multi_output = True
        tags.target_tags.single_output = False
        tags.classifier_tags.multi_label = True
        tags.classifier_tags.multi_class = False
        return tags

    score = Detector.score  # unknown labels count neither way, which ClassifierMixin's refuses

    def get_params(self, deep: bool = True) -> dict[str, Any]:
        """The constructor's parameters; if deep, ``config__NAME`` for each setting too."""
        params: dict[str, Any] = super().get_params(deep=False)
        if deep and isinstance(self.config, SDMADConfig | None):
            settings = (self.config or SDMADConfig()).to_dict()
            params |= {f"{NESTED}{name}": value for name, value in settings.items()}
        return params

    def set_params(self, **params: Any) -> Self:
        """Set parameters; ``config__margin=0.1`` replaces one setting.

        Raises:
            InputError: if a setting is unknown or out of range.
            ValueError: if another name is unknown.
        """
        settings = {
            name.removeprefix(NESTED): params.pop(name)
            for name in list(params)
            if name.startswith(NESTED)
        }
        super().set_params(**params)
        if settings:
            self.config = _check_config(self.config).replace(**settings)
        return self

    @property
    def categories(self) -> tuple[str, ...]:  # type: ignore[override]
        """The K category names, in the bank's order; known before fitting."""
        return self.state_.bank.names if hasattr(self, "state_") else self._resolve_bank().names

    @property
    def has_maps(self) -> bool:  # type: ignore[override]
        """Whether the backbone's patches can be read one by one; it is loaded to tell."""
        fitted = hasattr(self, "state_")
        return gives_maps(self.state_.backbone if fitted else self._resolve_backbone())

    @property
    def preprocessing(self) -> Preprocessing:
        """How an image becomes pixel values; the backbone is loaded to tell before fitting."""
        fitted = hasattr(self, "state_")
        return (self.state_.backbone if fitted else self._resolve_backbone()).preprocessing


def _notes(bank: SignBank, labels: NDArray[np.float64], emptied: Sequence[int]) -> tuple[str, ...]:
    """What a person should know: categories without a positive, or without a sign of their own."""
    notes = [
        f"{name}: {UNSEEN}" for k, name in enumerate(bank.names) if not (labels[:, k] == 1).any()
    ]
    if emptied:
        names = ", ".join(bank.names[k] for k in emptied)
        notes.append(
            f"selection discarded every sign of {names}; of each the one with the largest margin "
            "is kept"
        )
    return tuple(notes)


def _doubted(prior: float) -> tuple[str, ...]:
    """Told where the support images contradict the signs' words."""
    if prior >= LITTLE_TRUST:
        return ()
    return (
        f"on these images the signs in words tell little: they weigh {prior:.2f} (1 is usual), and "
        "what was learnt from the images carries; other words may help (sdmad signs check)",
    )


def _unfamiliar(backbone: Backbone, evidence: Tensor | None) -> tuple[str, ...]:
    """Told where many of the support images look like nothing that the backbone learnt from."""
    assert evidence is not None
    count = int(backbone.image.unfamiliar(evidence).sum())
    if count <= MANY_UNFAMILIAR * len(evidence):
        return ()
    return (
        f"{count} of {len(evidence)} support images look like nothing that the backbone "
        f"{backbone.name} learnt signs from: its signs in words may say little there, and what it "
        "learnt from your images has to carry; judge it on images of your own (sdmad evaluate)",
    )


def _check_config(config: SDMADConfig | None) -> SDMADConfig:
    if not isinstance(config, SDMADConfig | None):
        raise InputError(f"config must be an SDMADConfig or None, got {config!r}")
    return config or SDMADConfig()


def _check_seed(seed: int) -> int:
    if isinstance(seed, bool) or not isinstance(seed, int | np.integer) or not 0 <= seed < 2**63:
        raise InputError(f"seed must be a whole number from 0 to 2**63 - 1, got {seed!r}")
    return int(seed)
