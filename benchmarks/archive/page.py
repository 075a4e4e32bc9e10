"""The page of archives: its template, with the figures that were measured and the names of others.

What a command takes of the processor is told always. What the clock said is told only where other
work left the cores alone.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from statistics import median
from typing import Any

from benchmarks.archive.sections import NIH, SECTIONS, TEN_MILLION, WAYS, Sizes
from sdmad.table import Table

PAGE = Path(__file__).with_name("page.md")
CLUSTERS = ((1, 16), (4, 16), (16, 32))
"""Nodes, and cores of each."""

QUIET = 0.1
"""Share of the cores that other work may have had where the clock counts."""

UNMEASURED = "not measured"

Parts = dict[str, dict[str, Any]]


def page(found: dict[str, Any], sizes: Sizes) -> str:
    """The whole page.

    Args:
        found: the machine, and of each section its parts.
        sizes: how much was to be measured.
    """
    return PAGE.read_text("utf-8").replace("{measured}", measured(found, sizes))


def measured(found: dict[str, Any], sizes: Sizes) -> str:
    """The part of the page that holds figures."""
    told = [
        f"On {found['machine']['cores']} cores, model lite, PNG of 512 px. CPU: seconds of the "
        "processor of all processes of a command, which other work on the machine changes little. "
        f"What the clock says counts where other work had at most {100 * QUIET:.0f}% of the "
        "cores. MiB: of all processes, at most.\n",
        *(tell(found[name], sizes) for name, tell in TOLD.items() if found[name]),
        cluster(found),
        *missing(found, sizes),
    ]
    return "\n".join(told).rstrip("\n")


def missing(found: dict[str, Any], sizes: Sizes) -> list[str]:
    """What was not measured, by sections."""
    lines = []
    for name, section in SECTIONS.items():
        parts = section.parts(sizes)
        gone = [part for part in parts if part not in found[name]]
        if gone:
            which = "" if gone == list(parts) else f" ({', '.join(gone)})"
            lines.append(f"`{name}`{which}")
    if not lines:
        return []
    told = ", ".join(lines)
    return [f"Not measured yet: {told}; `make archive` measures what is missing.\n"]


def clock(text: str, others: float) -> str:
    """What the clock said, where it counts."""
    return text if others <= QUIET else UNMEASURED


def spread(values: Sequence[float]) -> str:
    """Median, and where there are several the smallest and largest.

    >>> spread([1.1]), spread([1.3, 1.1, 1.0])
    ('1.10', '1.10 (1.00 to 1.30)')
    """
    middle = f"{median(values):.2f}"
    return middle if len(values) == 1 else f"{middle} ({min(values):.2f} to {max(values):.2f})"


def rates(parts: Parts, sizes: Sizes) -> str:
    """Engines beside each other, in rounds."""
    rounds = list(parts.values())
    rows = []
    for name in WAYS:
        mine = [(one[name], one["plain"], one["images"]) for one in rounds]
        others = max(max(a["others"], b["others"]) for a, b, _ in mine)
        rows.append(
            (
                name,
                f"{1000 * median(a['cpu'] / images for a, _, images in mine):.1f}",
                spread([a["cpu"] / b["cpu"] for a, b, _ in mine]),
                clock(f"{median(n / a['seconds'] for a, _, n in mine):.1f}", others),
                clock(spread([b["seconds"] / a["seconds"] for a, b, _ in mine]), others),
                f"{max(a['memory'] for a, _, _ in mine):,.0f}",
            )
        )
    header = ("Engine", "CPU ms an image", "Of plain", "Images a second", "Of plain's", "MiB")
    times = "once" if len(rounds) == 1 else f"in {len(rounds)} rounds"
    caption = (
        f"What {sizes.many:,} images took beyond {sizes.few:,}, one engine after the other, "
        f"{times}; median, and the range of rounds."
    )
    return Table("The same images by each engine", header, tuple(rows), caption).markdown()


def memory(parts: Parts, sizes: Sizes) -> str:
    """Memory by the number of images."""
    rows = []
    for count in SECTIONS["memory"].parts(sizes):
        one = parts.get(count)
        told = (UNMEASURED,) * 2 if one is None else (
            f"{one['memory']:,.0f}",
            f"{1000 * one['cpu'] / int(count):.1f}",
        )  # fmt: skip
        rows.append((f"{int(count):,}", *told))
    header = ("Images", "MiB", "CPU ms an image, start included")
    caption = "With Ray, one tower."
    return Table("Memory as archives grow", header, tuple(rows), caption).markdown()


def resuming(parts: Parts, sizes: Sizes) -> str:
    """A run that was killed, and what the same command again took."""
    found = parts["once"]
    whole, rest, none = (found[name] for name in ("whole", "rest", "none"))
    scored = found["shards"] - found["kept"]
    rows = tuple(
        (name, str(shards), f"{one['cpu']:.0f}", clock(f"{one['seconds']:.0f}", one["others"]))
        for name, shards, one in (
            ("Never killed", found["shards"], whole),
            ("Again, after it was killed", scored, rest),
            ("Again, with nothing missing", 0, none),
        )
    )
    header = ("Run", "Shards scored", "CPU s", "Seconds")
    caption = f"{sizes.resumed:,} images; killed with {found['kept']} shards finished."
    return Table("Resuming", header, rows, caption).markdown()


def judging(parts: Parts, sizes: Sizes) -> str:
    """Evaluating scores."""
    rows = []
    for count in SECTIONS["judging"].parts(sizes):
        one = parts.get(count)
        told = (UNMEASURED,) * 3 if one is None else (
            f"{one['cpu']:.0f}",
            clock(f"{one['seconds']:.0f}", one["others"]),
            f"{one['memory']:,.0f}",
        )  # fmt: skip
        rows.append((f"{int(count):,}", *told))
    header = ("Rows of 14 categories", "CPU s", "Seconds", "MiB")
    return Table("Evaluating scores", header, tuple(rows), "Made-up scores.").markdown()


def bucket(parts: Parts, sizes: Sizes) -> str:
    """S3 beside a folder."""
    del sizes
    found = parts["once"]
    rows = tuple(
        (name, f"{one['cpu']:.0f}", clock(f"{one['seconds']:.0f}", one["others"]))
        for name, one in (("S3", found["there"]), ("a folder", found["here"]))
    )
    caption = (
        f"{found['images']:,} images from and to a server of S3 on the same cores (moto's, in "
        "Python; its own time is not counted), start included."
    )
    return Table("From an object store", ("From", "CPU s", "Seconds"), rows, caption).markdown()


TOLD = {
    "rates": rates,
    "memory": memory,
    "resuming": resuming,
    "bucket": bucket,
    "judging": judging,
}


def cluster(found: dict[str, Any]) -> str:
    """What clusters would take, by these figures; nothing without them."""
    if not found["rates"] or not found["decoding"]:
        return ""
    rounds = found["rates"].values()
    scored = min(
        median(one[name]["cpu"] / one["images"] for one in rounds) for name in WAYS if WAYS[name]
    )
    read = found["decoding"]["once"]["cpu"] / found["decoding"]["once"]["images"]
    rows = tuple(
        (
            f"{nodes} of {cores} cores",
            f"{images:,}",
            told(images * scored / (nodes * cores)),
            told(images * read / (nodes * cores)),
        )
        for nodes, cores in CLUSTERS
        for images in (NIH, TEN_MILLION)
    )
    header = ("Nodes", "Images", "On cores alone", "At least, whatever the GPUs")
    caption = (
        f"By {1000 * scored:.1f} ms of the processor an image, tower and decoder together, and "
        f"{1000 * read:.1f} ms of the decoder alone: with GPUs that are quick enough decoders are "
        "what is waited for. Reckoned, not run."
    )
    return Table("What a cluster would take", header, rows, caption).markdown()


def told(seconds: float) -> str:
    """A time in words.

    >>> told(40), told(90), told(7200)
    ('40 s', '2 min', '2.0 h')
    """
    if seconds < 60:
        return f"{seconds:.0f} s"
    return f"{seconds / 3600:.1f} h" if seconds > 5400 else f"{seconds / 60:.0f} min"
