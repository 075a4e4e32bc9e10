"""Signals at any moment end the command line cleanly."""

import os
import signal
import subprocess
import sys

import pytest

from sdmad.cli import signals, start

HEAD = """
import os, signal, sys
from sdmad.cli import start
signal.signal(signal.SIGINT, signal.default_int_handler)  # a test run in the background ignores it
def now(number):
    os.kill(os.getpid(), number)
"""
IMPORT = """
class Interrupts:
    def find_spec(self, name, path=None, target=None):
        if name == "sdmad.cli.main":
            now({number})
sys.meta_path.insert(0, Interrupts())
start.run()
"""
LIBRARY = """
import sdmad.signs
def load(*_):
    try:
        now({number})
    except KeyboardInterrupt:
        raise RuntimeError("what a library made of it")
sys.argv = ["sdmad", "signs", "show", "brain"]
sdmad.signs.SignBank.load = load
start.run()
"""
MIDWAY = """
import sdmad.signs
sys.argv = ["sdmad", "signs", "show", "brain"]
sdmad.signs.SignBank.load = lambda *_: now({number})
start.run()
"""


def ends(program, number):
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    code = HEAD + program.format(number=int(number))
    return subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, env=environment, check=False
    )


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
@pytest.mark.parametrize("program", [IMPORT, LIBRARY, MIDWAY], ids=["import", "library", "midway"])
def test_a_signal_is_one_line_and_a_status(program, number):
    done = ends(program, number)
    word = "interrupted" if number == signal.SIGINT else "terminated"
    assert done.returncode == 128 + number
    assert f"error: {word}; nothing was left half-written" in done.stderr
    assert "Traceback" not in done.stderr


def test_an_ignored_signal_stays_ignored():
    """As those of a job that a script has put into the background."""
    done = ends("signal.signal(signal.SIGINT, signal.SIG_IGN)\n" + MIDWAY, signal.SIGINT)
    assert "interrupted" not in done.stderr


def test_other_errors_pass(monkeypatch):
    monkeypatch.setattr(start, "received", [])
    monkeypatch.setattr("signal.signal", lambda *_: None)

    def fail():
        raise ValueError("a mistake of ours")

    monkeypatch.setattr("sdmad.cli.main.run", fail)
    with pytest.raises(ValueError, match="a mistake of ours"):
        start.run()


def test_a_signal_that_comes_again_at_the_end_changes_nothing():
    """As Ctrl-C pressed twice, or `timeout`, which signals a process and its group."""
    program = (
        "import atexit, os, signal\n"
        "from sdmad.cli import signals\n"
        "signals.listen()\n"
        "for number in (signal.SIGINT, signal.SIGTERM):\n"
        "    atexit.register(os.kill, os.getpid(), number)\n"
        "signals.told(signals.TERMINATED)\n"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (
        signals.TERMINATED,
        "error: terminated; nothing was left half-written\n",
    )
