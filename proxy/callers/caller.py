"""Who asks, and what they may see. Pure."""

from __future__ import annotations

import hashlib
import secrets
from collections.abc import Iterable, Mapping
from typing import Final

from msgspec import Struct

from proxy.errors import Forbidden
from proxy.settings import CallerSettings

EVERY: Final = "*"
"""The grant of all namespaces."""
PREFIX: Final = "gp_"
"""What a key begins with, so that people and scanners of repositories know it for one."""


class Caller(Struct, frozen=True):
    """Somebody who may ask.

    Attributes:
        name: for logs and limits; not a secret.
        namespaces: that may be named, exactly as here; ``*``: all.
        unnamed: whether a question may leave the namespace out, which means the hub token's own.
        rate, burst: what it may ask, if that is not what everybody may.
    """

    name: str
    namespaces: frozenset[str]
    unnamed: bool = False
    rate: float | None = None
    burst: float | None = None

    def permit(self, namespace: str | None) -> None:
        """Return if a question with this namespace may be asked.

        Nothing is looked up, here or before: the answer is the same whether there is such a namespace or not.

        Raises:
            Forbidden: it may not.
        """
        if namespace is None:
            if not self.unnamed:
                raise Forbidden("Name a namespace: this caller may not leave it out.")
        elif EVERY not in self.namespaces and namespace not in self.namespaces:
            raise Forbidden(f"The namespace {namespace!r} is not granted to this caller.")

    @property
    def sees_all(self) -> bool:
        """Whether generations of every namespace may be shown, and those of none."""
        return EVERY in self.namespaces

    def sees(self, namespace: str | None) -> bool:
        """Whether a generation of this namespace may be shown."""
        return self.sees_all or namespace in self.namespaces


ANONYMOUS: Final = Caller("anonymous", frozenset({EVERY}), unnamed=True)
"""Whoever asks where nobody has to say who they are."""


def by_digest(callers: Iterable[CallerSettings]) -> Mapping[str, Caller]:
    """All callers with keys, by the digests of these."""
    return {
        digest: Caller(caller.name, frozenset(caller.namespaces), caller.unnamed, caller.rate, caller.burst)
        for caller in callers
        for digest in caller.keys
    }


def digest(key: str) -> str:
    """What is kept of a key. Keys are random and long, so that a plain SHA-256 cannot be turned back.

    To look a digest up takes no time that tells of the key: who tries cannot choose the digest of what they send.
    """
    return f"sha256:{hashlib.sha256(key.encode('utf-8', 'surrogateescape')).hexdigest()}"


def make_key() -> str:
    """A new key of 256 random bits."""
    return PREFIX + secrets.token_urlsafe(32)
