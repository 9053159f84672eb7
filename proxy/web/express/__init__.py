"""The express lane, this proxy's fast path: what is answered by a request's bytes alone, in front of the framework.

``request_cache`` remembers what bytes meant (``known_request``), ``lane`` looks whether that may be answered at once,
``wire`` writes the answer.
"""
