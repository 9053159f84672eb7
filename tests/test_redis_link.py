"""The guard before Redis: what counts as its fault, what a call may cost, and what is left behind."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable
from unittest.mock import AsyncMock, call

import fakeredis
import pytest
from redis.exceptions import BusyLoadingError, NoPermissionError, OutOfMemoryError, ReadOnlyError, ResponseError

from proxy.redis.allotment import MIN_SHARE, allotted, current_allotment, unallotted
from proxy.redis.call_wait import LAST_ROUNDS, SLOW_SECONDS, CallWait
from proxy.redis.link import FIRST_BACKOFF, MAX_BACKOFF, RedisLink
from proxy.redis.reasons import reason
from proxy.redis.refusals import REFUSAL_SECONDS
from tests.support import Clock

TIMEOUT = 0.2
NOPERM = "User gp has no permissions to run the 'evalsha' command"
KEYS = "NOPERM, missing is the right to keys ~gp1:*"
SCRIPTS = "NOPERM, missing is the right to a command that scripts use"
CHANNELS = "NOPERM, missing is the right to channels &gp1:news*"


class Server:
    """Answers as told."""

    def __init__(self) -> None:
        self.seconds = 0.0
        self.error: Exception | None = None
        self.ended = self.under_way = self.most = 0

    async def __call__(self) -> str:
        self.under_way += 1
        self.most = max(self.most, self.under_way)
        try:
            await asyncio.sleep(self.seconds)
            if self.error:
                raise self.error
            return "answer"
        finally:
            self.under_way -= 1
            self.ended += 1


@pytest.fixture
def server() -> Server:
    return Server()


@pytest.fixture
def link(virtual_time: Callable[[], float]) -> RedisLink:
    return RedisLink(None, TIMEOUT, 4, clock=virtual_time)  # type: ignore[arg-type]


async def called(link: RedisLink, server: Callable[[], Awaitable[str]]) -> tuple[str | None, float]:
    now = asyncio.get_running_loop().time
    began = now()
    answer = await link.call("get", server)
    return answer, now() - began


async def test_what_takes_too_long_costs_its_time_and_goes_on_by_itself(link: RedisLink, server: Server) -> None:
    """Not cancelled: it may be a TLS handshake or a look at a cluster's topology, which would never be done."""
    server.seconds = 1.0
    answer, took = await called(link, server)
    assert answer is None
    assert took == pytest.approx(TIMEOUT)
    assert link.faults == {"get: TimeoutError": 1}
    assert (await called(link, server))[0] is None
    assert server.under_way == 1, "the next one is not even tried"
    async with asyncio.timeout(5):
        while not server.ended:
            await asyncio.sleep(0.01)
    assert server.ended == 1


async def test_a_process_that_was_held_up_does_not_blame_redis(server: Server) -> None:
    """The answer came in time; the event loop had no time for it."""
    link = RedisLink(None, TIMEOUT)  # type: ignore[arg-type]
    server.seconds = 0.01
    calling = asyncio.create_task(called(link, server))
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    time.sleep(4 * TIMEOUT)  # noqa: ASYNC251
    answer, _ = await calling
    assert answer == "answer"
    assert not link.faults


@pytest.mark.parametrize(("rounds", "ended"), [(LAST_ROUNDS - 1, True), (10 * LAST_ROUNDS, False)])
async def test_an_answer_that_has_come_is_taken_to_who_waits_before_redis_is_blamed(
    monkeypatch: pytest.MonkeyPatch, rounds: int, *, ended: bool
) -> None:
    """That takes some rounds of the event loop; where there is much to do, each is as long as a call may be."""

    async def over(*_: object) -> bool:
        return False

    async def answer() -> None:
        for _ in range(rounds):
            await asyncio.sleep(0)

    monkeypatch.setattr("proxy.redis.call_wait.wait_until_done", over)
    task = asyncio.create_task(answer())
    assert await CallWait(TIMEOUT, Clock()).ended(task) is ended
    await task


async def test_an_answer_of_the_last_moment_costs_its_question_what_it_took(monkeypatch: pytest.MonkeyPatch) -> None:
    """It is the slowest of all that count: else each of several such calls would have all of the time."""
    clock = Clock(0.0)
    wait = CallWait(TIMEOUT, clock)

    async def over(_: object, seconds: float) -> bool:
        clock.advance(seconds)
        return False

    async def answer() -> None:
        await asyncio.sleep(0)

    monkeypatch.setattr("proxy.redis.call_wait.wait_until_done", over)
    with allotted():
        assert await wait.ended(asyncio.create_task(answer()))
        assert current_allotment().left(TIMEOUT) == MIN_SHARE * TIMEOUT
    assert not wait.slow
    clock.advance(SLOW_SECONDS)
    assert wait.slow


