"""Callers who wait for the hub: for one fetch of all who ask the same, and bounded in number and time."""

from __future__ import annotations

import asyncio
import math
from collections.abc import Callable
from functools import partial
from typing import Final

from msgspec import Struct
from msgspec.structs import replace

from proxy.admission.refusals import GaveWay
from proxy.answer.outcome import Landed, StaleHit
from proxy.errors import RETRY_AFTER, HubBusy
from proxy.fetch import Fetcher
from proxy.hub.faults import OutOfTime
from proxy.questions.question import Question
from proxy.redis.claims import Claim
from proxy.settings import HubSettings
from proxy.tasks.deadlines import half_left
from proxy.tasks.detached import wait_until_done
from proxy.tasks.flight import Flights

GRACE: Final = 0.5
"""Seconds past the deadline that callers wait, so that the fetch reports its own error."""


class StartedFetch(Struct, frozen=True):
    """A fetch under way, and whether it had been before."""

    target: Question
    fetch: asyncio.Task[Landed]
    joined: bool


class Wait(Struct, frozen=True):
    """A caller who waits for the hub: for how long, and which answers will do.

    Attributes:
        until: its deadline, the loop's time.
        patience: seconds after a fetch began from which it would rather have the ``stand_in``, if there is one: who
            joins a fetch that dawdles waits no more than the rest. None: it waits for the answer.
        came_at: when it came, Unix seconds.
        max_age: seconds since the hub vouched for an answer, at the most, where that was before it came.
        doubted_at: when the last event came that put such answers in doubt before it did, Unix seconds. Later ones are
            ignored, as they might never end.
        reserved: it waits however many do.
    """

    until: float
    patience: float | None = None
    stand_in: Callable[[], StaleHit | None] = lambda: None
    came_at: float = 0.0
    max_age: float = math.inf
    doubted_at: float = 0.0
    reserved: bool = False

    def accepts(self, landed: Landed, now: float) -> bool:
        """Whether an answer will do: one that others had asked for may be too old."""
        recent = landed.learned != "behind" and now - landed.vouched_at <= self.max_age
        later = landed.vouched_at >= self.came_at
        return not landed.collapsed or ((recent or later) and landed.vouched_at >= self.doubted_at)


class FetchQueue:
    """Has questions fetched.

    Attributes:
        waiting: callers who wait.
    """

    def __init__(self, fetcher: Fetcher, limits: HubSettings) -> None:
        self._fetcher = fetcher
        self._limits = limits
        self._fetches: Flights[Landed] = Flights()
        self.waiting = 0

    def __len__(self) -> int:
        """How many questions are being put to the hub."""
        return len(self._fetches)

    def __contains__(self, question: Question) -> bool:
        """Whether a question is being put to the hub."""
        return question.key in self._fetches

    def deadline(self) -> float:
        """That of a question which comes now, the loop's time."""
        return asyncio.get_running_loop().time() + self._limits.deadline

    @property
    def full(self) -> bool:
        """Whether nobody more may wait."""
        return self._crowd >= self._limits.max_waiting

    @property
    def _crowd(self) -> int:
        """Callers who wait, or fetches that are under way, whichever are more."""
        return max(self.waiting, len(self._fetches))

    def claim(self, question: Question, useless: tuple[float, float], *, until: float) -> Claim:
        """What a lookup may take for the fetch of a question with this deadline."""
        return self._fetcher.claim(question, useless, until=until)

    def begin(self, claim: Claim, *, since: float, until: float) -> StartedFetch:
        """Start this claim's fetch; if one is under way, join it and give the claim up."""
        question = claim.question
        work = partial(self._fetcher.fetch, question, since=since, until=until, claim=claim)
        started = StartedFetch(question, *self._fetches.join(question.key, work))
        if started.joined:
            self._fetcher.give_up(claim)
        return started

    async def fetch(
        self, question: Question, wait: Wait, *, since: float, started: StartedFetch | None = None
    ) -> Landed | StaleHit:
        """Start or join a fetch; return what landed, or the caller's stand-in.

        ``since``: as of ``Fetcher.fetch``. ``started``: what has been started for this caller.

        Raises:
            ProxyError: as the fetch's; HubBusy, if there are too many or it takes too long.
        """
        self.waiting += 1
        try:
            while True:
                if self._crowd > self._limits.max_waiting and not wait.reserved:
                    raise HubBusy("Too many wait for the hub (hub.max_waiting).", retry_after=RETRY_AFTER)
                work = partial(self._fetcher.fetch, question, since=since, until=wait.until)
                fetch, joined = (started.fetch, started.joined) if started else self._fetches.join(question.key, work)
                started = None
                impatient_at = None if wait.patience is None else self._fetches.began(question.key) + wait.patience
                if stale := await self._wait(fetch, wait, impatient_at):
                    return stale
                try:
                    landed = fetch.result()
                except GaveWay:
                    continue  # it was to be refreshed for nobody; now somebody waits
                except OutOfTime:
                    if not joined or half_left(wait.until) == 0:
                        raise
                    continue  # whoever began it had less time
                return replace(landed, collapsed=True) if joined else landed
        finally:
            self.waiting -= 1

    async def refresh(self, question: Question, *, since: float) -> None:
        """Fetch for nobody, or join a fetch.

        Raises:
            ProxyError: as the fetch's; GaveWay, if there is room only for callers who wait.
        """
        await self._fetches.share(question.key, partial(self._fetcher.fetch, question, since=since, ahead=True))

    async def drain(self, timeout: float) -> int:
        """Wait at most ``timeout`` seconds for what is under way; return how much goes on."""
        return await self._fetches.drain(timeout)

    async def _wait(self, fetch: asyncio.Task[Landed], wait: Wait, impatient_at: float | None) -> StaleHit | None:
        """Wait until the fetch has ended, or for as long as the caller's patience lasts if a page can stand in."""
        now, until = asyncio.get_running_loop().time, wait.until + GRACE
        await wait_until_done(fetch, max(0.0, (until if impatient_at is None else impatient_at) - now()))
        if impatient_at is not None and not fetch.done():
            if stale := wait.stand_in():
                return stale
            await wait_until_done(fetch, max(0.0, until - now()))
        if not fetch.done():
            raise HubBusy(f"No answer of the hub within {self._limits.deadline:g} s.", retry_after=RETRY_AFTER)
        return None
