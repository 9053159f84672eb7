"""Limits per caller, over HTTP: who is charged what, and the headers that say how much is left.

The headers are those of draft-ietf-httpapi-ratelimit-headers: ``RateLimit-Policy: "caller";q=100;w=10`` (100 units,
there again after 10 seconds) and ``RateLimit: "caller";r=40;t=6`` (40 left, all there again in 6 seconds).
"""

from __future__ import annotations

import math
from typing import Any, assert_never

from litestar import Request
from msgspec import Struct

from proxy.answer.outcome import Hit, Miss, Outcome, StaleHit
from proxy.callers.caller import Caller
from proxy.callers.limiter import Balance, Limiter
from proxy.callers.quota import Terms
from proxy.errors import HubError, HubRejectedQuestion, ProxyError, TooManyRequests
from proxy.settings import LimitSettings
from proxy.web.state import state_of


class Tab(Struct, frozen=True):
    """What one request is charged: a hit's price before anything is known, the rest when the hub was asked for it."""

    limiter: Limiter
    caller: str
    terms: Terms | None
    rest: float

    def settle(self, outcome: Outcome | ProxyError) -> None:
        """A question has been answered, or could not be."""
        match outcome:
            case Miss() | HubError(asked=True) | HubRejectedQuestion():
                if self.terms is not None and self.rest:
                    self.limiter.owe(self.caller, self.terms, self.rest)
            case Hit() | StaleHit() | ProxyError():
                pass
            case _:
                assert_never(outcome)


class Limits:
    """Charges requests to their callers."""

    def __init__(self, settings: LimitSettings, limiter: Limiter) -> None:
        self._settings = settings
        self._limiter = limiter

    async def charge(self, request: Request[Any, Any, Any], caller: Caller) -> Tab:
        """Charge a request.

        Raises:
            TooManyRequests: the caller has used up what it may ask.
        """
        terms = self.terms(caller)
        if terms is None:
            return Tab(self._limiter, caller.name, None, 0.0)
        try:
            balance = await self._limiter.charge(caller.name, terms, self._settings.hit_weight)
        except TooManyRequests:
            state_of(request.scope).headers = rate_limit_headers(self._limiter.balance(caller.name, terms))
            raise
        state_of(request.scope).headers = rate_limit_headers(balance)
        return Tab(self._limiter, caller.name, terms, 1.0 - self._settings.hit_weight)

    def terms(self, caller: Caller) -> Terms | None:
        """What the caller may ask; None: as much as it likes."""
        rate = self._settings.rate if caller.rate is None else caller.rate
        return Terms(rate, float(self._settings.burst if caller.burst is None else caller.burst)) if rate else None

    def pay(self, caller: str, terms: Terms) -> Balance | None:
        """Charge a hit without waiting; None: that takes a look into Redis, or there is too little left."""
        return self._limiter.pay(caller, terms, self._settings.hit_weight)


def rate_limit_headers(balance: Balance) -> list[tuple[bytes, bytes]]:
    """What is left to a caller."""
    terms = balance.terms
    policy = f'"caller";q={terms.burst:.0f};w={math.ceil(terms.burst / terms.rate)}'
    left = f'"caller";r={max(0, math.floor(balance.left))};t={math.ceil(balance.reset)}'
    return [(b"ratelimit-policy", policy.encode()), (b"ratelimit", left.encode())]
