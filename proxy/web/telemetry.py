"""One frozen event for each request, and what is made of it."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Final, TypeAlias

from msgspec import Struct

ACCESS: Final = "proxy.access"
"""The logger of requests."""
_log: Final = logging.getLogger(ACCESS)


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


def line_of(event: RequestEvent) -> str:
    """The event as one line of ``key=value``; the query is left out, as it may hold names."""
    return (
        f"id={event.request_id} method={event.method} caller={event.caller} path={event.path} status={event.status}"
        f" outcome={event.outcome} ms={event.seconds * 1000:.1f}"
    )


def log_request(event: RequestEvent) -> None:
    """Log the event in the ordinary way; ``Writing.later`` is cheaper."""
    _log.info("%s", line_of(event))


def shown(path: str) -> str:
    """A caller's path as a log may hold it: short, printable, without spaces."""
    return "".join(c if c.isprintable() and not c.isspace() else "?" for c in path[:100])
