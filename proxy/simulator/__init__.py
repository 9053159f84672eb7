"""A hub to run against: for the demo, the tests and the benchmarks alike.

It behaves as the real hub is known to behave, with a living, seeded world behind it, and fails on demand.
Nothing of the proxy proper is used here, so that neither can hide a fault of the other.
"""

from proxy.simulator.app import Simulator
from proxy.simulator.control import Controlled
from proxy.simulator.faults import Fault
from proxy.simulator.parameters import PLAIN_PROMPTS
from proxy.simulator.world import World

__all__ = ["PLAIN_PROMPTS", "Controlled", "Fault", "Simulator", "World"]
