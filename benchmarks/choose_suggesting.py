"""The part of ``docs/suggested.md`` on how ``sdmad suggest`` chooses the images to label.

``python -m benchmarks.choose_suggesting`` judges the ways on the phantoms of
:mod:`benchmarks.validation`, a file a draw, and goes on where it was interrupted;
``make suggested`` writes the page.
"""

from __future__ import annotations

import argparse
import itertools
import json
import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from sklearn.cluster import KMeans
from torch import Tensor

from benchmarks.validation import DRAWS, IMAGES, NEAR, Set, choose, ranks, sets, styles
from sdmad.backbones import Backbone
from sdmad.data.fewshot import draw_support
from sdmad.data.table import LabelTable
from sdmad.detector.config import SDMADConfig
from sdmad.detector.cross_fitting import fit_head
from sdmad.detector.features import ImageFeatures, reads_patches
from sdmad.detector.head import SignHead, TextFeatures
from sdmad.detector.patients import patient_numbers
from sdmad.detector.suggesting import doubt, spread
from sdmad.evaluation.metrics import mean_auroc
from sdmad.output import write_json
from sdmad.phantoms.cases import STUDIED
from sdmad.signs import SignBank
from sdmad.table import Table

STEP, ROUNDS = 8, 4
ANY = "any images"

RULE = f"""## How the images are chosen
Asked since what was suggested first, images by doubt times distance from those chosen before, did
worse than any images on real brain tumours and no better on three of the other four sets, as above.

**The rule**, written before the first run. Ways to choose from the pool, where the doubt of an
image is that of its most doubtful category and images lie near each other by the cosine of what the
tower knows of them, less its mean; the simpler first:

- *doubt*: the most doubtful.
- *typical*: k-means with as many clusters as images are asked for; of each the image nearest its
  centre.
- *doubt, spread*: one after the other by doubt times distance from those chosen before (a weighted
  farthest-first traversal); what sdmad 0.2 did until this choice.
- *doubt of each cluster*: k-means as above; of each cluster the most doubtful.
- *typical among doubts*: k-means in which an image weighs as much as its doubt; of each cluster the
  image nearest its centre (Zhdanov 2019).
- *doubt by category*: categories by turns, each the image that is most doubtful in it.

Data: {IMAGES} validation phantoms a modality in both styles, with the clean bank, with another
modality's words, and seen by a tower whose transformer was never trained
([settings.md](settings.md) says why); half of the patients are the pool, the other half is judged.
From a draw of one shot a category on, {STEP} images are labelled at a time, {ROUNDS} times;
{DRAWS} draws. A way's figure is the mean AUROC of the categories over the {ROUNDS} rounds. In each
cell the ways are ranked by the mean over the draws; the least mean rank wins, but the first of the
list within {NEAR:g} of it is taken. Any images stand beside the ways, unranked.
"""


AFTER = """
The way stays. None of them is worth much at so few labels: in each group every way lies within 0.9
points of any images, the chosen one 0.0 to 0.6 ahead.
"""
"""What was seen once the choice was made."""


@dataclass(frozen=True)
class Choice:
    """What a way may look at.

    Attributes:
        doubts: of each category, ``(n, K)``, 0 to 1.
        evidence: what lies near is alike, ``(n, E)``.
        count: how many images to choose.
        seed: of the draw.
    """

    doubts: NDArray[np.float64]
    evidence: Tensor
    count: int
    seed: int

    @cached_property
    def directions(self) -> NDArray[np.float64]:
        """Of the evidence, less its mean, unit length, ``(n, E)``."""
        known = self.evidence.double().numpy()
        known = known - known.mean(axis=0)
        return np.asarray(known / np.linalg.norm(known, axis=1, keepdims=True))

    @property
    def most(self) -> NDArray[np.float64]:
        """Of the most doubtful category, ``(n,)``."""
        return np.asarray(self.doubts.max(axis=1))


def _doubt(given: Choice) -> list[int]:
    return np.argsort(-given.most, kind="stable")[: given.count].tolist()


def _clusters(given: Choice, weight: NDArray[np.float64] | None = None) -> KMeans:
    return KMeans(given.count, n_init=4, random_state=0).fit(given.directions, None, weight)


def _nearest(given: Choice, clusters: KMeans) -> list[int]:
    """Of each cluster the image nearest its centre, each once."""
    chosen: list[int] = []
    distance = clusters.transform(given.directions)
    for cluster in range(given.count):
        away = distance[:, cluster].copy()
        away[chosen] = np.inf
        chosen.append(int(away.argmin()))
    return chosen


def _doubt_of_each(given: Choice) -> list[int]:
    labels = _clusters(given).labels_
    alone = [np.where(labels == cluster, given.most, -1.0) for cluster in range(given.count)]
    return [int(worth.argmax()) for worth in alone]


def _by_category(given: Choice) -> list[int]:
    chosen: list[int] = []
    left = given.doubts.copy()
    for place in range(given.count):
        best = int(left[:, place % left.shape[1]].argmax())
        chosen.append(best)
        left[best] = -1.0
    return chosen


