"""Walks of the machine along the specification's graphs, and what they find.

A walk tells worlds apart by their state, and by the order of the next limits. The walks of
`WORLDS` tell worlds apart by everything that the machine keeps: a graph's state shows no removed
entry, no heap and no deadline. These walks show that none of them makes a difference, in models
that are small enough.

python -m proofs.graph_walks          compare all models, without TLC: a few minutes
python -m proofs.graph_walks Single   compare some models
"""

from __future__ import annotations

import sys
import time
from collections import Counter
from collections.abc import Mapping
from typing import Any

from nodetool.concurrency._machine.guarantees import (
    EVERY_STEP,
    STATE_PREDICATES,
    STEP_PREDICATES,
    before,
)
from nodetool.concurrency._machine.machine import PoolMachine
from nodetool.concurrency.verify._graph import FROZEN, Graph
from nodetool.concurrency.verify._walk import Comparison, Move, World, compare, expand

__all__ = ["UNTAKEN", "WORLDS", "broken_on_edges", "check_contents", "mismatch"]

UNTAKEN = {"Deep": 228, "Aging": 2}
"""How many edges of a model no clock takes. On each of them time passes. Other models have none."""
