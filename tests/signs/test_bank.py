"""Reading sign banks: what a good one gives, and a line for everything wrong with a bad one."""

import copy
import pickle

import pytest

from sdmad import SignBank
from sdmad.errors import InputError
from sdmad.signs import Provenance, list_banks
from sdmad.signs.bank import MAX_BYTES
from sdmad.signs.provenance import MAX_SENTENCE

GOOD = """\
modality: brain MRI
normal:
  - a normal brain
  - healthy brain MRI
categories:
  Craniotomy:
    signs:
      - a defect in the skull
      - a bone flap
  Mass:
    signs: [a round lesion]
"""


def parse(text):
    return SignBank.parse(text, "mine", "mine.yaml")


def fails(text, line, message):
    """The text is refused with an InputError that names the line and says the message."""
    with pytest.raises(InputError, match=message) as caught:
        parse(text)
    assert str(caught.value).startswith(f"mine.yaml, line {line}: "), str(caught.value)


def test_a_good_bank():
    bank = parse(GOOD)
    assert bank.name == "mine"
    assert bank.modality == "brain MRI"
    assert bank.normal == ("a normal brain", "healthy brain MRI")
    assert dict(bank.categories) == {
        "Craniotomy": ("a defect in the skull", "a bone flap"),
        "Mass": ("a round lesion",),
    }
    assert bank.names == ("Craniotomy", "Mass")
    assert bank.sentences == ("a defect in the skull", "a bone flap", "a round lesion")
    assert bank.category_index == (0, 0, 1)


def test_order_of_parts_comments_styles_and_white_space_do_not_matter():
    text = """\
# a comment first
---
categories: {"Mass": {signs: ['a  round
    lesion', "5"]}}
normal: [!!str 7, >-
    folded]
modality: "x\\u00e4"
""".replace(">-\n    folded", "'fol-\n    ded'")
    bank = parse(text)
    assert bank.categories["Mass"] == ("a round lesion", "5")
    assert bank.normal == ("7", "fol- ded")
    assert bank.modality == "xä"


def test_the_same_sign_in_two_categories_is_allowed():
    bank = SignBank("b", "m", ("n",), {"A": ("same",), "B": ("same",)})
    assert bank.sentences == ("same", "same")


