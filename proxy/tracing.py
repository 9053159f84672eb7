"""Trace contexts (W3C Trace Context, level 1): taken from callers, continued, and passed to the hub.

A caller's header reaches nobody as it came. What it says is read strictly, a span of our own is put under it, and the
hub is told of that span. ``tracestate`` is free text of strangers, and is neither read nor passed on.
"""

from __future__ import annotations

import random
import re
import secrets
from contextvars import ContextVar
from typing import Final

from msgspec import Struct

HEADER: Final = "traceparent"
_VERSION_0: Final = re.compile(r"00-([0-9a-f]{32})-([0-9a-f]{16})-([0-9a-f]{2})", re.ASCII)
_SAMPLED: Final = 1


class Trace(Struct, frozen=True):
    """Where a request belongs: its trace, its own span and the caller's, if there is one. Ids are in lower-case hex.

    ``sampled``: the trace is kept, so spans are worth sending.
    """

    trace_id: str
    span_id: str
    parent_id: str | None
    sampled: bool

    def child(self) -> Trace:
        """A span under this one."""
        return Trace(self.trace_id, _span_id(), self.span_id, self.sampled)

    @property
    def traceparent(self) -> str:
        """What whoever is asked on behalf of this request is told."""
        return f"00-{self.trace_id}-{self.span_id}-{self.sampled:02x}"


current: Final[ContextVar[Trace | None]] = ContextVar("trace", default=None)
"""The trace of the request that is being answered; tasks that it starts inherit it. None: there is no tracing."""


def begin(traceparents: list[str], ratio: float) -> Trace:
    """The trace of a request with these ``traceparent`` headers; a new one, kept with this probability, unless it fits.

    Exactly one header of version 00 counts, with ids that are not all zeros (W3C Trace Context §3.2).
    """
    found = _VERSION_0.fullmatch(traceparents[0]) if len(traceparents) == 1 else None
    span_id = _span_id()
    if found is not None and int(found[1], 16) and int(found[2], 16):
        return Trace(found[1], span_id, found[2], bool(int(found[3], 16) & _SAMPLED))
    sampled = random.random() < ratio  # noqa: S311  not for cryptography
    return Trace(f"{secrets.randbits(128) or 1:032x}", span_id, None, sampled)


def _span_id() -> str:
    return f"{secrets.randbits(64) or 1:016x}"
