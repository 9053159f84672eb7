"""What callers ask: the strict ``query``, the ``question`` that it is, and which are in demand.

``watermarks`` are times before which answers to some of them no longer count.
"""
