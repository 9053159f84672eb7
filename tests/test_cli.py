"""The commands, as a person runs them: each in a process of its own."""

from __future__ import annotations

import contextlib
import errno
import http.server
import json
import os
import pty
import re
import signal
import socket
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any, Final

import pytest

from proxy.commands.sockets import LOOPBACK
from proxy.commands.terminal import cannot_listen
from proxy.config.sources import load
from tests.jwk_sets import ED, jwk, key_set
from tests.processes import COMMAND, PATIENCE, environment, eventually, get, is_ready, run, running, serving
from tests.support import KEY, LIST, ROOT, RedisServer, free_port


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_the_demo_says_what_to_try_and_a_signal_ends_it(number: signal.Signals) -> None:
    """It says what runs and what to try; what it says to try works; a signal ends it with 0."""
    with running("demo", "--port", "0") as process:
        assert process.stdout is not None
        said = ""
        while "curl" not in said:
            said += process.stdout.readline()
        found = re.search(r"curl -i '(\S+)'", said)
        assert found
        first, second = get(found[1]), get(found[1])
        assert (first[0], second[0]) == (200, 200)
        assert "fwd=uri-miss" in first[1]["cache-status"]
        assert "hit" in second[1]["cache-status"]
        while "hub requests" not in said:
            said += process.stdout.readline()
        assert re.search(
            r"asked +\d+ \(.*\), hub requests +\d+; \d+ completions told; since the start \d+ asked, \d+ to the hub\n",
            said,
        )
        process.send_signal(number)
        said += process.stdout.read()
        assert process.wait(PATIENCE) == 0
        assert said.endswith("Stopped.\n")
        assert "Traceback" not in said
        assert "\x1b" not in said


