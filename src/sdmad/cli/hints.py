"""What to write instead: the nearest choice, and the new name of what was renamed."""

from __future__ import annotations

import difflib
import re
from typing import Any

import typer
from typer.core import TyperCommand

RENAMED = {
    "demo": {"--modality": "MODALITY without an option, as in: sdmad demo chest"},
    "predict": {"--format": "--json for JSON lines; without it CSV is written"},
    "phantom": {"--images": "--count"},
    "signs check": {"--images": "--labels"},
    "signs stress": {"--data": "--labels"},
    "signs generate": {
        "--modality": 'MODALITY without an option, as in: sdmad signs generate "brain MRI" Glioma',
        "--categories": "CATEGORY... without an option, behind MODALITY",
    },
}
"""By command: options of earlier versions, and what stands in their place."""


class Command(TyperCommand):
    """A command whose errors name what was probably meant."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Read the arguments."""
        for old, new in RENAMED.get(ctx.command_path.removeprefix("sdmad "), {}).items():
            if any(given.partition("=")[0] == old for given in args):
                ctx.fail(f"{old} is now {new}")
        try:
            return super().parse_args(ctx, args)
        except typer.BadParameter as error:
            error.message = with_nearest(error.message)
            if getattr(error.param, "name", "") == "data":
                error.message += " A folder is given with --root, a label table with --labels."
            raise


def with_nearest(message: str) -> str:
    """Add the nearest choice to typer's message on a wrong one.

    >>> with_nearest("'f32' is not one of 'float32', 'bfloat16', 'auto'.")
    "'f32' is not one of 'float32', 'bfloat16', 'auto'. Did you mean 'float32'?"
    """
    message = message.removeprefix("Value error, ")
    said, found, choices = message.partition(" is not one of ")
    near = difflib.get_close_matches(said.strip("'"), re.findall(r"'([^']*)'", choices), n=1)
    return f"{message.rstrip('.')}. Did you mean {near[0]!r}?" if found and near else message
