"""Errors that a person can act on.

The command line prints their message and exits; it never shows a traceback for them.
"""

import unicodedata

LONGEST = 2000
"""Characters of a message; what is longer quotes something without end."""


def readable(text: str) -> str:
    r"""Text that may quote a stranger's, on one line of bounded length.

    Control characters, lone surrogates and marks that turn the direction of writing become
    escapes; of too long a text the middle is left out.

    >>> print(readable("a\x1b[31m\nb"))
    a\x1b[31m\nb
    """
    text = _shortened(text)
    if text.isprintable():
        return text
    marks = (
        c if c.isprintable() or unicodedata.category(c) == "Zs" else ascii(c)[1:-1] for c in text
    )
    return _shortened("".join(marks))


def _shortened(text: str) -> str:
    half = LONGEST // 2
    return text if len(text) <= LONGEST else f"{text[: half - 3]} ... {text[2 - half :]}"


class SDMADError(Exception):
    """A mistake in what the user gave: says what is wrong, where, and how to mend it.

    Args:
        message: what a person reads; it becomes :func:`readable`.
    """

    def __init__(self, message: str) -> None:
        super().__init__(readable(message))


class InputError(SDMADError, ValueError):
    """An argument, a table, a sign bank or an image that cannot be used as it is."""


class NotFittedError(InputError, AttributeError):
    """A detector that was asked for what only a fit can tell."""


class ModelError(SDMADError, ValueError):
    """A model directory or a backbone that is incomplete, altered or does not fit."""


class WeightsMissingError(ModelError):
    """A backbone's weights are not on this machine; says where they are had and where they go."""


class MissingExtraError(ModelError):
    """An optional package is not installed; says how to install it."""
