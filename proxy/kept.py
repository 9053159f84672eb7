"""A page in memory, and when it may be served: asked for each hit, and reckoned only when something has changed."""

from __future__ import annotations

from typing import Final

from msgspec import Struct

from proxy.freshness import Term
from proxy.page import Page

NEVER: Final = Term(0.0, 0.0, 0.0, 0.0, doubted=False)


class Kept(Struct):
    """A page in memory.

    Attributes:
        listing: whose it is.
        term: when it may be served.
        reckoned: what ``Knowledge.changes`` was when the term was reckoned; it is to be again when that moves on.
    """

    page: Page
    listing: str
    term: Term = NEVER
    reckoned: int = -1
