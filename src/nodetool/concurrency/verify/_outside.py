"""What a user's functions make, counted from outside of the pool; and faults around them.

Every fault is made by the wrapper, before or after the function itself, and never instead of its
closer: what was made is closed once, whatever else goes wrong.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from random import Random
from typing import Any

from nodetool.concurrency._call import call
from nodetool.concurrency._records import NEVER

from ._named import ExitError

FAULTS = {"factory": 0.08, "check": 0.05, "reset": 0.05, "closer": 0.1}  # how often each fails
SLOW, SLOWNESS = 0.2, 0.02  # how often something takes longer, and by how many seconds at most


class InjectedError(Exception):
    """A fault that was made on purpose."""


@dataclass(frozen=True)
class Functions:
    """What the user handed in."""

    factory: Callable[[], Any]
    closer: Callable[[Any], Any]
    check: Callable[[Any], Any] | None = None
    reset: Callable[[Any], Any] | None = None


class Outside:
    """The functions with faults around them, and what lives because of them."""

    def __init__(self, functions: Functions, random: Random) -> None:
        self.functions = functions
        self.random = random
        self.making = 0
        self.living: dict[int, Any] = {}  # what the pool has to close, by identity
        self.ours: dict[int, Any] = {}  # what was detached from it, or left by terminate()
        self.closing: set[int] = set()
        self.most = 0  # that ever existed at once because of the pool
        self.moves = 0  # grows with everything that gets on
        self.counts: Counter[str] = Counter()
        self.faults: Counter[str] = Counter()  # those that were made on purpose
        self.own: dict[str, list[BaseException]] = {}  # those that were not, by function
        self.well: Counter[str] = Counter()  # calls that ended well, by function
        self.problems: list[str] = []

    @property
    def size(self) -> int:
        """How many exist, or may exist since they are being made, because of the pool."""
        return self.making + len(self.living)

    async def create(self) -> Any:
        self.making += 1
        self.most = max(self.most, self.size)
        try:
            await self.slowness("factory, before")
            self.fault("factory", "failed before its call")
            resource = await self.called("factory", self.functions.factory)
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
            await self.slowness("factory, after")
            self.fault("factory", "failed after its call")
        except BaseException as error:
            self.counts["creation failures"] += isinstance(error, Exception)
            await self.end(resource)  # nobody else knows of it
            raise
        self.counts["created"] += 1
        return resource

    async def close(self, resource: Any) -> None:
        try:
            await self.slowness("closer, before")
            await self.end(resource)
            self.fault("closer", "failed after it had closed")
        except Exception:
            self.counts["closer failures"] += 1
            raise

    async def check(self, resource: Any) -> bool:
        self.expect(resource, "checked")
        try:
            function = self.functions.check
            passed = function is None or await self.called("check", function, resource)
            if passed is False:
                self.own.setdefault("check", []).append(ValueError("it said no"))
                self.well["check"] -= 1
            await self.slowness("check")
            self.fault("check", "raised although healthy")
        except Exception:
            self.counts["check failures"] += 1
            raise
        if passed is not False and self.random.random() < FAULTS["check"]:
            self.faults["check said no although healthy"] += 1
            passed = False
        self.counts["check failures"] += passed is False
        return passed is not False

    async def reset(self, resource: Any) -> None:
        self.expect(resource, "reset")
        try:
            assert self.functions.reset is not None
            await self.called("reset", self.functions.reset, resource)
            await self.slowness("reset")
            self.fault("reset", "failed after its call")
        except Exception:
            self.counts["reset failures"] += 1
            raise

    async def end(self, resource: Any) -> None:
        """Close a resource, whoever has to."""
        key = id(resource)
        if key in self.closing or not (key in self.living or key in self.ours):
            self.counts["closed once more"] += 1
            return
        self.closing.add(key)
        try:
            await self.called("closer", self.functions.closer, resource)
        finally:
            self.closing.remove(key)
            self.living.pop(key, None)
            self.ours.pop(key, None)
            self.counts["closed"] += 1

    def take(self, resource: Any) -> None:
        """From now on it is not the pool's any more."""
        self.ours[id(resource)] = self.living.pop(id(resource))

    def expect(self, resource: Any, what: str) -> None:
        """What the pool gives to somebody must live, and must not be on its way out."""
        if id(resource) not in self.living or id(resource) in self.closing:
            self.problems.append(f"{object.__repr__(resource)} was {what} although it was closed")

    async def called(self, name: str, function: Callable[..., Any], *arguments: Any) -> Any:
        try:
            answer = await call(NEVER, function, *arguments)
        except Exception as error:
            self.own.setdefault(name, []).append(error)
            raise
        except SystemExit as error:
            raise ExitError(name, error) from error
        finally:
            self.moves += 1
        self.well[name] += 1
        return answer

    async def slowness(self, name: str) -> None:
        if self.random.random() < SLOW:
            self.faults[f"{name}: slow"] += 1
            await asyncio.sleep(self.random.uniform(0, SLOWNESS))

    def fault(self, name: str, what: str) -> None:
        if self.random.random() < FAULTS[name]:
            self.faults[f"{name} {what}"] += 1
            raise InjectedError(f"{name} {what}, on purpose")
