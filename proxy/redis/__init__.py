"""Redis, and what all replicas share through it. The only package that knows the library.

``link`` makes Redis' faults nobody's errors; ``shared`` has the pages, records, rows and leases, ``stored`` how they
are written; ``news`` tells all replicas what one has learned. What all must decide as one is Lua (``lua``).
"""
