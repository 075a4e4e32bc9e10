"""The sign bank: a YAML file of normal sentences and of several signs a category.

A sentence is plain text, or a mapping of the text and its :class:`~sdmad.signs.Provenance`, of
which every part may be left out::

    signs:
      - a gap in the bony skull
      - text: skull ring interrupted over one hemisphere
        source: https://example.org/page  # or author (without a model), or model (with one)
        model: llama3.1:8b
        date: 2026-11-23
        prompt_sha256: 64 hexadecimal digits
        edited: true
        shared: true

Reading is safe on any input: plain YAML without tags, aliases or objects, of bounded size, and
every complaint names the line.
"""

from __future__ import annotations

import importlib.resources
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType

import yaml
from yaml.nodes import MappingNode, Node, ScalarNode, SequenceNode

from sdmad.data.labels import NORMAL_NAMES, canonical_name
from sdmad.errors import InputError
from sdmad.inputs import read_text
from sdmad.signs.provenance import Provenance, one_line

MAX_BYTES = 2_000_000
NORMAL = "normal"
"""Stands for the normal sentences where a category's name stands for its signs."""

YAML_TAG = "tag:yaml.org,2002:"
NOT_TEXT = {
    "null": "nothing",
    "bool": "a truth value",
    "int": "a number",
    "float": "a number",
    "timestamp": "a date",
    "merge": "a merge key",
    "value": "a value key",
}
WORDS = ("text", "source", "model", "date", "prompt_sha256")
MARKS = ("edited", "shared")
EXAMPLE = """a bank looks like this:
  modality: brain MRI
  normal: [a normal brain MRI]
  categories:
    Craniotomy: {signs: [a defect in the skull]}"""


@dataclass(frozen=True, repr=False)
class SignBank:
    """The sentences that describe the normal state and each category's signs.

    Every text is one line: runs of white space become one space.

    Attributes:
        name: the bank's file name without its ending.
        modality: what the images are, such as ``"brain MRI"``.
        normal: sentences for a normal image, at least one.
        categories: category name to its signs; order is the order of every label matrix.
        origins: what is known of a sentence's origin, by ``(category, sentence)``, with
            ``"normal"`` as the category of the normal sentences; a sentence that is not in it is
            its author's. :meth:`provenance` reads it.

    Raises:
        InputError: if a part is missing or empty, a text is not text, one stands twice, or an
            origin is of a sentence that the bank does not hold.
    """

    name: str
    modality: str
    normal: tuple[str, ...]
    categories: Mapping[str, tuple[str, ...]]
    origins: Mapping[tuple[str, str], Provenance] = field(default_factory=dict)

    def __post_init__(self) -> None:
        where = f"bank {self.name!r}"
        if not self.normal:
            raise InputError(f"{where} has no normal sentence; the anchor needs one")
        if not isinstance(self.categories, Mapping) or not self.categories:
            raise InputError(f"{where} has no category")
        earlier: dict[str, str] = {}
        categories: dict[str, tuple[str, ...]] = {}
        try:
            for name, signs in self.categories.items():
                if not signs:
                    raise InputError(f"category {name!r} has no sign")
                label = _category_name(name, earlier)
                categories[label] = _sentences(signs, f"the signs of {label!r}")
            object.__setattr__(self, "modality", one_line(self.modality, "'modality'"))
            object.__setattr__(self, "normal", _sentences(self.normal, "'normal'"))
            origins = _origins(self.origins, {NORMAL: self.normal, **categories})
        except InputError as error:
            raise InputError(f"{where}: {error}") from error
        object.__setattr__(self, "categories", MappingProxyType(categories))
        object.__setattr__(self, "origins", MappingProxyType(origins))

    def __repr__(self) -> str:
        counts = f"{len(self.sentences)} signs of {len(self.names)} categories"
        return f"<SignBank {self.name}: {counts}>"

    def __sklearn_clone__(self) -> SignBank:
        return self

    def __reduce__(self) -> tuple[type[SignBank], tuple[object, ...]]:
        mappings = dict(self.categories), dict(self.origins)
        return SignBank, (self.name, self.modality, self.normal, *mappings)

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

    def provenance(self, sign: int) -> Provenance:
        """Where a sign comes from.

        Args:
            sign: its index in :attr:`sentences`.

        Raises:
            IndexError: if there is no such sign.
        """
        category = self.names[self.category_index[sign]]
        return self.origins.get((category, self.sentences[sign]), Provenance())

    def normal_provenance(self, sentence: int) -> Provenance:
        """Where a normal sentence comes from.

        Args:
            sentence: its index in ``normal``.

        Raises:
            IndexError: if there is no such sentence.
        """
        return self.origins.get((NORMAL, self.normal[sentence]), Provenance())

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
        path = Path(source)
        try:
            path = path.expanduser()
            if not path.is_file():
                raise InputError(
                    f"no sign bank {name!r}: neither a file nor one of the packaged banks "
                    f"({', '.join(list_banks())})"
                )
            text = read_text(path, MAX_BYTES)
        except (OSError, RuntimeError) as error:  # RuntimeError: ~user of an unknown user
            raise InputError(f"sign bank {name[:200]!r} cannot be read ({error})") from error
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
            loader = _PlainLoader(text)
        except yaml.reader.ReaderError as error:
            line = text.count("\n", 0, error.position) + 1
            raise InputError(
                f"{where}, line {line}: character {error.character:#x} is not allowed in YAML"
            ) from error
        try:
            root = loader.get_single_node()
        except yaml.MarkedYAMLError as error:
            mark = error.problem_mark or error.context_mark
            line = mark.line + 1 if mark else 1
            raise InputError(f"{where}, line {line}: not usable YAML ({error.problem})") from error
        # PyYAML lets these escape on escapes such as "\U00110000" and on thousands of brackets.
        except (ValueError, RecursionError) as error:
            line = loader.line + 1
            raise InputError(f"{where}, line {line}: not usable YAML ({error})") from error
        finally:
            loader.dispose()
        return _Reader(where).bank(root, name)

    def to_yaml(self) -> str:
        """The bank as YAML text that :meth:`parse` reads back, origins included."""
        content = {
            "modality": self.modality,
            "normal": self._records(NORMAL, self.normal),
            "categories": {
                name: {"signs": self._records(name, signs)}
                for name, signs in self.categories.items()
            },
        }
        text: str = yaml.safe_dump(content, sort_keys=False, allow_unicode=True, width=100)
        return text

    def _records(self, category: str, sentences: Sequence[str]) -> list[str | dict[str, object]]:
        """The sentences as a file holds them: those of known origin as mappings."""
        return [
            {"text": sentence, **self.origins[category, sentence].to_dict()}
            if (category, sentence) in self.origins
            else sentence
            for sentence in sentences
        ]


