"""The API from outside: a client generated from the hub's contract, and schemathesis. (Slow: dev extra.)"""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
from pathlib import Path

import httpx
import pytest

from proxy.hub.stream import EVENTS_PATH
from proxy.settings import CacheSettings, Settings
from proxy.web import openapi
from tests.hub_contract import DOCUMENT
from tests.processes import PATIENCE, eventually, get, running
from tests.support import ROOT, SocketRig, socket_rig

pytestmark = pytest.mark.slow

PROGRAM = """
import sys
sys.path.insert(0, sys.argv[1])
from hub_client.client import AuthenticatedClient
from hub_client.api.default import oxen_api_web_controllers_generations_controller_index as index
from hub_client.api.default import oxen_api_web_controllers_generations_controller_show as show
from hub_client.api.default import oxen_api_web_controllers_queue_controller_index as queue
from hub_client.api.default import oxen_api_web_controllers_queue_controller_show as queued
from hub_client.models import OxenApiWebControllersGenerationsControllerIndexStatus as Status

with AuthenticatedClient(base_url=sys.argv[2], token=sys.argv[3]) as client:
    for page in (1, 2):
        answer = index.sync(client=client, namespace="bessie", status=Status.SUCCEEDED, page=page, page_size=7)
        print(answer.count, answer.page_number, answer.page_size, answer.total_entries, answer.total_cost)
        for row in answer.generations:
            print(row.generation_id, row.status.value, row.cost, sorted(row.additional_properties))
    print(index.sync(client=client).count)
    for row in answer.generations:
        whole = show.sync(row.generation_id, client=client)
        print(whole.status, whole.generation.generation_id, whole.generation.cost, whole.generation.username)
        lean = queued.sync(row.generation_id, client=client)
        print(lean.generation_id, lean.status.value, sorted(lean.additional_properties))
    waiting = queue.sync(client=client, namespace="bessie")
    print(waiting.count, [row.generation_id for row in waiting.generations])
    print(show.sync_detailed("0e8a1f64-0000-4000-8000-000000000000", client=client).status_code)
"""


def hubs_document() -> str:
    """The hub's own document where it is at hand, else ours in its words."""
    theirs = ROOT.parent / "shared" / "hub_openapi.json"
    return theirs.read_text() if theirs.exists() else json.dumps(DOCUMENT)


@pytest.fixture(scope="module")
def generated_client(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("client")
    (folder / "hub.json").write_text(hubs_document())
    command = [sys.executable, "-m", "openapi_python_client", "generate"]
    options = ["--path", "hub.json", "--output-path", "hub_client", "--meta", "none"]
    subprocess.run([*command, *options], cwd=folder, check=True, capture_output=True, timeout=120)
    return folder


async def test_a_generated_client_changes_its_base_url_only(generated_client: Path) -> None:
    """The same program, run against the hub and against the proxy, prints the same."""

    async def listing(url: str, token: str) -> str:
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-c", PROGRAM, str(generated_client), url, token),
            stdout=asyncio.subprocess.PIPE,
        )
        output, _ = await process.communicate()
        assert process.returncode == 0
        return output.decode()

    async with socket_rig(Settings(cache=CacheSettings(live_ttl=60, settled_ttl=60))) as it:
        by_hub = await listing(it.hub_url, it.hub.api_key)
        asked = it.hub.journal.count
        by_proxy = await listing(it.proxy_url, "a-token-of-nobody")
        assert by_proxy == by_hub
        assert len(by_hub.splitlines()) == 2 * 8 + 1 + 2 * 7 + 2
        assert await listing(it.proxy_url, "yet-another") == by_hub
        assert it.hub.journal.count == asked + 3 + 2 * 7 + 2, "the second listing cost nothing"


def test_the_proxys_own_document_makes_the_same_client(tmp_path: Path) -> None:
    (tmp_path / "proxy.json").write_bytes(openapi.document())
    command = [sys.executable, "-m", "openapi_python_client", "generate", "--path", "proxy.json", "--meta", "none"]
    done = subprocess.run(
        [*command, "--output-path", "out"], cwd=tmp_path, check=True, capture_output=True, text=True, timeout=120
    )
    assert "WARNING" not in done.stdout + done.stderr
    assert (tmp_path / "out/api/default/oxen_api_web_controllers_generations_controller_index.py").exists()
    for name in ("generations_list", "generations_show", "queue_list", "queue_generation"):
        assert (tmp_path / f"out/models/{name}_response.py").exists()


def test_answers_keep_to_the_document_whatever_is_sent() -> None:
    """Left out: ``positive_data_acceptance``, as the hub's contract, which the document repeats, says less than
    is true (a namespace has no control characters), so that some data it allows is rightly refused; and the
    stream of events, which would be waited for to end.
    """
    with running("demo", "--port", "0", "--callers", "0") as process:
        assert process.stdout is not None
        url = ""
        while not url:
            line = process.stdout.readline()
            url = line.split()[1] if line.startswith("proxy ") else ""
        eventually(lambda: get(f"{url}/health/live")[0] == 200)
        command = ["schemathesis", "run", f"{url}{openapi.PATH}", "--max-examples", "60", "--no-color", "--seed", "1"]
        command += ["--exclude-path", EVENTS_PATH]
        done = subprocess.run(
            [Path(sys.executable).with_name(command[0]), *command[1:], "--exclude-checks", "positive_data_acceptance"],
            capture_output=True,
            text=True,
            timeout=PATIENCE * 15,
            check=False,
            env={"PATH": "", "HOME": "/nonexistent"},
        )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "No issues found" in done.stdout, done.stdout


async def test_the_openapi_document_is_served_as_it_is() -> None:
    async with socket_rig() as it, httpx.AsyncClient() as caller:
        assert isinstance(it, SocketRig)
        assert (await caller.get(it.proxy_url + openapi.PATH)).content == openapi.document()
