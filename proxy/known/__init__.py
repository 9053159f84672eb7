"""What this process knows of listings and their pages, from the hub, from Redis and from the news of other replicas.

``knowledge`` is what ``pages`` and ``fetch`` ask and tell: ``memory`` and Redis as one. ``judging`` says what of it may
be served, ``trust`` whether memory is as good as Redis, ``rows`` what is known of a listing's rows (``listings``);
``doubts`` and ``invalidations``, what no longer counts, or may not be shown (by all replicas' ``agreed_watermarks``).
"""
