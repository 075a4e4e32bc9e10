import gzip
import time

import pytest

from sdmad.errors import InputError
from sdmad.signs.generation import ChatClient, LanguageModelError, api_key_from, bounds
from sdmad.signs.generation import client as client_module
from sdmad.signs.generation.client import LONGEST_WAIT, MAX_ANSWER, MAX_TRIES
from tests.signs.generation.chat_server import (
    ChatServer,
    breaks_off,
    chunk,
    drips,
    drips_headers,
    ends_early,
    fails,
    hangs,
    refuses,
    rejects_schema,
    says,
    sends,
    stream,
)

KEY = "sk-verysecretkey0123456789"
QUESTION = [{"role": "user", "content": "Write 3 lines"}]
SCHEMA = {"type": "object"}


def ask(client):
    return client.complete(QUESTION, SCHEMA)


def test_what_is_sent_is_the_model_the_messages_and_the_schema(server, client):
    server.script = [says("an answer")]
    assert ask(client(temperature=0.5, api_key=KEY)) == "an answer"
    (got,) = server.requests
    assert got.path == "/v1/chat/completions"
    assert got.headers["authorization"] == f"Bearer {KEY}"
    assert got.content == {
        "model": "small:8b",
        "messages": QUESTION,
        "temperature": 0.5,
        "stream": True,
        "response_format": {
            "type": "json_schema",
            "json_schema": {"name": "sentences", "strict": True, "schema": SCHEMA},
        },
    }
    assert KEY not in got.body


def test_a_server_that_refuses_the_schema_is_asked_without_it_from_then_on(server, client):
    server.script = [rejects_schema]
    chat = client()
    assert "sentences" in ask(chat)
    assert "sentences" in ask(chat)
    assert ["response_format" in got.content for got in server.requests] == [True, False, False]


@pytest.mark.parametrize("failure", [breaks_off, ends_early, fails(503, "loading"), says("")])
def test_what_may_pass_is_tried_again_with_growing_waits(server, client, waits, failure):
    server.script = [failure, failure, says("at last")]
    assert ask(client()) == "at last"
    assert waits == [1.0, 2.0]


@pytest.mark.parametrize(
    ("failure", "words"),
    [
        (breaks_off, "connection broke"),
        (ends_early, "broke off in the middle"),
        (fails(500, "out of memory"), "500: out of memory"),
        (says(""), "answer is empty"),
    ],
)
def test_what_does_not_pass_ends_in_an_error(server, client, waits, failure, words):
    server.script = [failure] * 10
    with pytest.raises(LanguageModelError, match=words) as caught:
        ask(client())
    assert f"small:8b at {server.url}" in str(caught.value)
    assert f"({MAX_TRIES} times)" in str(caught.value)
    assert waits == [1.0, 2.0, 4.0, 8.0]


def test_a_busy_server_is_given_the_time_it_asks_for(server, client, waits):
    date = time.strftime("%a, %d %b %Y %H:%M:%S GMT", time.gmtime(time.time() + 60))
    busy = [fails(429, "slow down", Retry_After=after) for after in ("7", "0", date, "soon")]
    server.script = [*busy, says("at last")]
    assert ask(client()) == "at last"
    assert waits[:2] == [7.0, 0.0]
    assert 50 < waits[2] <= 60
    assert waits[3] == 8.0  # no usable header: the fourth wait of the doubling row


def test_a_server_that_asks_for_too_long_is_not_waited_for(server, client, waits):
    server.script = [fails(429, "slow down", Retry_After=str(int(LONGEST_WAIT) + 1))]
    with pytest.raises(LanguageModelError, match="asks to wait 121 s") as caught:
        ask(client())
    assert "Run again later" in str(caught.value)
    assert waits == []


def test_an_empty_account_is_told_at_once(server, client, waits):
    server.script = [fails(429, "You exceeded your quota (insufficient_quota)")]
    with pytest.raises(LanguageModelError, match="no quota left"):
        ask(client())
    assert waits == []


def test_a_silent_server_is_a_time_out(server, client, waits):
    server.script = [hangs(0.4)] * MAX_TRIES
    with pytest.raises(LanguageModelError, match="no answer in time"):
        ask(client(timeout=0.05))
    assert len(waits) == MAX_TRIES - 1


def test_no_server_is_told_at_once(server, client, waits):
    url = server.url
    server.shutdown()
    server.server_close()
    with pytest.raises(LanguageModelError, match="nothing answers at this address"):
        ask(client(url))
    assert waits == []


@pytest.mark.parametrize(("status", "filler"), [(401, 0), (403, 234)])
def test_a_refused_key_is_told_without_the_key(server, client, waits, status, filler):
    """The key is not there even where what the server says is cut in its middle."""
    server.script = [fails(status, f"Incorrect API key provided: {KEY}" + "." * filler + KEY)]
    with pytest.raises(LanguageModelError, match="refuses the API key") as caught:
        ask(client(api_key=KEY))
    assert KEY[:8] not in str(caught.value)
    assert "[API key]" in str(caught.value)
    assert "--api-key-env" in str(caught.value)
    assert waits == []


