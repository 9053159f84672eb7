"""When the links in an answer die."""

from __future__ import annotations

import base64
import json
import re
import sys
from collections.abc import Callable
from datetime import UTC, datetime
from itertools import pairwise

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from proxy.answer.links import IMPLAUSIBLE, MANY, UNSURE, dead_at, sent, without_signatures

NOW = 1_790_000_000.0


def stamp(at: float) -> str:
    return datetime.fromtimestamp(at, UTC).strftime("%Y%m%dT%H%M%SZ")


def s3(at: float, lifetime: int, vendor: str = "Amz") -> str:
    return f"https://b.example/k.png?X-{vendor}-Algorithm=A&X-{vendor}-Date={stamp(at)}&X-{vendor}-Expires={lifetime}&X-{vendor}-Signature=0f"


def cloudfront(until: int, resource: str = "*") -> str:
    condition = {"DateLessThan": {"AWS:EpochTime": until}}
    policy = json.dumps({"Statement": [{"Resource": resource, "Condition": condition}]})
    text = base64.b64encode(policy.encode()).decode().translate(str.maketrans("+=/", "-_~"))
    return f"https://d.example/k.mp4?Policy={text}&Signature=x&Key-Pair-Id=K"


ALL_LETTERS = cloudfront(int(NOW) + 1000, "https://d.example/~>?>?>?>?")
"""A policy whose base64 has all three letters that CloudFront writes in its own way."""


@pytest.mark.parametrize(
    ("link", "expected"),
    [
        (s3(NOW, 3600), NOW + 3600 - 60),
        (s3(NOW, 100), NOW + 100 - 20),  # the margin is at most a fifth of the lifetime
        (s3(NOW - 50, 100), NOW + 50 - 20),
        (s3(NOW, 3600, "Goog"), NOW + 3540),
        (f"https://x.example/a?X-Amz-Expires=60&X-Amz-Date={stamp(NOW)}", NOW + 48),  # any order
        (f"https://x.example/a?AWSAccessKeyId=A&Expires={int(NOW) + 600}&Signature=s", NOW + 540),
        (f"https://x.example/a?Expires={int(NOW) + 100}", NOW + 80),
        (cloudfront(int(NOW) + 1000), NOW + 940),
        (cloudfront(int(NOW) + 100), NOW + 80),
        (ALL_LETTERS, NOW + 940),
        (s3(NOW - 3560, 3600), NOW + 40 - 8),  # within its margin when it came: a fifth of what was left
        (s3(NOW - 3540, 3600), NOW + 60 - 12),
        (s3(NOW - 95, 100), NOW + 5 - 1),
        (s3(NOW - 7200, 3600), None),  # dead when it came: cannot get worse
        ("https://x.example/a?X-Amz-Expires=60", None),  # no date, no expiry
        ("https://x.example/a?X-Amz-Date=20269923T999999Z&X-Amz-Expires=60", None),
        ("Set-Cookie: Expires=Wed, 21 Oct 2026", None),
        ("https://x.example/a?Policy=!!!", None),
        ("https://x.example/a?Policy=AAAA", None),
        ("https://x.example/plain.png", None),
        ("Expires=" + "9" * 40, None),
    ],
)
@pytest.mark.parametrize("where", ["top", "nested", "second row"])
def test_a_link_in_every_form_dies_a_margin_before_it_expires(link: str, expected: float | None, where: str) -> None:
    row: dict[str, object] = {"result_url": link} if where == "top" else {"a": {"b": [1, {"c": link}]}}
    rows = [{"result_url": None}, row] if where == "second row" else [row]
    for escape_ampersand in (False, True):
        body = json.dumps({"generations": rows})
        if escape_ampersand:
            body = body.replace("&", "\\u0026").replace("=", "\\u003d")
        assert dead_at(body.encode(), NOW) == expected


@pytest.mark.parametrize("padding", ["", "_", "__", "___"])
@pytest.mark.parametrize("resource", ["*", "**", "***"])
def test_a_policy_is_read_whatever_its_padding(resource: str, padding: str) -> None:
    link = re.sub("_*&Signature", f"{padding}&Signature", cloudfront(int(NOW) + 1000, resource))
    assert dead_at(json.dumps({"url": link}).encode(), NOW) == NOW + 940


