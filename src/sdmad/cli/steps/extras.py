"""Commands that need libraries which the package does not bring by itself."""

from __future__ import annotations

from collections.abc import Iterable
from importlib import import_module

from sdmad.errors import MissingExtraError


def require(extra: str, what: str, modules: Iterable[str]) -> None:
    """Refuse to go on without the libraries of an extra.

    Args:
        extra: of this package, which brings them.
        what: needs them, for the error.
        modules: their names.

    Raises:
        MissingExtraError: names the first that is not installed, and what to install.
    """
    for module in modules:
        try:
            import_module(module)
        except ImportError as error:
            raise MissingExtraError(
                f'{what} needs {module}, which is not installed: pip install "sdmad[{extra}]"'
            ) from error
