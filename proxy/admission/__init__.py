"""Who may ask the hub, and when: the budget that all replicas share, cooldowns and the breaker.

``shield`` is what ``fetch`` takes its turns at: in Redis (``shared_gate``), else by this process' own ``gate``, which
has the rules.
"""
