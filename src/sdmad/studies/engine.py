"""The one way in which studies run: what is missing is fitted and scored, and kept on disk.

Each system on each draw is one file that holds all that it depends on. A file is taken up again
only where all of that is as it was; else it is computed again, and said. The images of a large draw
are scored in pieces that are kept as they come, so that an interrupted study goes on.
"""

from __future__ import annotations

import hashlib
import shutil
from collections.abc import Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

from sdmad._version import __version__
from sdmad.backbones import Backbone
from sdmad.detector.scores import ImageScores
from sdmad.studies.draw import (
    Draw,
    Fitted,
    Timed,
    Variant,
    fit_variants,
    own_warnings,
    plain_settings,
    score_together,
)
from sdmad.studies.map_scores import score_maps
from sdmad.studies.material import AUXILIARY_SEED, Say
from sdmad.studies.outcome import Cost, Outcome, read_kept, write_kept
from sdmad.studies.peak_memory import PeakMemory

PIECE = 1024
"""Images of a large draw that are scored before what was said of them is kept."""


@dataclass(frozen=True)
class Engine:
    """Runs systems on draws, and keeps what they said.

    Attributes:
        backbone: the frozen model.
        folder: where outcomes are kept; made where it lacks.
        say: told what is computed, and why.
        maps: whether maps are judged too, of systems that make some.
        general_only: whether systems for one kind of anomaly answer only whether there is any.
    """

    backbone: Backbone
    folder: Path
    say: Say
    maps: bool = False
    general_only: bool = False

    def run(
        self, variants: Sequence[Variant], draws: Sequence[Draw], doing: str
    ) -> dict[str, list[Outcome]]:
        """Run what is missing.

        Memory and time are those of the systems that run together; for figures of one system
        alone, run it alone.

        Args:
            variants: systems, in the order of the answer.
            draws: one after the other.
            doing: what is done, in words, for messages.

        Returns:
            Outcomes by :attr:`Variant.key`, one a draw.

        Raises:
            SDMADError: if an image cannot be read, a system lacks what it needs, or a file cannot
                be written.
        """
        found: dict[str, list[Outcome]] = {variant.key: [] for variant in variants}
        for number, draw in enumerate(draws, 1):
            done = {one.key: self.stored(one, draw) for one in variants}
            missing = [one for one in variants if done[one.key] is None]
            if missing:
                title = f"{doing}: draw {number} of {len(draws)}"
                self.say(title)
                done |= self._compute(missing, draw, title)
            for key, outcome in done.items():
                assert outcome is not None
                found[key].append(outcome)
        return found

    def stored(self, variant: Variant, draw: Draw) -> Outcome | None:
        """What is kept; None where nothing is, or nothing that may be taken up again."""
        kept = read_kept(self.path(variant, draw), self.fingerprint(variant, draw), self.say)
        return None if kept is None else Outcome.of(*kept)

    def path(self, variant: Variant, draw: Draw) -> Path:
        """Where an outcome is kept; those of either order of drawing stay side by side."""
        order = "" if draw.order == "round-robin" else f"-{draw.order}"
        return self.folder / f"{variant.stem}-{draw.shots}shot-{draw.seed}{order}.npz"

    def fingerprint(self, variant: Variant, draw: Draw) -> dict[str, Any]:
        """All that an outcome depends on, as plain values, named for people."""
        material, system = draw.material, variant.system
        elsewhere = system.learns_from == "auxiliary set"
        return {
            "version of sdmad": __version__,
            "data set": material.digest,
            "bank": hashlib.sha256(material.bank.to_yaml().encode()).hexdigest(),
            "backbone": self.backbone.weights_hash,
            "preprocessing": self.backbone.preprocessing.to_dict(),
            "system": system.name,
            "value of its settings": plain_settings(variant.settings_on(self.backbone)),
            "number of shots": draw.shots,
            "seed": draw.seed,
            "auxiliary set": [material.modality, material.images, AUXILIARY_SEED] * elsewhere,
            "question": "is it abnormal?" if self.general_only and system.single else "all",
            "choice about maps": self.maps and system.maps,
            # What was kept before there were two orders knows of none and is as true.
            **({} if draw.order == "round-robin" else {"order of drawing": draw.order}),
        }

    def _compute(self, variants: Sequence[Variant], draw: Draw, title: str) -> dict[str, Outcome]:
        with PeakMemory() as memory, own_warnings() as told:
            fitted = list(fit_variants(variants, draw, self.backbone, self.general_only))
            timed = self._score(fitted, draw, title)
        found = {}
        for one in fitted:
            key, path = one.variant.key, self.path(one.variant, draw)
            asked = self.maps and one.variant.system.maps
            pixels, by_patient = score_maps(one.detector, draw) if asked else ({}, None)
            seconds = timed[key].seconds / len(draw.rows)
            found[key] = Outcome(
                draw.labelled(timed[key].scores),
                Cost(one.seconds, seconds, one.detector.trained_parameters, memory.mib),
                one.detector.losses,
                one.image_level_only,
                tuple(dict.fromkeys((*one.notes, *told))),
                pixels,
                by_patient,
                one.detector.kept_signs,
            )
            found[key].write(path, self.fingerprint(one.variant, draw))
            shutil.rmtree(_pieces(path), ignore_errors=True)
        return found

    def _score(self, fitted: Sequence[Fitted], draw: Draw, title: str) -> dict[str, Timed]:
        """Scores of every judged image; pieces that are kept already are not computed again."""
        files = draw.files
        parts: dict[str, list[Timed]] = {one.variant.key: [] for one in fitted}
        for start in range(0, len(files), PIECE):
            lacking = {}
            for one in fitted:
                kept = read_kept(*self._piece(one, draw, start), self.say)
                if kept is None:
                    lacking[one.variant.key] = one
                else:
                    timed = Timed(ImageScores(**kept[0]), kept[1]["seconds"])
                    parts[one.variant.key].append(timed)
            detectors = {key: one.detector for key, one in lacking.items()}
            piece = files[start : start + PIECE]
            made = score_together(detectors, piece, self.backbone, title) if lacking else {}
            for key, timed in made.items():
                parts[key].append(timed)
                if len(files) > PIECE:
                    path, fingerprint = self._piece(lacking[key], draw, start)
                    arrays = {f.name: getattr(timed.scores, f.name) for f in fields(ImageScores)}
                    write_kept(path, arrays, {"seconds": timed.seconds}, fingerprint)
        return {key: Timed.join(found) for key, found in parts.items()}

    def _piece(self, one: Fitted, draw: Draw, start: int) -> tuple[Path, dict[str, Any]]:
        """Where a piece is kept, and what it depends on."""
        folder = _pieces(self.path(one.variant, draw))
        return folder / f"{start:09d}.npz", self.fingerprint(one.variant, draw)


def _pieces(path: Path) -> Path:
    """The folder of the pieces of an outcome that is not whole yet."""
    return path.with_suffix(".pieces")
