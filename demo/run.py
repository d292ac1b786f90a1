"""The run: its options, its phases, what must hold at the end, its exit code."""

from __future__ import annotations

import argparse
import asyncio
import logging
import signal
import threading
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

from .bank import MONEY, Audit, Bank
from .load import CLIENTS, MAX_SIZE, WAVE, Load, demo_pool, over_one, over_pool, throughput
from .screen import Check, Lines, Numbers, View, screen

FAILED, INTERRUPTED = 1, 130

LOAD, RACE = 0.6, 0.1  # parts of the time: the load, and each of the four measurements

COMPARED = f"""\
Compared, without faults: {CLIENTS} tasks over a pool of {MAX_SIZE} connections, and over one
connection that they share behind a lock, since transactions on one connection cannot interleave.
SQLite has one writer at a time, so transfers take turns either way; reads next to a slow report
need not. The mixed load is 9 point reads to 1 transfer, and one task that makes slow reports."""


@dataclass(frozen=True)
class Findings:
    """What was seen of a run once everything is closed."""

    audit: Audit
    confirmed: frozenset[int]
    uncertain: frozenset[int]  # interrupted during their commit
    opened: int
    peak: int
    still_open: int
    threads: int
    shared: int
    retired: int
    survivors: int
    failed: int


def verify(found: Findings, money: int = MONEY) -> list[Check]:
    """What must hold, and whether it does."""
    lost = len(found.confirmed - found.audit.journal)
    invented = len(found.audit.journal - found.confirmed - found.uncertain)
    return [
        Check("money conserved", found.audit.money == money, f"{found.audit.money:,} of {money:,}"),
        Check(
            "transfers are whole",
            not lost and not invented and not found.failed,
            f"{len(found.confirmed):,} confirmed, {lost} of them lost, "
            f"{invented} others in the journal, {found.failed} failed unexpectedly",
        ),
        Check(
            "never above max_size",
            0 < found.peak <= MAX_SIZE,
            f"at most {found.peak} of {MAX_SIZE} connections open at once, by SQLite's own count",
        ),
        Check("one user each", not found.shared, f"{found.shared} connections had two at once"),
        Check(
            "retire_all replaces all",
            found.retired > 0 and not found.survivors,
            f"{found.retired} retired, {found.survivors} of them left",
        ),
        Check(
            "all closed",
            not found.still_open and not found.threads,
            f"{found.opened} opened, {found.still_open} still open, "
            f"{found.threads} of their threads left",
        ),
    ]


def report(out: Lines, checks: list[Check]) -> int:
    """Print what must hold; the exit code tells whether it does."""
    out.checks(checks)
    return 0 if all(check.holds for check in checks) else FAILED


