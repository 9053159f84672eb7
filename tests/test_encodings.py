"""Accept-Encoding, and bodies in the codings that it may ask for."""

from __future__ import annotations

import asyncio
import gzip

import httpx
import pytest
import zstandard

from proxy.answer.encodings import MIN_BODY, Coding, encode, preferred_coding, variant_etag, worthwhile_coding
from proxy.answer.page import Page
from proxy.answer.record import Record, Stamp
from proxy.known.encoder import Encoder
from proxy.known.memory import OVERHEAD, Memory
from proxy.questions.query import ListQuery
from proxy.questions.question import page_question
from proxy.tasks.off_loop import OFF_LOOP_BYTES
from tests.support import LIST, rig

STAMP = Stamp(1, None)
QUESTION = page_question("c", ListQuery(namespace="ox"))


def page(size: int, key: str = "k") -> Page:
    return Page(key, b'{"a": 1} ' * (size // 9 + 1), '"abc"', 100.0, STAMP, settled=True, dead_at=None)


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ([], None),
        ([""], None),
        (["gzip"], "gzip"),
        (["GZip"], "gzip"),
        (["x-gzip"], "gzip"),
        (["zstd"], "zstd"),
        (["gzip, deflate, br, zstd"], "zstd"),
        (["gzip", "zstd"], "zstd"),
        (["gzip;q=1, zstd;q=0.5"], "gzip"),
        (["gzip;q=0.5, zstd;q=0.5"], "zstd"),
        (["gzip ; q=0.5 , zstd;q=0"], "gzip"),
        (["gzip;q=0"], None),
        (["gzip;q=0.000"], None),
        (["gzip;q=0.001"], "gzip"),
        (["*"], "gzip"),
        (["*;q=0"], None),
        (["gzip;q=0, *"], None),
        (["zstd, *;q=0"], "zstd"),
        (["identity"], None),
        (["identity, gzip;q=0.9"], None),
        (["identity;q=0.5, gzip;q=0.9"], "gzip"),
        (["identity, gzip"], "gzip"),
        (["identity;q=0"], None),
        (["identity;q=0, gzip;q=0.1"], "gzip"),
        (["br"], None),
        (["gzip;q=2"], None),
        (["gzip;q=-1"], None),
        (["gzip;q=0.1234"], None),
        (["gzip;level=1"], None),
        (["gzip deflate"], None),
        (["gzip, ,\t"], "gzip"),
    ],
)
def test_the_coding_that_a_caller_likes_best_is_chosen(values: list[str], expected: Coding | None) -> None:
    assert preferred_coding(values) == expected


def test_small_bodies_stay_as_they_are() -> None:
    assert worthwhile_coding("gzip", b"x" * (MIN_BODY - 1)) is None
    assert worthwhile_coding("gzip", b"x" * MIN_BODY) == "gzip"


@pytest.mark.parametrize("size", [0, 1, MIN_BODY, OFF_LOOP_BYTES + 1, 3_000_000])
def test_bodies_come_back_byte_for_byte(size: int) -> None:
    body = page(size).body
    assert gzip.decompress(encode(body, "gzip")) == body
    frame = encode(body, "zstd")
    assert zstandard.ZstdDecompressor().decompress(frame) == body
    parameters = zstandard.get_frame_parameters(frame)
    assert parameters.content_size == len(body)
    assert parameters.window_size <= 8 * 1024 * 1024, "RFC 9659"
    assert parameters.has_checksum


def test_each_coding_has_a_tag_of_its_own() -> None:
    assert [variant_etag('"abc"', coding) for coding in (None, "gzip", "zstd")] == ['"abc"', '"abc-gzip"', '"abc-zstd"']


