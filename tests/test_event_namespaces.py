"""Who hears of an event: whoever may see its namespace, which is looked up where no row in memory says it."""

from __future__ import annotations

import asyncio
import json
from contextlib import AsyncExitStack
from typing import Any

import pytest

from proxy.answer.page import namespace_of
from proxy.secret import Secret
from proxy.settings import CredentialSettings, HubSettings, Settings
from proxy.simulator import Fault
from proxy.simulator.streaming import label
from tests.event_fixture import CALLERS, SETTLED, key_of, page, proxies
from tests.listening import listening
from tests.support import LIST, until


async def test_each_hears_of_its_namespaces_only() -> None:
    async with proxies(settings=Settings(auth=CALLERS)) as it, AsyncExitStack() as stack:
        names = ("ox", "bessie", "both", "all", "ox")
        heard = [await stack.enter_async_context(listening(it.url, key_of(name))) for name in names]
        done = [(namespace, it.complete(namespace)) for namespace in ("ox", "bessie", "moo", "ox")]
        wanted = {"ox": {"ox"}, "bessie": {"bessie"}, "both": {"ox", "bessie"}, "all": {"ox", "bessie", "moo"}}
        for name, one in zip(names, heard, strict=True):
            await until(lambda n=name, o=one: len(o.completions) == sum(ns in wanted[n] for ns, _ in done))  # type: ignore[misc]
            assert one.completions == [generation for namespace, generation in done if namespace in wanted[name]]
        assert sorted(it.lookups()) == sorted(f"{LIST}/{generation}" for _, generation in done), "each once"


async def test_several_credentials_one_connection_each() -> None:
    farm = CredentialSettings(name="farm", namespaces=("bessie",), api_key=Secret("farm-key"))
    settings = Settings(auth=CALLERS, hub=HubSettings(credentials=(farm,)))
    async with proxies(settings=settings) as it, AsyncExitStack() as stack:
        heard = {
            name: await stack.enter_async_context(listening(it.url, key_of(name)))
            for name in ("ox", "bessie", "both", "all")
        }
        assert it.hub.streams.open == {label(it.hub.api_key): 1, label("farm-key"): 1}
        done = [it.complete("ox"), it.complete("bessie")]  # the simulator tells both tokens of both
        wanted = {"ox": done[:1], "bessie": done[1:], "both": done, "all": done}
        for name, one in heard.items():
            await until(lambda n=name, o=one: len(o.completions) >= len(wanted[n]))  # type: ignore[misc]
        await asyncio.sleep(0.3)
        assert {name: sorted(one.completions) for name, one in heard.items()} == {
            name: sorted(ids) for name, ids in wanted.items()
        }
        async with listening(it.url, key_of("all"), f"Last-Event-ID: {heard['all'].last_id}") as again:
            later = it.complete("ox")
            await until(lambda: again.completions == [later])
            assert again.gaps == 0


async def test_a_row_in_memory_spares_the_look_up_and_other_namespaces() -> None:
    async with proxies(settings=Settings(auth=CALLERS, cache=SETTLED)) as it:
        row = it.hub.world.enqueue("ox")
        key = {"authorization": "Bearer key-of-both"}
        for namespace in ("ox", "bessie"):
            await page(it.url, f"namespace={namespace}&page_size=3", **key)
        async with listening(it.url, key_of("ox")) as heard, listening(it.url, key_of("bessie")) as other:
            await asyncio.sleep(0.1)
            it.hub.world.end(row)
            await until(lambda: heard.completions == [row.id])
            assert "hit" in (await page(it.url, "namespace=bessie&page_size=3", **key)).headers["cache-status"]
            assert sum("bessie" in one.query for one in it.hub.journal.requests) == 1
            assert other.completions == []
            assert it.lookups() == []


async def test_a_look_up_that_fails_is_tried_again() -> None:
    async with proxies(settings=Settings(auth=CALLERS)) as it, listening(it.url, key_of("ox")) as heard:
        it.hub.faults.set(Fault(status=500, times=1))
        done = [it.complete("ox"), it.complete("ox")]
        await until(lambda: len(heard.completions) == 2)
        assert heard.completions == done


async def test_an_event_of_no_namespace_is_for_those_who_see_all() -> None:
    """What is no text names none: it is known whose the event is not, so that there is no gap either."""
    async with (
        proxies(settings=Settings(auth=CALLERS)) as it,
        listening(it.url, key_of("ox")) as ox,
        listening(it.url, key_of("all")) as everybody,
    ):
        row = it.hub.world.enqueue("ox")
        said = {"generation_id": row.id, "status": "succeeded", "target_namespace": ["ox"]}
        it.hub.faults.set(Fault(content=json.dumps({"generation": said}), path=f"{LIST}/{row.id}"))
        it.hub.world.end(row)
        done = it.complete("ox")
        await until(lambda: len(everybody.completions) == 2 and len(ox.completions) > 0)
        assert (ox.completions, ox.gaps, everybody.completions) == ([done], 0, [row.id, done])


async def test_a_look_up_that_breaks_is_a_gap(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever the fault is: who is not told of an event is told that there may have been one."""
    broken = iter((True,))

    def breaks_once(*given: Any) -> str | None:
        if next(broken, False):
            raise RuntimeError
        return namespace_of(*given)

    monkeypatch.setattr("proxy.events.owners.namespace_of", breaks_once)
    async with proxies(settings=Settings(auth=CALLERS)) as it, listening(it.url, key_of("ox")) as heard:
        it.complete("ox")
        await until(lambda: heard.gaps == 1)
        done = it.complete("ox")
        await until(lambda: heard.completions == [done])


async def test_what_cannot_be_looked_up_is_a_gap(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("proxy.events.owners.Owners.__init__.__kwdefaults__", {"give_up": 0.1}, raising=False)
    async with proxies(settings=Settings(auth=CALLERS)) as it, listening(it.url, key_of("ox")) as heard:
        row = it.hub.world.enqueue("ox")
        it.hub.world.on_end.insert(0, it.hub.world.delete)
        it.hub.world.end(row)
        await until(lambda: heard.gaps == 1)
        it.hub.world.on_end.pop(0)
        done = it.complete("ox")
        await until(lambda: heard.completions == [done])
