"""Hits per second of one worker, beside those who send the same bytes: in turns, round by round, medians."""

from __future__ import annotations

import gzip
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

from tests.benchmarks.speed import competitors
from tests.benchmarks.speed.competitors import CALLER
from tests.benchmarks.speed.load import Caller, Rate, median, wrk
from tests.processes import eventually, send
from tests.support import KEY, LIST, started_redis

AUTHORIZATION = {"Authorization": f"Bearer {CALLER}"}
GZIP = {"Accept-Encoding": "gzip"}
TARGET = f"{LIST}?namespace=ox&status=succeeded&page_size=36"
"""A settled page of 36 KB."""
SIZES = {"36 KB": 36, "1,000 rows": 1000}


@dataclass
class Case:
    """One thing that is asked of several; the first of them is the proxy."""

    name: str
    urls: dict[str, str]
    headers: dict[str, str]
    bytes: int = 0
    measured: dict[str, list[Rate]] = field(default_factory=dict)

    def round(self, seconds: float) -> None:
        for name, url in self.urls.items():
            self.measured.setdefault(name, []).append(wrk(url, seconds, self.headers))

    def rows(self) -> Iterator[list[object]]:
        ours = median(next(iter(self.measured.values())))
        for name, rates in self.measured.items():
            rate = median(rates)
            yield [self.name, name, self.bytes, round(rate.rate), round(rate.p99, 2), round(ours.rate / rate.rate, 2)]


@contextmanager
def cases(folder: Path, *, small: bool) -> Iterator[list[Case]]:
    with ExitStack() as stack:
        enter = stack.enter_context
        hub = enter(competitors.simulator(folder, 100 if small else 1300))
        ours, _ = enter(competitors.proxy(folder, hub))
        systems = {
            "generations-proxy": ours,
            "nginx proxy_cache": enter(competitors.nginx(folder, hub)),
            "Varnish": enter(competitors.varnish(folder, hub)),
        }
        zipping = {**systems, "nginx proxy_cache": enter(competitors.nginx(folder, hub, gzip=True))}
        fastapi = enter(competitors.app(folder, "fastapi", hub, KEY))
        found = []
        for name, rows in SIZES.items():
            target = f"{LIST}?namespace=ox&status=succeeded&page_size={rows}"
            first = _first(ours, target)
            body = folder / f"body{rows}"
            body.write_bytes(first[1])
            bare = enter(competitors.app(folder, "fixed", "200", str(body)))
            urls = {system: url + target for system, url in systems.items()}
            others = {"bare ASGI": bare, "FastAPI, fastapi-cache2": fastapi + target}
            found.append(Case(f"{name}, identity", urls | others, AUTHORIZATION, len(first[1])))
            zipped = _first(ours, target, GZIP)
            assert gzip.decompress(zipped[1]) == first[1]
            body = folder / f"zipped{rows}"
            body.write_bytes(zipped[1])
            bare = enter(competitors.app(folder, "fixed", "200", str(body), "gzip"))
            urls = {system: url + target for system, url in zipping.items()} | {"bare ASGI": bare}
            found.append(Case(f"{name}, gzip", urls, AUTHORIZATION | GZIP, len(zipped[1])))
            if rows == SIZES["36 KB"]:
                empty = folder / "empty"
                empty.write_bytes(b"")
                bare = enter(competitors.app(folder, "fixed", "304", str(empty)))
                urls = {"generations-proxy": ours + target, "bare ASGI": bare}
                found.append(Case("304", urls, AUTHORIZATION | {"If-None-Match": first[0]}, 0))
        if not small:
            for case in found:
                for url in case.urls.values():
                    wrk(url, 1, case.headers)  # what is cached is cached now
        yield found


def _is_served(url: str, target: str, how: bytes) -> bool:
    """Whether the proxy's answer says so."""
    caller = Caller(url, AUTHORIZATION)
    _, head, _ = caller.get(target)
    caller.close()
    return how in head


def _first(url: str, target: str, headers: dict[str, str] | None = None) -> tuple[str, bytes]:
    """The tag and the bytes of the proxy's answer."""
    caller = Caller(url, AUTHORIZATION | (headers or {}))
    _, head, body = caller.get(target)
    caller.close()
    tags = [line for line in head.decode().split("\r\n") if line.startswith("etag: ")]
    return tags[0].removeprefix("etag: "), body


def under_faults(folder: Path, seconds: float, rounds: int) -> Iterator[list[object]]:
    """Hits of one page while nothing is wrong, while the hub is left alone after a 429, and after Redis has gone."""
    with ExitStack() as stack:
        enter = stack.enter_context
        good, limited = (enter(competitors.simulator(folder, 100)) for _ in range(2))
        stays, goes, full = (enter(started_redis()) for _ in range(3))
        short = {"PROXY_CACHE_SETTLED_TTL": "1"}
        urls = {
            "nothing": enter(competitors.proxy(folder, good))[0],
            "hub left alone, page stale": enter(competitors.proxy(folder, limited, **short))[0],
            "the same with Redis": enter(competitors.proxy(folder, limited, REDIS_URL=stays.url, **short))[0],
            "Redis gone": enter(competitors.proxy(folder, good, REDIS_URL=goes.url))[0],
            "Redis full": enter(competitors.proxy(folder, good, REDIS_URL=full.url))[0],
        }
        for url in urls.values():
            _first(url, TARGET)
        send(f"{limited}/_simulator/faults", "PUT", [{"status": 429, "retry_after": "600"}])
        goes.kill()
        full.command("CONFIG", "SET", "maxmemory", "1")
        stale = {"hub left alone, page stale", "the same with Redis"}
        for name, url in urls.items():
            eventually(partial(_is_served, url, TARGET, b"detail=stale-" if name in stale else b"; hit"))
        rates: dict[str, list[Rate]] = {name: [] for name in urls}
        for _ in range(rounds):
            for name, url in urls.items():
                rates[name].append(wrk(url + TARGET, seconds, AUTHORIZATION))
        usual = median(rates["nothing"]).rate
        for name, values in rates.items():
            rate = median(values)
            yield [name, round(rate.rate), round(rate.p99, 2), round(rate.rate / usual, 2)]
