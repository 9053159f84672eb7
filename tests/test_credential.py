"""The hub's token and its rotation."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from proxy.credential import MAX_TOKEN, Credential, TokenFault, check_token, read_token
from proxy.secret import MASK, Secret
from proxy.settings import HubSettings


@pytest.fixture
def token_file(tmp_path: Path) -> Path:
    path = tmp_path / "token"
    path.write_text("first\n")
    return path


def credential(path: Path) -> Credential:
    return Credential(HubSettings(api_key_file=str(path)))


def replace(path: Path, text: str) -> None:
    """As rotation does it: a new file under the old name."""
    new = path.with_suffix(".new")
    new.write_text(text)
    new.rename(path)


def test_a_secret_does_not_show_itself() -> None:
    secret = Secret("hunter2")
    shown = f"{secret} {secret!r}" + "%s %r" % (secret, secret)  # noqa: UP031
    assert "hunter2" not in shown
    assert MASK in shown
    assert "hunter2" not in repr(HubSettings(api_key=secret))
    assert secret.reveal() == "hunter2"
    assert secret == Secret("hunter2") != Secret("hunter3")
    assert secret != "hunter2"


def test_a_changed_file_is_read_again(token_file: Path) -> None:
    it = credential(token_file)
    before = it.id
    assert it.token() == Secret("first")
    replace(token_file, "second")
    assert it.token() == Secret("second")
    assert it.id != before


def test_a_change_in_place_is_seen_even_with_the_old_times(token_file: Path) -> None:
    """Same size, same inode, same times: only the hub's refusal shows it."""
    it = credential(token_file)
    times = token_file.stat()
    token_file.write_text("other\n")
    os.utime(token_file, ns=(times.st_atime_ns, times.st_mtime_ns))
    assert it.token() == Secret("first")
    assert it.refused(Secret("first"))
    assert it.token() == Secret("other")


def test_refused_without_another_token(token_file: Path) -> None:
    assert not credential(token_file).refused(Secret("first"))
    assert not Credential(HubSettings(api_key=Secret("fixed"))).refused(Secret("fixed"))


def test_refused_after_somebody_else_has_renewed_it(token_file: Path) -> None:
    it = credential(token_file)
    replace(token_file, "second")
    it.token()
    assert it.refused(Secret("first"))


@pytest.mark.parametrize("spoil", [Path.unlink, lambda p: p.write_text(""), lambda p: p.write_bytes(b"\xff\x00")])
def test_the_last_good_token_goes_on(token_file: Path, spoil: object, caplog: pytest.LogCaptureFixture) -> None:
    it = credential(token_file)
    assert callable(spoil)
    spoil(token_file)
    assert it.token() == Secret("first")
    assert len(caplog.records) == 1
    replace(token_file, "third")
    assert it.token() == Secret("third")


@pytest.mark.parametrize(
    ("content", "fault"),
    [
        (b"", "0 characters"),
        (b" \n", "0 characters"),
        (b"a b", "spaces"),
        (b"a\nb", "spaces"),
        (b"a\x00b", "control"),
        (b"\xff\xfe", "not ASCII"),
        (b"x" * (MAX_TOKEN + 1), "allowed are 1 to"),
    ],
)
def test_what_is_no_token(tmp_path: Path, content: bytes, fault: str) -> None:
    path = tmp_path / "t"
    path.write_bytes(content)
    with pytest.raises(TokenFault, match=fault) as caught:
        read_token(path)
    assert content.decode("latin-1").strip()[:2] not in str(caught.value).replace(str(path), "") or not content.strip()


def test_a_missing_file(tmp_path: Path) -> None:
    with pytest.raises(TokenFault, match="No such file"):
        credential(tmp_path / "absent")


def test_a_header_cannot_be_smuggled_in_a_token() -> None:
    with pytest.raises(TokenFault):
        check_token(Secret("a\r\nX-Evil: 1"))
