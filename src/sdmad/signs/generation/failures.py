"""What a language model's server can do wrong, and what a person can do about it."""

from __future__ import annotations

import datetime
import difflib
import email.utils
import socket
import time
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

from sdmad.errors import SDMADError

MOST_QUOTED = 300
MOST_NAMES = 10
MOST_LISTED = 1000
_REJECTED = (400, 422)
_PASSING = (408, 409, 425, 429)
_TOO_MUCH = ("context length", "context_length", "too many tokens", "maximum context", "n_ctx")


class LanguageModelError(SDMADError):
    """A language model that gave no usable answer: says what happened and what to do."""


class RequestError(Exception):
    """One failed request.

    Attributes:
        passing: trying again later may help.
        retry_after: seconds that the server asks to wait, if it said so.
        rejected: the server did not like the request's form.
    """

    def __init__(
        self,
        message: str,
        passing: bool = False,
        retry_after: float | None = None,
        rejected: bool = False,
    ) -> None:
        super().__init__(message)
        self.passing = passing
        self.retry_after = retry_after
        self.rejected = rejected

    @classmethod
    def refused(cls, text: str, key: str | None) -> RequestError:
        """The model will not answer, and says this; the key is taken out of it."""
        return cls(
            f"the model refuses to answer ({_quoted(text, key)}); take another model or change the "
            "prompts (--prompts)"
        )

    @classmethod
    def endless(cls, limit: int) -> RequestError:
        """The model does not come to an end."""
        return cls(
            f"the answer did not end within {limit:,} characters; the model repeats itself or "
            "thinks without end, take another one"
        )

    @classmethod
    def overdue(cls, seconds: float) -> RequestError:
        """The answer as a whole took too long."""
        return cls(
            f"the answer did not end within {seconds:,.0f} s; the server keeps the line open, or "
            "the model is too large for it. Run again: what was answered so far is kept"
        )

    @classmethod
    def too_many_bytes(cls, limit: int) -> RequestError:
        """The server sends without end."""
        return cls(
            f"the server sent more than {limit:,} bytes at once, which no answer is long; mend "
            "--base-url"
        )

    @classmethod
    def compressed(cls) -> RequestError:
        """The server compresses, though it was asked not to."""
        return cls(
            "the server compresses its answer, though it was asked not to; turn this off, or mend "
            "--base-url"
        )

    @classmethod
    def sent_elsewhere(cls, address: str) -> RequestError:
        """The server redirects to another origin, which was not asked for."""
        return cls(
            f"the server redirects to {_quoted(address, None)}, which is not followed; give the "
            "address that you mean as --base-url"
        )

    @classmethod
    def tangled(cls) -> RequestError:
        """What the server sends is nested too deeply to be read."""
        return cls("the answer is nested too deeply to be one; mend --base-url")

    @classmethod
    def too_long(cls) -> RequestError:
        """The server stopped the answer at its limit of tokens."""
        return cls(
            "the server cut the answer off at its limit of tokens; raise that limit (Ollama: "
            "num_ctx and num_predict, vLLM: --max-model-len, llama.cpp: -c), or ask for fewer "
            "signs (--signs-per-category)"
        )

    @classmethod
    def cut(cls, begun: bool) -> RequestError:
        """The stream ended too early."""
        what = "broke off in the middle of its answer" if begun else "ended without an answer"
        return cls(
            f"the server {what}; look at its log, and whether the base URL is that of its "
            "OpenAI-compatible interface. Run again: what was answered so far is kept",
            passing=True,
        )

    @classmethod
    def empty(cls) -> RequestError:
        """The answer has no text."""
        return cls(
            "the answer is empty; a model that thinks may have used up its tokens, take another "
            "one or raise the server's limit",
            passing=True,
        )


def explain(
    error: Exception, model: str, key: str | None, names: Callable[[], list[str]]
) -> RequestError:
    """Turn an error of the ``openai`` client into a failure that a person understands.

    Args:
        error: what the client raised.
        model: the model that was asked for.
        key: the API key, which is taken out of what the server says.
        names: lists the server's models; asked when it does not know the one wanted.
    """
    own = next((link for link in _chain(error) if isinstance(link, RequestError)), None)
    if own is not None:
        return own
    status = getattr(error, "status_code", None)
    if isinstance(status, int):
        return _status_failure(
            error, status, _said(error, key), partial(_unknown, model, key, names)
        )
    if _caused_by(error, ConnectionRefusedError):
        return RequestError("nothing answers at this address; start the server, or mend --base-url")
    if _caused_by(error, socket.gaierror):
        return RequestError(
            "this address has no known host; mend --base-url, or look at the network"
        )
    if "Timeout" in type(error).__name__:
        return RequestError(
            "no answer in time; the model may be too large for this server, or it is busy. Run "
            "again: what was answered so far is kept",
            passing=True,
        )
    if isinstance(error, ValueError):
        return RequestError(
            "the answer is not in the OpenAI protocol; mend --base-url", passing=True
        )
    if type(error).__name__ == "APIError":  # an error event within the stream
        return RequestError(
            f"the server failed in the middle of its answer ({_said(error, key)})", True
        )
    return RequestError(
        f"the connection broke ({_quoted(_deepest(error), key)}); look at the server's log and at "
        "--base-url. Run again: what was answered so far is kept",
        passing=True,
    )