@pytest.mark.parametrize(
    ("text", "line", "message"),
    [
        ("", 1, "a sign bank must be a mapping"),
        ("# only a comment\n", 1, "must be a mapping"),
        ("just text", 1, "must be a mapping"),
        ("\n\n- a\n- b\n", 3, "must be a mapping"),
        ("null", 1, "must be a mapping"),
        ("modality: x\n", 1, "'normal' is missing"),
        ("# c\nmodality: x\nnormal: [n]\n", 2, "'categories' is missing"),
        (GOOD.replace("modality: brain MRI\n", ""), 1, "'modality' is missing"),
        (GOOD + "extra: 1\n", 12, "unknown key 'extra'"),
        (GOOD.replace("normal:", "Normal:"), 2, "unknown key 'Normal'"),
        (GOOD + "modality: again\n", 12, "'modality' stands here twice"),
        (GOOD + "  Mass:\n    signs: [x]\n", 12, "'Mass' stands here twice"),
        (GOOD + "    signs: [x]\n", 12, "'signs' stands here twice"),
        (GOOD + "    weight: [x]\n", 12, "holds 'signs' only, not 'weight'"),
        (GOOD + "  Other: {}\n", 12, "category 'Other' has no 'signs'"),
        (GOOD + "  Other: [x]\n", 12, "category 'Other' must be a mapping"),
        (GOOD + "  Other:\n", 12, "category 'Other' must be a mapping"),
        (GOOD + "  Other: text\n", 12, "category 'Other' must be a mapping"),
        (GOOD + "  Other:\n    signs: []\n", 13, "signs of 'Other' must be a list of at least"),
        (GOOD + "  Other:\n    signs:\n", 13, "signs of 'Other' must be a list of at least"),
        (GOOD + "  Other:\n    signs: text\n", 13, "signs of 'Other' must be a list"),
        (GOOD + "  Other:\n    signs: {a: b}\n", 13, "signs of 'Other' must be a list"),
        (GOOD + "  Other:\n    signs:\n      - a\n      - [b]\n", 15, "must be text"),
        (GOOD + "  Other:\n    signs:\n      - a\n      - b: c\n", 15, "unknown key 'b'"),
        (
            GOOD + "  Other:\n    signs:\n      - a\n      - b\n      - a\n",
            16,
            "'a' stands in .* tw",
        ),
        (GOOD + "  Other:\n    signs:\n      - a  b\n      - a b\n", 15, "twice, first in line 14"),
        (GOOD + "  Other:\n    signs:\n      - ''\n", 14, "a sentence of .* is empty"),
        (GOOD + "  Other:\n    signs:\n      - '  '\n", 14, "is empty"),
        (GOOD + "  ? [a, b]\n  : {signs: [x]}\n", 12, "a key must be plain text"),
        (GOOD + "  '': {signs: [x]}\n", 12, "a category's name is empty"),
        (GOOD + "  m_ass: {signs: [x]}\n", 12, "'Mass' and 'm_ass' are the same name"),
        (GOOD + "  No Finding: {signs: [x]}\n", 12, "means the normal class"),
        ("modality: x\nnormal: [n]\ncategories: {}\n", 3, "there is no category"),
        ("modality: x\nnormal: [n]\ncategories:\n", 3, "'categories' must be a mapping"),
        ("modality: x\nnormal: [n]\ncategories: [A, B]\n", 3, "'categories' must be a mapping"),
        ("modality: x\nnormal: []\ncategories: {A: {signs: [s]}}\n", 2, "'normal' must be a list"),
        ("modality: x\nnormal: n\ncategories: {A: {signs: [s]}}\n", 2, "'normal' must be a list"),
        ("modality: [x]\nnormal: [n]\ncategories: {A: {signs: [s]}}\n", 1, "'modality' must be te"),
        ("modality: ''\nnormal: [n]\ncategories: {A: {signs: [s]}}\n", 1, "'modality' is empty"),
    ],
)
def test_missing_unknown_repeated_and_misplaced_parts(text, line, message):
    fails(text, line, message)


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ("5", "'5' is read as a number"),
        ("-1.5e+3", "is read as a number"),
        ("0x1F", "is read as a number"),
        (".nan", "is read as a number"),
        ("true", "'true' is read as a truth value; text must stand in quotes"),
        ("no", "'no' is read as a truth value"),
        ("null", "'null' is read as nothing"),
        ("~", "is read as nothing"),
        ("", "is read as nothing"),
        ("2026-01-01", "is read as a date"),
        ("!!binary aGVsbG8=", "tags are not allowed"),
        ("!!int '5'", "is read as a number"),
    ],
)
def test_numbers_truth_values_dates_and_nothing_are_no_text(value, message):
    fails(GOOD.replace("- a bone flap", f"- {value}"), 9, message)
    fails(GOOD.replace("modality: brain MRI", f"modality: {value}"), 1, message)


@pytest.mark.parametrize("name", ["5", "no", "null", "1.5", "<<"])
def test_category_names_are_text_too(name):
    fails(GOOD.replace("  Mass:", f"  {name}:"), 10, "is read as .* text must stand in quotes")
    assert parse(GOOD.replace("  Mass:", f"  '{name}':")).names == ("Craniotomy", name)


@pytest.mark.parametrize(
    ("old", "new", "line"),
    [
        ("- a bone flap", "- !!python/object/apply:os.system ['exit 1']", 9),
        ("- a bone flap", "- !!python/name:os.system ''", 9),
        ("- a bone flap", "- !custom text", 9),
        ("modality: brain MRI", "modality: !!python/object/new:str ['x']", 1),
        ("signs: [a round lesion]", "signs: !!python/tuple [a round lesion]", 11),
        ("signs: [a round lesion]", "signs: !!set [a round lesion]", 11),
        ("  Mass:\n    signs: [a round lesion]", "  Mass: !!python/object:os.X {signs: [x]}", 10),
        ("  Mass:", "  !!python/name:os.system Mass:", 10),
    ],
)
def test_tags_are_refused(old, new, line):
    # A list where a sentence belongs is refused as such, whatever its tag.
    fails(GOOD.replace(old, new), line, "tags are not allowed|must be text")


