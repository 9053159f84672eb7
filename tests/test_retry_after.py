"""Retry-After, read and written."""

from __future__ import annotations

import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.hub.retry_after import MAX_WAIT, header, jittered, parse

NOW = 1_790_000_000.0  # Mon, 21 Sep 2026 14:13:20 GMT


@pytest.mark.parametrize(
    ("value", "seconds"),
    [
        ("", None),
        ("0", 0),
        (" 7 ", 7),
        ("120", 120),
        ("999999", MAX_WAIT),
        ("9" * 50, MAX_WAIT),
        ("-1", None),
        ("1.5", 1.5),
        ("3, 5", 5),
        ("3,", None),
        ("1e3", None),
        ("soon", None),
        ("Mon, 21 Sep 2026 14:13:50 GMT", 30),
        ("Mon, 21 Sep 2026 13:00:00 GMT", 0),
        ("Monday, 21-Sep-26 14:13:50 GMT", 30),
        ("Tue, 01 Jan 2030 00:00:00 GMT", MAX_WAIT),
        ("Mon, 99 Sep 2026 14:13:50 GMT", None),
    ],
)
def test_every_form_of_retry_after_is_read_as_seconds(value: str, seconds: float | None) -> None:
    assert parse([value], NOW) == seconds


@pytest.mark.parametrize("zone", ["UTC", "America/New_York", "Asia/Kolkata"])
@pytest.mark.parametrize(
    "value",
    [
        "Mon Sep 21 14:13:50 2026",
        "Mon, 21 Sep 2026 14:13:50",
        "Mon, 21 Sep 2026 14:13:50 -0000",
        "Mon, 21 Sep 2026 16:13:50 +0200",
    ],
)
def test_a_date_that_names_no_zone_is_of_greenwich(zone: str, value: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """As that of asctime, which any recipient has to take (RFC 9110 §5.6.7); wherever the proxy's machine stands."""
    with monkeypatch.context() as patched:
        patched.setenv("TZ", zone)
        time.tzset()
        try:
            assert parse([value], NOW) == 30
        finally:
            patched.undo()
            time.tzset()


def test_of_several_lines_the_longest_counts() -> None:
    assert parse([], NOW) is None
    assert parse(["2", "soon", "Mon, 21 Sep 2026 14:13:50 GMT", "5"], NOW) == 30
    assert parse(["soon", "later"], NOW) is None


@given(st.text(max_size=60))
def test_any_text_is_survived(value: str) -> None:
    seconds = parse([value], NOW)
    assert seconds is None or 0 <= seconds <= MAX_WAIT


def test_header_is_whole_seconds_rounded_up() -> None:
    assert [header(seconds) for seconds in (0.0, 0.2, 1.0, 1.1, 30.0)] == ["1", "1", "1", "2", "30"]


@pytest.mark.parametrize("seconds", [1e17, float("inf"), float("nan")])
def test_header_is_an_hour_at_most(seconds: float) -> None:
    """It is written while an error is told, which must not become another one."""
    assert header(seconds) == "3600"


def test_jitter_stays_in_its_range() -> None:
    assert all(1 <= jittered() <= 3 for _ in range(50))
