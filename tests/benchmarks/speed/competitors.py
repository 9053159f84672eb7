"""Servers as processes of their own, on free loopback ports, ended when their block ends."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from proxy.callers.caller import digest
from proxy.commands.sockets import LOOPBACK
from tests.processes import environment, eventually, get, is_ready
from tests.support import KEY, ROOT, free_port

CALLER = "gp_benchmark"
"""The key of the proxy's caller."""
PROXY = {
    "OXEN_API_KEY": KEY,
    "PROXY_HUB_RATE": "1000000",
    "PROXY_HUB_BURST": "1000000",
    "PROXY_CACHE_SETTLED_TTL": "21600",  # as by default, much less than the greatest age
    "PROXY_CACHE_MAX_PAGE_AGE": "86400",
    "PROXY_CACHE_MEMORY_BYTES": str(2**31),
}


@contextmanager
def process(command: list[str], log: Path, **given: str) -> Iterator[subprocess.Popen[bytes]]:
    with (
        log.open("ab") as file,
        subprocess.Popen(command, cwd=ROOT, env=environment(**given), stdout=file, stderr=file) as one,
    ):
        try:
            yield one
        finally:
            one.terminate()
            try:
                one.wait(15)
            except subprocess.TimeoutExpired:
                one.kill()


def answers(url: str) -> bool:
    return get(url)[0] > 0


@contextmanager
def app(folder: Path, kind: str, *arguments: str) -> Iterator[str]:
    """One of ``apps``."""
    port = free_port()
    command = [sys.executable, "-m", "tests.benchmarks.speed.apps", kind, str(port), *arguments]
    with process(command, folder / f"{kind}.log"):
        url = f"http://{LOOPBACK}:{port}"
        eventually(lambda: answers(url))
        yield url


@contextmanager
def simulator(folder: Path, history: int) -> Iterator[str]:
    port = free_port()
    command = [sys.executable, "-m", "proxy", "simulate", "--port", str(port), "--api-key", KEY, "--speed", "0"]
    with process([*command, "--history", str(history), "--link-lifetime", "1000000"], folder / "hub.log"):
        url = f"http://{LOOPBACK}:{port}"
        eventually(lambda: get(f"{url}/_simulator/requests")[0] == 200)
        yield url


@contextmanager
def proxy(folder: Path, hub: str, **given: Any) -> Iterator[tuple[str, int]]:
    """The proxy as ``serve`` runs it, one caller with a key, log lines into a file; its URL and its process."""
    port = free_port()
    config = folder / "proxy.toml"
    config.write_text(
        f'[[auth.callers]]\nname = "benchmark"\nkeys = ["{digest(CALLER)}"]\nnamespaces = ["*"]\nunnamed = true\n'
    )
    settings = PROXY | {"OXEN_HUB_URL": hub, "PROXY_PORT": str(port), "PROXY_CONFIG": str(config)} | given
    with process([sys.executable, "-m", "proxy", "serve"], folder / f"proxy{port}.log", **settings) as one:
        url = f"http://{LOOPBACK}:{port}"
        eventually(lambda: is_ready(url))
        yield url, one.pid


@contextmanager
def nginx(folder: Path, hub: str, *, gzip: bool = False, caching: bool = True) -> Iterator[str]:
    """nginx with one worker; ``gzip``: it compresses each answer, as its cache holds what the hub sent."""
    port = free_port()
    here = folder / f"nginx{port}"
    here.mkdir()
    paths = "\n".join(
        f"{name}_temp_path {here}/{name};" for name in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
    )
    cache = "proxy_cache zone; proxy_cache_key $request_uri; proxy_cache_valid 200 1d; proxy_cache_lock on;"
    user = "user root;" if os.getuid() == 0 else ""
    conf = f"""
    daemon off; worker_processes 1; pid {here}/pid; error_log {here}/error.log; {user}
    events {{ worker_connections 4096; }}
    http {{
      access_log off; sendfile on; tcp_nopush on; keepalive_requests 1000000000; {paths}
      proxy_cache_path {here}/cache keys_zone=zone:64m max_size=4g;
      upstream hub {{ server {hub.removeprefix("http://")}; keepalive 32; }}
      server {{
        listen {LOOPBACK}:{port} backlog=2048;
        gzip {"on" if gzip else "off"}; gzip_types application/json; gzip_proxied any;
        location / {{
          proxy_pass http://hub;
          proxy_http_version 1.1;
          proxy_set_header Connection "";
          proxy_set_header Authorization "Bearer {KEY}";
          proxy_ignore_headers Cache-Control Expires Set-Cookie Vary;
          proxy_hide_header Set-Cookie;
          {cache if caching else ""}
          add_header X-Cache-Status $upstream_cache_status;
        }}
      }}
    }}
    """
    (here / "nginx.conf").write_text(conf)
    command = [found("nginx"), "-c", str(here / "nginx.conf"), "-p", str(here)]
    with process(command, here / "out.log"):
        url = f"http://{LOOPBACK}:{port}"
        eventually(lambda: answers(url))
        yield url


@contextmanager
def varnish(folder: Path, hub: str) -> Iterator[str]:
    """Varnish, which keeps the gzipped body and serves it as it is."""
    port = free_port()
    here = folder / f"varnish{port}"
    host, hub_port = hub.removeprefix("http://").split(":")
    vcl = folder / f"varnish{port}.vcl"
    vcl.write_text(
        f"""vcl 4.1;
        backend hub {{ .host = "{host}"; .port = "{hub_port}"; }}
        sub vcl_recv {{ set req.http.Authorization = "Bearer {KEY}"; return (hash); }}
        sub vcl_backend_response {{ unset beresp.http.Set-Cookie; set beresp.ttl = 1d; set beresp.do_gzip = true;
                                 return (deliver); }}
        """
    )
    command = [
        *(found("varnishd"), "-F", "-n", str(here), "-f", str(vcl), "-a", f"{LOOPBACK}:{port}"),
        *("-s", "malloc,1g", "-p", "thread_pools=1", "-p", "thread_pool_min=20"),
    ]
    with process(command, folder / f"varnish{port}.log"):
        url = f"http://{LOOPBACK}:{port}"
        eventually(lambda: answers(url))
        yield url


def found(program: str) -> str:
    path = shutil.which(program, path=f"{os.environ.get('PATH', '')}:/usr/sbin")
    assert path, f"{program} is not installed"
    return path
