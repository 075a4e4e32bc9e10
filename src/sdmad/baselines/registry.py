"""Every compared system by name: where it comes from, what it learns from, how it is built."""

from __future__ import annotations

import difflib
import fnmatch
import importlib
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, Literal

from sdmad.baselines.readme import differs_of
from sdmad.choices import EMBEDDED
from sdmad.errors import InputError

if TYPE_CHECKING:  # a list of the systems must not wait for torch
    import numpy as np
    from numpy.typing import NDArray

    from sdmad.backbones import Backbone
    from sdmad.data.images import ImageSource
    from sdmad.detector.base import Detector, Mask
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
class Recipe:
    """How a system is built.

    Attributes:
        make: makes an unfitted detector with given hyper-parameters; None of a system without.
        published: its hyper-parameters as its authors have them; None of a system without.
        searched: those found on validation phantoms with the embedded backbone, which no author
            knew (docs/searched.md); None where none were searched.
    """

    make: Callable[[Build, Any], Detector]
    published: Any = None
    searched: Any = None


@dataclass(frozen=True)
class System:
    """A compared system.

    Attributes:
        name: what the command line calls it.
        title: its name in tables.
        source: the publication.
        learns_from: what it needs.
        home: the module of this package whose ``RECIPES`` say how it is built, which is imported
            when that is first asked; or the recipe itself.
        single: whether it knows one kind of anomaly only, so that one is fitted a category.
        maps: whether it says where.
        extra: the extra of this package that it needs; empty for none.
        own_settings: whether ``published`` are this project's, not those of a publication.
    """

    name: str
    title: str
    source: str
    learns_from: LearnsFrom
    home: str | Recipe
    single: bool = False
    maps: bool = False
    extra: str = ""
    own_settings: bool = False

    @property
    def seen_thresholds(self) -> bool:
        """Whether its thresholds come from scores of images that it was trained on.

        Detectors of one kind of anomaly take a threshold from the support set's scores, which say
        little where that set is what they learn from: such decisions are not judged.
        """
        return self.single and self.learns_from == SUPPORT

    @property
    def recipe(self) -> Recipe:
        """How it is built."""
        if isinstance(self.home, Recipe):
            return self.home
        found: Recipe = importlib.import_module(f"sdmad.baselines.{self.home}").RECIPES[self.name]
        return found

    @property
    def published(self) -> Any:
        """Its hyper-parameters as its authors have them; None of a system without."""
        return self.recipe.published

    @property
    def searched(self) -> Any:
        """Its hyper-parameters for the embedded backbone; None where none were searched."""
        return self.recipe.searched

    @property
    def differs(self) -> str:
        """What differs from its authors' code, and why, as its README says it.

        Empty where the recipe was given, and no README belongs to it.

        Raises:
            LookupError: if no README does.
        """
        return "" if isinstance(self.home, Recipe) else differs_of(self.name)

    def settings_on(self, backbone: Backbone) -> Any:
        """The hyper-parameters on a backbone: on the embedded one the searched ones."""
        searched = self.searched is not None and backbone.name == EMBEDDED
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
        return self.recipe.make(build, given)


