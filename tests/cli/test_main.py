import re
import subprocess
import sys

import pytest
from typer.testing import CliRunner

from sdmad import __version__
from sdmad.cli import main

COMMANDS = (
    ("demo",),
    ("phantom",),
    ("signs", "show"),
    ("signs", "check"),
    ("fit",),
    ("evaluate",),
    ("predict",),
    ("explain",),
    ("reproduce",),
    ("compare",),
    ("export",),
    ("serve",),
    ("serve-account", "add"),
    ("serve-account", "list"),
    ("serve-account", "password"),
    ("serve-account", "remove"),
    ("serve-account", "token"),
    ("data", "check"),
    ("signs", "generate"),
    ("signs", "diff"),
    ("signs", "stress"),
)


def plain(text: str) -> str:
    """Help without colours and without the breaks of lines."""
    return " ".join(re.sub(r"\x1b\[[0-9;]*m", "", text).split())


@pytest.mark.parametrize("command", COMMANDS, ids=" ".join)
def test_each_commands_help_shows_an_example(command):
    result = CliRunner().invoke(main.app, [*command, "--help"])
    assert result.exit_code == 0
    assert f"Example: sdmad {' '.join(command)} " in plain(result.output)


def test_the_help_names_every_command_and_what_this_is_not():
    result = CliRunner().invoke(main.app, ["--help"])
    for command in ("demo", "phantom", "signs", "fit", "evaluate", "predict", "explain"):
        assert re.search(rf"\b{command}\b", result.output)
    assert "not a medical device" in plain(result.output)


@pytest.mark.parametrize("command", COMMANDS, ids=" ".join)
def test_the_example_of_the_help_can_be_parsed(command):
    """Every option of the example is an option of the command."""
    help_text = plain(CliRunner().invoke(main.app, [*command, "--help"]).output)
    example = re.search(r"Example: (sdmad .*?) (?:[╭│]|Usage|Options)", help_text)
    assert example
    options = re.findall(r"--[a-z-]+", example[1])
    described = help_text[example.end() :]
    assert all(option in described for option in options)


LONG = "x" * 300
TOO_LONG = (
    ("demo", "brain", "--out", LONG),
    ("phantom", "brain", "--out", LONG),
    ("signs", "show", LONG),
    ("signs", "check", LONG),
    ("signs", "diff", LONG, "brain"),
    ("signs", "stress", "brain", "--labels", LONG),
    ("signs", "generate", "MRI", "A", "--model=m", "--base-url=http://h/v1", "--out", LONG),
    ("data", "check", "--labels", LONG),
    ("data", "check", "--data", "oct17", "--root", LONG),
    ("fit", LONG, "--signs", "brain", "--out", "model"),
    ("fit", "labels.csv", "--signs", LONG, "--out", "model"),
    ("fit", "labels.csv", "--signs", "brain", "--out", LONG),
    ("evaluate", LONG, "labels.csv", "--out", "results"),
    ("predict", LONG, "a.png"),
    ("predict", "model", LONG),
    ("explain", LONG, "a.png"),
    ("suggest", LONG, "a.png"),
    ("export", LONG, "--format", "onnx", "--out", "e"),
    ("compare", "--labels", LONG, "--signs", "brain", "--out", "c"),
    ("reproduce", "table1", "--root", LONG, "--out", "r"),
)


@pytest.mark.parametrize("arguments", TOO_LONG, ids=range(len(TOO_LONG)))
def test_a_name_that_no_file_can_have_is_one_line(sdmad, tmp_path, monkeypatch, arguments):
    monkeypatch.chdir(tmp_path)
    outcome = sdmad(*arguments)
    assert outcome.status == 2
    assert "Traceback" not in outcome.err
    assert outcome.err.splitlines()[-1].startswith("error: ")
    assert [file for file in tmp_path.rglob("*") if file.is_file()] == []


def test_the_version_is_shown():
    assert CliRunner().invoke(main.app, ["--version"]).output.strip() == __version__


def test_the_library_and_the_help_come_without_torch():
    code = (
        "import sys, sdmad\n"
        "assert 'torch' not in sys.modules, 'import sdmad'\n"
        "from sdmad.cli.main import run\n"
        "sys.argv = ['sdmad', '--help']\n"
        "try:\n    run()\n"
        "except SystemExit as end:\n    assert not end.code\n"
        "heavy = {'torch', 'transformers', 'sklearn', 'matplotlib', 'PIL'} & set(sys.modules)\n"
        "assert not heavy, heavy\n"
    )
    result = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=120, check=False
    )
    assert result.returncode == 0, result.stderr
    assert "Usage" in result.stdout


def test_a_users_mistake_is_one_line_and_status_two(sdmad):
    done = sdmad("explain", "nowhere", "image.png")
    assert done.status == 2
    assert done.out == ""
    assert done.err.splitlines() == ["error: no model directory nowhere; sdmad fit writes one"]


@pytest.mark.parametrize("arguments", [("fit",), ("bake",), ("phantom", "brain", "--seed", "-1")])
def test_wrong_usage_is_status_two(sdmad, arguments):
    done = sdmad(*arguments)
    assert done.status == 2
    assert "Usage" in done.err


def test_a_fault_of_sdmad_is_status_one_and_asks_to_be_reported(sdmad, monkeypatch):
    def broken(*_):
        raise ZeroDivisionError("division by zero")

    monkeypatch.setattr("sdmad.signs.SignBank.load", broken)
    done = sdmad("signs", "show", "brain")
    assert done.status == 1
    assert "ZeroDivisionError: division by zero" in done.err
    assert done.err.endswith("error: this is a fault of sdmad; please report it with these lines\n")


def test_a_reader_that_goes_away_is_status_one_without_a_word():
    code = (
        "import os, sys\n"
        "from sdmad.cli.main import run\n"
        "read, write = os.pipe()\n"
        "os.close(read)\n"
        "os.dup2(write, 1)\n"
        "sys.argv = ['sdmad', 'signs', 'show', 'chest']\n"
        "run()\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=False
    )
    assert (done.returncode, done.stderr) == (1, "")


def test_ctrl_c_is_status_130_and_one_line(sdmad, monkeypatch):
    def interrupted(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr("sdmad.signs.SignBank.load", interrupted)
    done = sdmad("signs", "show", "brain")
    assert done.status == 130
    assert "interrupted" in done.err
    assert "Traceback" not in done.err
