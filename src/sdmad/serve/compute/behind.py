"""The worklist's images are scored in the background, and kept in the database."""

from __future__ import annotations

import logging
import threading
from pathlib import Path

from sdmad.serve.compute.models import Models
from sdmad.serve.compute.scorer import Scored, Scorer
from sdmad.serve.storage import findings, images
from sdmad.serve.storage.engine import Storage
from sdmad.serve.storage.tables import ImageRow
from sdmad.serve.told import without_place

AT_ONCE = 2
"""Batches that are read and scored before their findings are kept."""

PAUSE = 5.0
"""Seconds after which something that went wrong is tried again."""

_log = logging.getLogger(__name__)


class Behind:
    """A thread that scores what waits for the active model.

    Args:
        storage: the database.
        models: of the server.
        scorer: reads and scores.
    """

    def __init__(self, storage: Storage, models: Models, scorer: Scorer) -> None:
        self._storage, self._models, self._scorer = storage, models, scorer
        self._woken, self._closed = threading.Event(), False
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def progress(self) -> tuple[int, int]:
        """How many images the active model has scored, and how many it is to score."""
        with self._storage.reading() as session:
            return images.progress(session, self._models.active.id)

    def wake(self) -> None:
        """Have it score all images by another model."""
        with self._storage.writing() as session:
            images.expect(session, self._models.active.id)
        self.look()

    def look(self) -> None:
        """Have it look for images that wait."""
        self._woken.set()

    def stop(self) -> None:
        """Score no more, and make nothing of it if what is under way is cut off."""
        self._closed = True
        self._woken.set()

    def join(self) -> None:
        """Wait until it has ended."""
        self._thread.join()

    def _run(self) -> None:
        while not self._closed:
            try:
                if self._some():
                    continue
                pause = None
            except Exception as error:  # the thread must outlive any of them
                if self._closed:
                    return
                _log.exception("scoring in the background", exc_info=error)
                pause = PAUSE
            self._woken.wait(pause)
            self._woken.clear()

    def _some(self) -> bool:
        """Score some images; False where none waits."""
        model = self._models.active
        with self._storage.reading() as session:
            rows = images.waiting(session, model.id, AT_ONCE * model.batcher.size)
        if not rows:
            return False
        scored = self._scorer.score_behind(model, [Path(row.address) for row in rows])
        judged = [_judged(row, one) for row, one in zip(rows, scored, strict=True)]
        with self._storage.writing() as session:
            findings.keep(session, model.id, judged)
        return True


def _judged(row: ImageRow, scored: Scored) -> findings.Judged:
    """What is kept of an image."""
    error = scored.error
    return findings.Judged(
        row.id,
        scored.abnormal,
        scored.unsure,
        scored.unfamiliar,
        None if error is None else without_place(error, row.address, row.name),
        tuple(
            findings.Finding(
                one.category,
                one.score,
                one.probability,
                one.threshold,
                one.decision,
                one.rule,
                {
                    "name": one.sign.name,
                    "sentence": one.sign.sentence,
                    "contribution": one.sign.contribution,
                },
                one.answer,
            )
            for one in scored.findings
        ),
    )