WAYS: dict[str, Callable[[Choice], list[int]]] = {
    "doubt": _doubt,
    "typical": lambda given: _nearest(given, _clusters(given)),
    "doubt, spread": lambda given: spread(given.most, given.evidence, given.count),
    "doubt of each cluster": _doubt_of_each,
    "typical among doubts": lambda given: _nearest(given, _clusters(given, given.most + 1e-9)),
    "doubt by category": _by_category,
}
"""The simpler first."""


def any_images(given: Choice) -> list[int]:
    """Any of them."""
    rng = np.random.default_rng((given.seed, len(given.doubts)))
    return rng.choice(len(given.doubts), given.count, replace=False).tolist()


@dataclass(frozen=True)
class Pool:
    """Images, embedded once, of which half of the patients may be labelled.

    Attributes:
        table: their labels.
        bank: of the categories.
        backbone: what embedded them.
        features: of every image.
        text: of the bank's signs.
    """

    table: LabelTable
    bank: SignBank
    backbone: Backbone
    features: ImageFeatures
    text: TextFeatures

    def curve(self, way: Callable[[Choice], list[int]], seed: int, rounds: int) -> list[float]:
        """AUROC on the judged half after each round of labels, the first without any more."""
        patient = patient_numbers(self.table.patients or (), len(self.table))
        rng = np.random.default_rng(seed)
        judged = (rng.permutation(patient.max() + 1) % 2).astype(bool)[patient]
        pool = np.flatnonzero(~judged)
        drawn = pool[np.array(draw_support(self.table.subset(pool.tolist()), 1, seed).indices)]
        found = []
        for _ in range(rounds + 1):
            head = self._head(drawn)
            scores = head(self.features.rows(judged)).scores
            found.append(100 * float(mean_auroc(self.table.labels[judged], scores)))
            left = np.setdiff1d(pool, drawn)
            drawn = np.concatenate([drawn, left[self._next(head, left, way, seed)]])
        return found

    def _head(self, drawn: NDArray[np.int64]) -> SignHead:
        config, image = SDMADConfig(), self.backbone.image
        bare = SignHead.build(self.text, self.bank, config, reads_patches(self.backbone, config))
        keys = self.table.patient_keys()
        known = (self.features.rows(drawn), self.table.labels[drawn])
        patients = [keys[row] for row in drawn]
        return fit_head(bare, *known, image.evidence_parts, patients, image.has_trunk)[0]

    def _next(
        self,
        head: SignHead,
        left: NDArray[np.int64],
        way: Callable[[Choice], list[int]],
        seed: int,
    ) -> list[int]:
        features = self.features.rows(left)
        assert features.evidence is not None
        scores, count = head(features).scores, min(STEP, len(left))
        return way(Choice(doubt(scores), features.evidence, count, seed))


def cell(one: Set, bank: SignBank, seed: int) -> dict[str, list[float]]:
    """The figure of each way on one draw, and of any images."""
    text = TextFeatures.encode(bank, one.backbone)
    pool = Pool(one.table, bank, one.backbone, one.features, text)
    return {
        name: [float(np.mean(pool.curve(way, seed, ROUNDS)[1:]))]
        for name, way in {**WAYS, ANY: any_images}.items()
    }


def run(folder: Path, modalities: Sequence[str]) -> dict[str, dict[str, list[float]]]:
    """Run what is missing, a file a draw."""
    cells = {}
    for one in sets(folder, modalities):
        kinds = one.kinds()
        for seed, kind in itertools.product(range(DRAWS), ("clean", "foreign", "unschooled")):
            key = f"{one.modality}-{one.style}-{kind}-1-{seed}"
            path = folder / "suggesting" / f"{key}.json"
            if not path.exists():
                path.parent.mkdir(parents=True, exist_ok=True)
                with warnings.catch_warnings():
                    warnings.simplefilter("ignore")
                    write_json(path, cell(kinds[kind][0], kinds[kind][1], seed))
                print("suggesting", key, flush=True)
            cells[key] = json.loads(path.read_text(encoding="utf-8"))
    return cells


def ranked(cells: Mapping[str, dict[str, list[float]]]) -> dict[str, float]:
    """Mean rank of each way; any images are no way."""
    return ranks({key: {name: one[name] for name in WAYS} for key, one in cells.items()})


def section(cells: Mapping[str, dict[str, list[float]]]) -> str:
    """The part of the page."""
    placed, rows = ranked(cells), []
    taken = choose(placed)
    for name in (*WAYS, ANY):
        rank = f"{placed[name]:.2f}" if name in placed else ""
        means = (
            f"{np.mean([cells[key][name][0] for key in keys]):.1f}"
            for keys in styles(cells).values()
        )
        rows.append((name, "chosen" if name == taken else "", rank, *means))
    header = ("", "", "mean rank", *(f"AUROC, {group}" for group in styles(cells)))
    return RULE + "\n" + Table("Ways", header, tuple(rows), "").markdown() + AFTER


def main() -> None:
    """Judge the ways, and print the section."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, default=Path("out/settings"))
    parser.add_argument("--modality", action="append", help="run these only")
    options = parser.parse_args()
    print(section(run(options.out, options.modality or STUDIED)))


if __name__ == "__main__":
    main()
