"""What the proxy is held against on the same server: ``python -m tests.benchmarks.speed.apps KIND PORT …``.

``fixed``: an ASGI application that sends fixed bytes, with as many headers. ``redis``: one that gets them from Redis
for each request. ``fastapi``: FastAPI with fastapi-cache2 in memory, before a hub. ``hub``: answers every question for
a page with one and the same, at once. The server is uvicorn as it comes, with uvloop and httptools.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import uvicorn

from proxy.commands.sockets import LOOPBACK, listen

HEADERS = [
    (b"content-type", b"application/json"),
    (b"cache-control", b"private, no-cache"),
    (b"etag", b'"9197215d7c635651c357d3cd91a67ac8"'),
    (b"age", b"0"),
    (b"vary", b"Accept-Encoding, Authorization, X-API-Key"),
    (b"cache-status", b"generations-proxy; hit; ttl=3539; detail=memory"),
    (b"x-request-id", b"2f7b9d11a4c05e6f83b1d7aa"),
]


def fixed(status: int, body: bytes, *more: tuple[bytes, bytes]) -> Any:
    """Send the same bytes to everybody."""
    length = [] if status == 304 else [(b"content-length", str(len(body)).encode())]
    headers = [*HEADERS, *length, *more]

    async def app(_scope: Any, _receive: Any, send: Any) -> None:
        await send({"type": "http.response.start", "status": status, "headers": headers})
        await send({"type": "http.response.body", "body": body})

    return app


def from_redis(url: str, key: str) -> Any:
    """Send what Redis holds, asked for each request."""
    import redis.asyncio  # noqa: PLC0415

    client = redis.asyncio.Redis(connection_pool=redis.asyncio.BlockingConnectionPool.from_url(url, max_connections=16))

    async def app(_scope: Any, _receive: Any, send: Any) -> None:
        body = await client.get(key) or b""
        headers = [*HEADERS, (b"content-length", str(len(body)).encode())]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        await send({"type": "http.response.body", "body": body})

    return app


def with_fastapi(hub: str, key: str) -> Any:
    """What many would write: FastAPI, httpx, and fastapi-cache2 around the endpoint."""
    import httpx  # noqa: PLC0415
    from fastapi import FastAPI, Request  # noqa: PLC0415
    from fastapi_cache import FastAPICache  # noqa: PLC0415
    from fastapi_cache.backends.inmemory import InMemoryBackend  # noqa: PLC0415
    from fastapi_cache.decorator import cache  # noqa: PLC0415

    app = FastAPI()
    client = httpx.AsyncClient(base_url=hub, headers={"authorization": f"Bearer {key}"}, trust_env=False)
    FastAPICache.init(InMemoryBackend())

    async def generations(request: Any) -> Any:
        answer = await client.get("/api/ai/generations", params=dict(request.query_params))
        return answer.json()

    generations.__annotations__["request"] = Request  # imported here, where FastAPI does not look for it
    app.get("/api/ai/generations")(cache(expire=3600)(generations))
    return app


def main() -> None:
    kind, port, *rest = sys.argv[1:]
    match kind:
        case "fixed":
            status, path, *coding = rest
            more = [(b"content-encoding", coding[0].encode())] if coding else []
            app = fixed(int(status), Path(path).read_bytes(), *more)
        case "redis":
            app = from_redis(*rest)
        case "fastapi":
            app = with_fastapi(*rest)
        case _:
            app = fixed(200, Path(rest[0]).read_bytes())
    config = uvicorn.Config(
        app,
        loop="uvloop",
        http="httptools",
        lifespan="off",
        log_config=None,
        access_log=False,
        server_header=False,
        proxy_headers=False,
    )
    with listen(LOOPBACK, int(port)) as sock:
        uvicorn.Server(config).run(sockets=[sock])


if __name__ == "__main__":
    main()
