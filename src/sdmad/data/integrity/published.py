"""How many images each data set was published with.

Each figure names its source. A data set without an entry has no published count that could be
opened and checked.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from sdmad.data.sets.fastmri_plus import SMALL_VESSEL


@dataclass(frozen=True)
class Published:
    """One release of a data set.

    Attributes:
        source: where the figures come from.
        counts: by split ("all" for the whole) and by name: a category, "normal", "images",
            "patients", or a thing that the data set's own check counts.
    """

    source: str
    counts: Mapping[str, Mapping[str, int]]


_NIH = {
    "images": 112_120,
    "patients": 30_805,
    "normal": 60_361,
    "Atelectasis": 11_559,
    "Cardiomegaly": 2_776,
    "Effusion": 13_317,
    "Infiltration": 19_894,
    "Mass": 5_782,
    "Nodule": 6_331,
    "Pneumonia": 1_431,
    "Pneumothorax": 5_302,
    "Consolidation": 4_667,
    "Edema": 2_303,
    "Emphysema": 2_516,
    "Fibrosis": 1_686,
    "Pleural_Thickening": 3_385,
    "Hernia": 227,
}
_OCT_FINDINGS = {"CNV": 37_205, "DME": 11_348, "DRUSEN": 8_616}
_OCT_TEST = {"CNV": 250, "DME": 250, "DRUSEN": 250, "normal": 250}

_BMAD_SOURCE = (
    "split sizes of BMAD's archives (Bao et al., arxiv.org/abs/2306.11876), as repositories that "
    "use them state them"
)
_BMAD_SIZES: Mapping[str, Mapping[str, int]] = {
    "brain": {"train": 7_500, "valid": 83, "test": 3_715},
    "liver": {"train": 1_542, "valid": 166, "test": 1_493},
    "resc": {"train": 4_297, "valid": 115, "test": 1_805},
    "oct2017": {"train": 26_315, "valid": 32, "test": 968},
    "rsna": {"train": 8_000, "valid": 1_490, "test": 17_194},
    "camelyon16": {"train": 5_088, "test": 1_997},
}


def _bmad(sizes: Mapping[str, int]) -> tuple[Published, ...]:
    counts = {split: {"images": images} for split, images in sizes.items()}
    return (Published(_BMAD_SOURCE, counts),)


PUBLISHED: Mapping[str, tuple[Published, ...]] = {
    "chestxray8": (
        Published(
            "counted in the NIH's Data_Entry_2017_v2020.csv; the two official lists have 86,524 "
            "and 25,596 lines",
            {"all": _NIH, "train": {"images": 86_524}, "test": {"images": 25_596}},
        ),
    ),
    "oct17": (
        Published(
            "Mendeley Data rscbjbr9sj, version 2 and later, and Kaggle; val was taken from test",
            {"train": {**_OCT_FINDINGS, "normal": 26_315}, "test and val": _OCT_TEST},
        ),
        Published(
            "Mendeley Data rscbjbr9sj, version 1 (108,309 training images)",
            {"train": {**_OCT_FINDINGS, "normal": 51_140}, "test and val": _OCT_TEST},
        ),
    ),
    "fastmri-plus": (
        Published(
            "counted in Annotations/brain.csv and brain_file_list.csv of microsoft/fastmri-plus, "
            "commit 67ed9a6; volumes with each category at a slice",
            {
                "all": {"reviewed volumes": 1_001, "annotated volumes": 997, "rows": 8_213},
                "slice 0": {
                    "Craniotomy": 28,
                    "Posttreatment change": 54,
                    "Nonspecific lesion": 70,
                    "Dural thickening": 23,
                    "Enlarged ventricles": 37,
                    SMALL_VESSEL: 220,
                },
                "slice 5": {
                    "Craniotomy": 43,
                    "Posttreatment change": 71,
                    "Nonspecific lesion": 50,
                    "Dural thickening": 25,
                    "Enlarged ventricles": 31,
                },
                "slice 10": {
                    "Craniotomy": 67,
                    "Posttreatment change": 64,
                    "Nonspecific lesion": 27,
                    "Dural thickening": 13,
                    "Enlarged ventricles": 2,
                },
            },
        ),
    ),
    **{f"bmad-{name}": _bmad(sizes) for name, sizes in _BMAD_SIZES.items()},
}
"""Releases of each data set; a download must agree with one of them."""
