"""The guarantees and the rules, with one name each for specification, code, tests and table.

The list itself is in ``_machine/guarantees.py``, beside the predicates. Add a new guarantee there
first. Then `places.differences` lists where its name is missing.
"""

from __future__ import annotations

from nodetool.concurrency._machine.guarantees import GUARANTEES, RULES, Guarantee

__all__ = ["GUARANTEES", "RULES", "Guarantee"]
