"""Put every mutant into a copy of the project, and see who kills it.

    python -m proofs.mutants                     all of them, those of the ledger and the generated
    python -m proofs.mutants --by-hand           those of ``mutants.toml``
    python -m proofs.mutants --generated         those that a tool makes of the deciding code
    python -m proofs.mutants --only NAME...      whose names contain one of these
    python -m proofs.mutants --layer machine     of this layer

A mutant of the ledger must be killed by each of its killers with the verdict that is expected; a
generated one by anybody, or the ledger says why nobody can. Anything else is a failure, and so is
a checker that finds something where nothing was changed. What was found is kept in
``.mutants/results.json``, with a digest of the mutant and of all that took part, so that a run goes
on where it was stopped; ``--fresh`` starts anew.
"""

from __future__ import annotations

import argparse
import os
import re
import sys
import tempfile
from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from proofs import generated_mutants
from proofs.guarantees import GUARANTEES
from proofs.mutant_bench import Baseline, Bench, Found, Results
from proofs.mutant_ledger import LAYERS, ROOT, Ledger, Mutant, complaints, sources

if TYPE_CHECKING:
    from proofs.report import Report

__all__ = ["Outcome", "judged", "main", "report"]

RESULTS = ROOT / ".mutants" / "results.json"


@dataclass
class Outcome:
    """What was found of a mutant, and what is wrong with that."""

    mutant: Mutant
    found: Found
    wrong: list[str] = field(default_factory=list)
    equivalent: str = ""

    @property
    def killers(self) -> list[str]:
        """Who killed it, if it was killed as expected."""
        if self.wrong:
            return []
        if not self.mutant.generated:  # a weakened contract is seen by what it no longer says
            return list(self.mutant.killers)
        return [check for check, said in self.found.items() if said]


def judged(mutant: Mutant, found: Found, baseline: Baseline, ledger: Ledger) -> Outcome:
    """Whether what was found is what must be found."""
    outcome = Outcome(mutant, found)
    if mutant.generated:
        outcome.equivalent = ledger.equivalent(mutant.name)
        killed = any(found.values())
        if killed == bool(outcome.equivalent):
            outcome.wrong.append(
                f"killed, so it is not equivalent: {found}" if killed else "nobody kills it"
            )
        return outcome
    for check, expected in mutant.killers.items():
        said = found.get(check, "no verdict")
        fits = re.search(expected, said) if check.startswith("tests ") else said == expected
        if not fits or said == baseline[check][0]:
            outcome.wrong.append(f"{check}: expected {expected!r}, found {said!r}")
    return outcome


def unsound(mutants: Iterable[Mutant], baseline: Baseline) -> Iterator[str]:
    """The checks that find something where nothing is changed; a bug of its own must be found."""
    owners = {check: mutant for mutant in mutants for check in mutant.killers}
    for check, (said, _) in baseline.items():
        seeded = check.startswith("contracts ") and check.count(" ") == 3
        expected = owners[check].guarantee if seeded else ""
        if said != expected:
            yield f"unchanged: {check}: expected {expected or 'nothing'!r}, found {said!r}"


def chosen(options: argparse.Namespace, ledger: Ledger, texts: Mapping[str, str]) -> list[Mutant]:
    mutants = [] if options.generated else list(ledger.mutants)
    if not options.by_hand:
        every = generated_mutants.generated(texts)
        mutants += [mutant for mutant in every if not ledger.ruled_out(mutant.name)]
    return [
        mutant
        for mutant in mutants
        if options.layer in (None, mutant.layer)
        and (not options.only or any(part in mutant.name for part in options.only))
    ]


def run(
    options: argparse.Namespace, ledger: Ledger, bench: Bench
) -> tuple[list[Outcome], list[str]]:
    """Examine the mutants; the outcomes in their order, and what is wrong besides."""
    mutants = chosen(options, ledger, bench.texts)
    checks = [check for mutant in mutants for check in mutant.killers]
    for layer in {mutant.layer: None for mutant in mutants if mutant.generated}:
        checks += generated_mutants.CHAINS[layer]
    baseline = bench.baseline(list(dict.fromkeys(checks)))
    if wrong := list(unsound(mutants, baseline)):
        return [], wrong
    outcomes: dict[int, Outcome] = {}
    executor = ThreadPoolExecutor(options.workers)
    try:
        futures = {
            executor.submit(
                bench.examine,
                mutant,
                baseline,
                argued=mutant.generated and bool(ledger.equivalent(mutant.name)),
            ): number
            for number, mutant in enumerate(mutants)
        }
        for done, future in enumerate(as_completed(futures), 1):
            number = futures[future]
            outcome = judged(mutants[number], future.result(), baseline, ledger)
            outcomes[number] = outcome
            said = "SURVIVES" if outcome.wrong else ", ".join(outcome.killers) or "equivalent"
            print(f"  {done}/{len(mutants)}  {outcome.mutant.name}: {said}", flush=True)
    finally:
        executor.shutdown(wait=False, cancel_futures=True)
        bench.stop()
    return [outcomes[number] for number in sorted(outcomes)], []


