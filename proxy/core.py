"""What answers questions, from the hub to pages and events, put together, without HTTP."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial

from msgspec import Struct

from proxy.admission.gate import Allowance, Standing
from proxy.admission.gates import Gates
from proxy.admission.shared_gate import SharedGate
from proxy.admission.shield import Shield
from proxy.answer.freshness import keep_record
from proxy.clock import HybridClock
from proxy.events.events import Events
from proxy.events.hub_subscriber import Pace
from proxy.fetch import Fetcher
from proxy.hub.client import Hub, Transport
from proxy.hub.credential import Credential, Credentials
from proxy.known.encoder import Encoder
from proxy.known.invalidations import Invalidations
from proxy.known.knowledge import Knowledge
from proxy.known.memory import Memory
from proxy.pages import Pages
from proxy.redis.census import Census
from proxy.redis.client import Client, connect, database_number
from proxy.redis.landings import Landings
from proxy.redis.leases import Leases
from proxy.redis.link import RedisLink
from proxy.redis.news import News
from proxy.redis.shared import Shared
from proxy.redis.variants import SharedVariants
from proxy.redis_keys import gate_tag, names
from proxy.settings import Settings
from proxy.upstream import Upstream


class Core(Struct, frozen=True):
    """What answers questions.

    Attributes:
        upstreams: by the credential's name.
        link, news, census: Redis, if there is one.
        replicas: how many processes share budget and limits, as far as is known.
        clock: the time by which is judged what is kept.
    """

    credentials: Credentials
    upstreams: Mapping[str, Upstream]
    link: RedisLink | None
    news: News | None
    census: Census | None
    memory: Memory
    knowledge: Knowledge
    encoder: Encoder
    fetcher: Fetcher
    pages: Pages
    events: Events
    replicas: Callable[[], int]
    clock: HybridClock

    async def standings(self) -> dict[str, Standing]:
        """What is left of each credential's budget; asked of Redis, if there is one."""
        return {name: await upstream.shield.standing() for name, upstream in self.upstreams.items()}


def make_core(
    settings: Settings,
    *,
    transport: Transport | None,
    redis: Client | None,
    pace: Pace | None,
    clock: Callable[[], float],
    monotonic: Callable[[], float],
) -> Core:
    """Put it together; the arguments are those of ``create_app``.

    Raises:
        TokenFault: there is no usable token for the hub.
    """
    credentials = Credentials(settings.hub)
    hybrid = HybridClock(clock, monotonic)
    now, keep = hybrid.now, keep_record(settings.cache)
    link = _link(settings, redis)
    news = None if link is None else News(link)
    configured = settings.redis.replicas * settings.server.workers
    census = None if link is None else Census(link, configured, hybrid, keep=keep)
    replicas = (lambda: configured) if census is None else census.processes
    agreeing = (lambda: 1) if census is None else census.agreeing
    upstreams = {
        credential.name: Upstream(
            Hub(settings.hub, credential, transport=transport, clock=clock),
            _shield(settings, credential, link, replicas, agreeing),
            deadline=settings.hub.deadline,
            clock=now,
            lead=hybrid.lead,
        )
        for credential in credentials.all
    }

    rows_bytes = settings.cache.memory_bytes // 2 if settings.cache.compose else 0
    memory = Memory(settings.cache.memory_bytes - rows_bytes)
    shared = None if link is None else Shared(link, clock=now)
    invalidations = Invalidations(link, keep=keep, clock=now)
    knowledge = Knowledge(settings.cache, memory, shared, news, invalidations, rows_bytes=rows_bytes, clock=now)
    encoder = Encoder(memory, None if link is None else SharedVariants(link, settings.cache, clock=now))

    landings = Landings()
    leases = None if link is None else Leases(link)
    fetcher = Fetcher(upstreams, knowledge, leases, landings, deadline=settings.hub.deadline, clock=now)
    pages = Pages(settings.cache, settings.hub, knowledge, fetcher, clock=now)
    events = Events(
        settings, credentials, upstreams, pages, knowledge, link, hybrid, transport=transport, pace=pace, clock=clock
    )
    if news is not None and census is not None:
        _hand_out(news, census, knowledge, landings, upstreams, events)
    return Core(
        credentials, upstreams, link, news, census, memory, knowledge, encoder, fetcher, pages, events, replicas, hybrid
    )


def _link(settings: Settings, client: Client | None) -> RedisLink | None:
    redis = settings.redis
    if client is None and redis.url is not None:
        client = connect(redis.url)
    if client is None:
        return None
    return RedisLink(client, redis.timeout, redis.connections, names=names(settings.hub.url, database_number(client)))


def _shield(
    settings: Settings,
    credential: Credential,
    link: RedisLink | None,
    replicas: Callable[[], int],
    agreeing: Callable[[], int],
) -> Shield:
    def name() -> str:
        credential.token()  # looks whether it has been renewed, which ends the pause of one that was refused
        return gate_tag(credential.id)

    allowance = Allowance(settings.hub.rate, settings.hub.burst, settings.hub.concurrency, reach=settings.hub.deadline)
    shared = None if link is None else SharedGate(link)
    gates = Gates(allowance, shared, gate_name=name, replicas=replicas, agreeing=agreeing)
    return Shield(gates, patience=settings.hub.deadline / 2)


def _hand_out(
    news: News,
    census: Census,
    knowledge: Knowledge,
    landings: Landings,
    upstreams: Mapping[str, Upstream],
    events: Events,
) -> None:
    """Say who is told which news of other replicas (``Names.news`` has its forms), and that some may be missing."""
    news.on_subscribed = knowledge.invalidations.read
    news.topics |= {
        b"record": knowledge.on_record,
        b"landed": landings.on_news,
        b"learned": partial(_on_learned, knowledge, landings),
        b"purged": knowledge.invalidations.purged.on_news,
        b"withdrawn": knowledge.invalidations.withdrawn.on_news,
        b"room": partial(_make_room, upstreams),
        b"ends": census.on_end,
        b"event": events.on_news,
    }
    news.on_gap += [knowledge.trust.gap, landings.wake_all, events.on_gap]


def _on_learned(knowledge: Knowledge, landings: Landings, news: bytes) -> None:
    record, _, landing = news.partition(b"\n")
    landings.on_news(landing)  # first: who waits for it looks into Redis even if this record cannot be read here
    knowledge.on_record(record)


def _make_room(upstreams: Mapping[str, Upstream], gate: bytes) -> None:
    for one in upstreams.values():
        one.shield.make_room(gate)
