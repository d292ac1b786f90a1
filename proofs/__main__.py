"""Check all claims of ``proofs``, and print a line for each. See the README beside this file.

python -m proofs           some minutes: CrossHair by three claims, the graphs by samples
python -m proofs --deep    all of it
"""

import argparse
import sys
from collections.abc import Iterator

from proofs import (
    counts_graph,
    crosshair_run,
    crosshair_search,
    z3_counts,
    z3_identities,
    z3_tie,
)
from proofs.crosshair_claims import FAST, FAST_BUGS
from proofs.result import Result

__all__ = ["results"]


def results(*, deep: bool) -> Iterator[Result]:
    """Yield the results one after the other."""
    yield counts_graph.check()
    yield z3_counts.induction()
    yield z3_counts.closing_ends()
    yield z3_counts.shrinking_ends()
    yield z3_identities.induction()
    yield z3_identities.bugs()
    for name in z3_tie.GRAPHS if deep else z3_tie.SMALL:
        sample = None if deep and name in z3_tie.SMALL else 300 if deep else 10
        yield z3_tie.check_edges(name, sample)
        yield z3_tie.check_states(name, sample)
    yield crosshair_run.check() if deep else crosshair_run.check((*FAST, *FAST_BUGS))
    if deep:
        yield z3_counts.bugs()
        yield z3_identities.choices()
        yield crosshair_search.check()


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m proofs")
    parser.add_argument("--deep", action="store_true")
    ok = True
    for result in results(deep=parser.parse_args().deep):
        print(result, flush=True)
        ok = ok and result.ok
    return 0 if ok else 1


if __name__ == "__main__":
    sys.exit(main())
