"""Faults, made against real processes under load: what callers get, what it costs the hub, how it heals. (Slow.)"""

from __future__ import annotations

import asyncio
import contextlib
import signal
import socket
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from proxy.commands.sockets import LOOPBACK
from proxy.redis.census import HEARTBEAT_TIMEOUT, INTERVAL
from proxy.web.health import LIVE_PATH
from tests.fleet import LEASE, Fleet, Load, Replica, fleet, hub_process, load
from tests.herd import Answered, herd
from tests.processes import eventually, get, is_ready
from tests.support import LIST, RedisServer, free_port

pytestmark = pytest.mark.slow
WIDE: dict[str, Any] = {"PROXY_HUB_RATE": "1000", "PROXY_HUB_BURST": "1000"}
"""A budget that is not what the test is about."""


@pytest.fixture(scope="module")
def three() -> Iterator[Fleet]:
    """Three replicas for tests that leave them as they were."""
    with fleet(3, **WIDE, PROXY_HUB_DEADLINE="60") as it:
        yield it


@pytest.fixture(scope="module")
def lasting() -> Iterator[Fleet]:
    """Three that keep a page for longer than a machine that is busy takes to hand it to a thousand."""
    with fleet(3, **WIDE, PROXY_CACHE_LIVE_TTL="600", PROXY_CACHE_SETTLED_TTL="600") as it:
        yield it


@pytest.fixture
def calm(three: Fleet) -> Iterator[Fleet]:
    """The three, together and with a hub that is well."""
    begin(three)
    yield three
    three.hub.faults()


def begin(it: Fleet) -> None:
    it.hub.faults()
    it.together()
    it.rests()
    it.hub.clear()


# One question, one request.


def asked_at_once(it: Fleet, urls: list[str], *, hang_up: float = 0.0) -> list[Answered]:
    """What a herd gets to whom the hub answers when all of them wait for that, or have left."""

    def waiting() -> float:
        return sum(one.gauge("waiting_callers") for one in it.replicas)

    def all_wait() -> bool:
        seen = waiting()
        if not hang_up:
            return seen == len(urls)
        time.sleep(0.5)
        return len(urls) * (1 - hang_up) * 0.9 < seen == waiting()

    async def asking() -> list[Answered]:
        with it.hub.silent():
            answers = asyncio.create_task(herd(urls, hang_up=hang_up))
            await asyncio.to_thread(eventually, all_wait)
        return (await answers)[1]

    return asyncio.run(asking())


@pytest.mark.parametrize("hang_up", [0.0, 0.5], ids=["all stay", "half hang up, the first included"])
@pytest.mark.parametrize("query", ["status=succeeded&page_size=5", "page_size=5"], ids=["settled", "live"])
def test_a_thousand_cold_callers_cost_one_request(lasting: Fleet, query: str, hang_up: float) -> None:
    begin(lasting)
    if "status" not in query:
        lasting.hub.enqueue()
    page = 2 if hang_up else 1
    answers = asked_at_once(lasting, lasting.urls(f"{query}&page={page}&media_type=video", 1000), hang_up=hang_up)
    stayed = [answer for answer in answers if answer.status]
    assert {answer.status for answer in stayed} == {200}
    assert len(stayed) > 400
    assert len({answer.body for answer in stayed}) == 1
    eventually(lambda: lasting.hub.under_way == 0)
    assert lasting.hub.count == 1


def test_an_answer_that_is_not_kept_is_handed_to_all_who_wait() -> None:
    zero: dict[str, Any] = {"PROXY_CACHE_LIVE_TTL": "0", "PROXY_CACHE_STALE_IF_ERROR_LIVE": "0"}
    with fleet(2, **WIDE, **zero) as it:
        it.hub.enqueue()
        answers = asked_at_once(it, it.urls("page_size=5", 60))
        assert {answer.status for answer in answers} == {200}
        assert it.hub.count == 1


