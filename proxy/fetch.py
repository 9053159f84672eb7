"""One flight for a question over all replicas: whoever holds its lease asks the hub, the others are handed the answer.

::

    take the lease, or wait for its holder → look once more → turn at the hub → ask → learn → land

A lookup that found nothing of use has taken the lease already, and mostly the turn (``shared.look_up``), so that the
hub is asked at once. Without Redis, each process asks for itself.
"""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import Callable, Mapping
from typing import Final

from msgspec.structs import replace

from proxy.admission.refusals import Backoff, GaveWay
from proxy.answer.outcome import Landed
from proxy.answer.record import Learned
from proxy.errors import RETRY_AFTER, HubBusy, HubRefusedCredential, ProxyError
from proxy.hub.faults import NothingLeft, OutOfTime
from proxy.known.knowledge import Knowledge
from proxy.questions.question import Question
from proxy.redis.claims import Claim
from proxy.redis.landings import Landings, LandingWaiter, write_failure
from proxy.redis.leases import Leases
from proxy.tasks.deadlines import half_left
from proxy.upstream import Upstream

ATTEMPTS: Final = 3
"""How often the hub is asked for one question when its answers overlap with others of another moment."""
NEWS_CHECK_INTERVAL: Final = 0.05
"""Seconds between checks that news still flows; while it does not, between lookups in Redis."""
LEASE_GRACE: Final = 0.05
"""Seconds after a lease's end at which those who waited for its holder look again."""


