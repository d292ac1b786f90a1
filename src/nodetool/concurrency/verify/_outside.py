"""Wrappers around a user's functions: they inject faults and count resources outside the pool.

A wrapper injects its fault before or after it calls the function, and never instead of the closer.
So each resource is closed once, even if other calls fail. A wrapper may also cancel a call of the
factory, the check or the reset at any moment, as the pool does at the call's time limit.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from inspect import isawaitable
from random import Random
from typing import Any

from nodetool.concurrency._errors import ResourcePoolError

from ._named import ExitError

# Probability of each kind of fault.
FAULTS = {"factory": 0.08, "check": 0.05, "reset": 0.05, "closer": 0.1}
SLOW, SLOWNESS = 0.2, 0.02  # probability of a delay, and its maximum in seconds
CANCELLED = 0.05  # probability of a cancellation


class InjectedError(Exception):
    """An injected fault."""


async def called(function: Callable[..., Any], *arguments: Any) -> Any:
    """Call a user's function, sync or async, and return its result."""
    try:
        result = function(*arguments)
        return await result if isawaitable(result) else result
    except asyncio.CancelledError as error:
        task = asyncio.current_task()
        if task is None or task.cancelling():
            raise
        # This task was not cancelled, so the function awaited something that was.
        raise ResourcePoolError(f"{function!r} ended in a cancellation of its own") from error


@dataclass(frozen=True)
class Functions:
    """The functions that the user named on the command line."""

    factory: Callable[[], Any]
    closer: Callable[[Any], Any]
    check: Callable[[Any], Any] | None = None
    reset: Callable[[Any], Any] | None = None


