"""The transport to the hub, over real connections and on both event loops: what is kept, what is ended, and when."""

from __future__ import annotations

import asyncio
import contextlib
import math
import os
import socket
import ssl
import threading
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine
from contextlib import asynccontextmanager
from typing import Any

import httpx
import pytest
import uvloop

from proxy.commands.sockets import LOOPBACK
from proxy.hub.connection import MAX_DRY, Overdue, StaleConnection
from proxy.hub.network import UNTIL, Network
from proxy.hub.request import Origin
from proxy.hub.tls import tls_context
from tests.redis_servers import certificates
from tests.support import free_port

Behaviour = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[object]]
OK = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok"
LOOPS = [asyncio.new_event_loop, uvloop.new_event_loop]


@pytest.fixture(params=LOOPS, ids=["asyncio", "uvloop"])
def run(request: pytest.FixtureRequest) -> Callable[[Coroutine[Any, Any, None]], None]:
    """Run a scenario on a loop, within a time that only what hangs needs."""

    def running(scenario: Coroutine[Any, Any, None]) -> None:
        with asyncio.Runner(loop_factory=request.param) as runner:
            runner.run(asyncio.wait_for(scenario, 30))

    return running


class Server:
    """What the test says is done to each connection.

    Attributes:
        connections: how many there were.
        ended: connections that are over.
    """

    def __init__(self, behave: Behaviour) -> None:
        self._behave = behave
        self._tasks: set[asyncio.Task[None] | None] = set()
        self.connections = 0
        self.ended: asyncio.Semaphore = asyncio.Semaphore(0)

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._tasks.add(asyncio.current_task())
        self.connections += 1
        # RuntimeError is what uvloop raises of what is written to a connection that the other side has ended.
        with contextlib.suppress(ConnectionError, asyncio.IncompleteReadError, RuntimeError):
            await self._behave(reader, writer)
        writer.close()
        with contextlib.suppress(ConnectionError, RuntimeError):
            await writer.wait_closed()
        self.ended.release()

    async def over(self) -> None:
        """Wait until all connections are."""
        async with asyncio.timeout(5):
            await asyncio.gather(*(task for task in self._tasks if task is not None))


@asynccontextmanager
async def network(
    behave: Behaviour, *, connections: int = 4, expiry: float = 60.0
) -> AsyncIterator[tuple[Network, Server]]:
    server = Server(behave)
    async with await asyncio.start_server(server.serve, LOOPBACK, 0) as listening:
        url = f"http://{LOOPBACK}:{listening.sockets[0].getsockname()[1]}"
        one = Network(url, connections, expiry, tls_context(None))
        try:
            yield one, server
        finally:
            await one.aclose()
            await server.over()


async def ask(
    one: Network, *, until: float = math.inf, headers: dict[str, str] | None = None, **timeouts: float
) -> bytes:
    """Ask and read the whole body."""
    response = await begin(one, until=until, headers=headers, **timeouts)
    return b"".join([part async for part in response.aiter_raw()])


async def begin(
    one: Network, *, until: float = math.inf, headers: dict[str, str] | None = None, **timeouts: float
) -> httpx.Response:
    """Ask, and return the answer's head."""
    extensions = {UNTIL: until, "timeout": timeouts}
    request = httpx.Request("GET", one._url.copy_with(path="/x"), headers=headers, extensions=extensions)
    return await one.handle_async_request(request)


async def head_of(reader: asyncio.StreamReader) -> bytes:
    return await reader.readuntil(b"\r\n\r\n")


