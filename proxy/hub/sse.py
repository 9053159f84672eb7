"""Event streams, read as they come and written (WHATWG HTML §9.2, ``text/event-stream``). Pure.

Memory is bounded: a line or an event that does not end is a fault of whoever sends it.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Final

from msgspec import Struct

MEDIA_TYPE: Final = "text/event-stream"
MAX_LINE: Final = 64 * 1024
"""Bytes of a line."""
MAX_DATA: Final = 64 * 1024
"""Bytes of the data of one event."""
KEEP_ALIVE: Final = b": keep-alive\n\n"
_LINE_END: Final = re.compile(rb"\r\n|\n|\r")
_BOM: Final = b"\xef\xbb\xbf"


class StreamFault(ValueError):
    """What comes is no event stream that ends its lines and events; the rest of it is not worth reading."""


class Event(Struct, frozen=True):
    """One event, as it is dispatched: its type, its data, and the last id that the stream named."""

    type: str
    data: str
    id: str = ""


class Parser:
    """Turns pieces of a stream, however it is cut, into events; an event that the stream ends within is dropped."""

    def __init__(self, max_line: int = MAX_LINE, max_data: int = MAX_DATA) -> None:
        self._max_line = max_line
        self._max_data = max_data
        self._line = bytearray()
        self._after_return = False
        self._first = True
        self._type = ""
        self._data: list[str] = []
        self._size = 0
        self._id = ""

    def feed(self, chunk: bytes) -> Iterator[Event]:
        """Yield the events that end in the next piece of the stream.

        Raises:
            StreamFault: a line or an event is longer than any that makes sense.
        """
        if chunk:
            if self._after_return:  # a line end may be cut in two
                chunk = chunk.removeprefix(b"\n")
            self._after_return = chunk.endswith(b"\r")
        *ended, rest = _LINE_END.split(chunk)
        for piece in ended:
            self._add(piece)
            line, self._line = bytes(self._line), bytearray()
            if event := self._take(line):
                yield event
        self._add(rest)

    def _add(self, piece: bytes) -> None:
        self._line += piece
        if len(self._line) > self._max_line:
            raise StreamFault(f"a line of the stream is longer than {self._max_line} bytes")

    def _take(self, line: bytes) -> Event | None:
        if self._first:
            line, self._first = line.removeprefix(_BOM), False
        if not line:
            return self._dispatch()
        name, _, raw = line.partition(b":")  # a comment's name is empty, and as unknown as any other
        value = raw.removeprefix(b" ").decode("utf-8", "replace")
        match name:
            case b"event":
                self._type = value
            case b"data":
                self._size += len(raw) + 1
                if self._size > self._max_data:
                    raise StreamFault(f"an event of the stream has more than {self._max_data} bytes of data")
                self._data.append(value)
            case b"id" if "\0" not in value:
                self._id = value
        return None

    def _dispatch(self) -> Event | None:
        event = Event(self._type or "message", "\n".join(self._data), self._id) if self._data else None
        self._type, self._data, self._size = "", [], 0
        return event


def write(event: Event) -> bytes:
    """An event as it is sent; of line ends, it holds none but those between the lines of its data."""
    lines = [f"id: {event.id}"] if event.id else []
    lines += [f"event: {event.type}", *(f"data: {line}" for line in event.data.split("\n"))]
    return ("\n".join(lines) + "\n\n").encode()


def greet(last_id: str, retry: float) -> bytes:
    """The beginning of a stream: where it begins, unless that is "", and after how many seconds to come back."""
    place = f"id: {last_id}\n" if last_id else ""
    return place.encode() + hint(retry)


def hint(retry: float) -> bytes:
    """After how many seconds to come back; no event, so that nothing is dispatched."""
    return f"retry: {round(retry * 1000)}\n\n".encode()
