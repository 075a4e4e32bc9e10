"""Simpler systems beside a model: on the same images, on its own support, compared pair by pair."""

import json
import shutil

import numpy as np
import pytest

from sdmad import SDMAD
from sdmad.baselines.linear_probe import LinearProbeDetector
from sdmad.data.fewshot import draw_support
from sdmad.data.table import read_label_table
from sdmad.reporting.beside import PROBE, ZERO_SHOT, support_rows
from sdmad.reporting.model_evaluation import evaluate_model, write_evaluation


def complain(position, error):
    raise AssertionError(error)


@pytest.fixture(scope="module")
def judged(small_bank, tiny_backbone, tmp_path_factory):
    """A model fitted on a table's draw, and its evaluation beside others."""
    from tests.conftest import write_data

    path = write_data(tmp_path_factory.mktemp("data") / "images", 40)
    table = read_label_table(path, small_bank.names)
    support = draw_support(table, 2, 0)
    drawn = table.subset(support.indices)
    detector = SDMAD(small_bank, tiny_backbone).fit(
        drawn.files, drawn.labels, patients=drawn.patients
    )
    return detector, table, support, evaluate_model(detector, table, complain, 50, baselines=True)


def test_the_support_is_found_by_its_content(judged, tmp_path):
    detector, table, support, evaluated = judged
    assert support_rows(detector, table, set(evaluated.table.files)) == list(support.indices)
    renamed = tmp_path / "elsewhere.png"
    shutil.copy(table.files[support.indices[0]], renamed)
    moved = read_label_table(table.path, table.categories).subset(list(support.indices[1:]))
    assert len(support_rows(detector, moved, set())) == len(support.indices) - 1


def test_the_probe_beside_is_the_one_on_the_models_own_shots(judged, tiny_backbone, small_bank):
    _, table, support, evaluated = judged
    drawn = table.subset(support.indices)
    probe = LinearProbeDetector(small_bank.names, tiny_backbone).fit(drawn.files, drawn.labels)
    scores = probe.decision_function(evaluated.table.files)
    from sdmad.evaluation.metrics import mean_auroc

    expected = mean_auroc(evaluated.table.labels, scores)
    assert evaluated.beside.evaluations[PROBE].mean_auroc == pytest.approx(expected)


def test_differences_are_the_models_figures_less_the_others(judged):
    *_, evaluated = judged
    for name, gaps in evaluated.beside.differences.items():
        other = evaluated.beside.evaluations[name]
        for metric in ("mean_auroc", "subset_accuracy", "macro_f1"):
            gap = getattr(evaluated.evaluation, metric) - getattr(other, metric)
            assert gaps[metric].difference == pytest.approx(gap)
    assert list(evaluated.beside.evaluations) == [ZERO_SHOT, PROBE]
    said = [note for note in evaluated.notes if "mean AUROC" in note]
    assert len(said) == 2


def test_tables_and_figures_are_written(judged, tmp_path):
    *_, evaluated = judged
    write_evaluation(evaluated, tmp_path)
    first, *others = evaluated.tables()
    assert [row[0] for row in first.rows] == [ZERO_SHOT, PROBE]
    assert "Did it pay?" in (tmp_path / "report.html").read_text(encoding="utf-8")
    assert {"this model", ZERO_SHOT, PROBE} <= {row[0] for row in others[0].rows}
    written = json.loads((tmp_path / "metrics.json").read_text(encoding="utf-8"))["baselines"]
    gap = written[PROBE]["model_less_this"]["mean_auroc"]
    assert gap[0] == pytest.approx(evaluated.beside.differences[PROBE]["mean_auroc"].difference)


def test_without_all_support_images_there_is_no_probe(judged):
    detector, table, support, _ = judged
    left = np.delete(np.arange(len(table)), support.indices[0]).tolist()
    found = evaluate_model(detector, table.subset(left), complain, 10, baselines=True)
    assert list(found.beside.evaluations) == [ZERO_SHOT]
    told = f"1 of its {len(support.indices)} support images are not in"
    assert any(told in note for note in found.notes)


def test_none_leaves_them_out(judged):
    detector, table, *_ = judged
    alone = evaluate_model(detector, table, complain, 10)
    assert alone.beside is None
    assert len(alone.tables()) == 4