class Demo:
    """One run."""

    def __init__(self, bank: Bank, out: Lines, seconds: float, seed: int) -> None:
        self.bank = bank
        self.out = out
        self.seconds = seconds
        self.seed = seed
        self.pool = demo_pool(bank)
        self.load = Load(bank, self.pool, seed)
        self.rates: dict[str, tuple[float, float]] = {}
        self._phase = "faulty load"

    async def run(self) -> bool:
        """The whole run, and whether it came to its end; Ctrl-C ends it early."""
        loop = asyncio.get_running_loop()
        work = asyncio.create_task(self._phases())
        ticker = asyncio.create_task(self._ticker(loop.time()))

        def interrupt() -> None:  # once: a second cancellation would interrupt the closing
            loop.add_signal_handler(signal.SIGINT, self.out.say, "Closing already")
            work.cancel()

        with suppress(NotImplementedError):  # where there is none, asyncio cancels this task
            loop.add_signal_handler(signal.SIGINT, interrupt)
        try:
            await asyncio.wait([work, ticker], return_when=asyncio.FIRST_COMPLETED)
        finally:
            work.cancel()
            ticker.cancel()
            await asyncio.wait([work, ticker])
        for task in (work, ticker):
            if not task.cancelled():
                task.result()
        return not work.cancelled()

    async def _phases(self) -> None:
        async with self.pool:
            await self.load.run(self.seconds * LOAD)
        for mixed in (False, True):
            rates = []
            for where, over in (("the pool", over_pool), ("one shared connection", over_one)):
                self._phase = f"{'mixed load' if mixed else 'transfers'} over {where}"
                async with over(self.bank) as lease:
                    rates.append(
                        await throughput(
                            self.bank, lease, self.seconds * RACE, self.seed, mixed=mixed
                        )
                    )
            (work, reports), (shared_work, shared_reports) = rates
            if mixed:
                self.rates["mixed: reads and transfers"] = work, shared_work
                self.rates["mixed: slow reports"] = reports, shared_reports
            else:
                self.rates["transfers only"] = work, shared_work

    async def _ticker(self, start: float) -> None:
        clock = asyncio.get_running_loop().time
        while True:
            done = min((clock() - start) / self.seconds, 1.0)
            self.out.show(View(self._phase, done, self._numbers()))
            await asyncio.sleep(self.out.interval)

    def _numbers(self) -> Numbers:
        census, stats = self.bank.census, self.pool.stats()
        connections = {"open": census.open, "at most": census.peak, "opened": census.opened}
        if stats.closed:
            return {"connections": connections}
        return {
            "transfers": dict(sorted(self.load.outcomes.items())),
            "pool": {"in use": stats.in_use, "idle": stats.idle, "waiting": stats.waiting},
            "connections": connections
            | {
                "expired": stats.expired,
                "discarded": stats.discarded,
                "failed a check": stats.check_failures,
                "failed a reset": stats.reset_failures,
            },
        }

    def findings(self) -> Findings:
        """What is to be said about a run that is over."""
        bank, load = self.bank, self.load
        threads = [
            thread for thread in threading.enumerate() if thread is not threading.main_thread()
        ]
        for thread in threads:
            thread.join(1.0)  # one that has closed its connection is about to end
        return Findings(
            audit=bank.audit(),
            confirmed=frozenset(bank.confirmed),
            uncertain=frozenset(bank.committing),
            opened=bank.census.opened,
            peak=bank.census.peak,
            still_open=bank.census.open,
            threads=sum(thread.is_alive() for thread in threads),
            shared=bank.shared,
            retired=len(load.retired),
            survivors=len(load.survivors),
            failed=load.outcomes["failed"],
        )


def options(arguments: Sequence[str] | None) -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(prog="python -m demo", description=__doc__)
    parser.add_argument("--seconds", type=float, default=12.0, help="about how long (%(default)s)")
    parser.add_argument("--seed", type=int, default=1, help="of all that is random (%(default)s)")
    return parser.parse_args(arguments)


def run(arguments: Sequence[str] | None = None) -> int:
    """Run the command and return its exit code."""
    chosen = options(arguments)
    # What is broken on purpose need not be reported.
    logging.getLogger("nodetool.concurrency.pool").setLevel(logging.ERROR)
    out = screen()
    with TemporaryDirectory() as directory:
        bank = Bank(Path(directory) / "bank.db", chosen.seed)
        out.say(
            f"{WAVE} tasks at a time move money over at most {MAX_SIZE} SQLite connections that "
            f"expire, break and are retired (seed {chosen.seed})"
        )
        demo = Demo(bank, out, chosen.seconds, chosen.seed)
        with out:
            finished = asyncio.run(demo.run())
        found = demo.findings()
    if not finished:
        return interrupted(out, found)
    out.table(
        ("Per second", "pool", "one shared", "factor"),
        [
            (name, f"{pool:,.0f}", f"{one:,.0f}", f"{pool / one:.2f}" if one else "-")
            for name, (pool, one) in demo.rates.items()
        ],
    )
    out.say(COMPARED)
    return report(out, verify(found))


def interrupted(out: Lines, found: Findings) -> int:
    """Say how Ctrl-C left things."""
    if found.still_open or found.threads:
        return report(out, verify(found)[-1:])
    out.say(f"Interrupted: all {found.opened} connections that were opened are closed")
    return INTERRUPTED
