"""Content codings: which of them a caller accepts (RFC 9110 §12.5.3), and how a body is written in them. Pure.

An encoded page is a representation of its own, with a strong entity tag of its own (RFC 9110 §8.8.3): the page's, with
the coding's name at its end.
"""

from __future__ import annotations

import re
import threading
import zlib
from collections.abc import Iterable
from typing import Final, Literal, TypeAlias

import zstandard

from proxy.tasks.off_loop import OFF_LOOP_BYTES

Coding: TypeAlias = Literal["zstd", "gzip"]
CODINGS: Final[tuple[Coding, ...]] = ("zstd", "gzip")
"""Those in which pages are sent; the first is smaller and made faster, and so is taken where a caller likes both."""
MIN_BODY: Final = 1024
"""Bytes from which a body is worth encoding: a smaller one is sent in one packet anyway."""
GZIP_LEVEL: Final = 3
"""Half of level 6's time for an eighth more bytes (a page of 50 rows: 150 µs, 7.6 KB; level 6: 340 µs, 6.7 KB)."""
ZSTD_LEVEL: Final = 1
"""31 µs, 6.5 KB for the same page. Level 3 takes 39 µs for no less, and where its larger tables are in no cache of the
processor, as between two misses, two and a half times as long."""
_ELEMENT: Final = re.compile(r"([!#$%&'*+\-.^_`|~0-9a-z]+)(?:[ \t]*;[ \t]*q=(0(?:\.[0-9]{0,3})?|1(?:\.0{0,3})?))?")


def preferred_coding(accept_encoding: Iterable[str]) -> Coding | None:
    """The coding that a caller likes best who sent these Accept-Encoding header values.

    None is identity: where the caller likes it better or accepts nothing else that is made here, and where it accepts
    nothing at all, as an answer that can be read beats a 406 (RFC 9110 §12.5.3 allows both). ``*`` is taken to mean
    gzip, which everybody reads. An element that cannot be read counts for nothing.
    """
    weights: dict[str, float] = {}
    for value in accept_encoding:
        for element in value.lower().split(","):
            if found := _ELEMENT.fullmatch(element.strip(" \t")):
                name = found[1].removeprefix("x-")  # x-gzip is gzip (RFC 9110 §8.4.1.3)
                weights[name] = max(float(found[2] or 1), weights.get(name, 0.0))
    weights.setdefault("gzip", weights.get("*", 0.0))
    best = max(CODINGS, key=lambda coding: weights.get(coding, 0.0))  # of equals, the first
    weight = weights.get(best, 0.0)
    return best if weight > 0 and weight >= weights.get("identity", 0.0) else None


def worthwhile_coding(coding: Coding | None, body: bytes) -> Coding | None:
    """The coding for a body, of which the caller likes ``coding`` best: none for a small one."""
    return coding if len(body) >= MIN_BODY else None


def variant_etag(etag: str, coding: Coding | None) -> str:
    """The entity tag of a page in this coding, from that of the page itself."""
    return etag if coding is None else f'{etag[:-1]}-{coding}"'


def encode(body: bytes, coding: Coding) -> bytes:
    """The body in a coding.

    A zstd frame says how long its content is, which keeps its window below RFC 9659's 8 MB, and has a checksum.
    """
    if coding == "gzip":
        return zlib.compress(body, GZIP_LEVEL, wbits=31)
    return (_kept.compressor if len(body) <= OFF_LOOP_BYTES else _compressor()).compress(body)


def decode(frame: bytes, size: int) -> bytes:
    """The body of ``size`` bytes in a zstd frame.

    Raises:
        ZstdError: it is none.
    """
    return (_kept.decompressor if size <= OFF_LOOP_BYTES else zstandard.ZstdDecompressor()).decompress(frame)


def _compressor() -> zstandard.ZstdCompressor:
    return zstandard.ZstdCompressor(level=ZSTD_LEVEL, write_checksum=True)


class _Kept(threading.local):
    """What each thread codes small bodies with: to make one takes longer than to use it.

    One that was used for a large body would stay as large.
    """

    def __init__(self) -> None:
        self.compressor = _compressor()
        self.decompressor = zstandard.ZstdDecompressor()


_kept: Final = _Kept()