def test_the_demo_is_seen_within_a_minute(tmp_path: Path) -> None:
    """As a new user would, from an empty directory: the gallery, its pictures, and the status page."""
    began = time.monotonic()
    command = [str(Path(sys.executable).parent / "generations-proxy"), "demo", "--port", "0"]
    with subprocess.Popen(command, env=environment(), cwd=tmp_path, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            said = ""
            while "status page" not in said:
                said += process.stdout.readline()
            (gallery,) = re.findall(r"^gallery +(\S+)", said, re.MULTILINE)
            (status,) = re.findall(r"^status page +(\S+)", said, re.MULTILINE)
            assert get(gallery)[1]["content-type"] == "text/html; charset=utf-8"
            page = json.loads(get(f"{gallery.rstrip('/')}{LIST}?status=succeeded")[2])
            code, headers, picture = get(page["generations"][0]["result_url"])
            assert (code, headers["content-type"], picture[:5]) == (200, "image/svg+xml", b"<svg ")
            assert get(status)[0] == get(f"{status}.json")[0] == 200
        finally:
            process.kill()
    assert time.monotonic() - began < 60
    assert not list(tmp_path.iterdir()), "it leaves nothing behind"


def test_demo_takes_a_free_port_if_its_own_is_busy() -> None:
    with socket.create_server((LOOPBACK, 0)) as taken:
        port = taken.getsockname()[1]
        done = run("demo", "--port", str(port), "--callers", "0", "--seconds", "1.5")
    assert done.returncode == 0
    assert re.match(rf"port {port} cannot be had \(Address already in use\), taking \d+ instead\n", done.stdout)
    assert "nothing asked" in done.stdout
    assert done.stderr == ""


@pytest.mark.parametrize(("command", "option"), [("serve", "--port"), ("simulate", "--port"), ("demo", "--hub-port")])
def test_a_busy_port_is_one_clear_line(command: str, option: str) -> None:
    with socket.create_server((LOOPBACK, 0)) as taken:
        port = str(taken.getsockname()[1])
        done = run(command, option, port, OXEN_API_KEY=KEY)
    assert done.returncode == 1
    said = f"cannot listen on 127.0.0.1:{port}: Address already in use; choose another with {option}"
    assert done.stderr == f"error: {said}\n"


@pytest.mark.parametrize(
    ("host", "error", "said"),
    [
        ("10.9.9.9", OSError(errno.EADDRNOTAVAIL, "Cannot assign requested address"), "10.9.9.9:80: Cannot assign"),
        ("nosuch.invalid", socket.gaierror(socket.EAI_NONAME, "Name or service not known"), "nosuch.invalid:80: Name"),
        ("::2", OSError(errno.EADDRNOTAVAIL, "Cannot assign requested address"), "[::2]:80: Cannot assign"),
    ],
)
def test_where_the_address_is_wrong_no_other_port_is_advised(host: str, error: OSError, said: str) -> None:
    text = cannot_listen(host, 80, error)
    assert text.startswith(f"cannot listen on {said}")
    assert text.endswith("; is --host (PROXY_HOST) an address of this machine?")


def test_a_misspelt_variable_is_said_with_what_is_missing_without_it() -> None:
    done = run("serve", PROXY_HUB_API_KEY=KEY)
    assert done.returncode == 2
    first, *rest = done.stderr.splitlines()
    assert first == "warning: PROXY_HUB_API_KEY: not a setting, ignored (did you mean OXEN_API_KEY?)"
    assert any("OXEN_API_KEY: not set" in line for line in rest)


@pytest.mark.parametrize("workers", ["1", "2"])
def test_serve_ends_as_it_should_if_started_with_closed_descriptors(
    hub: str, workers: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Else they become those of sockets, which is the end of uvloop (Aborted), and of a supervisor's signals."""
    monkeypatch.setattr("tests.processes.COMMAND", ["sh", "-c", 'exec "$@" <&- >&- 2>&-', "sh", *COMMAND])
    with serving(hub, "--workers", workers, PROXY_SERVER_DRAIN_DELAY="0") as (_, process):
        process.send_signal(signal.SIGTERM)
        assert process.wait(PATIENCE) == 0


def test_serve_answers_and_drains(hub: str) -> None:
    """SIGTERM: readiness turns false while requests are still answered; then it ends with 0."""
    with serving(hub, PROXY_SERVER_DRAIN_DELAY="60") as (url, process):
        status, headers, body = get(f"{url}{LIST}?page_size=2")
        assert status == 200
        assert json.loads(body)["count"] == 2
        assert "server" not in headers
        process.terminate()
        eventually(lambda: get(f"{url}/health/ready")[0] == 503)
        status, headers, _ = get(f"{url}{LIST}?page_size=3")
        assert status == 200, "still serving"
        assert headers["connection"] == "close"
        assert json.loads(get(f"{url}/health/ready")[2])["status"] == "draining"
        process.terminate()
        assert process.wait(PATIENCE / 2) == 0, "a second signal skips the delay"
        said = process.stdout.read() if process.stdout else ""
        assert "not ready any more" in said
        assert "Traceback" not in said
        assert KEY not in said


@pytest.fixture
def hanging_up() -> Iterator[None]:
    """SIGHUP means what it does by default, also where whoever runs the tests ignores it, as nohup does."""
    before = signal.signal(signal.SIGHUP, signal.SIG_DFL)
    yield
    signal.signal(signal.SIGHUP, before)


@pytest.mark.usefixtures("hanging_up")
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
def test_a_request_in_flight_is_answered_before_the_end(hub: str, number: signal.Signals) -> None:
    with serving(hub, PROXY_SERVER_DRAIN_DELAY="0") as (url, process):
        fault = urllib.request.Request(
            f"{hub}/_simulator/faults", json.dumps([{"latency": 1.0}]).encode(), method="PUT"
        )
        with urllib.request.urlopen(fault, timeout=PATIENCE):
            pass
        host, port = url.removeprefix("http://").split(":")
        with socket.create_connection((host, int(port)), timeout=PATIENCE) as caller:
            caller.sendall(f"GET {LIST} HTTP/1.1\r\nhost: x\r\n\r\n".encode())
            eventually(lambda: json.loads(get(f"{hub}/_simulator/requests")[2])["count"] == 1)
            process.send_signal(number)
            assert caller.recv(65536).startswith(b"HTTP/1.1 200 OK")
        assert process.wait(PATIENCE) == 0


def children(pid: int) -> list[int]:
    return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


def test_serve_ends_at_once_on_ctrl_c(hub: str) -> None:
    with serving(hub, PROXY_SERVER_DRAIN_DELAY="60") as (_, process):
        process.send_signal(signal.SIGINT)
        assert process.wait(PATIENCE) == 0


def test_workers_count_together_and_all_end_on_a_signal(hub: str, redis_server: RedisServer) -> None:
    with serving(hub, "--workers", "2", REDIS_URL=redis_server.url, PROXY_SERVER_DRAIN_DELAY="0") as (url, process):
        assert all(get(f"{url}{LIST}?page_size=4")[0] == 200 for _ in range(20))
        eventually(lambda: b'worker="1"' in get(f"{url}/metrics")[2])
        scraped = get(f"{url}/metrics")[2].decode()
        counted = re.findall(r'^\S+requests_total{endpoint="list",.*worker="\d"} (\d+)\.0$', scraped, re.MULTILINE)
        assert sum(map(int, counted)) == 20, "of both, whichever is asked"
        process.terminate()
        said = process.stdout.read() if process.stdout else ""
        assert process.wait(PATIENCE) == 0
        assert said.count("Finished server process") == 2, "the last line of each is written"
        lines = [json.loads(line) for line in said.splitlines()]
        assert {line.get("worker") for line in lines if "Finished server" in line.get("message", "")} == {0, 1}
        assert {line["worker"] for line in lines if line["logger"] == "proxy.access"} <= {0, 1}


DRAINING: Final[dict[str, Any]] = {"PROXY_SERVER_DRAIN_DELAY": "5", "PROXY_WORKERS": "2"}


@pytest.mark.slow
def test_sigterm_to_all_processes_at_once_drains_them_too(hub: str) -> None:
    """As systemd sends it. Each worker then has a second one from its supervisor, which used to skip the delay."""
    with serving(hub, **DRAINING) as (url, process):
        began = time.monotonic()
        for pid in (process.pid, *children(process.pid)):
            os.kill(pid, signal.SIGTERM)
        eventually(lambda: not is_ready(url))
        time.sleep(1)  # what the supervisor sends comes half a second later
        assert get(f"{url}{LIST}")[0] == 200
        assert process.wait(PATIENCE) == 0
        assert time.monotonic() - began > 5


@pytest.mark.slow
@pytest.mark.usefixtures("hanging_up")
def test_a_terminal_that_is_closed_ends_no_request(hub: str) -> None:
    """Its SIGHUP comes to all processes at once; the supervisor replaces the workers then."""
    with (
        serving(hub, **DRAINING | {"PROXY_SERVER_DRAIN_DELAY": "0"}) as (url, process),
        ThreadPoolExecutor(1) as threads,
    ):
        fault = urllib.request.Request(f"{hub}/_simulator/faults", b'[{"latency": 1.0}]', method="PUT")
        with urllib.request.urlopen(fault, timeout=PATIENCE):
            waiting = threads.submit(get, f"{url}{LIST}")
        eventually(lambda: re.search(rb"proxy_flights\S* 1\.0", get(f"{url}/metrics")[2]))
        for pid in (process.pid, *children(process.pid)):
            os.kill(pid, signal.SIGHUP)
        assert waiting.result()[0] == 200
        process.terminate()
        assert process.wait(PATIENCE) == 0


@pytest.mark.slow
@pytest.mark.parametrize("second", [signal.SIGTERM, signal.SIGINT])
def test_a_second_signal_to_the_supervisor_skips_the_delay(hub: str, second: signal.Signals) -> None:
    with serving(hub, **DRAINING | {"PROXY_SERVER_DRAIN_DELAY": "60"}) as (url, process):
        process.send_signal(signal.SIGTERM)
        eventually(lambda: not is_ready(url))
        process.send_signal(second)
        assert process.wait(PATIENCE / 2) == 0


@pytest.mark.slow
@pytest.mark.parametrize("workers", ["1", "2"])
def test_who_waits_for_longer_than_the_end_takes_is_told_so(hub: str, workers: str) -> None:
    """In the hub's envelope, to come back: the server would have said 500, and a traceback in the log."""
    short: dict[str, Any] = {"PROXY_SERVER_DRAIN_DELAY": "0", "PROXY_SERVER_SHUTDOWN_TIMEOUT": "1"}
    short["PROXY_WORKERS"] = workers
    with serving(hub, **short) as (url, process), ThreadPoolExecutor(1) as threads:
        fault = urllib.request.Request(f"{hub}/_simulator/faults", b'[{"hang": true}]', method="PUT")
        with urllib.request.urlopen(fault, timeout=PATIENCE):
            waiting = threads.submit(get, f"{url}{LIST}")
        eventually(lambda: re.search(rb"proxy_flights\S* 1\.0", get(f"{url}/metrics")[2]))
        process.terminate()
        status, headers, body = waiting.result()
        said = process.stdout.read() if process.stdout else ""
    assert (status, headers["retry-after"], json.loads(body)["error"]["type"]) == (503, "1", "hub_busy")
    assert headers["x-request-id"] == json.loads(body)["request_id"]
    assert "Traceback" not in said


def test_serve_starts_without_hub_and_redis() -> None:
    nowhere = f"{LOOPBACK}:{free_port()}"
    with serving(f"http://{nowhere}", REDIS_URL=f"redis://{nowhere}") as (url, _):
        status, _, body = get(f"{url}{LIST}")
        assert status == 502
        assert json.loads(body)["error"]["type"] == "hub_unreachable"
        health = json.loads(get(f"{url}/health/ready")[2])
        assert (health["status"], health["hub"], health["redis"]["state"]) == ("ready", "hub_unreachable", "down")


def test_a_rotated_token_needs_no_restart(hub: str, tmp_path: Path) -> None:
    token = tmp_path / "token"
    token.write_text(KEY + "\n")
    with serving(hub, OXEN_API_KEY="", OXEN_API_KEY_FILE=str(token), PROXY_CACHE_SETTLED_TTL="0") as (url, _):
        assert get(f"{url}{LIST}")[0] == 200
        change = urllib.request.Request(f"{hub}/_simulator/key", b'{"api_key": "renewed"}', method="PUT")
        with urllib.request.urlopen(change, timeout=PATIENCE):
            pass
        assert json.loads(get(f"{url}{LIST}")[2])["error"]["type"] == "hub_refused_credential"
        token.write_text("renewed\n")
        assert get(f"{url}{LIST}")[0] == 200


def test_wrong_settings_are_all_said_at_once(tmp_path: Path) -> None:
    file = tmp_path / "proxy.toml"
    file.write_text("[cache]\nsetled_ttl = 3\n")
    for command in ("serve", "check"):
        given = {"PROXY_PORT": "eighty", "REDIS_URL": "nonsense", "PROXY_HOST": "0.0.0.0"}
        done = run(command, "--config", str(file), **given)
        said = done.stdout + done.stderr
        assert done.returncode == (2 if command == "serve" else 1)
        assert all(
            name in said for name in ("[cache] setled_ttl", "PROXY_PORT", "REDIS_URL", "OXEN_API_KEY", "PROXY_HOST")
        )
        assert "Traceback" not in said


def test_serve_refuses_to_be_open_to_strangers() -> None:
    done = run("serve", "--host", "0.0.0.0", OXEN_API_KEY=KEY)
    assert done.returncode == 2
    assert "PROXY_AUTH_ALLOW_ANONYMOUS=true" in done.stderr


def test_serve_needs_a_token() -> None:
    done = run("serve")
    assert done.returncode == 2
    assert "OXEN_API_KEY: not set" in done.stderr


def marks(done: subprocess.CompletedProcess[str]) -> dict[str, str]:
    assert "Traceback" not in done.stdout + done.stderr
    lines = [line for line in done.stdout.splitlines() if line[:4].strip() in ("ok", "WARN", "FAIL", "-")]
    return {line[6:24].strip(): line[:4].strip() for line in lines}


def test_check_exits_with_0_when_all_is_well(hub: str, redis_server: RedisServer) -> None:
    done = run("check", OXEN_HUB_URL=hub, OXEN_API_KEY=KEY, REDIS_URL=redis_server.url)
    assert done.returncode == 0, done.stdout
    assert marks(done) == {
        "settings": "ok",
        "hub reachable": "ok",
        "credential": "ok",
        "list answer": "ok",
        "newest first": "ok",
        "events": "ok",
        "Redis": "WARN",  # a bare redis-server has noeviction
    }
    assert re.search(r"version \d+\.\d+\.\d+, eviction policy noeviction", done.stdout)
    assert done.stdout.endswith("The proxy can do its work.\n")


def test_check_fails_for_a_refused_token(hub: str) -> None:
    done = run("check", OXEN_HUB_URL=hub, OXEN_API_KEY="wrong")
    assert done.returncode == 1
    assert marks(done) == {"settings": "ok", "hub reachable": "ok", "credential": "FAIL", "Redis": "-"}


def test_check_says_what_cannot_be_reached_and_no_password() -> None:
    nowhere = f"{LOOPBACK}:{free_port()}"
    done = run("check", OXEN_HUB_URL=f"http://{nowhere}", OXEN_API_KEY=KEY, REDIS_URL=f"redis://:pass-word@{nowhere}")
    assert done.returncode == 1
    assert marks(done) == {"settings": "ok", "hub reachable": "FAIL", "Redis": "FAIL"}
    reached = f"No connection to the hub could be made: Connection refused. Is OXEN_HUB_URL right (http://{nowhere})?"
    assert reached in done.stdout
    assert f"ConnectionError: Connection refused. Is REDIS_URL right (redis://{nowhere})?" in done.stdout
    assert "pass-word" not in done.stdout


def test_check_where_redis_is_away_and_the_rest_is_well(hub: str) -> None:
    """The proxy would run; but who has set it wants to know, and not only to read it."""
    done = run("check", OXEN_HUB_URL=hub, OXEN_API_KEY=KEY, REDIS_URL=f"redis://{LOOPBACK}:{free_port()}")
    assert done.returncode == 1
    assert marks(done)["Redis"] == "FAIL"
    assert "The proxy would run without it, and share nothing." in done.stdout
    assert done.stdout.endswith("Something is not as it should be; see the lines marked FAIL.\n")


def test_check_tries_what_serving_needs_of_redis(hub: str, own_redis: RedisServer) -> None:
    own_redis.command("ACL", "SETUSER", "web", "on", ">s3cr3t", "~gp1:*", "&gp1:news*", "+@all", "-subscribe", "-zadd")
    url = own_redis.url.replace("//", "//web:s3cr3t@")
    done = run("check", OXEN_HUB_URL=hub, OXEN_API_KEY=KEY, REDIS_URL=url)
    assert (done.returncode, marks(done)["Redis"]) == (1, "FAIL")
    lacking = "NOPERM, missing is the right +zadd; NOPERM, missing is the right +subscribe"
    assert f"it refuses what serving needs: {lacking}" in done.stdout


@contextmanager
def files_served(directory: Path) -> Iterator[str]:
    """The URL of a server of these files."""
    handler = partial(http.server.SimpleHTTPRequestHandler, directory=str(directory))
    with http.server.ThreadingHTTPServer((LOOPBACK, 0), handler) as server:
        threading.Thread(target=server.serve_forever, args=[0.01]).start()
        try:
            yield f"http://{LOOPBACK}:{server.server_port}"
        finally:
            server.shutdown()


def test_check_says_whether_a_jwk_set_verifies_anything(hub: str, tmp_path: Path) -> None:
    (tmp_path / "keys").write_bytes(key_set(jwk(ED)))
    (tmp_path / "none").write_text("{}")
    (tmp_path / "empty").write_bytes(key_set())
    jwt = {"PROXY_JWT_ALGORITHM": "EdDSA", "PROXY_JWT_ISSUER": "me", "PROXY_JWT_AUDIENCE": "you"}
    cases = {
        "keys": ("ok", "1 of its keys verify EdDSA"),
        "none": ("FAIL", "the answer is not a JWK set"),
        "empty": ("FAIL", "none of its keys verifies EdDSA"),
        "nowhere": ("FAIL", "the status is 404"),
    }
    with files_served(tmp_path) as url:
        for path, (mark, says) in cases.items():
            done = run("check", OXEN_HUB_URL=hub, OXEN_API_KEY=KEY, PROXY_JWT_JWKS_URL=f"{url}/{path}", **jwt)
            assert (marks(done)["JWK set"], done.returncode) == (mark, int(mark == "FAIL"))
            assert says in done.stdout
    done = run("check", OXEN_HUB_URL=hub, OXEN_API_KEY=KEY, PROXY_JWT_JWKS_URL=f"{url}/keys", **jwt)
    assert marks(done)["JWK set"] == "FAIL"
    assert f"Is PROXY_JWT_JWKS_URL right ({url.removeprefix('http://')})?" in done.stdout


def set_fault(hub: str, **fault: Any) -> None:
    """Have the simulator fail."""
    given = urllib.request.Request(f"{hub}/_simulator/faults", json.dumps([fault]).encode(), method="PUT")
    with urllib.request.urlopen(given, timeout=PATIENCE):
        pass


@pytest.mark.parametrize(
    ("status", "mark", "says"),
    [
        (404, "-", "none to listen to: the hub answered 404"),
        (403, "WARN", "none to listen to: the hub answered 403"),
        (500, "WARN", "none to listen to: the hub answered 500"),
        (429, "WARN", "429"),
    ],
)
def test_check_succeeds_with_a_hub_that_has_no_events(hub: str, status: int, mark: str, says: str) -> None:
    """The proxy does its work without."""
    set_fault(hub, status=status, path="/api/events")
    done = run("check", OXEN_HUB_URL=hub, OXEN_API_KEY=KEY)
    assert done.returncode == 0
    assert marks(done)["events"] == mark
    assert says in done.stdout


def test_check_says_that_events_are_off(hub: str) -> None:
    done = run("check", OXEN_HUB_URL=hub, OXEN_API_KEY=KEY, PROXY_EVENTS_MODE="off")
    assert marks(done)["events"] == "-"
    assert "events.mode is off" in done.stdout


ODD_PAGE = json.dumps(
    {
        "count": 2,
        "page_number": 1,
        "page_size": 100,
        "total_pages": 1,
        "total_entries": 2,
        "total_cost": None,
        "generations": [{"status": "dreaming", "enqueued_at": 1}, {"status": "failed", "enqueued_at": 2}],
    }
)


@pytest.mark.parametrize(
    ("content", "found"),
    [
        ("<html>", {"list answer": "FAIL"}),
        ('{"generations": []}', {"list answer": "FAIL"}),
        (ODD_PAGE, {"list answer": "WARN", "newest first": "WARN"}),
    ],
)
def test_check_finds_an_answer_that_breaks_the_contract(hub: str, content: str, found: dict[str, str]) -> None:
    set_fault(hub, content=content)
    done = run("check", OXEN_HUB_URL=hub, OXEN_API_KEY=KEY)
    assert found.items() <= marks(done).items()
    assert done.returncode == (1 if "FAIL" in found.values() else 0)


def test_every_command_has_its_help_and_an_unknown_one_is_refused() -> None:
    for arguments in (["--help"], ["serve", "-h"], ["demo", "-h"], ["simulate", "-h"], ["check", "-h"], ["--version"]):
        done = run(*arguments)
        assert done.returncode == 0
        assert done.stdout
    assert run("no-such-command").returncode == 2


def test_help_says_what_there_is() -> None:
    said = run("--help").stdout
    for word in (
        "serve",
        "demo",
        "simulate",
        "check",
        "key",
        "purge",
        "completion",
        "Exit status",
        "settings are wrong",
    ):
        assert word in said
    assert "..." not in said.partition("Options")[2], "no text is cut short"


def test_how_to_complete_is_a_line_for_each_shell() -> None:
    said = run("completion", "--help").stdout
    assert "\\b" not in said
    assert re.findall(r"^  (bash|zsh|fish): ", said, re.MULTILINE) == ["bash", "zsh", "fish"]


@pytest.mark.parametrize(
    ("arguments", "place"),
    [
        *[([name], "callers[0].name") for name in ("", "a b", "\u00e9")],
        (["web", "--namespace", ""], "callers[0].namespaces[0]"),
    ],
)
def test_no_key_is_made_for_a_caller_whom_the_settings_refuse(arguments: list[str], place: str) -> None:
    done = run("key", *arguments)
    assert (done.returncode, done.stdout) == (2, "")
    assert re.search(rf"PROXY_AUTH_CALLERS: {re.escape(place)} is not ", done.stderr)


def test_the_settings_of_a_key_are_read_back(tmp_path: Path) -> None:
    file = tmp_path / "proxy.toml"
    file.write_text(run("key", "web", "--namespace", 'gr\u00f6\u00dfe "\U0001f402"').stdout.split("\n\n")[1])
    (caller,) = load({}, str(file)).settings.auth.callers
    assert (caller.name, caller.namespaces) == ("web", ('gr\u00f6\u00dfe "\U0001f402"',))


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_shells_are_told_how_to_complete_commands(shell: str) -> None:
    done = run("completion", shell)
    assert done.returncode == 0
    assert "_GENERATIONS_PROXY_COMPLETE" in done.stdout
    asked = {"COMP_WORDS": "generations-proxy se", "COMP_CWORD": "se" if shell == "fish" else "1"}
    command = [str(Path(sys.executable).parent / "generations-proxy")]
    given = environment(_GENERATIONS_PROXY_COMPLETE=f"{shell}_complete", **asked)
    found = subprocess.run(command, env=given, capture_output=True, text=True, timeout=PATIENCE, check=False).stdout
    assert "serve" in found
    assert "demo" not in found


def test_a_real_bash_completes_options() -> None:
    script = """
        eval "$(PATH=$1:$PATH generations-proxy completion bash)"
        PATH=$1:$PATH COMP_WORDS=(generations-proxy serve --wor) COMP_CWORD=2
        _generations_proxy_completion generations-proxy
        echo "${COMPREPLY[@]}"
    """
    command = ["bash", "-c", script, "bash", str(Path(sys.executable).parent)]
    done = subprocess.run(command, env=environment(), capture_output=True, text=True, timeout=PATIENCE, check=False)
    assert done.stdout.strip() == "--workers"


def on_a_terminal(*arguments: str, **given: str) -> str:
    """What a command says to a terminal."""
    leader, follower = pty.openpty()
    with subprocess.Popen([*COMMAND, *arguments], env=environment(TERM="xterm", **given), stdout=follower, cwd=ROOT):
        os.close(follower)
        said = b""
        with contextlib.suppress(OSError):  # Linux: EIO when nobody has the other end any more
            while more := os.read(leader, 65_536):
                said += more
    os.close(leader)
    return said.decode()


def test_colours_are_for_terminals_and_not_with_no_color() -> None:
    assert "\x1b[31mFAIL" in on_a_terminal("check")
    assert "\x1b" not in on_a_terminal("check", NO_COLOR="1")
    assert "\x1b" not in run("check").stdout


def test_a_bad_token_is_said_once_and_in_words(hub: str) -> None:
    with serving(hub, OXEN_API_KEY="an-old-one") as (url, process):
        assert [get(f"{url}{LIST}?page={page}")[0] for page in range(1, 5)] == [502] * 4
        process.send_signal(signal.SIGINT)
        said = process.stdout.read() if process.stdout else ""
    assert said.count("the hub refuses the token of credential default: renew it") == 1
    assert "an-old-one" not in said


def test_a_missing_redis_is_said_once_and_serves_on(hub: str) -> None:
    with serving(hub, REDIS_URL=f"redis://:pass-word@{LOOPBACK}:{free_port()}/0") as (url, process):
        assert [get(f"{url}{LIST}?page={page}")[0] for page in range(1, 5)] == [200] * 4
        process.send_signal(signal.SIGINT)
        said = process.stdout.read() if process.stdout else ""
    assert said.count("Redis fault, going on without it") == 1
    assert "Traceback" not in said
    assert "pass-word" not in said


def test_an_unread_log_does_not_stop_the_service(hub: str) -> None:
    """Some 2,000 lines are more than a pipe holds."""
    with serving(hub) as (url, process):
        assert all(get(f"{url}/health/live")[0] == 200 for _ in range(2000))
        process.send_signal(signal.SIGINT)
        assert process.wait(PATIENCE) == 0