@pytest.mark.parametrize(("status", "answered"), [(500, 502), (404, 404)])
def test_an_error_is_handed_to_all_who_wait(calm: Fleet, status: int, answered: int) -> None:
    calm.hub.faults({"status": status, "times": 1})
    answers = asked_at_once(calm, calm.urls(calm.fresh_query(), 60))
    assert {answer.status for answer in answers} == {answered}
    assert calm.hub.count == 1
    assert b'"error"' in answers[0].body
    if status == 404:
        assert len({answer.body for answer in answers}) == 1, "the hub's own body"


@pytest.mark.parametrize("how", ["killed", "frozen", "partitioned"])
def test_a_lost_leader_is_replaced_within_its_lease(how: str) -> None:
    # Without events: the first replica hears them for all, and who takes that over too makes doubtful what was asked
    # for before, which costs a request more if it happens while the page's new leader waits for the hub.
    late: dict[str, Any] = {"PROXY_HUB_DEADLINE": "60", "PROXY_HUB_READ_TIMEOUT": "60"}
    with fleet(3, relayed=True, PROXY_EVENTS_MODE="off", **WIDE, **late) as it, ThreadPoolExecutor(4) as threads:
        query = it.fresh_query()
        it.hub.faults({"hang": True, "times": 1}, {"latency": 0.2})
        leading = threads.submit(get, f"{it.replicas[0].url}{LIST}?{query}")
        eventually(lambda: it.hub.under_way == 1)
        following = [threads.submit(replica.ask, query) for replica in it.replicas[1:]]
        eventually(lambda: it.redis.command("PTTL", it.redis.command("KEYS", "*:lease")[0]) > 0)
        began = time.monotonic()
        match how:
            case "killed":
                it.replicas[0].signal(signal.SIGKILL)
            case "frozen":
                it.replicas[0].signal(signal.SIGSTOP)
            case "partitioned":
                it.relays[0].open = False
        answers = [future.result() for future in following]
        assert {status for status, _, _ in answers} == {200}
        assert it.hub.count == 2, "no more than one further request"
        assert time.monotonic() - began < LEASE + 10, "long before the one that leads would be given up"
        it.hub.faults()
        match how:
            case "killed":
                assert leading.exception() is not None
            case "frozen":
                it.replicas[0].signal(signal.SIGCONT)
            case "partitioned":
                it.relays[0].open = True
        if how != "killed":
            it.shares_again()
            leading.cancel()
            it.replicas[0].signal(signal.SIGKILL)


def test_waiting_is_bounded_in_number_and_time() -> None:
    with fleet(1, PROXY_HUB_MAX_WAITING="20", PROXY_HUB_DEADLINE="6", PROXY_HUB_READ_TIMEOUT="5") as it:
        it.hub.faults({"hang": True})
        began, answers = asyncio.run(herd(it.urls(it.fresh_query(), 100)))
        crowded = [answer for answer in answers if answer.status == 503]
        waited = [answer for answer in answers if answer.status == 504]
        assert (len(crowded), len(waited)) == (80, 20)
        assert {answer.headers["retry-after"] for answer in crowded} == {"1"}
        assert max(answer.at for answer in crowded) < min(answer.at for answer in waited), "at once"
        assert max(answer.at for answer in waited) - began < 2 * 6


# Budget, cooldown, breaker.


def test_the_budget_holds_over_all_replicas() -> None:
    """Two hundred different questions at once, with a hub that takes its time.

    On a machine where Redis has to wait for the processor, a process would take it for lost, and use its share besides.
    """
    allowance: dict[str, Any] = {"PROXY_HUB_RATE": "10", "PROXY_HUB_BURST": "20", "PROXY_HUB_CONCURRENCY": "4"}
    with fleet(3, **allowance, PROXY_HUB_DEADLINE="10", PROXY_REDIS_TIMEOUT="2") as it:
        time.sleep(2.5)  # fills the bucket again after what it took to get the fleet together
        it.hub.clear()
        it.hub.faults({"latency": 0.1})
        urls = [it.urls(it.fresh_query(), 3)[number % 3] for number in range(200)]
        began, answers = asyncio.run(herd(urls))
        took = max(answer.at for answer in answers) - began
        served = [answer for answer in answers if answer.status == 200]
        refused = [answer for answer in answers if answer.status == 503]
        assert len(served) + len(refused) == 200
        journal = it.hub.journal()
        assert journal["count"] == len(served)
        assert 20 < len(served) <= 20 + 10 * took + 1
        assert journal["most_at_once"] <= 4
        assert all(int(answer.headers["retry-after"]) >= 1 for answer in refused)
        times = sorted(it.hub.times())
        for first, start in enumerate(times):
            for number, end in enumerate(times[first:], start=1):
                assert number <= 20 + 10 * (end - start) + 4, "a request is on its way for a moment after its turn"


