"""Refits of a server: waiting, running, ended; each a folder, so that a crash loses none.

The folder holds what was asked, the labels, how far it is, the new model and the outcome, which is
written last. The server that was asked holds a lock on it, for others may have the same folder; one
without an outcome that nobody holds was interrupted.
"""

from __future__ import annotations

import os
import queue
import subprocess
import threading
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from sdmad.detector.manifest import read_json
from sdmad.errors import InputError, SDMADError
from sdmad.output import private_folder, write_json, write_text
from sdmad.serve.compute.models import Models, ServedModel
from sdmad.serve.compute.refitting import (
    LABELS,
    MODEL,
    OUTCOME,
    PROGRESS,
    REQUEST,
    STEPS,
    program,
)
from sdmad.unfinished import hold, is_held

ACTIVE = "active.json"
FAULTS = "faults.txt"
MOST_WAITING = 4
SAFE = "; no reading is lost, and the model in use is as it was: start a refit again"

State = Literal["waiting", "running", "done", "failed"]


class UnknownRefitError(InputError):
    """A refit's number that there is not."""


class NotNowError(InputError):
    """Something that cannot be done in the state that a refit is in."""


@dataclass(frozen=True)
class Refit:
    """How a refit stands.

    Attributes:
        id: its number, from 1.
        state: waiting, running, done or failed.
        progress: 0 to 1.
        steps: what is done one after the other.
        step: which of them is under way or was the last.
        message: what is done now; what came out, or why nothing did.
        comparison: of `sdmad.serve.compute.refitting.compare`; None before, and where neither
            model could be judged.
        model: id of the new model, once it answers or could.
    """

    id: int
    state: State
    progress: float
    steps: tuple[str, ...]
    step: int
    message: str
    comparison: dict[str, Any] | None
    model: str | None = None


