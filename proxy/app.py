"""The application, put together: what depends on what is all here."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from functools import partial
from typing import Final

from litestar import Litestar
from litestar.datastructures import State
from litestar.handlers import HTTPRouteHandler

from proxy.admission.gate import Allowance
from proxy.admission.shared_gate import SharedGate, gate_name
from proxy.admission.shield import Shield
from proxy.callers.limiter import Limiter
from proxy.events.events import Events
from proxy.events.hearing import Pace
from proxy.fetch import Fetcher, Upstream
from proxy.hub.client import Hub, Transport
from proxy.hub.credential import Credential, Credentials
from proxy.known.encoder import Encoder
from proxy.known.knowledge import Knowledge
from proxy.known.memory import Memory
from proxy.pages import Pages
from proxy.redis.client import Client, connect
from proxy.redis.landings import Landings
from proxy.redis.leases import Leases
from proxy.redis.link import RedisLink
from proxy.redis.news import News
from proxy.redis.shared import Shared
from proxy.redis.variants import SharedVariants
from proxy.settings import RedisSettings, Settings
from proxy.siblings import Siblings
from proxy.tasks.detached import drained
from proxy.web.admin import admin_handlers
from proxy.web.asking import Asking
from proxy.web.authentication import Authentication
from proxy.web.cors import with_cors
from proxy.web.edge import refused_by_server, with_bounds, with_edge
from proxy.web.events import events_handler
from proxy.web.express.lane import Express, with_express
from proxy.web.express.wire import WIRE, Wire
from proxy.web.health import Readiness, health_handlers
from proxy.web.limits import Limits
from proxy.web.observing import Observing
from proxy.web.problems import EXCEPTION_HANDLERS
from proxy.web.protocol import REFUSED
from proxy.web.request_ids import request_ids
from proxy.web.routes import api_handlers
from proxy.web.telemetry.event import Sink, log_requests
from proxy.web.telemetry.state_metrics import Parts

CLOSING: Final = 2.0
"""Seconds that hub requests still under way are given when the application ends."""
TELLING: Final = 1.0
"""Seconds that Redis is then given to hear of what they came to."""
ENDING: Final = 10.0
"""Seconds in which the application has ended, also where the hub, Redis and a collector of traces hang."""


def create_app(  # noqa: PLR0915  what depends on what is all here
    settings: Settings,
    *,
    transport: Transport | None = None,
    redis: Client | None = None,
    clock: Callable[[], float] = time.time,
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
        clock: Unix seconds.
        pace: of the subscription to the hub's events, in place of the usual.
        readiness: to be turned false by whoever is about to stop the server.
        sinks: what is told of each request.
        on_startup: called in the running event loop before the first request.
        siblings: this worker's way to the others behind the same port.
        handlers: of further paths.

    Raises:
        TokenFault: there is no usable token for the hub.
    """
    readiness = readiness or Readiness()
    credentials = Credentials(settings.hub)
    rows_bytes = settings.cache.memory_bytes // 2 if settings.cache.compose else 0
    memory = Memory(settings.cache.memory_bytes - rows_bytes)
    link = _link(settings.redis, redis)
    shared = None if link is None else Shared(link)
    news = None if link is None else News(link)
    knowledge = Knowledge(settings.cache, memory, shared, news, rows_bytes=rows_bytes, clock=clock)

    upstreams = {
        credential.name: Upstream(
            Hub(settings.hub, credential, transport=transport, clock=clock), _shield(settings, credential, link, news)
        )
        for credential in credentials.all
    }

    authentication = Authentication(settings, clock=clock)
    counted = partial(_replicas, settings, news)
    limits = Limits(settings.limits, Limiter(link, replicas=counted))
    encoder = Encoder(memory, None if link is None else SharedVariants(link, settings.cache, clock=clock))
    landings = Landings()
    leases = None if link is None else Leases(link)
    fetcher = Fetcher(upstreams, knowledge, leases, landings, deadline=settings.hub.deadline, clock=clock)
    pages = Pages(settings.cache, settings.hub, knowledge, fetcher, clock=clock)
    express = Express(pages, limits, credentials.all, readiness, settings.cors.origins)
    ids = request_ids()
    if news is not None:
        news.topics[b"landed"] = landings.hear
        news.topics[b"learned"] = partial(_hear_learned, knowledge, landings)
        news.topics[b"room"] = partial(_make_room, upstreams)
        news.on_gap.append(landings.wake_all)
    events = Events(
        settings,
        credentials,
        upstreams,
        pages,
        knowledge,
        link,
        news,
        transport=transport,
        pace=pace,
        clock=clock,
    )
    readiness.on_draining.append(events.feed.close)

    parts = Parts(upstreams, fetcher, pages, memory, readiness, knowledge, events, link, counted)
    observing = Observing(settings, parts, sinks, siblings, clock=clock)

    @asynccontextmanager
    async def lifespan(_: Litestar) -> AsyncIterator[None]:
        async with AsyncExitStack() as ending:  # from the last line up; a fault in one does not keep the rest from it
            ending.push_async_callback(observing.aclose, CLOSING)
            if link is not None:
                ending.push_async_callback(link.aclose)
            if news is not None:
                ending.push_async_callback(news.aclose)
            for one in upstreams.values():
                ending.push_async_callback(one.hub.aclose)
            ending.push_async_callback(observing.withdraw)
            ending.push_async_callback(authentication.aclose)
            shields = (one.shield for one in upstreams.values())
            ending.push_async_callback(drained, TELLING, fetcher, knowledge, knowledge.purging, *shields)
            ending.push_async_callback(drained, CLOSING, pages, encoder)
            ending.push_async_callback(events.aclose)
            ending.push_async_callback(fetcher.release)  # at once: who waits for this process elsewhere goes on
            if news is not None:
                news.start()
            await observing.start()
            events.start()
            yield

    asking = Asking(pages, encoder, authentication, limits, express, live_ttl=settings.cache.live_ttl)
    app = Litestar(
        route_handlers=[
            *api_handlers(asking, credentials),
            events_handler(events, authentication, limits, credentials),
            *admin_handlers(knowledge.purging, settings.admin.key, alone=link is None and counted() == 1),
            *health_handlers(fetcher, link, readiness),
            *observing.handlers,
            *handlers,
        ],
        exception_handlers=EXCEPTION_HANDLERS,
        lifespan=[lifespan],
        on_startup=on_startup,
        state=State({REFUSED: refused_by_server(observing.sinks, ids), "observing": observing}),
        logging_config=None,
        openapi_config=None,
    )
    # Litestar's middleware runs behind its router and sees neither 404 nor 405; the edge stands before it.
    inner = with_cors(with_bounds(with_express(app.asgi_handler, express)), settings.cors.origins)
    app.asgi_handler = with_edge(inner, observing.sinks, readiness, ids, observing.tracer)
    if observing.tracer is None:  # a span wants the whole way
        app.state[WIRE] = Wire(express, ids, observing.sinks, origins=bool(settings.cors.origins))
    return app


