"""Worker processes that cannot do all that they should: it is said, and costs no more than it has to."""

from __future__ import annotations

import logging
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import cast

import pytest
import uvicorn
from uvicorn.config import STARTUP_FAILURE
from uvicorn.supervisors.multiprocess import Process

from proxy import logs
from proxy.commands.serve import production_app, run_server
from proxy.commands.supervisor import Supervisor
from proxy.secret import Secret
from proxy.settings import HubSettings, ServerSettings, Settings
from proxy.siblings import DIRECTORY
from tests.processes import PATIENCE, environment
from tests.support import KEY, ROOT, free_port


def test_one_that_cannot_start_says_why() -> None:
    """uvicorn ends its process at once, before the log's thread has written the reason."""
    code = "from proxy.commands.serve import worker_app; worker_app(); import logging; logging.error('why'); exit(3)"
    done = subprocess.run(
        [sys.executable, "-c", code],
        env=environment(OXEN_API_KEY=KEY),
        capture_output=True,
        text=True,
        timeout=PATIENCE,
        check=False,
        cwd=ROOT,
    )
    assert done.returncode == 3
    assert '"message":"why"' in done.stderr


def test_serve_fails_if_one_could_not_start(monkeypatch: pytest.MonkeyPatch) -> None:
    class Failed(Supervisor):
        def run(self) -> None:
            self.processes.append(cast("Process", SimpleNamespace(exitcode=STARTUP_FAILURE)))

    monkeypatch.setattr("proxy.commands.serve.Supervisor", Failed)
    monkeypatch.setattr("uvicorn.supervisors.multiprocess.SIGNALS", {})  # this process' own are left alone
    with pytest.raises(SystemExit) as caught:
        run_server(Settings(server=ServerSettings(port=free_port(), workers=2)))
    assert caught.value.code == 1


@pytest.mark.parametrize(("name", "why"), [("gone", "No such file"), ("d" * 100, "too long")])
def test_one_that_the_others_cannot_reach_serves_all_the_same(
    name: str, why: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Its directory is removed by whoever cleans up /tmp; or TMPDIR is longer than a socket's path may be."""
    if name != "gone":
        (tmp_path / name).mkdir()
    monkeypatch.setenv(DIRECTORY, str(tmp_path / name))
    app = production_app(Settings(hub=HubSettings(api_key=Secret(KEY))), logs.LogWriter(lambda _: None))
    assert app is not None
    (said,) = (record for record in caplog.records if record.name == "proxy.serve")
    assert (said.levelno, why in said.getMessage()) == (logging.WARNING, True)


@pytest.mark.parametrize("seconds", [0.4, 1.9, 15.0])
def test_requests_in_flight_are_given_the_time_that_is_set(seconds: float, monkeypatch: pytest.MonkeyPatch) -> None:
    """It was cut to full seconds: 1.9 became 1, and 0.4 became 1, too."""
    found: list[object] = []
    monkeypatch.setattr(uvicorn.Server, "run", lambda self, **_: found.append(self.config.timeout_graceful_shutdown))
    run_server(Settings(server=ServerSettings(port=free_port(), shutdown_timeout=seconds)))
    assert found == [seconds]
