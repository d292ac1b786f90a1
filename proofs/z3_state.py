"""The states of ``AsyncResourcePool.tla`` as terms of Z3: tasks, slots, and what they do.

A slot is room for one resource. Tasks and slots are sorts without a bound (`UNBOUNDED`), or a few
elements (`Universe.of`).

A `State` is one of the specification without its numbers: without the work that is disowned, the
limits in force, and the upkeep of the minimum size. Integers give the order of arrival and the
order in which resources became idle. Only their order has a meaning.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cache
from itertools import combinations
from typing import Any, ClassVar, Generic, NamedTuple, Self, TypeAlias, TypeVar

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
    "PHASE_NAMES",
    "PLACES",
    "PLACE_NAMES",
    "RESETTING",
    "TASKS",
    "TASK_NAMES",
    "UNBOUNDED",
    "WAITING",
    "Formula",
    "State",
    "StepTo",
    "Structure",
    "Term",
    "Universe",
]

Term: TypeAlias = z3.ExprRef
Formula: TypeAlias = z3.BoolRef

PHASE_NAMES = ("open", "closing", "closed")
PLACE_NAMES = ("free", "creating", "checking", "idle", "inUse", "resetting", "closing")
TASK_NAMES = ("out", "waiting", "handed", "holding")

# Z3 allows each name only once.
_PHASE, PHASES = z3.EnumSort("Phase", PHASE_NAMES)
_PLACE, PLACES = z3.EnumSort("Place", [f"at {name}" for name in PLACE_NAMES])
_TASK, TASKS = z3.EnumSort("Doing", [f"is {name}" for name in TASK_NAMES])
OPEN, CLOSING, CLOSED = PHASES
FREE, CREATING, CHECKING, IDLE, IN_USE, RESETTING, IN_CLOSING = PLACES
OUT, WAITING, HANDED, HOLDING = TASKS


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
class Structure:
    """A value made of terms, and of functions from tasks and slots to terms."""

    SIGNATURE: ClassVar[dict[str, tuple[Any, ...]]]
    """The sorts of the arguments of each field, "task" or "slot", and the sort of its values."""

    @classmethod
    def named(cls, universe: Universe, prime: str = "") -> Self:
        """Make a value of unknowns."""
        sorts = {"task": universe.task, "slot": universe.slot}
        return cls(**{
            name: z3.Function(name + prime, *(sorts[argument] for argument in arguments), value)
            if arguments
            else z3.Const(name + prime, value)
            for name, (*arguments, value) in cls.SIGNATURE.items()
        })  # fmt: skip

    def where(self, condition: Formula, other: Self) -> Self:
        """Make this value if the condition holds, else the other."""

        def chosen(field: str, arguments: list[str]) -> Any:
            a, b = getattr(self, field), getattr(other, field)
            if a is b:
                return a
            if not arguments:
                return z3.If(condition, a, b)
            return lambda *elements: z3.If(condition, a(*elements), b(*elements))

        fields = self.SIGNATURE.items()
        return type(self)(**{name: chosen(name, sorts) for name, (*sorts, _) in fields})


S = TypeVar("S", bound=Structure)


class StepTo(NamedTuple, Generic[S]):
    """The condition under which something is possible, and the state that it leads to."""

    guard: Formula
    after: S

    def where(self, condition: Formula, other: StepTo[S]) -> StepTo[S]:
        """Make this step if the condition holds, else the other."""
        return StepTo(
            z3.If(condition, self.guard, other.guard), self.after.where(condition, other.after)
        )

    def only_if(self, *conditions: Formula) -> StepTo[S]:
        """Add conditions to the guard."""
        return StepTo(z3.And(*conditions, self.guard), self.after)


@dataclass(frozen=True)
class State(Structure):
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
        "phase": (_PHASE,),
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

    def move(self, those: Callable[[Term], Formula], place: Term) -> State:
        """Move these slots to a place. They stay as old and as retired as they are."""
        return replace(
            self,
            place=lambda r: z3.If(those(r), place, self.place(r)),
            stale=lambda r: z3.And(self.stale(r), z3.Not(those(r))),
            trusted=lambda r: z3.And(self.trusted(r), z3.Not(those(r))),
        )

    def put(self, those: Callable[[Term], Formula], place: Term) -> State:
        """Move these slots to a place where they have no resource that can be used again."""
        return replace(
            self.move(those, place),
            old=lambda r: z3.And(self.old(r), z3.Not(those(r))),
            retired=lambda r: z3.And(self.retired(r), z3.Not(those(r))),
        )

    def send(self, t: Term, doing: Term) -> State:
        """Let a task do this, and have no slot. It keeps its ticket."""
        return replace(
            self,
            task=lambda u: z3.If(u == t, doing, self.task(u)),
            owns=lambda u, r: z3.And(u != t, self.owns(u, r)),
        )

    def join(self, t: Term) -> State:
        """Let a task wait behind all others."""
        last = self.tickets + 1
        return replace(
            self.send(t, WAITING),
            ticket=lambda u: z3.If(u == t, last, self.ticket(u)),
            tickets=last,
        )

    def give(self, t: Term, doing: Term, r: Term) -> State:
        """Let a task do this, and have this slot and no other."""
        sent = self.move(lambda s: s == r, IN_USE).send(t, doing)
        return replace(
            sent, owns=lambda u, s: z3.Or(z3.And(u == t, s == r), z3.And(u != t, self.owns(u, s)))
        )

    def rest(self, r: Term, trusted: Formula) -> State:
        """Let a slot become idle, behind all others."""
        last = self.ranks + 1
        idle = self.move(lambda s: s == r, IDLE)
        return replace(
            idle,
            trusted=lambda s: z3.If(s == r, trusted, idle.trusted(s)),
            rank=lambda s: z3.If(s == r, last, self.rank(s)),
            ranks=last,
        )
