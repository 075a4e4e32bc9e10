"""What each measured page was made with, and whether the code beside it is still that.

A page that a command writes ends with a line that names what its figures depend on, each with the
first digits of a hash. ``tests/benchmarks/test_made_with.py`` holds these lines to the code: when
a setting changes, it fails until the page is made again or is named in :data:`OLDER`, with the
reason. ``python -m benchmarks.made_with`` writes ``docs/measured.md``, the list of all of them.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Collection, Iterable, Mapping
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np

from sdmad import SDMADConfig, __version__
from sdmad.backbones import LITE_FOLDER
from sdmad.baselines.registry import SYSTEMS, load_system
from sdmad.evaluation.intervals import paired_difference, summarise_draws
from sdmad.evaluation.labelled_scores import labelled_scores
from sdmad.evaluation.reliability import reliability
from sdmad.output import json_text, write_text
from sdmad.studies.draw import PAPER_SYSTEMS, plain_settings
from sdmad.table import Table

DOCS = Path(__file__).parents[1] / "docs"
DIGITS = 8
LINE = re.compile(r"^\*Made with sdmad \S+: (.+?)\.(?: Systems: (.+)\.)?\*$", re.MULTILINE)

STUDIED = ("settings", "printed settings", "baselines", "weights", "statistics")
COMPARED = ("settings", "printed settings", "systems", "weights", "statistics")
PAGES: dict[str, tuple[str, ...]] = {
    "settings.md": ("candidates", "weights"),
    "searched.md": ("searches", "weights"),
    "unfamiliar.md": ("settings", "weights"),
    "suggested.md": ("settings", "suggestions", "weights"),
    "certainty.md": ("settings", "weights", "statistics"),
    "shots.md": ("settings", "printed settings", "rivals", "weights", "statistics"),
    "results.md": STUDIED,
    "results/brain.md": STUDIED,
    "results/chest.md": STUDIED,
    "results/oct.md": STUDIED,
    "comparison.md": COMPARED,
    "comparison/brain.md": COMPARED,
    "comparison/chest.md": COMPARED,
    "comparison/oct.md": COMPARED,
    "comparison/means.md": COMPARED,
    "realdata.md": COMPARED,
    "signs-stress.md": ("settings", "printed settings", "weights", "statistics"),
    "maps.md": ("settings", "weights"),
    "performance.md": ("settings", "weights"),
    "coverage.md": ("statistics", "simulation"),
    "serve-load.md": ("settings", "weights"),
    "campaign.md": ("attacks",),
}
"""What the figures of each page depend on."""

OLDER: dict[str, str] = {}
"""Pages that describe another program than the one beside them, and why."""


def candidates() -> Any:
    """What ``SDMADConfig()`` was chosen from."""
    from benchmarks import choose, choose_abnormality, validation

    cells = (validation.IMAGES, validation.PHANTOM_SEED, validation.DRAWS, validation.SHOTS)
    return [choose.CANDIDATES, (*cells, validation.NEAR), list(choose_abnormality.WAYS)]


def suggestions() -> Any:
    """What the way in which images to label are suggested was chosen from."""
    from benchmarks import choose_suggesting, validation

    cells = (validation.IMAGES, validation.PHANTOM_SEED, validation.DRAWS, validation.NEAR)
    asked = (choose_suggesting.STEP, choose_suggesting.ROUNDS)
    return [list(choose_suggesting.WAYS), *asked, *cells]


def searches() -> Any:
    """What the compared systems' settings were searched from."""
    from benchmarks import searched

    return [searched.GRIDS, searched.IMAGES, searched.PHANTOM_SEED, searched.DRAW]


def systems(names: Iterable[str]) -> Any:
    """The settings of compared systems, published and searched; nothing of those that have gone."""
    known = [load_system(name) for name in names if name in SYSTEMS]
    both = ((one.name, one.published, one.searched) for one in known)
    return {name: [plain_settings(old), plain_settings(new)] for name, old, new in both}


def rivals() -> Any:
    """The settings of the systems that the page on shots shows."""
    from benchmarks import shots

    return systems((*shots.RIVALS, *shots.PAPER, shots.DEFAULT))


def weights() -> Any:
    """The files of the embedded backbone that it is loaded from."""
    files = [*LITE_FOLDER.glob("*.safetensors"), *LITE_FOLDER.glob("*config.json")]
    return {file.name: hashlib.sha256(file.read_bytes()).hexdigest() for file in files}


