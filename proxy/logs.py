"""Logging that never makes a caller wait.

Lines are written by a thread of their own from a bounded queue: a full pipe, a slow disk or a stuck log
collector then costs lines, not answers.
"""

from __future__ import annotations

import logging
import os
import queue
import threading
from collections.abc import Callable
from logging.handlers import QueueHandler
from typing import Final, Self

FORMAT: Final = "%(asctime)s %(levelname)s %(name)s %(message)s"
QUEUED: Final = 10_000
"""Lines that may wait to be written; what comes on top is dropped and counted."""
ENDING: Final = 1.0
"""Seconds that :func:`finish` gives to the lines that still wait."""


class DroppingQueueHandler(QueueHandler):
    """Queues records for the writing thread; drops them, counted, when the queue is full."""

    def __init__(self, lines: queue.Queue[logging.LogRecord | None]) -> None:
        super().__init__(lines)
        self.dropped = 0

    def enqueue(self, record: logging.LogRecord) -> None:
        """Queue a record, or drop it."""
        try:
            self.queue.put_nowait(record)
        except queue.Full:
            self.dropped += 1


class Writing:
    """Everything logged in this process goes through here, from start to finish; also a context manager."""

    def __init__(self, write: Callable[[str], object]) -> None:
        self._write = write
        self._formatter = logging.Formatter(FORMAT)
        self._lines: queue.Queue[logging.LogRecord | None] = queue.Queue(QUEUED)
        self._thread = threading.Thread(target=self._run, name="log writer", daemon=True)
        self.handler = DroppingQueueHandler(self._lines)

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.finish()

    def start(self) -> None:
        """Begin to write, at INFO and above; httpx's line for each request at WARNING."""
        self._thread.start()
        root = logging.getLogger()
        root.addHandler(self.handler)
        root.setLevel(logging.INFO)
        logging.getLogger("httpx").setLevel(logging.WARNING)

    def finish(self) -> None:
        """Write what waits, but wait for that at most ENDING seconds: whoever reads may be gone."""
        logging.getLogger().removeHandler(self.handler)
        try:
            self._lines.put(None, timeout=ENDING)
        except queue.Full:
            return
        self._thread.join(ENDING)

    def _run(self) -> None:
        reported = 0
        while (record := self._lines.get()) is not None:
            self._write(self._formatter.format(record) + "\n")
            if self.handler.dropped > reported:
                missing, reported = self.handler.dropped - reported, self.handler.dropped
                self._write(f"{missing} log line(s) dropped: they came faster than they could be written\n")


def to_stderr() -> Writing:
    """A way for lines to standard error.

    Written past ``sys.stderr`` and ``logging``'s own handlers, both of which hold a lock while they write,
    and want it again when the interpreter ends: with a full pipe it never would.
    """
    return Writing(lambda text: os.write(2, text.encode(errors="backslashreplace")))
