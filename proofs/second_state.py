"""The states of ``second_identities`` as terms of Z3.

A state is one of ``spec/second/AsyncResourcePool.tla`` without its numbers: without the work that
is disowned, the limits in force, and the upkeep of the minimum size. Integers give the order of
arrival and the order in which resources became idle. Only their order has a meaning.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, ClassVar

import z3  # type: ignore[import-untyped]

from proofs.z3_state import OPEN, PHASES, Formula, Structure, Term

__all__ = [
    "CHECKING",
    "CLOSING_SLOT",
    "CREATING",
    "FREE",
    "HANDED",
    "HOLDING",
    "IDLE",
    "IN_USE",
    "OUT",
    "PHASE_NAMES",
    "PLACES",
    "PLACE_NAMES",
    "RESETTING",
    "TASKS",
    "TASK_NAMES",
    "WAITING",
    "SecondState",
]

PHASE_NAMES = ("open", "closing", "closed")
PLACE_NAMES = ("free", "creating", "checking", "idle", "inUse", "resetting", "closing")
TASK_NAMES = ("out", "waiting", "handed", "holding")

_PLACE, PLACES = z3.EnumSort("Place of the second", [f"at {name}" for name in PLACE_NAMES])
_TASK, TASKS = z3.EnumSort("Doing of the second", [f"is {name}" for name in TASK_NAMES])
FREE, CREATING, CHECKING, IDLE, IN_USE, RESETTING, CLOSING_SLOT = PLACES
OUT, WAITING, HANDED, HOLDING = TASKS

assert len(PHASES) == len(PHASE_NAMES)


@dataclass(frozen=True)
class SecondState(Structure):
    """A state as a value. Its methods return the next state, as in the specification."""

    phase: Term
    place: Callable[[Term], Term]  # of a slot
    task: Callable[[Term], Term]  # what a task does
    owns: Callable[[Term, Term], Formula]  # the task has the slot
    ticket: Callable[[Term], Term]  # the order in which waiters arrived
    tickets: Term  # the last ticket
    rank: Callable[[Term], Term]  # the order in which slots became idle
    ranks: Term  # the last rank
    old: Callable[[Term], Formula]  # max_age has passed
    stale: Callable[[Term], Formula]  # idle, and max_idle_time has passed
    trusted: Callable[[Term], Formula]  # idle, and check_after_idle has not passed
    retired: Callable[[Term], Formula]  # of an old generation

    SIGNATURE: ClassVar[dict[str, tuple[Any, ...]]] = {
        "phase": (OPEN.sort(),),
        "place": ("slot", _PLACE),
        "task": ("task", _TASK),
        "owns": ("task", "slot", z3.BoolSort()),
        "ticket": ("task", z3.IntSort()),
        "tickets": (z3.IntSort(),),
        "rank": ("slot", z3.IntSort()),
        "ranks": (z3.IntSort(),),
        "old": ("slot", z3.BoolSort()),
        "stale": ("slot", z3.BoolSort()),
        "trusted": ("slot", z3.BoolSort()),
        "retired": ("slot", z3.BoolSort()),
    }

    # Questions.

    def does(self, t: Term, *doings: Term) -> Formula:
        """Say that a task does one of these."""
        return z3.Or([self.task(t) == doing for doing in doings])

    def at(self, r: Term, *places: Term) -> Formula:
        """Say that a slot is at one of these places."""
        return z3.Or([self.place(r) == place for place in places])

    def fit(self, r: Term) -> Formula:
        """Say that a resource may be used again, as far as the pool can tell."""
        return z3.And(z3.Not(self.retired(r)), z3.Not(self.old(r)))

    # Changes.

    def move(self, those: Callable[[Term], Formula], place: Term) -> SecondState:
        """Move these slots to a place. They stay as old and as retired as they are."""
        return replace(
            self,
            place=lambda r: z3.If(those(r), place, self.place(r)),
            stale=lambda r: z3.And(self.stale(r), z3.Not(those(r))),
            trusted=lambda r: z3.And(self.trusted(r), z3.Not(those(r))),
        )

    def put(self, those: Callable[[Term], Formula], place: Term) -> SecondState:
        """Move these slots to a place where they have no resource that can be used again."""
        return replace(
            self.move(those, place),
            old=lambda r: z3.And(self.old(r), z3.Not(those(r))),
            retired=lambda r: z3.And(self.retired(r), z3.Not(those(r))),
        )

    def send(self, t: Term, doing: Term) -> SecondState:
        """Let a task do this, and have no slot. It keeps its ticket."""
        return replace(
            self,
            task=lambda u: z3.If(u == t, doing, self.task(u)),
            owns=lambda u, r: z3.And(u != t, self.owns(u, r)),
        )

    def join(self, t: Term) -> SecondState:
        """Let a task wait behind all others."""
        last = self.tickets + 1
        return replace(
            self.send(t, WAITING),
            ticket=lambda u: z3.If(u == t, last, self.ticket(u)),
            tickets=last,
        )

    def give(self, t: Term, doing: Term, r: Term) -> SecondState:
        """Let a task do this, and have this slot and no other."""
        sent = self.move(lambda s: s == r, IN_USE).send(t, doing)
        return replace(
            sent, owns=lambda u, s: z3.Or(z3.And(u == t, s == r), z3.And(u != t, self.owns(u, s)))
        )

    def rest(self, r: Term, trusted: Formula) -> SecondState:
        """Let a slot become idle, behind all others."""
        last = self.ranks + 1
        idle = self.move(lambda s: s == r, IDLE)
        return replace(
            idle,
            trusted=lambda s: z3.If(s == r, trusted, idle.trusted(s)),
            rank=lambda s: z3.If(s == r, last, self.rank(s)),
            ranks=last,
        )
