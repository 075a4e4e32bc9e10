"""``docs/certainty.md``: do answers keep their error rate, and are probabilities right?

Run ``make certainty``; it goes on where it was interrupted. Phantoms in the test style that no
setting was chosen on, those of ``make shots``.
"""

from __future__ import annotations

import argparse
import itertools
import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from scipy.stats import t as student

from benchmarks.made_with import write_page
from benchmarks.shots import IMAGES, PHANTOM_SEED, backbone, each_image_once
from sdmad.detector.sdmad import SDMAD
from sdmad.errors import InputError
from sdmad.evaluation.answers import answer_rates
from sdmad.evaluation.limits import LEVEL
from sdmad.evaluation.reliability import reliability
from sdmad.output import write_json
from sdmad.phantoms.cases import STUDIED
from sdmad.reporting.model_evaluation import prevalence_of
from sdmad.signs import SignBank
from sdmad.studies.draw import Draw
from sdmad.studies.material import Material, phantom_data
from sdmad.table import MISSING, Table

DRAWS = 10
ASKED = ((4, 0.25), (8, 0.2), (16, 0.1))
"""Shots, and the error rate that their patients allow."""

HEAD = """# Certainty: do the numbers hold?
Written by `make certainty`; do not edit by hand. The default on the embedded backbone, {images}
phantoms a modality in the test style, {draws} draws; means over the draws in percent, [95% over the
draws, Student's]. Nothing was chosen on these images.

**Answers at an error rate** (`--error-rate`): how often "no" is said of an image with the finding,
"yes" of one without, and how often "unsure". The rate asked for should not be exceeded; conformal
prediction promises it for scores of one fit, and the support's scores come from fits that lacked a
patient, so it is measured.

**Calibration**: the expected calibration error of `predict --prevalence`, the judged images' own
prevalence being stated; and, beside it, what labels drawn from the probabilities themselves would
show at most (in 95 of 100 sets): a figure below that cannot be told from none.

"""


def cell(folder: Path, modality: str, shots: int, rate: float, seed: int) -> dict[str, float]:
    """One draw's figures, kept on disk."""
    path = folder / "certainty" / f"{modality}-{shots}-{rate:g}-{seed}.json"
    if path.exists():
        kept: dict[str, float] = json.loads(path.read_text(encoding="utf-8"))
        return kept
    data = phantom_data(modality, folder, IMAGES, PHANTOM_SEED, "test", print)
    draw = Draw(Material(data, SignBank.load(modality)), shots, seed)
    table = draw.material.table
    drawn, rest = table.subset(draw.support.indices), table.subset(draw.rows.tolist())
    detector = SDMAD(draw.material.bank, backbone())
    detector.fit(drawn.files, drawn.labels, patients=drawn.patients)
    scored = detector.score_images(rest.files)
    keys = rest.patient_keys()
    likely = detector.at_prevalence(prevalence_of(rest))(scored)
    held = reliability(likely, rest.labels, keys, 0)
    found = {"error": held.error, "chance": held.by_chance}
    try:
        answers = detector.answering(rate)(scored)
        for name, present in (("with", True), ("without", False)):
            side = answer_rates(answers, rest.labels, keys, present, 0)
            found |= {f"{name} wrong": side.wrong, f"{name} unsure": side.unsure}
    except InputError as error:  # a rare finding has fewer patients than shots
        print(f"{path.stem}: {error}")
    path.parent.mkdir(parents=True, exist_ok=True)
    write_json(path, found)
    print(path.stem, flush=True)
    return found


def told(values: Sequence[float]) -> str:
    """Mean of the draws with Student's interval, in percent."""
    if not values:
        return MISSING
    mean, count = 100 * float(np.mean(values)), len(values)
    if count < 2:
        return f"{mean:.1f}"
    reach = student.ppf((1 + LEVEL) / 2, count - 1) * 100 * np.std(values, ddof=1) / count**0.5
    return f"{mean:.1f} [{max(0.0, mean - reach):.1f}, {mean + reach:.1f}]"


def main() -> None:
    """Run what is missing and write the page."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, default=Path("out/shots"))
    parser.add_argument("--docs", type=Path, default=Path("docs/certainty.md"))
    options = parser.parse_args()
    rows, errors = [], []
    for modality, (shots, rate) in itertools.product(STUDIED, ASKED):
        with each_image_once(backbone().image):
            draws = [cell(options.out, modality, shots, rate, seed) for seed in range(DRAWS)]
        answered = [one for one in draws if "with wrong" in one]
        parts = [f"{side} {what}" for side in ("with", "without") for what in ("wrong", "unsure")]
        rows.append(
            (modality, str(shots), f"{100 * rate:g}", str(len(answered)),
             *(told([one[part] for one in answered]) for part in parts))
        )  # fmt: skip
        errors.append(
            (modality, str(shots), told([one["error"] for one in draws]),
             told([one["chance"] for one in draws]))
        )  # fmt: skip
    header = ("", "Shots", "Rate asked", "Draws", "With the finding: wrong", "unsure",
              "Without: wrong", "unsure")  # fmt: skip
    tables = (
        Table("Answers at an error rate", header, tuple(rows), ""),
        Table("Calibration", ("", "Shots", "Error", "By chance"), tuple(errors), ""),
    )
    head = HEAD.format(images=IMAGES, draws=DRAWS)
    write_page(options.docs, "\n".join([head, *(table.markdown() for table in tables)]))


if __name__ == "__main__":
    main()