NOTHING: Final = "nothing"
NORMAL: Final = "normal images"
SUPPORT: Final = "support set"
AUXILIARY: Final = "auxiliary set"
CLIP = "Radford et al., Learning Transferable Visual Models, ICML 2021"
MEDCLIP = (
    "Wang et al., MedCLIP: Contrastive Learning from Unpaired Medical Images and Text, EMNLP 2022"
)
TIP = (
    "Zhang et al., Tip-Adapter: Training-free Adaption of CLIP for Few-shot Classification, "
    "ECCV 2022"
)
CROSS_MODAL = (
    "Lin et al., Multimodality Helps Unimodality: Cross-Modal Few-Shot Learning with Multimodal "
    "Models, CVPR 2023"
)
APE = (
    "Zhu et al., Not All Features Matter: Enhancing Few-shot CLIP with Adaptive Prior Refinement, "
    "ICCV 2023"
)
LP_PLUS_PLUS = "Huang et al., LP++: A Surprisingly Strong Linear Probe for Few-Shot CLIP, CVPR 2024"
CLAP = (
    "Silva-Rodriguez et al., A Closer Look at the Few-Shot Adaptation of Large Vision-Language "
    "Models, CVPR 2024"
)
PROKER = (
    "Bendou et al., ProKeR: A Kernel Perspective on Few-Shot Adaptation of Large Vision-Language "
    "Models, CVPR 2025"
)
SDMAD = "SD-MAD, under review at ICLR 2026"
APPENDIX = f"{SDMAD}, appendix 4; Huang et al., CVPR 2024"
INCTRL = (
    "Zhu and Pang, Toward Generalist Anomaly Detection via In-context Residual Learning with "
    "Few-shot Sample Prompts, CVPR 2024"
)
DRA = (
    "Ding, Pang and Shen, Catching Both Gray and Black Swans: Open-set Supervised Anomaly "
    "Detection, CVPR 2022"
)
BGAD = (
    "Yao et al., Explicit Boundary Guided Semi-Push-Pull Contrastive Learning for Supervised "
    "Anomaly Detection, CVPR 2023"
)
WINCLIP = "Jeong et al., WinCLIP: Zero-/Few-Shot Anomaly Classification and Segmentation, CVPR 2023"
UNIVAD = (
    "Gu et al., UniVAD: A Training-free Unified Model for Few-shot Visual Anomaly Detection, "
    "CVPR 2025"
)
PATCHCORE = "Roth et al., Towards Total Recall in Industrial Anomaly Detection, CVPR 2022"
ANOMALY_DINO = (
    "Damm et al., AnomalyDINO: Boosting Patch-based Few-shot Anomaly Detection with DINOv2, "
    "WACV 2025"
)
XPLAINER = (
    "Pellegrini et al., Xplainer: From X-Ray Observations to Explainable Zero-Shot Diagnosis, "
    "MICCAI 2023"
)
COOP = "Zhou et al., Learning to Prompt for Vision-Language Models, IJCV 2022"
ANOMALY_CLIP = (
    "Zhou et al., AnomalyCLIP: Object-agnostic Prompt Learning for Zero-shot Anomaly Detection, "
    "ICLR 2024"
)
AA_CLIP = (
    "Ma et al., AA-CLIP: Enhancing Zero-shot Anomaly Detection via Anomaly-Aware CLIP, CVPR 2025"
)
MVFA = (
    "Huang et al., Adapting Visual-Language Models for Generalizable Anomaly Detection in Medical "
    "Images, CVPR 2024"
)
_ALL = (
    System("clip-names", "zero-shot CLIP, category names", CLIP, NOTHING, "zero_shot"),
    System("clip-ensemble", "zero-shot CLIP, prompt ensemble", CLIP, NOTHING, "zero_shot"),
    System("clip-signs", "zero-shot CLIP, signs", CLIP, NOTHING, "zero_shot"),
    System("clip-signs-selected", "zero-shot CLIP, signs, selection", CLIP, NOTHING, "zero_shot"),
    System("medclip-names", "zero-shot MedCLIP, category names", MEDCLIP, NOTHING, "medclip"),
    System("medclip-ensemble", "zero-shot MedCLIP, prompt ensemble", MEDCLIP, NOTHING, "medclip"),
    System("medclip", "zero-shot MedCLIP, signs", MEDCLIP, NOTHING, "medclip"),
    System("xplainer", "Xplainer", XPLAINER, NOTHING, "xplainer"),
    System("linear-probe", "linear probe", CLIP, SUPPORT, "linear_probe"),
    System("linear-probe-searched", "linear probe, searched", CLIP, SUPPORT, "linear_probe"),
    System("coop", "CoOp", COOP, SUPPORT, "coop"),
    System("tip-adapter", "Tip-Adapter", TIP, SUPPORT, "tip_adapter"),
    System("tip-adapter-f", "Tip-Adapter-F", TIP, SUPPORT, "tip_adapter"),
    System("cross-modal", "cross-modal probe", CROSS_MODAL, SUPPORT, "cross_modal_probe"),
    System("ape", "APE", APE, SUPPORT, "ape"),
    System("ape-t", "APE-T", APE, SUPPORT, "ape_t"),
    System("lp-plus-plus", "LP++", LP_PLUS_PLUS, SUPPORT, "lp_plus_plus"),
    System("clap", "CLAP", CLAP, SUPPORT, "clap"),
    System("proker", "ProKeR", PROKER, SUPPORT, "proker"),
    System(
        "sd-mad-unselected", "SD-MAD as printed, no selection", SDMAD, SUPPORT, "sd_mad", maps=True
    ),
    System("sd-mad-printed", "SD-MAD as printed", SDMAD, SUPPORT, "sd_mad", maps=True),
    System("sd-mad-searched", "SD-MAD as printed, searched", SDMAD, SUPPORT, "sd_mad", maps=True),
    System("sd-mad", "SD-MAD recommended", SDMAD, SUPPORT, "sd_mad", maps=True, own_settings=True),
    System("inctrl", "InCTRL", INCTRL, AUXILIARY, "inctrl.detector", single=True),
    System("dra", "DRA", DRA, SUPPORT, "dra.detector", single=True, extra="timm"),
    System("dra-imagenet", "DRA on EfficientNet-Lite0", DRA, SUPPORT, "dra.detector", single=True),
    System("bgad", "BGAD", BGAD, SUPPORT, "bgad.detector", single=True, maps=True, extra="bgad"),
    System(
        "bgad-imagenet",
        "BGAD on EfficientNet-Lite0",
        BGAD,
        SUPPORT,
        "bgad.detector",
        single=True,
        maps=True,
        extra="bgad",
    ),
    System(
        "winclip",
        "WinCLIP, zero-shot",
        WINCLIP,
        NOTHING,
        "winclip.detector",
        single=True,
        maps=True,
    ),
    System(
        "winclip-few",
        "WinCLIP+, few normal images",
        WINCLIP,
        NORMAL,
        "winclip.detector",
        single=True,
        maps=True,
    ),
    System("univad", "UniVAD", UNIVAD, NORMAL, "univad.detector", single=True, maps=True),
    System(
        "univad-embedded",
        "UniVAD on the embedded trunk",
        UNIVAD,
        NORMAL,
        "univad.detector",
        single=True,
        maps=True,
    ),
    System("patchcore", "PatchCore", PATCHCORE, NORMAL, "patchcore", single=True, maps=True),
    System(
        "anomaly-dino", "AnomalyDINO", ANOMALY_DINO, NORMAL, "anomaly_dino", single=True, maps=True
    ),
    System(
        "anomaly-clip",
        "AnomalyCLIP",
        ANOMALY_CLIP,
        AUXILIARY,
        "anomaly_clip",
        single=True,
        maps=True,
    ),
    System("aa-clip", "AA-CLIP", AA_CLIP, AUXILIARY, "aa_clip.detector", single=True, maps=True),
    System("mvfa", "MVFA", MVFA, SUPPORT, "mvfa.detector", single=True, maps=True),
    System("sd-mad-mvfa", "SD-MAD + MVFA", APPENDIX, SUPPORT, "sdmad_mvfa", maps=True),
)
SYSTEMS = {system.name: system for system in _ALL}
"""Every system by name, in the tables' order."""


