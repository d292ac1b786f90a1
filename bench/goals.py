"""The goals of the pool: a table, and its evaluation."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import median
from typing import TypeAlias

from .statistic import Spread

Key: TypeAlias = tuple[str, str, str]  # workload, contender, figure

OURS, LIMITED = "ours", "ours, limits"


@dataclass(frozen=True)
class Goal:
    """A limit for a figure: for its median, or for the worst of all runs.

    A goal beside a peer limits the figure divided by the peer's, and counts if both have one.
    """

    number: str
    text: str
    workload: str
    figure: str
    limit: float
    contender: str = OURS
    every_run: bool = False
    peer: str = ""


GOALS: tuple[Goal, ...] = (
    Goal("1", "acquire and release", "W1", "acquire/release ÷ (a)", 4.0),
    Goal("1", "acquire and release, both limits", "W1", "acquire/release ÷ (a)", 4.8, LIMITED),
    Goal("1", "acquire(timeout=5) and release", "W1", "acquire(timeout=5)/release ÷ (a)", 4.8),
    Goal("2", "async with", "W1", "async with ÷ (b)", 2.2),
    Goal("2", "async with, both limits", "W1", "async with ÷ (b)", 2.6, LIMITED),
    Goal("3", "1,000 tasks, 10 resources", "W2", "÷ (c)", 1.6),
    Goal("3", "the same with a timeout each", "W2T", "÷ (c)", 1.6),
    Goal("3", "that, to a timer each", "W2T", "÷ (d)", 0.9),
    Goal("4", "hand-over, 50,000 waiting", "W3", "50,000 waiting ÷ (d)", 0.8),
    Goal("4", "its own growth from 1,000", "W3", "50,000 ÷ 1,000", 1.15),
    Goal("5", "a waiter that times out", "W4", "÷ (d)", 0.9),
    Goal("5", "waiters without a timeout error", "W4", "not told by a timeout", 0, every_run=True),
    Goal("5", "the latest of 10,000, ms", "W4", "latest, ms", 60),
    Goal("5", "capacity lost", "W4", "capacity lost", 0, every_run=True),
    Goal("6", "acquire, 10,000 to 1,000", "W5", "acquire, 10,000 ÷ 1,000", 1.6),
    Goal("6", "release, 10,000 to 1,000", "W5", "release, 10,000 ÷ 1,000", 1.6),
    Goal("7", "cancelled, oldest first", "W6", "oldest first ÷ (d)", 1.2),
    Goal("7", "cancelled, newest first", "W6", "newest first ÷ (d)", 1.2),
    Goal("7", "bytes left of a cancelled one", "W6", "bytes left", 60),
    Goal("7", "lost to cancellation", "W6R", "lost to cancellation", 0, every_run=True),
    Goal("7", "lost to a timeout", "W6R", "lost to a timeout", 0, every_run=True),
    Goal("8", "every use expires, async callbacks", "W7a", "÷ (e)", 1.6),
    Goal("8", "every use expires, sync callbacks", "W7as", "÷ (b)", 15),
    Goal("8", "left by prune of 10,000", "W7b", "left", 0, every_run=True),
    Goal("8", "pruned, async closer", "W7b", "each ÷ (e)", 1.5),
    Goal("8", "longest stall of it, ms", "W7b", "longest stall, ms", 5),
    Goal("8", "left by prune, sync closer", "W7bs", "left", 0, every_run=True),
    Goal("8", "pruned, µs each beyond 2 (f)", "W7bs", "µs each beyond twice (f)", 0.5),
    Goal("8", "longest stall of it, ms", "W7bs", "longest stall, ms", 5),
    Goal("8", "stall of open() of 100,000, ms", "W7c", "stall of open(), async, ms", 5),
    Goal("8", "stall of its close(), ms", "W7c", "stall of close(), async, ms", 5),
    Goal("8", "the same open(), sync factory, ms", "W7c", "stall of open(), sync, ms", 5),
    Goal("8", "the same close(), sync closer, ms", "W7c", "stall of close(), sync, ms", 5),
    Goal("9", "bytes of a waiter", "W8", "waiter", 1_300),
    Goal("9", "bytes of an idle one, both limits", "W8", "idle", 300, LIMITED),
    Goal("10", "import, ms", "W9", "ms", 6),
    Goal("10", "import, to that of psycopg_pool", "W9", "ms", 0.25, peer="psycopg"),
    Goal("10", "import, to that of asyncpg", "W9", "ms", 0.25, peer="asyncpg"),
    Goal("10", "dependencies", "W9", "dependencies", 0, every_run=True),
    Goal("11", "cold burst, total", "W10", "total", 1.12),
    Goal("11", "cold burst, p50", "W10", "p50", 1.12),
    Goal("11", "cold burst, p99", "W10", "p99", 1.12),
    Goal("11", "creations not parallel", "W10", "creations not parallel", 0, every_run=True),
    Goal("11", "behind a failed creation, ms", "W10f", "served after, ms", 50),
    Goal("12", "most minus least served", "W11", "most minus least", 1, every_run=True),
    Goal("12", "inversions", "W11", "inversions", 0, every_run=True),
    Goal("12", "overtaken", "W11", "overtaken", 0, every_run=True),
    Goal("13", "close of 20 idle to one closer", "W12", "20 idle ÷ one closer", 1.3),
    Goal("13", "close after the last return, ms", "W12", "after the last return, ms", 1),
    Goal("13", "error of a queued caller, ms", "W12", "queued caller told after, ms", 1),
    Goal("13", "queued callers served", "W12", "queued callers served", 0, every_run=True),
    Goal("14", "tracked lease", "W14", "leak_threshold: acquire/release ÷ plain", 2),
    Goal("14", "lease with a listener", "W14", "a listener: acquire/release ÷ plain", 4),
    Goal("15", "goodput lost to a check, %", "W15", "lost to the check, %", 10),
    Goal("15", "connects of that pool of 2", "W15", "connects", 2, every_run=True),
    Goal("16", "first request served", "W16", "first request served", 2, every_run=True),
    Goal("16", "requests not served", "W16", "requests not served", 1, every_run=True),
    Goal("16", "slowest of the others to a connect", "W16", "slowest ÷ a connect", 1.2),
    Goal("17", "tasks in retire_all(), 2,000 to 500", "W17", "retire_all(), 2,000 ÷ 500", 4.5),
    Goal("17", "tasks in close(), 2,000 to 500", "W17", "close(), 2,000 ÷ 500", 4.5),
    Goal("S1", "100,000 waiting to 1,000", "S1", "100,000 ÷ 1,000", 1.3),
    Goal("S2", "10,000 resources to 10", "S2", "10,000 ÷ 10", 1.6),
    Goal("S3", "an expiry, 10,000 to 1,000", "S3", "10,000 ÷ 1,000", 1.6),
    Goal("S3", "longest stall of it, ms", "S3", "longest stall, ms", 5),
    Goal("S4", "bytes grown in a day", "S4", "bytes grown", 10_000),
)

MEANINGS: dict[str, str] = {
    "1": "A lease costs about a microsecond if no task waits. A query costs a hundred times that.",
    "2": "The same, with the context that most programs use.",
    "3": "With more tasks than resources, the pool costs about what the waiters' futures cost. "
    "All timeouts share one timer.",
    "4": "A long queue costs each waiter no more than a short one.",
    "5": "If a database is down and all acquires time out, each gets its error in time.",
    "6": "No acquire and no release searches through the pool.",
    "7": "A client that disconnects leaves nothing behind. The bytes are asyncio's table of tasks.",
    "8": "Resources that expire cost little more than the tasks that close them. The loop never "
    "stops for long.",
    "9": "This is the memory of a large queue, and of a large pool.",
    "10": "The import does not delay the start of a program.",
    "11": "After an outage, connects run in parallel. No acquirer waits longer than they take.",
    "12": "No task is served twice before every task is served once.",
    "13": "A shutdown takes as long as the slowest closer. Waiters get their error at once.",
    "14": "The search for leaked leases can stay on in production. A listener is for metrics.",
    "15": "A health check does not make an overload worse.",
    "16": "A connect that hangs costs one caller its deadline. All others are served.",
    "17": "Many tasks may wait for the end of the pool, or for a rotation of credentials.",
    "S1": "The cost of a hand-over does not depend on the queue.",
    "S2": "Nor does it depend on the number of resources.",
    "S3": "Resources that grow old one after another never stop the loop for long.",
    "S4": "A day of leases leaves no memory behind.",
}
"""What the goals with each number mean for a user."""


@dataclass(frozen=True)
class Verdict:
    """A goal and its measured figure, if there is one."""

    goal: Goal
    measured: Spread | None

    @property
    def met(self) -> bool:
        """Whether the goal is met. A goal without a figure is not met."""
        if self.measured is None:
            return False
        value = self.measured.worst if self.goal.every_run else self.measured.median
        return value <= self.goal.limit


def judge(measured: Mapping[Key, Sequence[float]], workloads: set[str]) -> list[Verdict]:
    """Evaluate the goals of these workloads. Leave out a goal beside a peer that has no figure."""
    verdicts = []
    for goal in GOALS:
        if goal.workload not in workloads:
            continue
        values = measured.get((goal.workload, goal.contender, goal.figure))
        if goal.peer:
            others = measured.get((goal.workload, goal.peer, goal.figure))
            if not others:
                continue
            values = values and [value / median(others) for value in values]
        verdicts.append(Verdict(goal, Spread.of(values) if values else None))
    return verdicts