def test_a_tag_on_the_whole_bank_is_refused():
    fails("!!python/object:builtins.dict\n" + GOOD, 1, "tags are not allowed")


@pytest.mark.parametrize(
    ("text", "line"),
    [
        (GOOD.replace("- a defect", "- &a a defect").replace("- a bone flap", "- *a"), 9),
        (GOOD.replace("normal:\n", "normal: &n\n").replace("[a round lesion]", "*n"), 11),
        (GOOD.replace("Craniotomy:\n", "Craniotomy: &c\n") + "  Other: *c\n", 12),
        (GOOD.replace("  Craniotomy:", "  &k Craniotomy:") + "  *k : {signs: [x]}\n", 12),
        (GOOD.replace("Craniotomy:\n", "Craniotomy: &c\n") + "  Other: {<<: *c}\n", 12),
        ("&a\nmodality: x\nnormal: [n]\ncategories: *a\n", 4),
        (GOOD.replace("- a bone flap", "- *nobody"), 9),
    ],
)
def test_aliases_are_refused(text, line):
    fails(text, line, r"aliases \(\*name\) are not allowed")


def test_an_anchor_that_nothing_refers_to_is_harmless():
    assert parse(GOOD.replace("- a bone flap", "- &a a bone flap")) == parse(GOOD)


def test_a_bomb_of_aliases_is_refused_at_once():
    lines = ["a0: &a0 [x, x, x, x, x, x, x, x, x, x]"]
    lines += [f"a{i}: &a{i} [{', '.join([f'*a{i - 1}'] * 10)}]" for i in range(1, 30)]
    fails("\n".join(lines), 2, "aliases")


@pytest.mark.parametrize(
    ("text", "line", "message"),
    [
        (GOOD + "\tx: 1\n", 12, "not usable YAML"),
        (GOOD.replace("- a bone flap", '- "a bone'), 12, "not usable YAML"),
        (GOOD.replace("[a round lesion]", "[a round lesion"), 12, "not usable YAML"),
        (GOOD.replace("  - healthy", " - healthy"), 4, "not usable YAML"),
        (GOOD.replace("- a bone flap", '- "a \\q"'), 9, "unknown escape character"),
        (GOOD.replace("- a bone flap", '- "\\U00110000"'), 9, "not usable YAML"),
        (GOOD.replace("- a bone flap", "- a: b: c"), 9, "mapping values are not allowed"),
        (GOOD + "---\nsecond: document\n", 12, "not usable YAML"),
        ("%YAML 3.0\n---\n" + GOOD, 1, "not usable YAML"),
        (GOOD.replace("a bone flap", "a bone\x00flap"), 9, "character 0x0 is not allowed"),
        (GOOD.replace("a bone flap", "a bone\x1bflap"), 9, "character 0x1b is not allowed"),
    ],
)
def test_broken_yaml(text, line, message):
    fails(text, line, message)


@pytest.mark.parametrize("text", ["[" * 5_000, "{a: " * 5_000, "- " * 5_000, "? " * 5_000])
def test_deep_nesting_is_refused(text):
    fails(GOOD + "  Deep:\n    signs: " + text, 13, "not usable YAML|must be a list|must be text")


@pytest.mark.parametrize("character", ["\\u202e", "\\u200b", "\\ufeff", "\\e", "\\ud800", "\\0"])
def test_characters_that_cannot_be_printed(character):
    fails(GOOD.replace("- a bone flap", f'- "a{character}b"'), 9, "cannot be printed")


def test_the_longest_sentence():
    longest = "x" * MAX_SENTENCE
    assert parse(GOOD.replace("a bone flap", longest)).sentences[1] == longest
    fails(GOOD.replace("a bone flap", longest + "x"), 9, f"longer than {MAX_SENTENCE} characters")


@pytest.fixture
def bank_file(tmp_path):
    def write(content, name="mine.yaml"):
        path = tmp_path / name
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
        return path

    return write


def test_a_file(bank_file):
    path = bank_file(GOOD)
    assert SignBank.load(path) == parse(GOOD)
    assert SignBank.load(str(path)) == parse(GOOD)


@pytest.mark.parametrize("convert", [lambda t: "\ufeff" + t, lambda t: t.replace("\n", "\r\n")])
def test_a_byte_order_mark_and_windows_line_ends_are_fine(bank_file, convert):
    assert SignBank.load(bank_file(convert(GOOD))) == parse(GOOD)


