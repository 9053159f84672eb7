"""The hub: its client with its precautions, its stream of events, its faults and its credentials.

The hub's *facts*, as far as they are known; elsewhere they are cited as "hub facts: <what>".

order
    A listing is newest first, and its rows keep their order. Not promised, so checked at each answer.
rows
    A terminal row (succeeded, failed, cancelled) is kept and no longer changes, but may be charged late: ``cost`` and
    ``total_cost`` change a little then. Any other status, also one that no contract lists, is in flight. The request's
    parameters are merged into the row as they came: further members of any JSON type, unlisted ones at any place.
links
    ``result_url`` is presigned afresh for each answer, and expires (``X-Amz-Date`` with ``X-Amz-Expires``, or
    ``Expires``).
a listing moves
    A new row shifts every later one by one, so that a page of terminal rows changes too: by its place, not its rows.
totals
    ``total_entries`` and ``total_cost`` are of the whole filter set, and come with each of its pages.
limits
    There are some (429), their numbers are unknown. ``Retry-After`` may be absent, seconds or an HTTP date.
headers
    Answers are ``max-age=0, private, must-revalidate``, which does not say how long they are good for. They may set a
    cookie.
errors
    ``{"error": {"type", "title"}, "status", "status_message"}``.
events
    ``GET /api/events`` has neither buffer nor replay, and a comment every 15 s. A completion is told once, as
    ``media_generation_completed``. None is told of a new generation, a start, a cancellation, or another member's work
    in a shared namespace. No event names a namespace; one of a failure names no model.
"""
