"""A machine that checks its contracts at each step. icontract makes it from tables of predicates.

`with_contracts` takes any machine with `actions`. `checked` takes the machine of the pool.

Only debug mode and the verification import this module. A violation is a bug in the pool, because
the pool refuses a user's mistake with one of its own errors first. The violation names the
guarantee and lists the last steps as actions of the specification.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import icontract

from .guarantees import EVERY_STEP, STATE_PREDICATES, STEP_PREDICATES, before
from .machine import PoolMachine
from .observe import actions

HISTORY = 100  # how many steps a violation lists


class Tables(NamedTuple):
    """The predicates of a machine, with the names of their guarantees."""

    of_states: tuple[tuple[str, Callable[[Any], bool]], ...]
    of_every_step: tuple[tuple[str, Callable[[Any, Any, Any], bool]], ...]
    of_steps: Mapping[str, tuple[tuple[str, Callable[[Any, Any, Any], bool]], ...]]
    before: Callable[[Any, str, tuple[Any, ...]], Any]  # records the state before a step
    changes: tuple[str, ...] = ()  # the other methods that change the state


class GuaranteeViolationError(icontract.ViolationError):
    """Error of a broken guarantee. This is a bug in the pool: please report it with its steps."""


def violation(name: str) -> Callable[[Any], GuaranteeViolationError]:
    """Return a function that makes the error for a broken guarantee."""

    def error(self: Any) -> GuaranteeViolationError:
        steps = "\n".join(f"    {step}" for step in self.history) or "    (none)"
        numbers = self.counts()._asdict().items()
        state = ", ".join(f"{what} {getattr(value, 'value', value)}" for what, value in numbers)
        return GuaranteeViolationError(
            f"pool {self.name!r} broke {name}: this is a bug in the pool.\n"
            f"  Its state: {state}\n"
            f"  Its last steps, the last one last:\n{steps}"
        )

    return error


def _checked_step(
    method: str, action: str, bare: Callable[..., Any], tables: Tables
) -> Callable[..., Any]:
    """Return the step with the contracts of its action."""

    def step(self: Any, *args: Any) -> Any:
        result = bare(self, *args)
        about = args and hasattr(args[0], "state")  # a slot or a waiter
        subject = f"({type(args[0]).__name__} {id(args[0]):#x})" if about else ""
        self.history.append(f"{action}{subject}")
        return result

    step.__name__, step.__doc__ = method, bare.__doc__
    step.action = action  # type: ignore[attr-defined]

    def promise(
        name: str, predicate: Callable[[Any, Any, Any], bool], checked: Callable[..., Any]
    ) -> Any:
        return icontract.ensure(
            lambda self, OLD, result: predicate(self, OLD.before, result),
            name,
            error=violation(name),
        )(checked)

    checked: Callable[..., Any] = step
    for name, predicate in (*tables.of_every_step, *tables.of_steps[action]):
        checked = promise(name, predicate, checked)
    return icontract.snapshot(
        lambda self, _ARGS: tables.before(self, action, _ARGS[1:]),
        name="before",
    )(checked)


def with_contracts(machine: type[Any], tables: Tables) -> type[Any]:
    """Return a subclass of the machine whose steps check the predicates of the tables."""

    def construct(self: Any, *args: Any, **options: Any) -> None:
        self.history = deque(maxlen=HISTORY)
        machine.__init__(self, *args, **options)

    body: dict[str, Any] = {"__init__": construct, "__module__": machine.__module__}
    for method, action in actions(machine).items():
        body[method] = _checked_step(method, action, getattr(machine, method), tables)

    def keep(made: Any, name: str, predicate: Callable[[Any], bool]) -> Any:
        return icontract.invariant(lambda self: predicate(self), name, error=violation(name))(made)

    made: Any = type(f"Checked{machine.__name__}", (machine,), body)
    for name, predicate in tables.of_states:
        made = keep(made, name, predicate)
    # A question must check nothing, because a nested step in the middle of the check would look
    # like a bug. So take away the invariants that icontract has put around the inherited questions.
    kept = {*body, *tables.changes}
    for name in [name for name in vars(made) if name not in kept and hasattr(machine, name)]:
        if callable(getattr(made, name)) or isinstance(vars(made)[name], property):
            delattr(made, name)
    return made  # type: ignore[no-any-return]


TABLES = Tables(STATE_PREDICATES, EVERY_STEP, STEP_PREDICATES, before, ("grow_old",))


def checked(machine: type[PoolMachine[Any]] = PoolMachine) -> type[Any]:
    """Return a subclass of the machine whose steps check their contracts."""
    if machine not in _checked:
        _checked[machine] = with_contracts(machine, TABLES)
    return _checked[machine]


_checked: dict[type[Any], type[Any]] = {}
