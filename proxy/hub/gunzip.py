"""gzip undone as it comes, within bounds."""

from __future__ import annotations

import zlib
from typing import Final

MEMBER_COST: Final = 1024
"""Bytes as which each further member of a gzip counts, so that empty ones without end have an end."""
_MAGIC: Final = b"\x1f\x8b"


class Gunzip:
    """Undoes gzip, of one member or several (RFC 1952 §2.2).

    Attributes:
        extra: bytes that count though they are none of the body: what follows the last member, MEMBER_COST for each.
    """

    def __init__(self) -> None:
        self._member = zlib.decompressobj(wbits=31)
        self._held = b""
        self._over = False
        self.extra = 0

    @property
    def complete(self) -> bool:
        """Whether a member has ended, and no other begun."""
        return self._member.eof

    def feed(self, chunk: bytes, most: int) -> bytes:
        """Decode what has come: at most so many bytes, after which there may be more that is lost.

        Raises:
            zlib.error: it is no gzip.
        """
        data, body = self._held + chunk, bytearray()
        self._held = b""
        while data and len(body) < most:
            if self._over or (self.complete and not _MAGIC.startswith(data[:2])):
                self._over = True
                self.extra += len(data)
                break
            if self.complete:
                if len(data) < len(_MAGIC):
                    self._held = data
                    break
                self._member = zlib.decompressobj(wbits=31)
                self.extra += MEMBER_COST
            body += self._member.decompress(data, most - len(body))
            data = self._member.unused_data
        return bytes(body)