def statistics() -> Any:
    """What the package says of two systems on two draws of made-up images, to four digits."""
    rng = np.random.default_rng(0)
    labels = (rng.random((60, 3)) < (0.3, 0.2, 0.05)).astype(float)
    draws = []
    for _ in range(4):
        scores = labels + rng.normal(size=labels.shape)
        arrays = (scores, scores > 0.5, scores.max(axis=1), ~labels.any(axis=1))
        draws.append(labelled_scores(labels, *arrays, (np.arange(60) // 2).tolist()))
    means = summarise_draws(draws[:2], 100), summarise_draws(draws[:1], 100)
    told = [[one.low, one.high] for found in means for one in found.values()]
    gaps = paired_difference(draws[:2], draws[2:], 100)
    told += [[one.low, one.high] for one in gaps.values()]
    likely = 1 / (1 + np.exp(-draws[0].scores))
    told.append(list(reliability(likely, labels, draws[0].patients, 100).interval))
    return np.round(told, 4).tolist()


def simulation() -> Any:
    """What coverage is simulated on."""
    from benchmarks import coverage

    return [[one.group, one.name, one.times] for one in coverage.cases()]


def attacks() -> Any:
    """The kinds of the campaign, how many cases each has and within which limits."""
    from benchmarks.campaign.frame import KINDS, module_of, setting

    limits = ("SECONDS", "MEGABYTES")
    return {kind: [module_of(kind).COUNT, *(setting(kind, x) for x in limits)] for kind in KINDS}


RECORD = "made-with"
"""Beside the CSV files of a study whose pages are written apart from them."""

INGREDIENTS: dict[str, Callable[[], Any]] = {
    "settings": lambda: plain_settings(SDMADConfig()),
    "printed settings": lambda: plain_settings(SDMADConfig.paper()),
    "candidates": candidates,
    "suggestions": suggestions,
    "searches": searches,
    "rivals": rivals,
    "baselines": lambda: systems(PAPER_SYSTEMS),
    "weights": weights,
    "statistics": statistics,
    "simulation": simulation,
    "attacks": attacks,
}


def now(page: str, names: Collection[str] = ()) -> dict[str, str]:
    """What a page would be made with now: the first digits of the hash of each ingredient.

    Args:
        page: its name in ``docs``.
        names: the compared systems that it has figures of, where ``systems`` is an ingredient.
    """
    return {
        name: hashed(systems(names)) if name == "systems" else digest(INGREDIENTS[name])
        for name in PAGES[page]
    }


@lru_cache
def digest(ingredient: Callable[[], Any]) -> str:
    """First digits of a hash of what it is now."""
    return hashed(ingredient())


def hashed(value: Any) -> str:
    """First digits of a hash of a value that JSON can hold."""
    return hashlib.sha256(json_text(value).encode()).hexdigest()[:DIGITS]


def line(page: str, names: Collection[str] = ()) -> str:
    """The last line of a page that is made now; for the arguments see :func:`now`."""
    told = ", ".join(f"{name} {found}" for name, found in now(page, names).items())
    shown = f" Systems: {', '.join(names)}." if names else ""
    return f"*Made with sdmad {__version__}: {told}.{shown}*"


def made(text: str) -> dict[str, str]:
    """What a page says that it was made with; nothing where it does not say."""
    found = LINE.search(text)
    return dict(re.findall(r"([a-z ]+) ([0-9a-f]+)(?:, |$)", found[1])) if found else {}


def systems_of(text: str) -> list[str]:
    """The compared systems that a page says it has figures of."""
    found = LINE.search(text)
    return found[2].split(", ") if found and found[2] else []


def changed(page: str, text: str) -> list[str]:
    """Which of a page's ingredients are no longer what it was made with."""
    before = made(text)
    there = now(page, systems_of(text))
    return [name for name, value in there.items() if before.get(name) != value]


def write_page(path: Path, text: str, names: Collection[str] = ()) -> None:
    """Write a page that a command made, and what it was made with.

    Args:
        path: the page, by the name that it has in ``docs`` or in a folder there.
        text: without the last line.
        names: the compared systems that it has figures of, if that is what it is about.
    """
    page = next((name for name in PAGES if name.rsplit("/", 1)[-1] == path.name), None)
    last = f"\n{line(page, names)}\n" if page else ""
    write_text(path, text.rstrip("\n") + "\n" + last)


def record(folder: Path, part: str = "", names: Collection[str] = ()) -> None:
    """Beside the figures of a study: what they were made with.

    Args:
        folder: of its CSV files, by the name of its page.
        part: of the study, where its parts are made one by one.
        names: the compared systems that there are figures of, if that is what it is about.
    """
    write_text(_record(folder, part), line(f"{folder.name}.md", names) + "\n")


def recorded(folder: Path, part: str = "") -> str:
    """The last line of a study's pages: what its figures were made with, where that is known."""
    file = _record(folder, part)
    return f"\n{file.read_text('utf-8')}" if file.exists() else ""


def is_current(folder: Path, part: str) -> bool:
    """Whether a part of a study would be made with the same now."""
    text = recorded(folder, part)
    return text.strip() == line(f"{folder.name}.md", systems_of(text))


def _record(folder: Path, part: str) -> Path:
    return folder / (f"{RECORD}-{part}.txt" if part else f"{RECORD}.txt")


HEAD = """# What the measured pages were made with
Written by `python -m benchmarks.made_with`; do not edit by hand. Every page that a command writes
ends with a line that names what its figures depend on, with the first digits of a hash of each; a
test holds these to the code. Pages that were measured on something else than the code has now are
named here, with the reason.

"""


def overview(pages: Mapping[str, str]) -> str:
    """``docs/measured.md``.

    Args:
        pages: the text of each page that there is, by its name.
    """
    older = {name: f"older: {why}" for name, why in OLDER.items()}
    states = {name: older.get(name, "as the code is") for name in pages}
    rows = [(name, ", ".join(PAGES[name]), state) for name, state in states.items()]
    return HEAD + Table("Pages", ("Page", "Depends on", "State"), tuple(rows), "").markdown()


def present() -> dict[str, str]:
    """The text of each page that there is."""
    files = {name: DOCS / name for name in PAGES}
    return {name: file.read_text("utf-8") for name, file in files.items() if file.exists()}


if __name__ == "__main__":
    write_text(DOCS / "measured.md", overview(present()))
