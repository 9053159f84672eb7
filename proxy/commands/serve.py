"""``serve``: the proxy in production, under uvicorn with uvloop and httptools.

A SIGTERM first turns readiness false and goes on serving for ``drain_delay`` seconds, so that whoever
sends requests here (a balancer, Kubernetes) sees it and stops; then the server stops listening and the
requests in flight end. Ctrl-C skips the delay; a second signal does too, for workers one to their supervisor.
"""

from __future__ import annotations

import asyncio
import atexit
import contextlib
import gc
import logging
import multiprocessing
import os
import signal
import socket
import sys
import tempfile
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Final, cast

import uvicorn
from uvicorn.config import STARTUP_FAILURE

from proxy import logs
from proxy.app import create_app
from proxy.commands.draining import drain_before_exit
from proxy.commands.sockets import OwnSocket, listen, reserve, url_of
from proxy.commands.summary import summary
from proxy.commands.supervisor import Supervisor
from proxy.config import sources
from proxy.settings import Settings
from proxy.siblings import DIRECTORY, Siblings
from proxy.web.health import Readiness
from proxy.web.protocol import BoundedProtocol
from proxy.web.telemetry.event import ACCESS

FULL_COLLECTION_EVERY: Final = 100
"""Collections of the middle generation after which all are looked through; Python's own is 10."""
HEALTH_CHECK_TIMEOUT: Final = 30
"""Seconds after which a worker that does not answer its supervisor is replaced. With uvicorn's 5, one that was given
little of a processor was killed while it started, or with all that it was answering."""
_log: Final = logging.getLogger("proxy.serve")


def run_server(settings: Settings) -> None:
    """Run until told to stop. Workers read the settings from the environment, as this process did.

    Raises:
        OSError: the address cannot be listened on.
        SystemExit: a worker could not start, which is in the log.
    """
    server = settings.server
    shares = server.workers > 1 and sys.platform == "linux"
    if shares:
        listen(server.host, server.port).close()  # fails if another proxy listens there, which would share as well
    open_socket = partial(reserve, shared=True) if shares else listen
    with open_socket(server.host, server.port) as sock, logs.to_stderr(settings.log.format) as log:
        _log.info(summary(settings, url_of(sock), os.getpid()))
        config = uvicorn.Config(
            "proxy.commands.serve:worker_app" if server.workers > 1 else partial(production_app, settings, log),
            factory=True,
            workers=server.workers,
            loop="proxy.commands.serve:event_loop",
            http=BoundedProtocol,
            ws="none",
            lifespan="on",
            log_config=None,
            access_log=False,
            server_header=False,
            proxy_headers=False,
            timeout_worker_healthcheck=HEALTH_CHECK_TIMEOUT,
            timeout_keep_alive=75,  # longer than balancers' usual 60 s, so that they close first, not we
            timeout_graceful_shutdown=server.shutdown_timeout,  # type: ignore[arg-type]  # only asyncio sees it
        )
        if server.workers > 1:
            sockets = [cast("socket.socket", OwnSocket(sock)) if shares else sock]
            supervisor = Supervisor(config, sockets=sockets)
            with _directory():
                supervisor.run()
            if any(worker.exitcode == STARTUP_FAILURE for worker in supervisor.processes):
                sys.exit(1)
        else:
            uvicorn.Server(config).run(sockets=[sock])


def event_loop() -> asyncio.AbstractEventLoop:
    """The loop of a server; asked for in its process before uvicorn takes over the signals.

    Afterwards uvicorn raises the one that ended it once more: a process that died of that would leave the log's last
    lines unwritten, and have the signal's exit status.
    """
    signal.signal(signal.SIGTERM, lambda *_: sys.exit())
    if sys.platform == "win32":
        return asyncio.new_event_loop()
    import uvloop  # noqa: PLC0415  there is none for Windows

    return uvloop.new_event_loop()


def worker_app() -> object:
    """The application of one worker of several, a process of its own: the log writer did not come along."""
    settings = sources.load(os.environ).settings
    log = logs.to_stderr(settings.log.format)
    log.start()
    atexit.register(log.finish)  # uvicorn ends this process, after the application or because it cannot start
    return production_app(settings, log)


def production_app(settings: Settings, log: logs.LogWriter) -> object:
    """The application of this process."""
    readiness = Readiness()
    siblings = _siblings()
    log.formatter.worker = None if siblings is None else siblings.number
    return create_app(
        settings,
        readiness=readiness,
        sinks=[log.event_sink(ACCESS)] if settings.log.requests else [],
        on_startup=[
            partial(drain_before_exit, readiness, settings.server.drain_delay),
            end_with_supervisor,
            freeze_heap,
        ],
        siblings=siblings,
    )


def _siblings() -> Siblings | None:
    directory = os.environ.get(DIRECTORY)
    try:
        return Siblings(Path(directory)) if directory else None
    except OSError as error:  # the directory has been cleaned away, or its path is longer than a socket's may be
        _log.warning("the other workers cannot reach this one (%s): /metrics and /status tell of each alone", error)
        return None


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


def end_with_supervisor() -> None:
    """Have a worker end as by SIGTERM when the process that has started it is gone: nobody else would end it.

    Killed, that one cannot tell its workers, which would keep the port.
    """
    supervisor = multiprocessing.parent_process()
    if supervisor is None or sys.platform == "win32":
        return
    loop, gone = asyncio.get_running_loop(), supervisor.sentinel

    def end() -> None:
        loop.remove_reader(gone)
        _log.warning("the process that started this worker is gone: stopping")
        os.kill(os.getpid(), signal.SIGTERM)

    loop.add_reader(gone, end)


def freeze_heap() -> None:
    """Have the garbage collector leave alone all that is there at the start, for good.

    Else each full collection holds up all callers while it looks through the modules (45 ms), and through each page in
    the maps of what is kept, though no cycle leads through them (another 90 ms with 100,000 pages). And have it collect
    less often what has been there for a while: thousands of requests that wait, in a flood, and no garbage among them.
    """
    gc.collect()
    gc.freeze()
    young, middle, _ = gc.get_threshold()
    gc.set_threshold(young, middle, FULL_COLLECTION_EVERY)
