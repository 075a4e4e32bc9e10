"""Errors that a person can act on.

The command line prints their message and exits; it never shows a traceback for them.
"""

from sdmad.text import readable


class SDMADError(Exception):
    """A mistake in what the user gave: says what is wrong, where, and how to mend it.

    Args:
        message: what a person reads; made ``sdmad.text.readable``.
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
