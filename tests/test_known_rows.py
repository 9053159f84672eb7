"""Rows over several replicas and one Redis: all know what one learned, and none undoes what another did."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from proxy.questions.question import Question
from proxy.redis.shared import Shared
from proxy.redis_keys import rows_keys
from proxy.simulator.sending import send_answer
from tests.listings import question
from tests.rows_fixture import pair
from tests.support import RedisServer

TOP = "page_size=50"


def detail(answer: Any) -> str:
    assert answer.status_code == 200, answer.text
    return str(answer.headers["cache-status"].rpartition("; ")[2])


def ids(answer: Any) -> list[str]:
    return [row["generation_id"] for row in answer.json()["generations"]]


async def test_what_one_learned_the_other_composes(redis_server: RedisServer) -> None:
    async with pair(redis_server) as it:
        await it.one.get("page_size=100")
        other = await it.other.get("page_size=7&page=3")
        assert (detail(other), it.asked) == ("detail=composed", 1)
        assert ids(other) == [row.id for row in list(it.hub.world.newest_first("ox"))[14:21]]


async def test_a_move_is_learned_once_and_known_to_all(redis_server: RedisServer) -> None:
    async with pair(redis_server) as it:
        await it.one.get("page_size=100")
        await it.other.get("page_size=20&page=4")
        it.arrive()
        await it.one.get("page_size=50")
        asked = it.asked
        deep = await it.other.get("page_size=20&page=4")
        assert (detail(deep), it.asked) == ("detail=composed", asked)
        assert ids(deep) == [row.id for row in list(it.hub.world.newest_first("ox"))[60:80]]


async def test_redis_has_no_more_rows_than_are_kept(redis_server: RedisServer) -> None:
    """What has sunk too deep goes: a busy listing would else grow for as long as it can be explained."""
    async with pair(redis_server, listing_depth=50) as it:
        for _ in range(4):
            await it.one.get(TOP)
            it.arrive()
        (rows,), (written,) = it.keys("rows"), it.keys("written")
        assert (it.redis.command("HLEN", rows), it.redis.command("ZCARD", written)) == (50, 50)


async def test_a_walk_as_of_one_moment_goes_on_at_another_replica(redis_server: RedisServer) -> None:
    """As a load balancer has it: the other has never been asked for this listing."""
    async with pair(redis_server) as it:
        order = [row.id for row in it.hub.world.newest_first("ox")]
        moment = {"listing-moment": (await it.one.get("page_size=100")).headers["listing-moment"]}
        it.arrive()
        await it.one.get(TOP)
        asked = it.asked
        walked = [await it.other.get(f"page_size=20&page={number}", **moment) for number in (2, 3, 4, 5)]
        assert [row for answer in walked for row in ids(answer)] == order[20:100]
        assert it.asked == asked


async def test_rows_in_flight_that_were_seen_again_are_so_everywhere(redis_server: RedisServer) -> None:
    """Their bytes are the same; that they were looked at is what the other replica has to know."""
    async with pair(redis_server) as it:
        it.hub.world.enqueue("ox")
        await it.one.get(TOP)
        await it.other.get("page_size=5")
        it.clock.advance(1.5)
        await it.one.get(TOP)
        asked = it.asked
        live = await it.other.get("page_size=5")
        assert (detail(live), live.headers["age"], it.asked) == ("detail=composed", "0", asked)


async def test_rows_that_redis_has_lost_are_written_anew_by_who_knows_them(redis_server: RedisServer) -> None:
    """As it comes back with older data: nobody may go on from that, nor be kept from going on."""
    async with pair(redis_server) as it:
        await it.one.get("page_size=100")
        keys = it.keys("*")
        saved = {key: it.redis.command("DUMP", key) for key in keys}
        for _ in range(3):
            it.arrive()
            await it.one.get(TOP)
        for key in keys:
            it.redis.command("RESTORE", key, "60000", saved[key], "REPLACE")
        it.arrive()
        await it.one.get(TOP)
        asked = it.asked
        for replica in (it.one, it.other):
            deep = await replica.get("page_size=20&page=4")
            assert (detail(deep), it.asked) == ("detail=composed", asked)
            assert ids(deep) == [row.id for row in list(it.hub.world.newest_first("ox"))[60:80]]


async def test_two_that_learn_at_once_both_count(redis_server: RedisServer) -> None:
    """Whoever comes second learns again, from what the first made of it."""
    async with pair(redis_server) as it:
        await it.one.get("page_size=50")
        for number in range(2, 12):
            await asyncio.gather(
                it.one.get(f"page_size={100 - number}&page=1", **{"cache-control": "no-cache"}),
                it.other.get(f"page_size={100 + number}&page=1", **{"cache-control": "no-cache"}),
            )
        asked = it.asked
        for replica in (it.one, it.other):
            assert len(ids(await replica.get("page_size=110"))) == 110
        assert it.asked == asked, "all 111 rows that were seen are known to both"


async def test_who_comes_second_goes_on_from_what_the_first_has_made(
    redis_server: RedisServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Else it would come too late each time it tries, and the rows that it has seen would be lost."""
    tries: list[int] = []
    learn = Shared.store

    async def held_up(self: Shared, asked: Question, *answer: Any, **how: Any) -> Any:
        tries.append(asked.page_size)
        if tries == [40]:
            await it.one.get("page_size=10&page=3")
        return await learn(self, asked, *answer, **how)

    async with pair(redis_server) as it:
        await it.one.get("page_size=20")
        await it.other.get("page_size=20")
        monkeypatch.setattr(Shared, "store", held_up)
        await it.other.get("page_size=40")
        assert tries == [40, 10, 40]
        asked = it.asked
        for replica in (it.one, it.other):
            assert len(ids(await replica.get("page_size=8&page=5"))) == 8
        assert it.asked == asked