async def test_slow_for_a_moment_is_no_fault_for_longer_is(
    link: RedisLink, server: Server, virtual_time: Callable[[], float]
) -> None:
    server.seconds = 0.6 * TIMEOUT
    slow_since = virtual_time()
    answers = 0
    async with asyncio.timeout(10):
        while "get: slow" not in link.faults:
            answer, _ = await called(link, server)
            answers += answer is not None
    assert SLOW_SECONDS < virtual_time() - slow_since < SLOW_SECONDS + TIMEOUT
    assert answers >= 2, "its answers are used all the same"
    assert (await called(link, server))[0] is None, "it is left alone, as several such calls cost too much"
    server.seconds = 0.0
    async with asyncio.timeout(10):
        while link.state == "down":
            await called(link, server)
            await asyncio.sleep(0.01)


async def test_calls_of_one_question_share_the_time_of_one(link: RedisLink, server: Server) -> None:
    """Each of them would be in time; a miss makes two or three, one after the other."""
    server.seconds = 0.8 * TIMEOUT
    with allotted():
        assert (await called(link, server))[0] == "answer"
        answer, took = await called(link, server)
        assert answer is None
        assert took == pytest.approx(MIN_SHARE * TIMEOUT)
    assert link.faults == {"get: TimeoutError": 1}


async def test_quick_calls_do_not_shorten_the_time_of_the_next(link: RedisLink, server: Server) -> None:
    with allotted():
        server.seconds = 0.3 * TIMEOUT
        for _ in range(3):
            assert (await called(link, server))[0] == "answer"
        server.seconds = 0.8 * TIMEOUT
        assert (await called(link, server))[0] == "answer"


async def test_a_short_call_in_what_is_left_is_a_quick_one(link: RedisLink, server: Server) -> None:
    with allotted():
        server.seconds = 0.7 * TIMEOUT
        assert (await called(link, server))[0] == "answer"
        assert link._call_wait._slow_since is not None
        server.seconds = 0.2 * TIMEOUT
        assert (await called(link, server))[0] == "answer"
        assert link._call_wait._slow_since is None


