"""The hub, asked with one credential: each request in its turn, repeated where the hub cannot have read it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Final

from proxy.admission.shield import Shield
from proxy.answer import links
from proxy.answer.page import Page, not_found, parse_page
from proxy.clock import no_lead
from proxy.errors import (
    HubBusy,
    HubError,
    HubFoundNothing,
    HubRefusedCredential,
    HubRejectedQuestion,
    HubResting,
    HubTimeout,
)
from proxy.hub.client import Hub
from proxy.hub.faults import OutOfTime
from proxy.hub.state import HubState
from proxy.questions.question import Question
from proxy.redis.claims import WantedTurn
from proxy.tasks.deadlines import half_left
from proxy.tasks.off_loop import off_loop_if_large

CLOCK_PRECISION: Final = 0.05
"""Seconds by which a timer of the event loop may be early, with a margin."""


class Upstream:
    """Puts questions to the hub.

    Args:
        deadline: seconds for a request, at the most.
        clock: Unix seconds that do not step back; ``lead``: by how much they are ahead of the machine's.
    """

    def __init__(
        self,
        hub: Hub,
        shield: Shield,
        *,
        deadline: float,
        clock: Callable[[], float],
        lead: Callable[[], float] = no_lead,
    ) -> None:
        self.hub = hub
        self.shield = shield
        self._deadline = deadline
        self._clock = clock
        self._state = HubState(hub.credential, clock=clock)
        self._lead = lead

    @property
    def state(self) -> str:
        """How the hub fares: ``unknown`` before the first request, then ``ok`` or the last ``error.type``."""
        return self._state.name

    async def ask(
        self, question: Question, until: float, *, ahead: bool, turn: WantedTurn | None
    ) -> tuple[Page, float]:
        """Return the hub's answer, and how many seconds it took; asked until the loop's time ``until`` at the most.

        ``ahead``: nobody waits for it. ``turn``: has been asked for.

        Raises:
            HubError: the hub gave no usable answer; HubBusy, HubResting: it was not asked.
            HubRejectedQuestion: the hub's answer is an error of its own.
        """
        try:
            answer = await self._ask(question, until, ahead=ahead, turn=turn)
        except HubRejectedQuestion:  # an answer as good as another
            self._state.answered()
            raise
        except HubError as error:
            if error.hub_status == 403:  # of one namespace: the token is good, and so is the hub
                self._state.answered()
            else:
                self._state.failed(error)
            raise
        self._state.answered()
        return answer

    async def _ask(
        self, question: Question, until: float, *, ahead: bool, turn: WantedTurn | None
    ) -> tuple[Page, float]:
        """Ask the hub once; once more if it cannot have read the first request."""
        try:
            return await self._request(question, until, ahead=ahead, turn=turn)
        except HubError as error:
            if not error.repeatable:
                raise
            first = error
        try:
            return await self._request(question, until, ahead=ahead)
        except HubError as error:
            # There was no room to repeat it; or what is kept is of the token that was refused, and is to stand in for
            # no failure of another kind.
            if isinstance(error, HubBusy | HubResting) or isinstance(first, HubRefusedCredential):
                raise first from None
            raise

    async def _request(
        self, question: Question, until: float, *, ahead: bool, turn: WantedTurn | None = None
    ) -> tuple[Page, float]:
        """One request, in its turn. At most half of the time that is left goes by in line: the hub has the other.

        If that is less than half of a question's whole time, the hub has not failed where it is over.
        """
        now = asyncio.get_running_loop().time
        async with self.shield.turn(half_left(until), ahead=ahead, wanted=turn):
            asked_at, sent = self._clock(), now()
            try:
                left = min(self._deadline, max(0.0, until - now()))
                answer = await self.hub.ask(question.path, question.query, deadline=left)
            except HubTimeout as late:
                if left < self._deadline / 2 and until - now() < CLOCK_PRECISION:
                    raise OutOfTime(late.detail) from late
                raise
            except HubFoundNothing as nothing:  # an answer like any other, but for its status
                return not_found(question, nothing.body, asked_at), now() - sent
            seconds = now() - sent
            reckoned = links.sent(asked_at, self._lead(), answer.dated, answer.age, seconds)
            body = answer.body
            return await off_loop_if_large(len(body), parse_page, question, body, asked_at, *reckoned), seconds
