"""Confirm the claims of ``crosshair_claims`` with CrossHair, in processes of its own.

    python -m proofs.crosshair_run                     all claims and all bugs: some minutes
    python -m proofs.crosshair_run Close Init          only these
    python -m proofs.crosshair_run --json ...          the verdicts as JSON on stdout

A claim is confirmed only if CrossHair gives exactly one message about it: CONFIRMED. Its exit code
does not count, because it is also 0 if CrossHair gives up. A bug must be refuted by the invariant
that it names. Anything else is a failure.

Importing CrossHair switches icontract off for the rest of a process. So no other module may import
it: use `check` or this command.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import re
import subprocess
import sys
import time
from collections.abc import Iterable, Iterator
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import asdict, dataclass
from pathlib import Path

from nodetool.concurrency._machine.counts import INVARIANTS
from proofs.crosshair_claims import BUGS, CLAIMS
from proofs.result import Result

__all__ = ["Verdict", "check", "run"]

AT_ONCE = 2
SECONDS_PER_CLAIM = 1_800.0

_VIOLATED = re.compile(r"\(which returns '(\w+)'\)")


@dataclass(frozen=True)
class Verdict:
    """The answer of CrossHair about a claim."""

    claim: str
    expected: str  # CONFIRMED, or the invariant that a bug violates
    found: str
    paths: int  # how many paths it followed
    seconds: float

    @property
    def ok(self) -> bool:
        return self.found == self.expected


def examine(name: str) -> Verdict:
    """Let CrossHair examine one claim, in this process."""
    from collections import Counter

    from crosshair.core_and_libs import (
        AnalysisKind,
        MessageType,
        analyze_function,
        run_checkables,
    )
    from crosshair.options import AnalysisOptionSet

    begin = time.perf_counter()
    expected, claim = BUGS[name] if name in BUGS else ("CONFIRMED", CLAIMS[name])
    stats: Counter[str] = Counter()
    options = AnalysisOptionSet(
        analysis_kind=[AnalysisKind.PEP316],
        report_all=True,
        per_condition_timeout=SECONDS_PER_CLAIM,
        per_path_timeout=SECONDS_PER_CLAIM,
        max_uninteresting_iterations=sys.maxsize,
        stats=stats,
    )
    messages = list(run_checkables(analyze_function(claim, options)))
    found = f"{len(messages)} messages instead of one"
    if len(messages) == 1:
        (message,) = messages
        violated = _VIOLATED.search(message.message)
        found = message.state.name
        if message.state is not MessageType.CONFIRMED:
            found = violated[1] if violated else f"{found}: {message.message[:200]}"
    return Verdict(name, expected, found, stats["num_paths"], time.perf_counter() - begin)


def run(names: Iterable[str]) -> Iterator[Verdict]:
    """Examine the claims, two at a time, each in a process that is not this one."""
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(AT_ONCE, context) as pool:
        futures = [pool.submit(examine, name) for name in names]
        for future in as_completed(futures):
            yield future.result()


def check(names: Iterable[str] = ()) -> Result:
    """Examine the claims, or all of them, in a process of their own, and sum up."""
    begin = time.perf_counter()
    wanted = list(names) or [*CLAIMS, *BUGS]
    command = [sys.executable, "-m", "proofs.crosshair_run", "--json", *wanted]
    root = Path(__file__).parent.parent
    process = subprocess.run(command, cwd=root, stdout=subprocess.PIPE, check=False)
    verdicts = [Verdict(**verdict) for verdict in json.loads(process.stdout or "[]")]
    wrong = [verdict for verdict in verdicts if not verdict.ok]
    confirmed = sum(verdict.found == "CONFIRMED" for verdict in verdicts)
    claims = sum(name in CLAIMS for name in wanted)
    complete = sorted(verdict.claim for verdict in verdicts) == sorted(wanted)
    figure = f"{confirmed} of {claims} claims confirmed over all paths, any size; "
    figure += f"{len(wanted) - claims} bugs refuted"
    if wrong or not complete:
        figure = "; ".join(f"{v.claim}: {v.found}" for v in wrong) or "verdicts are missing"
    ok = process.returncode == 0 and complete and confirmed == claims and not wrong
    guarantee = ", ".join([*INVARIANTS, "SizeWithinLimitSteps", "PhaseForwardSteps"])
    return Result("CrossHair", guarantee, figure, ok, time.perf_counter() - begin)


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m proofs.crosshair_run")
    parser.add_argument("names", nargs="*", metavar="CLAIM", help="a claim or a bug, by its name")
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    known = [*CLAIMS, *BUGS]
    if unknown := set(options.names).difference(known):
        parser.error(f"no such claims: {', '.join(sorted(unknown))}")
    names = options.names or known
    begin = time.perf_counter()
    verdicts = []
    for verdict in run(names):
        verdicts.append(verdict)
        mark = "" if verdict.ok else f"  WRONG, expected {verdict.expected}"
        line = f"{len(verdicts):>2}/{len(names)}  {verdict.claim:<30}  {verdict.found}{mark}"
        line += f"  ({verdict.paths} paths, {verdict.seconds:.1f} s)"
        print(line, file=sys.stderr, flush=True)
    wrong = [verdict for verdict in verdicts if not verdict.ok]
    if options.json:
        print(json.dumps([asdict(verdict) for verdict in verdicts]))
    else:
        seconds = time.perf_counter() - begin
        print(f"{len(verdicts) - len(wrong)} of {len(names)} as expected in {seconds:.0f} s")
    return 1 if wrong or len(verdicts) != len(names) else 0


if __name__ == "__main__":
    sys.exit(main())
