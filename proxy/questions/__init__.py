"""What callers ask: the strict ``query``, the ``question`` that it is, and which are in demand, or have been purged."""
