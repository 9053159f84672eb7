"""Pages in the codings that callers accept: each made once per page, off the event loop where it takes long."""

from __future__ import annotations

from proxy.answer.encodings import Coding, encode
from proxy.answer.page import Page
from proxy.known.memory import Memory
from proxy.questions.question import Question
from proxy.redis.variants import SharedVariants
from proxy.tasks.detached import Detached, drain_all
from proxy.tasks.flight import Flights
from proxy.tasks.off_loop import OFF_LOOP_BYTES, off_loop_if_large


class Encoder:
    """Makes variants, which memory then keeps with their pages.

    A large page's is made once for all replicas: to ask Redis for it and to compare it takes less than to make it. For
    a small one's it would take longer.

    Args:
        shared: Redis, if there is one.
    """

    def __init__(self, memory: Memory, shared: SharedVariants | None = None) -> None:
        self._memory = memory
        self._shared = shared
        self._flights: Flights[bytes] = Flights()
        self._storing = Detached()

    async def body(self, question: Question, page: Page, coding: Coding | None) -> bytes:
        """The page's body in a coding; None: as it is."""
        if coding is None:
            return page.body
        if (made := page.variants.get(coding)) is not None:
            return made
        if len(page.body) <= OFF_LOOP_BYTES:
            return await self._make(page, coding)  # does not wait for anything, so that nobody else can begin it
        made, joined = await self._flights.share(
            f"{coding} {page.etag} {page.key}", lambda: self._find_or_make(question, page, coding)
        )
        if joined:  # it may have been made for another copy of the page
            self._memory.enrich(page, coding, made)
        return made

    async def drain(self, timeout: float) -> int:
        """Wait at most ``timeout`` seconds for what is being made; return how much is left."""
        return await drain_all(timeout, self._flights, self._storing)

    async def _find_or_make(self, question: Question, page: Page, coding: Coding) -> bytes:
        if self._shared is None or coding != "gzip":  # with zstd, Redis holds the page itself
            return await self._make(page, coding)
        if (variant := await self._shared.get(question, page)) is not None:
            self._memory.enrich(page, coding, variant)
            return variant
        variant = await self._make(page, coding)
        self._storing.spawn(self._shared.put(question, page, variant))
        return variant

    async def _make(self, page: Page, coding: Coding) -> bytes:
        variant = await off_loop_if_large(len(page.body), encode, page.body, coding)
        self._memory.enrich(page, coding, variant)
        return variant
