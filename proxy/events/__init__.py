"""The hub's events: one replica of all subscribes, all keep the same log, and callers listen.

::

    hub.stream → hub_subscriber (in whichever process subscription lets) → log (shared_log: in Redis) → feed → callers

``events`` puts it together; what an event says, and makes doubtful, is of ``known``.
"""
