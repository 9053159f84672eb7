"""One frozen event for each request, and what is made of it."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Final, TypeAlias

from msgspec import Struct

_log: Final = logging.getLogger("proxy.access")


class RequestEvent(Struct, frozen=True):
    """A request that has been answered.

    Attributes:
        request_id: as in the answer's X-Request-Id.
        method: of the request; ``other`` for one that HTTP does not define.
        caller: who asked; ``-`` if that is not known.
        path: of the request, shortened.
        status: of the answer; 0 if the caller got none.
        outcome: ``hit``, ``stale``, ``miss``, ``joined``; an error's type; ``-`` for anything else.
        seconds: from the request's head to the answer's end.
    """

    request_id: str
    method: str
    caller: str
    path: str
    status: int
    outcome: str
    seconds: float


Sink: TypeAlias = Callable[[RequestEvent], None]


def log_request(event: RequestEvent) -> None:
    """Write the event as one line of ``key=value``; the query is left out, as it may hold names."""
    _log.info(
        "id=%s method=%s caller=%s path=%s status=%d outcome=%s ms=%.1f",
        event.request_id,
        event.method,
        event.caller,
        event.path,
        event.status,
        event.outcome,
        event.seconds * 1000,
    )
