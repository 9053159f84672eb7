"""Load, and how it fares: ``wrk`` for rates, one blocking socket for the time of single requests."""

from __future__ import annotations

import re
import socket
import statistics
import subprocess
import time
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from urllib.parse import urlsplit

from tests.benchmarks.speed.competitors import found

CONNECTIONS = 32
_ASK_PAGES = """
local page, rest = 0, ""
init = function()
  local names = {}
  for name in pairs(wrk.headers) do names[#names + 1] = name end
  table.sort(names)
  for _, name in ipairs(names) do rest = rest .. name .. ": " .. wrk.headers[name] .. "\\r\\n" end
end
request = function()
  page = page % {count} + 1
  return "GET {target}" .. page .. " HTTP/1.1\\r\\n" .. rest .. "\\r\\n"
end
"""
"""Each time in the same bytes: wrk itself puts its headers in another order in each process."""


@dataclass(frozen=True)
class Rate:
    """Requests a second, and the 99th percentile of their times in milliseconds."""

    rate: float
    p99: float


def wrk(url: str, seconds: float, headers: Mapping[str, str], script: Path | None = None) -> Rate:
    """Ask ``url`` from CONNECTIONS connections for so long; all answers are to be 2xx or 3xx."""
    command = [found("wrk"), "-t1", f"-c{CONNECTIONS}", f"-d{max(1, round(seconds))}s", "--latency"]
    for name, value in headers.items():
        command += ["-H", f"{name}: {value}"]
    if script is not None:
        command += ["-s", str(script)]
    said = subprocess.run([*command, url], capture_output=True, text=True, check=True, timeout=seconds + 60).stdout
    assert "Non-2xx" not in said, said
    assert "Socket errors" not in said, said
    rate = re.search(r"Requests/sec:\s+([\d.]+)", said)
    p99 = re.search(r"99%\s+([\d.]+)(us|ms|s)", said)
    assert rate, said
    assert p99, said
    return Rate(float(rate[1]), float(p99[1]) * {"us": 1e-3, "ms": 1.0, "s": 1e3}[p99[2]])


def ask_pages(folder: Path, target: str, count: int) -> Path:
    """A script for wrk that asks for pages 1 to ``count`` in turn; their numbers end the target."""
    path = folder / f"ask{count}.lua"
    path.write_text(_ASK_PAGES.replace("{count}", str(count)).replace("{target}", target))
    return path


class Caller:
    """One kept-alive connection over a blocking socket: next to nothing of a request's time is the caller's own."""

    def __init__(self, url: str, headers: Mapping[str, str]) -> None:
        self._parts = urlsplit(url)
        lines = [f"{name}: {value}\r\n" for name, value in headers.items()]
        self._rest = f" HTTP/1.1\r\nHost: {self._parts.netloc}\r\n{''.join(lines)}\r\n".encode()

    @cached_property
    def _socket(self) -> socket.socket:
        """Made when it is first used: one that is idle while others start is closed by who is asked."""
        made = socket.create_connection((self._parts.hostname or "", self._parts.port or 80), timeout=30)
        made.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        return made

    def _receive(self) -> bytes:
        if data := self._socket.recv(262_144):
            return data
        raise ConnectionError(f"{self._parts.netloc} hung up")

    def get(self, target: str) -> tuple[float, bytes, bytes]:
        """Ask; return the seconds until the answer was whole, its head and its body.

        Raises:
            OSError: there is none.
        """
        request = b"GET " + target.encode() + self._rest
        kept = self._socket
        began = time.perf_counter()
        kept.sendall(request)
        data = self._receive()
        while (end := data.find(b"\r\n\r\n")) == -1:
            data += self._receive()
        length = re.search(rb"(?i)\r\ncontent-length: (\d+)", data[:end])
        assert length, data[:end]
        parts, left = [data], end + 4 + int(length[1]) - len(data)
        while left > 0:
            parts.append(self._receive())
            left -= len(parts[-1])
        taken = time.perf_counter() - began
        whole = b"".join(parts)
        return taken, whole[:end], whole[end + 4 :]

    def hang_up(self, target: str) -> None:
        """Ask, and be gone."""
        self._socket.sendall(b"GET " + target.encode() + self._rest)
        self.close()

    def close(self) -> None:
        self._socket.close()


def median(rates: list[Rate]) -> Rate:
    return Rate(statistics.median(one.rate for one in rates), statistics.median(one.p99 for one in rates))


def percentile(values: list[float], part: float) -> float:
    return sorted(values)[min(len(values) - 1, int(len(values) * part))]
