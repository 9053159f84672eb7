"""A string that does not show itself."""

from __future__ import annotations

import hmac
from typing import Final

MASK: Final = "********"


class Secret:
    """Holds a secret from parsing to use; ``str``, ``repr`` and formatting show a mask.

    The one way to the text is :meth:`reveal`, so that every use can be found by searching for it.
    """

    __slots__ = ("_text",)

    def __init__(self, text: str) -> None:
        self._text = text

    def reveal(self) -> str:
        """Return the secret itself."""
        return self._text

    def encoded(self) -> bytes:
        """Return the secret's bytes, whatever they were read from."""
        return self._text.encode("utf-8", "surrogateescape")

    def __str__(self) -> str:
        return MASK

    def __repr__(self) -> str:
        return f"Secret({MASK!r})"

    def __bool__(self) -> bool:
        return bool(self._text)

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Secret):
            return NotImplemented
        return hmac.compare_digest(self.encoded(), other.encoded())

    def __hash__(self) -> int:
        return hash(self._text)
