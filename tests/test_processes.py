"""Processes that read what strangers made: alone and bounded."""

import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest

from sdmad import processes


def run(program):
    done = subprocess.run(
        [sys.executable, "-P", "-c", f"from sdmad import processes as p\n{program}"],
        env=processes.environment(),
        capture_output=True,
        text=True,
    )
    return done.stdout.strip()


@pytest.fixture
def listener():
    """A port on this machine that answers."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield server.getsockname()[1]


CONNECT = """
import socket
try:
    socket.create_connection(("127.0.0.1", {port}), 5)
    print("connected")
except OSError as error:
    print(type(error).__name__, error)
"""


def test_a_process_that_is_not_alone_reaches_the_port(listener):
    assert run(CONNECT.format(port=listener)) == "connected"


@pytest.mark.parametrize("system", ["gives namespaces", "gives none"])
def test_a_process_alone_reaches_no_network(listener, system):
    without = "p._leave_network = lambda: False\n" if system == "gives none" else ""
    told, *said = run(f"{without}print(p.be_alone()){CONNECT.format(port=listener)}").splitlines()
    assert "connected" not in said
    assert told in (processes.WITHOUT_NETWORK, processes.REFUSED_NETWORK)
    assert not without or told == processes.REFUSED_NETWORK


@pytest.mark.skipif(sys.platform != "linux", reason="namespaces are Linux's")
def test_what_is_told_of_the_network_is_so():
    told, *devices = run(
        "print(p.be_alone())\n"
        "for line in open('/proc/self/net/dev'):\n    print(line.partition(':')[0].strip())"
    ).splitlines()
    apart = devices[2:] == ["lo"] or not devices[2:]
    assert (told == processes.WITHOUT_NETWORK) == apart


@pytest.mark.parametrize(
    "deed",
    ["os.system('true')", "subprocess.run(['true'])", "os.fork()", "os.execv('/bin/true', ['x'])"],
)
def test_a_process_alone_starts_no_other(deed):
    program = f"import os, subprocess\np.be_alone()\ntry:\n    {deed}\n    print('done')\n"
    assert "refused" in run(f"{program}except PermissionError as error:\n    print(error)")


@pytest.mark.skipif(sys.platform != "linux", reason="other systems do not tell of a death")
def test_a_process_alone_ends_with_the_one_that_started_it():
    child = "from sdmad import processes as p\np.be_alone()\nprint(1, flush=True)\n"
    child += "import time\ntime.sleep(100)"
    parent = (
        "import os, subprocess, sys\n"
        f"child = subprocess.Popen([sys.executable, '-c', {child!r}],"
        " stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)\n"
        "child.stdout.readline()\nprint(child.pid, flush=True)\nos.kill(os.getpid(), 9)"
    )
    place = Path("/proc") / run(parent) / "stat"
    until = time.monotonic() + 30
    while _lives(place) and time.monotonic() < until:
        time.sleep(0.05)
    assert not _lives(place)


def _lives(place):
    """Whether a process is there and has not ended."""
    try:
        return place.read_text().rpartition(")")[2].split()[0] != "Z"
    except (FileNotFoundError, ProcessLookupError):
        return False


@pytest.mark.skipif(sys.platform != "linux", reason="other systems hold other limits")
def test_limits_hold(tmp_path):
    memory = "try:\n    bytearray(1 << 30)\nexcept MemoryError:\n    print('too much')"
    assert run(f"p.bound(memory=p.address_space() + (1 << 28))\n{memory}") == "too much"
    file = (
        f"from pathlib import Path\n    Path({str(tmp_path / 'file')!r}).write_bytes(bytes(2000))"
    )
    program = f"try:\n    {file}\nexcept OSError as error:\n    print(error.strerror)"
    assert run(f"p.bound(output=1000)\n{program}") == "File too large"
    endless = "print('begun', flush=True)\nwhile True: pass"
    assert run(f"p.bound(seconds=1)\n{endless}") == "begun"


def test_no_secret_is_handed_on(monkeypatch):
    monkeypatch.setenv("HF_TOKEN", "geheim")
    assert "geheim" not in processes.environment().values()


@pytest.mark.skipif(sys.platform != "linux", reason="Linux tells how much a process has had")
@pytest.mark.parametrize(("mebibytes", "nearly"), [(100, False), (500, True)])
def test_memory_that_was_had_is_remembered(mebibytes, nearly):
    """Of 1 GiB; also where it was given back, as a library does before it says that it failed."""
    taken = f"p.bound(1 << 30); bytearray({mebibytes} << 20); print(p.nearly_spent())"
    assert run(taken) == str(nearly)


def test_a_process_without_a_limit_is_never_nearly_spent():
    assert run("bytearray(900 << 20); print(p.nearly_spent())") == "False"
