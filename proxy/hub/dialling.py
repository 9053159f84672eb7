"""Connecting to a host of several addresses, the next one a little later than the one before (RFC 8305).

asyncio can do so, uvloop cannot.
"""

from __future__ import annotations

import asyncio
import socket
from itertools import chain, zip_longest
from typing import Any, Final, NamedTuple

STAGGER: Final = 0.25
"""Seconds that an address is given before the next one is tried beside it (RFC 8305 §8)."""


class Address(NamedTuple):
    """Of a socket, as ``getaddrinfo`` has it."""

    family: socket.AddressFamily
    place: tuple[Any, ...]


async def dial(host: str, port: int) -> socket.socket:
    """Return a connected, non-blocking TCP socket.

    Raises:
        OSError: there is no such host, or none of its addresses answers; then for what was said of each.
    """
    left = await _addresses(host, port)
    if not left:
        raise OSError("The host has no address.")
    attempts: set[asyncio.Task[socket.socket]] = set()
    failures: list[BaseException] = []
    try:
        while left or attempts:
            if left:
                attempts.add(asyncio.create_task(_connect(left.pop(0))))
            await asyncio.wait(attempts, timeout=STAGGER if left else None, return_when=asyncio.FIRST_COMPLETED)
            for attempt in [one for one in attempts if one.done()]:
                attempts.discard(attempt)
                if (failure := attempt.exception()) is None:
                    return attempt.result()
                failures.append(failure)
    finally:
        for attempt in attempts:
            if not attempt.cancel() and attempt.exception() is None:
                attempt.result().close()
    raise OSError("No address of the host answers.") from BaseExceptionGroup("each address", failures)


async def _addresses(host: str, port: int) -> list[Address]:
    """The host's addresses, of each family in turn, in the system's order."""
    found = await asyncio.get_running_loop().getaddrinfo(host, port, type=socket.SOCK_STREAM)
    families: dict[socket.AddressFamily, list[Address]] = {}
    for family, _, _, _, place in found:
        families.setdefault(family, []).append(Address(family, place))
    return [one for one in chain.from_iterable(zip_longest(*families.values())) if one is not None]


async def _connect(address: Address) -> socket.socket:
    connected = socket.socket(address.family, socket.SOCK_STREAM)
    try:
        connected.setblocking(False)
        connected.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)  # as uvloop does
        await asyncio.get_running_loop().sock_connect(connected, address.place)
    except BaseException:
        connected.close()
        raise
    return connected
