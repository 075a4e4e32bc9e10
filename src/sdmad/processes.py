"""Processes that read what strangers made: nothing secret, bounded, and alone where they can be."""

from __future__ import annotations

import contextlib
import ctypes
import os
import signal
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any

_SECRETS = ("KEY", "TOKEN", "SECRET", "PASSWORD", "CREDENTIAL")
_MALLOC = {
    "MALLOC_ARENA_MAX": "1",  # each thread maps memory of its own
    "MALLOC_MMAP_THRESHOLD_": str(16 << 20),
    "MALLOC_TRIM_THRESHOLD_": str(32 << 20),
}
"""For glibc: keep some of the memory that is freed. A picture's went back to the system, and came
back cleared for the next one, page by page."""
_NO_NETWORK, _OWN_USERS = 0x40000000, 0x10000000  # CLONE_NEWNET and CLONE_NEWUSER of Linux
_PARENT_DIED = 1  # PR_SET_PDEATHSIG of Linux
_REFUSED = ("socket.", "subprocess.", "os.exec", "os.fork", "os.posix_spawn", "os.spawn", "pty.")
_REFUSED_ALONE = ("os.system", "os.startfile")

WITHOUT_NETWORK = "has no network (a namespace of its own)"
REFUSED_NETWORK = "is refused sockets (by Python; this system gives it no namespace of its own)"


def environment() -> dict[str, str]:
    """What such a process is told: nothing secret, where modules are, and to use one thread."""
    kept = {
        name: value
        for name, value in os.environ.items()
        if not any(word in name.upper() for word in _SECRETS)
    }
    folders = [str(Path(__file__).parents[1]), *filter(None, sys.path)]
    threads = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")
    one = dict.fromkeys(threads, "1")
    return {**kept, **one, **_MALLOC, "PYTHONPATH": os.pathsep.join(folders)}


def bound(memory: int | None = None, seconds: int | None = None, output: int | None = None) -> None:
    """Hold this process to limits, where the system can, and leave no core of it behind.

    Args:
        memory: bytes of address space.
        seconds: of processor time.
        output: bytes of a file that it writes.
    """
    try:
        import resource
    except ImportError:  # no such limits on this system
        return
    for kind, most in (
        (resource.RLIMIT_AS, memory),
        (resource.RLIMIT_CPU, seconds),
        (resource.RLIMIT_FSIZE, output),
        (resource.RLIMIT_CORE, 0),
    ):
        if most is not None:
            with contextlib.suppress(OSError, ValueError):
                resource.setrlimit(kind, (most, most))
    if hasattr(signal, "SIGXFSZ"):
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)  # too large a file is an error then


def address_space() -> int:
    """Bytes of address space that this process has; 0 where the system does not tell."""
    try:
        pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[0])
    except (OSError, ValueError, IndexError):
        return 0
    return pages * os.sysconf("SC_PAGE_SIZE")


def nearly_spent() -> bool:
    """Whether this process has had more than half of the address space that it may have.

    What then fails may have failed for want of memory: not every library says so.
    """
    try:
        import resource

        most, _ = resource.getrlimit(resource.RLIMIT_AS)
        told = Path("/proc/self/status").read_text(encoding="utf-8", errors="replace")
        had = int(told.partition("VmPeak:")[2].split()[0]) << 10
    except (ImportError, OSError, ValueError, IndexError):  # a system that does not tell
        return False
    return most != resource.RLIM_INFINITY and 2 * had > most


def end_at_alarms() -> None:
    """Let SIGPROF end this process, whatever the process that started it does with it."""
    if hasattr(signal, "setitimer"):
        signal.signal(signal.SIGPROF, signal.SIG_DFL)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, [signal.SIGPROF])


@contextlib.contextmanager
def alarm(seconds: float) -> Iterator[None]:
    """End the process, in native code too, when it has used so much processor time."""
    if not hasattr(signal, "setitimer"):
        yield
        return
    signal.setitimer(signal.ITIMER_PROF, seconds)
    yield
    signal.setitimer(signal.ITIMER_PROF, 0)


def answering() -> IO[bytes]:
    """The standard output, for answers alone: what libraries print goes nowhere."""
    answers = os.fdopen(os.dup(sys.stdout.fileno()), "wb")
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    return answers


def be_alone() -> str:
    """Leave the network, start no process and end with the parent.

    To be called before a library has started a thread: a process of several cannot leave.

    Returns:
        What holds of the network, behind "it".
    """
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PARENT_DIED, signal.SIGKILL)
    left = _leave_network()
    sys.addaudithook(_refuse)
    return WITHOUT_NETWORK if left else REFUSED_NETWORK


def _leave_network() -> bool:
    """Whether the system gave this process a network of its own, which leads nowhere."""
    if sys.platform != "linux":
        return False
    unshare = getattr(ctypes.CDLL(None, use_errno=True), "unshare", None)
    if unshare is None:
        return False
    return any(unshare(flags) == 0 for flags in (_NO_NETWORK, _NO_NETWORK | _OWN_USERS))


def _refuse(event: str, arguments: tuple[Any, ...]) -> None:
    del arguments
    if event.startswith(_REFUSED) or event in _REFUSED_ALONE:
        raise PermissionError(f"{event} is refused in this process")
