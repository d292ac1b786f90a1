"""Proof of the second semantics' guarantees about identities, for any number of tasks and slots.

    python -m proofs.second_identities          samples of the large graphs: some minutes
    python -m proofs.second_identities --deep   all states of all graphs: two hours

A table says of each action and each guarantee how long its proof took. Then come the bugs, the
rules about free choices, and the comparison with the graphs of the specification.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Iterable, Iterator

from nodetool.concurrency._second.counts import Event
from proofs import second_bugs, second_choices
from proofs.result import Result
from proofs.second_claims import SECOND
from proofs.second_tie import check_edges, check_states
from proofs.second_walk import UNTAKEN
from proofs.z3_induction import Answer
from proofs.z3_state import UNBOUNDED

__all__ = ["SMALL", "answers", "bugs", "choices", "induction", "table", "tie", "violated"]

CHECKER = "Z3 second"

SMALL = ("SingleChecked", "Lowering")
"""The graphs whose states and edges are all compared. Of the others a sample is."""

Answers = dict[str, list[Answer]]


def answers(actions: Iterable[str] = ()) -> Answers:
    """Prove all claims for each action, or for some."""
    of = SECOND.actions(UNBOUNDED)
    chosen = set(actions)
    return {
        action: list(SECOND.answers(action, of, step))
        for action, step in of.named().items()
        if not chosen or action in chosen
    }


def table(found: Answers) -> str:
    """Write the seconds of each proof, a line for each guarantee and a column for each action.

    "-" means that the guarantee says nothing about the action.
    """
    of = SECOND.actions(UNBOUNDED)
    about = [SECOND.about(action, of) for action in found]
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
    wrong = [f"a new pool violates {name}" for name in SECOND.first_state_violates()]
    wrong += [f"{action} is impossible" for action in SECOND.impossible()]
    wrong += violated(found)
    figure = f"inductive over {len(found)} actions, each possible, any number of tasks and slots"
    seconds = time.perf_counter() - begin + sum(a.seconds for row in found.values() for a in row)
    names = ", ".join(SECOND.names())
    return Result(CHECKER, names, "; ".join(wrong) or figure, not wrong, seconds)


def bugs() -> Result:
    """Check that each bad pool violates exactly what it is expected to violate."""
    begin = time.perf_counter()
    wrong = [problem for bug in second_bugs.BUGS if (problem := second_bugs.refuted(*bug))]
    figure = "; ".join(wrong) or f"{len(second_bugs.BUGS)} bad pools refuted"
    seconds = time.perf_counter() - begin
    guarantee = "each by the guarantees that it is expected to violate"
    return Result(CHECKER, guarantee, figure, not wrong, seconds)


def choices(events: Iterable[Event] = Event) -> Result:
    """Prove what the formulas assume about free choices, and that wrong rules are refuted."""
    begin = time.perf_counter()
    found = [second_choices.prove(claim) for claim in second_choices.CLAIMS]
    wrong = [answer.problem for answer in found if answer.problem]
    wrong += [f"{answer.claim} says nothing" for answer in found if not answer.says]
    middle = [second_choices.prove_middle(event) for event in events]
    wrong += [
        one.problem or f"{one.event} can never happen"
        for one in middle
        if one.problem or not one.reached
    ]
    for claim, rule, by in second_choices.BUGS:
        if not second_choices.prove(claim, **{rule: by}).problem:
            wrong.append(f"{by.__name__} is not refuted")
    paths = sum(answer.paths for answer in found) + sum(one.paths for one in middle)
    figure = f"{len(found)} rules and {len(middle)} events in {paths:,} paths, numbers of any size"
    figure += f"; {len(second_choices.BUGS)} wrong rules refuted"
    seconds = time.perf_counter() - begin
    names = ", ".join(answer.claim for answer in found)
    return Result(CHECKER, names, "; ".join(wrong) or figure, not wrong, seconds)


def tie(sample: int | None = None) -> Iterator[Result]:
    """Compare the formulas with each graph: with all of it, or with a sample if it is large."""
    for name in UNTAKEN:
        states = None if name in SMALL else sample
        yield check_edges(name, states)
        yield check_states(name, states)


def main() -> int:
    """Prove everything, and print the table and the results."""
    parser = argparse.ArgumentParser(prog="python -m proofs.second_identities")
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
    yield from tie(sample)


if __name__ == "__main__":
    sys.exit(main())