def test_the_earliest_counts() -> None:
    body = json.dumps([s3(NOW, 3600), s3(NOW, 600), f"https://x/?Expires={int(NOW) + 5000}", s3(NOW - 9999, 60)])
    assert dead_at(body.encode(), NOW) == NOW + 540


def test_a_lifetime_before_its_date_is_read_for_each_link() -> None:
    """What stands around the word is the same for all then, but for the date, which comes after it."""
    place = "https://bucket.example/generations/a.png"
    links = [f"{place}?X-Amz-Expires=60&X-Amz-Date={stamp(NOW - ago)}" for ago in (0, 50, 0)]
    assert dead_at(json.dumps(links).encode(), NOW) == NOW + 10 - 2


def test_links_of_an_answer_without_white_space_have_a_date_each() -> None:
    """As the hub writes its answers: nothing but quotes stands between two strings then."""
    body = json.dumps([s3(NOW, 3600), s3(NOW - 300, 600)], separators=(",", ":"))
    assert dead_at(body.encode(), NOW) == NOW + 300 - 60


@pytest.mark.parametrize("between", [" ", "\n", "\t", " and\r\n"])
def test_links_in_one_string_have_a_date_each(between: str) -> None:
    """Read with the other's date, a living link would count as one that was dead when it came."""
    alive, dead = s3(NOW, 600), s3(NOW - 9999, 3600)
    for text in (dead + between + alive, alive + between + dead, dead + between + s3(NOW, 600, "Goog")):
        assert dead_at(json.dumps({"prompt": text}).encode(), NOW) == NOW + 540


def test_each_link_counts_however_much_it_looks_like_one_that_was_read() -> None:
    """What stands around the word is the same; what another one of these goes with may be further away."""
    place, alive, policy = "https://b.example/" + "a" * 40, s3(NOW, 600), cloudfront(int(NOW) + 600).partition("?")[2]
    other = s3(NOW - 9999, 3600) + "&x=" + "y" * 40 + alive.partition("Algorithm=A")[2]
    assert dead_at(json.dumps([other, alive]).encode(), NOW) == NOW + 540
    begin = f"{place}?X-Amz-Date={stamp(NOW - 9999)}&Expires=1&"
    assert dead_at(json.dumps([begin + policy[:40], begin + policy]).encode(), NOW) == NOW + 540


def test_links_that_nothing_stands_between_have_a_date_each() -> None:
    alive, dead = s3(NOW, 600), s3(NOW - 9999, 3600)
    for text in (f"{dead},{alive}", f"{alive}|{dead}", alive + dead, dead + alive):
        assert dead_at(json.dumps(text).encode(), NOW) == NOW + 540


PARTS = [f"X-Amz-Date={stamp(NOW - ago)}" for ago in (0, 50, 9999)] + [f"X-Goog-Date={stamp(NOW)}", "X-Amz-Date=2026"]
PARTS += [f"X-{vendor}-Expires={lifetime}" for vendor in ("Amz", "Goog") for lifetime in ("60", "600", "9" * 13, "")]
PARTS += [f"Expires={expiry}" for expiry in (1, int(NOW) + 30, int(NOW) + 9000, "9" * 13, "")]
PARTS += [cloudfront(int(NOW) + left).partition("?")[2] for left in (-5, 20, 5000)] + ["Policy=" + "A" * 60, "Policy="]
PARTS += ["&", "&", '"', '","', " ", r"\n", r"\\", r"\"", r"\u003d", r"\u0026", "X-Amz-", "X-", "7", "a" * 30]


def slowly(body: bytes) -> float | None:
    """What ``dead_at`` is, string by string and link by link: a lifetime goes with the dates next to it."""
    ends: list[float] = []
    for string in body.split(b'"'):
        for link in re.split(rb"\s|\\[fnrt]", string.replace(rb"\u003d", b"=")):
            said = re.findall(
                rb"X-(?:Amz|Goog)-Date=([0-9]{8}T[0-9]{6}Z)|X-(?:Amz|Goog)-Expires=([0-9]{1,12})(?![0-9])", link
            )
            pairs = [(one[0], other[1]) for one, other in pairwise(said)] + [(b[0], a[1]) for a, b in pairwise(said)]
            for date, lifetime in pairs:
                if date and lifetime:
                    left = datetime.strptime(date.decode(), "%Y%m%dT%H%M%S%z").timestamp() + float(lifetime) - NOW
                    margin = min(60.0, 0.2 * float(lifetime))
                    ends += [left - (margin if margin < left else 0.2 * left)] if left > 0 else []
            policies = re.findall(rb"Policy=([A-Za-z0-9_~=+/-]+)", link)
            said_by_policies = [
                re.findall(rb'"DateLessThan": {"AWS:EpochTime": ([0-9]+)}', decoded(one)) for one in policies
            ]
            plain = re.findall(rb"(?<!X-Amz-)(?<!X-Goog-)Expires=([0-9]{1,12})(?![0-9])", link)
            for until in [*plain, *(one for found in said_by_policies for one in found)]:
                left = float(until) - NOW
                ends += [left - min(60.0, 0.2 * left)] if left > 0 else []
    return NOW + min(ends) if ends else None


