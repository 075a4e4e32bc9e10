"""Images by split and category, beside what was published."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from sdmad.data.integrity.problems import Count, Problem, Verdict, listed, passed
from sdmad.data.integrity.published import PUBLISHED, Published
from sdmad.data.sets.base import DataSet
from sdmad.data.sets.fastmri_plus import CATEGORIES, SMALL_VESSEL, FastMRIPlus
from sdmad.data.table import EVALUATION_SPLITS, LabelTable

CHECK = "counts"
PAPER_SLICES = (0, 5, 10)
Counts = Mapping[str, Mapping[str, int]]


def check_counts(data: DataSet) -> tuple[Problem, tuple[Count, ...]]:
    """Compare the counts with the release that they are nearest to.

    Rows of the table count whether or not their file is there; a check of its own looks for files.
    """
    found = count_slices(data) if isinstance(data, FastMRIPlus) else count_images(data.table)
    releases = PUBLISHED.get(data.name, ())
    if not releases:
        what = f"{len(data)} images; no published counts to compare with"
        return passed(CHECK, what), _beside(found, {})
    release = min(releases, key=lambda release: _distance(found, release))
    differences = _differences(found, release)
    counts = _beside(found, release.counts)
    if not differences:
        return passed(CHECK, f"as published ({release.source})"), counts
    what = f"{len(differences)} counts differ from those published ({release.source})"
    mend = "compare with the table of counts; download or unpack again what is short"
    return Problem(CHECK, Verdict.FAIL, what, listed(differences), mend, len(differences)), counts


def count_images(table: LabelTable) -> Counts:
    """Images, patients and positives: in all, a split, and test with val."""
    splits = np.array(table.splits or ("",) * len(table))
    parts = {"all": np.ones(len(table), dtype=np.bool_)}
    for split in dict.fromkeys(splits.tolist()):
        if split:
            parts[split] = splits == split
    if "val" in parts and any(split in EVALUATION_SPLITS for split in parts):
        parts["test and val"] = np.isin(splits, [*EVALUATION_SPLITS, "val"])
    elif "test" in parts:
        parts["test and val"] = parts["test"]
    return {name: _count_part(table, part) for name, part in parts.items()}


def _count_part(table: LabelTable, part: np.ndarray) -> Mapping[str, int]:
    counts = {"images": int(part.sum())}
    if table.patients is not None:
        known = [table.patients[i] for i in np.flatnonzero(part) if table.patients[i]]
        counts["patients"] = len(set(known))
    counts["normal"] = int((table.normal & part).sum())
    positives = (table.labels[part] == 1).sum(axis=0).tolist()
    return {**counts, **dict(zip(table.categories, map(int, positives), strict=True))}


def count_slices(data: FastMRIPlus) -> Counts:
    """Volumes that show each category at slices 0, 5 and 10, and what the tables hold."""
    notes = data.annotations
    counts = {
        "all": {
            "reviewed volumes": len(data.reviewed),
            "annotated volumes": len({note.file for note in notes}),
            "rows": len(notes),
        }
    }
    for index in PAPER_SLICES:
        names = CATEGORIES if index == 0 else [c for c in CATEGORIES if c != SMALL_VESSEL]
        shown = {(n.file, n.label) for n in notes if n.slice_index == index}
        counts[f"slice {index}"] = {
            name: sum(label == name for _, label in shown) for name in names
        }
    return counts


def _distance(found: Counts, release: Published) -> int:
    """How many images lie between what is found and a release."""
    return sum(
        abs(found.get(split, {}).get(name, 0) - published)
        for split, counts in release.counts.items()
        for name, published in counts.items()
    )


def _differences(found: Counts, release: Published) -> list[str]:
    return [
        f"{split} {name}: {found.get(split, {}).get(name, 0):,} of {published:,}"
        for split, counts in release.counts.items()
        for name, published in counts.items()
        if found.get(split, {}).get(name, 0) != published
    ]


def _beside(found: Counts, published: Counts) -> tuple[Count, ...]:
    return tuple(
        Count(split, name, number, published.get(split, {}).get(name))
        for split, counts in found.items()
        if split != "test and val" or split in published
        for name, number in counts.items()
    )
