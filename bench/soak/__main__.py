"""A soak test of the pool: millions of leases in real time, with faults, and a day in virtual time.

python -m bench.soak [--leases N] [--seconds S] [--state FILE] [--fresh]

The test keeps its counts in a file. If it is stopped, the same command goes on.
"""

from __future__ import annotations

import argparse
import asyncio
import gc
import logging
import sys
import time
import tracemalloc
from collections.abc import Awaitable, Sequence
from itertools import count
from pathlib import Path
from random import Random
from typing import Any

from bench.goals import GOALS
from bench.pools import OURS
from bench.running import in_own_process
from bench.size import FULL
from bench.workloads import WORKLOADS

from .ledger import WAYS, Ledger, imbalances
from .traffic import Traffic

ROUND = 25_000  # leases between two measurements
ROUNDS_OF_A_POOL = 20  # after so many rounds, another pool ends
LAST_LEASES = 2_000  # of a pool that ends
PATIENCE = 10.0  # seconds until a pool must be at rest
STUCK = 300.0  # seconds after which a round has come to a standstill
DAY = "S4"


def parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m bench.soak",
        description="Lease with faults, cancellations, expiry, retire_all and resize. "
        "The exit code is 1 unless memory is flat and nothing is lost.",
    )
    parser.add_argument(
        "--leases", type=int, default=10_000_000, metavar="N", help="Make N leases in all."
    )
    parser.add_argument(
        "--seconds", type=float, metavar="S", help="Stop after S seconds. The next call goes on."
    )
    parser.add_argument(
        "--state", type=Path, default=Path(".soak.json"), metavar="FILE", help="Keep counts here."
    )
    parser.add_argument("--fresh", action="store_true", help="Forget the parts so far.")
    parser.add_argument("--round", type=int, default=ROUND, help=argparse.SUPPRESS)
    return parser.parse_args(arguments)


