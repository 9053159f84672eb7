"""What answers say of the hub's clock."""

from __future__ import annotations

import httpx
import pytest

from proxy.hub.dates import dated

DATE = "Mon, 21 Sep 2026 14:13:20 GMT"
NOW = 1_790_000_000.0


@pytest.mark.parametrize(
    ("headers", "expected"),
    [
        ([], (None, 0)),
        ([("date", DATE)], (NOW, 0)),
        ([("date", "Mon Sep 21 14:13:20 2026")], (NOW, 0)),
        ([("date", DATE), ("age", " 77 ")], (NOW, 77)),
        ([("date", DATE), ("age", "0")], (NOW, 0)),
        ([("date", DATE), ("age", "-1")], (None, 0)),
        ([("date", DATE), ("age", "long")], (None, 0)),
        ([("date", DATE), ("age", "1"), ("age", "2")], (None, 0)),
        ([("date", DATE), ("age", "9" * 400)], (None, 0)),
        ([("date", "today")], (None, 0)),
        ([("date", ""), ("age", "5")], (None, 5)),
    ],
)
def test_a_date_counts_with_its_age_or_not_at_all(
    headers: list[tuple[str, str]], expected: tuple[float | None, float]
) -> None:
    assert dated(httpx.Headers(headers)) == expected
