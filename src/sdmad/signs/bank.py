"""The sign bank: a YAML file of normal sentences and of several signs a category.

Reading is safe on any input: plain YAML without tags, aliases or objects, of bounded size, and
every complaint names the line.
"""

from __future__ import annotations

import importlib.resources
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType

import yaml
from yaml.nodes import MappingNode, Node, ScalarNode, SequenceNode

from sdmad.errors import InputError

MAX_BYTES = 2_000_000
MAX_SENTENCE = 1_000
EXAMPLE = """a bank looks like this:
  modality: brain MRI
  normal: [a normal brain MRI]
  categories:
    Craniotomy: {signs: [a defect in the skull]}"""


@dataclass(frozen=True)
class SignBank:
    """The sentences that describe the normal state and each category's signs.

    Attributes:
        name: the bank's file name without its ending.
        modality: what the images are, such as ``"brain MRI"``.
        normal: sentences for a normal image, at least one.
        categories: category name to its signs; order is the order of every label matrix.
    """

    name: str
    modality: str
    normal: tuple[str, ...]
    categories: Mapping[str, tuple[str, ...]]

    def __post_init__(self) -> None:
        if not self.normal:
            raise InputError(f"bank {self.name!r} has no normal sentence; the anchor needs one")
        if not self.categories:
            raise InputError(f"bank {self.name!r} has no category")
        empty = [category for category, signs in self.categories.items() if not signs]
        if empty:
            raise InputError(f"bank {self.name!r}: category {empty[0]!r} has no sign")
        object.__setattr__(self, "categories", MappingProxyType(dict(self.categories)))

    @property
    def names(self) -> tuple[str, ...]:
        """The category names, K of them."""
        return tuple(self.categories)

    @property
    def sentences(self) -> tuple[str, ...]:
        """All signs, S of them, category by category."""
        return tuple(sign for signs in self.categories.values() for sign in signs)

    @property
    def category_index(self) -> tuple[int, ...]:
        """Index of each sign's category, S of them."""
        return tuple(i for i, signs in enumerate(self.categories.values()) for _ in signs)

    @classmethod
    def load(cls, source: str | Path) -> SignBank:
        """Read a packaged bank by its name, or a YAML file.

        Raises:
            InputError: if there is no such bank, or it is malformed; the message names the line.
        """
        name = str(source)
        if name in list_banks():
            resource = importlib.resources.files("sdmad.signs") / "banks" / f"{name}.yaml"
            return cls.parse(resource.read_text(encoding="utf-8"), name, f"bank {name}")
        path = Path(source).expanduser()
        if not path.is_file():
            raise InputError(
                f"no sign bank {name!r}: neither a file nor one of the packaged banks "
                f"({', '.join(list_banks())})"
            )
        if path.stat().st_size > MAX_BYTES:
            raise InputError(f"{path}: larger than {MAX_BYTES:,} bytes, not a sign bank")
        try:
            text = path.read_text(encoding="utf-8-sig")
        except UnicodeDecodeError as error:
            raise InputError(f"{path}: not UTF-8 text (byte {error.start})") from error
        return cls.parse(text, path.stem, str(path))

    @classmethod
    def parse(cls, text: str, name: str, where: str) -> SignBank:
        """Read a bank from YAML text.

        Args:
            text: the YAML.
            name: what to call the bank.
            where: what errors call the source.

        Raises:
            InputError: naming ``where`` and the line.
        """
        try:
            root = yaml.compose(text, Loader=yaml.SafeLoader)
        except yaml.MarkedYAMLError as error:
            mark = error.problem_mark or error.context_mark
            line = mark.line + 1 if mark else 1
            raise InputError(f"{where}, line {line}: not valid YAML ({error.problem})") from error
        except (yaml.YAMLError, RecursionError) as error:
            raise InputError(f"{where}: not valid YAML ({error})") from error
        return _Reader(where).bank(root, name)

    def to_yaml(self) -> str:
        """The bank as YAML text that :meth:`parse` reads back."""
        content = {
            "modality": self.modality,
            "normal": list(self.normal),
            "categories": {name: {"signs": list(s)} for name, s in self.categories.items()},
        }
        text: str = yaml.safe_dump(content, sort_keys=False, allow_unicode=True, width=100)
        return text