def test_a_file_with_a_mistake_is_named(bank_file):
    path = bank_file(GOOD + "extra: x\n")
    with pytest.raises(InputError) as caught:
        SignBank.load(path)
    assert str(caught.value).startswith(f"{path}, line 12: unknown key 'extra'")


@pytest.mark.parametrize("mark", [b"", b"\xef\xbb\xbf"])
def test_a_file_that_is_not_utf_8_names_the_line(bank_file, mark):
    path = bank_file(mark + GOOD.encode().replace(b"bone flap", b"bone fl\xe4p"))
    with pytest.raises(InputError, match="line 9: not UTF-8 text"):
        SignBank.load(path)
    with pytest.raises(InputError, match="line 1: not UTF-8 text"):
        SignBank.load(bank_file(GOOD.encode("utf-16")))


def test_too_large_a_file(bank_file):
    with pytest.raises(InputError, match="larger than 2,000,000 bytes"):
        SignBank.load(bank_file(b"#" * (MAX_BYTES + 1)))


@pytest.mark.parametrize("name", ["nosuch", "", "x" * 5_000, "~nosuchuser/bank.yaml", "a\0b"])
def test_no_such_bank(name):
    with pytest.raises(InputError, match=r"no sign bank|cannot be read"):
        SignBank.load(name)


def test_no_such_bank_lists_the_packaged_ones(tmp_path):
    with pytest.raises(InputError, match=r"packaged banks \(bmad_brain, .*, brain, .*, thyroid\)"):
        SignBank.load("lung")
    with pytest.raises(InputError, match="neither a file nor"):
        SignBank.load(tmp_path)


def test_a_file_that_may_not_be_read(bank_file, monkeypatch):
    path = bank_file(GOOD)

    def refuse(self, mode):
        raise PermissionError(13, "Permission denied", str(self))

    monkeypatch.setattr("pathlib.Path.open", refuse)
    with pytest.raises(InputError, match=r"cannot be read .*Permission denied"):
        SignBank.load(path)


ODD = SignBank(
    "odd",
    "MRI: T1, 'fat-sat' # not a comment",
    ("no", "5", "null", "- a dash", "ends with:"),
    {
        "yes": ("[brackets]", "{braces}", "& and *", "\"double\" and 'single'", "100 %"),
        "x" * 200: ("y" * MAX_SENTENCE, " ".join(["word"] * 150)),
        "Ödem/🫁": ("Ödem", "2026-01-01", "=", "<<", "!tag"),
    },
)


@pytest.mark.parametrize("bank", [parse(GOOD), ODD], ids=["good", "odd"])
def test_round_trip(bank):
    again = SignBank.parse(bank.to_yaml(), bank.name, "again")
    assert again == bank
    assert again.names == bank.names  # the order too


def test_a_bank_made_in_python_is_held_to_the_same_rules():
    made = SignBank("b", " brain\nMRI ", ["a  normal brain"], {"A ": ["one", "two\nlines"]})
    assert made.modality == "brain MRI"
    assert made.normal == ("a normal brain",)
    assert dict(made.categories) == {"A": ("one", "two lines")}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"normal": ()}, "bank 'b' has no normal sentence; the anchor needs one"),
        ({"normal": "a normal brain"}, "'normal' must be a list of sentences, got str"),
        ({"normal": ("a", "a")}, "'a' stands in 'normal' twice"),
        ({"normal": (5,)}, "a sentence of 'normal' must be text, got int"),
        ({"normal": (" ",)}, "a sentence of 'normal' is empty"),
        ({"modality": None}, "'modality' must be text, got NoneType"),
        ({"categories": {}}, "bank 'b' has no category"),
        ({"categories": ["A"]}, "bank 'b' has no category"),
        ({"categories": {"A": ()}}, "category 'A' has no sign"),
        ({"categories": {"A": "text"}}, "signs of 'A' must be a list of sentences, got str"),
        ({"categories": {"A": ("x",), "a": ("y",)}}, "'A' and 'a' are the same name"),
        ({"categories": {"normal": ("x",)}}, "means the normal class"),
        ({"categories": {5: ("x",)}}, "a category's name must be text, got int"),
        ({"categories": {"A": ("x\x07",)}}, "cannot be printed"),
    ],
)
def test_a_bank_made_in_python_that_is_malformed(change, message):
    parts = {"name": "b", "modality": "m", "normal": ("n",), "categories": {"A": ("x",)}}
    with pytest.raises(InputError, match=message):
        SignBank(**{**parts, **change})


