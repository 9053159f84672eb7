"""Benchmarks: each a command of its own, comparing side by side in one run."""