def test_the_budget_is_shared_out_while_redis_is_away() -> None:
    """Nobody counts for all, so each keeps to a third; nobody begins with a burst that others may just have had."""
    with fleet(3, PROXY_HUB_RATE="12", PROXY_HUB_BURST="30", PROXY_HUB_CONCURRENCY="6", PROXY_HUB_DEADLINE="8") as it:
        eventually(lambda: [replica.gauge("replicas") for replica in it.replicas] == [3, 3, 3])
        it.redis.kill()
        it.hub.clear()
        it.hub.faults({"latency": 0.05})
        urls = [it.urls(it.fresh_query(), 3)[number % 3] for number in range(150)]
        began, answers = asyncio.run(herd(urls))
        took = max(answer.at for answer in answers) - began
        served = sum(answer.status == 200 for answer in answers)
        assert {answer.status for answer in answers} == {200, 503}
        assert served >= 12
        assert it.hub.count == served <= 3 + 12 * took + 1
        assert it.hub.journal()["most_at_once"] <= 6


def test_a_replica_that_is_cut_off_from_redis_has_its_share_of_the_budget_left_to_it() -> None:
    """The others find out that it is missing; what they have beyond theirs until then is bounded."""
    rate, burst = 20.0, 4
    given: dict[str, Any] = {"PROXY_HUB_RATE": str(rate), "PROXY_HUB_BURST": str(burst), "PROXY_HUB_CONCURRENCY": "40"}
    with fleet(2, relayed=True, PROXY_HUB_DEADLINE="8", PROXY_REDIS_TIMEOUT="0.2", **given) as it:
        eventually(lambda: [replica.gauge("replicas") for replica in it.replicas] == [2, 2])
        it.hub.clear()
        it.relays[0].open = False
        for _ in range(3):
            urls = [it.urls(it.fresh_query(), 2)[number % 2] for number in range(120)]
            _, answers = asyncio.run(herd(urls))
            assert {answer.status for answer in answers} == {200, 503}
        times = sorted(it.hub.times())
        assert times[-1] - times[0] > 8
        most = max(
            number - rate * (end - start)
            for first, start in enumerate(times)
            for number, end in enumerate(times[first:], start=1)
        )
        assert most <= burst + rate / 2 * (HEARTBEAT_TIMEOUT + 2 * INTERVAL + 3) + 4, (
            "it is noticed: 3 s late where much else runs"
        )
        it.relays[0].open = True
        it.together()


def bursts(times: list[float], apart: float) -> list[list[float]]:
    """Requests of the hub, in groups with at least so many seconds between them."""
    groups: list[list[float]] = []
    for at in sorted(times):
        if groups and at - groups[-1][-1] < apart:
            groups[-1].append(at)
        else:
            groups.append([at])
    return groups


@pytest.mark.parametrize("fault", [{"status": 429, "retry_after": "2"}, {"status": 503, "retry_after": "2"}])
def test_a_cooldown_is_everybodys(calm: Fleet, fault: dict[str, object]) -> None:
    """Three replicas, 200 callers a second: the hub sees one probe after each pause, and nothing else."""
    kept = "status=succeeded&page_size=7"
    for replica in calm.replicas:
        assert replica.ask(kept)[0] == 200
    calm.hub.clear()
    calm.hub.faults(fault)
    urls = [calm.urls(calm.fresh_query(), 3)[number % 3] for number in range(21)]

    async def under_load() -> tuple[Load, Load]:
        async with load(urls, every=0.1) as seen, load(calm.urls(kept, 3), every=0.1) as stale:
            await asyncio.sleep(5)  # two pauses
        return seen, stale

    seen, stale = asyncio.run(under_load())
    first, *probes = bursts(calm.hub.times(), 1.0)  # what was under way may come late
    assert len(first) <= 8, "what was under way when the first was turned away"
    assert len(probes) >= 1
    assert [len(probe) for probe in probes] == [1] * len(probes)
    assert probes[0][0] - first[0] > 1.9
    assert set(seen.statuses) == {503}
    assert {int(value or 0) > 0 for value in seen.retry_after} == {True}
    assert set(stale.statuses) == {200}, "what is kept is served meanwhile"
    calm.hub.faults()
    calm.asks_again()


