"""Rows of a listing in short, the hub's answers that show them, and the listings that come of these."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from decimal import Decimal
from typing import Any

from proxy.answer.page import parse_page
from proxy.questions.query import ListQuery
from proxy.questions.question import Question, page_question
from proxy.rows.listing import Listing, Unexplained, advance_listing
from proxy.rows.reading import Window, read_window

Spec = tuple[str, str, str | None]
"""A row: id, status, cost."""


def body(rows: Sequence[Spec], page: int = 1, page_size: int = 50, *, extra: str = "", glue: str = ", ") -> bytes:
    """The hub's answer to a question for a page of all ``rows``."""
    shown = rows[(page - 1) * page_size : page * page_size]
    texts = [f'{{"generation_id": "{i}", "status": "{s}", "cost": {json.dumps(c)}, "n": 0.10}}' for i, s, c in shown]
    costs = [Decimal(cost) for _, _, cost in rows if cost is not None]
    pages = max(1, math.ceil(len(rows) / page_size))
    return (
        f'{{"count": {len(shown)}, "generations": [{glue.join(texts)}], {extra}"page_number": {page}, '
        f'"page_size": {page_size}, "total_cost": {json.dumps(str(sum(costs, Decimal(0))) if costs else None)}, '
        f'"total_entries": {len(rows)}, "total_pages": {pages}}}\n'
    ).encode()


def question(page: int = 1, page_size: int = 50) -> Question:
    return page_question("c", ListQuery(page=page, page_size=page_size))


def answer(rows: Sequence[Spec], page: int = 1, page_size: int = 50, at: float = 0.0, **how: Any) -> Window:
    asked = question(page, page_size)
    return read_window(asked, parse_page(asked, body(rows, page, page_size, **how), at))


def row(number: int, status: str = "succeeded", cost: str | None = "0.10") -> Spec:
    return f"g{number}", status, cost


OLD = [row(number) for number in range(10, 0, -1)]
"""Ten rows, the newest first."""


def after(
    first: Window, *others: Window, since: float = 0.0, depth: int = 1000
) -> tuple[Listing, list[Unexplained | None]]:
    listing, faults = advance_listing(None, first, 0.0, since=0.0, name="a", depth=depth)[0], []
    for number, window in enumerate(others):
        listing, fault = advance_listing(listing, window, window.asked_at, since=since, name=f"b{number}", depth=depth)
        faults.append(fault)
    return listing, faults


def of(rows: Sequence[Spec]) -> list[str]:
    return [row[0] for row in rows]
