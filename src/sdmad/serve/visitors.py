"""Who asks: settled once a request, before anything else is done."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

from fastapi import Depends, Request

from sdmad.choices import Role


@dataclass(frozen=True)
class Visitor:
    """Who asks.

    Attributes:
        reader: the name that readings are signed with.
        role: an admin may switch models and undo the readings of others.
        csrf: what a browser's change must carry; "" of a program, which shows its token itself.
        client: address that the request came from.
        key: whose requests count together.
    """

    reader: str
    role: Role
    csrf: str
    client: str
    key: str


def visitor_of(request: Request) -> Visitor:
    """Who asks, for a route; the gate has let nobody else in."""
    visitor = request.scope["state"]["visitor"]
    assert isinstance(visitor, Visitor)
    return visitor


TheVisitor = Annotated[Visitor, Depends(visitor_of)]
"""A parameter of a route that needs to know who asks."""
