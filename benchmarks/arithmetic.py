"""The arithmetic behind docs/reproduction.md: what the paper's own figures and the tables say.

Run ``make arithmetic TABLES=DIR``, where DIR holds ``nih/`` and ``fastmri_plus/`` with the label
tables (plain or gzipped).
"""

from __future__ import annotations

import argparse
import csv
import gzip
from collections import defaultdict
from pathlib import Path

import numpy as np

from sdmad.data.labels import canonical_name
from sdmad.data.sets.chestxray8 import CATEGORIES as CHEST
from sdmad.data.sets.fastmri_plus import CATEGORIES as BRAIN
from sdmad.studies.reproduction.published import published

SYSTEMS = {
    "CLIP": "clip-signs",
    "MedCLIP": "medclip",
    "no SS": "sd-mad-unselected",
    "full": "sd-mad-printed",
}
TABLE5 = {  # the paper's Table 5: six image-level and three pixel-level AUROC, and its Avg. row
    "MVFA": ((92.4, 81.2, 96.2, 82.7, 82.0, 99.4, 97.3, 99.7, 99.0), 92.2),
    "WinCLIP": ((66.8, 67.2, 88.8, 67.5, 70.0, 97.9, 94.1, 96.8, 96.7), 82.9),
    "AnomalyCLIP": ((90.9, 92.4, 95.3, 87.5, 86.7, 99.1, 98.9, 99.4, 97.7), 94.2),
    "Ours": ((91.4, 86.9, 95.2, 81.6, 82.7, 99.8, 96.5, 99.5, 99.0), 92.5),
}


def rows_of(folder: Path, name: str) -> list[list[str]]:
    """Rows of a CSV file, plain or gzipped, its header left out."""
    path = folder / name
    raw = path.read_bytes() if path.exists() else gzip.decompress(Path(f"{path}.gz").read_bytes())
    return list(csv.reader(raw.decode("utf-8-sig").splitlines()))[1:]


def trivial(labels: np.ndarray) -> str:
    """What predictors that look at no image reach."""
    density = labels.mean()
    subset = (~labels.any(axis=1)).mean()
    sets, counts = np.unique(labels, axis=0, return_counts=True)
    often = sets[counts.argmax()]
    prevalence = labels.mean(axis=0) > 0.5
    return (
        f"Hamming of nothing {100 * (1 - density):.1f}, of everything {100 * density:.1f}, "
        f"of prevalence {100 * (labels == prevalence).mean():.1f}; subset of nothing "
        f"{100 * subset:.1f}, of always the most frequent label set "
        f"{100 * counts.max() / len(labels):.1f} ({int(often.sum())} labels)"
    )


def chest(folder: Path) -> None:
    """Trivial predictors on the whole NIH table."""
    findings = [set(row[1].split("|")) for row in rows_of(folder, "Data_Entry_2017_v2020.csv")]
    labels = np.array([[name in found for name in CHEST] for found in findings])
    print(f"NIH, all {len(labels):,} images, 14 findings")
    print(f"  {trivial(labels)}")


def brain(folder: Path) -> None:
    """Positives and trivial predictors of the fastMRI+ slices."""
    reviewed = len(rows_of(folder, "brain_file_list.csv")) + 1  # this list has no header
    prefix = "globallabel:"
    names = {canonical_name(name): name for name in BRAIN}
    for index in (0, 5, 10):
        found: dict[str, set[str]] = defaultdict(set)
        for row in rows_of(folder, "brain.csv"):
            name = names.get(canonical_name(row[7]).removeprefix(prefix))
            if int(float(row[1])) == index and name:
                found[row[0]].add(name)
        labels = np.array([[name in one for name in BRAIN] for one in found.values()])
        everyone = np.zeros((reviewed, len(BRAIN)), dtype=bool)
        everyone[: len(labels)] = labels
        print(f"fastMRI+ slice {index}: positives {labels.sum(0).tolist()}")
        for title, part in (("abnormal only", labels), ("all volumes", everyone)):
            for columns in (6, 5):
                rows = part[:, :columns]
                if title == "abnormal only":
                    rows = rows[rows.any(axis=1)]
                print(f"  {title}, {len(rows)} images, {columns} columns: {trivial(rows)}")


def averages() -> None:
    """The printed averages against the means of the printed figures."""
    places = [("table2", "", ("CNV", "DME", "Drusen")), ("table6", "", CHEST)]
    places += [("table7", f"slice {i}", BRAIN[: 6 if i == 0 else 5]) for i in (0, 5, 10)]
    for table, part, names in places:
        for title, system in SYSTEMS.items():
            figures = [published(table, part, name, system) for name in names]
            mean = float(np.mean([f for f in figures if f is not None]))
            printed = published(table, part, "mean_auroc", system)
            print(f"{table} {part} {title}: mean {mean:.2f}, printed {printed}")
    for title, system in SYSTEMS.items():
        four = [published("table7", "slice 10", name, system) or 0.0 for name in BRAIN[:4]]
        print(f"table7 slice 10 {title}, without enlarged ventricles: mean {np.mean(four):.2f}")
    lowered = [
        name
        for name in CHEST
        if (published("table6", "", name, SYSTEMS["full"]) or 0.0)
        < (published("table6", "", name, SYSTEMS["no SS"]) or 0.0)
    ]
    print(f"table6: selection lowers {len(lowered)} findings: {', '.join(lowered)}")
    for name, (figures, printed_average) in TABLE5.items():
        print(f"table5 {name}: mean {np.mean(figures):.2f}, printed {printed_average}")


def main() -> None:
    """Print everything."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--tables", type=Path, required=True)
    folder = parser.parse_args().tables
    chest(folder / "nih")
    brain(folder / "fastmri_plus")
    averages()


if __name__ == "__main__":
    main()
