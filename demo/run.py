"""The run: its options, its phases, its final checks, and its exit code."""

from __future__ import annotations

import argparse
import asyncio
import logging
import signal
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from math import inf
from pathlib import Path
from tempfile import TemporaryDirectory

from nodetool.concurrency import PoolListener
from nodetool.concurrency.timeline import Timeline
from nodetool.concurrency.trace import TraceFile

from .bank import MONEY, Audit, Bank
from .comparison import COMPARED, Comparison
from .load import MAX_SIZE, WAVE, Load, demo_pool
from .outage import COUNTED, EXPLAINED, Outage
from .recorded import UNCHECKED, Recorded, check_recorded
from .screen import Check, Lines, Numbers, View, line, screen

DESCRIPTION = """\
Move money over a pool of SQLite connections while everything goes wrong. Then let the database go
away and come back. At the end, check that nothing was lost."""

FAILED, INTERRUPTED = 1, 130

LOAD, OUTAGE = 0.5, 0.2  # shares of the time; the comparison gets the rest


@dataclass(frozen=True)
class Findings:
    """The results of a run, after everything is closed."""

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
    recovered: float | None  # seconds from the end of the outage to the first transfer
    errors: tuple[str, ...]
    recorded: Recorded


def verify(found: Findings, money: int = MONEY) -> list[Check]:
    """Evaluate every rule."""
    lost = len(found.confirmed - found.audit.journal)
    invented = len(found.audit.journal - found.confirmed - found.uncertain)
    return [
        Check(
            "no money is lost",
            found.audit.money == money,
            f"{found.audit.money:,} of {money:,} in the accounts",
        ),
        Check(
            "every transfer is whole",
            not lost and not invented,
            f"{len(found.confirmed):,} confirmed, {lost} of them lost, {invented} others found",
        ),
        Check(
            "every error has a known cause",
            not found.errors,
            f"{len(found.errors)} unexplained errors {' '.join(found.errors[:1])}".strip(),
        ),
        Check(
            f"at most {MAX_SIZE} connections",
            0 < found.peak <= MAX_SIZE,
            f"at most {found.peak} open at once, by SQLite's own count",
        ),
        Check(
            "one user at a time",
            not found.shared,
            f"{found.shared} connections had two users at once",
        ),
        Check(
            "retire_all replaces all",
            found.retired > 0 and not found.survivors,
            f"{found.retired} connections retired, {found.survivors} of them left",
        ),
        Check(
            "the outage ends",
            found.recovered is not None,
            "no transfer after the outage"
            if found.recovered is None
            else f"first transfer {found.recovered * 1000:.0f} ms after the database came back",
        ),
        Check("the recorded run is valid", *found.recorded),
        Check(
            "everything is closed",
            not found.still_open and not found.threads,
            f"{found.opened} connections opened, {found.still_open} still open, "
            f"{found.threads} of their threads left",
        ),
    ]


def report(out: Lines, checks: list[Check]) -> int:
    """Print every rule, and return the exit code."""
    out.checks(checks)
    return 0 if all(check.holds for check in checks) else FAILED


class CtrlC:
    """The handler of Ctrl-C. The first signal stops the run, and later ones do nothing."""

    def __init__(self) -> None:
        self._pressed = False
        self._stop: Callable[[], object] | None = None
        signal.signal(signal.SIGINT, self._press)

    def on_press(self, stop: Callable[[], object] | None) -> None:
        """Call `stop` at the first Ctrl-C, or now if it was pressed before."""
        self._stop = stop
        if self._pressed and stop is not None:
            stop()

    def _press(self, *_: object) -> None:
        first, self._pressed = not self._pressed, True
        if first and self._stop is not None:
            self._stop()