class Outside:
    """The wrapped functions, and the resources that they have created and not closed yet."""

    def __init__(self, functions: Functions, random: Random) -> None:
        self.functions = functions
        self.random = random
        self.making = 0  # creations in flight
        self.living: dict[int, Any] = {}  # resources that the pool must close, by identity
        self.ours: dict[int, Any] = {}  # resources that were detached, or forgotten by terminate()
        self.closing: set[int] = set()
        self.most = 0  # highest size so far
        self.moves = 0  # number of steps of progress; the watchdog waits for it to grow
        self.counts: Counter[str] = Counter()
        self.faults: Counter[str] = Counter()  # injected faults
        self.own: dict[str, list[BaseException]] = {}  # all other failures, by function
        self.well: Counter[str] = Counter()  # successful calls, by function
        self.problems: list[str] = []

    @property
    def size(self) -> int:
        """Number of resources that the pool must close, and of creations in flight."""
        return self.making + len(self.living)

    async def create(self) -> Any:
        """Call the factory, with faults before and after the call."""
        self.making += 1
        self.most = max(self.most, self.size)
        try:
            await self.delay("factory, before")
            self.fault("factory", "failed before its call")
            async with self.interruptible("factory"):
                resource = await self.call_function("factory", self.functions.factory)
        except Exception:
            self.counts["creation failures"] += 1
            raise
        finally:
            self.making -= 1
        if id(resource) in self.living or id(resource) in self.ours:
            name = object.__repr__(resource)
            self.problems.append(f"the factory returned {name} twice: DuplicateResourceError")
            self.counts["creation failures"] += 1
            return resource
        self.counts["made"] += 1
        self.living[id(resource)] = resource
        try:
            await self.delay("factory, after")
            self.fault("factory", "failed after its call")
        except BaseException as error:
            self.counts["creation failures"] += isinstance(error, Exception)
            await self.end(resource)  # the pool does not know this resource
            raise
        self.counts["created"] += 1
        return resource

    async def close(self, resource: Any) -> None:
        """Call the closer, with a fault after the call."""
        try:
            await self.delay("closer, before")
            await self.end(resource)
            self.fault("closer", "failed after it had closed")
        except Exception:
            self.counts["closer failures"] += 1
            raise

    async def check(self, resource: Any) -> bool:
        """Call the check, and fail sometimes although the resource is healthy."""
        self.expect(resource, "checked")
        try:
            function = self.functions.check
            async with self.interruptible("check"):
                passed = function is None or await self.call_function("check", function, resource)
                if passed is False:
                    self.own.setdefault("check", []).append(ValueError("the check returned False"))
                    self.well["check"] -= 1
                await self.delay("check")
            self.fault("check", "raised although healthy")
        except Exception:
            self.counts["check failures"] += 1
            raise
        if passed is not False and self.random.random() < FAULTS["check"]:
            self.faults["check returned False although healthy"] += 1
            passed = False
        self.counts["check failures"] += passed is False
        return passed is not False

    async def reset(self, resource: Any) -> None:
        """Call the reset, with a fault after the call."""
        self.expect(resource, "reset")
        try:
            assert self.functions.reset is not None
            async with self.interruptible("reset"):
                await self.call_function("reset", self.functions.reset, resource)
                await self.delay("reset")
            self.fault("reset", "failed after its call")
        except Exception:
            self.counts["reset failures"] += 1
            raise

    async def end(self, resource: Any) -> None:
        """Call the closer once, for the pool or for a user that kept its resource."""
        key = id(resource)
        if key in self.closing or not (key in self.living or key in self.ours):
            self.counts["closed once more"] += 1
            return
        self.closing.add(key)
        try:
            await self.call_function("closer", self.functions.closer, resource)
        finally:
            self.closing.remove(key)
            self.living.pop(key, None)
            self.ours.pop(key, None)
            self.counts["closed"] += 1

    def take(self, resource: Any) -> None:
        """Move a resource from the pool to its user, which must close it from now on."""
        self.ours[id(resource)] = self.living.pop(id(resource))

    def expect(self, resource: Any, action: str) -> None:
        """Report a problem if the pool hands out a resource that is closing or closed."""
        if id(resource) not in self.living or id(resource) in self.closing:
            self.problems.append(f"{object.__repr__(resource)} was {action} although it was closed")

    async def call_function(self, name: str, function: Callable[..., Any], *arguments: Any) -> Any:
        """Call a user's function, and record whether it succeeded."""
        try:
            answer = await called(function, *arguments)
        except Exception as error:
            self.own.setdefault(name, []).append(error)
            raise
        except SystemExit as error:
            raise ExitError(name, error) from error
        finally:
            self.moves += 1
        self.well[name] += 1
        return answer

    async def delay(self, name: str) -> None:
        """Sleep for a random time, sometimes."""
        if self.random.random() < SLOW:
            self.faults[f"{name}: slow"] += 1
            await asyncio.sleep(self.random.uniform(0, SLOWNESS))

    @asynccontextmanager
    async def interruptible(self, name: str) -> AsyncIterator[None]:
        """Cancel the body at a random moment, sometimes. The pool gets an injected fault then."""
        task: Any = asyncio.current_task()
        is_cancelled = False

        def cancel() -> None:
            nonlocal is_cancelled
            is_cancelled = True
            task.cancel()

        loop = asyncio.get_running_loop()
        timer: asyncio.Handle | None = None
        if self.random.random() < CANCELLED:
            if self.random.random() < 0.5:
                timer = loop.call_soon(cancel)
            else:
                timer = loop.call_later(self.random.uniform(0, SLOWNESS), cancel)
        try:
            yield
        except asyncio.CancelledError:
            if not is_cancelled or task.cancelling() > 1:
                raise
            self.faults[f"{name} cancelled"] += 1
            raise InjectedError(f"{name} cancelled, on purpose") from None
        finally:
            if timer is not None:
                timer.cancel()
            if is_cancelled:
                task.uncancel()

    def fault(self, name: str, failure: str) -> None:
        """Raise an injected fault, sometimes."""
        if self.random.random() < FAULTS[name]:
            self.faults[f"{name} {failure}"] += 1
            raise InjectedError(f"{name} {failure}, on purpose")
