"""Connecting to a host of several addresses: one that does not answer costs a moment, not the connection."""

from __future__ import annotations

import asyncio
import errno
import socket
from collections.abc import Iterator
from typing import Any

import pytest

from proxy.commands.sockets import LOOPBACK
from proxy.hub import dialling
from proxy.hub.dialling import dial
from tests.support import free_port


@pytest.fixture
def listening() -> Iterator[int]:
    """A port at which connections are taken."""
    with socket.create_server((LOOPBACK, 0)) as one:
        yield one.getsockname()[1]


@pytest.fixture
def silent() -> Iterator[int]:
    """A port at which nothing is said, not even that nobody listens: what waits there to be taken is full."""
    with socket.create_server((LOOPBACK, 0), backlog=0) as one:
        waiting = [socket.socket() for _ in range(3)]
        for each in waiting:
            each.setblocking(False)
            each.connect_ex(one.getsockname())
        yield one.getsockname()[1]
        for each in waiting:
            each.close()


def resolved(monkeypatch: pytest.MonkeyPatch, *ports: int, families: tuple[socket.AddressFamily, ...] = ()) -> None:
    """Every name has an address for each port."""
    kinds = families or (socket.AF_INET,) * len(ports)

    async def addresses(*_: Any, **__: Any) -> list[Any]:
        return [
            (kind, socket.SOCK_STREAM, 6, "", (LOOPBACK if kind is socket.AF_INET else "::1", port))
            for kind, port in zip(kinds, ports, strict=True)
        ]

    monkeypatch.setattr(asyncio.get_running_loop(), "getaddrinfo", addresses)


async def port_of(host: str = "hub.test") -> int:
    with await dial(host, 80) as one:
        assert not one.getblocking()
        peer: int = one.getpeername()[1]
        return peer


async def test_the_first_address_that_answers_is_taken(monkeypatch: pytest.MonkeyPatch, listening: int) -> None:
    resolved(monkeypatch, free_port(), free_port(), listening)
    assert await port_of() == listening


async def test_an_address_that_says_nothing_is_not_waited_for(
    monkeypatch: pytest.MonkeyPatch, silent: int, listening: int
) -> None:
    monkeypatch.setattr(dialling, "STAGGER", 0.01)
    resolved(monkeypatch, silent, listening)
    async with asyncio.timeout(20):  # the system itself tries for two minutes
        assert await port_of() == listening


async def test_families_take_turns(monkeypatch: pytest.MonkeyPatch) -> None:
    """All of a family's addresses may be out of reach."""
    v6, v4 = socket.AF_INET6, socket.AF_INET
    resolved(monkeypatch, 1, 2, 3, 4, families=(v6, v6, v6, v4))
    found = await dialling._addresses("hub.test", 80)
    assert [(one.family, one.place[1]) for one in found] == [(v6, 1), (v4, 4), (v6, 2), (v6, 3)]


async def test_what_each_address_said_is_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    resolved(monkeypatch, free_port(), free_port())
    with pytest.raises(OSError, match="No address") as caught:
        await dial("hub.test", 80)
    group = caught.value.__cause__
    assert isinstance(group, BaseExceptionGroup)
    assert [getattr(one, "errno", None) for one in group.exceptions] == [errno.ECONNREFUSED] * 2


async def test_giving_up_leaves_no_socket_open(monkeypatch: pytest.MonkeyPatch, silent: int) -> None:
    made: list[socket.socket] = []

    class Noted(socket.socket):
        def __init__(self, *given: Any) -> None:
            super().__init__(*given)
            made.append(self)

    monkeypatch.setattr(dialling, "STAGGER", 0.01)
    monkeypatch.setattr(socket, "socket", Noted)
    resolved(monkeypatch, silent, silent)
    dialled = asyncio.create_task(dial("hub.test", 80))
    while len(made) < 2:
        await asyncio.sleep(0.005)
    dialled.cancel()
    with pytest.raises(asyncio.CancelledError):
        await dialled
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    assert [one.fileno() for one in made] == [-1, -1]
