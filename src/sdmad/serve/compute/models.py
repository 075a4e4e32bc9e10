"""The models that a server has: what they say of themselves, and their batches."""

from __future__ import annotations

import threading
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from sdmad.detector import checkpoint
from sdmad.detector.batches import lanes_on
from sdmad.detector.calibration import Calibration, Prevalence, stated
from sdmad.detector.manifest import file_hash, read_json
from sdmad.detector.sign_detector import SignDetector
from sdmad.errors import InputError
from sdmad.export import files as export
from sdmad.export.runtime import ExportedModel
from sdmad.reporting.map_files import safe_name
from sdmad.serve.compute.batching import Batcher, Told
from sdmad.signs import SignBank

Kind = Literal["checkpoint", "export"]
DIGITS = 8
"""Of a model's hash in its id."""


class UnknownModelError(InputError):
    """A model's id that the server does not have."""


@dataclass(frozen=True, eq=False)
class ServedModel:
    """A model that answers.

    Attributes:
        id: its name and the first digits of its hash.
        name: of its folder.
        kind: what the folder holds.
        folder: where it lies.
        hash: SHA-256 of its manifest, which holds that of every other file.
        version: of the sdmad that wrote it; empty where it does not say.
        backbone: name of the backbone that it was fitted on.
        created: when its manifest was written, in UTC.
        judge: what scores.
        batcher: its batches.
    """

    id: str
    name: str
    kind: Kind
    folder: Path
    hash: str
    version: str
    backbone: str
    created: datetime
    judge: SignDetector | ExportedModel
    batcher: Batcher

    @property
    def bank(self) -> SignBank:
        """Its signs."""
        judge = self.judge
        return judge.bank_ if isinstance(judge, SignDetector) else judge.description.bank

    @property
    def rule(self) -> str:
        """How it decides."""
        judge = self.judge
        told = judge.config_ if isinstance(judge, SignDetector) else judge.description
        return told.decision

    @property
    def limits(self) -> NDArray[np.float64] | None:
        """The score above which each category is found, ``(K,)``; None of a rule of signs alone."""
        if isinstance(self.judge, SignDetector):
            return self.judge.head_.limits()
        limits = self.judge.description.limits
        return None if limits is None else np.array(limits)

    @property
    def calibration(self) -> Calibration | None:
        """How its scores become probabilities at a prevalence; None where they do not."""
        judge = self.judge
        told = judge.head_ if isinstance(judge, SignDetector) else judge.description
        return told.calibration

    @property
    def gives_odds(self) -> bool:
        """Whether its scores are log odds, which become probabilities at a prevalence."""
        return self.calibration is not None

    def chance(self, category: str, score: float, prevalence: Prevalence) -> float | None:
        """The probability of a category of this score; None where the model gives none.

        Args:
            category: one of the model's.
            score: that it gave.
            prevalence: stated, of each category.

        Raises:
            InputError: if none is stated of a category.
        """
        calibration, names = self.calibration, self.bank.names
        if calibration is None:
            return None
        found = calibration.probabilities(np.full(len(names), score), stated(prevalence, names))
        return float(found[names.index(category)])


class Models:
    """The models of a server; one of them is active.

    Args:
        folders: what ``sdmad fit`` or ``sdmad export`` wrote, at least one; the first is active.
        told: told of each batch.

    Raises:
        InputError: if there is none, one stands twice, or one cannot decide.
        ModelError: if one cannot be loaded.
    """

    def __init__(self, folders: Iterable[Path], told: Told | None = None) -> None:
        self._told = told
        self._lock = threading.Lock()
        self._models: dict[str, ServedModel] = {}
        self._active = ""
        for folder in folders:
            model = self.add(folder)
            self._active = self._active or model.id
        if not self._models:
            raise InputError("give at least one model: a folder of sdmad fit or sdmad export")

    def add(self, folder: Path) -> ServedModel:
        """Load one more model."""
        model = _load(folder, self._told)
        with self._lock:
            twin = self._models.get(model.id)
            if twin is None:
                self._models[model.id] = model
                return model
        model.batcher.close()
        raise InputError(f"{folder}: the same model as {twin.folder}; give it once")

    def __iter__(self) -> Iterator[ServedModel]:
        return iter(list(self._models.values()))

    def __len__(self) -> int:
        return len(self._models)

    @property
    def first(self) -> ServedModel:
        """The model that was named first when the server started."""
        return next(iter(self))

    @property
    def active(self) -> ServedModel:
        """The model that answers where none is named."""
        return self._models[self._active]

    def activate(self, model: str) -> ServedModel:
        """Let another model answer where none is named."""
        found = self.get(model)
        self._active = found.id
        return found

    def get(self, model: str | None) -> ServedModel:
        """A model by its id; the active one where none is named.

        Raises:
            UnknownModelError: naming those that there are.
        """
        if not model:
            return self.active
        if model not in self._models:
            raise UnknownModelError(f"no model {model!r}; there are: {', '.join(self._models)}")
        return self._models[model]

    def close(self) -> None:
        """End all batches."""
        for model in self:
            model.batcher.close()


def _load(folder: Path, told: Told | None) -> ServedModel:
    folder = folder.resolve()
    kind: Kind = "export" if export.is_export(folder) else "checkpoint"
    judge: SignDetector | ExportedModel
    if kind == "export":
        judge = ExportedModel.load(folder)
        manifest = folder / export.MANIFEST
        about = read_json(manifest)
        backbone = str(about.get("backbone") or "")
    else:
        judge = SignDetector.load(folder)
        judge.head_.limits()  # refused now where the rule lacks thresholds
        manifest = folder / checkpoint.MANIFEST
        about = read_json(folder / "config.json")
        backbone = judge.backbone_.name
    digest = file_hash(manifest)
    return ServedModel(
        f"{safe_name(folder.name)}-{digest[:DIGITS]}",
        folder.name,
        kind,
        folder,
        digest,
        str(about.get("sdmad") or ""),
        backbone,
        datetime.fromtimestamp(int(manifest.stat().st_mtime), UTC),
        judge,
        _batcher(judge, told),
    )


def _batcher(judge: SignDetector | ExportedModel, told: Told | None) -> Batcher:
    import torch

    threads = torch.get_num_threads()
    if isinstance(judge, ExportedModel):
        return Batcher(judge.score_batch, judge.batch, lanes_on(threads), told=told)
    lanes = lanes_on(threads) if judge.several_at_once else 1
    start = partial(torch.set_num_threads, max(1, threads // lanes))
    return Batcher(judge.score_batch, judge.batch, lanes, start, told=told)