class Demo:
    """One run."""

    def __init__(
        self,
        bank: Bank,
        out: Lines,
        seconds: float,
        seed: int,
        listener: PoolListener | None,
        trace: TraceFile,
    ) -> None:
        self.bank = bank
        self.out = out
        self.seconds = seconds
        self.pool = demo_pool(bank, listener, trace)
        self.load = Load(bank, self.pool, seed)
        self.outage = Outage(bank, self.load)
        self.comparison = Comparison(bank, seed)
        self.under_load: Numbers = {}  # the faults at the end of the load

    async def run(self, ctrl_c: CtrlC) -> bool:
        """Run all phases. Return whether they were completed."""
        loop = asyncio.get_running_loop()
        work = asyncio.create_task(self._phases())
        ticker = asyncio.create_task(self._ticker(loop.time()))
        ctrl_c.on_press(partial(loop.call_soon_threadsafe, work.cancel))
        try:
            await asyncio.wait([work, ticker], return_when=asyncio.FIRST_COMPLETED)
        finally:
            ctrl_c.on_press(None)
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
            self.under_load = self.faults()
            await self.outage.run(self.seconds * OUTAGE)
        await self.comparison.run(self.seconds * (1 - LOAD - OUTAGE))

    async def _ticker(self, start: float) -> None:
        clock = asyncio.get_running_loop().time
        while True:
            done = min((clock() - start) / self.seconds, 1.0)
            self.out.show(View(self._phase(), done, self._summary(), self._numbers()))
            await asyncio.sleep(self.out.interval)

    def _phase(self) -> str:
        if self.outage.now:
            return f"outage: the database {'is away' if self.bank.is_away else 'is there'}"
        return self.comparison.now or "load with faults"

    def _summary(self) -> str:
        transfers = (
            f"{len(self.bank.confirmed):,} transfers, open connections: {self.bank.census.open}"
        )
        return (
            transfers if self.comparison.now else f"{transfers}, {self.pool.stats().waiting} wait"
        )

    def _numbers(self) -> Numbers:
        census, stats = self.bank.census, self.pool.stats()
        now = {"open": census.open, "at most": census.peak, "opened": census.opened}
        if self.comparison.now:
            return {"connections": now}
        gauges = {"in use": stats.in_use, "idle": stats.idle, "waiting": stats.waiting}
        return {"connections": now, "pool": gauges} | self.faults()

    def faults(self) -> Numbers:
        """Return the outcomes of the load's transfers and connections so far."""
        stats = self.pool.stats()
        return {
            "transfers": dict(sorted(self.load.outcomes.items())),
            "ended": {
                "broken": self.load.broken,
                "expired": stats.expired,
                "interrupted": stats.interrupted,
                "failed a check": stats.check_failed,
                "failed a reset": stats.reset_failed,
            },
        }

    def findings(self, recorded: Recorded) -> Findings:
        """Collect the results of a run that is over."""
        bank, load = self.bank, self.load
        threads = [
            thread for thread in threading.enumerate() if thread is not threading.main_thread()
        ]
        for thread in threads:
            thread.join(1.0)  # a thread that has closed its connection ends soon
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
            recovered=self.outage.recovered,
            errors=tuple(map(repr, load.errors)),
            recorded=recorded,
        )


def positive(text: str) -> float:
    """Parse a positive number of seconds."""
    seconds = float(text)
    if not 0 < seconds < inf:
        raise ValueError
    return seconds


def options(arguments: Sequence[str] | None) -> argparse.Namespace:
    """Parse the command line."""
    parser = argparse.ArgumentParser(prog="python -m demo", description=DESCRIPTION)
    parser.add_argument(
        "--seconds",
        type=positive,
        default=15.0,
        metavar="S",
        help="Run for about S seconds. The default is %(default)g.",
    )
    parser.add_argument(
        "--seed",
        type=int,
        default=1,
        metavar="N",
        help="Make all random choices from the seed N. The default is %(default)s.",
    )
    parser.add_argument(
        "--timeline", type=Path, metavar="FILE", help="Record the load's connections to FILE."
    )
    chosen = parser.parse_args(arguments)
    file = chosen.timeline
    if file is not None and (file.is_dir() or not file.parent.is_dir()):
        parser.error(f"--timeline: cannot write to {file}")
    return chosen


def run(arguments: Sequence[str] | None = None) -> int:
    """Run the command and return its exit code."""
    chosen = options(arguments)
    ctrl_c = CtrlC()
    # Hide the warnings about injected faults.
    logging.getLogger("nodetool.concurrency.pool").setLevel(logging.ERROR)
    out = screen()
    with TemporaryDirectory() as directory:
        bank = Bank(Path(directory) / "bank.db", chosen.seed)
        out.say(
            f"{WAVE} tasks at a time move money over at most {MAX_SIZE} SQLite connections.\n"
            f"The connections expire, break and are retired. The seed is {chosen.seed}."
        )
        timeline = Timeline("bank") if chosen.timeline else None
        file = Path(directory) / "trace"
        with TraceFile(file) as trace:
            demo = Demo(bank, out, chosen.seconds, chosen.seed, timeline, trace)
            with out:
                finished = asyncio.run(demo.run(ctrl_c))
        if timeline is not None:
            timeline.save(chosen.timeline)
        if finished:
            out.say("Another process compares the recorded steps with the specification.")
        found = demo.findings(check_recorded(file) if finished else UNCHECKED)
    if not finished:
        return interrupted(out, found)
    for group, values in demo.under_load.items():
        out.say(f"{group} under load: {line(values)}".capitalize())
    out.say("")
    out.table(("Outage", "database", *COUNTED), demo.outage.rows)
    out.say(EXPLAINED)
    out.say("")
    out.table(("Per second", "pool", "one shared", "factor"), demo.comparison.rows())
    out.say(COMPARED)
    out.say("")
    return report(out, verify(found))


def interrupted(out: Lines, found: Findings) -> int:
    """Report the state after Ctrl-C."""
    if found.still_open or found.threads:
        return report(out, verify(found)[-1:])
    out.say(f"Interrupted: all {found.opened} connections that were opened are closed")
    return INTERRUPTED
