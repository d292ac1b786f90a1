"""Check all claims of ``proofs``, and print a line for each. See the README beside this file.

python -m proofs           under a minute: CrossHair and the graphs by samples
python -m proofs --deep    all of it
"""

import argparse
import sys
from collections.abc import Iterator

from proofs import (
    counts_graph,
    crosshair_run,
    crosshair_search,
    z3_agreement,
    z3_bugs,
    z3_counts,
    z3_induction,
    z3_tie,
)
from proofs.crosshair_claims import FAST, FAST_BUGS
from proofs.result import Result

__all__ = ["results"]


def results(*, deep: bool) -> Iterator[Result]:
    """Yield the results one after the other."""
    yield counts_graph.check()
    yield from z3_counts.check()
    yield z3_agreement.agreement(2_000 if deep else 200)
    yield z3_induction.induction()
    yield z3_bugs.bugs()
    for name in z3_tie.GRAPHS:
        yield z3_tie.check_edges(name, None if deep else 60)
        yield z3_tie.check_points(name, 300 if deep else 6)
    yield crosshair_run.check() if deep else crosshair_run.check((*FAST, *FAST_BUGS))
    if deep:
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
