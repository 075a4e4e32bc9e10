"""Seeded damage to bytes, texts and JSON: what transfers, disks, programs and strangers do."""

from __future__ import annotations

import copy
import json
import math
import re
from collections.abc import Callable
from random import Random
from typing import Any

NUMBERS = (
    *("0", "-1", "1", "2", "65535", "4294967296", "9223372036854775807", "-9223372036854775808"),
    *(
        "1e999",
        "-1e999",
        "NaN",
        "Infinity",
        "1e-320",
        "0.5",
        "1" + "0" * 400,
        "0x10",
        "1,0",
        "\u0661",
    ),
)
WORDS = (
    *(
        "",
        " ",
        "NA",
        "null",
        "true",
        "normal",
        "none",
        "../../../etc/passwd",
        "/dev/zero",
        "C:\\x\\y",
    ),
    *(
        "=1+1",
        "\x00",
        "\x1b[2J",
        "\u202e",
        "\ufeff",
        "\ud800",
        "Ödem",
        "鼻",
        "a" * 300,
        "a" * 100_000,
    ),
    *("{{7*7}}", "${x}", "%s%n", "<script>", "!!python/object/apply:os.system [id]", "&a [*a,*a]"),
)
VALUES: tuple[Any, ...] = (
    *(
        None,
        True,
        False,
        0,
        -1,
        1,
        2**31,
        2**63,
        10**400,
        0.5,
        math.nan,
        math.inf,
        -math.inf,
        1e-320,
    ),
    *("", "x", "a" * 100_000, "\x00", "\ud800", [], {}, [[]], [None] * 1000, {"a": {"b": {}}}),
)


def damaged_bytes(random: Random, data: bytes) -> bytes:
    """Bytes with one to twenty kinds of damage, mostly one or two."""
    found = bytearray(data)
    for _ in range(random.choice((1, 1, 1, 2, 2, 5, 20))):
        random.choice(_BYTES)(random, found)
    return bytes(found)


def damaged_text(random: Random, text: str) -> bytes:
    """A text with damaged lines, words and numbers, in one encoding or another."""
    for _ in range(random.choice((1, 1, 1, 2, 3, 6))):
        text = random.choice(_TEXTS)(random, text)
    coded = text.encode(random.choice(("utf-8",) * 8 + ("utf-16", "latin-1")), "replace")
    return damaged_bytes(random, coded) if random.random() < 0.1 else coded


def damaged_json(random: Random, content: Any) -> bytes:
    """JSON with values of other types and sizes, and with keys lost, renamed and added."""
    found = copy.deepcopy(content)
    for _ in range(random.choice((1, 1, 1, 2, 4))):
        _damage_value(random, found)
    text = json.dumps(found)
    if random.random() < 0.1:
        return damaged_text(random, text)
    if random.random() < 0.05:
        depth = random.choice((100, 5000))
        text = "[" * depth + text + "]" * depth
    return text.encode("utf-8", "surrogatepass")


def _damage_value(random: Random, content: Any) -> None:
    """Alter one value somewhere inside, in place."""
    at = content
    while isinstance(at, dict | list) and at:
        key = random.choice(list(at)) if isinstance(at, dict) else random.randrange(len(at))
        if not isinstance(at[key], dict | list) or not at[key] or random.random() < 0.3:
            _alter(random, at, key)
            return
        at = at[key]


def _alter(random: Random, at: Any, key: Any) -> None:
    action = random.randrange(5)
    if action == 0:
        del at[key]
    elif action == 1 and isinstance(at, dict):
        at[random.choice((str(key) + "x", str(key).upper(), *map(str, WORDS[:6])))] = at.pop(key)
    elif action == 2 and isinstance(at, list):
        at.extend(copy.deepcopy(at[key]) for _ in range(random.choice((1, 2, 1000))))
    elif action == 3 and type(at[key]) in (int, float) and abs(at[key]) < 1e300:
        at[key] = random.choice(
            (-at[key], at[key] * 1e9, at[key] + 1, float(at[key]), str(at[key]))
        )
    else:
        at[key] = copy.deepcopy(random.choice(VALUES))


def _flip(random: Random, data: bytearray) -> None:
    if data:
        data[random.randrange(len(data))] ^= 1 << random.randrange(8)


def _overwrite(random: Random, data: bytearray) -> None:
    if data:
        start = random.randrange(len(data))
        length = min(random.choice((1, 2, 4, 8, 64)), len(data) - start)
        fill = random.choice((b"\x00", b"\xff", b"\x7f", b"\x80", None))
        data[start : start + length] = fill * length if fill else random.randbytes(length)


def _number(random: Random, data: bytearray) -> None:
    """Overwrite two, four or eight bytes by a number on some edge."""
    size = random.choice((2, 4, 8))
    if len(data) >= size:
        edge = random.choice((0, 1, 2 ** (8 * size - 1), 2 ** (8 * size) - 1, 2 ** (4 * size)))
        start = random.randrange(len(data) - size + 1)
        data[start : start + size] = edge.to_bytes(size, random.choice(("little", "big")))


def _cut(random: Random, data: bytearray) -> None:
    del data[random.randrange(len(data) + 1) :]


def _lose(random: Random, data: bytearray) -> None:
    start = random.randrange(len(data) + 1)
    del data[start : start + random.choice((1, 2, 16, 512))]


def _repeat(random: Random, data: bytearray) -> None:
    start = random.randrange(len(data) + 1)
    part = data[start : start + random.choice((1, 4, 64, 4096))]
    data[start:start] = part * random.choice((1, 2, 50))


def _insert(random: Random, data: bytearray) -> None:
    start = random.randrange(len(data) + 1)
    data[start:start] = random.randbytes(random.choice((1, 2, 8, 100)))


_BYTES: tuple[Callable[[Random, bytearray], None], ...] = (
    *(_flip, _flip, _overwrite, _overwrite, _number, _number),
    *(_cut, _lose, _repeat, _insert),
)


def _replace(pattern: str, choices: tuple[str, ...]) -> Callable[[Random, str], str]:
    """Replace one match of a pattern by one of some texts."""

    def change(random: Random, text: str) -> str:
        found = list(re.finditer(pattern, text))
        if not found:
            return text + random.choice(choices)
        one = random.choice(found)
        return text[: one.start()] + random.choice(choices) + text[one.end() :]

    return change


def _lines(random: Random, text: str) -> str:
    lines = text.splitlines(keepends=True)
    if not lines:
        return text
    place, action = random.randrange(len(lines)), random.randrange(5)
    if action == 0:
        del lines[place]
    elif action == 1:
        lines[place:place] = [lines[place]] * random.choice((1, 2, 2000))
    elif action == 2:
        random.shuffle(lines)
    elif action == 3:
        lines[place] = lines[place].rstrip("\r\n")
    else:
        lines[place] = lines[place].replace(" ", "\t", 1) + random.choice(WORDS) + "\n"
    return "".join(lines)


_TEXTS: tuple[Callable[[Random, str], str], ...] = (
    _replace(r"\d+", NUMBERS),
    _replace(r"\w+", WORDS),
    _replace(
        r"[,;:|\n\t]", (*",;:|\n\t", "", "\r", "\r\n", ",,,,", "\n\n", '"', "'", "#", "{", "[")
    ),
    _lines,
)
