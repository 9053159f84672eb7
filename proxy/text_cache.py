"""A cache for functions of texts, whose results all who need them share; bounded by bytes as well as in number."""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache, wraps
from typing import Any, Final, ParamSpec, TypeVar, cast

MAX_CHARACTERS: Final = 1024
"""Characters, in all, of the longest texts whose results are shared: callers can make up filters of 12 KB each."""

P = ParamSpec("P")
T = TypeVar("T")


def text_cache(entries: int) -> Callable[[Callable[P, T]], Callable[P, T]]:
    """As ``lru_cache`` for a pure function of texts; what it makes of long ones it makes anew each time."""

    def share(function: Callable[P, T]) -> Callable[P, T]:
        kept: Any = lru_cache(entries)(function)

        @wraps(function)
        def recalled(*texts: Any, **named: Any) -> T:
            return cast("T", (kept if sum(map(len, texts)) <= MAX_CHARACTERS else function)(*texts, **named))

        return cast("Callable[P, T]", recalled)

    return share
