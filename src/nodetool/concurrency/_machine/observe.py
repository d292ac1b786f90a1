"""The registry of actions, and the observers of a machine's steps.

The decorator ``@action("Acquire")`` marks a method as a step, and gives the step its name in the
specification. All code that needs the list of steps calls `actions`.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any, TypeVar

F = TypeVar("F", bound=Callable[..., Any])


def action(name: str) -> Callable[[F], F]:
    """Register a method as the step for the action `name` of the specification."""

    def register(step: F) -> F:
        step.action = name  # type: ignore[attr-defined]
        return step

    return register


def actions(machine: type[Any]) -> dict[str, str]:
    """Map the steps of a machine to the names of their actions, in the specification's order."""
    found: dict[str, str] = {}
    for base in reversed(machine.__mro__):
        for method, step in vars(base).items():
            name = getattr(step, "action", None)
            if isinstance(name, str):
                found[method] = name
    return found


class Observer:
    """An object that watches the steps of a machine.

    An observed machine calls `before`, takes the step, and calls `after`. If the step raises, the
    machine calls `refused` instead of `after`. Both get the value that `before` returned. All three
    run inside the gate, so the pool defers their calls of the pool.
    """

    def before(self, machine: Any, action: str, args: tuple[Any, ...]) -> Any:
        """Look at the machine before a step. An exception prevents the step."""

    def after(
        self, machine: Any, action: str, args: tuple[Any, ...], memory: Any, result: Any
    ) -> None:
        """Look at the machine after a step."""

    def refused(
        self, machine: Any, action: str, args: tuple[Any, ...], memory: Any, error: BaseException
    ) -> None:
        """Look at the machine after it refused a step."""


def _watched(method: str, action: str, bare: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(bare)
    def step(self: Any, *args: Any) -> Any:
        memories: list[tuple[Observer, Any]] = []
        try:
            for observer in self.observers:
                memory = observer.before(self, action, args)
                memories.append((observer, memory))
            result = bare(self, *args)
        except BaseException as error:
            for observer, memory in reversed(memories):
                observer.refused(self, action, args, memory, error)
            raise
        for observer, memory in reversed(memories):
            observer.after(self, action, args, memory, result)
        return result

    return step


def observed(machine: type[Any]) -> type[Any]:
    """Return a subclass of the machine that calls its `observers` at each step."""
    if machine in _observed:
        return _observed[machine]
    body: dict[str, Any] = {"observers": (), "__module__": machine.__module__}
    for method, name in actions(machine).items():
        body[method] = _watched(method, name, getattr(machine, method))
    made = _observed[machine] = type(f"Observed{machine.__name__}", (machine,), body)
    return made


_observed: dict[type[Any], type[Any]] = {}


def make(machine: type[Any], observers: tuple[Observer, ...], *args: Any, **options: Any) -> Any:
    """Make a machine. Without observers, use the bare class, because watching costs time."""
    if not observers:
        return machine(*args, **options)
    made: Any = observed(machine)(*args, **options)
    made.observers = observers
    return made