def test_an_unknown_model_is_told_with_those_that_are_there(server, client):
    server.script = [fails(404, "model 'large:7b' not found")]
    with pytest.raises(LanguageModelError, match="does not know this model") as caught:
        ask(client(model="large:7b"))
    assert "it offers large:70b, small:8b" in str(caught.value)


def test_a_refusal_and_a_filtered_answer_are_told(server, client):
    server.script = [refuses("I cannot help with that."), says("half", "content_filter")]
    for words in ("I cannot help with that", "content filter"):
        with pytest.raises(LanguageModelError, match="refuses to answer") as caught:
            ask(client())
        assert words in str(caught.value)


def test_an_answer_cut_at_the_limit_of_tokens_is_told(server, client):
    server.script = [says('{"sentences": [', "length")]
    with pytest.raises(LanguageModelError, match=r"limit of tokens.*num_ctx"):
        ask(client())


def test_too_long_a_conversation_is_told(server, client):
    server.script = [fails(400, "maximum context length is 512 tokens")] * 2
    with pytest.raises(LanguageModelError, match=r"too long for the model.*fewer signs"):
        ask(client())


def test_a_model_without_a_temperature_is_told_what_to_set(server, client):
    server.script = [fails(400, "'temperature' does not support 0.0")] * 2
    with pytest.raises(LanguageModelError, match="--temperature 1"):
        ask(client())