def decoded(policy: bytes) -> bytes:
    try:
        return base64.b64decode(policy.translate(bytes.maketrans(b"-_~", b"+=/")), validate=True)
    except ValueError:
        return b""


@given(st.lists(st.sampled_from(PARTS), max_size=60).map("".join), st.sampled_from([0, 1, 3, 256]))
@example(s3(NOW, 600) + '"' + s3(NOW, 60), 0)
@settings(max_examples=500)
def test_no_link_is_missed(text: str, many: int) -> None:
    """Whatever was read before is not read again, and where there is much of it, all is read at once."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("proxy.answer.links.MANY", many)
        assert dead_at(text.encode(), NOW) == pytest.approx(slowly(text.encode()), abs=1e-3)


FLOODS = [
    "Expires=1 ",
    "Expires=1&",
    '"Expires=1",',
    "X-Amz-Expires=1 ",
    "X-Amz-Expires=1&",
    r"Expires\u003d1 ",
    "Policy=A ",
]
FLOODS += [f"X-Amz-Date={stamp(NOW)}&", "X-Amz-", "Policy=" + "A" * 48 + '","', r"\\", " ", '"']


@pytest.mark.parametrize("flood", FLOODS)
def test_what_a_body_holds_many_of_is_read_at_once(flood: str) -> None:
    """A prompt of 16 MB took 6 to 12 seconds: each of these was looked at by itself, or each byte again and again."""
    calls = 0

    def count(_frame: object, event: str, _argument: object) -> None:
        nonlocal calls
        calls += event in ("call", "c_call")

    times = 1_000_000 // len(flood)
    body = f'{{"prompt": "Expires=1{flood * times}", "url": "{s3(NOW, 600)}"}}'.encode()
    sys.setprofile(count)
    try:
        dead = dead_at(body, NOW)
    finally:
        sys.setprofile(None)
    assert dead == NOW + 540
    words = body.count(b"Expires") + body.count(b"Policy")
    assert calls < 2 * words + 20 * MANY


def test_a_page_without_links_does_not_die() -> None:
    assert dead_at(b"", NOW) is None
    assert dead_at(b'{"generations": []}', NOW) is None


@given(st.lists(st.tuples(st.integers(-5000, 100), st.integers(1, 10_000)), max_size=8))
def test_never_later_than_any_living_link(links: list[tuple[int, int]]) -> None:
    """And never so soon that the answer is of no use: other rows of a page may hold links that are about to die."""
    body = json.dumps([s3(NOW + at, lifetime) for at, lifetime in links])
    alive = [NOW + at + lifetime for at, lifetime in links if at + lifetime > 0]
    result = dead_at(body.encode(), NOW)
    assert (result is None) == (not alive)
    assert result is None or NOW < result < min(alive)


@given(st.binary(max_size=400).map(lambda noise: noise + b"Expires=12" + noise + b"Policy=" + noise))
def test_any_bytes_are_survived(body: bytes) -> None:
    dead_at(body, NOW)


def test_links_live_as_long_where_times_are_ahead_of_their_own() -> None:
    """Also by more than a link lives for."""
    body = json.dumps([s3(NOW, 3600), f"https://x.example/a?Expires={int(NOW) + 600}"]).encode()
    for lead in (0.0, 120.0, 7200.0):
        assert dead_at(body, NOW + lead, lead) == NOW + 540 + lead
    assert dead_at(json.dumps(s3(NOW - 7200, 3600)).encode(), NOW + 7200, 7200) is None


AHEAD = 120.0
"""Seconds by which the time that pages are judged by is ahead of the machine's clock."""


