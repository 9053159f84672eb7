"""A caching proxy in front of the Oxen hub's read API for generations.

The way of a request:

``web/express`` answers at once what it knows by its bytes and has at hand; else ``web/edge`` gives it an id →
``web/asking`` finds out who asks (``callers``), has ``web/routes`` and ``questions`` read the question → ``pages``
answers it from what is ``known``, in memory, then in ``redis``; else ``fetch``, in one flight for all who ask the same,
has ``upstream`` take a turn at the shield (``admission``) and ask the ``hub``; the answer moves the listing's record
and its ``rows`` forward; ``answer/freshness`` judges what may be served, ``rows/composing`` makes pages of rows →
``web/answers`` makes HTTP of it, ``web/problems`` of what went wrong.
"""

from importlib.metadata import version
from typing import Final

NAME: Final = "generations-proxy"
"""Of the distribution and its command, and by which this program speaks of itself to others."""
__version__ = version(NAME)
