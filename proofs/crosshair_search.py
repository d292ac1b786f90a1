"""Let CrossHair search the machine for a step that breaks one of its contracts.

    python -m proofs.crosshair_search                       all methods and bugs: minutes
    python -m proofs.crosshair_search release HandsToTwo    only these
    python -m proofs.crosshair_search --json ...            the verdicts as JSON on stdout

This is a search and no proof, because time, the number of steps and the limits are bounded. These
values are symbolic:

* time: the duration of each step, max_idle_time, max_age, and the trust after a use;
* options: checks, resets and the order of reuse;
* the start: how many resources are held or idle, and how many acquirers wait;
* the script: two more steps, and the subject of the method that is searched.

The bare machine plays the script. Then it becomes the checked machine and makes the step that is
searched. Its invariants are checked before and after that step.

A search counts only if the machine accepted the step on some path. A machine with a bug must be
found by the expected guarantee. Anything else is a failure.

Importing CrossHair switches icontract off for the rest of a process. The search runs in processes
of its own, switches icontract on again and tests that: use `check` or this command.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import re
import subprocess
import sys
import time
from collections import Counter, deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from icontract import _checkers
from icontract._types import Contract

from nodetool.concurrency._errors import ResourcePoolError
from nodetool.concurrency._machine.contracts import GuaranteeViolationError, checked
from nodetool.concurrency._machine.machine import PoolMachine
from proofs.crosshair_script import (
    INFINITE,
    MACHINES,
    METHODS,
    SEEDED,
    Machine,
    Play,
    Sizes,
    Step,
    Times,
    WrongState,
    WrongStep,
    pick,
    sweep_once,
)
from proofs.result import Result

__all__ = [
    "MACHINES",
    "METHODS",
    "SEEDED",
    "Verdict",
    "WrongState",
    "WrongStep",
    "check",
    "run",
]

AT_ONCE = 2
SECONDS = 8.0  # for a method
PATIENCE = 4  # a bug may take so many times as long, because its search ends when it is found


MODULES = ("nodetool.concurrency._machine.", "proofs.broken_machines")
"""How the names of the modules begin that know infinity."""


def with_contracts(machine: type[Machine]) -> type[Machine]:
    """Make the machine that checks its contracts at each step.

    icontract adds invariants to questions, too. Without them a search takes half the time.
    """
    questions = {
        name: member
        for name, member in vars(PoolMachine).items()
        if not name.startswith("_") and name not in METHODS
    }
    return type("Searched", (checked(machine),), questions)


def search_of(method: str, machine: type[Machine], seen: Counter[str]) -> Callable[..., str]:
    """Make the claim that no script ends in a step that breaks a contract."""
    bare = type("Bare", (machine,), {})
    # A bug may stop the machine before the step that is searched. Such a path shows nothing.
    ends = ResourcePoolError if machine is PoolMachine else (ResourcePoolError, LookupError)
    contracts = with_contracts(machine)
    checks, resets = method.startswith("check_"), method.startswith("reset_")

    def claim(sizes: Sizes, times: Times, first: Step, second: Step, last: Step) -> str:
        """Claim that this script breaks no contract.

        pre: times.short() and first.short() and second.short() and last.short()
        post: _ == ""
        """
        times = times._replace(checks=checks or times.checks, resets=resets or times.resets)
        play = Play(bare, sizes, times)
        try:
            play.begin()
            for step in (first, second):
                play.now += step.passes
                if play.is_free and step.which >= 0 and (moves := play.moves()):
                    play.make(*pick(moves, step.which))
            play.approach(method)
        except ends:
            return ""
        if not (subjects := play.subjects(method)):
            return ""
        play.now += last.passes
        play.machine.history = deque()
        play.machine.__class__ = contracts
        try:
            play.make(method, pick(subjects, last.which))
        except ends:
            return ""
        except GuaranteeViolationError as error:
            seen["reached"] += 1
            broken = re.search(r"broke (\w+)", str(error))
            return f"{broken and broken[1]}: {', '.join(play.steps)}"
        seen["reached"] += 1
        return ""

    return claim


ENFORCEMENT = {
    name: vars(_checkers)[name]
    for name in ("_assert_preconditions", "_assert_postconditions", "_assert_invariant")
}


def enforce(only: str = "") -> None:
    """Switch icontract on again, and test that it reports a wrong step and a wrong state.

    Call this before CrossHair starts. Otherwise the set in which icontract notes its checks would
    be symbolic. If `only` names a guarantee, leave its contracts on and no others, because
    CountsAgree would be the first to see nearly every bug.
    """
    vars(_checkers).update(ENFORCEMENT)
    for broken in (WrongStep, WrongState):
        try:
            sweep_once(with_contracts(broken))
        except GuaranteeViolationError:
            continue
        raise RuntimeError(f"icontract does not see {broken.__name__}: a search would be vacuous")

    def postconditions_of_it(postconditions: list[Contract], *rest: Any, **more: Any) -> Any:
        of_it = [contract for contract in postconditions if contract.description == only]
        return ENFORCEMENT["_assert_postconditions"](of_it, *rest, **more)

    def invariant_of_it(contract: Contract, instance: Any) -> None:
        if contract.description == only:
            ENFORCEMENT["_assert_invariant"](contract, instance)

    if only:
        vars(_checkers).update(
            _assert_postconditions=postconditions_of_it, _assert_invariant=invariant_of_it
        )


@dataclass(frozen=True)
class Verdict:
    """The result of a search."""

    search: str  # a method, or the name of a machine with a bug
    guarantee: str  # the guarantee that the bug breaks; "" for the machine itself
    expected: str  # the guarantee that the contracts name, if there is a bug
    found: str
    script: str  # the steps that break the contract
    reached: int  # paths on which the machine accepted the step
    paths: int
    seconds: float

    @property
    def ok(self) -> bool:
        return self.found == self.expected and self.reached > 0


def replace_infinity() -> None:
    """Let the machine, its contracts and the machines with a bug use an integer for infinity."""
    for name, module in list(sys.modules.items()):
        if name.startswith(MODULES):
            vars(module).update({"NEVER": INFINITE} if hasattr(module, "NEVER") else {})


def examine(name: str, seconds: float) -> Verdict:
    """Let CrossHair search in one method, in this process."""
    from crosshair.core_and_libs import (
        AnalysisKind,
        MessageType,
        analyze_function,
        run_checkables,
    )
    from crosshair.options import AnalysisOptionSet

    begin = time.perf_counter()
    method, expected = SEEDED.get(name, (name, ""))
    enforce(expected)
    replace_infinity()
    guarantee, machine = MACHINES.get(name, ("", PoolMachine))
    limit = seconds * PATIENCE if name in SEEDED else seconds
    seen: Counter[str] = Counter()
    options = AnalysisOptionSet(
        analysis_kind=[AnalysisKind.PEP316],
        report_all=True,
        per_condition_timeout=limit,
        per_path_timeout=limit,
        max_uninteresting_iterations=sys.maxsize,
        stats=seen,
    )
    claim = search_of(method, machine, seen)
    messages = list(run_checkables(analyze_function(claim, options)))
    found, script = f"{len(messages)} messages instead of one", ""
    if len(messages) == 1:
        (message,) = messages
        found, script = f"{message.state.name}: {message.message[:500]}", ""
        if broken := re.search(r"which returns '(\w+): ([\w, ]+)'", message.message):
            found, script = broken[1], broken[2]
        elif message.state in (MessageType.CANNOT_CONFIRM, MessageType.CONFIRMED):
            found = ""
    reached, paths = seen["reached"], seen["num_paths"]
    spent = time.perf_counter() - begin
    return Verdict(name, guarantee, expected, found, script, reached, paths, spent)


def run(names: Iterable[str], seconds: float = SECONDS) -> Iterator[Verdict]:
    """Search, two at a time, each in a process that is not this one."""
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(AT_ONCE, context) as pool:
        futures = [pool.submit(examine, name, seconds) for name in names]
        for future in as_completed(futures):
            yield future.result()


def check(names: Iterable[str] = (), seconds: float = SECONDS) -> Result:
    """Search for these, or for all, in a process of its own, and sum up."""
    begin = time.perf_counter()
    wanted = list(names) or [*METHODS, *SEEDED]
    command = [sys.executable, "-m", "proofs.crosshair_search", "--json"]
    command += ["--seconds", str(seconds), *wanted]
    root = Path(__file__).parent.parent
    process = subprocess.run(command, cwd=root, stdout=subprocess.PIPE, check=False)
    verdicts = [Verdict(**verdict) for verdict in json.loads(process.stdout or "[]")]
    wrong = [verdict for verdict in verdicts if not verdict.ok]
    complete = sorted(verdict.search for verdict in verdicts) == sorted(wanted)
    methods = [verdict for verdict in verdicts if verdict.search in METHODS]
    bugs = [verdict for verdict in verdicts if verdict.search in SEEDED]
    caught = sum(verdict.ok for verdict in bugs)
    figure = f"no counterexample to {len(methods)} methods in "
    figure += f"{sum(v.paths for v in methods)} paths, {seconds:g} s each (a search); "
    figure += f"{caught} of {len(bugs)} seeded bugs found"
    if wrong or not complete:
        figure = "; ".join(map(complaint, wrong)) or "verdicts are missing"
    ok = process.returncode == 0 and complete and not wrong
    # Only guarantees whose contracts have found a bug.
    guarantee = ", ".join(dict.fromkeys(SEEDED[n][1] for n in wanted if n in SEEDED))
    return Result("CrossHair search", guarantee, figure, ok, time.perf_counter() - begin)


def complaint(verdict: Verdict) -> str:
    """Say what is wrong with a verdict."""
    if verdict.found != verdict.expected:
        found = verdict.found or "nothing"
        return f"{verdict.search}: {found} instead of {verdict.expected or 'nothing'}"
    return f"{verdict.search}: never reached"


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m proofs.crosshair_search")
    parser.add_argument("names", nargs="*", metavar="METHOD|BUG", help="by its name")
    parser.add_argument("--seconds", type=float, default=SECONDS, help="for each method")
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    known = [*METHODS, *SEEDED]
    if unknown := set(options.names).difference(known):
        parser.error(f"no such methods or bugs: {', '.join(sorted(unknown))}")
    names = options.names or known
    begin = time.perf_counter()
    verdicts = []
    for verdict in run(names, options.seconds):
        verdicts.append(verdict)
        mark = "" if verdict.ok else f"  WRONG: {complaint(verdict)}"
        line = f"{len(verdicts):>2}/{len(names)}  {verdict.search:<22}  {verdict.found or '-'}"
        line += f"{mark}  ({verdict.reached} of {verdict.paths} paths, {verdict.seconds:.1f} s)"
        print(line, verdict.script, file=sys.stderr, flush=True)
    wrong = [verdict for verdict in verdicts if not verdict.ok]
    if options.json:
        print(json.dumps([asdict(verdict) for verdict in verdicts]))
    else:
        spent = time.perf_counter() - begin
        print(f"{len(verdicts) - len(wrong)} of {len(names)} as expected in {spent:.0f} s")
    return 1 if wrong or len(verdicts) != len(names) else 0


if __name__ == "__main__":
    sys.exit(main())
