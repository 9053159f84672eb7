"""Listening sockets, alone and shared."""

from __future__ import annotations

import contextlib
import pickle
import socket

import pytest

from proxy.commands.sockets import LOOPBACK, OwnSocket, listen, reserve
from tests.processes import eventually, get, run, serving
from tests.support import RedisServer


def test_workers_have_sockets_of_their_own_that_connections_are_shared_among() -> None:
    with reserve(LOOPBACK, 0, shared=True) as reserved:
        sent = pickle.dumps(OwnSocket(reserved))
        with pickle.loads(sent) as one, pickle.loads(sent) as other:
            assert one.getsockname() == other.getsockname() == reserved.getsockname()
            callers = [socket.create_connection(reserved.getsockname()) for _ in range(64)]
            taken = []
            for listening in (one, other):
                listening.setblocking(False)
                with contextlib.suppress(BlockingIOError):
                    while True:
                        taken.append((listening, listening.accept()[0]))
            assert 8 < sum(listening is one for listening, _ in taken) < 56
            assert len(taken) == 64
            for connection in [*callers, *(found for _, found in taken)]:
                connection.close()


def test_a_port_that_is_taken_is_refused() -> None:
    with listen(LOOPBACK, 0) as sock, pytest.raises(OSError, match="in use"):
        reserve(LOOPBACK, sock.getsockname()[1], shared=True)


def test_two_proxies_with_workers_do_not_share_a_port(hub: str, redis_server: RedisServer) -> None:
    with serving(hub, "--workers", "2", REDIS_URL=redis_server.url, PROXY_SERVER_DRAIN_DELAY="0") as (url, process):
        port = url.rpartition(":")[2]
        second = run("serve", "--workers", "2", "--port", port, OXEN_API_KEY="k", OXEN_HUB_URL=hub)
        assert second.returncode == 1
        assert "cannot listen" in second.stderr
        process.terminate()  # its workers too
        assert process.wait(20) == 0


def test_workers_end_when_the_process_that_started_them_is_killed(hub: str, redis_server: RedisServer) -> None:
    """They would keep the port, so that nothing could be started in their place."""
    with serving(hub, "--workers", "2", REDIS_URL=redis_server.url, PROXY_SERVER_DRAIN_DELAY="0") as (url, process):
        assert get(f"{url}/health/ready")[0] == 200
        process.kill()
        port = url.rpartition(":")[2]

        def free() -> bool:
            listen(LOOPBACK, int(port)).close()
            return True

        eventually(free)
