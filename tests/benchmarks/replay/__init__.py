"""Hub requests against staleness, for a living world: ``python -m tests.benchmarks.replay``.

One world, one schedule of callers, several systems between them at the same time: the hub asked directly, nginx's
``proxy_cache`` and Varnish at several TTLs (both with one request for many callers, and stale answers while they ask),
and the proxy. Each system has a port of the simulated hub for itself, so that what it costs is counted apart.

Staleness of an answer: now minus the first change of its page (rows, statuses, costs, totals) that it misses; 0 if
it misses none. A walk (pages 1…6, one every 0.2 s) is *back in time* if a page is of an older moment of the listing
than a page before it, and *torn* if it shows a row twice.
"""
