"""Limits per caller, over HTTP: who is charged what, and the headers that say how much is left.

The headers are those of draft-ietf-httpapi-ratelimit-headers: ``RateLimit-Policy: "caller";q=100;w=10`` (100 units,
there again after 10 seconds) and ``RateLimit: "caller";r=40;t=6`` (40 left, all there again in 6 seconds).
"""

from __future__ import annotations

import math
from typing import Self, assert_never

from msgspec import Struct

from proxy.answer.outcome import Hit, Miss, Outcome, StaleHit
from proxy.callers.caller import Caller
from proxy.callers.limiter import Balance, Limiter
from proxy.callers.quota import Terms
from proxy.errors import HubError, HubRejectedQuestion, ProxyError, TooManyRequests
from proxy.pages import PATIENCE
from proxy.settings import LimitSettings
from proxy.web.state import RequestState


class Tab(Struct):
    """What one request is charged: the price of a hit; 1 where the hub may be asked, of which the rest is given back.

    Were the rest charged only afterwards, any number that come at once would pass for the price of hits.

    Attributes:
        terms: what the caller may ask; None: as much as it likes.
        hit: the price of what the hub is not asked for; 1.0 is that of all else.
        paid: what has been charged.
        asked: whether the hub was asked.
    """

    limiter: Limiter
    state: RequestState
    caller: str
    terms: Terms | None
    hit: float
    paid: float = 0.0
    asked: bool = False

    async def pay(self, price: float) -> None:
        """Charge what has not been paid yet of a price.

        Raises:
            TooManyRequests: the caller has not as much left; nothing more is charged.
        """
        if self.terms is None:
            return
        try:
            await self.limiter.charge(self.caller, self.terms, max(0.0, price - self.paid))
            self.paid = max(self.paid, price)
        finally:
            self._say()

    def note(self, outcome: Outcome | ProxyError) -> None:
        """A question has been answered, or could not be."""
        match outcome:
            case Miss() | HubError(asked=True) | HubRejectedQuestion():
                self.asked = True
            case StaleHit(reason=reason) if reason == PATIENCE:
                self.asked = True
            case Hit() | StaleHit() | ProxyError():
                pass
            case _:
                assert_never(outcome)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, _: object, error: BaseException | None, __: object) -> None:
        """Give back what was paid for nothing; not to who leaves in the middle, as the hub may be under way."""
        if self.terms is None or not (error is None or isinstance(error, ProxyError)):
            return
        # To be refused is free: else who asks on and on would pay for that with all that comes back.
        price = 1.0 if self.asked else 0.0 if isinstance(error, TooManyRequests) else self.hit
        if self.paid > price:
            self.limiter.refund(self.caller, self.terms, self.paid - price)
            self._say()

    def _say(self) -> None:
        if self.terms is not None:
            self.state.headers = rate_limit_headers(self.limiter.balance(self.caller, self.terms))


class Limits:
    """Charges requests to their callers."""

    def __init__(self, settings: LimitSettings, limiter: Limiter) -> None:
        self._settings = settings
        self._limiter = limiter

    def tab(self, caller: Caller, state: RequestState) -> Tab:
        """Begin to charge a request; the caller is told in its answer what is left."""
        return Tab(self._limiter, state, caller.name, self.terms(caller), self._settings.hit_weight)

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