def _sentences(values: Sequence[str], what: str) -> tuple[str, ...]:
    if isinstance(values, str) or not isinstance(values, Sequence):
        raise InputError(f"{what} must be a list of sentences, got {type(values).__name__}")
    found = tuple(one_line(value, f"a sentence of {what}") for value in values)
    seen: set[str] = set()
    for sentence in found:
        if sentence in seen:
            raise InputError(f"{sentence!r} stands in {what} twice")
        seen.add(sentence)
    return found


def _origins(
    given: object, sentences: Mapping[str, Sequence[str]]
) -> dict[tuple[str, str], Provenance]:
    """The origins that say more than the default, each of a sentence that is there."""
    if not isinstance(given, Mapping):
        raise InputError(f"'origins' must be a mapping, got {type(given).__name__}")
    found: dict[tuple[str, str], Provenance] = {}
    for key, value in given.items():
        if not isinstance(key, tuple) or len(key) != 2:
            raise InputError(f"an origin's key must be (category, sentence), got {key!r}")
        if not isinstance(value, Provenance):
            raise InputError(f"an origin must be a Provenance, got {type(value).__name__}")
        category, sentence = (one_line(part, "an origin's key") for part in key)
        if sentence not in sentences.get(category, ()):
            raise InputError(f"an origin for {sentence!r} of {category!r}, which is not there")
        if value != Provenance():
            found[category, sentence] = value
    return found


def _category_name(value: object, earlier: dict[str, str]) -> str:
    """A category's name, told apart from the normal class and from the names before it.

    ``earlier`` holds those by what label tables compare (case, spaces, underscores do not count).
    """
    name = one_line(value, "a category's name")
    key = canonical_name(name)
    if key in NORMAL_NAMES:
        raise InputError(f"category {name!r}: this name means the normal class; rename it")
    if key in earlier:
        raise InputError(f"categories {earlier[key]!r} and {name!r} are the same name; rename one")
    earlier[key] = name
    return name


class _PlainLoader(yaml.SafeLoader):
    """Parses YAML without aliases, which a small file can multiply without end."""

    def compose_node(self, parent: Node | None, index: int) -> Node | None:
        if self.check_event(yaml.AliasEvent):
            raise yaml.MarkedYAMLError(
                problem="aliases (*name) are not allowed in a bank",
                problem_mark=self.peek_event().start_mark,
            )
        return super().compose_node(parent, index)


