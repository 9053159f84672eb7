"""What a cache evicts when there is no room: by second chance, which is nearly LRU and costs less. Pure.

What is used is only marked so, and the marks are looked at when something has to go. To keep all in the order of their
use costs each look-up more than the look-up itself, most where there are many, as their neighbours are touched too.
"""

from __future__ import annotations

from collections import OrderedDict
from typing import Final, Protocol, TypeVar

CHANCES: Final = 16
"""How many that were used are passed over to find one that goes: nothing waits for a look through all of them."""


class Marked(Protocol):
    """Whatever is ``used``, since this was looked at last."""

    used: bool


K = TypeVar("K")
V = TypeVar("V", bound=Marked)


def victim(kept: OrderedDict[K, V]) -> K:
    """The key of the first that was not used, in the order in which they came or were passed over."""
    for _ in range(CHANCES):
        key, value = next(iter(kept.items()))
        if not value.used:
            return key
        value.used = False
        kept.move_to_end(key)
    return next(iter(kept))
