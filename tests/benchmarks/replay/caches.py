"""Two well-known caches with a plain TTL, as one would set them up before the hub."""

from __future__ import annotations

import asyncio
import tempfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from subprocess import DEVNULL

from proxy.commands.sockets import LOOPBACK
from tests.support import KEY, free_port


@asynccontextmanager
async def nginx(hubs: dict[int, str]) -> AsyncIterator[dict[int, str]]:
    """One nginx with a server for each TTL; URLs by TTL."""
    with tempfile.TemporaryDirectory(prefix="replay-nginx-") as folder:
        ports = {ttl: free_port() for ttl in hubs}
        servers = "\n".join(
            f"""
            proxy_cache_path {folder}/cache{ttl} keys_zone=zone{ttl}:10m;
            server {{
              listen {LOOPBACK}:{ports[ttl]};
              location / {{
                proxy_pass {hub};
                proxy_http_version 1.1;
                proxy_set_header Connection "";
                proxy_set_header Authorization "Bearer {KEY}";
                proxy_ignore_headers Cache-Control Expires Set-Cookie Vary;
                proxy_hide_header Set-Cookie;
                proxy_cache zone{ttl};
                proxy_cache_key $request_uri;
                proxy_cache_valid 200 {ttl}s;
                proxy_cache_lock on;
                proxy_cache_background_update on;
                proxy_cache_use_stale updating error timeout;
              }}
            }}"""
            for ttl, hub in hubs.items()
        )
        path = Path(folder) / "nginx.conf"
        path.write_text(
            f"daemon off; master_process off; pid {folder}/pid; error_log {folder}/error.log;\n"
            f"events {{ worker_connections 2048; }}\n"
            f"http {{ access_log off; client_body_temp_path {folder}/a; proxy_temp_path {folder}/b;"
            f" fastcgi_temp_path {folder}/c; uwsgi_temp_path {folder}/d; scgi_temp_path {folder}/e;\n{servers}\n}}\n"
        )
        async with _running("nginx", "-c", str(path)):
            yield {ttl: f"http://{LOOPBACK}:{port}" for ttl, port in ports.items()}


@asynccontextmanager
async def varnish(hubs: dict[int, str]) -> AsyncIterator[dict[int, str]]:
    """One Varnish with a port and a backend for each TTL; URLs by TTL. Its grace is its usual one, 10 s."""
    with tempfile.TemporaryDirectory(prefix="replay-varnish-") as folder:
        ports = {ttl: free_port() for ttl in hubs}
        backends = "\n".join(
            f'backend hub{ttl} {{ .host = "{LOOPBACK}"; .port = "{hub.rpartition(":")[2]}"; }}'
            for ttl, hub in hubs.items()
        )
        choices = "\n".join(
            f"if (std.port(server.ip) == {port}) {{ set req.backend_hint = hub{ttl}; }}" for ttl, port in ports.items()
        )
        ttls = "\n".join(f"if (beresp.backend == hub{ttl}) {{ set beresp.ttl = {ttl}s; }}" for ttl in hubs)
        path = Path(folder) / "hub.vcl"
        path.write_text(
            f"""vcl 4.1;
            import std;
            {backends}
            sub vcl_recv {{ {choices} unset req.http.Authorization; return (hash); }}
            sub vcl_backend_fetch {{ set bereq.http.Authorization = "Bearer {KEY}"; }}
            sub vcl_backend_response {{
              unset beresp.http.Set-Cookie;
              set beresp.uncacheable = false;
              {ttls}
              return (deliver);
            }}
            """
        )
        listen = [part for port in ports.values() for part in ("-a", f"{LOOPBACK}:{port}")]
        options = ("-F", "-j", "none", "-n", f"{folder}/work", "-f", str(path), "-s", "malloc,64m", "-T", "none")
        async with _running("varnishd", *options, *listen):
            yield {ttl: f"http://{LOOPBACK}:{port}" for ttl, port in ports.items()}


@asynccontextmanager
async def _running(*command: str) -> AsyncIterator[None]:
    process = await asyncio.create_subprocess_exec(*command, stdout=DEVNULL, stderr=DEVNULL)
    try:
        yield
    finally:
        process.terminate()
        await process.wait()