async def test_what_a_question_has_begun_shares_its_time_until_it_is_answered(
    link: RedisLink, server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("proxy.redis.call_wait.SLOW_SECONDS", 60.0)
    server.seconds = 0.8 * TIMEOUT
    answered, released = asyncio.Event(), asyncio.Event()

    async def goes_on() -> tuple[str | None, float]:
        await called(link, server)
        answered.set()
        await released.wait()
        return await called(link, server)

    with allotted():
        one = asyncio.create_task(goes_on())
        await answered.wait()
    released.set()
    assert (await one)[0] == "answer"

    async def for_all() -> tuple[str | None, float]:
        unallotted()
        return await called(link, server)

    with allotted():
        await called(link, server)
        assert (await asyncio.create_task(for_all()))[0] == "answer"


async def test_a_refusal_is_counted_and_redis_is_not_left_alone(link: RedisLink, server: Server) -> None:
    server.error = OutOfMemoryError("command not allowed")
    for _ in range(3):
        assert (await called(link, server))[0] is None
    assert link.faults == {"get: OutOfMemoryError": 3}
    states = [link.state]
    server.error = None
    assert (await called(link, server))[0] == "answer"
    assert [*states, link.state] == ["refusing", "up"]


async def test_each_kind_of_call_is_refused_for_itself(server: Server) -> None:
    """A Redis that is full can be read, and is full all the same; what is not tried again is forgotten."""
    clock = Clock()
    link = RedisLink(None, TIMEOUT, clock=clock)  # type: ignore[arg-type]
    server.error = OutOfMemoryError("command not allowed", status_code="OOM")
    await link.call("learn", server)
    server.error = None
    assert await link.call("look", server) == "answer"
    states = [link.state]
    clock.advance(REFUSAL_SECONDS)
    assert [*states, link.state] == ["refusing", "up"]


async def test_a_redis_that_is_back_and_refuses_is_there(link: RedisLink, server: Server) -> None:
    link._backoff_until, link._faults_in_a_row = 0.0, 3
    server.error = ResponseError("DB index is out of range", status_code="ERR")
    await called(link, server)
    assert (link.state, link.backing_off) == ("refusing", False)


async def test_a_refusal_is_said_once_and_again_when_it_is_another_or_a_minute_has_gone(
    server: Server, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "proxy.redis")
    clock = Clock()
    link = RedisLink(None, TIMEOUT, clock=clock)  # type: ignore[arg-type]
    denied = NoPermissionError(NOPERM, status_code="NOPERM")
    for server.error in [denied, denied, OutOfMemoryError("s3cr3t", status_code="OOM"), denied, None, denied, None]:
        await link.call("look", server)
    first = "Redis refuses look: NOPERM, missing is the right +evalsha"
    assert caplog.messages == [first, "Redis refuses look: OOM", "Redis takes look again"], "what flaps is said once"
    clock.advance(REFUSAL_SECONDS)
    caplog.clear()
    for server.error in [denied, denied, None]:
        await link.call("look", server)
    assert caplog.messages == [first, "Redis takes look again"]


async def test_what_others_keep_under_our_keys_is_said_once(caplog: pytest.LogCaptureFixture) -> None:
    link = RedisLink(None, TIMEOUT)  # type: ignore[arg-type]
    for _ in range(3):
        link.count("page", "ValueError")
    assert link.faults == {"page: ValueError": 3}
    assert caplog.messages == ["Redis fault, going on without it: page: ValueError"]


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (ConnectionRefusedError(), "ConnectionRefusedError"),
        (BusyLoadingError("s3cr3t", status_code="LOADING"), "BusyLoadingError: LOADING"),
        (ZeroDivisionError(), "ZeroDivisionError"),
    ],
)
async def test_an_outage_is_said_once_and_so_is_its_end(
    error: Exception, said: str, server: Server, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "proxy.redis")
    clock = Clock()
    link = RedisLink(None, 5.0, clock=clock)  # type: ignore[arg-type]
    for server.error in (error, error, error, None, None):
        await link.call("look", server)
        if link.state == "down":
            link.count("page", "ValueError")  # of a reply that came before
        clock.advance(MAX_BACKOFF)
    assert [record.getMessage() for record in caplog.records if record.levelno < logging.ERROR] == [
        f"Redis fault, going on without it: look: {said}",
        "Redis is back after 3 faults in a row",
    ]


@pytest.mark.parametrize(
    ("code", "text", "said"),
    [
        ("NOPERM", NOPERM, "NOPERM, missing is the right +evalsha"),
        ("NOPERM", "no permissions to run the 'pubsub|numsub' command", "NOPERM, missing is the right +pubsub|numsub"),
        ("NOPERM", "this user has no permissions to access one of the keys used as arguments", KEYS),
        ("NOPERM", "No permissions to access a channel", CHANNELS),
        (
            "ERR",
            "ACL failure in script: User x has no permissions to run the 'get' command",
            "NOPERM, missing is the right +get",
        ),
        ("ERR", "The user executing the script can't run this command or subcommand", SCRIPTS),
        ("ERR", "unknown command 'EVALSHA', with args beginning with: 's3cr3t'", "it has no command EVALSHA"),
        ("ERR", "DB index is out of range", "it has no database of that number"),
        (None, "WRONGTYPE Operation against a key holding s3cr3t", "WRONGTYPE"),
        (None, "s3cr3t", ""),
        ("WRONGPASS", "invalid username s3cr3t", "WRONGPASS"),
    ],
)
def test_what_is_said_of_a_refusal_quotes_nothing(code: str | None, text: str, said: str) -> None:
    """The texts of Redis 6.2, 7.0 and 7.4."""
    assert reason(ResponseError(text, status_code=code)) == said


async def test_what_redis_py_should_not_raise_is_seen_but_nobodys_error(
    link: RedisLink, server: Server, caplog: pytest.LogCaptureFixture
) -> None:
    server.error = ZeroDivisionError()
    assert (await called(link, server))[0] is None
    assert link.faults == {"get: ZeroDivisionError": 1}
    assert "a fault of the proxy or of redis-py" in caplog.text


async def test_a_burst_waits_for_its_turn_and_that_is_no_fault(link: RedisLink, server: Server) -> None:
    server.seconds = 0.01
    answers = await asyncio.gather(*(called(link, server) for _ in range(40)))
    assert {answer for answer, _ in answers} == {"answer"}
    assert server.most == 4
    assert not link.faults


