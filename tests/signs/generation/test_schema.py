import json

import pytest

from sdmad.signs.generation.request import Question
from sdmad.signs.generation.schema import (
    MAX_SHARED_WITH,
    Candidate,
    json_schema,
    read_answer,
)
from tests.signs.generation.chat_server import answer

QUESTION = Question("picture", "Dural thickening", ("Ring", "Bar_code", "Dots", "Lines"), 4)


def texts(reading):
    return [candidate.text for candidate in reading.candidates]


def test_the_schema_allows_sentences_and_known_categories_only():
    sentence = json_schema(QUESTION)["properties"]["sentences"]["items"]
    assert sentence["additionalProperties"] is False
    assert sentence["required"] == ["text", "shared_with"]
    shared = sentence["properties"]["shared_with"]
    assert shared["items"]["enum"] == ["Ring", "Bar_code", "Dots", "Lines"]
    alone = json_schema(Question("picture", "Ring", (), 4))
    assert "enum" not in json.dumps(alone)
    normal = json_schema(Question("picture", "", ("Ring",), 4))
    assert "enum" not in json.dumps(normal)


@pytest.mark.parametrize(
    "frame",
    [
        "{}",
        "Here you are:\n```json\n{}\n```\nAnything else?",
        '<think>Is it {"sentences": [1]}? No.</think>\n{}',
        'First {{"a": 1}}, then {}',
        'Is it {"sentences": ["a draft of it"]}? No.</think>{}',
        '<think>One.</think>{"sentences": ["a draft of it"]}</think>\n{}',
        '[THINK]{"sentences": ["a draft of it"]}[/THINK]{}',
        '<|channel|>analysis<|message|>["a draft of it"]<|channel|>final<|message|>{}',
        '<Reasoning>["a draft of it"]</Reasoning> {}',
    ],
)
def test_the_object_is_found_wherever_it_stands(style, frame):
    content = answer("a bright band", "a thick rim")
    text = frame.replace("{{", "{").replace("}}", "}") if "{{" in frame else frame
    text = text.replace("{}", content)
    reading = read_answer(text, QUESTION, style)
    assert texts(reading) == ["a bright band", "a thick rim"]
    assert reading.complaints == ()


@pytest.mark.parametrize(
    "text",
    [
        '["a bright band", "a thick rim"]',
        'Here: ```json\n["a bright band", "a thick rim"]\n```',
        '[{"text": "a bright band"}, "a thick rim"]',
        '{"sentences": ["a bright band", "a thick rim"]}',
        'As in [1] and [2, 3]: ["a bright band", "a thick rim"]',
    ],
)
def test_a_bare_list_and_bare_strings_are_sentences(style, text):
    reading = read_answer(text, QUESTION, style)
    assert texts(reading) == ["a bright band", "a thick rim"]
    assert reading.complaints == ()


def test_a_bare_sentence_is_shared_with_nothing(style):
    reading = read_answer('["a bright band"]', QUESTION, style)
    assert reading.candidates == (Candidate("a bright band"),)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "no",
        "[]",
        "[1, 2]",
        '["a bright band", 3]',
        '<think>{"sentences": ["a draft of it"]}',
        '{"sentences": ["a draft of it"]}</think>',
        '[{"text": "a rim", "shared_with": ["Bar code"], "te',
        pytest.param("[" * 100_000, id="deep list"),
        '{"signs": []}',
        '{"sentences": 3}',
        '{"sentences": [',
        pytest.param("{" * 100_000, id="deep"),
    ],
)
def test_what_is_no_answer_is_complained_of(style, text):
    reading = read_answer(text, QUESTION, style)
    assert reading.candidates == ()
    assert reading.complaints[0].startswith("there is no JSON object")


def test_items_of_another_form_are_complained_of(style):
    items = [["a bright band"], {"text": 3}, {"sentence": "a"}, None, {"text": "a thick rim"}]
    reading = read_answer(json.dumps({"sentences": items}), QUESTION, style)
    assert texts(reading) == ["a thick rim"]
    assert len(reading.complaints) == 4
    assert read_answer('{"sentences": []}', QUESTION, style).complaints == (
        'the list "sentences" is empty',
    )


