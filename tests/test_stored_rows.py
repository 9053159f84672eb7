"""Rows in Redis: what goes in comes out, by parts too; what does not fit together is no listing."""

from __future__ import annotations

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from proxy.redis.formats import OtherRelease
from proxy.redis.stored_rows import read_listing, version_of, write_listing
from proxy.rows.listing import Listing, advance_listing
from proxy.rows.reading import DIGEST_BYTES, digest
from tests.listings import OLD, after, answer, row

KEY = "gp1:{k}"
FIRST = after(answer(OLD))[0]
MOVED = after(answer(OLD), answer([row(11, "processing", None), *OLD], page_size=4, at=5.0))[0]
OLD_TOP = FIRST.rows[0]
ENDED = after(answer(OLD), answer(OLD[1:], at=5.0))[0]


def kept(listing: Listing) -> tuple[bytes, dict[bytes, bytes]]:
    written = write_listing(KEY, listing, None, "", "ab")
    return written.head, written.rows


@pytest.mark.parametrize("listing", [FIRST, MOVED, ENDED, after(answer(OLD, 2, 3))[0], after(answer(OLD, 1, 1))[0]])
def test_what_goes_in_comes_out(listing: Listing) -> None:
    head, rows = kept(listing)
    assert version_of(head) == "1.ab"
    assert read_listing(KEY, head, rows.values(), None) == listing


@pytest.mark.parametrize("shown", [2, 10])
def test_rows_with_nothing_known_between_them_are_no_listing(shown: int) -> None:
    """No page could be put together of them."""
    listing = after(answer(OLD, 1, shown))[0]
    head, rows = kept(replace(listing, envelope=replace(listing.envelope, between=None)))
    with pytest.raises(ValueError, match="between"):
        read_listing(KEY, head, rows.values(), None)


def test_only_what_has_changed_is_written() -> None:
    written = write_listing(KEY, MOVED, FIRST, "7.ab", "cd")
    assert (written.expected, written.version, written.whole) == ("7.ab", "8.ab", False)
    assert [b'"g11"' in text for text in written.rows.values()] == [True], (
        "the others were shown again, but are the same bytes"
    )
    assert read_listing(KEY, written.head, written.rows.values(), FIRST) == MOVED
    assert {one.asked_at for one in read_listing(KEY, written.head, written.rows.values(), FIRST).rows} == {0.0, 5.0}


def test_rows_are_kept_as_the_latest_answer_says() -> None:
    """Also where that was asked for at the same time as the one before, and but its links die at another."""
    rows = tuple(replace(one, dead_at=99.0) for one in FIRST.rows)
    listing = replace(FIRST, chain=replace(FIRST.chain, rows=rows))
    assert read_listing(KEY, write_listing(KEY, listing, FIRST, "7.ab", "cd").head, [], FIRST) == listing


def test_after_a_listing_without_rows_all_goes() -> None:
    """Redis holds none to which some could be added."""
    written = write_listing(KEY, FIRST, after(answer(OLD, 2, 3))[0], "7.ab", "cd")
    assert (written.version, written.whole, len(written.rows)) == ("1.cd", True, len(OLD))


def test_rows_that_nothing_needs_go() -> None:
    written = write_listing(KEY, ENDED, FIRST, "7.ab", "cd")
    assert written.gone == [], "the chain that ended can be returned to"
    later = advance_listing(ENDED, answer(OLD[1:], at=500.0), 500.0, since=0.0, name="z", depth=99)[0]
    assert write_listing(KEY, later, ENDED, "8.ab", "cd").gone == [OLD_TOP.digest]


def test_what_is_missing_or_another_is_no_listing() -> None:
    head, rows = kept(FIRST)
    with pytest.raises(ValueError, match="missing"):
        read_listing(KEY, head, list(rows.values())[1:], None)
    with pytest.raises(ValueError, match="another listing"):
        read_listing("gp1:{other}", head, rows.values(), None)
    other, _ = after(answer([row(10, "failed"), *OLD[1:]]))
    with pytest.raises(ValueError, match="missing"):
        read_listing(KEY, head, kept(other)[1].values(), None)
    newer = msgspec.msgpack.decode(head.partition(b" ")[2])
    for members in (newer[1:], [], ["as it has them"]):
        with pytest.raises(OtherRelease):
            read_listing(KEY, b"1.ab " + msgspec.msgpack.encode([99, *members]), rows.values(), None)


@pytest.mark.parametrize("text", [b"null", b'{"status": "failed"}', b"\xff"])
def test_what_is_no_row_is_no_listing(text: bytes) -> None:
    """Though it is kept under its own digest."""
    row = replace(OLD_TOP, text=text, digest=digest(text))
    head, rows = kept(replace(FIRST, chain=replace(FIRST.chain, rows=(row, *FIRST.rows[1:]))))
    with pytest.raises(ValueError, match="no row"):
        read_listing(KEY, head, rows.values(), None)


def test_columns_that_do_not_fit_together_are_no_listing() -> None:
    head, rows = kept(FIRST)
    members = msgspec.msgpack.decode(head.partition(b" ")[2])
    name, digests, born, looks, moments = members[5]
    [[asked_at, dead_at, shown]] = looks
    for columns in (
        [name, digests[:-DIGEST_BYTES], born, looks, moments],
        [name, digests[:-1], born, looks, moments],
        [name, digests, born[:-1], looks, moments],
        [name, digests, born, [[asked_at, dead_at, shown - 1]], moments],
        [name, digests, born, [[asked_at, dead_at, shown + 1]], moments],
    ):
        changed = b"1.ab " + msgspec.msgpack.encode([*members[:5], columns, *members[6:]])
        with pytest.raises(ValueError, match="columns"):
            read_listing(KEY, changed, rows.values(), None)


def test_a_chain_of_no_moment_is_no_listing() -> None:
    """The next answer could not say when the latest was over."""
    head, rows = kept(replace(FIRST, chain=replace(FIRST.chain, moments=())))
    with pytest.raises(ValueError, match="no listing"):
        read_listing(KEY, head, rows.values(), None)


@given(st.binary(max_size=200))
def test_any_bytes_are_no_listing(garbage: bytes) -> None:
    with pytest.raises(ValueError):  # noqa: PT011
        read_listing(KEY, garbage, [], None)
    with pytest.raises(ValueError):  # noqa: PT011
        read_listing(KEY, kept(FIRST)[0], [garbage], None)


@given(st.data())
def test_a_flipped_bit_in_a_row_is_found(data: st.DataObject) -> None:
    head, rows = kept(FIRST)
    name = data.draw(st.sampled_from(sorted(rows)))
    value = bytearray(rows[name])
    value[data.draw(st.integers(0, len(value) - 1))] ^= 1 << data.draw(st.integers(0, 7))
    try:
        found = read_listing(KEY, head, [*(text for other, text in rows.items() if other != name), bytes(value)], None)
    except ValueError:
        return
    assert [one.text for one in found.rows] == [one.text for one in FIRST.rows]