def _link(settings: RedisSettings, client: Client | None) -> RedisLink | None:
    if client is None and settings.url is not None:
        client = connect(settings.url)
    return None if client is None else RedisLink(client, settings.timeout, settings.connections)


def _shield(settings: Settings, credential: Credential, link: RedisLink | None, news: News | None) -> Shield:
    def name() -> str:
        credential.token()  # looks whether it has been renewed, which ends the pause of one that was refused
        return gate_name(credential.id, settings.hub.url)

    return Shield(
        Allowance(settings.hub.rate, settings.hub.burst, settings.hub.concurrency, reach=settings.hub.deadline),
        None if link is None else SharedGate(link),
        gate_name=name,
        replicas=lambda: _replicas(settings, news),
    )


def _hear_learned(knowledge: Knowledge, landings: Landings, news: bytes) -> None:
    record, _, landing = news.partition(b"\n")
    landings.hear(landing)  # first: who waits for it looks into Redis even if this record cannot be read here
    knowledge.hear_record(record)


def _make_room(upstreams: Mapping[str, Upstream], gate: bytes) -> None:
    for one in upstreams.values():
        one.shield.make_room(gate)


def _replicas(settings: Settings, news: News | None) -> int:
    """How many processes share budget and limits, as far as is known."""
    configured = settings.redis.replicas * settings.server.workers
    return configured if news is None else news.processes(configured)
