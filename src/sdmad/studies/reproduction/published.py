"""The figures that the paper prints, to stand beside ours."""

from __future__ import annotations

import importlib.resources
from functools import cache

import yaml

from sdmad.data.labels import canonical_name

COLUMNS = {
    "clip-signs": "CLIP",
    "medclip": "MedCLIP",
    "sd-mad-unselected": "Ours (no SS)",
    "sd-mad-printed": "Ours (full model)",
}
"""Which column of the paper's tables belongs to which system of the registry."""

TABLE5 = ("dra", "bgad", "mvfa", "winclip", "anomaly-clip", "inctrl", "sd-mad-mvfa")
"""The columns of Table 5, likewise."""

Key = tuple[str, str, str, str]


def published(table: str, part: str, what: str, system: str) -> float | None:
    """A figure of the paper, in percent; None where it prints none.

    >>> published("table7", "slice 10", "Enlarged ventricles", "clip-signs")
    98.1

    Args:
        table: such as ``"table1"``.
        part: of the data: ``"slice 5"``, or empty where a table has one part.
        what: a metric's name or a category.
        system: a name of the registry.
    """
    return _figures().get((table, part, canonical_name(what), system))


@cache
def _figures() -> dict[Key, float]:
    resource = importlib.resources.files("sdmad.studies.reproduction") / "published.yaml"
    content = yaml.safe_load(resource.read_text(encoding="utf-8"))
    return {
        (table, part, canonical_name(what), system): float(figure)
        for table, rows in content.items()
        for part, what, *figures in rows
        for system, figure in zip(TABLE5 if table == "table5" else COLUMNS, figures, strict=True)
        if figure is not None
    }
