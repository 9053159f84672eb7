"""The application: what answers questions (``core``), behind HTTP."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Final

from litestar import Litestar
from litestar.datastructures import State
from litestar.handlers import HTTPRouteHandler

from proxy.callers.limiter import Limiter
from proxy.core import Core, make_core
from proxy.events.hub_subscriber import Pace
from proxy.hub.client import Transport
from proxy.redis.client import Client
from proxy.settings import Settings
from proxy.siblings import Siblings
from proxy.tasks.detached import drain_all
from proxy.web.admin import admin_handlers
from proxy.web.asking import Asking
from proxy.web.authentication import Authentication
from proxy.web.cors import with_cors
from proxy.web.credentials import current_key
from proxy.web.edge import refused_by_server, with_bounds, with_edge, with_end
from proxy.web.events import events_handler
from proxy.web.express.lane import Express, with_express
from proxy.web.express.wire import WIRE, Wire
from proxy.web.health import Readiness, health_handlers
from proxy.web.limits import Limits
from proxy.web.observability import Observability
from proxy.web.problems import EXCEPTION_HANDLERS
from proxy.web.protocol import REFUSED
from proxy.web.request_ids import request_ids
from proxy.web.routes import api_handlers
from proxy.web.telemetry.event import Sink, log_requests

DRAIN_TIMEOUT: Final = 2.0
"""Seconds that hub requests still under way are given when the application ends."""
REPORT_TIMEOUT: Final = 1.0
"""Seconds that are then given to reports to Redis of what they came to."""
SHUTDOWN_TIMEOUT: Final = 10.0
"""Seconds in which the application has ended, also where the hub, Redis and a collector of traces hang."""


def create_app(
    settings: Settings,
    *,
    transport: Transport | None = None,
    redis: Client | None = None,
    clock: Callable[[], float] = time.time,
    monotonic: Callable[[], float] = time.monotonic,
    pace: Pace | None = None,
    readiness: Readiness | None = None,
    sinks: Sequence[Sink] = (log_requests,),
    on_startup: Sequence[Callable[[], None]] = (),
    siblings: Siblings | None = None,
    handlers: Sequence[HTTPRouteHandler] = (),
) -> Litestar:
    """Make the ASGI application.

    Args:
        settings: all of them, checked.
        transport: how the hub is reached, in place of the network.
        redis: a client in place of one for ``settings.redis.url``; closed with the application.
        clock: Unix seconds; may step.
        monotonic: seconds that do not.
        pace: of the subscription to the hub's events, in place of the usual.
        readiness: to be turned false by whoever is about to stop the server.
        sinks: what is told of each request.
        on_startup: called in the running event loop before the first request.
        siblings: this worker's way to the others behind the same port.
        handlers: of further paths.

    Raises:
        TokenFault: there is no usable token for the hub, or no key in a file that is to hold one.
    """
    readiness = readiness or Readiness()
    core = make_core(settings, transport=transport, redis=redis, pace=pace, clock=clock, monotonic=monotonic)
    readiness.on_draining.append(core.events.feed.close)
    authentication = Authentication(settings, clock=clock)
    limits = Limits(settings.limits, Limiter(core.link, replicas=core.replicas))
    origins, half = settings.cors.origins, settings.cache.memory_bytes // 2
    express = Express(core.pages, limits, core.credentials.all, readiness, origins, limit=half)
    operators = current_key(settings.admin, "operator's key")
    observability = Observability(settings, core, readiness, sinks, siblings, operators, clock=clock)
    ids = request_ids()
    alone = core.link is None and core.replicas() == 1
    asking = Asking(core.pages, core.encoder, authentication, limits, express, live_ttl=settings.cache.live_ttl)
    app = Litestar(
        route_handlers=[
            *api_handlers(asking, core.credentials),
            events_handler(core.events, authentication, limits, core.credentials),
            *admin_handlers(core.knowledge.invalidations.purged, operators, redis=core.link is not None, alone=alone),
            *health_handlers(core.fetcher, core.link, readiness),
            *observability.handlers,
            *handlers,
        ],
        exception_handlers=EXCEPTION_HANDLERS,
        lifespan=[lambda _: _lifespan(core, authentication, observability)],
        on_startup=on_startup,
        state=State({REFUSED: refused_by_server(observability.sinks, ids), "observability": observability}),
        logging_config=None,
        openapi_config=None,
    )
    # Litestar's middleware runs behind its router and sees neither 404 nor 405; the edge stands before it.
    inner = with_cors(with_end(with_bounds(with_express(app.asgi_handler, express)), readiness), origins)
    app.asgi_handler = with_edge(inner, observability.sinks, readiness, ids, observability.tracer)
    if observability.tracer is None:  # a span wants the whole way
        app.state[WIRE] = Wire(express, ids, observability.sinks, origins=bool(origins))
    return app


@asynccontextmanager
async def _lifespan(core: Core, authentication: Authentication, observability: Observability) -> AsyncIterator[None]:
    """Start what runs beside requests, and end it all."""
    async with AsyncExitStack() as ending:  # from the last line up; a fault in one does not keep the rest from it
        ending.push_async_callback(observability.aclose, DRAIN_TIMEOUT)
        if core.link is not None:
            ending.push_async_callback(core.link.aclose)
        if core.news is not None:
            ending.push_async_callback(core.news.aclose)
        if core.census is not None:
            ending.push_async_callback(core.census.aclose)
        for one in core.upstreams.values():
            ending.push_async_callback(one.hub.aclose)
        ending.push_async_callback(observability.withdraw)
        ending.push_async_callback(authentication.aclose)
        shields = (one.shield for one in core.upstreams.values())
        ending.push_async_callback(
            drain_all, REPORT_TIMEOUT, core.fetcher, core.knowledge, core.knowledge.invalidations, *shields
        )
        ending.push_async_callback(drain_all, DRAIN_TIMEOUT, core.pages, core.encoder)
        ending.push_async_callback(core.events.aclose)
        ending.push_async_callback(core.fetcher.release)  # at once: who waits for this process elsewhere goes on
        if core.census is not None:
            await core.census.count()  # before anything is asked for: what time it is
            core.census.start()
        if core.news is not None:
            core.news.start()
        await observability.start()
        core.events.start()
        yield
