"""Access of tests to private state of the pool, its machine and its tools, in plain values.

Only this module and `proofs.inside` follow the internals: a test that needs more adds a function
here. Steps have the names of the specification's actions, as in "Release".
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable
from typing import Any

import pytest

from nodetool.concurrency import AsyncResourcePool, InvalidReleaseError, _options
from nodetool.concurrency._contracts import CheckedMachine, GuaranteeViolationError
from nodetool.concurrency._counts import INVARIANTS, Counts, Event, Limits, Phase, transition
from nodetool.concurrency._debug import DebugMachine
from nodetool.concurrency._machine import PoolMachine
from nodetool.concurrency._records import Record, Waiter
from nodetool.concurrency.verify._following import STEPS, Following
from proofs.inside import MACHINE, Machine

__all__ = [
    "INVARIANTS",
    "MACHINE",
    "MISCOUNTING",
    "UNTIDY",
    "ChangesWhenRefused",
    "Counts",
    "Event",
    "ForgetsClosers",
    "GuaranteeViolationError",
    "Limits",
    "Machine",
    "ServesTwoAtOnce",
    "contracted_steps",
    "followed",
    "has_check",
    "is_leased",
    "make_one_sweep",
    "next_sweep",
    "observed_pools",
    "replace_step",
    "set_next_sweep",
    "start_closing_silently",
    "steps",
    "transition",
    "use_machine_in_all_modes",
    "use_machine_in_verify",
    "watch_numbers",
    "with_contracts",
]

# Machines, chosen and combined.


def followed(machine: Machine) -> Any:
    """Return the machine whose steps are looked up in a graph."""
    return type("Followed", (Following, machine), {})


def with_contracts(machine: Machine) -> Any:
    """Return the machine as it is in debug mode."""
    return type("Contracted", (DebugMachine, machine), {})


def use_machine_in_all_modes(patch: pytest.MonkeyPatch, machine: Machine) -> None:
    """Let new pools run on this machine, in debug mode and with listeners, too."""
    patch.setattr(_options, "machine", lambda *_: machine)


def use_machine_in_verify(patch: pytest.MonkeyPatch, machine: Machine) -> None:
    """Let the command `python -m nodetool.concurrency.verify` check this machine."""
    patch.setattr("nodetool.concurrency.verify.__main__.PoolMachine", machine)


def replace_step(
    patch: pytest.MonkeyPatch, machine: PoolMachine[Any], step: str, by: Callable[..., Any]
) -> None:
    """Let a step of one machine do something else; `step` is an action, as "Release"."""
    methods = {action: method for method, action in STEPS.items()}
    patch.setattr(machine, methods[step], by)


def steps() -> set[str]:
    """Return the names of all methods of the machine that take a step."""
    public = {name for name in vars(PoolMachine) if not name.startswith("_")}
    return public - {"invalid_release"}  # it creates an error and changes nothing


def contracted_steps() -> set[str]:
    """Return the names of all methods of the machine that have contracts."""
    return set(vars(CheckedMachine))


def make_one_sweep(machine: Machine) -> None:
    """Create a machine for one resource, and let it sweep at time 0."""
    machine("of the test", Limits(1, 0, 1, 1)).sweep(0)


# State of a machine.


def is_leased(machine: PoolMachine[Any], resource: object) -> bool:
    """Return whether the machine has a record of this resource."""
    return id(resource) in machine.leased


def next_sweep(machine: PoolMachine[Any]) -> float:
    """Return the time at which a sweep can find something."""
    return machine.deadline


def set_next_sweep(machine: PoolMachine[Any], time: float) -> None:
    """Let the machine believe that no sweep finds anything before this time."""
    machine.deadline = time


def start_closing_silently(machine: PoolMachine[Any]) -> None:
    """Change the phase to "closing" without taking a step."""
    machine.phase = Phase.CLOSING


# Parts of the pool and of its tools.


def has_check(pool: AsyncResourcePool[Any]) -> bool:
    """Return whether the pool was given a check."""
    return pool._check is not None


def observed_pools(metrics: Any) -> int:
    """Return how many pools are kept for the gauges of these metrics."""
    from nodetool.concurrency.otel import PoolMetrics  # an optional part of the pool

    return sum(one is metrics for one, _ in PoolMetrics._observed)


async def watch_numbers(phase: Any, work: asyncio.Task[None]) -> bool:
    """Let a phase of verify compare its numbers with the pool's until the work is done.

    Returns whether something moved all the time.
    """
    moved: bool = await phase._watch(work)
    return moved


# Machines with one bug each that no graph shows: in numbers and in errors.


class CreatesTwo(PoolMachine[Any]):
    """Machine that counts each creation twice."""

    def create_succeeded(self, *args: Any) -> None:
        super().create_succeeded(*args)
        self.created += 1


class TellsAnotherError(PoolMachine[Any]):
    """Machine that passes on an error other than the factory's."""

    def create_failed(self, record: Record[Any], error: BaseException) -> bool:
        return super().create_failed(record, OSError(*error.args))


