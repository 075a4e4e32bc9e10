"""What the study of SD-MAD and its baselines writes, from scores made up."""

from functools import partial

import numpy as np

from benchmarks import results as study
from benchmarks import results_tables as tables
from sdmad.evaluation.labelled_scores import LabelledScores
from sdmad.phantoms.cases import load_modality
from sdmad.phantoms.files import PhantomData
from sdmad.reporting.draw_tables import shown_name
from sdmad.signs import SignBank
from sdmad.studies.draw import PAPER_SYSTEMS
from sdmad.studies.material import Material


def made_up(rng, categories, shift):
    """Twenty images of which every third shows a category, told apart the better the shift."""
    labels = (np.arange(20)[:, None] % 3 == np.arange(categories) % 3).astype(float)
    labels[18:] = 0
    scores = rng.normal(size=labels.shape) + shift * labels
    normal = np.arange(20) >= 18
    patients = tuple(map(str, range(20)))
    return LabelledScores(labels, scores, scores > 0.5, scores.max(axis=1), normal, patients)


def test_every_table_is_written(monkeypatch, tmp_path):
    for name in ("summary", "differences"):
        monkeypatch.setattr(study, name, partial(getattr(study, name), resamples=5))
    monkeypatch.setattr(study, "STUDIED", ("oct",))
    rng, found, bank = np.random.default_rng(0), {}, SignBank.load("oct")
    (tmp_path / "labels.csv").touch()
    material = Material(PhantomData(tmp_path, load_modality("oct")), bank)
    for kind in ("clean", "noisy"):
        for shots in study.SHOTS:
            draws = {s: [made_up(rng, len(bank.names), i)] * 2 for i, s in enumerate(PAPER_SYSTEMS)}
            found["oct", kind, shots] = study.Setting(material, draws)
    study.write_tables(tmp_path, found)
    systems = tables.load(tmp_path, tables.SYSTEMS)
    assert set(systems) == {(m, k, str(s)) for m, k, s in found}
    names = [row[0] for row in systems["oct", "clean", "1"].rows]
    assert names[0] == "predict nothing"
    assert names[-1] == shown_name(PAPER_SYSTEMS[-1])
    categories = tables.load(tmp_path, tables.CATEGORIES)
    assert [row[0] for row in categories["oct", "clean", "4"].rows] == ["CNV *", "DME", "Drusen"]
    assert list(tables.load(tmp_path, tables.DIFFERENCES)) == [("oct", "clean", "4")]
    means = tables.load(tmp_path, tables.MEANS)["noisy", "4"]
    assert means.rows[-1][1] == systems["oct", "noisy", "4"].rows[-1][1].split()[0]
    assert (tmp_path / "pretraining.csv").exists()
