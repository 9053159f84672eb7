"""``Listing-Moment``: pages of one moment, over the API."""

from __future__ import annotations

import asyncio
import re
import subprocess
import sys
import time
from typing import Any

import httpx
import pytest

from proxy.redis.client import connect
from proxy.secret import Secret
from proxy.settings import CacheSettings, Settings
from proxy.simulator import Fault, Simulator
from tests.support import KEY, LIST, ROOT, Clock, RedisServer, Rig, rig, socket_rig, still_world


def ids(answer: httpx.Response) -> list[str]:
    assert answer.status_code == 200, answer.text
    return [row["generation_id"] for row in answer.json()["generations"]]


def order(it: Rig) -> list[str]:
    return [row.id for row in it.hub.world.newest_first("ox")]


def arrive(it: Rig, **members: Any) -> None:
    it.clock.advance(0.2)
    it.hub.world.end(it.hub.world.enqueue("ox", **members))
    it.clock.advance(6)


@pytest.mark.parametrize("query", ["", "page=2", "page_size=7&page=3", "status=succeeded", "namespace=bessie&page=9"])
async def test_every_list_answer_has_a_moment(query: str) -> None:
    async with rig() as it:
        first = await it.get(query)
        again = await it.get(query, **{"if-none-match": first.headers["etag"]})
        head = await it.caller.head(f"{LIST}?{query}")
        assert (first.status_code, again.status_code) == (200, 304)
        if first.json()["count"]:
            moments = {answer.headers["listing-moment"] for answer in (first, again, head)}
            assert len(moments) == 1
            assert re.fullmatch(r"[0-9a-f]{16}-[0-9a-f]{12}", moments.pop())
            assert "Listing-Moment" in first.headers["vary"]


async def test_a_walk_shows_each_generation_once() -> None:
    async with rig() as it:
        expected = order(it)
        first = await it.get("page_size=13")
        moment, seen, costs = first.headers["listing-moment"], ids(first), {first.json()["total_cost"]}
        for page in range(2, 6):
            arrive(it)
            await it.get("page_size=13")
            answer = await it.get(f"page_size=13&page={page}", **{"listing-moment": moment})
            assert answer.headers["listing-moment"] == moment
            asked = "fwd=uri-miss; fwd-status=200; stored" if page == 2 else "hit"
            assert answer.headers["cache-status"] == f"generations-proxy; {asked}; ttl=0; detail=composed"
            assert it.events[-1].outcome == ("miss" if page == 2 else "hit")
            seen += ids(answer)
            costs.add(answer.json()["total_cost"])
        assert seen == expected
        assert len(costs) == 1, "the totals are the moment's"
        assert it.hub_requests <= 1 + 4 + 1, "one look at the whole listing; the rest are those of page 1"


async def test_rows_come_in_their_latest_state() -> None:
    async with rig() as it:
        it.clock.advance(0.1)
        row = it.hub.world.enqueue("ox")
        moment = (await it.get()).headers["listing-moment"]
        it.clock.advance(2)
        it.hub.world.end(row)
        await it.get()
        shown = (await it.get("page_size=3", **{"listing-moment": moment})).json()["generations"][0]
        assert (shown["generation_id"], shown["status"]) == (row.id, "succeeded")


async def test_a_page_of_a_moment_is_not_sent_again() -> None:
    async with rig() as it:
        moment = (await it.get()).headers["listing-moment"]
        arrive(it)
        await it.get()
        old = await it.get("page_size=4", **{"listing-moment": moment})
        again = await it.get("page_size=4", **{"listing-moment": moment, "if-none-match": old.headers["etag"]})
        assert again.status_code == 304
        assert old.headers["etag"] != (await it.get("page_size=4")).headers["etag"]


@pytest.mark.parametrize("moment", ["x", "", "0" * 16 + "-" + "0" * 12, "é", "a" * 5000])
async def test_a_moment_that_never_was_is_a_412(moment: str) -> None:
    async with rig() as it:
        await it.get()
        answer = await it.get("", **{"listing-moment": moment.encode("latin-1")})  # type: ignore[arg-type]
        if not moment:
            assert answer.status_code == 200
            return
        assert answer.status_code == 412
        assert answer.json()["error"]["type"] == "moment_gone"
        assert "begin again" in answer.json()["error"]["detail"]
        assert it.hub_requests == 1
        for other in ("/api/ai/queue", LIST):
            assert (await it.caller.get(other)).status_code == 200


