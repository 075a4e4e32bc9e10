"""Fixtures for the command line's tests."""

import re
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest

from sdmad import SDMADConfig
from sdmad.cli import main
from sdmad.cli.steps.fitting import PRESETS


@dataclass(frozen=True)
class Outcome:
    """What a command did: exit status, standard output and standard error."""

    status: int
    out: str
    err: str

    @property
    def said(self) -> str:
        """Standard error without the frame and the line breaks of a message of the parser."""
        return " ".join(re.sub(r"[╭─╮│╰╯]", " ", self.err).split())


@pytest.fixture(autouse=True)
def few_epochs(monkeypatch: pytest.MonkeyPatch) -> None:
    """One epoch, whatever the preset."""
    monkeypatch.setitem(PRESETS, "recommended", lambda **c: SDMADConfig(epochs=1, **c))
    monkeypatch.setitem(PRESETS, "paper", lambda **c: SDMADConfig.paper(epochs=1, **c))


@pytest.fixture
def sdmad(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> Callable[..., Outcome]:
    """Run the command line as its entry point does, in this process."""

    def run(*arguments: object) -> Outcome:
        capsys.readouterr()
        monkeypatch.setattr(sys, "argv", ["sdmad", *map(str, arguments)])
        status = 0
        try:
            main.run()
        except SystemExit as end:
            status = end.code if isinstance(end.code, int) else int(bool(end.code))
        captured = capsys.readouterr()
        return Outcome(status, captured.out, captured.err)

    return run


@pytest.fixture
def data(tmp_path: Path, make_data: Callable[..., Path]) -> Path:
    """A table of 24 pictures of three categories."""
    return make_data(tmp_path / "data")


@pytest.fixture
def fit_arguments(data: Path, small_bank_file: Path, tiny_clip: Path) -> list[object]:
    """Arguments of a quick fit on that table, all but ``--out``."""
    return ["fit", data, "--signs", small_bank_file, "--shots", 1, "--backbone", tiny_clip]