@pytest.mark.parametrize("redis", ["up", "down", "back"])
async def test_what_contradicts_the_known_rows_retires_all_pages(own_redis: RedisServer, redis: str) -> None:
    """Two rows change places, which no total tells: whoever has seen the new order is not shown the old one again.

    The page of seven is composed of the old rows, stale, before the hub is asked; the page of five is kept as it came.
    """
    async with pair(own_redis) as it:
        for replica in (it.one, it.other):
            await replica.get("page_size=5")
            await replica.get("page_size=60")
        if redis != "up":
            own_redis.kill()
            await it.one.get("page_size=3", **{"cache-control": "no-cache"})
        it.clock.advance(6)
        rows = it.hub.world._rows["ox"]
        rows[-2:] = reversed(rows[-2:])
        seen = ids(await it.one.get("page_size=50"))
        assert seen == [row.id for row in list(it.hub.world.newest_first("ox"))[:50]]
        replicas = [it.one]
        if redis != "down":
            replicas = [it.one, it.other]
        if redis == "back":
            own_redis.start()
            async with asyncio.timeout(10):
                while not it.keys("record"):
                    await it.one.get("page_size=1&page=119")
                    await asyncio.sleep(0.01)
        for replica in replicas:
            for size in (5, 7, 60):
                assert ids(await replica.get(f"page_size={size}"))[:5] == seen[:5]