class _Reader:
    """Turns YAML nodes into a bank, with the line in every complaint."""

    def __init__(self, where: str) -> None:
        self.where = where

    def fail(self, node: Node | None, message: str) -> InputError:
        line = node.start_mark.line + 1 if node is not None else 1
        return InputError(f"{self.where}, line {line}: {message}")

    def _plain(self, node: Node, kind: str) -> None:
        """No tag: nothing but text, lists and mappings."""
        if node.tag == YAML_TAG + kind:
            return
        read_as = NOT_TEXT.get(node.tag.removeprefix(YAML_TAG))
        if read_as is None:
            raise self.fail(node, f"tags are not allowed in a bank, here {node.tag!r}")
        raise self.fail(node, f"{node.value!r} is read as {read_as}; text must stand in quotes")

    def mapping(self, node: Node | None, what: str) -> Iterator[tuple[ScalarNode, Node]]:
        if not isinstance(node, MappingNode):
            raise self.fail(node, f"{what} must be a mapping; {EXAMPLE}")
        self._plain(node, "map")
        known: set[str] = set()
        for key, value in node.value:
            if not isinstance(key, ScalarNode):
                raise self.fail(key, f"{what}: a key must be plain text")
            self._plain(key, "str")
            if key.value in known:
                raise self.fail(key, f"{what}: {key.value!r} stands here twice")
            known.add(key.value)
            yield key, value

    def text(self, node: Node, what: str, date: bool = False) -> str:
        """One line; a date may stand without quotes where one belongs."""
        if not isinstance(node, ScalarNode):
            raise self.fail(node, f"{what} must be text")
        if not (date and node.tag == YAML_TAG + "timestamp"):
            self._plain(node, "str")
        try:
            return one_line(node.value, what)
        except InputError as error:
            raise self.fail(node, str(error)) from error

    def truth(self, node: Node, what: str) -> bool:
        known = isinstance(node, ScalarNode) and node.tag == YAML_TAG + "bool"
        found = yaml.SafeLoader.bool_values.get(node.value.lower()) if known else None
        if found is None:
            raise self.fail(node, f"{what} must be true or false")
        return found

    def sentence(self, node: Node, what: str) -> tuple[str, Provenance]:
        if not isinstance(node, MappingNode):
            return self.text(node, what), Provenance()
        words: dict[str, str] = {}
        marks: dict[str, bool] = {}
        for key, value in self.mapping(node, what):
            if key.value in MARKS:
                marks[key.value] = self.truth(value, f"{what}: {key.value!r}")
            elif key.value in WORDS:
                words[key.value] = self.text(value, f"{what}: {key.value!r}", key.value == "date")
            else:
                raise self.fail(
                    key,
                    f"{what}: unknown key {key.value!r}; there are {', '.join((*WORDS, *MARKS))}; "
                    "a sentence with a colon must stand in quotes",
                )
        if "text" not in words:
            raise self.fail(node, f"{what}: 'text' is missing")
        source, model, date, prompt = (words.get(key, "") for key in WORDS[1:])
        try:
            provenance = Provenance(source, model, date, prompt, **marks)
        except InputError as error:
            raise self.fail(node, f"{what}: {error}") from error
        return words["text"], provenance

    def sentences(self, node: Node, what: str) -> dict[str, Provenance]:
        if not isinstance(node, SequenceNode) or not node.value:
            raise self.fail(node, f"{what} must be a list of at least one sentence")
        self._plain(node, "seq")
        lines: dict[str, int] = {}
        found: dict[str, Provenance] = {}
        for item in node.value:
            sentence, provenance = self.sentence(item, f"a sentence of {what}")
            if sentence in found:
                first = lines[sentence]
                raise self.fail(item, f"{sentence!r} stands in {what} twice, first in line {first}")
            lines[sentence] = item.start_mark.line + 1
            found[sentence] = provenance
        return found

    def signs(self, node: Node, label: str) -> dict[str, Provenance]:
        signs = None
        for key, value in self.mapping(node, f"category {label!r}"):
            if key.value != "signs":
                raise self.fail(key, f"category {label!r} holds 'signs' only, not {key.value!r}")
            signs = self.sentences(value, f"the signs of {label!r}")
        if signs is None:
            raise self.fail(node, f"category {label!r} has no 'signs'")
        return signs

    def categories(self, node: Node) -> dict[str, dict[str, Provenance]]:
        earlier: dict[str, str] = {}
        found: dict[str, dict[str, Provenance]] = {}
        for key, value in self.mapping(node, "'categories'"):
            try:
                label = _category_name(key.value, earlier)
            except InputError as error:
                raise self.fail(key, str(error)) from error
            found[label] = self.signs(value, label)
        if not found:
            raise self.fail(node, "there is no category")
        return found

    def bank(self, root: Node | None, name: str) -> SignBank:
        parts: dict[str, Node] = {}
        for key, value in self.mapping(root, "a sign bank"):
            if key.value not in ("modality", "normal", "categories"):
                raise self.fail(key, f"unknown key {key.value!r}; {EXAMPLE}")
            parts[key.value] = value
        for needed in ("modality", "normal", "categories"):
            if needed not in parts:
                raise self.fail(root, f"{needed!r} is missing; {EXAMPLE}")
        modality = self.text(parts["modality"], "'modality'")
        normal = self.sentences(parts["normal"], "'normal'")
        categories = self.categories(parts["categories"])
        origins = {
            (category, sentence): provenance
            for category, signs in {NORMAL: normal, **categories}.items()
            for sentence, provenance in signs.items()
        }
        signs = {label: tuple(sentences) for label, sentences in categories.items()}
        return SignBank(name, modality, tuple(normal), signs, origins)


def list_banks() -> list[str]:
    """Names of the packaged banks."""
    folder = importlib.resources.files("sdmad.signs") / "banks"
    return sorted(
        f.name.removesuffix(".yaml") for f in folder.iterdir() if f.name.endswith(".yaml")
    )
