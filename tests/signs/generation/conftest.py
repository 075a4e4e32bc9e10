"""Fixtures for sign generation: a server on this machine, a tokenizer that counts words."""

from collections.abc import Callable, Iterator

import pytest

from sdmad.signs.generation import (
    AnswerCache,
    ChatClient,
    GenerationRequest,
    Interviewer,
    PromptTemplates,
    Style,
)
from tests.signs.generation.chat_server import ChatServer


class WordBackbone:
    """Counts a token a word, with a start and an end."""

    context_length = 14

    def token_counts(self, sentences):
        return [len(sentence.split()) + 2 for sentence in sentences]


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[ChatServer]:
    for name in ("HTTP_PROXY", "http_proxy", "ALL_PROXY", "all_proxy", "OPENAI_API_KEY"):
        monkeypatch.delenv(name, raising=False)
    with ChatServer() as running:
        yield running


@pytest.fixture
def waits() -> list[float]:
    """The seconds that a client would have slept."""
    return []


@pytest.fixture
def client(server, waits) -> Callable[..., ChatClient]:
    """Make a client that sleeps on paper only."""

    def make(url=None, model="small:8b", **settings) -> ChatClient:
        return ChatClient(model, url or server.url, sleep=waits.append, **settings)

    return make


@pytest.fixture
def style() -> Style:
    return Style(WordBackbone())


@pytest.fixture
def interviewer(client, style, tmp_path) -> Callable[..., Interviewer]:
    """Make an interviewer with a cache of its own; keywords are the client's."""

    def make(**settings) -> Interviewer:
        cache = AnswerCache(tmp_path / "answers")
        return Interviewer(client(**settings), PromptTemplates.load(), style, cache)

    return make


@pytest.fixture
def request_of_three() -> GenerationRequest:
    return GenerationRequest("test picture", ("Ring", "Bar", "Dots"), 4, 2)
