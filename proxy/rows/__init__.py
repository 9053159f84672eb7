"""Listings as rows: what an answer shows of its listing, what that explains, and pages composed of known rows.

Decisions, without I/O: ``reading`` an answer → ``listing`` learns from it → ``composing`` pages; ``windows`` says which
question to the hub serves the most.
"""
