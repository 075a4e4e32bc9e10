"""The picture in docs/architecture.md is the contract that `make lint` checks."""

import re
import tomllib
from pathlib import Path

ROOT = Path(__file__).parents[1]


def test_the_picture_shows_the_layers_of_the_contract():
    settings = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    (layers,) = [
        contract["layers"]
        for contract in settings["tool"]["importlinter"]["contracts"]
        if contract["type"] == "layers"
    ]
    page = (ROOT / "docs" / "architecture.md").read_text(encoding="utf-8")
    picture = page.split("```text\n")[1].split("```")[0]
    shown = [re.split(r"\s{2,}", line)[0] for line in picture.splitlines()]
    assert shown == layers


def test_every_room_has_a_row():
    page = (ROOT / "docs" / "architecture.md").read_text(encoding="utf-8")
    rooms = [f.name for f in (ROOT / "src" / "sdmad").iterdir() if (f / "__init__.py").is_file()]
    assert len(rooms) > 9
    for room in rooms:
        assert f"| `{room}/` |" in page, room