SHA256 = "0123456789abcdef" * 4
TRACED = f"""\
modality: brain MRI
normal:
  - a normal brain
  - {{text: healthy brain MRI, model: "llama3.1:8b", date: 2026-11-23}}
categories:
  Craniotomy:
    signs:
      - text: "a defect: the skull"
        source: https://example.org/page?id=1
        shared: true
      - text: a bone  flap
        model: "llama3.1:8b"
        source: model
        date: "2026-11-23"
        prompt_sha256: {SHA256}
        edited: true
      - text: a plain sign
  Mass:
    signs: [a bone flap]
"""


def test_a_sentence_carries_its_origin():
    bank = parse(TRACED)
    assert bank.sentences == ("a defect: the skull", "a bone flap", "a plain sign", "a bone flap")
    assert bank.provenance(0) == Provenance("https://example.org/page?id=1", shared=True)
    written = Provenance("model", "llama3.1:8b", "2026-11-23", SHA256, edited=True)
    assert bank.provenance(1) == written
    assert bank.provenance(2) == bank.provenance(3) == Provenance()
    assert bank.provenance(-1) == Provenance()
    assert bank.normal_provenance(0) == Provenance()
    assert bank.normal_provenance(1) == Provenance(model="llama3.1:8b", date="2026-11-23")
    assert set(bank.origins) == {
        ("normal", "healthy brain MRI"),
        ("Craniotomy", "a defect: the skull"),
        ("Craniotomy", "a bone flap"),
    }
    with pytest.raises(IndexError):
        bank.provenance(4)


def test_origins_make_the_round_trip_and_plain_sentences_stay_plain():
    bank = parse(TRACED)
    text = bank.to_yaml()
    assert parse(text) == bank
    assert parse(text).origins == bank.origins
    assert "- a plain sign\n" in text
    assert "text: a normal brain" not in text
    assert "source: model" not in text  # it follows from the model
    assert "edited: true" in text
    assert "edited: false" not in text
    assert "text:" not in parse(GOOD).to_yaml()


def test_origins_count_in_comparisons_copies_and_pickles():
    bank = parse(TRACED)
    bare = SignBank("mine", bank.modality, bank.normal, bank.categories)
    assert bare != bank
    assert copy.deepcopy(bank).origins == bank.origins
    assert pickle.loads(pickle.dumps(bank)) == bank
    with pytest.raises(TypeError):
        bank.origins["Mass", "a bone flap"] = Provenance()


@pytest.mark.parametrize(
    ("sign", "message"),
    [
        ("{}", "'text' is missing"),
        ("{source: author}", "'text' is missing"),
        ("{text: ''}", "'text' is empty"),
        ("{text: 5}", "'5' is read as a number"),
        ("{text: [x]}", "'text' must be text"),
        ("{text: x, text: y}", "'text' stands here twice"),
        ("{text: x, author: me}", "unknown key 'author'; there are text, source, model, date"),
        ("{text: x, Source: author}", "unknown key 'Source'"),
        ("{text: x, source: ''}", "'source' is empty"),
        ("{text: x, source: }", "is read as nothing"),
        ("{text: x, source: a book}", "must be author, model or an http"),
        ("{text: x, source: 'ftp://example.org/x'}", "must be author, model or an http"),
        ("{text: x, source: 'https://'}", "must be author, model or an http"),
        ("{text: x, source: 'https://a b.org'}", "must be author, model or an http"),
        ("{text: x, source: 'https://[::1'}", "must be author, model or an http"),
        ("{text: x, source: 'https://me:secret@example.org'}", "holds a user name or a password"),
        ("{text: x, source: 'https://example.org/AAAA'}".replace("AAAA", "a" * 500), "than 500"),
        ("{text: x, source: model}", "no 'model' is named"),
        ("{text: x, model: 3}", "is read as a number"),
        ("{text: x, model: AAAA}".replace("AAAA", "a" * 201), "'model' is longer than 200"),
        ("{text: x, date: yesterday}", "'date' must be a day as YYYY-MM-DD, got 'yesterday'"),
        ("{text: x, date: 2026-02-30}", "'date' must be a day"),
        ("{text: x, date: 2026-11-23 10:00:00}", "'date' must be a day"),
        ("{text: x, date: '20261123'}", "'date' must be a day"),
        ("{text: x, date: 20261123}", "is read as a number"),
        ("{text: x, prompt_sha256: abc}", "must be 64 lower-case hexadecimal digits"),
        ("{text: x, prompt_sha256: AAAA}".replace("AAAA", "A" * 64), "64 lower-case hexadecimal"),
        ("{text: x, edited: 'true'}", "'edited' must be true or false"),
        ("{text: x, edited: 1}", "'edited' must be true or false"),
        ("{text: x, shared: !!bool [x]}", "'shared' must be true or false"),
        ("{text: x, shared: !!bool maybe}", "'shared' must be true or false"),
        ("!custom {text: x}", "tags are not allowed"),
        ("{text: x, source: !!binary aGk=}", "tags are not allowed"),
        ("{[x]: y}", "a key must be plain text"),
    ],
)
def test_a_malformed_origin_names_the_line(sign, message):
    fails(GOOD.replace("- a bone flap", f"- {sign}"), 9, message)


