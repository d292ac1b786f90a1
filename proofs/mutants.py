"""Put each mutant into a copy of the project, and check that the checkers find it.

    python -m proofs.mutants                     all mutants: by hand and generated
    python -m proofs.mutants --by-hand           the mutants of ``mutants.toml``
    python -m proofs.mutants --generated         the mutants that a tool makes of the deciding code
    python -m proofs.mutants --only NAME...      the mutants whose names contain one of these
    python -m proofs.mutants --layer machine     the mutants of this layer
    python -m proofs.mutants --apply-only        list the entries that do not apply, run no checker

Each killer of a mutant by hand must give the expected verdict. A generated mutant may be killed by
any checker, or the ledger must say why none can. Everything else is a failure. A checker also fails
if it finds something in the unchanged project.

Results are kept in ``.mutants/results.json`` under a digest of the mutant and of all files that may
matter. So an interrupted run continues; ``--fresh`` forgets the results.
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
from proofs.guarantees import GUARANTEES, RULES
from proofs.mutant_bench import Baseline, Bench, Found, Results
from proofs.mutant_ledger import LAYERS, ROOT, Ledger, Mutant, complaints, misfits, sources

if TYPE_CHECKING:
    from proofs.report import Report

__all__ = ["Outcome", "judged", "main", "report"]

RESULTS = ROOT / ".mutants" / "results.json"


@dataclass
class Outcome:
    """The verdicts on a mutant, and what is wrong with them."""

    mutant: Mutant
    found: Found
    wrong: list[str] = field(default_factory=list)
    equivalent: str = ""

    @property
    def killers(self) -> list[str]:
        """Return the checks that killed it, or none if it was not killed as expected."""
        if self.wrong:
            return []
        if not self.mutant.generated:  # a weakened contract is killed by an empty verdict
            return list(self.mutant.killers)
        return [check for check, said in self.found.items() if said]


def judged(mutant: Mutant, found: Found, baseline: Baseline, ledger: Ledger) -> Outcome:
    """Compare the verdicts with the expected ones."""
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
    """Name the checks that are wrong about the unchanged project.

    A check finds nothing there, except if its machine has a bug of its own, which it must find.
    """
    owners = {check: mutant for mutant in mutants for check in mutant.killers}
    for check, (said, _) in baseline.items():
        expected = ""
        if re.fullmatch(r"contracts \w+ \w+ \w+", check):
            expected = owners[check].guarantee
        elif re.fullmatch(r"(graph|contents) \w+ \w+", check):
            expected = said or "a find"
        if said != expected:
            yield f"unchanged: {check}: expected {expected or 'nothing'!r}, found {said!r}"


def chosen(options: argparse.Namespace, ledger: Ledger, texts: Mapping[str, str]) -> list[Mutant]:
    mutants = [] if options.generated else list(ledger.mutants)
    if not options.by_hand:
        every = generated_mutants.generated(texts)
        mutants += [mutant for mutant in every if not ledger.ruled_out(mutant.name)]
    return [mutant for mutant in mutants if is_asked_for(options, mutant.name, mutant.layer)]


def is_asked_for(options: argparse.Namespace, name: str, layer: str) -> bool:
    named = not options.only or any(part in name for part in options.only)
    return named and options.layer in (None, layer)


def misfits_of(options: argparse.Namespace, ledger: Ledger, texts: Mapping[str, str]) -> list[str]:
    """List the entries that do not apply to the code. Each line is followed by hints."""
    wrong: list[str] = []
    for mutant in () if options.generated else ledger.mutants:
        if is_asked_for(options, mutant.name, mutant.layer):
            wrong += misfits(mutant, texts)
    argued = [] if options.by_hand else ledger.argued
    layers = {file.removesuffix(".py"): layer for file, layer in generated_mutants.FILES.items()}
    argued = [n for n in argued if is_asked_for(options, n, layers.get(n.partition(".")[0], ""))]
    for name, similar in generated_mutants.unknown(argued, texts).items():
        wrong.append(f"{name}: no generated mutant has this name\n    most similar: {similar}")
    return wrong


def run(
    options: argparse.Namespace, ledger: Ledger, bench: Bench
) -> tuple[list[Outcome], list[str]]:
    """Examine the mutants. Return their outcomes in order, and what else is wrong."""
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
    """Name the kinds of checks that killed them."""
    names = [
        next(kind for kind in KINDS if check.startswith(kind))
        for outcome in outcomes
        for check in outcome.killers
    ]
    return ", ".join(dict.fromkeys(names))


KINDS = (
    *("TLC", "counts graph", "graph", "contents", "crosshair", "z3", "contracts", "tests"),
    "import",
)


def cell(outcomes: Iterable[Outcome], name: str, layer: str, ledger: Ledger) -> str:
    """Count the mutants that attack a guarantee in a layer, and name the kinds of their killers."""
    if (name, layer) in ledger.impossible:
        return "impossible"
    of = [o for o in outcomes if o.mutant.guarantee == name and o.mutant.layer == layer]
    return f"{sum(not o.wrong for o in of)}/{len(of)} {kinds(of)}" if of else ""


def show(outcomes: Sequence[Outcome], ledger: Ledger, texts: Mapping[str, str]) -> None:
    """Print the killers of all mutants, and each survivor with its diff."""
    hand = [outcome for outcome in outcomes if not outcome.mutant.generated]
    for code, name, _ in (*GUARANTEES, *RULES) if hand else ():
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


def work(options: argparse.Namespace) -> tuple[list[Outcome], list[str]]:
    """Run the mutants that the command line asks for, and print the outcomes."""
    ledger = Ledger()
    if not options.generated and (wrong := complaints(ledger, sources())):
        return [], wrong
    with tempfile.TemporaryDirectory(prefix="mutants-") as folder:
        bench = Bench(Path(folder), Results(RESULTS, fresh=options.fresh))
        outcomes, wrong = run(options, ledger, bench)
        show(outcomes, ledger, bench.texts)
    wrong += [f"{o.mutant.name}: {line}" for o in outcomes for line in o.wrong]
    return outcomes, wrong if outcomes else [*wrong, "no mutants"]


def parsed(arguments: Sequence[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m proofs.mutants")
    parser.add_argument("--workers", type=int, default=os.cpu_count() or 1)
    parser.add_argument("--only", nargs="+", metavar="NAME", default=[])
    parser.add_argument("--layer", choices=LAYERS)
    which = parser.add_mutually_exclusive_group()
    which.add_argument("--generated", action="store_true")
    which.add_argument("--by-hand", action="store_true")
    parser.add_argument("--fresh", action="store_true", help="forget the results of earlier runs")
    parser.add_argument("--apply-only", action="store_true", help="run no checker")
    return parser.parse_args(arguments)


def report() -> Report:
    """Fill a column of the assurance table. Only mutants without a kept result run."""
    from proofs.report import Report

    outcomes, wrong = work(parsed([]))
    cells = {}
    for _, name, _ in (*GUARANTEES, *RULES):
        if of := [o for o in outcomes if o.mutant.guarantee == name]:
            cells[name] = f"{sum(not o.wrong for o in of)} of {len(of)}"
    kills = (f"{o.mutant.name}: {check}: {o.found[check]}" for o in outcomes for check in o.killers)
    return Report("mutants", figure(outcomes), cells, next(kills, ""), wrong)


def main(arguments: Sequence[str] | None = None) -> int:
    options = parsed(sys.argv[1:] if arguments is None else arguments)
    if options.apply_only:
        wrong = misfits_of(options, Ledger(), sources())
        summary = f"{len(wrong)} edits or names do not apply"
    else:
        outcomes, wrong = work(options)
        summary = figure(outcomes)
        print()
    for line in wrong:
        print(f"WRONG {line}")
    print(f"{summary}.")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
