"""Machines with one bug each that no graph shows: of numbers, of errors, of what piles up."""

from __future__ import annotations

from collections import deque
from typing import Any

from nodetool.concurrency._machine import PoolMachine
from nodetool.concurrency._records import Record, Waiter


class CreatesTwo(PoolMachine[Any]):
    def create_succeeded(self, *args: Any) -> None:
        super().create_succeeded(*args)
        self.created += 1


class TellsAnotherError(PoolMachine[Any]):
    def create_failed(self, record: Record[Any], error: BaseException) -> bool:
        return super().create_failed(record, OSError(*error.args))


class TellsTheFirstErrorAgain(PoolMachine[Any]):
    first: BaseException | None = None

    def create_failed(self, record: Record[Any], error: BaseException) -> bool:
        self.first = self.first or error
        return super().create_failed(record, self.first)


class ForgetsFailures(PoolMachine[Any]):
    def create_failed(self, record: Record[Any], error: BaseException) -> bool:
        told = super().create_failed(record, error)
        self.creation_failures -= 1
        return told


class TakesDuplicates(PoolMachine[Any]):
    def create_succeeded(self, record: Record[Any], resource: Any, *args: Any) -> None:
        self.leased.pop(id(resource), None)
        super().create_succeeded(record, resource, *args)


class ForgetsTimeouts(PoolMachine[Any]):
    def timeout(self, *args: Any) -> None:
        super().timeout(*args)
        self.timeouts -= 1


class ForgetsRejections(PoolMachine[Any]):
    def acquire(self, now: float) -> Any:
        try:
            return super().acquire(now)
        finally:
            self.rejected = 0


class LosesWaiters(PoolMachine[Any]):
    def _leave(self, waiter: Waiter[Any]) -> None:
        first = waiter is self._queue[0]
        super()._leave(waiter)
        if not first and not self._off_queue:
            self._queue.pop()


class LosesTheShelf(PoolMachine[Any]):
    def _sweep(self, now: float) -> list[Record[Any]]:
        before = len(self._shelf)
        swept = super()._sweep(now)
        if before > 64 and self._shelf and not self._off_shelf and len(self._shelf) < before:
            self._shelf.pop()
        return swept


class LosesAges(PoolMachine[Any]):
    def _watch_age(self, record: Record[Any]) -> None:
        ages = self._ages
        super()._watch_age(record)
        if self._ages is not ages:
            self._ages = deque([self._ages[0]])


MISCOUNTING = [
    CreatesTwo,
    TellsAnotherError,
    TellsTheFirstErrorAgain,
    ForgetsFailures,
    TakesDuplicates,
    ForgetsTimeouts,
    ForgetsRejections,
]
UNTIDY = [LosesWaiters, LosesTheShelf, LosesAges]
