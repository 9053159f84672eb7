"""The hub: its client with its precautions, its stream of events, its faults and its credentials."""