async def test_a_moment_of_another_listing_is_a_412() -> None:
    async with rig() as it:
        moment = (await it.get("namespace=bessie")).headers["listing-moment"]
        assert (await it.get("namespace=ox", **{"listing-moment": moment})).status_code == 412
        assert (await it.caller.get("/api/ai/queue", headers={"listing-moment": moment})).status_code == 200


async def test_a_moment_given_twice_is_a_412() -> None:
    async with rig() as it:
        moment = (await it.get()).headers["listing-moment"]
        twice = [("listing-moment", moment), ("listing-moment", moment)]
        assert (await it.caller.get(LIST, headers=twice)).status_code == 412


async def test_a_moment_lasts_two_minutes_and_then_passes() -> None:
    async with rig() as it:
        first = await it.get()
        moment, before = first.headers["listing-moment"], order(it)
        arrive(it)
        await it.get()
        for _ in range(24):
            it.clock.advance(4.9)
            await it.get()
            assert ids(await it.get("", **{"listing-moment": moment})) == before[:50]
        it.clock.advance(40)
        await it.get()
        assert (await it.get("", **{"listing-moment": moment})).status_code == 412
        assert (await it.get()).status_code == 200


async def test_a_deletion_ends_what_is_not_known_yet_only() -> None:
    async with rig() as it:
        before = order(it)
        moment = (await it.get("page_size=20")).headers["listing-moment"]
        assert ids(await it.get("page_size=20&page=2", **{"listing-moment": moment})) == before[20:40]
        it.hub.world.delete(it.hub.world.find(before[2]))  # type: ignore[arg-type]
        it.clock.advance(6)
        await it.get("page_size=20")
        assert ids(await it.get("page_size=20&page=3", **{"listing-moment": moment})) == before[40:60]
    async with rig() as it:
        moment = (await it.get("page_size=20")).headers["listing-moment"]
        it.hub.world.delete(it.hub.world.find(order(it)[2]))  # type: ignore[arg-type]
        it.clock.advance(6)
        await it.get("page_size=20")
        assert (await it.get("page_size=20&page=2", **{"listing-moment": moment})).status_code == 412


async def test_deeper_than_rows_are_kept_a_moment_lasts_as_long_as_nothing_moves() -> None:
    async with rig(cache=CacheSettings(listing_depth=50)) as it:
        before = order(it)
        moment = (await it.get("page_size=30")).headers["listing-moment"]
        deep = await it.get("page_size=30&page=2", **{"listing-moment": moment})
        assert ids(deep) == before[30:60]
        arrive(it)
        await it.get("page_size=30")
        assert ids(await it.get("page_size=10&page=2", **{"listing-moment": moment})) == before[10:20]
        assert (await it.get("page_size=30&page=2", **{"listing-moment": moment})).status_code == 412


@pytest.mark.parametrize("shared", [False, True], ids=["memory", "redis"])
async def test_rows_so_large_that_the_hub_cannot_show_all_at_once(own_redis: RedisServer, *, shared: bool) -> None:
    """With Redis, a look there has begun the fetch of all of them: that it was in vain is found once, not for ever."""
    clock = Clock()
    hub = Simulator(still_world(clock, history=120), api_key=KEY, clock=clock)
    redis = connect(Secret(own_redis.url)) if shared else None
    async with rig(simulator=hub, clock=clock, redis=redis, answer_bytes=70_000) as it:
        while shared and not re.search(r"memory_trusted 1\.0", (await it.caller.get("/metrics")).text):
            await asyncio.sleep(0.01)  # before that, a look takes no lease
        before = order(it)
        moment = (await it.get("page_size=50")).headers["listing-moment"]
        assert ids(await it.get("page_size=50&page=2")) == before[50:100]
        arrive(it)
        now, asked = order(it), it.hub_requests
        assert ids(await it.get("page_size=50")) == now[:50]
        if not shared:  # on a busy machine, memory is not trusted for a moment
            assert it.hub_requests == asked + 2, "100 rows do not fit, 50 do"
        assert ids(await it.get("page_size=50&page=2")) == now[50:100]
        assert ids(await it.get("page_size=50&page=2", **{"listing-moment": moment})) == before[50:100]
        too_deep = await it.get("page_size=50&page=3", **{"listing-moment": moment})
        assert too_deep.json()["error"]["type"] == "moment_gone"


