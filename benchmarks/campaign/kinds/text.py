"""Label tables, sign banks, support sets, lists and prompts, damaged."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from random import Random

from benchmarks.campaign.frame import READ
from benchmarks.campaign.material import BANK, damage_file
from sdmad.data.fewshot import draw_support, read_support, write_support
from sdmad.data.mvfa_lists import read_mvfa_support
from sdmad.data.sets.base import read_lines
from sdmad.data.table import LabelTable, read_label_table
from sdmad.signs import SignBank
from sdmad.signs.generation import PromptTemplates, read_categories

COUNT = 2000

NAMES = ("Mass", "Effusion")
FORMS = (
    "file,patient,split,labels\nimg/{0}.png,P{0},train,Mass|Effusion\n",
    "image_id;patient;Mass;Effusion;normal\nimg\\{0};P{0};1,0;0;\n",
    'sep=\t\nImage Index\tFinding Labels\n"img/{0}.png"\tNo Finding\n',
)


def attack(random: Random, material: Path, place: Path) -> str:
    """Damage one file and read it."""
    del material
    name = random.choice(list(_KINDS))
    make, read = _KINDS[name]
    path = make(random, place)
    damage_file(random, path)
    read(path)
    return READ


def _table(random: Random, place: Path) -> Path:
    form = random.choice(FORMS)
    *head, row = form.splitlines(keepends=True)
    (place / "img").mkdir()
    for number in range(6):
        (place / "img" / f"{number}.png").touch()
    rows = [row.replace("{0}", str(number)) for number in range(6)]
    (place / "labels.csv").write_text("".join([*head, *rows]), encoding="utf-8")
    return place / "labels.csv"


def _read_table(path: Path) -> None:
    table = read_label_table(path)
    table.pools()
    table.digest()
    table.patient_keys()
    draw_support(table, 1, 0)


def _bank(random: Random, place: Path) -> Path:
    del random
    (place / "bank.yaml").write_text(SignBank.load(BANK).to_yaml(), encoding="utf-8")
    return place / "bank.yaml"


def _read_bank(path: Path) -> None:
    bank = SignBank.load(path)
    SignBank.parse(bank.to_yaml(), bank.name, "again")


def _whole_table(place: Path) -> LabelTable:
    (place / "img").mkdir(exist_ok=True)
    rows = [f"img/{i}.png,P{i},{('Mass', 'Effusion', 'normal')[i % 3]}" for i in range(9)]
    for i in range(9):
        (place / "img" / f"{i}.png").touch()
    text = "\n".join(["file,patient,labels", *rows]) + "\n"
    (place / "whole.csv").write_text(text, encoding="utf-8")
    return read_label_table(place / "whole.csv", NAMES)


def _support(random: Random, place: Path) -> Path:
    table = _whole_table(place)
    write_support(place / "support.json", draw_support(table, 1, random.randrange(5)), table)
    return place / "support.json"


def _read_support(path: Path) -> None:
    read_support(path, _whole_table(path.parent))


def _list(random: Random, place: Path) -> Path:
    del random
    path = place / "list.txt"
    path.write_text("# names\nCraniotomy\nDural thickening\n00000001_000.png\n", encoding="utf-8")
    return path


def _mvfa(random: Random, place: Path) -> Path:
    del random
    (place / "4-shot.txt").write_text("n-0: 2.png\na-0: 0.png\n", encoding="utf-8")
    return place / "4-shot.txt"


def _prompt(random: Random, place: Path) -> Path:
    name = random.choice(("signs", "normal", "repair", "system"))
    path = place / f"{name}.md"
    path.write_text(PromptTemplates.load().texts[name], encoding="utf-8")
    return path


_KINDS: dict[str, tuple[Callable[[Random, Path], Path], Callable[[Path], object]]] = {
    "table": (_table, _read_table),
    "bank": (_bank, _read_bank),
    "support": (_support, _read_support),
    "categories": (_list, lambda path: read_categories([str(path)])),
    "names": (_list, lambda path: list(read_lines(path))),
    "mvfa": (_mvfa, lambda path: read_mvfa_support(path, _whole_table(path.parent), 0)),
    "prompt": (_prompt, lambda path: PromptTemplates.load(path.parent)),
}
