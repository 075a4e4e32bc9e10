"""Does the size, format or depth of an image give its class away?"""

from __future__ import annotations

import zlib
from collections import Counter
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from sdmad.data.headers import Header
from sdmad.data.integrity.problems import Problem, Verdict, listed, passed
from sdmad.data.integrity.scan import Scan

CHECK = "size and format"
THRESHOLD = 0.65
"""AUROC from which a class counts as given away; chance is 0.5."""

FEWEST = 10
"""Images that a class and its opposite need at least to be judged."""

NORMAL = "normal"
_SIGMAS = 2.0
Flags = NDArray[np.bool_]


@dataclass(frozen=True)
class Shortcut:
    """How well the header alone tells one class from the rest.

    Attributes:
        name: the class.
        auroc: area under the ROC curve of the header's score on images that it was not fitted on.
        error: its standard error (Hanley and McNeil 1982).
        tells: the header that tells most, in words.
    """

    name: str
    auroc: float
    error: float
    tells: str

    @property
    def gives_away(self) -> bool:
        """Whether the AUROC reaches the threshold and lies two standard errors above chance."""
        return self.auroc >= THRESHOLD and self.auroc - _SIGMAS * self.error > 0.5


def check_shortcuts(scan: Scan) -> Problem:
    """Predict each class from format, depth and size of the image file alone.

    The images are halved by patient. The score of an image is the share of the class among the
    images of the other half with the same header; the AUROC of both halves is averaged. No pixel
    is decoded.
    """
    table = scan.data.table
    headers = [scan.header(row) for row in range(len(table))]
    there = np.array([header is not None for header in headers], dtype=np.bool_)
    names = [_name(header) for header in headers]
    halves = np.array([zlib.crc32(key.encode()) % 2 for key in table.patient_keys()]) == 1
    classes = {NORMAL: (table.normal, there)} if table.normal.any() else {}
    for k, category in enumerate(table.categories):
        known = there & ~np.isnan(table.labels[:, k])
        classes[category] = (table.labels[:, k] == 1, known)
    judged = [
        found
        for name, (member, known) in classes.items()
        if (found := judge(name, names, member, known, halves)) is not None
    ]
    if not judged:
        few = f"no class has {FEWEST} images and {FEWEST} others; not judged"
        return passed(CHECK, few if there.any() else "no header could be read")
    telling = sorted((s for s in judged if s.gives_away), key=lambda s: -s.auroc)
    if not telling:
        best = max(judged, key=lambda s: s.auroc)
        return passed(
            CHECK,
            f"tell no class (at most AUROC {best.auroc:.2f}, {best.name}; "
            f"threshold {THRESHOLD:.2f}); {len(set(names))} kinds of header",
        )
    what = (
        f"size, format or depth alone tell {len(telling)} of {len(judged)} classes "
        f"(AUROC of at least {THRESHOLD:.2f})"
    )
    where = listed(f"{s.name}: AUROC {s.auroc:.2f}; {s.tells}" for s in telling)
    mend = (
        "a detector may learn the origin instead of the disease: take the classes from one "
        "source, or bring all images to one size and format and mind what remains"
    )
    return Problem(CHECK, Verdict.WARN, what, where, mend, len(telling))


def judge(
    name: str, headers: list[str], member: Flags, known: Flags, halves: Flags
) -> Shortcut | None:
    """Judge one class.

    Args:
        name: the class.
        headers: of each image, in words.
        member: images of the class, shape ``(n,)``.
        known: images that count, shape ``(n,)``.
        halves: which half each image belongs to, shape ``(n,)``.

    Returns:
        None where either side has fewer than `FEWEST` images in all or none in a half.
    """
    if min((member & known).sum(), (~member & known).sum()) < FEWEST:
        return None
    _, kinds = np.unique(np.array(headers), return_inverse=True)
    scores = np.zeros(len(headers))
    areas = []
    for half in (halves & known, ~halves & known):
        other = known & ~half
        if not other.any() or not (half & member).any() or not (half & ~member).any():
            return None
        seen = np.bincount(kinds[other], minlength=kinds.max() + 1)
        hits = np.bincount(kinds[other & member], minlength=kinds.max() + 1)
        share = (other & member).sum() / other.sum()
        rates = np.where(seen > 0, hits / np.maximum(seen, 1), share)
        scores[half] = rates[kinds[half]]
        areas.append(_area(scores[half], member[half]))
    auroc = float(np.mean(areas))
    positives, negatives = int((member & known).sum()), int((~member & known).sum())
    error = _hanley(auroc, positives, negatives)
    return Shortcut(name, auroc, error, _most_telling(headers, member, known))


def _area(scores: NDArray[np.float64], member: Flags) -> float:
    """AUROC; ties count half."""
    values, positions = np.unique(scores, return_inverse=True)
    yes = np.bincount(positions[member], minlength=len(values))
    no = np.bincount(positions[~member], minlength=len(values))
    below = np.cumsum(no) - no
    return float((yes * (below + no / 2)).sum() / (yes.sum() * no.sum()))


def _hanley(auroc: float, positives: int, negatives: int) -> float:
    """Standard error of an AUROC (Hanley and McNeil 1982, equation 1)."""
    q1, q2 = auroc / (2 - auroc), 2 * auroc**2 / (1 + auroc)
    square = auroc**2
    variance = (
        auroc * (1 - auroc) + (positives - 1) * (q1 - square) + (negatives - 1) * (q2 - square)
    )
    return float(np.sqrt(variance / (positives * negatives)))


def _most_telling(headers: list[str], member: Flags, known: Flags) -> str:
    """The header whose share differs most between the class and the rest."""
    inside = Counter(np.array(headers)[member & known].tolist())
    outside = Counter(np.array(headers)[~member & known].tolist())
    yes, no = sum(inside.values()), sum(outside.values())
    kind = max({**inside, **outside}, key=lambda k: (abs(inside[k] / yes - outside[k] / no), k))
    return f"{kind}: {inside[kind]} of {yes}, and {outside[kind]} of {no} others"


def _name(header: Header | None) -> str:
    if header is None:
        return ""
    slices = f" x {header.slices}" if header.slices > 1 else ""
    return f"{header.kind} {header.mode} {header.shape[1]} x {header.shape[0]}{slices}"