@pytest.mark.parametrize("size", [2000, OFF_LOOP_BYTES + 1])
async def test_a_variant_is_made_once(size: int, variants_made: list[Coding]) -> None:
    encoder, one = Encoder(Memory(10**9)), page(size)
    bodies = await asyncio.gather(*(encoder.body(QUESTION, one, "gzip") for _ in range(20)))
    assert len(variants_made) == 1
    assert {gzip.decompress(body) for body in bodies} == {one.body}
    assert await encoder.body(QUESTION, one, None) is one.body
    assert await encoder.body(QUESTION, one, "gzip") is bodies[0]


async def test_another_copy_of_the_page_is_given_the_variant_too(variants_made: list[Coding]) -> None:
    """As two looks into Redis may have read it."""
    encoder, copies = Encoder(Memory(10**9)), [page(OFF_LOOP_BYTES + 1) for _ in range(2)]
    await asyncio.gather(*(encoder.body(QUESTION, one, "gzip") for one in copies))
    for one in copies:
        assert await encoder.body(QUESTION, one, "gzip") is copies[0].variants["gzip"]
    assert len(variants_made) == 1


async def test_variants_count_like_bodies_and_go_with_their_page() -> None:
    memory = Memory(100_000)
    memory.learn("l", Record(STAMP, 0.0, 100.0, 100.0))
    pages = [page(30_000, f"k{number}") for number in range(3)]
    for one in pages:
        memory.put("l", one)
    assert memory.bytes == sum(len(one.body) + OVERHEAD for one in pages)
    before = memory.bytes
    variant = await Encoder(memory).body(QUESTION, pages[2], "gzip")
    assert memory.bytes == before + len(variant)
    memory.enrich(pages[2], "zstd", bytes(20_000))
    assert (memory.get("k0"), memory.evictions) == (None, 1)
    memory.forget("l")
    assert memory.bytes == 0


async def test_a_variant_of_a_page_that_is_gone_costs_nothing() -> None:
    memory = Memory(100_000)
    assert gzip.decompress(await Encoder(memory).body(QUESTION, page(5000), "gzip")) == page(5000).body
    assert memory.bytes == 0


async def test_an_answer_in_a_coding_decodes_to_the_same_bytes() -> None:
    async with rig() as it:
        plain = await it.get(**{"accept-encoding": "identity"})
        assert "content-encoding" not in plain.headers
        for coding in ("gzip", "zstd"):
            encoded = await it.get(**{"accept-encoding": coding})
            assert encoded.headers["content-encoding"] == coding
            assert encoded.headers["etag"] == variant_etag(plain.headers["etag"], coding)
            assert encoded.headers["vary"] == plain.headers["vary"]
            assert int(encoded.headers["content-length"]) < len(plain.content) / 4
            assert encoded.content == plain.content, "httpx has decoded it"
            head = await it.caller.head(LIST, headers={"accept-encoding": coding})
            assert head.headers["content-length"] == encoded.headers["content-length"]
            assert head.content == b""


async def test_a_tag_of_any_variant_is_known_and_comes_back() -> None:
    async with rig() as it:
        etag = (await it.get()).headers["etag"].replace("-zstd", "").replace("-gzip", "")
        for coding in ("identity", "gzip", "zstd"):
            for known in (etag, variant_etag(etag, "gzip"), variant_etag(etag, "zstd")):
                answer = await it.get(**{"accept-encoding": coding, "if-none-match": f'"x", W/{known}'})
                assert (answer.status_code, answer.headers["etag"]) == (304, known)
                assert not {"content-encoding", "content-length", "content-type"} & set(answer.headers)
            answer = await it.get(**{"accept-encoding": coding, "if-none-match": variant_etag(etag, "br")})  # type: ignore[arg-type]
            assert answer.status_code == 200
        answer = await it.get(**{"accept-encoding": "gzip", "if-none-match": "*"})
        assert (answer.status_code, answer.headers["etag"]) == (304, variant_etag(etag, "gzip"))


async def test_errors_are_not_encoded() -> None:
    async with rig() as it:
        answer: httpx.Response = await it.get("page=0", **{"accept-encoding": "gzip"})
        assert answer.status_code == 400
        assert "content-encoding" not in answer.headers
