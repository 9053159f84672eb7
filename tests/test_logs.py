"""A log that nobody reads costs lines, not answers."""

from __future__ import annotations

import errno
import logging
import os
import threading
import time
from collections import deque
from collections.abc import Iterable, Iterator, Sequence

import pytest

from proxy import logs
from proxy.log_format import JSONFormatter, LineFormatter, LogEvent, TextFormatter


class Pipe:
    """A pipe that is stuck until it is let go."""

    def __init__(self) -> None:
        self.may_go = threading.Event()
        self.written: list[str] = []

    def __call__(self, pieces: Iterable[bytes]) -> None:
        self.may_go.wait(10)
        self.written += [line.rsplit("proxy.test ", maxsplit=1)[-1] for line in b"".join(pieces).decode().splitlines()]


@pytest.fixture
def pipe() -> Iterator[Pipe]:
    pipe = Pipe()
    yield pipe
    pipe.may_go.set()


class Said(LogEvent, frozen=True):
    text: str

    def __str__(self) -> str:
        return self.text


def test_lines_are_written_in_order(pipe: Pipe) -> None:
    pipe.may_go.set()
    with logs.LogWriter(pipe):
        for number in range(100):
            logging.getLogger("proxy.test").info("line %d", number)
    assert pipe.written == [f"line {number}" for number in range(100)]


def test_what_is_made_a_line_later_keeps_its_place_and_looks_the_same(pipe: Pipe) -> None:
    pipe.may_go.set()
    with logs.LogWriter(pipe) as log:
        later = log.event_sink("proxy.test")
        for number in range(0, 100, 2):
            later([Said(f"line {number}")])
            logging.getLogger("proxy.test").info("line %d", number + 1)
    assert pipe.written == [f"line {number}" for number in range(100)]


@pytest.mark.parametrize("at", [0.0, 1_790_000_000.0, 1_790_000_000.0009, 1_790_000_000.9999])
def test_a_later_line_has_the_time_at_which_it_was_logged(at: float, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("time.time", lambda: at)
    written: list[bytes] = []
    with logs.LogWriter(written.extend) as log:
        log.event_sink("proxy.test")([Said("said")])
    expected = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(at))
    assert written == [f"{expected},{int(at * 1000) % 1000:03d} INFO proxy.test said\n".encode()]


