"""Files that hold secrets: read again when they change, and what they held goes on while they hold nothing usable."""

from __future__ import annotations

import logging
from pathlib import Path

import pytest

from proxy.hub.credential import TokenFault, read_token
from proxy.secret import Secret
from proxy.secret_file import Reloaded
from proxy.settings import AdminSettings, StatusSettings
from proxy.web.admin import PURGE_PATH
from proxy.web.status import JSON_PATH
from tests.support import rig

LOG = logging.getLogger("proxy.test")


@pytest.fixture
def path(tmp_path: Path) -> Path:
    file = tmp_path / "key"
    file.write_text("first\n")
    return file


def put(path: Path, text: str) -> None:
    """As orchestrators do: another file takes its place."""
    other = path.with_name("other")
    other.write_text(text)
    other.replace(path)


def test_what_it_holds_is_read_again_when_it_changed(path: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "proxy.test")
    it = Reloaded(path, read_token, "key", LOG)
    assert it.value == Secret("first")
    assert not it.reload_if_changed()
    put(path, "second")
    assert it.reload_if_changed()
    assert it.value == Secret("second")
    assert not it.reload_if_changed()
    put(path, " second\n")
    assert not it.reload_if_changed(), "it is the same"
    assert [record.getMessage() for record in caplog.records] == [f"key renewed from {path}"]


@pytest.mark.parametrize("text", ["", "two words", "\xff"])
def test_the_last_good_one_goes_on(path: Path, text: str, caplog: pytest.LogCaptureFixture) -> None:
    it = Reloaded(path, read_token, "key", LOG)
    path.write_bytes(text.encode("latin-1"))
    assert not it.reload_if_changed()
    path.unlink()
    assert not it.reload_if_changed()
    assert not it.reload_if_changed()
    assert it.value == Secret("first")
    said = [record.getMessage() for record in caplog.records]
    assert len(said) == 2
    assert all(line.startswith("key not renewed, the last good one goes on: ") for line in said)
    put(path, "third")
    assert it.reload_if_changed()
    assert it.value == Secret("third")


def test_one_that_holds_nothing_at_first_is_a_fault(tmp_path: Path) -> None:
    with pytest.raises(TokenFault):
        Reloaded(tmp_path / "nothing", read_token, "key", LOG)


async def test_the_keys_of_operators_and_of_the_status_page_are_renewed(tmp_path: Path, path: Path) -> None:
    status = tmp_path / "status"
    status.write_text("looking")
    async with rig(admin=AdminSettings(key_file=str(path)), status=StatusSettings(key_file=str(status))) as it:

        async def purges(key: str) -> int:
            headers = {"authorization": f"Bearer {key}"}
            return (await it.caller.post(PURGE_PATH, json={"everything": True}, headers=headers)).status_code

        async def looks(key: str) -> int:
            return (await it.caller.get(JSON_PATH, headers={"authorization": f"Bearer {key}"})).status_code

        assert [await purges(key) for key in ("first", "looking")] == [200, 401]
        assert [await looks(key) for key in ("first", "looking")] == [200, 200]
        put(path, "second")
        put(status, "seeing")
        assert [await purges(key) for key in ("first", "second")] == [401, 200]
        assert [await looks(key) for key in ("first", "looking", "second", "seeing")] == [401, 401, 200, 200]
        put(path, "")
        assert await purges("second") == 200, "in the middle of being replaced"
