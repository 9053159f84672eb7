"""How fast: hits, misses, Redis, memory, side by side with others in one run. See ``__main__``."""