async def test_past_the_end_there_is_nothing() -> None:
    async with rig() as it:
        moment = (await it.get("page_size=100")).headers["listing-moment"]
        assert ids(await it.get("page_size=50&page=3", **{"listing-moment": moment})) == []


async def test_a_moment_lasts_while_the_hub_fails() -> None:
    async with rig() as it:
        moment = (await it.get("page_size=20")).headers["listing-moment"]
        it.hub.faults.set(Fault(status=500))
        assert (await it.get("page_size=20", **{"listing-moment": moment})).status_code == 200
        failed = await it.get("page_size=20&page=2", **{"listing-moment": moment})
        assert (failed.status_code, failed.json()["error"]["type"]) == (502, "hub_failed")
        only = await it.get("page_size=20&page=2", **{"listing-moment": moment, "cache-control": "only-if-cached"})
        assert (only.status_code, only.json()["error"]["type"]) == (504, "not_cached"), "the moment lasts"


@pytest.mark.parametrize("status", [401, 403])
async def test_nothing_is_shown_of_a_moment_that_the_hub_has_refused_since(status: int) -> None:
    """However long the rows are kept: the right to see them may have been withdrawn, until the hub shows them again."""
    async with rig() as it:
        walk = {"listing-moment": (await it.get("page_size=20&status=failed")).headers["listing-moment"]}
        it.hub.faults.set(Fault(status=status))
        it.clock.advance(6)
        await it.get("page_size=20&status=failed")
        for _ in range(2):
            refused = await it.get("page_size=20&status=failed", **walk)
            assert (refused.status_code, refused.json()["error"]["type"]) == (502, "hub_refused_credential")
            it.clock.advance(200_000)
        it.hub.faults.clear()
        if status == 403:  # a 401 has the hub left alone for a second
            assert (await it.get("page_size=20&status=failed", **walk)).status_code == 200


async def test_what_is_shown_of_a_moment_needs_nobody_to_vouch_for_it() -> None:
    """Failed generations hold no links, which would die."""
    async with rig() as it:
        walk = {"listing-moment": (await it.get("page_size=20&status=failed")).headers["listing-moment"]}
        it.hub.faults.set(Fault(status=500))
        it.clock.advance(200_000)
        assert (await it.get("page_size=20&status=failed")).status_code == 502
        answer = await it.get("page_size=20&status=failed", **walk)
        assert (answer.status_code, answer.headers["age"]) == (200, "200000")


async def test_links_that_have_died_are_asked_for_anew() -> None:
    async with rig() as it:
        it.hub.writer.link_lifetime = 100
        moment = (await it.get("page_size=20&status=succeeded")).headers["listing-moment"]
        it.clock.advance(85)
        answer = await it.get("page_size=20&status=succeeded", **{"listing-moment": moment})
        assert answer.status_code == 200
        assert it.hub_requests == 2


async def test_the_script_of_the_readme_exports_a_listing() -> None:
    """While a new generation comes with each page."""
    script = re.search(r"```python\n(import httpx.*?)```", (ROOT / "README.md").read_text(), re.DOTALL)
    assert script is not None

    class Moving(Simulator):
        def _answer(self, path: str, query: str) -> bytes:
            body = super()._answer(path, query)
            self.world.end(self.world.enqueue("ox"))
            return body

    hub = Moving(still_world(time.time, history=230), api_key=KEY)
    async with socket_rig(Settings(), simulator=hub) as it:
        expected = [row.id for row in hub.world.newest_first("ox")]
        text = script[1].replace("http://127.0.0.1:8080", it.proxy_url)
        done = await asyncio.to_thread(
            subprocess.run, [sys.executable, "-c", text], capture_output=True, text=True, check=False, timeout=60
        )
        assert done.returncode == 0, done.stderr
        exported = done.stdout.split()
        assert len(exported) == len(set(exported))
        assert exported[-230:] == expected
        assert hub.journal.count > 1, "it moved meanwhile"
