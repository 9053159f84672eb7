"""``demo`` and ``simulate``: servers on loopback in this process, ended together by Ctrl-C."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import signal
import socket
from collections import Counter
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Any, Final

import httpx

from proxy.app import create_app
from proxy.commands.sockets import LOOPBACK, listen, serving, url_of
from proxy.commands.terminal import Say
from proxy.hub.stream import EVENTS_PATH
from proxy.known import completion
from proxy.secret import Secret
from proxy.settings import HubSettings, Settings, StatusSettings
from proxy.simulator import PLAIN_PROMPTS, Controlled, Simulator, World
from proxy.web.page_files import PageFile, page_handler
from proxy.web.telemetry.event import RequestEvent

QUESTIONS: Final = (
    "",
    "?status=succeeded",
    "?namespace=ox&page_size=24",  # as the gallery
    "?namespace=bessie&page_size=20",
    "?media_type=video",
    "?page=2",
    "?namespace=bessie&status=succeeded&page=3",
)
"""What the demo's dashboards show."""


async def run_demo(*, port: int, hub_port: int, callers: int, seconds: float | None, say: Say) -> None:
    """Run simulator and proxy until interrupted, or for ``seconds``.

    Raises:
        OSError: ``hub_port`` cannot be listened on.
    """
    simulator = Simulator(World(speed=4.0, prompts=PLAIN_PROMPTS))
    asked: Counter[str] = Counter()

    def count(events: Sequence[RequestEvent]) -> None:
        asked.update(event.outcome for event in events)

    with listen(LOOPBACK, hub_port) as hub_socket, _listen_or_any(port, say) as proxy_socket:
        hub_url, proxy_url = url_of(hub_socket), url_of(proxy_socket)
        simulator.serve_results(hub_url)
        gallery = page_handler("/", PageFile("gallery.html", images=hub_url))
        hub = HubSettings(url=hub_url, api_key=Secret(simulator.api_key))
        settings = Settings(hub=hub, status=StatusSettings(open=True))
        async with (
            serving(Controlled(simulator), hub_socket),
            serving(create_app(settings, sinks=[count], handlers=[gallery]), proxy_socket),
        ):
            say(_INTRODUCTION.format(hub=hub_url, proxy=proxy_url, callers=callers))
            async with _tasks(
                *(
                    _ask_every_second(f"{proxy_url}/api/ai/generations{QUESTIONS[n % len(QUESTIONS)]}")
                    for n in range(callers)
                ),
                _listen(f"{proxy_url}{EVENTS_PATH}", asked),
                _report_every_second(asked, simulator, say),
            ):
                await _interrupted(seconds)
            say("Stopped.")


async def run_simulator(simulator: Simulator, port: int, *, say: Say) -> None:
    """Run the simulator until interrupted.

    Raises:
        OSError: the port cannot be listened on.
    """
    with listen(LOOPBACK, port) as sock:
        async with serving(Controlled(simulator), sock):
            say(f"simulated hub at {url_of(sock)}, namespaces {', '.join(simulator.world.namespaces)}; Ctrl-C ends it")
            await _interrupted(None)


_INTRODUCTION: Final = """\
simulated hub  {hub}
proxy          {proxy}   (memory only; {callers} simulated dashboards ask it once a second)
gallery        {proxy}/   what a frontend may look like
status page    {proxy}/status

Try, in another terminal, twice in a row:

  curl -i '{proxy}/api/ai/generations?namespace=moo&status=succeeded&page_size=2'

and look for the line Cache-Status: fwd=uri-miss says that the hub was asked, hit that it was not.
What ends is told at once, as it is by the hub: curl -N '{proxy}/api/events'
Ctrl-C ends both.
"""


async def _report_every_second(asked: Counter[str], simulator: Simulator, say: Say) -> None:
    """Say what was asked since the last line, and what that cost the hub."""
    before, hub_before = Counter[str](), 0
    while True:
        await asyncio.sleep(1)
        now, hub_now = Counter(asked), simulator.journal.count
        recent = now - before
        completions = recent.pop(completion.TYPE, 0)
        total = now.total() - now[completion.TYPE]
        if recent:
            outcomes = ", ".join(f"{outcome} {number}" for outcome, number in recent.most_common())
            say(
                f"asked {recent.total():4d} ({outcomes}), hub requests {hub_now - hub_before:3d}; "
                f"{completions} completions told; since the start {total} asked, {hub_now} to the hub"
            )
        else:
            say(f"nothing asked, {completions} completions told; since the start {total} asked, {hub_now} to the hub")
        before, hub_before = now, hub_now


async def _ask_every_second(url: str) -> None:
    """A dashboard that shows one page and keeps asking whether it changed."""
    async with httpx.AsyncClient(trust_env=False) as client:
        etag = ""
        while True:
            with contextlib.suppress(httpx.HTTPError):
                response = await client.get(url, headers={"if-none-match": etag} if etag else {})
                etag = response.headers.get("etag", etag)
            await asyncio.sleep(1)


async def _listen(url: str, counts: Counter[str]) -> None:
    """A frontend that is told of completions, and counts them."""
    async with httpx.AsyncClient(trust_env=False, timeout=None) as client:  # noqa: S113  it is to wait
        while True:
            with contextlib.suppress(httpx.HTTPError):
                async with client.stream("GET", url) as response:
                    async for line in response.aiter_lines():
                        counts[completion.TYPE] += line == f"event: {completion.TYPE}"
            await asyncio.sleep(1)


@asynccontextmanager
async def _tasks(*coroutines: Any) -> AsyncIterator[None]:
    tasks = [asyncio.create_task(coroutine) for coroutine in coroutines]
    try:
        yield
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


async def _interrupted(seconds: float | None) -> None:
    """Return at SIGINT or SIGTERM, or after ``seconds``."""
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, stop.set)
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(seconds):
            await stop.wait()


def _listen_or_any(port: int, say: Say) -> socket.socket:
    try:
        return listen(LOOPBACK, port)
    except OSError as error:
        if error.errno not in (errno.EADDRINUSE, errno.EACCES):
            raise
        sock = listen(LOOPBACK, 0)
        say(f"port {port} cannot be had ({error.strerror}), taking {sock.getsockname()[1]} instead")
        return sock