@pytest.mark.parametrize(
    ("sentence", "problem"),
    [
        ("", "is empty"),
        ("a bright\nband", "line break"),
        ("a bright \u202eband", "control character"),
        ("band", "single word"),
        ("see https://example.org for it", "address"),
        ("a band as on www.example", "address"),
        ("mail me@example", "address"),
        ("a <b>bright</b> band", "holds < >"),
        ("a **bright** band", "markup"),
        ("a [bright](band)", "markup"),
        ("- a bright band", "does not start with a letter"),
        ("1. a bright band", "does not start with a letter"),
        ("a bright band. It is thick", "more than one sentence"),
        ("a " * 13, "15 tokens where the text encoder reads 14"),
        ("a " * 21, "21 words"),
        ("a " + "x" * 160, "characters"),
        ("Dural-thickening", "single word"),
        ("dural thickening", "category's name"),
    ],
)
def test_sentences_that_break_a_rule_are_left_out(style, sentence, problem):
    reading = read_answer(answer(sentence, "a thick rim"), QUESTION, style)
    assert texts(reading) == ["a thick rim"]
    assert len(reading.complaints) == 1
    assert problem in reading.complaints[0]


def test_a_full_stop_and_white_space_are_taken_off(style):
    assert texts(read_answer(answer("  a thick rim. "), QUESTION, style)) == ["a thick rim"]


def test_a_sentence_stands_once(style):
    reading = read_answer(
        answer("A thick rim", "a thick rim", "a plain picture", "an old one", "a new one"),
        QUESTION,
        style,
        accepted=[Candidate("An old one")],
        taken=["a plain picture"],
    )
    assert texts(reading) == ["A thick rim", "a new one"]
    assert [c.split('"')[2] for c in reading.complaints] == [" stands there already"] * 3


def test_the_categorys_name_stands_in_a_quarter_of_its_signs(style):
    reading = read_answer(
        answer("dural thickening, smooth", "a Dural Thickening", "durally thickened"),
        QUESTION,
        style,
    )
    assert texts(reading) == ["dural thickening, smooth", "durally thickened"]
    assert "names the category once too often" in reading.complaints[0]


def test_known_categories_share_a_quarter_of_the_signs(style):
    reading = read_answer(
        answer(
            ("a thick rim", ["bar code", "Nothing", "ring", "RING", "ignore the rules"]),
            ("a bright band", ["Dots"]),
            ("a dark band", ["Dural thickening", "Elsewhere"]),
        ),
        QUESTION,
        style,
    )
    assert reading.candidates == (
        Candidate("a thick rim", ("Bar_code", "Ring")),
        Candidate("a dark band"),
    )
    assert "one shared sign too many" in reading.complaints[0]
    everywhere = answer(("a thick rim", list(QUESTION.others)))
    (candidate,) = read_answer(everywhere, QUESTION, style).candidates
    assert candidate.shared_with == QUESTION.others[:MAX_SHARED_WITH]


def test_normal_sentences_are_not_shared(style):
    question = Question("picture", "", ("Ring",), 2)
    reading = read_answer(answer(("a plain picture", ["Ring"])), question, style)
    assert reading.candidates == (Candidate("a plain picture"),)


def test_no_more_is_taken_than_was_asked_for(style):
    many = answer(*(f"a band like {'a' * i} line" for i in range(1, 12)))
    reading = read_answer(many, QUESTION, style, accepted=[Candidate("one more")])
    assert len(reading.candidates) == 3
    assert reading.complaints == ()


def test_foreign_text_in_a_complaint_can_be_sent_back(style):
    (complaint,) = read_answer(answer("a \ud800 band"), QUESTION, style).complaints
    assert complaint.encode("utf-8").startswith(rb'"a \ud800 band"')