@pytest.mark.parametrize("fault", [{"status": 500}, {"cut_off": 100}])
def test_a_failing_hub_is_left_alone(calm: Fleet, fault: dict[str, object]) -> None:
    """The breaker: a few failures, then one probe at a time, ever more seldom, whatever callers ask."""
    calm.hub.faults(fault)
    urls = [calm.urls(calm.fresh_query(), 3)[number % 3] for number in range(21)]

    async def under_load() -> Load:
        async with load(urls, every=0.1) as seen:
            await asyncio.sleep(4)
        return seen

    seen = asyncio.run(under_load())
    assert seen.statuses.total() > 2 * len(urls)
    assert set(seen.statuses) == {502, 503}
    first, *probes = bursts(calm.hub.times(), 0.5)
    assert len(first) <= 5 + 8
    assert [len(probe) for probe in probes] == [1] * len(probes)
    assert 1 <= len(probes) <= 4
    calm.hub.faults()
    calm.asks_again()


def test_callers_who_hang_up_leave_a_healthy_pool(calm: Fleet) -> None:
    """A storm of callers with different questions, all of whom leave before there is an answer."""
    calm.hub.faults({"latency": 0.3})
    for _ in range(3):
        urls = [calm.urls(calm.fresh_query(), 3)[number % 3] for number in range(60)]
        _, answers = asyncio.run(herd(urls, hang_up=1.0))
        assert {answer.status for answer in answers} == {0}
    calm.hub.faults()
    calm.rests()  # what was asked for nobody goes on
    urls = [calm.urls(calm.fresh_query(), 3)[number % 3] for number in range(60)]
    _, answers = asyncio.run(herd(urls))
    assert {answer.status for answer in answers} == {200}, Counter(one.body for one in answers if one.status != 200)


# Redis.

KEPT = "status=succeeded&page_size=9"


def break_nothing(_: Fleet) -> None:
    pass


def kill(it: Fleet) -> None:
    it.redis.kill()


def start(it: Fleet) -> None:
    it.redis.start()


def restart(it: Fleet) -> None:
    kill(it)
    start(it)


def freeze(it: Fleet) -> None:
    it.redis.signal(signal.SIGSTOP)


def thaw(it: Fleet) -> None:
    it.redis.signal(signal.SIGCONT)


def relayed_with(**manner: float) -> Callable[[Fleet], None]:
    """Have what passes the relays pass in this manner: see there."""

    def change(it: Fleet) -> None:
        for relay in it.relays:
            for name, value in manner.items():
                assert hasattr(relay, name)
                setattr(relay, name, value)

    return change


def cap_connections(it: Fleet) -> None:
    it.redis.command("CONFIG", "SET", "maxclients", "1")
    for _ in range(3):
        it.redis.command("CLIENT", "KILL", "TYPE", "normal")
        it.redis.command("CLIENT", "KILL", "TYPE", "pubsub")


def lift_cap(it: Fleet) -> None:
    it.redis.command("CONFIG", "SET", "maxclients", "1000")


def fill(it: Fleet) -> None:
    it.redis.command("CONFIG", "SET", "maxmemory", "1")


def empty(it: Fleet) -> None:
    it.redis.command("CONFIG", "SET", "maxmemory", "0")


def evict(it: Fleet) -> None:
    it.redis.command("CONFIG", "SET", "maxmemory-policy", "allkeys-random")
    it.redis.command("CONFIG", "SET", "maxmemory", str(int(1.2 * 2**20)))


def flush(it: Fleet) -> None:
    it.redis.command("FLUSHALL")


