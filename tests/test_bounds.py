"""Nothing grows with what callers send, but the memory that is bounded by bytes."""

from __future__ import annotations

import gc
from collections import OrderedDict, deque
from collections.abc import Iterator
from typing import Any

import fakeredis
import pytest

from proxy.pages import Pages
from proxy.settings import CacheSettings
from proxy.simulator import Fault
from tests.support import rig

MANY = 300


def containers(root: object) -> Iterator[tuple[str, Any]]:
    """Every container that an object of the proxy's holds, however deep."""
    seen: set[int] = set()
    todo: list[tuple[str, Any]] = [(type(root).__name__, root)]
    while todo:
        path, one = todo.pop()
        if id(one) in seen:
            continue
        seen.add(id(one))
        if isinstance(one, dict | set | list | deque | OrderedDict):
            yield path, one
        elif type(one).__module__.startswith("proxy."):
            names = getattr(one, "__dict__", {}) or {name: getattr(one, name) for name in type(one).__slots__}
            todo += [(f"{path}.{name}", value) for name, value in names.items()]


KEPT = ("_memory.", "rows.", "demand.")


def the_pages() -> list[Pages]:
    return [one for one in gc.get_objects() if isinstance(one, Pages)]


@pytest.mark.parametrize("fault", [Fault(), Fault(status=404), Fault(status=401), Fault(content="<html>")])
@pytest.mark.parametrize("redis", [False, True], ids=["alone", "with Redis"])
async def test_nothing_grows_with_what_callers_ask(fault: Fault, redis: bool) -> None:
    before = the_pages()
    client = fakeredis.FakeAsyncRedis() if redis else None
    cache = CacheSettings(memory_bytes=65_536)
    async with rig(cache=cache, redis=client, rate=1e6, burst=1_000_000) as it:
        it.hub.faults.set(fault)
        for number in range(MANY):
            await it.get(f"page_size=1&model=m{number}", **{"x-anything": f"h{number}"})
            await it.get(f"page_size=1&unknown{number}=x")
            await it.caller.get(f"/nowhere/{number}")
        (pages,) = [one for one in the_pages() if one not in before]
        sizes = {path: len(one) for path, one in containers(pages)}
        assert len(sizes) > 8
        memory = {path: size for path, size in sizes.items() if any(p in path for p in KEPT)}
        assert {path: size for path, size in sizes.items() if path not in memory and size > 20} == {}
        assert max(memory.values()) <= MANY, "one record for each listing, until LISTINGS; pages and rows by bytes"
