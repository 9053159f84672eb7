"""What each caller may ask, counted for all replicas together in Redis, and without a look there for each request.

A process takes units for a caller from Redis ahead, a few at a time, and spends them by itself for up to
``HOLD_SECONDS``. What it does not spend is lost to the caller, never granted twice: the limit is exact upwards. (The
library ``limits`` would ask Redis each time, over connections of its own that nothing here guards against a Redis that
hangs.)

Without Redis each process grants its share of what Redis said last to be left, and of what comes back. With each look
it tells Redis what that has said last, which it may have forgotten since, and what was granted without it. What no
process knows is granted again: to a caller that none of those that go on has met.
"""

from __future__ import annotations

import time
from collections import OrderedDict
from collections.abc import Callable, Sequence
from typing import Final

from msgspec import Struct

from proxy.callers.quota import Taken, Terms, take_units
from proxy.errors import TooManyRequests
from proxy.redis.link import RedisLink
from proxy.redis.scripts import Script
from proxy.tasks.flight import Flights

HOLD_SECONDS: Final = 1.0
"""Seconds for which units are held that were taken ahead."""
AHEAD_SHARE: Final = 1 / 32
"""Part of the burst that all replicas together take ahead at the most, beyond what is waited for."""
CALLERS: Final = 10_000
"""Callers of whom is remembered what is held for them."""
_QUOTA_TAKE: Final = Script("quota_take", "numbers")


class _Held(Struct):
    """What is known of a caller.

    Attributes:
        units: that are charged and not spent yet; good until ``until``.
        left: that Redis, or this process' own bucket, has beside.
        full_at: when the own bucket will be full; it follows Redis', of which it is a share.
        shared_full_at: when Redis' bucket will be, as it said last and by its own clock.
        unreported: units granted from the own bucket, which Redis has yet to hear of.
        waiting: units that are being waited for.
        coming: units that are being taken.
    """

    terms: Terms
    units: float = 0.0
    until: float = 0.0
    left: float = 0.0
    full_at: float = 0.0
    shared_full_at: float = 0.0
    unreported: float = 0.0
    waiting: float = 0.0
    coming: float = 0.0


class Balance(Struct, frozen=True):
    """What a caller may ask: at once, what is left of it, in how many seconds there is all again."""

    terms: Terms
    left: float

    @property
    def reset(self) -> float:
        """Seconds until the burst is there again."""
        return (self.terms.burst - self.left) / self.terms.rate


class Limiter:
    """Charges callers for what they ask.

    Args:
        replicas: how many processes share the limits, as far as is known.
        clock: seconds, monotonic.
    """

    def __init__(
        self, link: RedisLink | None, *, replicas: Callable[[], int], clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._link = link
        self._replicas = replicas
        self._clock = clock
        self._held: OrderedDict[str, _Held] = OrderedDict()
        self._flights: Flights[Taken] = Flights()

    async def charge(self, caller: str, terms: Terms, units: float) -> None:
        """Charge ``units`` to a caller.

        Raises:
            TooManyRequests: there are not as many left; ``retry_after`` says when there are.
        """
        held = self._of(caller, terms)
        held.waiting += units
        try:
            while not self._spend(held, units):
                # Shared by those who need as much: to less, another's refusal would be no answer.
                taken, _ = await self._flights.share(f"{units} {caller}", lambda: self._take(caller, held, units))
                if not taken.granted:
                    raise TooManyRequests(
                        f"This caller may ask {terms.rate:g} a second on average, {terms.burst:g} at once.",
                        retry_after=taken.wait,
                    )
        finally:
            held.waiting -= units

    def pay(self, caller: str, terms: Terms, units: float) -> Balance | None:
        """Charge ``units`` that are held already; None: they are not, and nothing has been charged."""
        return self.balance(caller, terms) if self._spend(self._of(caller, terms), units) else None

    def refund(self, caller: str, terms: Terms, units: float) -> None:
        """Give back what a request was charged and has not cost; it is held as what was taken ahead is.

        It may have waited for long: what the bucket has got back by itself meanwhile is not given back once more.
        """
        held, now = self._of(caller, terms), self._clock()
        kept = held.units if now < held.until else 0.0
        held.units = max(kept, min(kept + units, (held.full_at - now) * terms.rate))
        held.until = now + HOLD_SECONDS

    def balance(self, caller: str, terms: Terms) -> Balance:
        """What the caller may ask, as far as this process knows."""
        held = self._of(caller, terms)
        return Balance(terms, min(terms.burst, held.left + held.units))

    def _of(self, caller: str, terms: Terms) -> _Held:
        held = self._held.get(caller)
        if held is None or held.terms != terms:
            held = self._held[caller] = _Held(terms, left=terms.burst)
            if len(self._held) > CALLERS:
                self._held.popitem(last=False)
        self._held.move_to_end(caller)
        return held

    def _spend(self, held: _Held, units: float) -> bool:
        if self._clock() >= held.until:
            held.units = 0.0
        if held.units < units:
            return False
        held.units -= units
        return True

    async def _take(self, caller: str, held: _Held, units: float) -> Taken:
        """Take what all who wait need, and a little more."""
        replicas = max(1, self._replicas())
        own = held.terms.share(replicas)
        least = max(units - held.units, 1e-9)
        # Looks overlap; were each to take for all who wait, what is left over would be lost to the caller.
        wanted = max(least, held.waiting - held.units - held.coming, held.terms.burst * AHEAD_SHARE / replicas)
        held.coming += wanted
        try:
            taken = await self._take_shared(caller, held, own, wanted, least)
        finally:
            held.coming -= wanted
        if taken is None:
            held.full_at, taken = take_units(held.full_at, self._clock(), own, wanted, least)
            held.unreported += taken.granted
        held.left = taken.left
        held.units += taken.granted  # not set: some may be given back meanwhile
        if taken.granted:
            held.until = self._clock() + HOLD_SECONDS
        return taken

    async def _take_shared(self, caller: str, held: _Held, own: Terms, wanted: float, least: float) -> Taken | None:
        """Take units from what all replicas share; None: there is no Redis, or it cannot be asked."""
        if self._link is None:
            return None
        unreported, held.unreported = held.unreported, 0.0  # told once, as looks overlap
        spent = min(unreported, max(0.0, held.full_at - self._clock()) * own.rate)  # the rest has come back meanwhile
        reported = (wanted, least, held.terms.rate, held.terms.burst, held.shared_full_at, spent)
        keys = [self._link.names.quota(caller)]
        answer = await self._link.run(_QUOTA_TAKE, "quota_take", keys, [*map(repr, reported), ""], _read)
        if answer is None:
            held.unreported += unreported
            return None
        held.shared_full_at, taken = answer
        held.full_at = self._clock() + (held.terms.burst - taken.left) / held.terms.rate
        return taken


def _read(answer: Sequence[bytes]) -> tuple[float, Taken]:
    granted, left, wait, full_at = map(float, answer)
    return full_at, Taken(granted, left, wait)
