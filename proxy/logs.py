"""Logging that never makes a caller wait, and hardly costs one.

Lines are written by a thread of their own, some milliseconds' worth at a time: a full pipe, a slow disk or a stuck log
collector then costs lines, not answers. What is logged of each request is not even made a line before that thread has
it (``Writing.later``).
"""

from __future__ import annotations

import logging
import os
import threading
import time
from collections import deque
from collections.abc import Callable
from logging.handlers import QueueHandler
from typing import Any, Final, Self, TypeAlias, TypeVar

FORMAT: Final = "%(asctime)s %(levelname)s %(name)s %(message)s"
QUEUED: Final = 10_000
"""Lines that may wait to be written; what comes on top is dropped and counted."""
COLLECTED: Final = 0.02
"""Seconds for which lines are collected before they are written."""
AT_ONCE: Final = 64
"""Lines that are made before they are written; meanwhile the event loop has to wait for the interpreter."""
ENDING: Final = 1.0
"""Seconds that :func:`finish` gives to the lines that still wait."""
T = TypeVar("T")
_Line: TypeAlias = logging.LogRecord | tuple[float, str, Callable[[Any], str], Any]


class DroppingQueueHandler(QueueHandler):
    """Queues records for the writing thread."""

    def __init__(self, put: Callable[[logging.LogRecord], object]) -> None:
        super().__init__(None)  # type: ignore[arg-type]  # it is only used in enqueue
        self._put = put

    def enqueue(self, record: logging.LogRecord) -> None:
        """Queue a record, or drop it."""
        self._put(record)


class Writing:
    """Everything logged in this process goes through here, from start to finish; also a context manager.

    Attributes:
        dropped: lines that were not written, since the start.
    """

    def __init__(self, write: Callable[[str], object]) -> None:
        self._write = write
        self._formatter = logging.Formatter(FORMAT)
        self._lines: deque[_Line] = deque()
        self._waking = threading.Event()
        self._ending = threading.Event()
        self._awake = False
        self._now: tuple[int, str] = (-1, "")
        self._thread = threading.Thread(target=self._run, name="log writer", daemon=True)
        self.handler = DroppingQueueHandler(self._put)
        self.dropped = 0

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
        self._ending.set()
        self._waking.set()
        self._thread.join(ENDING)

    def later(self, logger: str, line: Callable[[T], str]) -> Callable[[T], None]:
        """What logs a thing at INFO, as ``line`` makes a text of it in the writing thread; it must not change."""
        head = f" INFO {logger} "

        def put(thing: T) -> None:
            self._put((time.time(), head, line, thing))

        return put

    def _put(self, line: _Line) -> None:
        if len(self._lines) >= QUEUED:
            self.dropped += 1
            return
        self._lines.append(line)
        if not self._awake:
            self._awake = True
            self._waking.set()

    def _run(self) -> None:
        reported = 0
        while not self._ending.is_set() or self._lines:
            self._waking.wait()
            self._waking.clear()
            self._ending.wait(COLLECTED)
            self._awake = False  # before looking: whoever comes later wakes this again
            while self._lines:
                many = min(AT_ONCE, len(self._lines))
                self._write("".join([self._text(self._lines.popleft()) for _ in range(many)]))
            if self.dropped > reported:
                missing, reported = self.dropped - reported, self.dropped
                self._write(f"{missing} log line(s) dropped: they came faster than they could be written\n")

    def _text(self, line: _Line) -> str:
        if isinstance(line, logging.LogRecord):
            return self._formatter.format(line) + "\n"
        at, head, text, thing = line
        milliseconds = int(at * 1000)
        if milliseconds != self._now[0]:  # a busy process has many lines of one millisecond
            second = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(milliseconds // 1000))
            self._now = (milliseconds, f"{second},{milliseconds % 1000:03d}")
        return f"{self._now[1]}{head}{text(thing)}\n"


def to_stderr() -> Writing:
    """A way for lines to standard error.

    Written past ``sys.stderr`` and ``logging``'s own handlers, both of which hold a lock while they write,
    and want it again when the interpreter ends: with a full pipe it never would.
    """
    return Writing(lambda text: os.write(2, text.encode(errors="backslashreplace")))
