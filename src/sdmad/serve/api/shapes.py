"""The shapes of what is asked and answered."""

from __future__ import annotations

from pydantic import BaseModel


class Progress(BaseModel):
    """How far some work is."""

    done: int
    total: int


class Health(BaseModel):
    """What the server says of itself."""

    status: str
    version: str
    models: int
    scoring: Progress
