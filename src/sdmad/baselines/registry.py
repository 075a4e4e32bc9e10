"""Every compared system by name: where it comes from, what it learns from, how it is built."""

from __future__ import annotations

import importlib
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from sdmad.backbones import Backbone
from sdmad.baselines.readme import differs_of
from sdmad.data.images import ImageSource
from sdmad.detector.base import Detector, Mask
from sdmad.errors import InputError
from sdmad.signs import SignBank

LearnsFrom = Literal["nothing", "normal images", "support set", "auxiliary set"]


@dataclass(frozen=True)
class Auxiliary:
    """Images of other modalities, for systems that are trained elsewhere and then only applied.

    Attributes:
        images: arrays or paths.
        abnormal: which are abnormal, boolean ``(n,)``.
        masks: where, boolean ``(H, W)`` each; all false for a normal image.
        modalities: what each image is, such as ``"brain MRI"``, for systems that name it or compare
            images of one kind; empty where all are of one kind.
    """

    images: tuple[ImageSource, ...]
    abnormal: NDArray[np.bool_]
    masks: tuple[Mask, ...]
    modalities: tuple[str, ...] = ()


@dataclass(frozen=True)
class Build:
    """What a system is built from.

    Attributes:
        bank: the signs; its categories are the columns of the labels.
        backbone: the frozen model.
        seed: of everything that is drawn.
        auxiliary: gives the auxiliary set; called only by systems that need it.
    """

    bank: SignBank
    backbone: Backbone
    seed: int
    auxiliary: Callable[[], Auxiliary]


@dataclass(frozen=True)
class System:
    """A compared system.

    Attributes:
        name: what the command line calls it.
        title: its name in tables.
        source: the publication.
        learns_from: what it needs.
        make: makes an unfitted detector with given hyper-parameters; None of a system without.
        single: whether it knows one kind of anomaly only, so that one is fitted a category.
        maps: whether it says where.
        extra: the extra of this package that it needs; empty for none.
        published: its hyper-parameters as its authors have them; None of a system without.
        own_settings: whether ``published`` are this project's, not those of a publication.
        searched: those found on validation phantoms with the nano backbone, which no author knew
            (docs/searched.md); None where none were searched.
    """

    name: str
    title: str
    source: str
    learns_from: LearnsFrom
    make: Callable[[Build, Any], Detector]
    single: bool = False
    maps: bool = False
    extra: str = ""
    published: Any = None
    own_settings: bool = False
    searched: Any = None

    @property
    def differs(self) -> str:
        """What differs from its authors' code, and why, as its README says it.

        Raises:
            LookupError: if no README does.
        """
        return differs_of(self.name)

    def settings_on(self, backbone: Backbone) -> Any:
        """The hyper-parameters on a backbone: the searched ones on the nano, else the published."""
        searched = self.searched is not None and backbone.name == SEARCHED_ON
        return self.searched if searched else self.published

    def build(self, build: Build, settings: Any = None) -> Detector:
        """An unfitted detector.

        Args:
            build: what it is built from.
            settings: other hyper-parameters than :meth:`settings_on` the backbone.

        Raises:
            SDMADError: if an extra, weights, or a tower of the right kind is missing.
        """
        given = self.settings_on(build.backbone) if settings is None else settings
        return self.make(build, given)


SEARCHED_ON = "nano"


MODULES = {
    "clip-names": "zero_shot",
    "clip-ensemble": "zero_shot",
    "clip-signs": "zero_shot",
    "clip-signs-selected": "zero_shot",
    "medclip-names": "medclip",
    "medclip-ensemble": "medclip",
    "medclip": "medclip",
    "xplainer": "xplainer",
    "linear-probe": "linear_probe",
    "linear-probe-searched": "linear_probe",
    "coop": "coop",
    "tip-adapter": "tip_adapter",
    "tip-adapter-f": "tip_adapter",
    "sd-mad-unselected": "sd_mad",
    "sd-mad-printed": "sd_mad",
    "sd-mad-searched": "sd_mad",
    "sd-mad": "sd_mad",
    "inctrl": "inctrl.detector",
    "dra": "dra.detector",
    "dra-patches": "dra.detector",
    "bgad": "bgad.detector",
    "bgad-patches": "bgad.detector",
    "winclip": "winclip.detector",
    "winclip-few": "winclip.detector",
    "anomaly-clip": "anomaly_clip",
    "aa-clip": "aa_clip.detector",
    "mvfa": "mvfa.detector",
    "sd-mad-mvfa": "sdmad_mvfa",
}
"""System name to the module of this package whose ``SYSTEMS`` holds it, in the tables' order."""


def load_system(name: str) -> System:
    """The system called ``name``.

    Raises:
        InputError: if there is no such system.
    """
    if name not in MODULES:
        raise InputError(f"no system {name!r}; there are {', '.join(MODULES)}")
    module = importlib.import_module(f"sdmad.baselines.{MODULES[name]}")
    found: dict[str, System] = {system.name: system for system in module.SYSTEMS}
    return found[name]


def list_systems() -> tuple[System, ...]:
    """All systems, in the tables' order."""
    return tuple(load_system(name) for name in MODULES)