def test_an_endless_answer_is_stopped(server, client):
    piece = chunk({"content": "x" * (MAX_ANSWER // 2)})
    server.script = [lambda handler, _: stream(handler, piece, piece, piece)]
    with pytest.raises(LanguageModelError, match="did not end"):
        ask(client())


EMPTY = chunk({})
SLOW = {
    "comments": drips(b": keep-alive\n\n"),
    "empty lines": drips(b"\n"),
    "empty choices": drips(b'data: {"choices": []}\n\n'),
    "empty deltas": drips(EMPTY),
    "a line without an end": drips(b"x"),
    "an error": drips(b"x", status=500, kind="text/plain"),
    "a rejection": drips(b" ", status=400, kind="application/json"),
    "a redirection": drips(b"x", status=307, Location="/v1/elsewhere"),
    "headers": drips_headers,
}


@pytest.mark.parametrize("kind", SLOW)
def test_an_answer_of_any_kind_has_a_deadline(server, client, waits, kind):
    server.script = [SLOW[kind]]
    with pytest.raises(LanguageModelError, match=r"did not end within 0 s.*Run again"):
        ask(client(whole_timeout=0.3))
    assert waits == []
    assert len(server.requests) == 1


def test_a_list_of_models_has_a_deadline(server, client, monkeypatch):
    monkeypatch.setattr(client_module, "NAMES_TIMEOUT", 0.3)
    server.script = [fails(404, "no such model")]
    server.listing = drips(b" ", kind="application/json")
    with pytest.raises(LanguageModelError, match="mend --model or --base-url"):
        ask(client())


@pytest.mark.parametrize("body", [b'{"data": 3}', b'{"data": [3]}', b"[" * 100_000, b"", b"\xff"])
def test_a_list_of_models_that_is_none_is_left_out(server, client, body):
    server.script = [fails(404, "no such model")]
    server.listing = sends(200, body, Content_Type="application/json")
    with pytest.raises(LanguageModelError, match="mend --model or --base-url"):
        ask(client())


FAST = {
    "comments": drips(b": keep-alive\n\n" * 1000),
    "a line without an end": drips(b"x" * 10_000),
    "empty choices": drips(b'data: {"choices": []}\n\n' * 1000),
    "an error": drips(b"x" * 10_000, status=500, kind="text/plain"),
    "a redirection": drips(b"x" * 10_000, status=307, Location="/v1/elsewhere"),
    "no stream": drips(b" " * 10_000, kind="application/json"),
}


@pytest.mark.parametrize("kind", FAST)
def test_an_answer_of_any_kind_has_a_size(server, client, waits, kind, monkeypatch):
    monkeypatch.setattr(bounds, "MAX_STREAM", 300_000)
    monkeypatch.setattr(bounds, "MAX_EVENT", 100_000)
    monkeypatch.setattr(bounds, "MAX_BODY", 200_000)
    server.script = [FAST[kind]]
    with pytest.raises(LanguageModelError, match=r"sent more than [123]\d\d,\d\d\d bytes"):
        ask(client())
    assert waits == []


def test_a_long_answer_of_short_events_is_within_the_size(server, client, monkeypatch):
    monkeypatch.setattr(bounds, "MAX_EVENT", 1000)
    pieces = [chunk({"content": "word "}) for _ in range(2000)]
    server.script = [lambda handler, _: stream(handler, *pieces, chunk({}, "stop"))]
    assert ask(client()) == "word " * 2000


def test_a_compressed_answer_is_neither_asked_for_nor_unpacked(server, client):
    bomb = gzip.compress(b": \n" * 1_000_000)
    kinds = {"Content_Encoding": "gzip", "Content_Type": "text/event-stream"}
    for status in (200, 500):
        server.script = [sends(status, bomb, **kinds)]
        with pytest.raises(LanguageModelError, match="compresses its answer"):
            ask(client())
        assert server.requests[-1].headers["accept-encoding"] == "identity"


def test_another_origin_is_told_nothing(server, client, waits):
    with ChatServer() as other:
        place = f"{other.url}/chat/completions"
        for status in (302, 307):
            server.script = [sends(status, b"", Location=place)]
            with pytest.raises(LanguageModelError, match="redirects to http://127") as caught:
                ask(client(api_key=KEY))
            assert place in str(caught.value)
        assert other.requests == []
    assert waits == []


def test_a_redirection_within_the_origin_is_followed(server, client):
    server.script = [sends(307, b"", Location="/v2/chat/completions"), says("an answer")]
    assert ask(client()) == "an answer"
    assert [got.path for got in server.requests] == ["/v1/chat/completions", "/v2/chat/completions"]


DEEP = b"[" * 50_000 + b"]" * 50_000


@pytest.mark.parametrize(
    "reply",
    [
        sends(200, b"data: " + DEEP + b"\n\n", Content_Type="text/event-stream"),
        sends(200, b'data: {"error": ' + DEEP + b"}\n\n", Content_Type="text/event-stream"),
        sends(400, b'{"error": ' + DEEP + b"}", Content_Type="application/json"),
        sends(500, DEEP, Content_Type="application/json"),
    ],
)
def test_deep_nesting_is_told(server, client, reply):
    server.script = [reply] * MAX_TRIES
    with pytest.raises(LanguageModelError, match=r"nested too deeply|rejects|fails|protocol"):
        ask(client())


@pytest.mark.parametrize("choices", ['"abc"', '{"a": 1}', "5", "[5]", '[{"delta": 3}]', "[[]]"])
def test_choices_of_another_form_are_left_out(server, client, choices):
    odd = f'data: {{"choices": {choices}}}\n\n'.encode()
    server.script = [lambda handler, _: stream(handler, odd, chunk({"content": "fine"}, "stop"))]
    assert ask(client()) == "fine"


def test_what_is_no_protocol_is_told(server, client):
    server.script = [lambda handler, _: stream(handler, b"data: <html>\n\n")] * MAX_TRIES
    with pytest.raises(LanguageModelError, match="not in the OpenAI protocol"):
        ask(client())


def test_odd_pieces_are_left_out(server, client):
    odd = [b'data: {"choices": null}\n\n', b'data: {"choices": [{"delta": null}]}\n\n']
    rest = [chunk({"reasoning_content": "hm"}), chunk({"content": "fine \ud800"}, "stop")]
    server.script = [lambda handler, _: stream(handler, *odd, *rest)]
    assert ask(client()) == "fine ?"


def test_the_key_is_taken_out_of_an_answer_and_shown_nowhere(server, client):
    server.script = [says(f"your key is {KEY}")]
    chat = client(api_key=KEY)
    assert ask(chat) == "your key is [API key]"
    assert KEY not in repr(chat)


def test_a_dummy_key_stays_a_word(server, client):
    server.script = [says("an EMPTY cavity")]
    assert ask(client(api_key="EMPTY")) == "an EMPTY cavity"


def test_the_key_comes_from_the_environment():
    assert api_key_from({"A": f" {KEY}\n"}, "A", required=True) == KEY
    assert api_key_from({}, "A", required=False) is None
    with pytest.raises(InputError, match="no variable A"):
        api_key_from({"A": " "}, "A", required=True)
    with pytest.raises(InputError, match="in A holds a space") as caught:
        api_key_from({"A": "sk-one\ntwo"}, "A", required=False)
    assert "sk-one" not in str(caught.value)


@pytest.mark.parametrize(
    "url",
    ["localhost:11434", "ftp://host/v1", "http://", "http://me:word@host/v1", "http://h/v1?key=1"],
)
def test_addresses_that_cannot_be_used_are_refused(url):
    with pytest.raises(InputError, match="base URL") as caught:
        ChatClient("m", url)
    assert "word" not in str(caught.value).replace("password", "")


def test_settings_that_cannot_be_used_are_refused():
    with pytest.raises(InputError, match="model's name is empty"):
        ChatClient(" ", "http://h/v1")
    with pytest.raises(InputError, match="temperature"):
        ChatClient("m", "http://h/v1", temperature=-1)


@pytest.mark.parametrize(
    ("url", "key", "exposed"),
    [
        ("http://example.org/v1", KEY, True),
        ("https://example.org/v1", KEY, False),
        ("http://127.0.0.1:8000/v1", KEY, False),
        ("http://[::1]:8000/v1", KEY, False),
        ("http://example.org/v1", None, False),
    ],
)
def test_a_key_in_the_clear_is_known(url, key, exposed):
    assert ChatClient("m", url, key).exposes_key is exposed
