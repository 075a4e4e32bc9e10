"""The images of a server, judged, and the results written and stored: resumable and idempotent.

An image is done where the manifest says so, or where the server has its report: the report is
stored last and alone, so whoever finds it finds the rest. A UID comes from the image, the model and
how it decides, so what is stored twice is stored once.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from sdmad.data.plane import ImageError
from sdmad.detector.scores import ImageScores
from sdmad.dicom_out.files import write_parts
from sdmad.dicom_out.identity import Judge, ModelIdentity
from sdmad.dicom_out.manifest import Done, Manifest
from sdmad.dicom_out.originals import Study, is_original, refusal
from sdmad.dicom_out.results import Results, results_for
from sdmad.dicom_out.server import Instance, Server
from sdmad.dicom_out.source import Source
from sdmad.dicom_out.uids import derived
from sdmad.reporting.predictions import Predictions

BATCH = 16
"""Images that are retrieved before they are judged: what a killed run does again at most."""

Rows = Callable[[Sequence[Path], ImageScores, set[int]], Predictions]
"""Makes rows of scores: with probabilities and answers where they are asked for."""


@dataclass
class Counts:
    """What became of the images that were found.

    Attributes:
        studies: that the query found.
        images: in them.
        before: done already.
        judged: whose results were made now.
        stored: whose results the server has now and had not before.
        refused: that could not be had, read or stored, or lack what results need.
    """

    studies: int = 0
    images: int = 0
    before: int = 0
    judged: int = 0
    stored: int = 0
    refused: int = 0


@dataclass(frozen=True)
class Sweep:
    """How the images of a server are judged.

    Attributes:
        server: where they are.
        judge: what judges them.
        model: which model that is.
        rows: makes rows of its scores.
        store: whether results go to the server.
        folder: where they are written; None where they are not.
        complain: told why an image has no results.
    """

    server: Server
    judge: Judge
    model: ModelIdentity
    rows: Rows
    store: bool
    folder: Path | None
    complain: Callable[[str], None]

    def run(self, studies: Sequence[str]) -> Counts:
        """Judge the images of some studies.

        Raises:
            SDMADError: if the server cannot be reached or something cannot be written; what was
                done until then is done.
        """
        counts, manifest = Counts(studies=len(studies)), Manifest(self.folder)
        for study in studies:
            todo = list(self._todo(study, manifest, counts))
            for start in range(0, len(todo), BATCH):
                with tempfile.TemporaryDirectory(prefix="sdmad-") as place:
                    self._batch(todo[start : start + BATCH], Path(place), manifest, counts)
        return counts

    @property
    def _target(self) -> str:
        """The server that results are stored on; "" where they are not."""
        return self.server.url if self.store else ""

    def _todo(self, study: str, manifest: Manifest, counts: Counts) -> Iterator[Instance]:
        """The images of a study that are not done, and no results of this package."""
        found = Study.of(self.server, study)
        for one in found.images:
            counts.images += 1
            on_server = self.store and self._report_uid(one) in found.uids
            if on_server or manifest.knows(one.uid, self.model.fingerprint, self._target):
                counts.before += 1
            else:
                yield one

    def _report_uid(self, one: Instance) -> str:
        """The UID that the report on an image has: of the middle frame, which is judged."""
        return derived(one.uid, str(one.frames // 2), self.model.fingerprint, "sr")

    def _batch(
        self, several: Sequence[Instance], place: Path, manifest: Manifest, counts: Counts
    ) -> None:
        had: list[tuple[Instance, Path]] = []
        for number, one in enumerate(several):
            path = place / f"{number:03d}.dcm"
            with self._refusing(one, counts):
                self.server.retrieve(one, path)
                if self._is_source(one, path, counts):
                    had.append((one, path))
        if not had:
            return
        skipped: dict[int, ImageError] = {}
        files = [path for _, path in had]
        scored = self.judge.score_images(files, skipped.__setitem__)
        rows = self.rows(files, scored, set(skipped))
        for at, error in skipped.items():
            with self._refusing(had[at][0], counts):
                raise error
        for row, at in zip(rows, rows.places, strict=True):
            with self._refusing(had[at][0], counts):
                results = results_for(self.judge, row, self.model)
                counts.judged += 1
                found = tuple(entry.category for entry in row.findings)
                self._keep(had[at][0], results, found, manifest, counts)

    def _is_source(self, one: Instance, path: Path, counts: Counts) -> bool:
        """Whether a retrieved file is the image that was asked for, and no result of this package.

        Raises:
            ImageError: if it is another image, or lacks what results need.
        """
        original = is_original(Source.read(path).header, one)
        counts.images -= not original
        return original

    def _keep(
        self,
        one: Instance,
        results: Results,
        found: tuple[str, ...],
        manifest: Manifest,
        counts: Counts,
    ) -> None:
        """Write results, then store them, the report last, then note that it is done."""
        if self.folder is not None:
            write_parts(results, self.folder / one.study / one.uid)
        if self.store:
            *parts, report = results.parts
            self.server.store(one.study, [part.dataset() for part in parts])
            self.server.store(one.study, [report.dataset()])
            counts.stored += 1
        uids: dict[str, str] = {part.kind: part.uid for part in results.parts}
        model = self.model.fingerprint
        manifest.add(Done(one.uid, model, one.study, one.series, self._target, found, uids))

    @contextmanager
    def _refusing(self, one: Instance, counts: Counts) -> Iterator[None]:
        """Tell why one image has no results, and let the others go on."""
        try:
            yield
        except ImageError as error:
            self.complain(refusal(one, error))
            counts.refused += 1
