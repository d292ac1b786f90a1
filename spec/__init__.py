"""The specification: TLA+ modules, their models, and the verdicts that TLC must give.

``python -m spec`` checks all models.
"""
