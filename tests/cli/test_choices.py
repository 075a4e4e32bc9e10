"""The closed choices: what the package can do, checked and completed by the parser."""

import os
import subprocess
import sys
from typing import get_args

import pytest

from sdmad import choices
from sdmad.cli.reproduce import PAPERS_DATA
from sdmad.cli.steps.fitting import PRESETS

OF = "sdmad.studies.reproduction"


def test_the_choices_are_what_the_package_can_do():
    from sdmad.data.sets import DATA_SETS
    from sdmad.detector.precision import PRECISIONS
    from sdmad.export.exporting import NEEDS
    from sdmad.export.verify import TOLERANCES
    from sdmad.phantoms.acquisition import STYLES
    from sdmad.phantoms.cases import MODALITIES
    from sdmad.studies.reproduction import TARGETS

    for choice, known in (
        (choices.Precision, PRECISIONS),
        (choices.GraphPrecision, TOLERANCES),
        (choices.GraphFormat, NEEDS),
        (choices.Preset, PRESETS),
        (choices.PhantomModality, MODALITIES),
        (choices.PhantomStyle, STYLES),
        (choices.DataSetName, set(DATA_SETS) - {"table"}),
        (choices.ComparedOn, {f"phantom-{m}" for m in MODALITIES} | set(DATA_SETS) - {"table"}),
        (choices.Target, TARGETS),
    ):
        assert set(get_args(choice)) == set(known), choice
    assert set(PAPERS_DATA) < set(TARGETS)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("export", "m", "--format", "onnx", "--precision", "f32", "--out", "x"), "'float32'?"),
        (("export", "m", "--format", "onnx", "--precision", "bf16", "--out", "x"), "'bfloat16'?"),
        (("demo", "brian"), "Did you mean 'brain'?"),
        (("evaluat",), "Did you mean 'evaluate'?"),
        (("fit", "x.csv", "--sign", "brain"), "--signs"),
        (("demo", "--modality", "chest"), "--modality is now MODALITY without an option"),
        (("predict", "m", "i", "--format=jsonl"), "--format is now --json"),
        (("signs", "stress", "brain", "--data", "x.csv"), "--data is now --labels"),
        (("signs", "check", "brain", "--images", "x.csv"), "--images is now --labels"),
        (("signs", "generate", "--modality", "x"), "--modality is now MODALITY"),
        (("compare", "--data", "x.csv"), "with --root, a label table with --labels"),
        (("compare", "--root", "."), "phantom-brain is drawn"),
        (("compare", "--data", "oct17"), "--data oct17 needs --root FOLDER"),
        (("reproduce", "table1"), "is made on chestxray8: give --root FOLDER"),
        (("reproduce", "table2", "--data", "chestxray8"), "table2 is made on oct17"),
        (("reproduce", "tabel2"), "'table2'?"),
        (("explain", "m", "i", "--decision", "fpr:7"), "decision rule must be"),
        (
            ("fit", "x.csv", "--signs", "brain", "--window", "wide", "--out", "x"),
            "window: expected",
        ),
        (("predict", "m", "i", "--device", "gpu"), "'gpu' is none of auto"),
    ],
)
def test_what_was_meant_is_named(sdmad, arguments, said):
    done = sdmad(*arguments)
    assert done.status == 2
    assert said in done.said
    assert done.out == ""


@pytest.mark.parametrize(
    ("arguments", "study", "folder"),
    [
        (("signs", "stress", "brain"), "sdmad.studies.stress.stress", "stress-brain"),
        (("reproduce", "table1", "--data", "phantom"), f"{OF}.reproduce", "reproduction"),
        (("compare", "--quick"), "sdmad.studies.comparison.compare", "comparison-phantom-brain"),
        (("compare", "--labels", "a/b.csv"), "sdmad.studies.comparison.compare", "comparison-b"),
    ],
)
def test_studies_write_into_a_folder_of_their_own(sdmad, monkeypatch, arguments, study, folder):
    monkeypatch.setattr(study, lambda request, say: [request.out / "page.md"])
    done = sdmad(*arguments)
    assert (done.status, done.out) == (0, f"{folder}/page.md\n")
    assert f"results go to {folder}/" in done.err
    done = sdmad(*arguments, "--out", "mine")
    assert done.out == "mine/page.md\n"
    assert "results go to" not in done.err


def complete(shell, line):
    """What a shell is offered for a line, as its completion script asks for it."""
    words = line.split(" ")
    asked = {
        "bash": {"COMP_WORDS": line, "COMP_CWORD": str(len(words) - 1)},
        "zsh": {"_TYPER_COMPLETE_ARGS": line},
    }[shell]
    done = subprocess.run(
        [sys.executable, "-c", "from sdmad.cli.main import run; run()"],
        env={**os.environ, "_SDMAD_COMPLETE": f"complete_{shell}", **asked},
        capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.parametrize(
    ("line", "offered"),
    [
        ("sdmad ph", ["phantom"]),
        ("sdmad demo ", ["brain", "chest", "oct", "breast", "thyroid", "skin", "fundus"]),
        ("sdmad explain --prec", ["--precision"]),
        ("sdmad predict --precision ", ["float32", "bfloat16", "auto"]),
        ("sdmad fit --window p", ["percentiles"]),
        ("sdmad data check --data oct", ["oct17"]),
    ],
)
def test_bash_completes_commands_options_and_choices(line, offered):
    assert complete("bash", line).split() == offered


def test_zsh_completes_choices():
    found = complete("zsh", "sdmad export model --precision ")
    assert all(word in found for word in get_args(choices.GraphPrecision))
    assert "auto" not in found


def test_the_completion_script_is_shown():
    done = subprocess.run(
        [sys.executable, "-c", "from sdmad.cli.main import run; run()", "--show-completion", "zsh"],
        env={**os.environ, "_TYPER_COMPLETE_TEST_DISABLE_SHELL_DETECTION": "1"},
        capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert "#compdef sdmad" in done.stdout
