"""Proof of the guarantees about identities, for any number of tasks and slots.

    python -m proofs.z3_identities          samples of the large graphs: some minutes
    python -m proofs.z3_identities --deep   all states of all graphs: two hours

A table says of each action and each guarantee how long its proof took. Then come the bugs, the
rules about free choices, and the comparison with the graphs of the specification.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Iterable, Iterator

from nodetool.concurrency._machine.counts import Event
from proofs import z3_bugs, z3_choices, z3_tie
from proofs.result import Result
from proofs.z3_claims import POOL
from proofs.z3_induction import Answer
from proofs.z3_state import UNBOUNDED

__all__ = ["answers", "bugs", "choices", "induction", "table", "violated"]

CHECKER = "Z3 identities"

Answers = dict[str, list[Answer]]


def answers(actions: Iterable[str] = ()) -> Answers:
    """Prove all claims for each action, or for some."""
    of = POOL.actions(UNBOUNDED)
    chosen = set(actions)
    return {
        action: list(POOL.answers(action, of, step))
        for action, step in of.named().items()
        if not chosen or action in chosen
    }


def table(found: Answers) -> str:
    """Write the seconds of each proof, a line for each guarantee and a column for each action.

    "-" means that the guarantee says nothing about the action.
    """
    of = POOL.actions(UNBOUNDED)
    about = [POOL.about(action, of) for action in found]
    codes = [f"{number:>2}" for number in range(1, len(found) + 1)]
    legend = [f"{code} {action:<15}" for code, action in zip(codes, found, strict=True)]
    lines = ["  ".join(legend[first : first + 7]) for first in range(0, len(legend), 7)]
    lines.append(f"{'seconds':<31}" + "".join(f"{code:>5}" for code in codes))
    for row in zip(*found.values(), strict=True):
        cells = [
            "    -" if one.claim not in named else f"{one.seconds:5.2f}" if one.holds else " FAIL"
            for one, named in zip(row, about, strict=True)
        ]
        lines.append(f"{row[0].claim:<31}{''.join(cells)}")
    return "\n".join(lines)


def violated(found: Answers) -> list[str]:
    """List the claims that do not hold, with the actions that violate them."""
    return [
        f"{action} violates {answer.claim}"
        for action, row in found.items()
        for answer in row
        if not answer.holds
    ]


def induction(found: Answers | None = None) -> Result:
    """Prove that each action is possible, and is a good step from good states to good states."""
    begin = time.perf_counter()
    found = answers() if found is None else found
    wrong = [f"a new pool violates {name}" for name in POOL.first_state_violates()]
    wrong += [f"{action} is impossible" for action in POOL.impossible()]
    wrong += violated(found)
    figure = f"inductive over {len(found)} actions, each possible, any number of tasks and slots"
    seconds = time.perf_counter() - begin + sum(a.seconds for row in found.values() for a in row)
    names = ", ".join(POOL.names())
    return Result(CHECKER, names, "; ".join(wrong) or figure, not wrong, seconds)


def bugs() -> Result:
    """Check that each bad pool violates exactly what it is expected to violate."""
    begin = time.perf_counter()
    wrong = [problem for bug in z3_bugs.BUGS if (problem := z3_bugs.refuted(*bug))]
    figure = "; ".join(wrong) or f"{len(z3_bugs.BUGS)} bad pools refuted"
    seconds = time.perf_counter() - begin
    guarantee = "each by the guarantees that it is expected to violate"
    return Result(CHECKER, guarantee, figure, not wrong, seconds)


def choices(events: Iterable[Event] = Event) -> Result:
    """Prove what the formulas assume about free choices, and that wrong rules are refuted."""
    begin = time.perf_counter()
    found = [z3_choices.prove(claim) for claim in z3_choices.CLAIMS]
    wrong = [answer.problem for answer in found if answer.problem]
    wrong += [f"{answer.claim} says nothing" for answer in found if not answer.says]
    middle = [z3_choices.prove_middle(event) for event in events]
    wrong += [
        one.problem or f"{one.event} can never happen"
        for one in middle
        if one.problem or not one.reached
    ]
    for claim, rule, by in z3_choices.BUGS:
        if not z3_choices.prove(claim, **{rule: by}).problem:
            wrong.append(f"{by.__name__} is not refuted")
    paths = sum(answer.paths for answer in found) + sum(one.paths for one in middle)
    figure = f"{len(found)} rules and {len(middle)} events in {paths:,} paths, numbers of any size"
    figure += f"; {len(z3_choices.BUGS)} wrong rules refuted"
    seconds = time.perf_counter() - begin
    names = ", ".join(answer.claim for answer in found)
    return Result(CHECKER, names, "; ".join(wrong) or figure, not wrong, seconds)


def main() -> int:
    """Prove everything, and print the table and the results."""
    parser = argparse.ArgumentParser(prog="python -m proofs.z3_identities")
    parser.add_argument("--deep", action="store_true", help="compare all states of the graphs")
    options = parser.parse_args()
    found = answers()
    print(table(found), flush=True)
    ok = True
    for result in results(found, None if options.deep else 100):
        print(result, flush=True)
        ok = ok and result.ok
    return 0 if ok else 1


def results(found: Answers, sample: int | None) -> Iterator[Result]:
    """Yield the results one after the other."""
    yield induction(found)
    yield bugs()
    yield choices()
    yield from z3_tie.check(sample)


if __name__ == "__main__":
    sys.exit(main())