async def test_two_orders_that_overlap_are_asked_for_again(
    redis_server: RedisServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An answer that was asked for before another had come, in another order with the same totals, may be the older."""
    sent, held, left = asyncio.Event(), asyncio.Event(), [True]

    async def hold_the_first(*answer: Any) -> None:
        if left.pop() if left else False:
            sent.set()
            await held.wait()
        await send_answer(*answer)

    async with pair(redis_server) as it:
        for replica in (it.one, it.other):
            await replica.get("page_size=60")
        it.clock.advance(30)  # nothing is in demand: each asks for its own page
        monkeypatch.setattr("proxy.simulator.app.send_answer", hold_the_first)
        slow = asyncio.create_task(it.one.get("page_size=9"))
        await sent.wait()
        it.clock.advance(0.1)
        rows = it.hub.world._rows["ox"]
        rows[-2:] = reversed(rows[-2:])
        seen = ids(await it.other.get("page_size=7"))
        assert seen == [row.id for row in list(it.hub.world.newest_first("ox"))[:7]]
        it.clock.advance(0.1)
        held.set()
        assert ids(await slow)[:7] == seen, "asked again, after both"
        for replica in (it.one, it.other):
            assert ids(await replica.get("page_size=8"))[:7] == seen


async def test_a_redis_flushed_while_the_hub_is_asked_forgets_no_older_order(
    redis_server: RedisServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two rows have changed places, which no total tells: an answer from before that shows one of them, too deep to be
    held against rows that are kept, is told from later ones by its time alone."""
    sent, held, fates = asyncio.Event(), asyncio.Event(), ["held", "sent", "flushed"]

    async def send(*answer: Any) -> None:
        match fates.pop(0) if fates else "sent":
            case "held":
                sent.set()
                await held.wait()
            case "flushed":
                redis_server.command("FLUSHALL")
        await send_answer(*answer)

    async with pair(redis_server, listing_depth=50) as it:
        await it.one.get(TOP)
        it.clock.advance(30)
        monkeypatch.setattr("proxy.simulator.app.send_answer", send)
        slow = asyncio.create_task(it.one.get("page_size=10&page=10"))
        await sent.wait()
        it.clock.advance(1)
        rows = it.hub.world._rows["ox"]
        rows[-3], rows[-100] = rows[-100], rows[-3]
        for _ in range(2):
            it.clock.advance(6)
            await it.one.get(TOP)
        held.set()
        shown = [row.id for row in list(it.hub.world.newest_first("ox"))[90:100]]
        assert (ids(await slow), fates) == (shown, [])
        assert ids(await it.one.get("page_size=10&page=10")) == shown


@pytest.mark.parametrize("key", range(3))
@pytest.mark.parametrize("value", ["", "garbage", "1.ab \x97\x01", "wrong type", "gone", "another's"])
async def test_wrong_rows_in_redis_cost_one_hub_request_at_most(
    redis_server: RedisServer, key: int, value: str
) -> None:
    """It costs a hub request at the most, and is put right by the next answer."""
    async with pair(redis_server) as it:
        await it.one.get("page_size=100")
        await it.one.get("page_size=100&status=succeeded")
        name = rows_keys(next(iter(it.keys("head"))).removesuffix(":head"))[key]
        match value:
            case "gone":
                it.redis.command("DEL", name)
            case "wrong type":
                it.redis.command("DEL", name)
                it.redis.command("LPUSH", name, "x")
            case "another's":
                other = next(one for one in it.keys(name.rpartition(":")[2]) if one != name)
                it.redis.command("COPY", other, name, "REPLACE")
            case _:
                it.redis.command("SET", name, value)
        for query in ("page_size=9&page=2", "page_size=9&page=2&status=succeeded"):
            filtered = [
                row for row in it.hub.world.newest_first("ox") if "&s" not in query or row.status == "succeeded"
            ]
            assert ids(await it.other.get(query)) == [row.id for row in filtered[9:18]]
        it.arrive()
        for query in ("page_size=100", "page_size=100&status=succeeded"):
            await it.other.get(query)
            await it.one.get(query)
        asked = it.asked
        for replica in (it.one, it.other):
            found = await replica.get("page_size=9&page=3")
            assert (detail(found), it.asked) == ("detail=composed", asked)


async def test_without_redis_rows_go_on(own_redis: RedisServer) -> None:
    async with pair(own_redis) as it:
        await it.one.get("page_size=100")
        await it.other.get("page_size=100")
        own_redis.kill()
        it.arrive()
        assert len(ids(await it.one.get("page_size=50"))) == 50
        deep = await it.one.get("page_size=10&page=6")
        assert (detail(deep), len(ids(deep))) == ("detail=composed", 10)
        own_redis.start()
        async with asyncio.timeout(10):
            while True:
                it.clock.advance(6)
                await it.one.get("page_size=50")
                if it.keys("head"):
                    break
                await asyncio.sleep(0.05)
        asked = it.asked
        assert len(ids(await it.other.get("page_size=10&page=6"))) == 10
        assert it.asked <= asked + 1


async def test_without_composing_no_rows_are_kept(redis_server: RedisServer) -> None:
    async with pair(redis_server, compose=False) as it:
        for query in ("page_size=100", "page_size=9&page=2"):
            answer = await it.one.get(query)
            assert "listing-moment" not in answer.headers
        assert it.asked == 2
        assert it.keys("head") == []


def test_the_keys_are_in_the_slot_of_the_listing() -> None:
    asked = question()
    assert all(key.startswith(f"{asked.listing}:") for key in rows_keys(asked.listing))
