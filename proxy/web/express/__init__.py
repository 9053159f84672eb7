"""The express lane: what is answered by a request's bytes alone, in front of the framework.

``recollection`` remembers what bytes meant (``heard``), ``lane`` looks whether that may be answered at once, ``wire``
writes the answer.
"""
