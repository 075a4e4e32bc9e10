"""A real server in a process of its own."""

import os
import re
import signal
import subprocess
import sys
from contextlib import contextmanager

PROGRAM = """
import sys
from pathlib import Path
from sdmad.cli.steps.serving import address, listening, serve
from sdmad.serve import app as application, worklist
from sdmad.serve.settings import ServeSettings
from tests.serve.conftest import FakeModels

def lend(house):
    house.models = FakeModels()

application.PREPARED, application.PARTS = (lend,), ()
settings = ServeSettings((), images=Path(sys.argv[1]), port=0, database=sys.argv[2] or None)
app = application.create_app(settings)
with listening(settings) as listener:
    print(address(app.state.house, listener.getsockname()[1]), flush=True)
    serve(app, listener)
"""


COMMAND = "from sdmad.cli.start import run; run()"


def running(folder, log, database=""):
    """A server on a folder, with a model that is made up; as `started`."""
    return started(PROGRAM, [folder, database], log)


def commanded(log, *words):
    """``sdmad serve`` as people start it; as `started`."""
    return started(COMMAND, ["serve", *words, "--port", 0], log)


@contextmanager
def started(program, words, log):
    """Start it; gives its process, its address and its token. It is killed at the end."""
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(p for p in sys.path if p)}
    with (
        log.open("ab") as errors,
        subprocess.Popen(
            [sys.executable, "-c", program, *map(str, words)],
            stdout=subprocess.PIPE,
            stderr=errors,
            env=environment,
            text=True,
        ) as process,
    ):
        try:
            line = process.stdout.readline()
            found = re.fullmatch(r"(http://127\.0\.0\.1:\d+)/\?token=(\S+)\n", line)
            assert found, log.read_text()
            yield process, found[1], found[2]
        finally:
            process.send_signal(signal.SIGKILL)
            process.wait()