class Refits:
    """The refits of a server.

    Args:
        folder: where they are kept; made with the first of them.
        models: of the server.
        switched: told of the model that answers from now on.
    """

    def __init__(
        self, folder: Path, models: Models, switched: Callable[[ServedModel], None]
    ) -> None:
        self._folder, self._models, self._switched = folder, models, switched
        self._lock = threading.Lock()
        self._loaded: dict[int, str] = {}
        self._held: dict[int, int | None] = {}
        self._running: subprocess.Popen[bytes] | None = None
        self._now: int | None = None
        self._closed = False
        for number in self._numbers():
            if not is_held(self._place(number)):
                self._end_interrupted(number)
        self._waiting: queue.Queue[int | None] = queue.Queue()
        self._thread = threading.Thread(target=self._work, daemon=True)
        self._thread.start()

    def restore(self) -> None:
        """Let the model answer that was switched to before the server ended.

        Raises:
            SDMADError: if it cannot be loaded.
        """
        if not (self._folder / ACTIVE).is_file():
            return
        told = read_json(self._folder / ACTIVE)
        if told["first"] == str(self._models.first.folder):  # else another model is served now
            self._activate(int(told["refit"]))

    def start(self, labels: str, shots: int, seed: int) -> Refit:
        """Ask for a refit of the active model.

        Args:
            labels: a label table as CSV, its files by absolute addresses.
            shots: images a category to learn from, at most.
            seed: of the draw and the training.

        Raises:
            NotNowError: if the active model is an export, or too many refits wait.
            SDMADError: if the folder cannot be written.
        """
        model = self._models.active
        if model.kind == "export":
            raise NotNowError("an export cannot learn; serve the folder that sdmad fit wrote")
        with self._lock:
            if self._waiting.qsize() >= MOST_WAITING:
                raise NotNowError(f"{MOST_WAITING} refits wait already; let one end first")
            number = self._new()
            place = self._place(number)
            write_text(place / LABELS, labels)
            request = {
                "model": model.folder,
                "categories": model.bank.names,
                "shots": shots,
                "seed": seed,
            }
            write_json(place / REQUEST, request)
            self._waiting.put(number)
        return self.get(number)

    def all(self) -> list[Refit]:
        """All refits, the newest first."""
        return [self.get(number) for number in sorted(self._numbers(), reverse=True)]

    def get(self, number: int) -> Refit:
        """A refit by its number.

        Raises:
            UnknownRefitError: if there is none such.
        """
        place = self._place(number)
        if not (place / REQUEST).is_file():
            raise UnknownRefitError(f"there is no refit {number}")
        step = int(read_json(place / PROGRESS)["step"]) if (place / PROGRESS).is_file() else 0
        if (place / OUTCOME).is_file():
            told = read_json(place / OUTCOME)
            state: State = "done" if told["state"] == "done" else "failed"
            share = 1.0 if state == "done" else step / len(STEPS)
            model = self._loaded.get(number)
            return Refit(
                number, state, share, STEPS, step, told["message"], told["comparison"], model
            )
        began = self._now == number or (place / PROGRESS).is_file()
        state = "running" if began else "waiting"
        now = STEPS[step] if state == "running" else "waits for its turn"
        return Refit(number, state, step / len(STEPS), STEPS, step, now, None)

    def switch(self, number: int) -> ServedModel:
        """Let the new model of a refit answer, from now on and after the next start.

        Raises:
            UnknownRefitError: if there is none such.
            NotNowError: if it has no model.
        """
        found = self.get(number)
        if found.state != "done":
            raise NotNowError(f"refit {number} has no model to switch to: it is {found.state}")
        model = self._activate(number)
        write_json(self._folder / ACTIVE, {"refit": number, "first": self._models.first.folder})
        self._switched(model)
        return model

    def close(self) -> None:
        """End what is under way; the next start tells so."""
        self._closed = True
        with self._lock:
            if self._running is not None:
                self._running.kill()
        self._waiting.put(None)
        self._thread.join()
        for number in list(self._held):
            self._release(number)

    def _activate(self, number: int) -> ServedModel:
        known = self._loaded.get(number)
        if known is None:
            known = self._loaded[number] = self._models.add(self._place(number) / MODEL).id
        return self._models.activate(known)

    def _work(self) -> None:
        while (number := self._waiting.get()) is not None:
            if self._closed:
                return
            self._now = number
            self._run(self._place(number))
            if not self._closed:
                self._end_interrupted(number, "its process ended")
            self._now = None
            self._release(number)

    def _new(self) -> int:
        """A number that no server has, and its folder, held by this one."""
        private_folder(self._folder)
        number = max(self._numbers(), default=0) + 1
        while True:
            place = self._place(number)
            try:
                place.mkdir(mode=0o700)
            except FileExistsError:  # another server was asked at the same time
                number += 1
                continue
            except OSError as error:
                raise SDMADError(f"{place}: cannot be made ({error.strerror})") from error
            self._held[number] = hold(place)
            return number

    def _release(self, number: int) -> None:
        handle = self._held.pop(number, None)
        if handle is not None:
            os.close(handle)

    def _run(self, place: Path) -> None:
        try:
            with (place / FAULTS).open("wb") as faults, self._lock:
                if self._closed:
                    return
                self._running = subprocess.Popen(  # noqa: S603  # this interpreter, fixed words
                    program(place),
                    stdin=subprocess.PIPE,
                    stdout=subprocess.DEVNULL,
                    stderr=faults,
                    env=_environment(),
                )
        except OSError:  # told as interrupted
            return
        self._running.wait()
        assert self._running.stdin is not None
        self._running.stdin.close()
        with self._lock:
            self._running = None

    def _end_interrupted(self, number: int, why: str = "the server ended") -> None:
        """Write the outcome of a refit that has none."""
        place = self._place(number)
        if (place / OUTCOME).is_file() or not (place / REQUEST).is_file():
            return
        at = self.get(number).step
        began = (place / PROGRESS).is_file()
        when = f"while {STEPS[at]}" if began else "before it began"
        told = f"interrupted: {why} {when}{SAFE}"
        write_json(place / OUTCOME, {"state": "failed", "message": told, "comparison": None})

    def _place(self, number: int) -> Path:
        return self._folder / f"{number:06d}"

    def _numbers(self) -> list[int]:
        return [int(one.name) for one in self._folder.glob("*") if one.name.isdecimal()]


def _environment() -> dict[str, str]:
    """That of this process, with the folder in which this package lies."""
    here = str(Path(__file__).parents[3])
    return {**os.environ, "PYTHONPATH": os.pathsep.join((here, os.environ.get("PYTHONPATH", "")))}
