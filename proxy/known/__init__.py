"""What this process knows of listings and their pages, from the hub, from Redis and from the news of other replicas.

``knowledge`` is what ``pages`` and ``fetch`` ask and tell: ``memory`` and Redis as one. ``judging`` says what of it may
be served, ``trust`` whether memory is as good as Redis, ``rows`` what is known of a listing's rows (``listings``);
``doubts`` and ``invalidations``, what no longer counts, or may not be shown (by all replicas' ``agreed_watermarks``).

A purge: ``web/admin`` → ``agreed_watermarks`` → a script in Redis, which tells all replicas (``core`` says who is told
which news) → ``judging``, for which nothing of before counts; nothing is looked for, or deleted.
"""
