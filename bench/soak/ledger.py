"""The record of a soak test: it is in a file, so that a later run goes on from there."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field
from pathlib import Path

from nodetool.concurrency import PoolStats

FLAT = 1_000.0  # bytes for 100,000 leases, which is less than one object for a thousand leases
NOISE = 30_000  # bytes by which two measurements may differ

WAYS = (
    *("late", "expired", "pruned", "surplus", "discarded", "interrupted", "check_failed"),
    *("reset_failed", "retired", "closed_down", "detached", "forgotten"),
)
"""The ways in which a resource leaves a pool, as counters of its statistics."""

BUSY = ("creating", "checking", "resetting", "closing", "in_use", "waiting")
"""The numbers that are 0 in a pool at rest."""

OTHERS = ("acquired", "creation_failures", "closer_failures", "timeouts", "cancelled")


@dataclass
class Ledger:
    """The counts of all parts of a soak test.

    The counters of a pool are added when it has ended.
    """

    leases: int = 0
    seconds: float = 0.0
    parts: int = 0
    pools: int = 0
    created: int = 0  # resources of the pools
    counts: dict[str, int] = field(default_factory=dict)
    grown: int = 0  # bytes, over `grown_leases`
    grown_leases: int = 0
    day: float | None = None  # bytes that a day of virtual time has left
    problems: list[str] = field(default_factory=list)

    @classmethod
    def read(cls, file: Path) -> Ledger:
        """Read the ledger of the parts so far, or begin one."""
        return cls(**json.loads(file.read_text(encoding="utf-8"))) if file.exists() else cls()

    def write(self, file: Path) -> None:
        """Write the ledger. A crash leaves the former file or the new one."""
        beside = file.with_name(f"{file.name}.new")
        beside.write_text(json.dumps(asdict(self), indent=2) + "\n", encoding="utf-8")
        beside.replace(file)

    def add_pool(self, stats: PoolStats) -> None:
        """Add the counters of a pool that has ended."""
        self.pools += 1
        self.created += stats.created
        for name in (*WAYS, *OTHERS):
            self.counts[name] = self.counts.get(name, 0) + getattr(stats, name)

    def growth(self) -> float:
        """Return the bytes that memory has grown for each 100,000 leases."""
        return 1e5 * self.grown / self.grown_leases if self.grown_leases else 0.0

    def is_flat(self) -> bool:
        """Tell whether memory is flat, as far as it is known."""
        return self.grown <= NOISE + FLAT * self.grown_leases / 1e5

    def left(self) -> int:
        """Return how many resources have left the pools that have ended."""
        return sum(self.counts.get(way, 0) for way in WAYS)


def imbalances(stats: PoolStats, made: int, living: int) -> list[str]:
    """List what does not add up in a pool at rest.

    Args:
        stats: The numbers of the pool.
        made: How many resources the server has made.
        living: How many of them exist outside, as the server knows.
    """
    busy = {name: number for name in BUSY if (number := getattr(stats, name))}
    if busy:
        return [f"the pool does not come to rest: {busy}"]
    exist = stats.checking + stats.idle + stats.in_use + stats.resetting
    left = sum(getattr(stats, way) for way in WAYS)
    found = []
    if stats.created != made:
        found.append(f"the server made {made} resources, the pool got {stats.created}")
    if stats.created != exist + left:
        found.append(f"created {stats.created}, but {exist} exist and {left} have left")
    if living != stats.size:
        found.append(f"the server knows {living} resources, the pool {stats.size}")
    return found
