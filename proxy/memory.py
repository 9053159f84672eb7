"""Pages in this process's memory, bounded by bytes; the least recently used go first."""

from __future__ import annotations

from collections import OrderedDict
from typing import Final

from proxy.page import Page

OVERHEAD: Final = 640
"""Bytes charged for a page beside its body: key, tag, and the objects that hold them (measured: about 550)."""


class Memory:
    """An LRU of pages by key."""

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._pages: OrderedDict[str, Page] = OrderedDict()
        self.bytes = 0

    def __len__(self) -> int:
        return len(self._pages)

    def get(self, key: str) -> Page | None:
        """Return the page and mark it as used."""
        page = self._pages.get(key)
        if page is not None:
            self._pages.move_to_end(key)
        return page

    def put(self, page: Page) -> bool:
        """Keep the page unless a newer one is kept; return whether it is kept now."""
        kept = self._pages.get(page.key)
        if kept is not None and kept.asked_at > page.asked_at:
            return False
        self.drop(page.key)
        if _cost(page) > self._limit:
            return False
        self._pages[page.key] = page
        self.bytes += _cost(page)
        while self.bytes > self._limit:
            _, evicted = self._pages.popitem(last=False)
            self.bytes -= _cost(evicted)
        return True

    def drop(self, key: str) -> None:
        """Forget the page, if it is kept."""
        page = self._pages.pop(key, None)
        if page is not None:
            self.bytes -= _cost(page)


def _cost(page: Page) -> int:
    return len(page.body) + OVERHEAD