class Soak:
    """One part of a soak test.

    One pool serves the whole part. Between the rounds, short-lived pools end under load.

    Args:
        ledger: The counts so far.
        file: Where the counts are kept.
    """

    def __init__(self, ledger: Ledger, file: Path) -> None:
        self._ledger = ledger
        self._file = file
        self._chance = Random(ledger.leases)
        self._first: tuple[int, int] | None = None  # bytes, and leases so far
        self._before = ledger.grown, ledger.grown_leases

    async def run(self, leases: int, seconds: float | None, each: int) -> None:
        """Take leases until there are enough, or the time is over, or something is wrong."""
        ledger = self._ledger
        asyncio.get_running_loop().set_exception_handler(self._note_error)
        began, earlier = time.monotonic(), ledger.seconds
        ledger.parts += 1
        traffic = Traffic(self._chance)
        for number in count(1):
            await self._use(traffic, min(each, leases - ledger.leases))
            if number > 1:  # the first round fills caches
                self._measure(tracemalloc.get_traced_memory()[0])
            passed = time.monotonic() - began
            is_over = ledger.leases >= leases or (seconds is not None and passed >= seconds)
            if is_over or number % ROUNDS_OF_A_POOL == 0:
                await self._end(traffic if is_over else Traffic(self._chance))
            ledger.seconds = earlier + time.monotonic() - began
            ledger.write(self._file)
            print(
                f"{ledger.seconds:7,.0f} s  {ledger.leases:12,} leases  "
                f"{tracemalloc.get_traced_memory()[0]:10,} bytes",
                file=sys.stderr,
                flush=True,
            )
            if is_over or ledger.problems:
                return

    async def _use(self, traffic: Traffic, leases: int) -> None:
        """Run one round, and see that nothing is lost."""
        taken = traffic.leases
        await self._watched(traffic, traffic.run(leases))
        # Then there are as many resources at each measurement.
        await self._watched(traffic, traffic.pool.retire_all(wait=True))
        await self._balance(traffic)
        self._ledger.leases += traffic.leases - taken

    async def _end(self, traffic: Traffic) -> None:
        """Close a pool under load, and add its counters."""
        await self._watched(traffic, traffic.run_and_close(LAST_LEASES))
        await self._balance(traffic)
        self._ledger.add_pool(traffic.pool.stats())

    async def _watched(self, traffic: Traffic, work: Awaitable[None]) -> None:
        try:
            await asyncio.wait_for(work, STUCK)
        except TimeoutError:
            self._ledger.problems.append(f"no progress for {STUCK:g} s: {traffic.pool!r}")

    async def _balance(self, traffic: Traffic) -> None:
        """Wait until all resources are accounted for.

        A closer that takes too long is cancelled, and ends a moment after the pool has let it go.
        """
        until = time.monotonic() + PATIENCE
        while True:
            server = traffic.server
            wrong = imbalances(traffic.pool.stats(), server.connects, len(server.living))
            if not wrong or time.monotonic() > until:
                break
            await asyncio.sleep(0.001)
        self._ledger.problems += wrong
        gc.collect()

    def _measure(self, taken: int) -> None:
        ledger = self._ledger
        if self._first is None:
            self._first = taken, ledger.leases
        grown, leases = self._before
        ledger.grown = grown + taken - self._first[0]
        ledger.grown_leases = leases + ledger.leases - self._first[1]

    def _note_error(self, _: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
        self._ledger.problems.append(f"{context['message']}: {context.get('exception')!r}")


def simulate_day(ledger: Ledger) -> None:
    """Run the workload of 24 hours in virtual time in a process of its own."""
    workload = next(workload for workload in WORKLOADS if workload.name == DAY)
    goal = next(goal for goal in GOALS if goal.workload == DAY)
    outcome = in_own_process(workload, OURS[0], FULL)
    if outcome.reason:
        ledger.problems.append(f"the day in virtual time {outcome.reason}")
        return
    ledger.day = outcome.figures[goal.figure]
    if ledger.day > goal.limit:
        ledger.problems.append(f"the day in virtual time left {ledger.day:,.0f} bytes")


def report(ledger: Ledger, leases: int) -> str:
    """Summarise all parts. The last line says whether memory is flat and nothing is lost."""
    ways = ", ".join(f"{way} {ledger.counts[way]:,}" for way in WAYS if ledger.counts.get(way))
    day = "not yet" if ledger.day is None else f"{ledger.day:,.0f} bytes left"
    timeouts, cancelled = ledger.counts.get("timeouts", 0), ledger.counts.get("cancelled", 0)
    if ledger.grown_leases:
        grown = f"{ledger.growth():+,.0f} bytes for 100,000 leases"
        memory = f"Memory is {'flat' if ledger.is_flat() else 'NOT FLAT'} ({grown})"
    else:
        memory = "Memory is not measured yet (this takes three rounds)"
    lost = "SOMETHING IS LOST" if ledger.problems else "nothing is lost"
    lines = [
        f"leases     {ledger.leases:,} of {leases:,} in {ledger.seconds:,.0f} s",
        f"parts      {ledger.parts}, with {ledger.pools} pools that have ended",
        f"acquires   {timeouts:,} timed out, {cancelled:,} were cancelled in the queue",
        f"resources  {ledger.created:,} created = {ledger.left():,} gone ({ways})",
        f"a day      a million leases in 24 hours of virtual time: {day}",
        *(f"wrong      {problem}" for problem in ledger.problems),
        f"{memory}, and {lost}.",
    ]
    return "\n".join(lines)


def main(arguments: Sequence[str] | None = None) -> int:
    options = parse(arguments)
    ledger = Ledger() if options.fresh else Ledger.read(options.state)
    if ledger.leases >= options.leases and ledger.day is not None:
        ledger = Ledger()  # the former soak test is complete
    stopped = False
    if ledger.leases < options.leases:
        tracemalloc.start()
        try:
            asyncio.run(
                Soak(ledger, options.state).run(options.leases, options.seconds, options.round)
            )
        except KeyboardInterrupt:
            stopped = True
        finally:
            tracemalloc.stop()
    if ledger.leases >= options.leases and not ledger.problems and not stopped:
        simulate_day(ledger)
        ledger.write(options.state)
    print(report(ledger, options.leases))
    if stopped:
        return 130
    return int(not ledger.is_flat() or bool(ledger.problems))


if __name__ == "__main__":
    logging.disable(logging.WARNING)  # because the faults would fill the terminal with warnings
    sys.exit(main())
