"""``docs/unfamiliar.md``: how well a model tells images of another kind from its own.

Run ``make familiar``. A model is fitted on four shots of a modality's phantoms, test style; it
then sees new images of its kind, of the other studied modalities, and of its own modality in the
pretraining and the distant style.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch
from sklearn.metrics import roc_auc_score
from torch import Tensor

from benchmarks.made_with import write_page
from sdmad import SDMAD, SignBank, load_backbone
from sdmad.backbones import Backbone
from sdmad.data.fewshot import draw_support
from sdmad.phantoms.cases import STUDIED, draw_cases, load_modality
from sdmad.studies.material import Material, phantom_data
from sdmad.table import Table

IMAGES, SEED, SHOTS, DRAWS, OTHERS = 300, 9000, 4, 5, 150

HEAD = f"""# Is it my kind of image?
Written by `make familiar`; do not edit by hand. A model fitted on {SHOTS} shots of phantoms in the
test style, {DRAWS} draws, embedded backbone. AUROC of the cosine with the support's mean evidence,
images of its own kind against others; and the share that is called `unfamiliar`, in percent. For
images of its own kind that is half a percent by design, were the cosines normal.

"""


@torch.no_grad()
def cosines(detector: SDMAD, pixels: Tensor) -> np.ndarray:
    """Of images with the mean direction of the support's evidence."""
    found = []
    for part in pixels.split(32):
        evidence = detector.image_features(part).evidence
        assert evidence is not None
        assert detector.head_.familiarity is not None
        found.append(evidence @ detector.head_.familiarity.centre)
    return torch.cat(found).numpy()


def drawn(backbone: Backbone, modality: str, style: str) -> Tensor:
    """Pixels of new images of a modality in a style."""
    cases = draw_cases(load_modality(modality), OTHERS, SEED + 1, style)
    return torch.cat([backbone.preprocessing([case.image]) for case in cases])


def rows(folder: Path) -> Iterator[tuple[str, ...]]:
    """One row a modality."""
    backbone = load_backbone("lite")
    others = {name: drawn(backbone, name, "test") for name in STUDIED}
    for name in STUDIED:
        data = phantom_data(name, folder, IMAGES, SEED, "test", print)
        table = Material(data, SignBank.load(name)).table
        kinds = {other: pixels for other, pixels in others.items() if other != name}
        kinds |= {
            f"{style} style": drawn(backbone, name, style) for style in ("pretraining", "distant")
        }
        told: dict[str, list[tuple[float, float]]] = {}
        for seed in range(DRAWS):
            support = table.subset(draw_support(table, SHOTS, seed).indices)
            detector = SDMAD(SignBank.load(name), backbone).fit(support.files, support.labels)
            assert detector.head_.familiarity is not None
            least, own = detector.head_.familiarity.least, cosines(detector, others[name])
            told.setdefault("own kind", []).append((float("nan"), float((own < least).mean())))
            for kind, pixels in kinds.items():
                values = cosines(detector, pixels)
                truth = np.repeat([1, 0], [len(own), len(values)])
                auroc = roc_auc_score(truth, np.concatenate([own, values]))
                told.setdefault(kind, []).append((float(auroc), float((values < least).mean())))
        for kind, figures in told.items():
            auroc, share = np.mean(figures, axis=0)
            shown = "-" if np.isnan(auroc) else f"{100 * auroc:.1f}"
            yield name, kind, shown, f"{100 * share:.1f}"


def main() -> None:
    """Measure and write the page."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, default=Path("out/familiar"))
    parser.add_argument("--docs", type=Path, default=Path("docs/unfamiliar.md"))
    options = parser.parse_args()
    header = ("Fitted on", "Sees", "AUROC", "Called unfamiliar, %")
    table = Table("Own and other kinds of image", header, tuple(rows(options.out)), "")
    write_page(options.docs, HEAD + table.markdown())


if __name__ == "__main__":
    main()
