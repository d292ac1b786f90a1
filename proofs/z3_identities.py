"""Who has what: the actions of ``AsyncResourcePool.tla`` on any number of tasks and resources.

A slot is room for one resource; there are as many as max_size, and their number is not known here.
So SizeWithinLimit is in the shape of the state, and needs no proof. Tasks and slots are sorts
without a bound (`UNBOUNDED`), or some few elements (`Universe.of`), which is how ``z3_tie``
compares the very same formulas with the machine's graphs.

What a state says: the phase, where each slot is, what each task does, which task has which slot, and
which slots are of an old generation. What it leaves open: order, age, trust and numbers. Who is
served, what is overdue or needs a check, whom a failure is told, how many creations start and whether
the queue is full are therefore any choice here: what is proved holds whatever they are.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, NamedTuple, TypeAlias

import z3  # type: ignore[import-untyped]

__all__ = ["ACTIONS", "PLACES", "TASKS", "UNBOUNDED", "Choices", "State", "Step", "Universe"]

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
    """The sorts of tasks and slots; their elements, if these are known."""

    task: Any
    slot: Any
    tasks: tuple[Term, ...] = ()
    slots: tuple[Term, ...] = ()

    @classmethod
    def of(cls, tasks: int, slots: int) -> Universe:
        name = f"{tasks}x{slots}"
        task, some_tasks = z3.EnumSort(f"Task{name}", [f"t{n}of{name}" for n in range(tasks)])
        slot, some_slots = z3.EnumSort(f"Slot{name}", [f"s{n}of{name}" for n in range(slots)])
        return cls(task, slot, tuple(some_tasks), tuple(some_slots))

    def every(self, claim: Callable[..., Formula], **variables: str) -> Formula:
        """The claim of every slot and task; the variables say which is which."""
        return self._quantified(claim, variables, z3.ForAll, z3.And)

    def some(self, claim: Callable[..., Formula], **variables: str) -> Formula:
        """The claim of some slot and task."""
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


UNBOUNDED = Universe(z3.DeclareSort("Task"), z3.DeclareSort("Slot"))


@dataclass(frozen=True)
class State:
    """A state as a value; `put`, `send` and the like give the next one, as in the specification."""

    phase: Term
    place: Callable[[Term], Term]  # of a slot
    task: Callable[[Term], Term]  # what a task does
    owns: Callable[[Term, Term], Formula]  # the task has the slot
    retired: Callable[[Term], Formula]  # the slot is of an old generation

    @classmethod
    def named(cls, universe: Universe, prime: str = "") -> State:
        """A state of which nothing is known."""
        t, s, boolean = universe.task, universe.slot, z3.BoolSort()
        return cls(
            z3.Const("phase" + prime, _PHASE),
            z3.Function("place" + prime, s, _PLACE),
            z3.Function("task" + prime, t, _TASK),
            z3.Function("owns" + prime, t, s, boolean),
            z3.Function("retired" + prime, s, boolean),
        )

    def put(self, those: Callable[[Term], Formula], place: Term) -> State:
        """Those slots go to the place, which is neither idle nor in use."""
        return replace(
            self,
            place=lambda s: z3.If(those(s), place, self.place(s)),
            retired=lambda s: z3.And(self.retired(s), z3.Not(those(s))),
        )

    def send(self, t: Term, doing: Term) -> State:
        """The task does this, and has nothing."""
        return replace(
            self,
            task=lambda u: z3.If(u == t, doing, self.task(u)),
            owns=lambda u, s: z3.And(u != t, self.owns(u, s)),
        )

    def give(self, t: Term, doing: Term, r: Term) -> State:
        """The task has the slot now, and no other."""
        sent = self.send(t, doing)
        return replace(
            sent,
            place=lambda s: z3.If(s == r, IN_USE, self.place(s)),
            owns=lambda u, s: z3.Or(z3.And(u == t, s == r), sent.owns(u, s)),
        )


class Choices(NamedTuple):
    """What is left open, as unknowns: an action is possible if there are some that fit."""

    t: Term  # the task of the action
    r: Term  # its slot
    head: Term  # who is handed an idle slot, or told of a failure
    got: Term  # the idle slot that a seeker gets
    shelf: Term  # the idle slot that is handed over
    swept: Callable[[Term], Formula]  # idle slots that are overdue
    started: Callable[[Term], Formula]  # slots whose creation starts
    found: Formula  # does the seeker get one?
    handing: Formula  # is one handed over?
    told: Formula  # is somebody told of a failure?
    fit: Formula  # is what comes back fit, but for its generation?
    checked: Formula  # has it to be checked?
    over: Formula  # is that the end?
    checks: Formula  # the pool's options, as in the specification
    resets: Formula
    retires: Formula
    leaves: Formula

    @classmethod
    def named(cls, universe: Universe) -> Choices:
        t, s, boolean = universe.task, universe.slot, z3.BoolSort()
        elements = [z3.Const("t", t), z3.Const("r", s), z3.Const("head", t)]
        elements += [z3.Const("got", s), z3.Const("shelf", s)]
        sets = [z3.Function(name, s, boolean) for name in ("swept", "started")]
        return cls(*elements, *sets, *(z3.Bool(name) for name in cls._fields[7:]))


class Step(NamedTuple):
    """When something is possible, and the state that it leads to."""

    guard: Formula
    after: State


class Actions:
    """The actions of the specification, by name, from a state and by some choices."""

    def __init__(self, universe: Universe, now: State, choices: Choices) -> None:
        self.universe, self.now, self.choices = universe, now, choices

    # Pieces of steps.

    def settle(self, guard: Formula, s: State) -> Step:
        """Hand over, start creations, and see whether that was the end."""
        c, some, every = self.choices, self.universe.some, self.universe.every
        waits = some(lambda t: s.task(t) == WAITING, t="task")
        is_idle = some(lambda r: s.place(r) == IDLE, r="slot")
        possible = z3.And(s.phase == OPEN, waits, is_idle)
        handed = s.give(c.head, HANDED, c.shelf)
        handed = replace(
            s,
            place=lambda r: z3.If(c.handing, handed_place(r), s.place(r)),
            task=lambda t: z3.If(c.handing, handed_task(t), s.task(t)),
            owns=lambda t, r: z3.If(c.handing, handed_owns(t, r), s.owns(t, r)),
        ) if (
            (handed_place := handed.place),
            (handed_task := handed.task),
            (handed_owns := handed.owns),
        ) else s
        return Step(guard, handed)
