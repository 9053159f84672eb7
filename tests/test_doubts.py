"""What an event makes doubtful, and for how long."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.contract import MEDIA_TYPES, STATUSES, TERMINAL_STATUSES
from proxy.known import completion
from proxy.known.completion import Completion, Origin
from proxy.known.doubts import GENERATIONS, TRAITS, Doubts
from proxy.questions.query import ListQuery
from proxy.questions.question import Question, generation_question, page_question, queue_question

ID, OTHER = "0e8a1f64-0000-4000-8000-000000000001", "0e8a1f64-0000-4000-8000-000000000002"
DATA = (
    f'{{"generation_id": "{ID}", "status": "succeeded", "media_type": "video", "model": "veo-4", "url": "https://x"}}'
)
DONE = completion.read(DATA)
FAILED = completion.read(f'{{"generation_id":"{ID}","status":"failed","media_type":"video","error":"no credits"}}')


def page(credential: str = "default", **filters: object) -> Question:
    return page_question("c", ListQuery(**filters), credential=credential)  # type: ignore[arg-type]


def doubted(done: Completion, question: Question) -> bool:
    doubts = Doubts(60)
    doubts.add("default", done, 100.0)
    return doubts.since(question) == 100.0


@pytest.mark.parametrize(
    ("question", "by_success", "by_failure"),
    [
        (page(), True, True),
        (page(namespace="ox", page=7, repo="r", folder="f"), True, True),
        (page(status="succeeded"), True, False),
        (page(status="failed"), False, True),
        (page(status="cancelled"), False, False),
        (page(status="processing"), True, True),
        (page(status="queued"), True, True),
        (page(media_type="video"), True, True),
        (page(media_type="image"), False, False),
        (page(model="veo-4"), True, True),
        (page(model="kling-3"), False, True),  # a failure names no model
        (page("farm"), False, False),
        (queue_question("c", ListQuery()), True, True),
        (queue_question("c", ListQuery(media_type="image")), False, False),
        (queue_question("c", ListQuery(status="failed")), False, True),
        (generation_question("c", "generation", ID), True, True),
        (generation_question("c", "queued", ID), True, True),
        (generation_question("c", "generation", OTHER), False, False),
        (generation_question("c", "generation", ID, credential="farm"), False, False),
    ],
)
def test_an_event_makes_doubtful_only_what_it_can_have_changed(
    question: Question, by_success: bool, by_failure: bool
) -> None:
    assert doubted(DONE, question) == by_success
    assert doubted(FAILED, question) == by_failure


FILTERS = st.fixed_dictionaries(
    {
        "status": st.none() | st.sampled_from(STATUSES),
        "media_type": st.none() | st.sampled_from(MEDIA_TYPES),
        "model": st.none() | st.sampled_from(["veo-4", "kling-3"]),
        "namespace": st.none() | st.just("ox"),
    }
)


@given(
    FILTERS,
    st.sampled_from(sorted(TERMINAL_STATUSES)),
    st.sampled_from(MEDIA_TYPES),
    st.sampled_from(["veo-4", "kling-3"]),
)
def test_no_listing_that_changes_is_missed(filters: dict[str, str | None], status: str, media: str, model: str) -> None:
    """The row was in a listing before or is in it after, exactly if its filters match."""
    fits = all(filters[name] in (None, value) for name, value in (("media_type", media), ("model", model)))
    changed = fits and filters["status"] in (None, "queued", "processing", status)
    done = Completion(ID, status, media, model, "")
    assert doubted(done, page_question("c", ListQuery(**filters))) == changed  # type: ignore[arg-type]
    unnamed = Completion(ID, status, media, None, "")
    assert doubted(unnamed, page_question("c", ListQuery(**filters))) or not changed  # type: ignore[arg-type]


def test_where_the_namespace_is_known_others_are_not_doubted() -> None:
    doubts = Doubts(60)
    doubts.add("default", FAILED, 100.0, Origin("ox", "veo-4"))
    assert doubts.since(page(namespace="ox")) == 100.0
    assert doubts.since(page()) == 100.0, "it may be the token's own"
    assert doubts.since(page(namespace="bessie")) == 0.0
    assert doubts.since(page(namespace="ox", model="kling-3")) == 0.0
    assert doubts.since(queue_question("c", ListQuery(namespace="bessie"))) == 0.0
    assert doubts.since(generation_question("c", "generation", ID)) == 100.0


def test_a_gap_makes_everything_of_the_credential_doubtful() -> None:
    doubts = Doubts(60)
    doubts.add("default", DONE, 100.0)
    doubts.add_all("default", 101.0)
    assert doubts.since(page(status="cancelled")) == 101.0
    assert doubts.since(page()) == 101.0
    assert doubts.since(page("farm")) == 0.0
    doubts.add_all("default", 90.0)
    assert doubts.since(page()) == 101.0, "it never goes back"


def test_later_events_count() -> None:
    doubts = Doubts(60)
    doubts.add("default", DONE, 100.0)
    assert doubts.since(page()) == 100.0
    doubts.add("default", FAILED, 105.0)
    doubts.add("default", DONE, 103.0)
    assert (doubts.since(page()), doubts.since(page(status="succeeded"))) == (105.0, 103.0)


COMPLETIONS = st.builds(
    Completion,
    st.sampled_from([ID, OTHER]),
    st.sampled_from(sorted(TERMINAL_STATUSES)),
    st.sampled_from(MEDIA_TYPES),
    st.none() | st.sampled_from(["veo-4", "kling-3"]),
    st.just(""),
)
EVENTS = st.tuples(st.none() | COMPLETIONS, st.integers(1, 20).map(float))
QUESTIONS = st.builds(lambda filters: page_question("c", ListQuery(**filters)), FILTERS) | st.sampled_from(
    [generation_question("c", "generation", ID), generation_question("c", "queued", OTHER)]
)


@given(st.lists(EVENTS | QUESTIONS, max_size=30))
def test_what_is_remembered_changes_nothing(steps: list[tuple[Completion | None, float] | Question]) -> None:
    """Each question is answered as if it were the first."""
    doubts = Doubts(1000)
    events: list[tuple[Completion | None, float]] = []
    for step in steps:
        if isinstance(step, Question):
            new = Doubts(1000)
            for done, at in events:
                note(new, done, at)
            assert doubts.since(step) == new.since(step)
        else:
            events.append(step)
            note(doubts, *step)


def note(doubts: Doubts, done: Completion | None, at: float) -> None:
    if done is None:
        doubts.add_all("default", at)
    else:
        doubts.add("default", done, at)


def test_too_many_doubts_become_one_of_everything() -> None:
    doubts = Doubts(1000)
    for number in range(GENERATIONS + 1):
        doubts.add("default", Completion(f"g{number}", "failed", "video", None, ""), number / 100)
    assert doubts.since(page(status="cancelled")) == GENERATIONS / 100
    for number in range(TRAITS + 1):
        doubts.add("default", Completion(ID, "failed", None, f"m{number}", ""), 200.0 + number)
    assert doubts.since(page(status="cancelled")) == 200.0 + TRAITS


def test_old_doubts_make_room() -> None:
    doubts = Doubts(60)
    for number in range(3 * TRAITS):
        doubts.add("default", Completion(ID, "failed", None, f"m{number}", ""), float(number))
    assert doubts.since(page(status="cancelled")) == 0.0
    assert doubts.since(page(model=f"m{3 * TRAITS - 50}")) == 3 * TRAITS - 50
    assert len(doubts._by_credential["default"].listings) <= TRAITS


@pytest.mark.parametrize(
    "data",
    [
        "",
        "[]",
        "{}",
        '{"generation_id": "x", "status": "failed"}',
        f'{{"generation_id": "{ID}"}}',
        f'{{"generation_id": "{ID}", "status": 7}}',
        f'{{"generation_id": "{ID}/../..", "status": "failed"}}',
        "[" * 100_000,
    ],
)
def test_what_names_no_generation_is_no_event(data: str) -> None:
    with pytest.raises(ValueError, match="names no generation"):
        completion.read(data)


def test_an_event_of_any_status_is_read() -> None:
    assert Completion(ID, "succeeded", "video", "veo-4", DATA) == DONE
    assert FAILED.model is None
    upper = completion.read(f'{{"generation_id":"{ID.upper()}","status":"exploded","more":[1]}}')
    assert upper.generation_id == ID
    assert upper.status == "exploded"
    assert upper.media_type is None
    assert doubted(upper, page(status="processing"))
    assert not doubted(upper, page(status="failed"))
