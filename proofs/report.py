"""The report of a checker of the assurance table, and two processes for its work."""

from __future__ import annotations

import multiprocessing
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import dataclass, field
from typing import Any

from proofs.broken_machines import BROKEN

__all__ = ["AT_ONCE", "BY_NAME", "Report", "killed", "plural", "spread"]

AT_ONCE = 2
BY_NAME = {machine.__name__: (guarantee, machine, model) for guarantee, machine, model in BROKEN}


@dataclass
class Report:
    """The findings of a checker. Fields that differ from run to run are not compared."""

    place: str  # in the table, see places.PLACES
    figure: str  # the work, and its bound
    cells: dict[str, str]  # the figure of each guarantee that it checks
    kill: str  # a bug that it found, and its message
    wrong: list[str] = field(default_factory=list)
    measured: str = field(default="", compare=False)  # figures that differ from run to run
    seconds: float = field(default=0.0, compare=False)
    digest: str = field(default="", compare=False)  # of the sources, see proofs.digests


def spread(work: Callable[..., Any], jobs: Iterable[tuple[Any, ...]]) -> Iterator[Any]:
    """Do the jobs in two processes, and print which of them are done."""
    jobs = list(jobs)
    with ProcessPoolExecutor(AT_ONCE, multiprocessing.get_context("spawn")) as pool:
        futures = {pool.submit(work, *job): job for job in jobs}
        for number, future in enumerate(as_completed(futures), 1):
            result = future.result()
            what = " ".join(str(part) for part in futures[future] if part)
            print(f"  {number:>2}/{len(jobs)}  {what}", flush=True)
            yield result


def plural(number: int, what: str = "bug") -> str:
    """Write a number of things."""
    return f"{number} {what}{'s' * (number != 1)}"


def killed(guarantee: str, bugs: Iterable[str]) -> str:
    """Count the found bugs that break a guarantee."""
    return plural(sum(BY_NAME[bug][0] == guarantee for bug in bugs))
