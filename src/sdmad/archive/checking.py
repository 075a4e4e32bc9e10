"""``sdmad data check --archive``: every header of an archive, on Ray, here or on a cluster."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterable, Sequence
from itertools import islice
from typing import TYPE_CHECKING

from sdmad.archive.engine import Resources, connected, stream
from sdmad.archive.listing import SHARD, no_image, packed
from sdmad.archive.sources import Passed, entries
from sdmad.archive.stages import headers
from sdmad.data.integrity import Problem, Report, Verdict
from sdmad.data.integrity.files import UNREADABLE
from sdmad.data.integrity.leaks import IDENTICAL
from sdmad.data.integrity.problems import MOST_PLACES, passed
from sdmad.text import without_surrogates

if TYPE_CHECKING:
    import pyarrow as pa

KINDS = "kinds of images"
MOST_KINDS = 8


class Seen:
    """What the headers of an archive said, as they came."""

    def __init__(self) -> None:
        self.kinds: Counter[str] = Counter()
        self.copies: dict[bytes, str] = {}
        self.unreadable: list[str] = []
        self.twice: list[str] = []
        self.bad = self.repeated = 0

    def add(self, rows: pa.Table) -> None:
        """Take some rows."""
        for row in rows.to_pylist():
            if row["error"]:
                self.bad += 1
                if len(self.unreadable) < MOST_PLACES:
                    self.unreadable.append(row["error"])
                continue
            self.kinds[f"{row['kind']} {row['mode']} {row['width']} x {row['height']}"] += 1
            mark = bytes.fromhex(row["hash"])[:16]
            first = self.copies.setdefault(mark, row["file"])
            if first != row["file"]:
                self.repeated += 1
                if len(self.twice) < MOST_PLACES:
                    self.twice.append(f"{first}, {row['file']}")

    def findings(self, images: int) -> tuple[Problem, ...]:
        """What to say of them."""
        shown = [f"{count:,} {kind}" for kind, count in self.kinds.most_common(MOST_KINDS)]
        more = len(self.kinds) - MOST_KINDS
        told = ", ".join(shown) + (f" and {more} more" if more > 0 else "")
        return (
            passed(KINDS, told or "none could be read"),
            _problem(
                UNREADABLE,
                Verdict.FAIL,
                f"{self.bad} of {images} images cannot be read",
                sorted(self.unreadable),
                "copy or export them again",
                self.bad,
                "every header can be read",
            ),
            _problem(
                IDENTICAL,
                Verdict.WARN,
                f"{self.repeated} images are byte-identical with another",
                sorted(self.twice),
                "keep one; copies count twice in every figure",
                self.repeated,
                "no image is there twice",
            ),
        )


def _problem(
    check: str,
    verdict: Verdict,
    what: str,
    where: Iterable[str],
    mend: str,
    count: int,
    fine: str,
) -> Problem:
    if not count:
        return passed(check, fine)
    return Problem(check, verdict, what, tuple(where), mend, count)


def check_archive(
    sources: Sequence[str | os.PathLike[str]], resources: Resources, shard_size: int = SHARD
) -> Report:
    """Say whether the images of an archive can be read, from their headers, and are there once.

    Args:
        sources: as `sdmad.archive.sources.entries` takes them.
        resources: what to run on.
        shard_size: images of a shard.

    Raises:
        InputError: if a source cannot be used, or there is no image.
        SDMADError: if a place does not answer, or the cluster fails.
    """
    seen, others = Seen(), Passed(Counter())
    listed, images = iter(entries(sources, others)), 0
    shards = []
    while rows := list(islice(listed, shard_size)):
        shards.append({"images": packed(rows)})
        images += len(rows)
    if not images:
        raise no_image(sources, others)
    with connected(resources):
        for found in stream(shards, headers, None, resources):
            seen.add(found)
    passed_over = tuple(f"{count} {kind} passed over" for kind, count in others.kinds.items())
    root = ", ".join(without_surrogates(os.fspath(source)) for source in sources)
    return Report("archive", root, images, seen.findings(images), (), passed_over)
