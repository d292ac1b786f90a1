"""Virtual clocks and random numbers: inside a run, code gets the same ones in every run.

The functions of ``time`` and ``os.urandom`` are replaced while the explorer works, in every module
that has one of them under any name. The replacements ask which event loop is running. If it is no
loop of the explorer, they call the original. So other threads, and the explorer, see the real ones.
"""

from __future__ import annotations

import asyncio
import os
import random
import sys
import time
import types
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from hashlib import shake_128
from typing import Any

__all__ = ["EPOCH", "START", "StandingClockError", "VirtualClock", "virtual_functions"]

START = 1000.0  # time of the virtual clock at the start of a run
EPOCH = 1_700_000_000.0  # what `time.time` adds to it
MOST_READINGS = 100_000  # of the clock in one callback


class StandingClockError(RuntimeError):
    """Code that waits for time to pass without an ``await``, while the clock stands still."""


class VirtualClock:
    """The clock and the source of random bytes of an event loop.

    Attributes:
        now: The time in seconds.
        creep: How many seconds each reading of the clock takes.
    """

    now = START
    creep = 0.0
    _readings = 0  # in this callback
    _draws = 0  # of random bytes, in this run

    def read_clock(self) -> float:
        """Return the time for a function of ``time``."""
        now = self.now
        self.now += self.creep
        self._readings += 1
        if self._readings > MOST_READINGS:
            raise StandingClockError(
                f"one callback has read the clock {MOST_READINGS} times, and the clock of a run "
                "stands still: pass creep=0.001, so that each reading takes a millisecond"
            )
        return now

    def begin_callback(self) -> None:
        """Count the readings from zero."""
        self._readings = 0

    def draw_bytes(self, count: int) -> bytes:
        """Return bytes that look random, and are the same in every run."""
        self._draws += 1
        return shake_128(b"%d" % self._draws).digest(count)

    def luck(self) -> list[object]:
        """List everything that decides the next random numbers."""
        return [self._draws, hash(random.getstate())]


def _running_clock() -> VirtualClock | None:
    """Return the loop of the explorer that runs in this thread, if there is one."""
    loop: object = asyncio._get_running_loop()
    return loop if isinstance(loop, VirtualClock) else None


def _virtual_clock(name: str) -> Callable[[], float]:
    """Make the replacement of a function of ``time``."""
    real: Callable[[], float] = getattr(time, name)
    start = EPOCH if name.startswith("time") else 0.0

    def clock() -> float:
        virtual = _running_clock()
        if virtual is None:
            return real()
        now = start + virtual.read_clock()
        return round(now * 1e9) if name.endswith("_ns") else now

    return clock


def _urandom(size: int, /) -> bytes:
    virtual = _running_clock()
    return REAL_URANDOM(size) if virtual is None else virtual.draw_bytes(size)


def _seed(self: random.Random, a: Any = None, version: int = 2) -> None:
    virtual = _running_clock()
    if a is None and virtual is not None:
        a = virtual.draw_bytes(8)
    REAL_SEED(self, a, version)


REAL_URANDOM = os.urandom
REAL_SEED = random.Random.seed
CLOCKS = ("monotonic", "monotonic_ns", "perf_counter", "perf_counter_ns", "time", "time_ns")
REPLACED: list[tuple[Any, Any]] = [
    (os.urandom, _urandom),
    *((getattr(time, name), _virtual_clock(name)) for name in CLOCKS),
]
for _real, _virtual in REPLACED:  # a fingerprint must take the replacement for a constant
    _virtual.__module__ = "os" if _virtual is _urandom else "time"
    _virtual.__name__ = _virtual.__qualname__ = _real.__name__

_VIRTUAL = {id(real): virtual for real, virtual in REPLACED}
_places: dict[int, tuple[types.ModuleType, list[tuple[str, Any]]]] = {}  # of each module


def _find_places(module: types.ModuleType) -> list[tuple[str, Any]]:
    """List the names under which a module has a function to replace, each with the function."""
    return [(name, value) for name, value in list(vars(module).items()) if id(value) in _VIRTUAL]


@contextmanager
def virtual_functions(scenario: object) -> Iterator[None]:
    """Replace the clocks and the sources of random numbers. Remember what each module has.

    Args:
        scenario: The module of this object is searched again each time, because a program or a
            notebook may have grown.
    """
    own = (getattr(scenario, "__module__", None), "__main__")
    changed: list[tuple[dict[str, Any], str, Any]] = []
    modules: list[tuple[str, Any]] = list(sys.modules.items())
    for name, module in modules:
        if not isinstance(module, types.ModuleType) or name == __name__:
            continue
        known = _places.get(id(module))
        if known is None or known[0] is not module or name in own:
            known = _places[id(module)] = (module, _find_places(module))
        for attribute, real in known[1]:
            if vars(module).get(attribute) is real:
                vars(module)[attribute] = _VIRTUAL[id(real)]
                changed.append((vars(module), attribute, real))
    before, seed = random.getstate(), random.Random.seed
    random.Random.seed = _seed  # type: ignore[method-assign]
    try:
        yield
    finally:
        random.Random.seed = seed  # type: ignore[method-assign]
        random.setstate(before)
        for names, attribute, real in changed:
            names[attribute] = real
