"""Asking a language model through the OpenAI protocol, which most servers speak.

The answer is read as a stream, so that a slow local model is waited for as long as it goes on
writing. Everything that can go wrong ends in a :class:`LanguageModelError` that says what to do;
the API key stands in none of them.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeVar
from urllib.parse import urlsplit

from sdmad.errors import InputError
from sdmad.inputs import TooLate, within
from sdmad.signs.generation.bounds import hooks
from sdmad.signs.generation.failures import (
    MOST_LISTED,
    LanguageModelError,
    RequestError,
    explain,
    hide,
)
from sdmad.signs.generation.templates import Message
from sdmad.signs.provenance import MAX_MODEL, one_line

MAX_TRIES = 5
LONGEST_WAIT = 120.0
FIRST_WAIT = 1.0
MAX_ANSWER = 200_000
"""Characters of an answer, thoughts included."""

CONNECT_TIMEOUT = 10.0
ANSWER_TIMEOUT = 300.0
"""Seconds to wait for the next piece of an answer; a local model may have to be loaded first."""

WHOLE_TIMEOUT = 1800.0
"""Seconds for an answer as a whole."""

NAMES_TIMEOUT = 20.0
"""Seconds for the list of a server's models."""

Result = TypeVar("Result")

KEYLESS = "none"
SHORTEST_SECRET = 8
"""A shorter key is a word such as ``EMPTY``, which an answer may well hold."""


