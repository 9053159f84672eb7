"""An answer of the hub as it is kept, and what it is good for. Decisions, without I/O.

A ``page`` is kept with what judging it needs: when its ``links`` die, and the ``record`` of its listing, which says
whether it is of the latest moment. ``freshness`` judges both, ``directives`` what a caller thinks of that; ``outcome``
is what the caller is told.
"""