def load_system(name: str) -> System:
    """The system called ``name``.

    Raises:
        InputError: if there is no such system.
    """
    if name not in SYSTEMS:
        raise _unknown(name)
    return SYSTEMS[name]


def list_systems() -> tuple[System, ...]:
    """All systems, in the tables' order."""
    return tuple(SYSTEMS.values())


def match_systems(pattern: str) -> tuple[str, ...]:
    """Names of the systems that a list of names and wildcards means, each once.

    >>> match_systems("sd-mad*, clip-names")[-2:]
    ('sd-mad-mvfa', 'clip-names')

    Args:
        pattern: names separated by commas, with ``*``, ``?`` and ``[...]`` as in a shell.

    Raises:
        InputError: if a name or a wildcard means no system.
    """
    found: dict[str, None] = {}
    for part in pattern.split(","):
        matching = fnmatch.filter(SYSTEMS, part.strip())
        if not matching:
            raise _unknown(part.strip())
        found |= dict.fromkeys(matching)
    return tuple(found)


def _unknown(name: str) -> InputError:
    near = difflib.get_close_matches(name, SYSTEMS, n=3)
    meant = f"; did you mean {' or '.join(near)}?" if near else "."
    return InputError(f"no system {name!r}{meant} There are {', '.join(SYSTEMS)}")
