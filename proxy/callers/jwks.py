"""The public keys that verify tokens, from the URL of a JWK set (RFC 7517), fetched without stopping anybody.

An identity provider changes its keys while the proxy runs, and may be down when it is asked. So the set is fetched
anew in the background, and once more when a token names a key that is not in it, or none has come for long; and
whatever is answered instead of a set, the last good keys go on. A set is the provider's word, also one without keys:
it withdraws them all. The precautions of ``hub`` hold here too: a request is never cancelled, no redirect is followed
(it would say whose keys to trust), no cookie kept, no environment variable changes the way, the body is counted, and no
connection outlasts its deadline.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Sequence
from typing import Final

import httpx

from proxy.callers.keys import KeyFault, NamedKeys, PublicKey, usable_keys
from proxy.causes import reason
from proxy.errors import KeysUnavailable, Unauthorized
from proxy.hub.body import codings
from proxy.hub.clients import bare_client
from proxy.hub.network import UNTIL, Network
from proxy.hub.tls import tls_context
from proxy.settings import JwtSettings
from proxy.tasks.detached import Detached
from proxy.tasks.flight import Flights

MAX_SET: Final = 256 * 1024
"""Bytes of a JWK set that are read."""
TIMEOUT: Final = 2.0
"""Seconds for each step of a fetch; the whole may take twice as long."""
CONNECTIONS: Final = 2
"""To the provider; one whose answer is late ends a moment after it is given up."""
KEEPALIVE_EXPIRY: Final = 5.0
"""Seconds for which a connection is kept that nothing is asked by."""
MAX_SAME_NAME: Final = 4
"""Keys of one name that are tried, so that a forged token costs no more than so many signatures."""
_NO_KEYS: Final = "The keys that verify tokens could not be fetched yet; the token may be valid."
_log: Final = logging.getLogger("proxy.jwks")


class KeySet:
    """The keys behind ``jwks_url``.

    Attributes:
        generation: grows whenever the keys change.
        requests: how many requests were sent.
    """

    def __init__(
        self,
        settings: JwtSettings,
        *,
        transport: httpx.AsyncBaseTransport | None = None,
        clock: Callable[[], float] = time.monotonic,
        timeout: float = TIMEOUT,
    ) -> None:
        self._settings = settings
        self._clock = clock
        self._timeout = timeout
        self._keys: NamedKeys | None = None  # until a set is fetched
        self._fetched_at = self._asked_at = self._wanted_at = self._tried_at = float("-inf")
        self._failing = False
        self._flights: Flights[None] = Flights()
        self._detached = Detached(awaited=True)
        self._client = bare_client(
            transport
            or Network(settings.jwks_url or "", CONNECTIONS, KEEPALIVE_EXPIRY, tls_context(settings.jwks_ca_file)),
            "application/jwk-set+json, application/json",
            httpx.Timeout(timeout),
        )
        self.generation = 0
        self.requests = 0

    def check_for_changes(self) -> bool:
        """Have an old set fetched anew; nobody waits for it, the old keys go on.

        Return whether they do: not those that nobody has needed for so long that they may be withdrawn since.
        """
        now = self._clock()
        old = now - self._fetched_at >= self._settings.jwks_refresh
        if self._keys is not None and old and now - self._asked_at >= self._settings.jwks_min_interval:
            self._ask(now)
        return not self._overdue(now)

    async def find(self, kid: str | None) -> Sequence[PublicKey]:
        """Return the keys named ``kid`` (RFC 7515 §4.1.4), or the only one for a token that names none.

        For a key that is not known the set is fetched anew, but not more often than ``jwks_min_interval`` allows, so
        that any number of invented names costs one request.

        Raises:
            Unauthorized: there is no such key.
            KeysUnavailable: no set could be fetched yet.
        """
        if not self.check_for_changes():
            self._wanted_at = self._clock()
            await self._renewed()
        found = self._pick(kid)
        if not found and (kid is not None or not self._keys):
            await self._renewed()
            found = self._pick(kid)
        if found:
            return found
        if self._keys is None:
            again_at = self._wanted_at + self._settings.jwks_min_interval
            raise KeysUnavailable(_NO_KEYS, retry_after=again_at - self._clock())
        if kid is None:
            many = "more than one" if self._keys else "none"
            raise Unauthorized(f"The token names no key (kid), and there is {many}.")
        raise Unauthorized("The token's key (kid) is unknown; it may be new, withdrawn, or of another issuer.")

    async def fetch(self) -> NamedKeys:
        """Fetch the set, and keep nothing of it.

        Raises:
            KeyFault: there was no whole answer in time, or it was no set.
        """
        whole = 2 * self._timeout
        exchange = self._detached.spawn(self._fetch(asyncio.get_running_loop().time() + whole))
        done, _ = await asyncio.wait({exchange}, timeout=whole)
        if not done:
            raise KeyFault(f"no whole answer within {whole:g} s")
        fault = exchange.exception()
        if fault is not None and not isinstance(fault, KeyFault):
            # Its text may say more than is anybody's business.
            raise KeyFault(": ".join(filter(None, (type(fault).__name__, reason(fault))))) from fault
        return exchange.result()

    async def aclose(self, timeout: float = 0.0) -> None:
        """Wait at most ``timeout`` seconds for fetches under way or abandoned, then close the connections."""
        await asyncio.gather(self._flights.drain(timeout), self._detached.drain(timeout))
        await self._client.aclose()

    def _overdue(self, now: float) -> bool:
        """Whether the provider was due to be asked, and was not, in vain or not, as nobody needed a key."""
        due = 2 * self._settings.jwks_refresh + self._settings.jwks_min_interval
        return self._keys is not None and now - self._tried_at >= due

    def _pick(self, kid: str | None) -> Sequence[PublicKey]:
        keys = self._keys or ()
        if kid is None:
            return [key for _, key in keys] if len(keys) == 1 else []
        return [key for name, key in keys if name == kid][:MAX_SAME_NAME]

    async def _renewed(self) -> None:
        """Wait for a fetch: the one under way, else a new one if it is time for one."""
        now = self._clock()
        if not len(self._flights):
            if now - self._wanted_at < self._settings.jwks_min_interval:
                return
            self._wanted_at = now
        await asyncio.wait({self._ask(now)})

    def _ask(self, now: float) -> asyncio.Task[None]:
        task, joined = self._flights.join("set", self._refresh)
        if not joined:
            self._asked_at = now
        return task

    async def _refresh(self) -> None:
        try:
            keys = await self.fetch()
        except KeyFault as fault:
            self._failed(str(fault))
        else:
            self._learn(keys)
        self._tried_at = self._clock()

    async def _fetch(self, until: float) -> NamedKeys:
        self.requests += 1
        async with self._client.stream("GET", self._settings.jwks_url or "", extensions={UNTIL: until}) as response:
            if response.status_code != 200:
                raise KeyFault(f"the status is {response.status_code}, expected 200")
            if codings(response.headers):
                raise KeyFault("the answer is in a content coding that was not asked for")
            body = bytearray()
            async for chunk in response.aiter_bytes():
                body += chunk
                if len(body) > MAX_SET:
                    raise KeyFault(f"the answer is longer than {MAX_SET} bytes")
                if asyncio.get_running_loop().time() > until:
                    raise KeyFault("the answer did not end in time")
        return usable_keys(bytes(body), self._settings.algorithm or "")

    def _learn(self, keys: NamedKeys) -> None:
        self._fetched_at = self._clock()
        if keys != self._keys:
            self._keys = keys
            self.generation += 1
            if keys:
                _log.info("%d keys that verify tokens are known", len(keys))
            else:
                _log.warning("no key of the JWK set verifies %s: no token is accepted", self._settings.algorithm)
        elif self._failing:
            _log.info("the keys that verify tokens were fetched again")
        self._failing = False

    def _failed(self, fault: str) -> None:
        if not self._failing:
            goes_on = "the last good keys go on" if self._keys is not None else "until they are, no token is accepted"
            _log.warning("the keys that verify tokens were not fetched, %s: %s", goes_on, fault)
        self._failing = True
