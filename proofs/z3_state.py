"""The states of ``z3_identities`` as terms of Z3: tasks, slots, and which task has which slot."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cache
from itertools import combinations
from typing import Any, TypeAlias

import z3  # type: ignore[import-untyped]

__all__ = [
    "CHECKING",
    "CLOSED",
    "CLOSING",
    "CREATING",
    "FREE",
    "HANDED",
    "HOLDING",
    "IDLE",
    "IN_CLOSING",
    "IN_USE",
    "OPEN",
    "OUT",
    "PHASES",
    "PLACES",
    "RESETTING",
    "TASKS",
    "UNBOUNDED",
    "WAITING",
    "Formula",
    "State",
    "Term",
    "Universe",
]

Term: TypeAlias = z3.ExprRef
Formula: TypeAlias = z3.BoolRef

_PHASE, (OPEN, CLOSING, CLOSED) = z3.EnumSort("Phase", ["open", "closing", "closed"])
_PLACE, PLACES = z3.EnumSort("Place", ["free", "creating", "idle", "inUse", "in closing"])
_TASK, TASKS = z3.EnumSort(
    "Doing", ["out", "waiting", "handed", "checking", "holding", "resetting"]
)
PHASES = (OPEN, CLOSING, CLOSED)
FREE, CREATING, IDLE, IN_USE, IN_CLOSING = PLACES
OUT, WAITING, HANDED, CHECKING, HOLDING, RESETTING = TASKS


@dataclass(frozen=True)
class Universe:
    """The sorts of tasks and slots, and their elements if these are known."""

    task: Any
    slot: Any
    tasks: tuple[Term, ...] = ()
    slots: tuple[Term, ...] = ()

    @classmethod
    @cache
    def of(cls, tasks: int, slots: int) -> Universe:
        """Make sorts of so many elements, once, because Z3 allows each name only once."""
        of = f" of {tasks} and {slots}"
        task, some_tasks = z3.EnumSort(f"Task{of}", [f"task {n}{of}" for n in range(tasks)])
        slot, some_slots = z3.EnumSort(f"Slot{of}", [f"slot {n}{of}" for n in range(slots)])
        return cls(task, slot, tuple(some_tasks), tuple(some_slots))

    def every(self, claim: Callable[..., Formula], **variables: str) -> Formula:
        """Say that the claim holds for all elements. Each variable is a "task" or a "slot"."""
        return self._quantified(claim, variables, z3.ForAll, z3.And)

    def some(self, claim: Callable[..., Formula], **variables: str) -> Formula:
        """Say that the claim holds for some elements. Each variable is a "task" or a "slot"."""
        return self._quantified(claim, variables, z3.Exists, z3.Or)

    def _quantified(self, claim: Any, variables: dict[str, str], binder: Any, join: Any) -> Formula:
        (name, sort), *rest = variables.items()
        elements = self.tasks if sort == "task" else self.slots

        def inner(element: Term) -> Formula:
            if not rest:
                return claim(element)
            return self._quantified(
                lambda *others: claim(element, *others), dict(rest), binder, join
            )

        if elements:
            return join([inner(element) for element in elements])
        bound = z3.FreshConst(self.task if sort == "task" else self.slot, name)
        return binder([bound], inner(bound))

    def in_order(
        self, taken: Callable[[Term], Formula], free: Callable[[Term], Formula]
    ) -> Formula:
        """Say that the lowest free slots are taken first, if the elements are known."""
        pairs = combinations(self.slots, 2)
        return z3.And([z3.Implies(z3.And(taken(b), free(a)), taken(a)) for a, b in pairs])


UNBOUNDED = Universe(z3.DeclareSort("Task"), z3.DeclareSort("Slot"))


@dataclass(frozen=True)
class State:
    """A state as a value. Its methods return the next state, as in the specification."""

    phase: Term
    place: Callable[[Term], Term]  # of a slot
    task: Callable[[Term], Term]  # what a task does
    owns: Callable[[Term, Term], Formula]  # the task has the slot
    retired: Callable[[Term], Formula]  # the slot is of an old generation

    @classmethod
    def named(cls, universe: Universe, prime: str = "") -> State:
        """Make a state of unknowns."""
        t, s, boolean = universe.task, universe.slot, z3.BoolSort()
        return cls(
            z3.Const("phase" + prime, _PHASE),
            z3.Function("place" + prime, s, _PLACE),
            z3.Function("task" + prime, t, _TASK),
            z3.Function("owns" + prime, t, s, boolean),
            z3.Function("retired" + prime, s, boolean),
        )

    def where(self, condition: Formula, other: State) -> State:
        """Make this state if the condition holds, else the other."""
        return State(
            z3.If(condition, self.phase, other.phase),
            lambda s: z3.If(condition, self.place(s), other.place(s)),
            lambda t: z3.If(condition, self.task(t), other.task(t)),
            lambda t, s: z3.If(condition, self.owns(t, s), other.owns(t, s)),
            lambda s: z3.If(condition, self.retired(s), other.retired(s)),
        )

    def put(self, those: Callable[[Term], Formula], place: Term) -> State:
        """Move those slots to the place, which is neither idle nor in use."""
        return replace(
            self,
            place=lambda s: z3.If(those(s), place, self.place(s)),
            retired=lambda s: z3.And(self.retired(s), z3.Not(those(s))),
        )

    def send(self, t: Term, doing: Term) -> State:
        """Let the task do this, and have no slot."""
        return replace(
            self,
            task=lambda u: z3.If(u == t, doing, self.task(u)),
            owns=lambda u, s: z3.And(u != t, self.owns(u, s)),
        )

    def give(self, t: Term, doing: Term, r: Term) -> State:
        """Let the task do this, and have this slot and no other."""
        sent = self.send(t, doing)
        return replace(
            sent,
            place=lambda s: z3.If(s == r, IN_USE, self.place(s)),
            owns=lambda u, s: z3.Or(z3.And(u == t, s == r), sent.owns(u, s)),
        )