def answering(*answers: bytes) -> Behaviour:
    """Answer one request after the other, then wait for the other side to leave."""

    async def behave(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        for answer in answers:
            await head_of(reader)
            writer.write(answer)
        await reader.read()

    return behave


def test_a_connection_carries_one_request_after_the_other(run: Any) -> None:
    async def scenario() -> None:
        async with network(answering(OK, OK, OK)) as (one, server):
            assert [await ask(one) for _ in range(3)] == [b"ok"] * 3
            assert server.connections == 1

    run(scenario())


def test_what_is_sent_is_one_request_with_a_host(run: Any) -> None:
    heads: list[bytes] = []

    async def behave(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        heads.append(await head_of(reader))
        writer.write(OK)

    async def scenario() -> None:
        async with network(behave) as (one, _):
            await ask(one, headers={"x-one": "1"})
            lines = heads[0].split(b"\r\n")
            assert lines[0] == b"GET /x HTTP/1.1"
            assert set(lines[1:]) == {b"Host: " + one._url.netloc, b"x-one: 1", b""}

    run(scenario())


@pytest.mark.parametrize(("method", "headers"), [("POST", {}), ("GÉT", {}), ("GET", {"Content-Length": "1"})])
def test_what_is_no_get_without_a_body_is_not_sent(run: Any, method: str, headers: dict[str, str]) -> None:
    async def scenario() -> None:
        one = Network(f"http://{LOOPBACK}", 1, 60.0, tls_context(None))
        with pytest.raises(httpx.LocalProtocolError):
            await one.handle_async_request(httpx.Request(method, one._url, headers=headers))
        assert one._free == 1

    run(scenario())


@pytest.mark.parametrize("value", ["a\r\nx-two: 2", "a\nb", "a\rb", "a\0b"])
def test_a_header_that_would_be_more_than_one_is_not_sent(run: Any, value: str) -> None:
    async def scenario() -> None:
        async with network(answering(OK)) as (one, server):
            with pytest.raises(httpx.LocalProtocolError) as caught:
                await ask(one, headers={"x-one": value})
            assert "x-one" in str(caught.value)
            assert value not in str(caught.value)
            assert server.connections == 0

    run(scenario())


@pytest.mark.parametrize("target", ["/x y", "/x\r\nx-two: 2", "/x\ty", "/x\0"])
def test_a_target_that_would_be_more_than_one_is_not_sent(run: Any, target: str) -> None:
    async def scenario() -> None:
        async with network(answering(OK)) as (one, server):
            with pytest.raises(httpx.LocalProtocolError, match="white space"):
                await one.handle_async_request(Origin(str(one._url)).get(target, [], {}))
            assert (server.connections, one._free) == (0, 4)

    run(scenario())


@pytest.mark.parametrize(
    "answer",
    [
        b"HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-length: 2\r\n\r\nok",
        b"HTTP/1.0 200 OK\r\ncontent-length: 2\r\n\r\nok",
        OK + b"HTTP/1.1 200 OK\r\n",
        OK + b"garbage",
        OK + OK,
    ],
    ids=["close", "HTTP/1.0", "half of another", "garbage", "another"],
)
def test_a_connection_that_is_to_end_or_out_of_step_is_not_used_again(run: Any, answer: bytes) -> None:
    async def scenario() -> None:
        async with network(answering(answer)) as (one, server):
            assert [await ask(one) for _ in range(2)] == [b"ok"] * 2
            assert server.connections == 2
            await server.ended.acquire()

    run(scenario())


def test_a_connection_that_speaks_another_protocol_is_not_used_again(run: Any) -> None:
    switched = b"HTTP/1.1 101 Switching Protocols\r\nupgrade: x\r\nconnection: upgrade\r\n\r\nx"

    async def scenario() -> None:
        async with network(answering(switched)) as (one, server):
            for _ in range(2):
                response = await begin(one)
                assert (response.status_code, await response.aread()) == (101, b"")
                await server.ended.acquire()

    run(scenario())


def test_what_comes_unasked_on_an_idle_connection_is_nobodys_answer(run: Any) -> None:
    """A balancer says 408 on what has been idle for long."""
    idle = asyncio.Event()

    async def behave(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await head_of(reader)
        writer.write(OK)
        await idle.wait()
        writer.write(b"HTTP/1.1 408 Request Timeout\r\ncontent-length: 0\r\n\r\n")
        await reader.read()

    async def scenario() -> None:
        async with network(behave) as (one, server):
            assert await ask(one) == b"ok"
            idle.set()
            await server.ended.acquire()  # ended by this side, as the server waits for that
            assert await ask(one) == b"ok"
            assert server.connections == 2

    run(scenario())


def test_what_waits_on_an_idle_connection_is_seen_before_it_is_used(run: Any) -> None:
    """The loop was busy when it came."""
    stray, sent = threading.Event(), threading.Event()

    def serve(listening: socket.socket) -> None:
        def answer_one() -> socket.socket:
            taken = listening.accept()[0]
            while not taken.recv(65_536).endswith(b"\r\n\r\n"):
                pass
            taken.sendall(OK)
            return taken

        with answer_one() as first:
            stray.wait(20)
            first.sendall(b"HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nwrong")
            sent.set()
            with answer_one() as second:
                second.recv(1)

    async def scenario(url: str) -> None:
        one = Network(url, 4, 60.0, tls_context(None))
        assert await ask(one) == b"ok"
        stray.set()
        assert sent.wait(20), "nothing of this loop runs meanwhile"
        assert await ask(one) == b"ok"
        await one.aclose()

    with socket.create_server((LOOPBACK, 0)) as listening:
        thread = threading.Thread(target=serve, args=(listening,))
        thread.start()
        run(scenario(f"http://{LOOPBACK}:{listening.getsockname()[1]}"))
        thread.join(20)


def test_a_408_on_a_kept_connection_is_said_of_that_and_on_a_new_one_of_the_request(run: Any) -> None:
    late = b"HTTP/1.1 408 Request Timeout\r\nconnection: close\r\ncontent-length: 0\r\n\r\n"

    async def scenario() -> None:
        async with network(answering(OK, late)) as (one, _):
            assert await ask(one) == b"ok"
            with pytest.raises(StaleConnection):
                await ask(one)
            assert await ask(one) == b"ok"
        async with network(answering(late)) as (one, _):
            assert (await begin(one)).status_code == 408

    run(scenario())


@pytest.mark.parametrize(
    "answer",
    [
        OK.replace(b"\r\n", b"\n"),
        OK.replace(b"HTTP/1.1", b"HTTP/1.2"),
        OK.replace(b"\r\n\r\n", b"\r\nx: \x01\r\n folded\r\n\r\n"),
        b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n2  \r\nok\r\n0\r\n\r\n",
        b"HTTP/1.1 103 Early Hints\r\nconnection: close\r\n\r\n" + OK,
        b"HTTP/1.0 100 Continue\r\n\r\n" + OK,
    ],
    ids=["LF", "HTTP/1.2", "odd values", "blanks in a chunk's line", "an interim close", "an interim HTTP/1.0"],
)
def test_an_answer_that_is_not_quite_exact_is_understood(run: Any, answer: bytes) -> None:
    async def scenario() -> None:
        async with network(answering(answer)) as (one, _):
            assert await ask(one) == b"ok"

    run(scenario())


def test_a_chunked_body_is_cut_off_wherever_it_ends_however_it_is_named(run: Any) -> None:
    cut = b"HTTP/1.1 200 OK\r\ntransfer-encoding: %s\r\n\r\n2\r\nok\r\n5\r\nab"

    async def behave(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await head_of(reader)
        writer.write(cut % names.pop())

    names = [b"chunked", b"gzip, chunked", b"identity\r\ntransfer-encoding: chunked", b"gzip"] * len(LOOPS)

    async def scenario() -> None:
        async with network(behave) as (one, _):
            for _ in range(4):
                with pytest.raises(httpx.RemoteProtocolError):
                    await ask(one)

    run(scenario())


def test_a_request_whose_time_is_over_is_not_sent(run: Any) -> None:
    async def scenario() -> None:
        now = asyncio.get_running_loop().time
        async with network(answering(OK, OK)) as (one, server):
            with pytest.raises(Overdue):
                await ask(one, until=now())
            assert server.connections == 0
            assert await ask(one) == b"ok"
            with pytest.raises(Overdue):
                await ask(one, until=now())
            await server.ended.acquire()
            assert one._free == 4

    run(scenario())


def test_a_connection_that_has_been_idle_for_too_long_is_not_used_again(run: Any) -> None:
    async def scenario() -> None:
        async with network(answering(OK, OK), expiry=0.0) as (one, server):
            assert [await ask(one) for _ in range(2)] == [b"ok"] * 2
            assert server.connections == 2
            await server.ended.acquire()

    run(scenario())


def test_a_kept_connection_that_ends_before_an_answer_says_so_and_takes_the_others_along(run: Any) -> None:
    together, broken = asyncio.Barrier(3), False

    async def behave(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await head_of(reader)
        if not broken:
            await together.wait()
        writer.write(OK)
        await head_of(reader)

    async def scenario() -> None:
        nonlocal broken
        async with network(behave) as (one, server):
            await asyncio.gather(*(ask(one) for _ in range(3)))
            broken = True
            with pytest.raises(StaleConnection):
                await ask(one)
            assert await ask(one) == b"ok"
            assert server.connections == 4

    run(scenario())


@pytest.mark.parametrize("sent", [b"", b"HTTP/1.1 200 OK\r\nx: "], ids=["nothing", "half a head"])
def test_a_new_connection_that_ends_before_an_answer_is_no_stale_one(run: Any, sent: bytes) -> None:
    async def behave(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await head_of(reader)
        writer.write(sent)

    async def scenario() -> None:
        async with network(behave) as (one, _):
            with pytest.raises(httpx.RemoteProtocolError) as caught:
                await ask(one)
            assert not isinstance(caught.value, StaleConnection)

    run(scenario())


@pytest.mark.parametrize(
    "sent",
    [
        b"HTTP/1.1 200 OK\r\nx: " + b"x" * 4 * MAX_DRY,
        b"HTTP/1.1 100 Continue\r\n\r\n" * (MAX_DRY // 25 + 1),
        b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n1\r\nx\r\n0\r\nx: " + b"x" * 4 * MAX_DRY,
        b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n1;" + b"x" * 4 * MAX_DRY,
        b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\ntransfer-encoding: chunked\r\n\r\n",
    ],
    ids=["head", "interim answers", "trailer", "extension of a chunk", "two lengths"],
)
def test_what_has_no_end_or_no_sense_ends_with_its_connection(run: Any, sent: bytes) -> None:
    async def scenario() -> None:
        async with network(answering(sent)) as (one, server):
            with pytest.raises(httpx.RemoteProtocolError):
                await ask(one)
            await server.ended.acquire()
            assert one._free == 4

    run(scenario())


def test_a_body_without_a_length_ends_with_its_connection(run: Any) -> None:
    async def behave(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await head_of(reader)
        for part in (b"HTTP/1.1 200 OK\r\n\r\n", b"all ", b"of it"):
            writer.write(part)
            await writer.drain()

    async def scenario() -> None:
        async with network(behave) as (one, _):
            assert await ask(one) == b"all of it"

    run(scenario())


def test_a_body_without_a_length_that_is_reset_is_not_whole(run: Any) -> None:
    read = asyncio.Event()

    async def behave(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await head_of(reader)
        writer.write(b"HTTP/1.1 200 OK\r\n\r\nhalf")
        await read.wait()
        sent = writer.get_extra_info("socket")
        sent.setsockopt(1, 13, b"\1\0\0\0\0\0\0\0")  # SO_LINGER of 0 s: what ends it is a reset
        writer.transport.abort()

    async def scenario() -> None:
        async with network(behave) as (one, _):
            response = await begin(one)
            parts = response.aiter_raw()
            assert await anext(parts) == b"half"
            read.set()
            with pytest.raises(httpx.RemoteProtocolError):
                await anext(parts)

    run(scenario())


def test_a_body_that_nobody_takes_ends_with_its_connection(run: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("proxy.hub.connection.MAX_UNTAKEN", 2**20)

    async def behave(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await head_of(reader)
        writer.write(b"HTTP/1.1 200 OK\r\n\r\n")
        while not reader.at_eof():
            writer.write(bytes(65_536))
            await writer.drain()

    async def scenario() -> None:
        async with network(behave) as (one, server):
            response = await begin(one)
            await server.ended.acquire()
            with pytest.raises(httpx.ReadError):
                await response.aread()

    run(scenario())


@pytest.mark.parametrize("length", [True, False])
def test_all_is_read_of_a_hub_that_ends_tls_without_a_word(
    run: Any, tmp_path_factory: pytest.TempPathFactory, *, length: bool
) -> None:
    """Many do; uvloop loses the rest where reading is paused meanwhile."""
    made, total = certificates(tmp_path_factory.mktemp("tls")), 3_000_000
    secure = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    secure.load_cert_chain(made.certificate, made.key)
    head = (
        b"HTTP/1.1 200 OK\r\nconnection: close\r\n" + (b"content-length: %d\r\n" % total if length else b"") + b"\r\n"
    )

    def serve(listening: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while True:
                with secure.wrap_socket(listening.accept()[0], server_side=True, suppress_ragged_eofs=True) as one:
                    while not one.recv(65_536).endswith(b"\r\n\r\n"):
                        pass
                    one.sendall(head + bytes(total))
                    os.close(one.detach())

    async def scenario(url: str) -> None:
        one = Network(url, 4, 60.0, tls_context(str(made.authority)))
        for _ in range(10):
            assert len(await ask(one)) == total
        await one.aclose()

    with socket.create_server((LOOPBACK, 0)) as listening:
        thread = threading.Thread(target=serve, args=(listening,), daemon=True)
        thread.start()
        run(scenario(f"https://{LOOPBACK}:{listening.getsockname()[1]}"))
        listening.shutdown(socket.SHUT_RDWR)  # else it would go on to wait for the next
        thread.join(20)
        assert not thread.is_alive()


def test_an_exchange_ends_when_its_time_is_over(run: Any) -> None:
    async def drip(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await head_of(reader)
        writer.write(b"HTTP/1.1 200 OK\r\nx: ")
        while not reader.at_eof():
            writer.write(b"x")
            await writer.drain()
            await asyncio.sleep(0.01)

    async def scenario() -> None:
        async with network(drip) as (one, server):
            until = asyncio.get_running_loop().time() + 0.1
            with pytest.raises(Overdue):
                await ask(one, until=until, read=5.0)
            assert asyncio.get_running_loop().time() < until + 2
            await server.ended.acquire()

    run(scenario())


def test_a_silent_hub_is_waited_for_as_long_as_it_may_be_silent(run: Any) -> None:
    """Counted from its last byte, not from the first."""

    async def behave(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await head_of(reader)
        for part in (b"HTTP/1.1 200 OK\r\n", b"x: y\r\n", b"z: z\r\n"):
            writer.write(part)
            await asyncio.sleep(0.3)
        await reader.read()

    async def scenario() -> None:
        async with network(behave) as (one, server):
            began = asyncio.get_running_loop().time()
            with pytest.raises(httpx.ReadTimeout):
                await ask(one, read=0.8)  # half a second more than a part takes, for a machine that is busy
            assert asyncio.get_running_loop().time() - began > 1.3
            await server.ended.acquire()

    run(scenario())


def test_what_is_cancelled_leaves_nothing_behind(run: Any) -> None:
    asked = asyncio.Event()

    async def behave(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await head_of(reader)
        if not asked.is_set():
            asked.set()
            await reader.read()
        writer.write(OK)
        await reader.read()

    async def scenario() -> None:
        async with network(behave, connections=1) as (one, server):
            first = asyncio.create_task(ask(one))
            await asked.wait()
            first.cancel()
            with pytest.raises(asyncio.CancelledError):
                await first
            await server.ended.acquire()
            assert await ask(one, pool=5.0) == b"ok"

    run(scenario())


def test_a_response_that_is_closed_early_ends_its_connection(run: Any) -> None:
    async def scenario() -> None:
        half = b"HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\nhalf"
        async with network(answering(half), connections=1) as (one, server):
            response = await begin(one)
            await response.aclose()
            await server.ended.acquire()
            assert one._free == 1

    run(scenario())


def test_no_more_are_under_way_than_may_be(run: Any) -> None:
    go, most, now = asyncio.Event(), 0, 0

    async def behave(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal most, now
        while True:
            await head_of(reader)
            now += 1
            most = max(most, now)
            await go.wait()
            now -= 1
            writer.write(OK)

    async def scenario() -> None:
        async with network(behave, connections=2) as (one, server):
            asking = [asyncio.create_task(ask(one)) for _ in range(6)]
            while len(one._waiting) < 4:
                await asyncio.sleep(0)
            with pytest.raises(httpx.PoolTimeout):
                await ask(one, pool=0.05)
            while now < 2:
                await asyncio.sleep(0)
            go.set()
            assert await asyncio.gather(*asking) == [b"ok"] * 6
            assert (most, server.connections) == (2, 2)
            assert (one._free, len(one._waiting)) == (2, 0)

    run(scenario())


def test_who_gives_up_waiting_for_a_place_leaves_it_to_the_next(run: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Also in the moment in which it was given the place."""

    async def scenario() -> None:
        go = asyncio.Event()

        async def behave(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            while True:
                await head_of(reader)
                await go.wait()
                writer.write(OK)

        async with network(behave, connections=1) as (one, _):
            first, second, third = (asyncio.create_task(ask(one)) for _ in range(3))
            while len(one._waiting) < 2:
                await asyncio.sleep(0)
            give = one._give_place

            def give_and_cancel() -> None:
                give()
                second.cancel()  # before it hears of its place

            monkeypatch.setattr(one, "_give_place", give_and_cancel)
            go.set()
            assert [await first, await third] == [b"ok", b"ok"]
            with pytest.raises(asyncio.CancelledError):
                await second
            assert (one._free, len(one._waiting)) == (1, 0)

    run(scenario())


def test_who_gave_up_before_a_place_was_free_is_passed_over(run: Any) -> None:
    """In the same moment: it has left the line already when it looks for itself there."""

    async def scenario() -> None:
        one = Network("http://hub.test", 0, 60.0, tls_context(None))
        first, second = (asyncio.create_task(one._take_place(None, math.inf)) for _ in range(2))
        await asyncio.sleep(0)
        first.cancel()
        one._give_place()
        with pytest.raises(asyncio.CancelledError):
            await first
        await second
        assert (one._free, len(one._waiting)) == (0, 0)

    run(scenario())


def test_who_waits_for_a_place_when_all_is_closed_makes_no_connection(run: Any) -> None:
    async def scenario() -> None:
        async with network(answering(), connections=1) as (one, server):
            asking = [asyncio.create_task(ask(one)) for _ in range(3)]
            while not server.connections:
                await asyncio.sleep(0)
            await one.aclose()
            errors = await asyncio.gather(*asking, return_exceptions=True)
            assert all(isinstance(error, httpx.TransportError) for error in errors), errors
            assert server.connections == 1
            assert one._free == 1

    run(scenario())


def test_closing_ends_what_is_under_way_and_begins_nothing_more(run: Any) -> None:
    asked = asyncio.Event()

    async def behave(reader: asyncio.StreamReader, _: asyncio.StreamWriter) -> None:
        await head_of(reader)
        asked.set()
        await reader.read()

    async def scenario() -> None:
        async with network(behave) as (one, server):
            asking = asyncio.create_task(ask(one))
            await asked.wait()
            await one.aclose()
            with pytest.raises(httpx.ReadError):
                await asking
            await server.ended.acquire()
            with pytest.raises(httpx.ConnectError):
                await ask(one)
            assert server.connections == 1

    run(scenario())


def test_a_port_at_which_nobody_listens_is_no_connection(run: Any) -> None:
    async def scenario() -> None:
        one = Network(f"http://{LOOPBACK}:{free_port()}", 1, 60.0, tls_context(None))
        for _ in range(2):
            with pytest.raises(httpx.ConnectError):
                await ask(one)
        assert one._free == 1

    run(scenario())


@pytest.mark.parametrize("host", ["nowhere.invalid", "a" * 64 + ".test"])
def test_a_name_without_an_address_is_no_connection(run: Any, host: str) -> None:
    async def scenario() -> None:
        one = Network(f"http://{host}", 1, 60.0, tls_context(None))
        with pytest.raises(httpx.ConnectError):
            await ask(one)

    run(scenario())


def test_tls_that_does_not_come_about_is_no_connection(run: Any) -> None:
    async def hang_up(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read(1)
        writer.write(b"HTTP/1.1 400 this is no TLS\r\n\r\n")

    async def hang(reader: asyncio.StreamReader, _: asyncio.StreamWriter) -> None:
        await reader.read()

    async def scenario() -> None:
        for behave, error, seconds in ((hang_up, httpx.ConnectError, 20.0), (hang, httpx.ConnectTimeout, 0.3)):
            async with network(behave) as (plain, server):
                one = Network(str(plain._url.copy_with(scheme="https")), 1, 60.0, ssl.create_default_context())
                with pytest.raises(error):
                    await ask(one, connect=seconds)
                await server.ended.acquire()
                assert one._free == 1

    run(scenario())