class _Reader:
    """Turns YAML nodes into a bank, with the line in every complaint."""

    def __init__(self, where: str) -> None:
        self.where = where
        self.seen: set[int] = set()

    def fail(self, node: Node | None, message: str) -> InputError:
        line = node.start_mark.line + 1 if node is not None else 1
        return InputError(f"{self.where}, line {line}: {message}")

    def mapping(self, node: Node | None, what: str) -> Iterator[tuple[ScalarNode, Node]]:
        if not isinstance(node, MappingNode):
            raise self.fail(node, f"{what} must be a mapping; {EXAMPLE}")
        self._no_alias(node)
        known: set[str] = set()
        for key, value in node.value:
            if not isinstance(key, ScalarNode):
                raise self.fail(key, f"{what}: a key must be plain text")
            if key.value in known:
                raise self.fail(key, f"{what}: {key.value!r} stands here twice")
            known.add(key.value)
            yield key, value

    def _no_alias(self, node: Node) -> None:
        if id(node) in self.seen:
            raise self.fail(node, "aliases (*name) are not allowed in a bank")
        self.seen.add(id(node))

    def text(self, node: Node, what: str) -> str:
        if not isinstance(node, ScalarNode) or node.tag.endswith((":null", ":binary")):
            raise self.fail(node, f"{what} must be text")
        value = " ".join(node.value.split())
        if not value:
            raise self.fail(node, f"{what} is empty")
        if len(value) > MAX_SENTENCE:
            raise self.fail(node, f"{what} is longer than {MAX_SENTENCE} characters")
        if not value.isprintable():
            raise self.fail(node, f"{what} holds characters that cannot be printed")
        return value

    def sentences(self, node: Node, what: str) -> tuple[str, ...]:
        if not isinstance(node, SequenceNode) or not node.value:
            raise self.fail(node, f"{what} must be a list of at least one sentence")
        self._no_alias(node)
        found: dict[str, Node] = {}
        for item in node.value:
            sentence = self.text(item, f"a sentence of {what}")
            if sentence in found:
                first = found[sentence].start_mark.line + 1
                raise self.fail(item, f"{sentence!r} stands in {what} twice, first in line {first}")
            found[sentence] = item
        return tuple(found)

    def bank(self, root: Node | None, name: str) -> SignBank:
        parts: dict[str, Node] = {}
        for key, value in self.mapping(root, "a sign bank"):
            if key.value not in ("modality", "normal", "categories"):
                raise self.fail(key, f"unknown key {key.value!r}; {EXAMPLE}")
            parts[key.value] = value
        for needed in ("modality", "normal", "categories"):
            if needed not in parts:
                raise self.fail(root, f"{needed!r} is missing; {EXAMPLE}")
        categories: dict[str, tuple[str, ...]] = {}
        for key, value in self.mapping(parts["categories"], "'categories'"):
            label = self.text(key, "a category's name")
            inner = {k.value: v for k, v in self.mapping(value, f"category {label!r}")}
            if set(inner) != {"signs"}:
                raise self.fail(key, f"category {label!r} must hold 'signs' and nothing else")
            categories[label] = self.sentences(inner["signs"], f"the signs of {label!r}")
        if not categories:
            raise self.fail(parts["categories"], "there is no category")
        return SignBank(
            name,
            self.text(parts["modality"], "'modality'"),
            self.sentences(parts["normal"], "'normal'"),
            categories,
        )


def list_banks() -> list[str]:
    """Names of the packaged banks."""
    folder = importlib.resources.files("sdmad.signs") / "banks"
    return sorted(
        f.name.removesuffix(".yaml") for f in folder.iterdir() if f.name.endswith(".yaml")
    )
