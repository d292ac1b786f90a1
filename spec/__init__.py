"""The specification: TLA+ modules, their models, and what TLC must say about them.

``python -m spec`` checks all of it.
"""
