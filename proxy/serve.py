"""``serve``: the proxy in production, under uvicorn with uvloop and httptools.

A SIGTERM first turns readiness false and goes on serving for ``drain_delay`` seconds, so that whoever
sends requests here (a balancer, Kubernetes) sees it and stops; then the server stops listening and the
requests in flight end. Ctrl-C skips the delay; a second signal does too.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import signal
import sys
import tempfile
from collections.abc import Callable, Iterator
from functools import partial
from multiprocessing import parent_process
from pathlib import Path
from types import FrameType
from typing import Final, cast

import uvicorn
from uvicorn.supervisors import Multiprocess

from proxy import config, logs
from proxy.app import create_app
from proxy.settings import Settings
from proxy.siblings import DIRECTORY, Siblings
from proxy.sockets import listen, url_of
from proxy.web.health import Readiness
from proxy.web.protocol import BoundedProtocol
from proxy.web.telemetry import log_request

_log: Final = logging.getLogger("proxy.serve")


def run_server(loaded: Settings) -> None:
    """Run until told to stop. Workers read the settings from the environment, as this process did.

    Raises:
        OSError: the address cannot be listened on.
    """
    server = loaded.server
    with listen(server.host, server.port) as sock, logs.to_stderr(loaded.log.format):
        _log.info("listening on %s with %d worker(s), process %d", url_of(sock), server.workers, os.getpid())
        settings = uvicorn.Config(
            "proxy.serve:production_app",
            factory=True,
            workers=server.workers,
            loop="uvloop" if sys.platform != "win32" else "asyncio",
            http=BoundedProtocol,
            ws="none",
            lifespan="on",
            log_config=None,
            access_log=False,
            server_header=False,
            proxy_headers=False,
            timeout_keep_alive=75,  # longer than balancers' usual 60 s, so that they close first, not we
            timeout_graceful_shutdown=int(server.shutdown_timeout) or 1,
        )
        if server.workers > 1:
            with _directory():
                Multiprocess(settings, sockets=[sock]).run()
        else:
            # uvicorn raises the signal that ended it once more; without this the exit status would be the signal's.
            signal.signal(signal.SIGTERM, lambda *_: None)
            uvicorn.Server(settings).run(sockets=[sock])


def production_app() -> object:
    """The application of one worker."""
    settings = config.load(os.environ).settings
    if parent_process() is not None:  # spawned by run_server, whose log writer did not come along
        logs.to_stderr(settings.log.format).start()
    readiness = Readiness()
    directory = os.environ.get(DIRECTORY)
    return create_app(
        settings,
        readiness=readiness,
        sinks=[log_request] if settings.log.requests else [],
        on_startup=[partial(drain_before_exit, readiness, settings.server.drain_delay)],
        siblings=Siblings(Path(directory)) if directory else None,
    )


@contextlib.contextmanager
def _directory() -> Iterator[None]:
    """Where the workers find each other. Without one, as nothing can be written, each speaks for itself alone."""
    try:
        with tempfile.TemporaryDirectory(prefix="generations-proxy-", ignore_cleanup_errors=True) as directory:
            os.environ[DIRECTORY] = directory
            yield
    except OSError as error:
        if DIRECTORY in os.environ:
            raise
        _log.warning("no temporary directory (%s): /metrics and /status tell of one worker only", error.strerror)
        yield
    finally:
        os.environ.pop(DIRECTORY, None)


def drain_before_exit(readiness: Readiness, delay: float) -> None:
    """Put a delay of ``delay`` seconds, with readiness false, before what SIGTERM does now."""
    stop = cast("Callable[[int, FrameType | None], None]", signal.getsignal(signal.SIGTERM))  # uvicorn's
    loop = asyncio.get_running_loop()

    def on_sigterm(number: int, frame: FrameType | None) -> None:
        if readiness.draining:
            stop(number, frame)
            return
        readiness.draining = True
        loop.call_soon_threadsafe(readiness.drain)
        _log.info("SIGTERM: not ready any more, stopping in %g s", delay)
        loop.call_soon_threadsafe(loop.call_later, delay, stop, number, frame)

    signal.signal(signal.SIGTERM, on_sigterm)
