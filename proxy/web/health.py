"""Health: whether the process lives, and whether it should be sent requests."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final, Literal

import msgspec
from litestar import Request, Response
from litestar.handlers import HTTPRouteHandler
from msgspec import Struct

from proxy.fetch import Fetcher
from proxy.redis.link import RedisLink, State
from proxy.web.handlers import get_handler, respond

LIVE_PATH: Final = "/health/live"
READY_PATH: Final = "/health/ready"


class Readiness:
    """Whether this process wants requests; turned false before it stops listening.

    Attributes:
        on_draining: called when it is.
    """

    def __init__(self) -> None:
        self.draining = False
        self.on_draining: list[Callable[[], object]] = []

    def drain(self) -> None:
        """This process is about to end."""
        self.draining = True
        for tell in self.on_draining:
            tell()


class LiveResponse(Struct):
    """The process runs and its event loop turns."""

    status: Literal["live"] = "live"


class RedisHealth(Struct):
    """``off`` without a Redis, else what the last calls to it say; faults by kind since the start."""

    state: Literal["off", State]
    faults: dict[str, int]


class ReadyResponse(Struct):
    """Hub and Redis are reported, but do not decide: without them the proxy still answers what it can.

    ``hub`` is ``unknown`` before the first request to it, then ``ok`` or the last error's type. ``credentials`` says
    that of each of its tokens by name; ``hub`` is the worst of them.
    """

    status: Literal["ready", "draining"]
    hub: str
    credentials: dict[str, str]
    redis: RedisHealth


_WELL: Final = ("ok", "unknown")


def health_handlers(fetcher: Fetcher, redis: RedisLink | None, readiness: Readiness) -> list[HTTPRouteHandler]:
    """Handlers of the two probes."""

    @get_handler(LIVE_PATH)
    async def live(request: Request[Any, Any, Any]) -> Response[bytes]:
        return _answer(request, 200, LiveResponse())

    @get_handler(READY_PATH)
    async def ready(request: Request[Any, Any, Any]) -> Response[bytes]:
        health = RedisHealth("off", {}) if redis is None else RedisHealth(redis.state, dict(redis.faults))
        states = fetcher.hub_states
        worst = max(states.values(), key=lambda state: (state not in _WELL, state == "ok"))
        if readiness.draining:
            return _answer(request, 503, ReadyResponse("draining", worst, dict(states), health))
        return _answer(request, 200, ReadyResponse("ready", worst, dict(states), health))

    return [live, ready]


def _answer(request: Request[Any, Any, Any], status: int, content: Struct) -> Response[bytes]:
    return respond(request, status, {"cache-control": "no-store"}, msgspec.json.encode(content))
