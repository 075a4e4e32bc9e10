"""Secrets that a client shows: made at random, compared in constant time, kept as hashes."""

from __future__ import annotations

import hashlib
import hmac
import secrets
from dataclasses import dataclass, field


def new_secret() -> str:
    """256 random bits as text that an address can carry."""
    return secrets.token_urlsafe(32)


def digest(secret: str) -> str:
    """SHA-256 of a secret, which tells nothing of it, as 64 hex digits."""
    return hashlib.sha256(secret.encode("utf-8", "surrogateescape")).hexdigest()


@dataclass(frozen=True)
class StartToken:
    """The secret in the address that is printed when the server starts."""

    text: str = field(default_factory=new_secret, repr=False)

    def matches(self, shown: str) -> bool:
        """Whether a client knows it."""
        return hmac.compare_digest(digest(self.text), digest(shown))
