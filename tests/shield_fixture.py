"""A shield, alone or before a Redis that can be switched off; turns at it; looks that bring turns."""

from __future__ import annotations

import asyncio
from typing import Any

import fakeredis
import pytest

from proxy import errors
from proxy.admission.gate import Allowance
from proxy.admission.gates import Gates
from proxy.admission.shared_gate import SharedGate
from proxy.admission.shield import Shield
from proxy.questions.query import ListQuery
from proxy.questions.question import page_question
from proxy.redis.claims import Claim, WantedTurn
from proxy.redis.link import RedisLink
from proxy.redis.shared import Shared
from tests.support import Clock

ALLOWANCE = Allowance(rate=1e6, burst=1e6, concurrency=2)


class Switch(RedisLink):
    """A link that can be switched off, and whose answers to one command can be lost, or held back."""

    on = True
    lost = slow = ""

    async def call(self, command: str, call: Any) -> Any:
        if not self.on:
            return None
        answer = await super().call(command, call)
        if command == self.slow:
            self.answered.set()
            await self.released.wait()
        return None if command == self.lost else answer

    def hold_back(self, command: str) -> None:
        self.slow, self.answered, self.released = command, asyncio.Event(), asyncio.Event()


def shield(server: fakeredis.FakeServer | None = None, allowance: Allowance = ALLOWANCE, **named: Any) -> Shield:
    """``named``: what else its gates are given."""
    shared = None
    if server is not None:
        shared = SharedGate(Switch(fakeredis.FakeAsyncRedis(server=server), 2.0))
    clock = {"clock": named["clock"]} if "clock" in named else {}
    return Shield(Gates(allowance, shared, gate_name=lambda: "gp1:{g}", **named), **clock)


def link_of(one: Shield) -> Switch:
    assert one._gates._shared is not None
    link = one._gates._shared._link
    assert isinstance(link, Switch)
    return link


def switch(one: Shield, *, on: bool) -> None:
    link_of(one).on = on


def tell_time(one: Shield, clock: Clock) -> None:
    """Have Redis go by this clock."""
    if one._gates._shared is not None:
        one._gates._shared.now = clock()


both = pytest.mark.parametrize("server", [None, "redis"], ids=["alone", "with Redis"])


def server_of(name: str | None) -> fakeredis.FakeServer | None:
    return None if name is None else fakeredis.FakeServer()


async def go(one: Shield, error: errors.ProxyError | None = None, patience: float = 5.0, **named: Any) -> None:
    async with one.turn(patience, **named):
        if error is not None:
            raise error


class Held:
    """A turn that lasts until it is told to end."""

    def __init__(self, one: Shield, **named: Any) -> None:
        self.begun, self._may_end = asyncio.Event(), asyncio.Event()
        self.task = asyncio.create_task(self._run(one, **named))

    async def _run(self, one: Shield, **named: Any) -> None:
        async with one.turn(5.0, **named):
            self.begun.set()
            await self._may_end.wait()

    async def end(self) -> None:
        self._may_end.set()
        await self.task


async def holding(one: Shield, turns: int) -> list[Held]:
    """Turns that have begun."""
    held = [Held(one) for _ in range(turns)]
    for each in held:
        await each.begun.wait()
    return held


LOOKED_FOR = page_question("c", ListQuery())


async def look(one: Shield) -> WantedTurn:
    """Look into Redis with a claim, as the path of a question does."""
    wanted = one.wanted(5.0)
    assert wanted is not None
    claim = Claim(LOOKED_FOR, wanted.ticket, (0.0, 0.0), wanted)
    found = await Shared(link_of(one)).look_up(LOOKED_FOR, claim=claim)
    assert found is not None
    assert found.leased == (found.turn is not None)
    wanted.answer = found.turn
    return wanted