def make_read_only(it: Fleet) -> None:
    it.redis.command("REPLICAOF", LOOPBACK, str(free_port()))


def make_primary(it: Fleet) -> None:
    it.redis.command("REPLICAOF", "NO", "ONE")


LISTED = "redis.call('DEL', KEYS[1]) redis.call('RPUSH', KEYS[1], 'x')"
"""In one step, as replicas write between any two."""


def overwrite(value: str) -> Callable[[Fleet], None]:
    """Put something else under every key, as it comes: of another type, garbage, or another page's bytes."""

    def put(it: Fleet) -> None:
        keys = [key.decode() for key in it.redis.command("KEYS", "gp1:*")]
        pages = [key for key in keys if it.redis.command("TYPE", key) == b"string" and not key.endswith(":record")]
        for key in keys:
            if value == "list":
                it.redis.command("EVAL", LISTED, "1", key)
            elif value == "swapped" and key != pages[0]:
                it.redis.command("COPY", pages[0], key, "REPLACE")
            elif value == "swapped":
                it.redis.command("COPY", pages[1], key, "REPLACE")
            else:
                it.redis.command("SET", key, value)

    return put


REDIS_FAULTS = {
    "refused": (kill, start),
    "restarted empty": (restart, break_nothing),
    "hung": (freeze, thaw),
    "silent": (relayed_with(open=False), relayed_with(open=True)),
    "slow": (relayed_with(delay=0.03), relayed_with(delay=0.0)),
    "slow at times": (relayed_with(delay=0.045, odds=0.5), relayed_with(delay=0.0, odds=1.0)),
    "too slow": (relayed_with(delay=0.3), relayed_with(delay=0.0)),
    "in fits": (relayed_with(fits=0.08), relayed_with(fits=0.0)),
    "out of connections": (cap_connections, lift_cap),
    "out of memory": (fill, empty),
    "evicting": (evict, empty),
    "flushed": (flush, break_nothing),
    "read-only": (make_read_only, make_primary),
    "another type": (overwrite("list"), break_nothing),
    "garbage": (overwrite("\x00garbage"), break_nothing),
    "another page": (overwrite("swapped"), break_nothing),
}


UNANSWERED = ("hung", "silent", "too slow")
"""Noticed for good only after the 2 s of silence that end a subscription; the others at once."""


@pytest.fixture(scope="module")
def relayed() -> Iterator[Fleet]:
    with fleet(2, relayed=True, **WIDE, PROXY_CACHE_SETTLED_TTL="0.5", PROXY_REDIS_TIMEOUT="0.05") as it:
        yield it


@pytest.mark.parametrize("fault", REDIS_FAULTS)
def test_no_fault_of_redis_is_a_callers(relayed: Fleet, fault: str) -> None:
    """Callers keep asking while it comes and goes. Each gets 200; what was shared before is shared again after.

    How long the machine has a caller wait is measured before, and meanwhile by others who ask the same replicas for
    what needs neither Redis nor hub.
    """
    it = relayed
    it.together()
    break_it, heal_it = REDIS_FAULTS[fault]
    urls = it.urls(KEPT, 4) + [f"{replica.url}{LIST}?{it.fresh_query()}" for replica in it.replicas for _ in range(4)]

    async def under_load() -> tuple[Load, list[float]]:
        health = [replica.url + LIVE_PATH for replica in it.replicas]
        async with load(urls, every=0.03) as seen, load(health, every=0.01) as others:
            while seen.statuses.total() < 5 * len(urls):
                await asyncio.sleep(0.05)
            before = seen.seconds.copy()
            await asyncio.to_thread(break_it, it)
            await asyncio.sleep(2.5 if fault in UNANSWERED else 1.0)
            await asyncio.to_thread(heal_it, it)
            await asyncio.sleep(0.5)
        return seen, [*before, *others.seconds]

    seen, others = asyncio.run(under_load())
    assert set(seen.statuses) == {200}
    assert seen.statuses.total() > 6 * len(urls)
    busy = 2 * max(others)
    slow = [seconds for seconds in seen.seconds if seconds > 0.25 + busy]
    print(f"{fault}: {seen.statuses.total()} answers, longest {max(seen.seconds):.3f} s, else {busy / 2:.3f} s")
    assert len(slow) < seen.statuses.total() / 20
    assert max(seen.seconds) < LEASE / 2 + busy, "nobody waits for who does not know that he leads"
    it.shares_again()
    it.together()