@pytest.mark.parametrize(
    ("dated", "age", "sent_at", "now"),
    [
        (None, 0.0, 0.0, 0.0),
        (-0.9, 0.0, -0.9, 0.0),  # a Date has whole seconds
        (-1.9, 0.0, -1.9, 0.0),  # which some servers look at once a second
        (-30.0, 0.0, -30.0, UNSURE - 30),
        (30.0, 0.0, 30.0, 30.0),
        (3600.0, 0.0, 3600.0, 3600.0),
        (-50.0, 60.0, -50.0, 0.0),  # a cache's answer, or the machine's clock is ahead
        (-90.0, 60.0, -90.0, UNSURE - 30),
        (30.0, 60.0, 30.0, 30.0),
        (-IMPLAUSIBLE - 1, 0.0, 0.0, 0.0),
        (IMPLAUSIBLE + 1, 0.0, 0.0, 0.0),
        (-NOW, 0.0, 0.0, 0.0),
    ],
)
def test_the_hubs_date_says_what_time_it_is_by_its_clock(
    dated: float | None, age: float, sent_at: float, now: float
) -> None:
    """Times since the hub was asked, by the machine's clock."""
    lead, at = sent(NOW + AHEAD, AHEAD, None if dated is None else NOW + dated, age)
    assert NOW + AHEAD - lead == pytest.approx(NOW + now)
    assert at == NOW + sent_at


@pytest.mark.parametrize("dated", [0.0, 4.0, 9.0])
def test_a_hub_that_takes_its_time_shortens_no_links_life(dated: float) -> None:
    """Whenever it signs, and dates, its answer in that time."""
    assert sent(NOW, 0.0, NOW + dated, 0.0, 9.0) == (0.0, NOW + dated)


@pytest.mark.parametrize("off", [-7200.0, -30.0, 0.0, 30.0, 7200.0])
@pytest.mark.parametrize("lifetime", [20, 3600])
def test_links_live_by_the_clock_of_the_hub_that_signed_them(off: float, lifetime: int) -> None:
    """However far the machine's clock is off; a second or two too short, as a Date is no more exact."""
    asked_at, body = NOW + off, json.dumps([s3(NOW, lifetime), s3(NOW - 7200, 3600)]).encode()
    dead = dead_at(body, asked_at, *sent(asked_at, 0.0, NOW, 0.0))
    left = lifetime - min(60, lifetime / 5)
    assert dead is not None
    assert left - UNSURE <= dead - asked_at <= left


def test_links_of_a_caches_answer_die_when_they_do() -> None:
    """Also those that have died in the cache: they are not ones that were dead when the hub sent them."""
    for lifetime, left in ((600, 300 - 60), (100, -200)):
        dead = dead_at(json.dumps(s3(NOW - 300, lifetime)).encode(), NOW, *sent(NOW, 0.0, NOW - 300, 300.0))
        assert dead is not None
        assert dead - NOW <= left


LINKS = [
    lambda at: s3(at, 3600),
    lambda at: s3(at, 3600, "Goog"),
    lambda at: f"https://x.example/a?AWSAccessKeyId=A&Expires={int(at) + 600}&Signature={int(at)}s%2F=",
    lambda at: cloudfront(int(at) + 1000),
]


@pytest.mark.parametrize("link", LINKS)
@pytest.mark.parametrize("escaped", [False, True])
def test_answers_that_are_signed_afresh_are_the_same_unsigned(link: Callable[[float], str], escaped: bool) -> None:
    def answer(at: float, cost: str = "0.16", prompt: str = "who?") -> bytes:
        text = json.dumps({"cost": cost, "prompt": prompt, "result_url": link(at), "see": f"x {link(at)} y", "z": 1})
        return (text.replace("&", "\\u0026").replace("/", "\\/") if escaped else text).encode()

    assert without_signatures(answer(NOW)) == without_signatures(answer(NOW + 50)) != answer(NOW)
    assert without_signatures(answer(NOW)) != without_signatures(answer(NOW, cost="9.99"))
    assert without_signatures(answer(NOW)) != without_signatures(answer(NOW, prompt="who? me?"))


def test_what_no_link_signs_is_left_as_it_is() -> None:
    body = b'{"a": "what? this? and=that", "b": "https://x.example/?Expired=1&page=2", "c": "? Expires=9"}'
    assert without_signatures(body) == body


def test_unsigning_takes_time_in_proportion() -> None:
    body = b'"' + b"?" * 1_000_000 + b"Expires=" * 100_000 + b'"'
    assert len(without_signatures(body)) < len(body)
