"""The goals of the pool: a table, and its evaluation."""

from __future__ import annotations

from dataclasses import dataclass

from .statistic import Spread

OURS, LIMITED = "ours", "ours, limits"


@dataclass(frozen=True)
class Goal:
    """A limit for a figure: for its median, or for the worst of all runs."""

    number: str
    text: str
    workload: str
    figure: str
    limit: float
    contender: str = OURS
    every_run: bool = False


GOALS: tuple[Goal, ...] = (
    Goal("1", "acquire and release", "W1", "acquire/release ÷ (a)", 2.2),
    Goal("1", "acquire and release, both limits", "W1", "acquire/release ÷ (a)", 3.0, LIMITED),
    Goal("2", "async with", "W1", "async with ÷ (b)", 1.6),
    Goal("2", "async with, both limits", "W1", "async with ÷ (b)", 2.0, LIMITED),
    Goal("3", "1,000 tasks, 10 resources", "W2", "÷ (c)", 1.45),
    Goal("3", "the same with a timeout each", "W2T", "÷ (c)", 1.45),
    Goal("3", "that is below a timer each", "W2T", "÷ (d)", 1.0),
    Goal("4", "hand-over, 50,000 waiting", "W3", "50,000 waiting ÷ (d)", 1.1),
    Goal("4", "its own growth from 1,000", "W3", "50,000 ÷ 1,000", 1.15),
    Goal("5", "a waiter that times out", "W4", "÷ (d)", 0.95),
    Goal("5", "told something else", "W4", "not told by a timeout", 0, every_run=True),
    Goal("5", "the latest of 10,000, ms", "W4", "latest, ms", 60),
    Goal("5", "capacity lost", "W4", "capacity lost", 0, every_run=True),
    Goal("6", "acquire, 10,000 to 1,000", "W5", "acquire, 10,000 ÷ 1,000", 1.6),
    Goal("6", "release, 10,000 to 1,000", "W5", "release, 10,000 ÷ 1,000", 1.6),
    Goal("7", "cancelled, oldest first", "W6", "oldest first ÷ (d)", 1.15),
    Goal("7", "cancelled, newest first", "W6", "newest first ÷ (d)", 1.15),
    Goal("7", "bytes left of a cancelled one", "W6", "bytes left", 60),
    Goal("7", "lost to cancellation", "W6R", "lost to cancellation", 0, every_run=True),
    Goal("7", "lost to a timeout", "W6R", "lost to a timeout", 0, every_run=True),
    Goal("8", "every use expires", "W7a", "÷ (b)", 5.5),
    Goal("8", "left by prune of 10,000", "W7b", "left", 0, every_run=True),
    Goal("8", "pruned, µs each", "W7b", "µs each", 1.0),
    Goal("8", "longest stall of it, ms", "W7b", "longest stall, ms", 5.0),
    Goal("9", "bytes of a waiter", "W8", "waiter", 1_300),
    Goal("9", "bytes of an idle one, both limits", "W8", "idle", 240, LIMITED),
    Goal("10", "import, ms", "W9", "ms", 1.5),
    Goal("10", "modules imported", "W9", "modules", 6),
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
    Goal("13", "close after the last return, ms", "W12", "after the last return, ms", 1.0),
    Goal("13", "queued caller is told, ms", "W12", "queued caller told after, ms", 1.0),
    Goal("13", "queued caller is served", "W12", "queued callers served", 0, every_run=True),
    Goal("S1", "100,000 waiting to 1,000", "S1", "100,000 ÷ 1,000", 1.3),
    Goal("S2", "10,000 resources to 10", "S2", "10,000 ÷ 10", 1.6),
    Goal("S3", "an expiry, 10,000 to 1,000", "S3", "10,000 ÷ 1,000", 1.6),
    Goal("S3", "longest stall of it, ms", "S3", "longest stall, ms", 5.0),
    Goal("S4", "bytes grown in a day", "S4", "bytes grown", 10_000),
)


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


def judge(measured: dict[tuple[str, str, str], list[float]], workloads: set[str]) -> list[Verdict]:
    """Evaluate every goal of these workloads. Figures are keyed by workload, contender and name."""
    verdicts = []
    for goal in GOALS:
        if goal.workload in workloads:
            values = measured.get((goal.workload, goal.contender, goal.figure))
            verdicts.append(Verdict(goal, Spread.of(values) if values else None))
    return verdicts
