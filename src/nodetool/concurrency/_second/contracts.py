"""The machine of the second semantics with contracts, made from the tables of guarantees."""

from __future__ import annotations

from typing import Any

from nodetool.concurrency._machine.contracts import Tables, with_contracts

from .guarantees import EVERY_STEP, STATE_PREDICATES, STEP_PREDICATES, before
from .machine import PoolMachine

TABLES = Tables(STATE_PREDICATES, EVERY_STEP, STEP_PREDICATES, before)


def checked(machine: type[PoolMachine[Any]] = PoolMachine) -> type[Any]:
    """Return a subclass of the machine whose steps check their contracts."""
    if machine not in _checked:
        _checked[machine] = with_contracts(machine, TABLES)
    return _checked[machine]


_checked: dict[type[Any], type[Any]] = {}
