"""What is read when it is scraped: budgets, flights, memory, Redis."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping
from typing import Final, get_args

from prometheus_client.core import Metric
from prometheus_client.registry import Collector

from proxy import __version__
from proxy.admission.gate import Cause, Standing
from proxy.core import Core
from proxy.errors import HubRefusedCredential
from proxy.logs import DroppingQueueHandler
from proxy.redis.link import State
from proxy.web.health import Readiness
from proxy.web.telemetry.families import counter, gauge

REDIS_STATES: Final = ("off", *get_args(State))
CAUSES: Final[tuple[Cause, ...]] = get_args(Cause)


class StateMetrics(Collector):
    """Labels are bounded: names of credentials are the operator's, kinds of faults are redis-py's classes.

    Attributes:
        standings: of the budgets, to be asked for before a scrape.
    """

    def __init__(self, core: Core, readiness: Readiness) -> None:
        self._core = core
        self._readiness = readiness
        self.standings: Mapping[str, Standing] = {}

    def collect(self) -> Iterator[Metric]:
        """Read everything."""
        yield from self._hub()
        yield from self._work()
        yield from self._redis()
        yield from self._events()
        yield gauge("build_info", "The running release.", ["version"], {(__version__,): 1})
        yield gauge("draining", "1 while this process ends and wants no requests.", [], self._readiness.draining)
        text = "Seconds by which the replicas' time is ahead of this machine's clock."
        yield gauge("clock_lead_seconds", text, [], self._core.clock.lead())
        lost = "Log lines that could not be written, or not as fast as they came."
        yield counter("log_lines_dropped", lost, [], _dropped())

    def _hub(self) -> Iterator[Metric]:
        names = ["credential"]
        states = self._core.fetcher.hub_states
        standings, allowances = self.standings, {n: one.shield.allowance for n, one in self._core.upstreams.items()}
        refused = {(name,): state == HubRefusedCredential.type for name, state in states.items()}
        yield gauge("credential_refused", "1 if the hub refused this token when last asked.", names, refused)
        turns = {(name,): standing.turns for name, standing in standings.items()}
        yield gauge("hub_budget_turns", "Requests to the hub that may begin at once (hub.burst).", names, turns)
        burst = {(name,): allowance.burst for name, allowance in allowances.items()}
        yield gauge("hub_budget_turns_max", "The most that there may be.", names, burst)
        held = {(name,): standing.held for name, standing in standings.items()}
        yield gauge("hub_requests_under_way", "Requests to the hub under way, of all replicas.", names, held)
        most = {(name,): allowance.concurrency for name, allowance in allowances.items()}
        yield gauge("hub_requests_under_way_max", "The most that there may be (hub.concurrency).", names, most)
        pauses = {
            (name, cause): standing.pause.seconds if standing.pause.cause == cause else 0.0
            for name, standing in standings.items()
            for cause in CAUSES
        }
        text = "Seconds for which the hub is left alone: after a 429, 503 or 401, or as it fails (the breaker is open)."
        yield gauge("hub_pause_seconds", text, ["credential", "cause"], pauses)

    def _work(self) -> Iterator[Metric]:
        core = self._core
        yield gauge("flights", "Questions that are being put to the hub.", [], len(core.pages.queue))
        yield gauge("waiting_callers", "Requests that wait for those.", [], core.pages.queue.waiting)
        learned = {(result,): times for result, times in core.fetcher.learned.items()}
        text = "The hub's answers, by what they did to what is known of their listing."
        yield counter("listing_answers", text, ["result"], learned)
        yield gauge("memory_bytes", "Bytes that pages in memory are charged.", [], core.memory.bytes)
        yield gauge("memory_max_bytes", "The most that there may be (cache.memory_bytes).", [], core.memory.limit)
        yield gauge("memory_pages", "Pages in memory.", [], len(core.memory))
        text = "Pages that left memory for want of room."
        yield counter("memory_evictions", text, [], core.memory.evictions)
        rows = core.knowledge.rows.listings
        yield gauge("rows_bytes", "Bytes that listings' rows in memory are charged.", [], rows.bytes)
        yield gauge("rows_max_bytes", "The most that there may be.", [], rows.limit)
        yield gauge("rows_listings", "Listings whose rows are in memory.", [], len(rows))
        text = "The hub's answers, by whether they explained what has changed in their listing, or why they did not."
        yield counter("rows_answers", text, ["result"], {(result,): times for result, times in rows.learned.items()})

    def _redis(self) -> Iterator[Metric]:
        core = self._core
        state = "off" if core.link is None else core.link.state
        states = {(one,): one == state for one in REDIS_STATES}
        yield gauge("redis_state", "1 for what the last calls to Redis say; off: there is none.", ["state"], states)
        faults = {} if core.link is None else {_call_and_fault(kind): n for kind, n in core.link.faults.items()}
        yield counter("redis_faults", "Faults of Redis.", ["call", "fault"], faults)
        text = "1 while memory is as good as Redis: there is none, or news of the other replicas is sure to arrive."
        yield gauge("memory_trusted", text, [], core.knowledge.trust.news_flowing)
        yield gauge("replicas", "Processes that share budget and limits, as far as is known.", [], core.replicas())

    def _events(self) -> Iterator[Metric]:
        subscriptions = self._core.events.subscriptions
        here = {name for name, one in subscriptions.items() if one.state == "subscribed"}
        subscribed = {(name,): name in here for name in self._core.upstreams}
        yield gauge("events_subscribed", "1 if this process listens to the hub.", ["credential"], subscribed)
        received = {(n,): subscriptions[n].received if n in subscriptions else 0 for n in self._core.upstreams}
        yield counter("events_heard", "Completions that this process heard of the hub.", ["credential"], received)
        yield gauge("event_listeners", "Callers who listen to events.", [], len(self._core.events.feed))


def _call_and_fault(kind: str) -> tuple[str, str]:
    call, _, fault = kind.partition(": ")
    return call, fault


def _dropped() -> int:
    handlers = logging.getLogger().handlers
    return sum(handler.dropped for handler in handlers if isinstance(handler, DroppingQueueHandler))
