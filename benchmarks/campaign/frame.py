"""One case of one kind: run it, and say what of the things happened that never may."""

from __future__ import annotations

import importlib
import random
import shutil
import time
import traceback
import warnings
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

from sdmad.errors import SDMADError

KINDS = ("text", "answers", "models", "backbones", "exports", "images", "faults", "kills")
"""The modules in ``kinds``, in the order of the page."""

TRACEBACK, HANG, MEMORY, LEFT, NAME, LOST = (
    *("traceback or crash", "hang", "memory over the limit", "half-written or left-over file"),
    *("patient's name", "lost result"),
)
FAULTS = (TRACEBACK, HANG, MEMORY, LEFT, NAME, LOST)
"""What is counted; all must be zero."""

SECRET = "Zwiebelfisch^Ottokar"  # noqa: S105  # a patient's name that nothing else contains
SECONDS = 60.0
"""A case that takes more processor time hangs, unless its kind says otherwise (``SECONDS``)."""

MEGABYTES = 2048
"""What a case may take beside what its process has already (``MEGABYTES``)."""

READ, TOLD = "read", "told"


class FoundError(Exception):
    """What an attack itself found that may never happen.

    Args:
        kind: one of :data:`FAULTS`.
        what: in a line.
    """

    def __init__(self, kind: str, what: str) -> None:
        super().__init__(what)
        self.kind = kind


@dataclass(frozen=True)
class Case:
    """What came of one case.

    Attributes:
        kind: of the attack.
        seed: makes it again.
        outcome: in a word, such as read or told.
        faults: those of :data:`FAULTS` that happened, each with what was seen.
        seconds: that it took.
    """

    kind: str
    seed: int
    outcome: str
    faults: dict[str, str]
    seconds: float


def module_of(kind: str) -> ModuleType:
    """The module of a kind."""
    return importlib.import_module(f"benchmarks.campaign.kinds.{kind}")


def setting(kind: str, name: str) -> Any:
    """A kind's own limit, or that of all: SECONDS, MEGABYTES."""
    return getattr(module_of(kind), name, globals()[name])


def prepare(kind: str, folder: Path) -> Path:
    """Make what the attacks of a kind begin with, such as a fitted model, once."""
    material = folder / kind
    if not material.is_dir():
        work = folder / f"{kind}.making"
        shutil.rmtree(work, ignore_errors=True)
        work.mkdir(parents=True)
        getattr(module_of(kind), "prepare", lambda _: None)(work)
        work.rename(material)
    return material


def run_case(kind: str, seed: int, material: Path, place: Path) -> Case:
    """Run one case in this process, in an empty folder that is removed afterwards."""
    shutil.rmtree(place, ignore_errors=True)
    place.mkdir(parents=True)
    faults: dict[str, str] = {}
    said: list[str] = []
    seeded = random.Random(f"{kind} {seed}")  # noqa: S311  # a seed makes it again
    start = time.monotonic()
    before = _peak_from_here()
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        try:
            outcome = module_of(kind).attack(seeded, material, place)
        except SDMADError as error:
            outcome = TOLD
            said.append(str(error))
        except FoundError as fault:
            outcome, faults[fault.kind] = "fault", str(fault)
        except Exception:
            outcome, faults[TRACEBACK] = "fault", traceback.format_exc(limit=-6)
    seconds = time.monotonic() - start
    rise = _peak() - before
    if rise > setting(kind, "MEGABYTES"):
        faults[MEMORY] = f"{rise:.0f} MB"
    said += [str(warning.message) for warning in caught]
    if SECRET in " ".join([outcome, *said]):
        faults[NAME] = "in a message"
    if left := [path.name for path in place.rglob(".*.part")]:
        faults[LEFT] = ", ".join(left)
    shutil.rmtree(place, ignore_errors=True)
    return Case(kind, seed, outcome, faults, seconds)


def _peak_from_here() -> float:
    """Forget the highest resident memory so far, and give what is resident now, MB."""
    forget = Path("/proc/self/clear_refs")
    if forget.exists():
        forget.write_text("5", encoding="ascii")
    return _peak()


def _peak() -> float:
    """Highest resident memory, MB; 0 where the system does not say."""
    status = Path("/proc/self/status")
    if not status.exists():
        return 0.0
    for line in status.read_text(encoding="ascii", errors="replace").splitlines():
        if line.startswith("VmHWM:"):
            return int(line.split()[1]) / 1024
    return 0.0
