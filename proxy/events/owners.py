"""Whose generations the events of a credential tell of: each is looked up once, by the way of any question.

An event names no namespace (hub facts: events), the generation's row does, and never another one: so a page of any
age will do. Only what somebody listens for is looked up who may not see everything. As that is bounded here, it waits
with no crowd of callers, and longer than any of them for the hub: so its turn comes, however much they ask.
"""

from __future__ import annotations

import asyncio
import contextlib
import math
from collections.abc import Callable
from typing import Final

from proxy.answer.directives import Directives
from proxy.answer.page import namespace_of
from proxy.errors import ProxyError
from proxy.events.entry import Entry
from proxy.fetch_queue import Wait
from proxy.hub.credential import Credential
from proxy.pages import Pages
from proxy.questions.question import generation_question
from proxy.tasks.detached import Detached

MAX_LOOKUPS: Final = 4
"""Look-ups under way at once."""
LOOKUP_TIMEOUT: Final = 30.0
"""Seconds after which a generation that cannot be looked up is nobody's."""
FIRST_WAIT: Final = 0.5
"""Seconds before another attempt, doubled from then on. One that the hub does not know is looked up twice."""
_ANY_AGE: Final = Directives(max_stale=math.inf)
_ANEW: Final = Directives(max_age=0.0)


class Owners:
    """Looks up the namespaces of one credential's generations.

    Args:
        settled: called when an entry's namespace is known, or will not be.
    """

    def __init__(
        self, credential: Credential, pages: Pages, settled: Callable[[], None], *, give_up: float = LOOKUP_TIMEOUT
    ) -> None:
        self._credential = credential
        self._pages = pages
        self._settled = settled
        self._give_up = give_up
        self._asked = asyncio.Semaphore(MAX_LOOKUPS)
        self._under_way: set[str] = set()
        self._detached = Detached()
        self._closing = asyncio.Event()

    def find(self, entry: Entry) -> None:
        """Find out whose generation an entry tells of, in a task of its own."""
        if (
            self._closing.is_set()
            or entry.settled
            or entry.completion is None
            or entry.completion.identity in self._under_way
        ):
            return
        self._under_way.add(entry.completion.identity)
        self._detached.spawn(self._find(entry, entry.completion.generation_id))

    async def aclose(self, timeout: float) -> None:
        """Look up nothing any more, and wait at most ``timeout`` seconds for what is being looked up."""
        self._closing.set()
        await self._detached.drain(timeout)

    async def _find(self, entry: Entry, generation_id: str) -> None:
        now = asyncio.get_running_loop().time
        until, wait, found, directives = now() + self._give_up, FIRST_WAIT, None, _ANY_AGE
        try:
            async with self._asked:
                while not self._closing.is_set():
                    found, after = await self._look_up(entry, generation_id, directives, until)
                    wait = max(wait, after)
                    if found or (found is False and directives is _ANEW) or now() + wait > until:
                        return
                    if found is False:  # the event may have come before the row, and that there is none may be kept
                        directives = _ANEW
                    with contextlib.suppress(TimeoutError):
                        async with asyncio.timeout(wait):
                            await self._closing.wait()
                    wait *= 2
        finally:
            entry.lost, entry.settled = not found, True
            if entry.completion is not None:
                self._under_way.discard(entry.completion.identity)
            self._settled()

    async def _look_up(
        self, entry: Entry, generation_id: str, directives: Directives, until: float
    ) -> tuple[bool | None, float]:
        """Look once; return whether there is one (None: unknown), and after how many seconds to look again."""
        name = self._credential.name
        question = generation_question(self._credential.id, "generation", generation_id, credential=name)
        try:
            outcome = await self._pages.answer(question, directives, wait=Wait(until, reserved=True))
        except ProxyError as error:
            return None, error.retry_after or 0.0
        if not outcome.page.found:
            return False, 0.0
        entry.namespace = namespace_of(question, outcome.page)
        return True, 0.0
