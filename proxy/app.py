"""The application, put together: what depends on what is all here."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from typing import Final

from litestar import Litestar

from proxy.credential import Credential
from proxy.hub import Hub, Transport
from proxy.knowledge import Knowledge
from proxy.memory import Memory
from proxy.news import News
from proxy.pages import Pages
from proxy.redis_link import Client, RedisLink, connect, subscriber
from proxy.settings import Settings
from proxy.shared import Shared
from proxy.web.admin import admin_handlers
from proxy.web.edge import with_edge
from proxy.web.health import Readiness, health_handlers
from proxy.web.problems import EXCEPTION_HANDLERS
from proxy.web.routes import api_handlers
from proxy.web.telemetry import Sink, log_request

CLOSING: Final = 2.0
"""Seconds that hub requests and stores still under way are given when the application ends."""


def create_app(
    settings: Settings,
    *,
    transport: Transport | None = None,
    redis: Client | None = None,
    clock: Callable[[], float] = time.time,
    readiness: Readiness | None = None,
    sinks: Sequence[Sink] = (log_request,),
    on_startup: Sequence[Callable[[], None]] = (),
) -> Litestar:
    """Make the ASGI application.

    Args:
        settings: all of them, checked.
        transport: how the hub is reached, in place of the network.
        redis: a client in place of one for ``settings.redis.url``; closed with the application.
        clock: Unix seconds.
        readiness: to be turned false by whoever is about to stop the server.
        sinks: what is told of each request.
        on_startup: called in the running event loop before the first request.

    Raises:
        TokenFault: there is no usable token for the hub.
    """
    readiness = readiness or Readiness()
    credential = Credential(settings.hub)
    if redis is None and settings.redis.url is not None:
        redis = connect(settings.redis, settings.redis.url)
    memory = Memory(settings.cache.memory_bytes)
    link = None if redis is None else RedisLink(redis, settings.redis.timeout)
    shared = None if link is None else Shared(link)
    news = None if link is None else News(subscriber(link.client), on_news=memory.hear)
    hub = Hub(settings.hub, credential, transport=transport, clock=clock)
    knowledge = Knowledge(settings.cache, memory, shared, news, clock=clock)
    pages = Pages(settings.cache, hub, knowledge, clock=clock)

    @asynccontextmanager
    async def lifespan(_: Litestar) -> AsyncIterator[None]:
        if news is not None:
            news.start()
        try:
            yield
        finally:
            await pages.drain(CLOSING)
            await knowledge.drain(CLOSING)
            await hub.aclose()
            if news is not None:
                await news.aclose()
            if link is not None:
                await link.aclose()

    app = Litestar(
        route_handlers=[
            *api_handlers(pages, credential),
            *admin_handlers(knowledge, settings.admin.key),
            *health_handlers(pages, link, readiness),
        ],
        exception_handlers=EXCEPTION_HANDLERS,
        lifespan=[lifespan],
        on_startup=on_startup,
        logging_config=None,
        openapi_config=None,
    )
    # Litestar's middleware runs behind its router and sees neither 404 nor 405; the edge stands before it.
    app.asgi_handler = with_edge(app.asgi_handler, sinks, readiness)
    return app