class Fetcher:
    """Has the hub asked.

    Args:
        upstreams: by the credential's name.
        deadline: seconds for a question that nobody waits for, waiting in line included; others bring theirs.
        clock: Unix seconds.

    Attributes:
        learned: how often an answer confirmed its listing, moved it, or was behind what is known.
    """

    def __init__(
        self,
        upstreams: Mapping[str, Upstream],
        knowledge: Knowledge,
        leases: Leases | None,
        landings: Landings,
        *,
        deadline: float,
        clock: Callable[[], float],
    ) -> None:
        self._upstreams = upstreams
        self._known = knowledge
        self._leases = leases
        self._landings = landings
        self._deadline = deadline
        self._clock = clock
        self.learned: dict[Learned, int] = {"confirmed": 0, "moved": 0, "behind": 0}

    @property
    def hub_states(self) -> dict[str, str]:
        """How the hub fares, by credential: ``unknown`` before the first request, then ``ok`` or an ``error.type``."""
        return {name: upstream.state for name, upstream in self._upstreams.items()}

    async def fetch(
        self,
        question: Question,
        *,
        since: float,
        until: float | None = None,
        ahead: bool = False,
        claim: Claim | None = None,
    ) -> Landed:
        """Return the hub's answer, asked for by this process or another; ``claim``: what has been taken already.

        One newer than ``since`` (Unix seconds; the newest that whoever asks knew) that another had meanwhile will do.
        ``until``: the deadline, the loop's time: that of the first caller.

        Raises:
            ProxyError: as the hub's; HubBusy, if it takes too long.
        """
        began = self._clock()
        try:
            return await self._lead_or_follow(question, claim, since, until, ahead=ahead)
        except HubRefusedCredential as error:  # also where nobody waits any more
            if error.asked:  # by this replica, or by the one that it has waited for
                self._known.note_refusal(question, error.hub_status, began)
            raise
        finally:
            self._give_back(claim)  # the turn of a lookup whose answer was lost, where others have asked meanwhile

    async def _lead_or_follow(
        self, question: Question, claim: Claim | None, since: float, until: float | None, *, ahead: bool
    ) -> Landed:
        """Ask the hub, or wait for the replica that does: whoever has the question's lease."""
        until = asyncio.get_running_loop().time() + self._deadline if until is None else until
        since = max(since, self._clock() - self._deadline)  # whatever is older was asked for before this began
        if self._leases is None:
            return await self._ask(question, until, ahead=ahead)
        claim = claim or Claim(question, secrets.token_hex(8))
        if claim.held:
            return await self._lead(self._leases, claim, None, until, ahead=ahead)
        with self._landings.listening(question.page_key) as waiter:
            while (left := until - asyncio.get_running_loop().time()) > 0:
                sent = not self._leases.backing_off
                leader = await self._known.take_lease(question, claim.token, since=since)
                if leader is None:
                    # What was sent Redis may have done all the same: the lease may be ours, and others wait.
                    claim = replace(claim, unsure=claim.unsure or sent)
                    landed = self._known.landed(question, since=since)
                    return await self._lead(self._leases, claim, landed, until, ahead=ahead)
                if leader.holder == claim.token:
                    return await self._lead(self._leases, replace(claim, held=True), leader.landed, until, ahead=ahead)
                if claim.unsure:  # not to be taken when that one has ended: nobody would know of it
                    self._leases.end(question, claim.token, unsure=True)
                    claim = Claim(question, secrets.token_hex(8), turn=claim.turn)
                if landed := await self._follow(
                    question, waiter, leader.holder, min(left, leader.seconds + LEASE_GRACE), since
                ):
                    return landed
        if claim.unsure:  # nothing was left of its time when it was lost
            self._leases.end(question, claim.token, unsure=True)
        raise HubBusy(
            "Another replica asks the hub, and had no answer in time (hub.deadline).", retry_after=RETRY_AFTER
        )

    def hold_off(self, credential: str) -> Backoff | None:
        """As of the credential's shield."""
        return self._upstreams[credential].shield.hold_off()

    def claim(self, question: Question, useless: tuple[float, float], *, until: float) -> Claim:
        """What a lookup may take for a fetch. At most half of the time goes by until the turn; the hub has the rest."""
        shield = self._upstreams[question.credential].shield
        return Claim(question, secrets.token_hex(8), useless, shield.wanted(half_left(until)))

    def give_up(self, claim: Claim) -> None:
        """A claim was taken for nothing; nobody waits until others may have it."""
        self._give_back(claim)
        if self._leases is not None:
            self._leases.end(claim.question, claim.token, unsure=claim.unsure)

    def _give_back(self, claim: Claim | None) -> None:
        """A claim's turn is not used any more, if it has not been."""
        if claim is not None and claim.turn is not None:
            self._upstreams[claim.question.credential].shield.give_back(claim.turn)

    async def release(self) -> None:
        """Give up all leases, for others to take: this process ends."""
        if self._leases is not None:
            await self._leases.release()

    async def drain(self, timeout: float) -> int:
        """Wait at most ``timeout`` seconds until others have been told; return what goes on."""
        return 0 if self._leases is None else await self._leases.drain(timeout)

    async def _follow(
        self, question: Question, waiter: LandingWaiter, holder: str, timeout: float, since: float
    ) -> Landed | None:
        """Wait for the flight of another replica; None if it brought nothing, or news has broken off."""
        now = asyncio.get_running_loop().time
        until = now() + timeout
        while not await waiter.wait(holder, max(0.0, min(NEWS_CHECK_INTERVAL, until - now()))):
            if now() >= until or not self._known.trust.in_sync:
                break
        return await self._known.handed_over(question, since=since)

    async def _lead(self, leases: Leases, claim: Claim, landed: Landed | None, until: float, *, ahead: bool) -> Landed:
        """Ask the hub for all replicas, unless it has just been (``landed``), and tell them how it ended."""
        question, token, failure = claim.question, claim.token, b""
        try:
            if landed is None:
                with leases.kept(question, token):
                    landed = await self._ask(question, until, ahead=ahead, claim=claim)
        except (GaveWay, NothingLeft, OutOfTime):
            raise  # those who wait elsewhere need not, or can ask themselves
        except ProxyError as error:
            failure = write_failure(error)
            raise
        else:
            return landed
        finally:
            if claim.unsure or (claim.held and (landed is None or not landed.announced)):
                leases.end(question, token, failure, unsure=claim.unsure)

    async def _ask(self, question: Question, until: float, *, ahead: bool, claim: Claim | None = None) -> Landed:
        """Ask the hub until its answer is not behind what is known, and store it.

        Where one is, the answers to others that were asked for meanwhile may have shown what this one should.
        """
        token, turn = ("", None) if claim is None else (claim.token, claim.turn)
        began, upstream = self._clock(), self._upstreams[question.credential]
        hub = upstream.hub
        if ahead and not hub.asks_as(question.credential_id):
            raise GaveWay("The hub's token was renewed: the page is kept for nobody.")
        for _ in range(ATTEMPTS):
            page, seconds = await upstream.ask(question, until, ahead=ahead, turn=turn)
            turn = None  # it has been had
            if not hub.asks_as(question.credential_id):  # a new token, another user's maybe: kept for nobody
                landed = Landed(page, "confirmed", page.asked_at, 0.0, stored=False)
                break
            landed = await self._known.learn(question, page, token=token)
            self.learned[landed.learned] += 1
            if landed.learned != "behind":
                break
            if known := self._known.landed(question, since=began):
                landed = known
                break
        return replace(landed, hub_seconds=seconds)