class TellsTheFirstErrorAgain(PoolMachine[Any]):
    """Machine that passes on the factory's first error each time."""

    first: BaseException | None = None

    def create_failed(self, record: Record[Any], error: BaseException) -> bool:
        self.first = self.first or error
        return super().create_failed(record, self.first)


class ForgetsFailures(PoolMachine[Any]):
    """Machine that does not count failed creations."""

    def create_failed(self, record: Record[Any], error: BaseException) -> bool:
        told = super().create_failed(record, error)
        self.creation_failures -= 1
        return told


class TakesDuplicates(PoolMachine[Any]):
    """Machine that accepts an object that is in the pool already."""

    def create_succeeded(self, record: Record[Any], resource: Any, *args: Any) -> None:
        self.leased.pop(id(resource), None)
        super().create_succeeded(record, resource, *args)


class ForgetsTimeouts(PoolMachine[Any]):
    """Machine that does not count timeouts."""

    def timeout(self, *args: Any) -> None:
        super().timeout(*args)
        self.timeouts -= 1


class ForgetsRejections(PoolMachine[Any]):
    """Machine that does not count acquires that a full queue turned away."""

    def acquire(self, now: float) -> Any:
        try:
            return super().acquire(now)
        finally:
            self.rejected = 0


MISCOUNTING: list[Machine] = [
    CreatesTwo,
    TellsAnotherError,
    TellsTheFirstErrorAgain,
    ForgetsFailures,
    TakesDuplicates,
    ForgetsTimeouts,
    ForgetsRejections,
]


# Machines with one bug each where entries that are deleted lazily are finally removed.


class LosesWaiters(PoolMachine[Any]):
    """Machine that drops a live waiter when it removes dead entries from the queue."""

    def _leave(self, waiter: Waiter[Any]) -> None:
        first = waiter is self._queue[0]
        super()._leave(waiter)
        if not first and not self._off_queue:
            self._queue.pop()


class LosesIdle(PoolMachine[Any]):
    """Machine that drops an idle resource when it removes dead entries of idle resources."""

    def _sweep(self, now: float) -> list[Record[Any]]:
        before = len(self._shelf)
        swept = super()._sweep(now)
        if before > 64 and self._shelf and not self._off_shelf and len(self._shelf) < before:
            self._shelf.pop()
        return swept


class LosesAges(PoolMachine[Any]):
    """Machine that forgets all but the first age when it removes dead entries of ages."""

    def _watch_age(self, record: Record[Any]) -> None:
        ages = self._ages
        super()._watch_age(record)
        if self._ages is not ages:
            self._ages = deque([self._ages[0]])


UNTIDY: list[Machine] = [LosesWaiters, LosesIdle, LosesAges]


# Other machines with one bug each.


class ServesTwoAtOnce(PoolMachine[Any]):
    """Machine that hands one resource over to two waiters."""

    def _hand_over(self, record: Record[Any], now: float) -> None:
        waits = self.waiting > 1
        super()._hand_over(record, now)
        if waits:
            super()._hand_over(record, now)


class ChangesWhenRefused(PoolMachine[Any]):
    """Machine that starts to close when it refuses a release."""

    def release(self, record: Record[Any], now: float) -> None:
        try:
            super().release(record, now)
        except InvalidReleaseError:
            self.phase = Phase.CLOSING
            raise


class ForgetsClosers(PoolMachine[Any]):
    """Machine that ignores the end of a closer."""

    def closer_ended(self, record: Record[Any]) -> None:
        pass