def test_a_stuck_pipe_drops_lines_and_says_how_many(pipe: Pipe, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(logs, "MAX_QUEUED", 10)
    with logs.LogWriter(pipe):
        for number in range(1000):  # nothing writes meanwhile, and nothing waits
            logging.getLogger("proxy.test").info("line %d", number)
        pipe.may_go.set()
    kept = [line for line in pipe.written if line.startswith("line ")]
    (report,) = [line for line in pipe.written if "dropped" in line]
    assert f" {1000 - len(kept)} log line(s) dropped" in report
    assert 10 <= len(kept) <= 20, "those that are being written, and those that wait"


@pytest.mark.parametrize("most", [1, 997, 40_000, 10_000_000])
def test_what_a_write_did_not_take_goes_with_the_next(most: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whichever piece it ended in."""
    written: list[bytes] = []

    def take(descriptor: int, pieces: Sequence[bytes]) -> int:
        assert (descriptor, len(pieces) <= logs.VECTORS) == (2, True)
        written.append(b"".join(pieces)[:most])
        return len(written[-1])

    monkeypatch.setattr(os, "writev", take)
    pieces = [bytes([65 + number % 26]) * (number * 97 % 400) for number in range(200)]
    logs._write_whole(2, deque(pieces))
    assert b"".join(written) == b"".join(pieces)


@pytest.mark.parametrize("blocking", [True, False])
def test_a_pipe_gets_all_pieces(blocking: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """One that does not block is waited for, not asked again and again."""
    pieces = [bytes([65 + number % 26]) * (number * 997 % 40_000) for number in range(200)]
    readable, writable = os.pipe()
    os.set_blocking(writable, blocking)
    read: list[bytes] = []
    full = 0
    writev = os.writev

    def counted(descriptor: int, some: Sequence[bytes]) -> int:
        nonlocal full
        try:
            return writev(descriptor, some)
        except BlockingIOError:
            full += 1
            raise

    monkeypatch.setattr(os, "writev", counted)

    def drain() -> None:
        while piece := os.read(readable, 10_007):
            read.append(piece)

    reader = threading.Thread(target=drain)
    reader.start()
    logs._write_whole(writable, deque(pieces))
    os.close(writable)
    reader.join()
    os.close(readable)
    assert b"".join(read) == b"".join(pieces)
    assert full <= (0 if blocking else len(read))


@pytest.mark.parametrize("fault", [errno.ENOSPC, errno.EPIPE, errno.EIO])
def test_what_cannot_be_written_is_dropped_and_the_log_goes_on(fault: int, monkeypatch: pytest.MonkeyPatch) -> None:
    written: list[bytes] = []
    faults = [None, fault]  # some of it is written, then nothing
    failed = threading.Event()

    def write(_: int, pieces: Sequence[bytes]) -> int:
        if faults and (error := faults.pop(0)) is not None:
            failed.set()
            raise OSError(error, os.strerror(error))
        written.append(b"".join(pieces)[: 30 if faults else None])
        return len(written[-1])

    monkeypatch.setattr(os, "writev", write)
    with logs.to_stderr("text") as log:
        log.event_sink("proxy.test")([Said(f"line {number}") for number in range(10)])
        assert failed.wait(10)
        logging.getLogger("proxy.test").info("line 10")
    lines = b"".join(written).decode().splitlines()
    assert lines[-2].endswith("line 10")
    assert "10 log line(s) dropped" in lines[-1], "the one that was begun counts"
    assert log.handler.dropped == 10


def test_lines_that_were_made_while_the_last_ones_were_written_are_written_too() -> None:
    """Many are made by whoever logs; then none of them waits to be made when the end comes."""
    written: list[bytes] = []
    writes, may_go = threading.Event(), threading.Event()

    def write(pieces: deque[bytes]) -> None:
        writes.set()
        assert may_go.wait(10)
        written.extend(pieces)

    with logs.LogWriter(write) as log:
        later = log.event_sink("proxy.test")
        later([Said("first")])
        assert writes.wait(10)
        later([Said(f"line {number}") for number in range(2 * logs.BATCH_LINES)])
        log._ending.set()
        may_go.set()
    assert b"".join(written).count(b"\n") == 1 + 2 * logs.BATCH_LINES


def test_finish_does_not_wait_for_ever(pipe: Pipe, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(logs, "FINISH_TIMEOUT", 0.05)
    with logs.LogWriter(pipe):
        logging.getLogger("proxy.test").info("never written in time")


def test_of_events_that_come_together_the_first_are_kept(pipe: Pipe, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(logs, "MAX_QUEUED", 10)
    log = logs.LogWriter(pipe)
    log.event_sink("proxy.test")([Said(f"line {number}") for number in range(25)])
    log.event_sink("proxy.test")([Said("too late")])
    assert log.handler.dropped == 16
    pipe.may_go.set()
    with log:
        pass
    assert [line for line in pipe.written if line.startswith("line ")] == [f"line {number}" for number in range(10)]
    assert log._waiting == 0


@pytest.mark.parametrize("formatter", [JSONFormatter(), TextFormatter()])
def test_a_line_that_is_no_utf8_is_written_and_so_are_those_after_it(formatter: LineFormatter) -> None:
    """As the name of a file may be."""
    written: list[bytes] = []
    with logs.LogWriter(written.extend, formatter) as log:
        logging.getLogger("proxy.test").info("token renewed from %s", os.fsdecode(b"schl\xfcssel"))
    assert b"schl" in written[0]
    assert b"udcfcssel" in written[0]
    assert not log._thread.is_alive()
    assert log.handler.dropped == 0


def test_what_logs_while_something_is_being_queued_is_queued_as_well(pipe: Pipe) -> None:
    """As a finalizer does that garbage collection runs there."""
    pipe.may_go.set()
    with logs.LogWriter(pipe) as log, log._counting:
        logging.getLogger("proxy.test").info("nested")
    assert pipe.written == ["nested"]
