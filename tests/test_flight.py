"""Single flight: one piece of work for all who ask, owned by none of them."""

from __future__ import annotations

import asyncio
import logging

import pytest

from proxy.errors import HubTimeout
from proxy.tasks.detached import Detached, wait_until_done
from proxy.tasks.flight import Flights


class Work:
    """Work that ends when told."""

    def __init__(self) -> None:
        self.started = 0
        self.may_end = asyncio.Event()

    async def __call__(self) -> str:
        self.started += 1
        await self.may_end.wait()
        return f"result {self.started}"


async def waiting(flights: Flights[str], work: Work, callers: int) -> list[asyncio.Task[tuple[str, bool]]]:
    tasks = [asyncio.create_task(flights.share("k", work)) for _ in range(callers)]
    await asyncio.sleep(0)  # lets each of them join
    return tasks


async def test_many_callers_share_one_piece_of_work() -> None:
    flights, work = Flights[str](), Work()
    tasks = await waiting(flights, work, 100)
    work.may_end.set()
    results = await asyncio.gather(*tasks)
    assert work.started == 1
    assert {result for result, _ in results} == {"result 1"}
    assert sorted(joined for _, joined in results) == [False] + [True] * 99
    assert len(flights) == 0


async def test_the_first_caller_who_hangs_up_disturbs_nobody() -> None:
    flights, work = Flights[str](), Work()
    first, *others = await waiting(flights, work, 3)
    first.cancel()
    await asyncio.sleep(0)
    work.may_end.set()
    assert [(await task)[0] for task in others] == ["result 1", "result 1"]
    assert first.cancelled()


async def test_all_callers_hang_up_and_the_work_goes_on() -> None:
    flights, work = Flights[str](), Work()
    tasks = await waiting(flights, work, 3)
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
    late = asyncio.create_task(flights.share("k", work))
    await asyncio.sleep(0)
    work.may_end.set()
    assert await late == ("result 1", True)


async def test_a_failure_reaches_all_and_is_not_kept() -> None:
    flights = Flights[str]()
    may_fail = asyncio.Event()

    async def fail() -> str:
        await may_fail.wait()
        raise LookupError("no")

    async def succeed() -> str:
        return "yes"

    tasks = [asyncio.create_task(flights.share("k", fail)) for _ in range(3)]
    await asyncio.sleep(0)
    may_fail.set()
    results = await asyncio.gather(*tasks, return_exceptions=True)
    assert [type(result) for result in results] == [LookupError] * 3
    assert await flights.share("k", succeed) == ("yes", False)


async def test_a_failure_that_nobody_waits_for_is_quiet(caplog: pytest.LogCaptureFixture) -> None:
    flights = Flights[str]()

    async def fail() -> str:
        await asyncio.sleep(0)
        raise LookupError("no")

    task = asyncio.create_task(flights.share("k", fail))
    await asyncio.sleep(0)
    task.cancel()
    assert await flights.drain(5) == 0
    assert not caplog.records


async def test_different_keys_do_not_wait_for_each_other() -> None:
    flights, work, other = Flights[str](), Work(), Work()
    task = asyncio.create_task(flights.share("k", work))
    other.may_end.set()
    assert await flights.share("other", other) == ("result 1", False)
    assert await flights.drain(0) == 1
    work.may_end.set()
    await task


async def test_who_asks_again_on_waking_starts_anew() -> None:
    flights, work = Flights[str](), Work()
    work.may_end.set()
    assert await flights.share("k", work) == ("result 1", False)
    assert await flights.share("k", work) == ("result 2", False)


async def test_waiting_for_work_leaves_it_alone() -> None:
    loop = asyncio.get_running_loop()
    work = loop.create_future()
    assert not await wait_until_done(work, 0.01)
    assert not await wait_until_done(work, 0.0)
    waiting = [asyncio.create_task(wait_until_done(work)), asyncio.create_task(wait_until_done(work, 5.0))]
    hangs_up = asyncio.create_task(wait_until_done(work))
    await asyncio.sleep(0)
    hangs_up.cancel()
    await asyncio.sleep(0)
    assert not work.cancelled()
    loop.call_later(0.01, work.set_exception, ZeroDivisionError())
    assert await asyncio.gather(*waiting) == [True, True]
    assert await wait_until_done(work)
    assert hangs_up.cancelled()
    assert isinstance(work.exception(), ZeroDivisionError)


async def test_who_waits_comes_after_what_was_to_be_done_at_the_end() -> None:
    work: asyncio.Future[None] = asyncio.get_running_loop().create_future()
    forgotten: list[object] = []
    work.add_done_callback(forgotten.append)
    work.set_result(None)
    assert await wait_until_done(work)
    assert forgotten == [work]


async def test_work_that_is_cancelled_has_ended() -> None:
    work = asyncio.create_task(asyncio.sleep(9))
    asyncio.get_running_loop().call_soon(work.cancel)
    assert await wait_until_done(work, 5.0)
    assert work.cancelled()


async def raising(error: BaseException) -> None:
    raise error


async def test_a_fault_in_work_that_nobody_waits_for_is_logged(caplog: pytest.LogCaptureFixture) -> None:
    """By its type and where it happened: its text may be a library's, and quote a token or a password."""
    detached = Detached()
    detached.spawn(raising(TypeError("no k-3f9d2c71aa")))
    await detached.drain(5)
    (record,) = caplog.records
    assert record.levelno == logging.ERROR
    assert "TypeError" in record.getMessage()
    assert "in raising" in record.getMessage()
    assert "k-3f9d2c71aa" not in caplog.text


@pytest.mark.parametrize("error", [HubTimeout("slow"), asyncio.CancelledError()])
async def test_what_may_happen_to_such_work_is_not(error: BaseException, caplog: pytest.LogCaptureFixture) -> None:
    detached = Detached()
    detached.spawn(raising(error))
    await detached.drain(5)
    assert not caplog.records


async def test_what_is_given_to_who_waits_is_theirs_to_tell(caplog: pytest.LogCaptureFixture) -> None:
    flights = Flights[None]()
    with pytest.raises(TypeError):
        await flights.share("k", lambda: raising(TypeError()))
    assert await flights.drain(5) == 0
    assert not caplog.records
