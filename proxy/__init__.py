"""A caching proxy in front of the Oxen hub's read API for generations.

The way of a request:

``web/wire`` and ``web/express`` answer at once what they know by its bytes and have at hand; else ``web/edge`` gives
it an id → ``web/asking`` finds out who asks, has ``web/routes`` and ``query`` read a ``question`` → ``pages`` answers
it from what is in ``knowledge``: ``memory``, then ``shared`` (Redis); else ``fetch``, in one flight for all who ask
the same, takes its turn at the ``shield`` and asks the ``hub``, whose answer moves the ``record`` and the rows of its
``listing`` forward;
``freshness`` judges what may be served, ``composing`` makes pages of rows → ``web/answers`` makes HTTP of it,
``web/problems`` of what went wrong.
"""

from importlib.metadata import version

__version__ = version("generations-proxy")
