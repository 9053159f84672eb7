"""Pages in the codings that callers accept: each made once per page, off the event loop where it takes long."""

from __future__ import annotations

from functools import partial

from proxy.encodings import Coding, encode
from proxy.flight import Flights
from proxy.memory import Memory
from proxy.page import Page
from proxy.stored import OFF_LOOP, off_loop_if_large


class Encoder:
    """Makes variants, which memory then keeps with their pages."""

    def __init__(self, memory: Memory) -> None:
        self._memory = memory
        self._flights: Flights[bytes] = Flights()

    async def body(self, page: Page, coding: Coding | None) -> bytes:
        """The page's body in a coding; None: as it is."""
        made = page.body if coding is None else page.variants.get(coding)
        if coding is None or made is not None:
            return made or b""
        if len(page.body) <= OFF_LOOP:
            return await self._make(page, coding)  # does not wait for anything, so that nobody else can begin it
        made, _ = await self._flights.share(f"{coding} {page.etag} {page.key}", lambda: self._make(page, coding))
        return made

    async def drain(self, timeout: float) -> int:
        """Wait at most ``timeout`` seconds for what is being made; return how much is left."""
        return await self._flights.drain(timeout)

    async def _make(self, page: Page, coding: Coding) -> bytes:
        variant = await off_loop_if_large(partial(encode, coding=coding), page.body, len(page.body))
        self._memory.enrich(page, coding, variant)
        return variant
