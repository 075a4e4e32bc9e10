"""Fixtures of tests with real services and tools: what is missing skips its tests, and says so."""

import shutil
import socket
import sys
from pathlib import Path

import pytest

SYSTEM = ("/usr/sbin", "/usr/local/sbin")
"""Where services lie, which is not on everybody's path."""


@pytest.fixture(scope="session")
def tool():
    """The path of a program; skips the test where it is not installed."""

    def find(name, package):
        found = shutil.which(name) or next(
            (str(p) for p in (Path(folder, name) for folder in SYSTEM) if p.is_file()), None
        )
        if found is None:
            pytest.skip(f"{name} is not installed: apt-get install {package}")
        return found

    return find


@pytest.fixture(scope="session")
def free_ports():
    """Some ports of this machine that nobody listens on."""

    def find(count):
        several = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
        ports = [one.getsockname()[1] for one in several]
        for one in several:
            one.close()
        return ports

    return find


@pytest.fixture(scope="session")
def sdmad_command():
    """The words that start the command line in a process of its own."""
    return [sys.executable, "-c", "from sdmad.cli.start import run; run()"]
