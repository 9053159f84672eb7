"""The hub's events, put together: who receives them, where they are kept, what they make doubtful, and who listens."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from functools import partial

from proxy.clock import HybridClock
from proxy.events.entry import Entry
from proxy.events.feed import Feed
from proxy.events.hub_subscriber import HubSubscriber, Pace
from proxy.events.listener import Source
from proxy.events.log import EventLog
from proxy.events.owners import Owners
from proxy.events.shared_log import SharedLog
from proxy.events.subscription import CLOSE_TIMEOUT, Subscription
from proxy.hub.client import Transport
from proxy.hub.credential import Credentials
from proxy.hub.stream import HubStream
from proxy.known.knowledge import Knowledge
from proxy.pages import Pages
from proxy.redis.link import RedisLink
from proxy.redis_keys import log_tag
from proxy.settings import Settings
from proxy.upstream import Upstream


class Events:
    """The events of all credentials.

    Args:
        hybrid: the time by which answers are judged, and events with them.
        clock: Unix seconds.

    Attributes:
        subscriptions: by the credential's name.
        feed: for callers.
    """

    def __init__(
        self,
        settings: Settings,
        credentials: Credentials,
        upstreams: Mapping[str, Upstream],
        pages: Pages,
        knowledge: Knowledge,
        link: RedisLink | None,
        hybrid: HybridClock,
        *,
        transport: Transport | None,
        pace: Pace | None,
        clock: Callable[[], float],
    ) -> None:
        self._refresh_ahead = pages.refresh_ahead
        self._doubts = knowledge.doubts
        self._rows = knowledge.rows
        self._clock = hybrid.now
        self.subscriptions: dict[str, Subscription] = {}
        self._sources: dict[str, Source] = {}
        pace = pace or Pace()
        for one in credentials.all if settings.events.mode == "auto" else ():
            log = EventLog(hybrid.now, hybrid.lead)
            log.on_entry.append(partial(self._doubt, one.name))
            stream = HubStream(settings.hub, one, silence=pace.silence, transport=transport, clock=clock)
            self.subscriptions[one.name] = Subscription(
                one,
                partial(HubSubscriber, one.name, stream, upstreams[one.name].shield, log, pace=pace),
                log,
                share=None if link is None else partial(_shared_log, link),
                pace=pace,
            )
            self._sources[one.name] = Source(log, Owners(one, pages, self._ring))
        self.feed = Feed(self._sources, settings.events.listeners)

    def start(self) -> None:
        """Subscribe."""
        for one in self.subscriptions.values():
            one.start()

    async def aclose(self) -> None:
        """End all subscriptions and look-ups."""
        subscriptions = (one.aclose() for one in self.subscriptions.values())
        await asyncio.gather(
            *subscriptions, *(source.owners.aclose(CLOSE_TIMEOUT) for source in self._sources.values())
        )

    def on_news(self, news: bytes) -> None:
        """Take in news of an event: ``<log> <before> <id> <value>``.

        Raises:
            ValueError: it cannot be read.
        """
        name, _, rest = news.partition(b" ")
        for one in self.subscriptions.values():
            if one.log.name == name.decode():
                one.log.on_news(rest)

    def on_gap(self) -> None:
        """News may have been lost."""
        for one in self.subscriptions.values():
            one.log.missed()

    def _ring(self) -> None:
        self.feed.ring()

    def _doubt(self, credential: str, entry: Entry) -> None:
        """Have pages asked for again that an event can have changed; first of all, so that who is told may ask."""
        if entry.begins and entry.completion is None:
            return  # nobody was subscribed before, so that nothing is doubtful
        at = min(entry.at, self._clock())  # another replica's clock; what is asked for from now on is not in doubt
        if entry.completion is None:  # whoever asks next finds out; to ask for all that is in demand would be a herd
            self._doubts.add_all(credential, at)
            return
        origin = self._rows.origin_of(entry.completion.generation_id)
        if origin.target_namespace is not None:
            entry.namespace, entry.settled = origin.target_namespace, True
        self._doubts.add(credential, entry.completion, at, origin)
        self._refresh_ahead.refresh_doubted(credential)


def _shared_log(link: RedisLink, credential_id: str) -> SharedLog:
    return SharedLog(link, log_tag(credential_id))