# Beginning and ending.


def test_a_replica_that_begins_without_redis_and_hub_works_when_both_have_come() -> None:
    """A replica starts, says so, answers with errors that say what is wrong, and works when both have come."""
    port, hub_port = free_port(), free_port()
    server = RedisServer(port=port)
    replica = Replica(f"http://{LOOPBACK}:{hub_port}", {"REDIS_URL": f"redis://{LOOPBACK}:{port}/0"})
    with contextlib.ExitStack() as stack:
        stack.callback(server.close)
        stack.callback(replica.close)
        replica.start()
        status, cache_status, _ = replica.ask("page_size=5")
        assert (status, "hub_unreachable" in cache_status) == (502, True)
        server.start()
        stack.enter_context(hub_process(port=hub_port))
        eventually(lambda: replica.ask("page_size=5")[0] == 200)
        eventually(replica.is_together)


def test_a_replica_that_ends_gives_up_its_leases() -> None:
    """It was asking a hub that hangs; who waits elsewhere takes over at once, not when the lease ends."""
    short: dict[str, Any] = {"PROXY_SERVER_SHUTDOWN_TIMEOUT": "1", "PROXY_SERVER_DRAIN_DELAY": "0"}
    with fleet(2, **WIDE, **short) as it, ThreadPoolExecutor(2) as threads:
        query = it.fresh_query()
        it.hub.faults({"hang": True, "times": 1})
        leading = threads.submit(get, f"{it.replicas[0].url}{LIST}?{query}")
        eventually(lambda: it.hub.under_way == 1)
        following = threads.submit(it.replicas[1].ask, query)
        it.replicas[0].signal(signal.SIGTERM)
        assert following.result()[0] == 200
        assert it.hub.count == 2
        leading.exception()


def test_a_rolling_restart_loses_nothing() -> None:
    """Three replicas behind a balancer that asks for readiness; each is ended and started again, under load."""
    with fleet(3, **WIDE, PROXY_SERVER_DRAIN_DELAY="4") as it:
        ready = set(it.replicas_by_url)
        statuses: Counter[int] = Counter()
        stop = threading.Event()

        def balancer() -> None:
            while not stop.is_set():
                for url, replica in it.replicas_by_url.items():
                    with contextlib.suppress(OSError):
                        well = replica.running and is_ready(url)
                        (ready.add if well else ready.discard)(url)
                time.sleep(0.05)

        def caller(number: int) -> None:
            query = it.fresh_query() if number % 2 else KEPT
            while not stop.is_set():
                url = sorted(ready)[number % len(ready)]
                try:
                    statuses[get(f"{url}{LIST}?{query}")[0]] += 1
                except OSError:
                    statuses[0] += 1
                time.sleep(0.01)

        with ThreadPoolExecutor(13) as threads:
            work = [threads.submit(balancer), *(threads.submit(caller, number) for number in range(12))]
            for replica in it.replicas:
                assert replica.end(signal.SIGTERM) == 0
                replica.start()
                eventually(lambda: len(ready) == 3)
            stop.set()
            for one in work:
                one.result()
        assert set(statuses) == {200}
        assert statuses[200] > 100


# Callers.


def test_slow_and_vanishing_callers_hold_nothing_up(calm: Fleet) -> None:
    """Sixty callers ask for a megabyte each and read nothing, thirty more leave in the middle of their request."""
    replica = calm.replicas[0]
    with contextlib.ExitStack() as stack:
        for number in range(90):
            sock = stack.enter_context(socket.create_connection((LOOPBACK, replica.port)))
            request = f"GET {LIST}?page_size=1000 HTTP/1.1\r\nHost: x\r\n"
            sock.sendall((request + ("\r\n" if number < 60 else "")).encode())
        for _ in range(20):
            assert replica.ask("page_size=5")[0] == 200
        assert replica.ask(calm.fresh_query())[0] == 200
    calm.rests()
