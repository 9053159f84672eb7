"""The worker processes behind one port: each has a number of its own and answers what the others ask.

Whoever connects to the port reaches one of them, and none can be chosen. So the one that is asked for what all know
(``/metrics``, ``/status``) asks the others, over Unix sockets in a directory that only this user may enter.
"""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import os
import socket
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Final

DIRECTORY: Final = "_GENERATIONS_PROXY_SIBLINGS"
"""The variable by which ``serve`` tells its workers of the directory; nothing for people to set."""
ANSWER_TIMEOUT: Final = 1.0
"""Seconds in which the others have to answer; who does not is left out."""


class Siblings:
    """One of several workers.

    Args:
        directory: shared by all of them, and by nobody else.

    Attributes:
        number: free before, and free again when the process ends, however it does: so a worker that takes the place of
            one that died goes on under its number.
        answers: what makes the answer to a question, by the question's topic.

    Raises:
        OSError: the others could not reach this one.
    """

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self.number, self._lock = _take_number(directory)
        try:
            self._socket = _bind(self._path(self.number))
        except OSError:
            os.close(self._lock)
            raise
        self.answers: dict[str, Callable[[], Awaitable[bytes]]] = {}
        self._server: asyncio.Server | None = None

    async def start(self) -> None:
        """Begin to answer."""
        self._server = await asyncio.start_unix_server(self._answer, sock=self._socket)

    async def aclose(self) -> None:
        """Answer no more, and free the number."""
        if self._server is not None:
            self._server.close()
        self._socket.close()
        self._path(self.number).unlink(missing_ok=True)
        os.close(self._lock)

    async def ask(self, topic: str) -> dict[int, bytes]:
        """Return what each worker answers, this one included, by its number."""
        numbers = sorted(int(path.stem) for path in self._directory.glob("*.sock"))
        answers = await asyncio.gather(*(self._ask(number, topic) for number in numbers))
        return {number: answer for number, answer in zip(numbers, answers, strict=True) if answer is not None}

    async def _ask(self, number: int, topic: str) -> bytes | None:
        if number == self.number:
            return await self.answers[topic]()
        with contextlib.suppress(OSError, TimeoutError):
            async with asyncio.timeout(ANSWER_TIMEOUT):
                reader, writer = await asyncio.open_unix_connection(self._path(number))
                try:
                    writer.write(f"{topic}\n".encode())
                    return await reader.read() or None
                finally:
                    writer.close()
        return None

    async def _answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            topic = (await reader.readline()).decode().strip()
            if answer := self.answers.get(topic):
                writer.write(await answer())
                await writer.drain()
        except (OSError, ValueError):
            pass  # whoever asked has gone, or is none of us
        finally:
            writer.close()

    def _path(self, number: int) -> Path:
        return self._directory / f"{number}.sock"


def _bind(path: Path) -> socket.socket:
    path.unlink(missing_ok=True)  # of the one whose place this is
    bound = socket.socket(socket.AF_UNIX)
    try:
        bound.bind(str(path))
    except OSError:
        bound.close()
        raise
    return bound


def _take_number(directory: Path) -> tuple[int, int]:
    """The lowest number that no living process has, and the locked file that says so."""
    number = 0
    while True:
        lock = os.open(directory / f"{number}.lock", os.O_CREAT | os.O_RDWR | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(lock)
            number += 1
        else:
            return number, lock
