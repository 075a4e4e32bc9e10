"""``sdmad predict --engine ray``: list once, score what is missing, exactly once."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sdmad._version import __version__
from sdmad.archive.engine import Resources, connected, stream
from sdmad.archive.listing import (
    FACTS,
    FOLDER,
    SHARD,
    Listing,
    addresses,
    read_listing,
    write_listing,
)
from sdmad.archive.maps import MAPS, write_maps
from sdmad.archive.places import Place, place_of
from sdmad.archive.shards import MANIFEST, RUN, SCORES, Gathering, Manifest, write_shard
from sdmad.archive.stages import Judge, Open, Squares
from sdmad.detector.checkpoint import MANIFEST as OF_MODEL
from sdmad.detector.manifest import file_hash
from sdmad.errors import InputError, SDMADError
from sdmad.export.files import MANIFEST as OF_EXPORT
from sdmad.inputs import bounded
from sdmad.output import json_text
from sdmad.progress import track

FORMAT = 1
WRITTEN = (MANIFEST, SCORES, MAPS, FACTS, FOLDER, RUN)
"""What a run writes; what says whose it is goes last when it is replaced."""


@dataclass(frozen=True)
class Scored:
    """What became of an archive.

    Attributes:
        listing: of its images.
        resumed: shards that earlier runs had finished.
        errors: images that could not be read.
        unfamiliar: images unlike those that the model was fitted on.
        listed_before: whether the list is an earlier run's.
    """

    listing: Listing
    resumed: int
    errors: int
    unfamiliar: int
    listed_before: bool


def model_hash(folder: Path) -> str:
    """SHA-256 of the manifest of a model or an export, which holds the hashes of its files.

    Raises:
        ModelError: if there is none.
    """
    export = folder / OF_EXPORT
    return file_hash(export if export.is_file() else folder / OF_MODEL)


def score_archive(
    sources: Sequence[str | os.PathLike[str]],
    out: Place,
    open_judge: Open,
    model: Path,
    settings: dict[str, Any],
    resources: Resources,
    force: bool = False,
    shard_size: int = SHARD,
) -> Scored:
    """Score an archive; what earlier runs to the same folder finished is kept.

    Args:
        sources: as `sdmad.archive.sources.entries` takes them.
        out: where the results go.
        open_judge: opens the model, here and in every process.
        model: its folder.
        settings: how it was asked to decide; a run is taken up by the same ones only.
        resources: what to run on.
        force: start anew where there are results.
        shard_size: images of a shard.

    Raises:
        InputError: if the folder holds something else, or the results of another run.
        SDMADError: if a place does not answer, or the cluster fails.
    """
    _check_apart(sources, out)
    judge = open_judge()
    for folder in (out, out / SCORES, out / MAPS, out / FOLDER):
        folder.sweep()
    run = _check_run(out, model_hash(model), judge, settings, force)
    earlier = read_listing(out)
    if earlier is not None and earlier.sources != addresses(sources):
        raise InputError(
            f"{out}: holds scores of other images ({', '.join(earlier.sources)}); choose another "
            "folder, or replace it with --force"
        )
    listing = earlier or write_listing(sources, out, shard_size)
    manifest = Manifest.read(out, run, listing, judge.maps)
    missing, resumed = manifest.missing, len(manifest.done)
    if missing:
        with connected(resources):
            _score(missing, out, open_judge, judge, model_hash(model), manifest, resources)
    manifest.write()
    done = manifest.done.values()
    return Scored(
        listing,
        resumed,
        sum(one.errors for one in done),
        sum(one.unfamiliar for one in done),
        earlier is not None,
    )


def _check_apart(sources: Sequence[str | os.PathLike[str]], out: Place) -> None:
    """Refuse results inside of what is read: they would be listed as they are written."""
    for source in sources:
        place = place_of(source)
        if f"{out}/".startswith(f"{place}/"):
            raise InputError(f"{out}: lies in {place}, which is read; choose another folder")


def _score(
    missing: Sequence[int],
    out: Place,
    open_judge: Open,
    judge: Judge,
    model: str,
    manifest: Manifest,
    resources: Resources,
) -> None:
    """Score the missing shards and write each as it is whole."""
    gathering = Gathering(manifest.listing)
    steps = iter(track(missing, "scoring shards"))
    next(steps)
    read = Squares(out, judge.preprocessing)
    shards = [{"shard": number} for number in missing]
    try:
        for rows in stream(shards, read, (open_judge, model), resources):
            for shard, whole in gathering.add(rows):
                plain = write_maps(out, shard, whole)
                manifest.add(shard, write_shard(out, manifest.run, shard, plain))
                next(steps, None)
    finally:
        manifest.write()


def _check_run(out: Place, model: str, judge: Judge, settings: dict[str, Any], force: bool) -> str:
    """What tells this run from others; refuses a folder that holds another's results."""
    said = {
        "format": FORMAT,
        "model": model,
        "version": __version__,
        "categories": list(judge.bank.names),
        "settings": settings,
        "maps": judge.maps,
    }
    text = json_text(said)
    run = hashlib.sha256(text.encode()).hexdigest()
    names = set(out.names())
    if force and RUN in names:
        for name in WRITTEN:
            if name in names:
                (out / name).remove()
        names = set()  # what else lies there is left alone
    if RUN in names:
        with bounded(f"{out / RUN}: not usable; start anew with --force", InputError, SDMADError):
            before = dict(json.loads((out / RUN).read()))
        if before != json.loads(text):
            other = [key for key in said if before.get(key) != json.loads(text)[key]]
            raise InputError(
                f"{out}: holds scores of another run ({', '.join(other)} differ); choose another "
                "folder, or replace it with --force"
            )
    elif names:
        raise InputError(f"{out}: this folder already holds something; choose another")
    else:
        (out / RUN).write((text + "\n").encode())
    return run
