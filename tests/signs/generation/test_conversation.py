import pytest

from sdmad.signs.generation import LanguageModelError
from sdmad.signs.generation.conversation import MAX_ANSWERS
from sdmad.signs.generation.templates import prompt_hash
from tests.signs.generation.chat_server import answer, breaks_off, fails, lists, says


@pytest.fixture
def question(request_of_three):
    return request_of_three.question("Ring")


def texts(answered):
    return [candidate.text for candidate in answered.candidates]


FOUR = ("a thin line", "a thick line", "a pale line", "a dark line")


def test_a_right_answer_is_taken(server, interviewer, question):
    server.script = [lists(*FOUR)]
    answered = interviewer().ask(question)
    assert texts(answered) == list(FOUR)
    assert (answered.answers, answered.replayed, answered.note) == (1, False, "")
    assert answered.prompt_sha256 == prompt_hash(server.requests[0].content["messages"])


def test_a_malformed_answer_is_sent_back_with_the_complaint(server, interviewer, question):
    server.script = [says("Surely! 1. a thin line"), lists(*FOUR)]
    answered = interviewer().ask(question)
    assert texts(answered) == list(FOUR)
    assert answered.answers == 2
    first, second = (got.content["messages"] for got in server.requests)
    assert second[:2] == first
    assert second[2] == {"role": "assistant", "content": "Surely! 1. a thin line"}
    assert "there is no JSON object" in second[3]["content"]
    assert "Write 4 more" in second[3]["content"]


def test_good_sentences_are_kept_and_the_rest_is_asked_for(server, interviewer, question):
    server.script = [lists(*FOUR[:2], "see www.example.org now"), lists(FOUR[0], *FOUR[2:])]
    assert texts(interviewer().ask(question)) == list(FOUR)
    repair = server.requests[1].prompt
    assert '"see www.example.org now" holds an address' in repair
    assert '["a thin line", "a thick line"]' in repair
    assert "Write 2 more" in repair


def test_half_of_the_sentences_are_enough_with_a_note(server, interviewer, question):
    server.script = [lists(*FOUR[:2])] * MAX_ANSWERS
    answered = interviewer().ask(question)
    assert texts(answered) == list(FOUR[:2])
    assert answered.note.startswith("2 of 4 signs of 'Ring' in 4 answers: \"a thin line\" stands")
    assert len(server.requests) == MAX_ANSWERS


def test_less_than_half_is_an_error_and_is_not_kept(server, interviewer, question):
    server.script = [lists(FOUR[0])] + [says("I'm sorry")] * (MAX_ANSWERS - 1)
    with pytest.raises(LanguageModelError, match="only 1 of 4 signs of 'Ring' in 4 answers"):
        interviewer().ask(question)
    server.script = [lists(*FOUR)]
    assert interviewer().ask(question).answers == 1


def test_answers_are_replayed_without_the_server(server, interviewer, question):
    server.script = [says("no"), lists(*FOUR)]
    chat = interviewer()
    first = chat.ask(question)
    server.script = [fails(500, "gone")] * 20
    again = chat.ask(question)
    assert len(server.requests) == 2
    assert again.replayed
    assert (again.candidates, again.date, again.answers) == (
        first.candidates,
        first.date,
        first.answers,
    )


def test_another_address_replays_and_another_model_or_question_does_not(
    server, interviewer, question, request_of_three
):
    interviewer().ask(question)
    assert interviewer(url="http://elsewhere.invalid/v1").ask(question).replayed
    assert not interviewer(model="other").ask(question).replayed
    assert not interviewer().ask(request_of_three.question("Bar")).replayed
    assert len(server.requests) == 3


def test_above_temperature_zero_nothing_is_replayed_or_kept(server, interviewer, question):
    chat = interviewer(temperature=0.7)
    assert not chat.ask(question).replayed
    assert not chat.ask(question).replayed
    assert not chat.cache.folder.exists()
    interviewer().ask(question)
    assert not chat.ask(question).replayed


def test_replayed_answers_are_judged_again(server, interviewer, question):
    """An altered file brings nothing in; what lacks is asked for, and the whole is kept."""
    server.script = [lists(*FOUR)]
    chat = interviewer()
    chat.ask(question)
    (path,) = chat.cache.folder.iterdir()
    evil = answer(*FOUR[:3], "go to https://example.org")
    path.write_text(path.read_text().replace(_quoted(answer(*FOUR)), _quoted(evil)))
    server.script = [lists("a new line")]
    answered = chat.ask(question)
    assert texts(answered) == [*FOUR[:3], "a new line"]
    assert not answered.replayed
    assert chat.ask(question).replayed
    assert len(server.requests) == 2


def test_a_broken_answer_is_asked_for_again(server, interviewer, question):
    server.script = [breaks_off, lists(*FOUR)]
    answered = interviewer().ask(question)
    assert texts(answered) == list(FOUR)
    assert answered.answers == 1


def _quoted(text):
    return text.replace('"', '\\"')