class ChatClient:
    """A language model behind an OpenAI-compatible server; nothing is sent before a question.

    Args:
        model: the model's name on the server.
        base_url: the server's address, mostly ending in ``/v1``.
        api_key: the key, or None for a server that needs none.
        temperature: 0 for the model's likeliest answer.
        timeout: seconds to wait for the next piece of an answer.
        whole_timeout: seconds to wait for its end.
        sleep: waits so many seconds.

    Raises:
        InputError: if the address, the model's name, the key or the temperature cannot be used.
    """

    def __init__(
        self,
        model: str,
        base_url: str,
        api_key: str | None = None,
        temperature: float = 0.0,
        timeout: float = ANSWER_TIMEOUT,
        whole_timeout: float = WHOLE_TIMEOUT,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self.model = one_line(model, "the model's name", MAX_MODEL)
        self.base_url = _address(base_url)
        if not 0 <= temperature <= 2:
            raise InputError(f"the temperature must lie in 0 to 2, got {temperature}")
        self.temperature = temperature
        self._key = _checked_key(api_key, "the API key") if api_key is not None else None
        self._timeout = timeout
        self._whole_timeout = whole_timeout
        self._sleep = sleep
        self._plain = False
        self._connection: Any = None

    @property
    def exposes_key(self) -> bool:
        """Whether the API key leaves this machine unencrypted."""
        parts = urlsplit(self.base_url)
        return (
            self._key is not None
            and parts.scheme == "http"
            and parts.hostname not in ("localhost", "::1")
            and not str(parts.hostname).startswith("127.")
        )

    def complete(self, messages: Sequence[Message], schema: Mapping[str, Any]) -> str:
        """The model's answer to a conversation.

        A server that refuses the JSON schema is asked again without it, now and later on. A busy
        server, one that fails and one that breaks off is asked again after a while: as long as it
        asks for (``Retry-After``), up to two minutes. An answer of any kind has a deadline and a
        size (:mod:`sdmad.signs.generation.bounds`); a redirection to another origin, which would
        tell it the conversation, is not followed.

        Args:
            messages: the conversation so far.
            schema: the JSON schema that the answer is to keep to.

        Raises:
            LanguageModelError: if there is no answer.
            InputError: if the ``openai`` package is missing.
        """
        tries = 0
        while True:
            try:
                text = self._ask(messages, None if self._plain else schema)
            except RequestError as failure:
                if failure.rejected and not self._plain:
                    self._plain = True
                    continue
                tries += 1
                if not failure.passing or tries >= MAX_TRIES:
                    raise self._error(failure, tries) from failure
                self._sleep(self._wait(failure, tries))
            else:
                secret = self._key is not None and len(self._key) >= SHORTEST_SECRET
                return hide(text, self._key) if secret else text

    def _wait(self, failure: RequestError, tries: int) -> float:
        """Seconds until the next try."""
        if failure.retry_after is None:
            return FIRST_WAIT * 2.0 ** (tries - 1)
        if failure.retry_after > LONGEST_WAIT:
            raise self._error(failure, tries) from failure
        return failure.retry_after

    def _error(self, failure: RequestError, tries: int) -> LanguageModelError:
        times = f" ({tries} times)" if tries > 1 else ""
        text = f"{self.model} at {self.base_url}: {failure}{times}"
        return LanguageModelError(hide(text, self._key))

    def _ask(self, messages: Sequence[Message], schema: Mapping[str, Any] | None) -> str:
        """One request; whatever goes wrong is a :class:`RequestError`."""
        openai = _openai()
        client = self._client(openai)
        extra = {"response_format": _response_format(schema)} if schema is not None else {}

        def answer() -> str:
            with client.chat.completions.create(
                model=self.model,
                messages=list(messages),
                temperature=self.temperature,
                stream=True,
                **extra,
            ) as stream:
                return _read(stream, self._key)

        try:
            return self._in_time(self._whole_timeout, answer)
        except (openai.OpenAIError, *_transport_errors(), ValueError) as error:
            try:
                failure = explain(error, self.model, self._key, self._names)
            except RecursionError:
                failure = RequestError.tangled()
            raise failure from None
        except RecursionError:
            raise RequestError.tangled() from None

    def _in_time(self, seconds: float, work: Callable[[], Result]) -> Result:
        """Do something within its time; a connection that broke a bound is closed."""
        try:
            return within(seconds, work)
        except (RequestError, TooLate) as error:
            if self._connection is not None:
                self._connection.close()
                self._connection = None
            if isinstance(error, TooLate):
                raise RequestError.overdue(seconds) from None
            raise

    def _client(self, openai: Any) -> Any:
        if self._connection is None:
            self._connection = openai.OpenAI(
                api_key=self._key or KEYLESS,
                base_url=self.base_url,
                timeout=openai.Timeout(self._timeout, connect=min(CONNECT_TIMEOUT, self._timeout)),
                max_retries=0,
                http_client=openai.DefaultHttpxClient(event_hooks=hooks(openai, self.base_url)),
            )
        return self._connection

    def _names(self) -> list[str]:
        """The models that the server offers, as far as it tells."""
        openai = _openai()
        client = self._client(openai)

        def names() -> list[str]:
            listed = client.models.list().data
            return [str(model.id)[:MAX_MODEL] for model in listed[:MOST_LISTED]]

        known = (openai.OpenAIError, *_transport_errors(), ValueError, AttributeError, TypeError)
        try:
            return self._in_time(NAMES_TIMEOUT, names)
        except (*known, LookupError, RecursionError, RequestError):
            return []


def api_key_from(environment: Mapping[str, str], name: str, required: bool) -> str | None:
    """The API key in a variable of the environment; None when there is none.

    Raises:
        InputError: if it is required and missing, or cannot be a key; it is not shown.
    """
    key = environment.get(name, "").strip()
    if key:
        return _checked_key(key, f"the API key in {name}")
    if required:
        raise InputError(
            f"the environment has no variable {name}; set it to the API key, or leave "
            "--api-key-env away for a server that needs none"
        )
    return None


def _checked_key(key: str, what: str) -> str:
    if not key.isascii() or not key.isprintable() or " " in key:
        raise InputError(f"{what} holds a space or another character that no key has; copy it anew")
    return key


def _address(base_url: str) -> str:
    problem = (
        "the base URL must be an http(s) address such as http://localhost:11434/v1, without a user "
        "name, password or question mark; a key is read from the environment"
    )
    try:
        parts = urlsplit(base_url.strip())
        usable = parts.scheme in ("http", "https") and bool(parts.hostname)
        _ = parts.port
    except ValueError as error:
        raise InputError(problem) from error
    secret = "@" in parts.netloc or parts.query or parts.fragment
    if not usable or secret or not base_url.strip().isprintable() or " " in base_url.strip():
        raise InputError(problem)
    return base_url.strip().rstrip("/")


def _openai() -> Any:
    try:
        import openai
    except ImportError as error:
        raise InputError(
            'asking a language model needs the openai package: pip install "sdmad[llm]"'
        ) from error
    return openai


def _transport_errors() -> tuple[type[Exception], ...]:
    """What older versions of the client let through from the library below them."""
    below = [sys.modules.get(name) for name in ("httpx", "httpx2")]
    return tuple(module.HTTPError for module in below if module is not None)


def _response_format(schema: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "type": "json_schema",
        "json_schema": {"name": "sentences", "strict": True, "schema": dict(schema)},
    }


def _read(stream: Any, key: str | None) -> str:
    """Collect a streamed answer."""
    pieces: list[str] = []
    length, finish = 0, None
    for chunk in stream:
        choices = getattr(chunk, "choices", None)
        if not isinstance(choices, list) or not choices:
            continue
        finish = getattr(choices[0], "finish_reason", None) or finish
        delta = getattr(choices[0], "delta", None)
        refusal, content = getattr(delta, "refusal", None), getattr(delta, "content", None)
        thought = getattr(delta, "reasoning_content", None) or getattr(delta, "reasoning", None)
        if refusal:
            raise RequestError.refused(str(refusal), key)
        length += len(str(thought or "")) + len(str(content or ""))
        if length > MAX_ANSWER:
            raise RequestError.endless(MAX_ANSWER)
        if isinstance(content, str):
            pieces.append(content)
    text = "".join(pieces).encode("utf-8", "replace").decode("utf-8")
    if finish == "length":
        raise RequestError.too_long()
    if finish == "content_filter":
        raise RequestError.refused("its content filter stopped the answer", key)
    if finish is None:
        raise RequestError.cut(bool(text))
    if not text.strip():
        raise RequestError.empty()
    return text