def kinds(outcomes: Iterable[Outcome]) -> str:
    """Who killed them, without what they looked at."""
    names = [
        next(kind for kind in KINDS if check.startswith(kind))
        for outcome in outcomes
        for check in outcome.killers
    ]
    return ", ".join(dict.fromkeys(names))


KINDS = ("TLC", "counts graph", "graph", "crosshair", "z3", "contracts", "tests", "import")


def cell(outcomes: Iterable[Outcome], name: str, layer: str, ledger: Ledger) -> str:
    """What became of the mutants that attack a guarantee in a layer."""
    if (name, layer) in ledger.impossible:
        return "impossible"
    of = [o for o in outcomes if o.mutant.guarantee == name and o.mutant.layer == layer]
    return f"{sum(not o.wrong for o in of)}/{len(of)} {kinds(of)}" if of else ""


def show(outcomes: Sequence[Outcome], ledger: Ledger, texts: Mapping[str, str]) -> None:
    """Print who killed what, and every survivor with its diff."""
    hand = [outcome for outcome in outcomes if not outcome.mutant.generated]
    for code, name, _ in GUARANTEES if hand else ():
        print(f"\n{code:<4}{name}")
        for layer in LAYERS:
            print(f"      {layer:<14} {cell(hand, name, layer, ledger)}")
    print()
    for file in generated_mutants.FILES:
        of = [o for o in outcomes if file in o.mutant.rewritten]
        same, alive = sum(bool(o.equivalent) for o in of), sum(bool(o.wrong) for o in of)
        if of:
            print(f"{file}: {len(of)} generated, {len(of) - same - alive} killed by {kinds(of)}; "
                  f"{same} argued to be equivalent, {alive} wrong")  # fmt: skip
    for outcome in outcomes:
        if outcome.wrong:
            print(f"\nSURVIVOR {outcome.mutant.name}: {outcome.mutant.what}")
            print(*(f"  {line}" for line in outcome.wrong), sep="\n")
            print(outcome.mutant.diff(texts))


def figure(outcomes: Sequence[Outcome]) -> str:
    hand = [o for o in outcomes if not o.mutant.generated]
    made = [o for o in outcomes if o.mutant.generated]
    return (
        f"{sum(not o.wrong for o in hand)} of {len(hand)} mutants by hand killed, each with the "
        f"verdicts expected; {sum(not o.wrong and not o.equivalent for o in made):,} of "
        f"{len(made):,} generated ones, {sum(bool(o.equivalent) for o in made)} argued to be "
        "equivalent"
    )


def work(arguments: Sequence[str], ledger: Ledger | None = None) -> tuple[list[Outcome], list[str]]:
    """All that the command line asks for, and shown."""
    parser = argparse.ArgumentParser(prog="python -m proofs.mutants")
    parser.add_argument("--workers", type=int, default=os.cpu_count() or 1)
    parser.add_argument("--only", nargs="+", metavar="NAME", default=[])
    parser.add_argument("--layer", choices=LAYERS)
    which = parser.add_mutually_exclusive_group()
    which.add_argument("--generated", action="store_true")
    which.add_argument("--by-hand", action="store_true")
    parser.add_argument("--fresh", action="store_true", help="forget what was found before")
    options = parser.parse_args(arguments)
    ledger = ledger or Ledger()
    if not options.generated and (wrong := complaints(ledger, sources())):
        return [], wrong
    with tempfile.TemporaryDirectory(prefix="mutants-") as folder:
        bench = Bench(Path(folder), Results(RESULTS, fresh=options.fresh))
        outcomes, wrong = run(options, ledger, bench)
        show(outcomes, ledger, bench.texts)
    wrong += [f"{o.mutant.name}: {line}" for o in outcomes for line in o.wrong]
    return outcomes, wrong if outcomes else [*wrong, "no mutants"]


def report() -> Report:
    """The column of the assurance table: all mutants, as far as they are not known already."""
    from proofs.report import Report

    outcomes, wrong = work([])
    cells = {}
    for _, name, _ in GUARANTEES:
        of = [o for o in outcomes if o.mutant.guarantee == name]
        cells[name] = f"{sum(not o.wrong for o in of)} of {len(of)}"
    kills = (f"{o.mutant.name}: {check}: {o.found[check]}" for o in outcomes for check in o.killers)
    return Report("mutants", figure(outcomes), cells, next(kills, ""), wrong)


def main(arguments: Sequence[str] | None = None) -> int:
    outcomes, wrong = work(sys.argv[1:] if arguments is None else arguments)
    print()
    for line in wrong:
        print(f"WRONG {line}")
    print(f"{figure(outcomes)}.")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
