"""A caller's Cache-Control (RFC 9111 §5.2.1): what the caller asks of a kept page. Pure.

What a caller asks for is honoured, within one bound: a page that the hub vouched for less than
``min_refresh`` ago is fresh for anybody, so that nobody can use directives to hammer the hub.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable
from typing import Final

from msgspec import Struct

from proxy.answer.freshness import Fresh, Stale, Verdict

_DIRECTIVE: Final = re.compile(r"""([!#$%&'*+.^_`|~0-9A-Za-z-]+)(?:=(?:"((?:[^"\\]|\\.)*)"|([^\s,;]*)))?""")
_SECONDS: Final = re.compile(r"[0-9]+", re.ASCII)
_MOST: Final = 2.0**31
"""Seconds that stand for any greater number (RFC 9111 §1.2.2)."""


class Directives(Struct, frozen=True, gc=False):
    """What the caller asks for; without a header, nothing.

    Attributes:
        max_age: seconds since the hub vouched for the page, at most.
        min_fresh: seconds for which it is still to be fresh, at least.
        max_stale: seconds for which it may have been stale.
        stale_if_error: seconds for which it may have been stale where the hub fails or is not asked (RFC 5861 §4).
        only_if_cached: the hub is not to be asked.
    """

    max_age: float = math.inf
    min_fresh: float = 0.0
    max_stale: float = 0.0
    stale_if_error: float = math.inf
    only_if_cached: bool = False

    def accept(self, verdict: Verdict, min_refresh: float) -> bool:
        """Whether a page so judged is what the caller asks for, without asking the hub."""
        match verdict:
            case Fresh(ttl, age):
                return age < min_refresh or (age <= self.max_age and ttl >= self.min_fresh)
            case Stale(ttl, age):
                return -ttl < self.max_stale and age <= self.max_age
            case _:
                return False

    def accept_instead(self, verdict: Fresh | Stale) -> bool:
        """Whether a page so judged may stand in for an answer that the hub does not give."""
        return max(0.0, -verdict.ttl) < self.stale_if_error


NO_DIRECTIVES: Final = Directives()


def parse_directives(cache_control: Iterable[str], pragma: Iterable[str] = ()) -> Directives:
    """Read the values of all such header lines; unknown directives and broken numbers are passed over.

    ``Pragma: no-cache`` counts where there is no Cache-Control at all (RFC 9111 §5.4).
    """
    given = _given(cache_control)
    if not given:
        return Directives(max_age=0.0) if "no-cache" in _given(pragma) else NO_DIRECTIVES
    max_age = 0.0 if "no-cache" in given else _seconds(given.get("max-age"))
    stale_if_error = _seconds(given.get("stale-if-error"))
    max_stale = math.inf if given.get("max-stale") == "" else _seconds(given.get("max-stale"))
    return Directives(
        max_age=math.inf if max_age is None else max_age,
        min_fresh=_seconds(given.get("min-fresh")) or 0.0,
        max_stale=max_stale or 0.0,
        stale_if_error=math.inf if stale_if_error is None else stale_if_error,
        only_if_cached="only-if-cached" in given,
    )


def _given(values: Iterable[str]) -> dict[str, str]:
    """The directives by their names in lower case."""
    return {name.lower(): quoted or plain for name, quoted, plain in _DIRECTIVE.findall(",".join(values))}


def _seconds(text: str | None) -> float | None:
    return min(float(text), _MOST) if text is not None and _SECONDS.fullmatch(text) else None