def test_a_sentence_stands_once_however_it_is_written():
    text = GOOD.replace("- a bone flap", "- {text: a  defect in the skull, shared: true}")
    fails(text, 9, "stands in the signs of 'Craniotomy' twice, first in line 8")


@pytest.mark.parametrize(("word", "value"), [("true", True), ("True", True), ("false", False)])
def test_marks_are_true_or_false(word, value):
    bank = parse(GOOD.replace("- a bone flap", f"- {{text: a bone flap, shared: {word}}}"))
    assert bank.provenance(1).shared is value
    assert bool(bank.origins) is value  # what says no more than the default is not kept


@pytest.mark.parametrize(
    ("origins", "message"),
    [
        ([], "'origins' must be a mapping, got list"),
        ({"x": Provenance(model="m")}, r"must be \(category, sentence\), got 'x'"),
        ({("A", "x"): "author"}, "an origin must be a Provenance, got str"),
        ({("A", "z"): Provenance(model="m")}, "an origin for 'z' of 'A', which is not there"),
        ({("B", "x"): Provenance(model="m")}, "an origin for 'x' of 'B', which is not there"),
        ({("normal", "x"): Provenance(model="m")}, "an origin for 'x' of 'normal'"),
        ({("A", 3): Provenance(model="m")}, "an origin's key must be text, got int"),
    ],
)
def test_origins_made_in_python_that_are_malformed(origins, message):
    with pytest.raises(InputError, match=message):
        SignBank("b", "m", ("n",), {"A": ("x",)}, origins)


def test_origins_made_in_python_are_read_as_the_sentences_are():
    origin = Provenance(model="m")
    bank = SignBank("b", "m", ("n",), {"A ": ("x  y",)}, {("A", "x\ny"): origin})
    assert bank.provenance(0) == origin


def test_a_bank_cannot_be_altered_but_copied_and_pickled():
    bank = parse(GOOD)
    with pytest.raises(TypeError):
        bank.categories["Mass"] = ("changed",)
    assert copy.deepcopy(bank) == bank
    assert pickle.loads(pickle.dumps(bank)) == bank


def test_the_packaged_banks_are_listed():
    assert {"brain", "chest", "oct", "chestxray8", "bmad_liver"} <= set(list_banks())
    assert list_banks() == sorted(list_banks())


@pytest.mark.parametrize(
    ("name", "count"),
    [
        ("brain", 6),
        ("chest", 14),
        ("oct", 3),
        ("breast", 6),
        ("thyroid", 6),
        ("skin", 6),
        ("fundus", 6),
    ],
)
def test_the_packaged_banks(name, count):
    bank = SignBank.load(name)
    assert bank.name == name
    assert len(bank.names) == count
    assert min(len(signs) for signs in bank.categories.values()) >= 2
    assert SignBank.parse(bank.to_yaml(), name, name) == bank