def hide(text: str, key: str | None) -> str:
    """The text without the API key."""
    return text.replace(key, "[API key]") if key else text


def retry_after(value: str | None, now: float) -> float | None:
    """Seconds to wait according to a ``Retry-After`` header (RFC 9110, 10.2.3).

    >>> retry_after("3", now=0)
    3.0
    >>> retry_after("Thu, 01 Jan 1970 00:00:05 GMT", now=0)
    5.0

    Args:
        value: a number of seconds or a date; None and nonsense give None.
        now: seconds since 1970, UTC.
    """
    if value is None:
        return None
    if value.strip().isdecimal() and len(value) < 10:
        return float(value)
    try:
        moment = email.utils.parsedate_to_datetime(value)
    except (ValueError, TypeError, LookupError, OverflowError):
        return None
    if moment.tzinfo is None:
        moment = moment.replace(tzinfo=datetime.UTC)
    return max(0.0, moment.timestamp() - now)


def _said(error: Any, key: str | None) -> str:
    """The server's own words, without what the client puts around them."""
    body = getattr(error, "body", None)
    message = body.get("message") if isinstance(body, dict) else body
    return _quoted(message or error, key)


def _status_failure(
    error: Any, status: int, words: str, unknown: Callable[[], str]
) -> RequestError:
    said = f"{status}: {words}"
    if status in (401, 403):
        return RequestError(
            f"the server refuses the API key, or there is none ({said}); set OPENAI_API_KEY, or "
            "the variable that --api-key-env names"
        )
    if status == 404:
        return RequestError(
            f"the server does not know this model, or has no chat at this address ({said}); "
            + unknown()
        )
    if status == 429 and "insufficient_quota" in f"{getattr(error, 'code', '')} {error}":
        return RequestError(f"the account has no quota left ({said}); look at the provider's page")
    if any(mark in str(error).casefold() for mark in _TOO_MUCH):
        return RequestError(
            f"the conversation is too long for the model ({said}); ask for fewer signs "
            "(--signs-per-category), shorten the prompts or raise the server's context length",
            rejected=status in _REJECTED,
        )
    if status in _PASSING or status >= 500:
        header = error.response.headers.get("retry-after")
        wait = retry_after(header, time.time())
        asked = f"; it asks to wait {wait:.0f} s" if wait is not None else ""
        what = "is busy" if status == 429 else "fails"
        return RequestError(
            f"the server {what} ({said}){asked}. Run again later: what was answered so far is kept",
            passing=True,
            retry_after=wait,
            rejected=status == 500 and "response_format" in str(error),
        )
    mend = "; try --temperature 1" if "temperature" in str(error) else ""
    return RequestError(
        f"the server rejects the request ({said}){mend}", rejected=status in _REJECTED
    )


def _unknown(model: str, key: str | None, names: Callable[[], list[str]]) -> str:
    """What to do about a model that is not there: the nearest that are."""
    near = difflib.get_close_matches(model, names(), MOST_NAMES, 0.0)
    if near:
        return f"it offers {_quoted(', '.join(near), key)}"
    return "mend --model or --base-url, which mostly ends in /v1"


def _quoted(value: object, key: str | None) -> str:
    """Foreign text on one line, of bounded length, without control characters or the key."""
    line = " ".join(hide(str(value), key).split())
    line = "".join(c if c.isprintable() else "?" for c in line)
    return line if len(line) <= MOST_QUOTED else line[: MOST_QUOTED - 1] + "…"


def _chain(error: BaseException) -> Iterator[BaseException]:
    seen: set[int] = set()
    at: BaseException | None = error
    while at is not None and id(at) not in seen:
        seen.add(id(at))
        yield at
        at = at.__cause__ or at.__context__


def _caused_by(error: BaseException, kind: type[BaseException]) -> bool:
    return any(isinstance(link, kind) for link in _chain(error))


def _deepest(error: BaseException) -> str:
    *_, last = _chain(error)
    return str(last) or type(last).__name__