async def test_a_burst_at_a_redis_that_hangs_costs_each_about_its_timeout(link: RedisLink) -> None:
    released = asyncio.Event()

    async def hung() -> str:
        await released.wait()
        return "answer"

    answers = await asyncio.gather(*(called(link, hung) for _ in range(40)))
    assert {answer for answer, _ in answers} == {None}
    assert max(took for _, took in answers) == pytest.approx(TIMEOUT)
    assert link.faults.total() <= 4
    released.set()
    assert await link._calls.drain(9) == 0


async def test_a_link_that_is_closed_makes_no_call() -> None:
    """What a task asks that has outlived the application would leave a connection open."""
    link, made = RedisLink(fakeredis.FakeAsyncRedis(), 1.0), []

    async def call() -> bool:
        made.append(True)
        return True

    assert await link.call("get", call)
    await link.aclose()
    assert await link.call("get", call) is None
    assert len(made) == 1


async def test_a_link_that_is_closed_lets_calls_under_way_end() -> None:
    link, released, ended = RedisLink(fakeredis.FakeAsyncRedis(), 0.01), asyncio.Event(), []

    async def call() -> bool:
        await released.wait()
        ended.append(True)
        return True

    assert await link.call("get", call) is None
    closing = asyncio.create_task(link.aclose())
    await asyncio.sleep(0)
    released.set()
    await closing
    assert ended


async def test_what_goes_wrong_in_closing_is_counted_and_nobodys_error(monkeypatch: pytest.MonkeyPatch) -> None:
    link = RedisLink(fakeredis.FakeAsyncRedis(), 1.0)
    monkeypatch.setattr(link.client, "aclose", AsyncMock(side_effect=ConnectionResetError))
    await link.aclose()
    assert link.faults == {"close: ConnectionResetError": 1}


async def test_one_call_tries_whether_redis_is_back_and_the_others_keep_off(server: Server) -> None:
    clock, released = Clock(), asyncio.Event()
    link = RedisLink(None, 5.0, clock=clock)  # type: ignore[arg-type]
    server.error = ConnectionRefusedError()
    assert await link.call("get", server) is None
    clock.advance(FIRST_BACKOFF)
    assert not link.backing_off

    async def tries() -> str:
        await released.wait()
        return "answer"

    trying = asyncio.create_task(link.call("get", tries))
    await asyncio.sleep(0)
    assert link.backing_off
    released.set()
    assert await trying == "answer"
    assert not link.backing_off


async def dropped(link: RedisLink, monkeypatch: pytest.MonkeyPatch, happens: Callable[[], Awaitable[object]]) -> bool:
    """Whether connections that nobody uses are closed when that happens."""
    disconnect = AsyncMock()
    monkeypatch.setattr(link.client.connection_pool, "disconnect", disconnect)  # type: ignore[union-attr]
    assert await happens() is None
    await link._calls.drain(5)
    return disconnect.await_args_list == [call(inuse_connections=False)]


async def test_after_the_reply_to_something_else_its_connection_is_not_used_again(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The next reply on it would be another's, too."""
    link = RedisLink(fakeredis.FakeAsyncRedis(), 1.0)

    async def misread() -> object:
        return link.read("look", b"OK", int)

    assert await dropped(link, monkeypatch, misread)
    assert link.faults == {"look: wrong reply": 1}


@pytest.mark.parametrize(
    ("error", "anew"), [(ReadOnlyError("a replica"), True), (OutOfMemoryError("full"), False)], ids=["replica", "full"]
)
async def test_a_primary_that_is_none_any_more_is_looked_for_anew(
    error: Exception, anew: bool, server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its name may lead to another by now."""
    link, server.error = RedisLink(fakeredis.FakeAsyncRedis(), 1.0), error
    assert await dropped(link, monkeypatch, lambda: link.call("store", server)) is anew


def test_what_a_call_may_take_of_what_a_question_may_cost() -> None:
    with allotted():
        mine = current_allotment()
        assert mine.left(2.0) == 2.0
        mine.charge(0.5)
        assert mine.left(2.0) == 1.5
        mine.charge(10.0)
        assert mine.left(2.0) == MIN_SHARE * 2.0, "enough for a Redis that is well"
        assert current_allotment() is mine
    assert mine.left(2.0) == 2.0, "nobody waits any more"
    assert current_allotment() is not mine
