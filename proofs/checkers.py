"""The checkers of the assurance table. Each reports a cell for every guarantee that it checks.

A report also names one bug that the checker found, because a checker that cannot fail shows
nothing.
"""

from __future__ import annotations

import json
import logging
import os
import re
import subprocess
import sys
import tempfile
import warnings
from collections.abc import Callable, Iterable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

from nodetool.concurrency._machine.contracts import GuaranteeViolationError, checked
from nodetool.concurrency._machine.counts import Event
from nodetool.concurrency._machine.machine import PoolMachine
from nodetool.concurrency._machine.observe import actions
from nodetool.concurrency.verify._graph import FROZEN, Graph
from nodetool.concurrency.verify._mapping import UnmappedError
from nodetool.concurrency.verify._walk import compare
from proofs import (
    counts_graph,
    crosshair_run,
    crosshair_search,
    graph_walks,
    mutants,
    z3_bugs,
    z3_counts,
    z3_identities,
    z3_tie,
)
from proofs.broken_machines import difference
from proofs.crosshair_claims import BUGS, CLAIMS
from proofs.crosshair_script import METHODS, SEEDED
from proofs.guarantees import GUARANTEES, RULES
from proofs.one_contract import only
from proofs.places import ROOT, contracts, marked, name_of, places, proved
from proofs.random_moves import random_walks
from proofs.report import AT_ONCE, BY_NAME, Report, killed, plural, spread
from proofs.result import Result
from proofs.schedules import schedules
from spec import __main__ as spec
from spec import manifest

__all__ = ["CHECKERS", "total"]

WALKS, WALKS_OF_BUG = 100, 400  # random walks along a model
ENOUGH = 5_000  # random steps; fewer would show nothing
# The models with fairness.
OF_RUNS = (
    *("Serving", "Ending", "Restoring", "Deadline", "Shrinking", "Everything"),
    *("Hanging", "HangingCheck", "HangingChecks"),
)


def tlc() -> Report:
    """Run TLC on every model, and enumerate the graphs again."""
    entries = manifest.read()
    outcomes = spec.run_all(list(entries.values()), graphs=True)
    sound = [entry for entry in entries.values() if entry.verdict == "ok"]
    broken = [entry for entry in entries.values() if entry.verdict != "ok"]
    cells = {}
    for code, name, _ in (*GUARANTEES, *RULES):
        models = [entry for entry in sound if code in entry.guards]
        if not models:
            continue
        refuted = sum(code in entry.guards for entry in broken)
        cells[name] = f"{max(entry.distinct for entry in models):,} states"
        runs = [entry.distinct for entry in models if entry.name in OF_RUNS]
        cells[name] += f", whole runs {max(runs):,}" if runs else ""
        cells[name] += f", {refuted} refuted" if refuted else ""
    most = max(entry.distinct for entry in sound)
    example = entries["BrokenDoubleRelease"]
    return Report(
        "TLC",
        f"every state of {len(sound)} models, the largest of {most:,} (up to 4 tasks, 4 resources)"
        f"; {len(broken)} broken models refuted, each by the property named for it",
        cells,
        f"{example.name}: {example.verdict} is violated, after {example.distinct} states",
        [line for outcome in outcomes for line in outcome.wrong]
        + [line for entry in entries.values() for line in manifest.unstated(entry)],
    )


def compared(model: str, bug: str) -> tuple[str, str, str, int, int]:
    """Compare a model's graph with the machine, or with one with a bug."""
    graph = Graph.frozen(model)
    if bug:
        return model, bug, difference(graph, BY_NAME[bug][1]), 0, 0
    found = compare(graph)
    problem = graph_walks.mismatch(model, found)
    return model, bug, problem, found.unvisited, found.untaken


def graph_equality() -> Report:
    """Compare the machine's graphs with the specification's, and the counting model's graph."""
    jobs = [(model, "") for model in FROZEN]
    jobs += [(model, bug) for bug, (_, _, model) in BY_NAME.items()]
    found = {(model, bug): rest for model, bug, *rest in spread(compared, jobs)}
    wrong = [f"{model}: {said}" for (model, bug), (said, *_) in found.items() if not bug and said]
    differing = [bug for (_, bug), (said, *_) in found.items() if bug and said]
    wrong += [f"{bug} does not differ" for bug in BY_NAME if bug not in differing]
    models = [(model,) for model in graph_walks.WORLDS]
    contents = dict(spread(graph_walks.check_contents, models))
    wrong += [
        f"{model}, told apart by contents: {said}" for model, said in contents.items() if said
    ]
    numbers = counts_graph.check()
    wrong += [] if numbers.ok else [numbers.figure]
    graphs = [Graph.frozen(model) for model in FROZEN]
    unvisited = sum(found[model, ""][1] for model in FROZEN)
    untaken = sum(found[model, ""][2] for model in FROZEN)
    said = found["Wide", "DoesNotCountClosing"][0]
    return Report(
        "graph equality",
        f"{len(graphs)} graphs compared in both directions, "
        f"{sum(len(graph.edges) for graph in graphs):,} states and "
        f"{sum(graph.steps for graph in graphs):,} edges, with the effects of each step; of these "
        f"no clock leads to {unvisited:,} states, and none takes {untaken:,} more edges on which "
        f"time passes; {len(contents)} of them walked again with all removed entries and "
        f"deadlines, {sum(graph_walks.WORLDS.values()):,} worlds; "
        f"{len(differing)} machines with a bug differ; "
        f"the counting model: {numbers.figure}",
        {name: f"equal, {killed(name, differing)}" for name in places()["graph equality"]},
        f"DoesNotCountClosing: {said.splitlines()[0] if said else ''}",
        wrong,
    )


def announced(verdicts: Iterable[Any], total: int) -> Iterator[Any]:
    """Print the name of each verdict."""
    for number, verdict in enumerate(verdicts, 1):
        name = getattr(verdict, "claim", "") or verdict.search
        print(f"  {number:>2}/{total}  {name}", flush=True)
        yield verdict


def crosshair() -> Report:
    """Check the claims about the counting model, and bugs in it."""
    wanted = [*CLAIMS, *BUGS]
    verdicts = {v.claim: v for v in announced(crosshair_run.run(wanted), len(wanted))}
    wrong = [f"{v.claim}: {v.found}, expected {v.expected}" for v in verdicts.values() if not v.ok]
    wrong += [f"{name}: no verdict" for name in wanted if name not in verdicts]
    confirmed = sum(v.found == "CONFIRMED" for v in verdicts.values())
    bug = verdicts["keeps_one_idle"]
    return Report(
        "CrossHair",
        f"{confirmed} of {len(CLAIMS)} claims CONFIRMED over all paths, for all sizes: each of "
        f"{len(Event)} events preserves every invariant of the numbers; {len(BUGS)} bugs refuted",
        {name: f"CONFIRMED, {len(Event)} events" for name in places()["CrossHair"]},
        f"{bug.claim} (wrong at one single number, 70,777): {bug.found}",
        wrong,
    )


SAMPLE = 300  # states of a large graph that are compared with the formulas


def ties() -> dict[str, Callable[[], Result]]:
    """List the comparisons of the formulas with the graphs, by their names."""
    samples = {name: None if name in z3_tie.SMALL else SAMPLE for name in z3_tie.GRAPHS}
    return {
        f"{what} of {name}": partial(check, name, sample)
        for name, sample in samples.items()
        for what, check in (("edges", z3_tie.check_edges), ("states", z3_tie.check_states))
    }


NUMBERS = {f"numbers, {event.value}": partial(z3_counts.induction, (event,)) for event in Event}
PROOFS: dict[str, Callable[[], Result]] = {
    **NUMBERS,
    "closing ends": z3_counts.closing_ends,
    "shrinking ends": z3_counts.shrinking_ends,
    "wrong rules": z3_counts.bugs,
    "identities": z3_identities.induction,
    "free choices": z3_identities.choices,
    "bugs": z3_identities.bugs,
    **ties(),
}


def total(figures: Iterable[str]) -> tuple[int, int]:
    """Add the last two numbers of figures such as "3 edges from 30 of 70 states"."""
    found = [re.findall(r"\d+", figure.replace(",", ""))[-2:] for figure in figures]
    return sum(int(some) for some, _ in found), sum(int(every) for _, every in found)


def prove(name: str) -> tuple[str, Result]:
    """Make one of the proofs in this process."""
    return name, PROOFS[name]()


def z3() -> Report:
    """Prove the induction over numbers and identities, and compare the formulas with the code."""
    results = dict(spread(prove, [(name,) for name in PROOFS]))
    numbers = {name_of(name) for name in z3_counts.RULES}
    identities = {name_of(name) for name in results["identities"].guarantee.split(", ")}
    cells = dict.fromkeys(proved(), "a rule about the numbers")
    cells |= dict.fromkeys(identities, "inductive, identities")
    cells |= dict.fromkeys(numbers, "inductive, numbers")
    cells |= dict.fromkeys(numbers & identities, "inductive, both")
    cells |= dict.fromkeys(("CloseCompletes", "ShrinkCompletes"), "ranking, numbers")
    paths = [re.findall(r"([\d,]+) paths", results[name].figure) for name in NUMBERS]
    followed = sum(int(one.replace(",", "")) for found in paths for one in found)
    bug, action, violated = z3_bugs.BUGS[0]
    others = [name for name in PROOFS if name not in NUMBERS and name not in ties()]
    tied = [(name, results[name].figure) for name in ties() if results[name].ok]
    edges, of_edges = total(figure for name, figure in tied if name.startswith("edges"))
    states, of_states = total(figure for name, figure in tied if name.startswith("states"))
    return Report(
        "Z3",
        f"for numbers of every size and any number of tasks and resources: {len(NUMBERS)} events "
        f"keep every rule of the numbers, as the code computes them, {followed:,} paths; "
        + "; ".join(f"{name}: {results[name].figure}" for name in others)
        + f"; compared with {len(z3_tie.GRAPHS)} graphs: the formulas allow {edges:,} of "
        f"{of_edges:,} edges, and from {states:,} of {of_states:,} states no others",
        cells,
        f"{bug.__name__}: {action} violates {', '.join(violated)}",
        [f"{name}: {result.figure}" for name, result in results.items() if not result.ok],
    )


def search() -> Report:
    """Let CrossHair search the machine under its contracts."""
    wanted = [*METHODS, *SEEDED]
    verdicts = {v.search: v for v in announced(crosshair_search.run(wanted), len(wanted))}
    wrong = [crosshair_search.complaint(v) for v in verdicts.values() if not v.ok]
    wrong += [f"{name}: no verdict" for name in wanted if name not in verdicts]
    seeded = [v for v in verdicts.values() if v.search in SEEDED]
    found = [v.search for v in seeded if v.ok]
    bug = verdicts["ServesNewestFirst"]
    names = [SEEDED[bug][1] for bug in found]
    cells = {name: plural(names.count(name)) for name in dict.fromkeys(names)}
    return Report(
        "CrossHair search",
        f"a search, no proof: no counterexample to {len(METHODS)} steps of the "
        f"contract-checked machine within {crosshair_search.SECONDS:g} s each; "
        f"{len(found)} seeded bugs found",
        cells,
        f"{bug.search}: {bug.found}, by {bug.script}",
        wrong,
    )


def walked(model: str, bug: str) -> tuple[str, str, int, str]:
    """Make random steps of the machine under its contracts.

    A bug is searched with the contracts of its guarantee alone, until one is broken.
    """
    guarantee, machine, _ = BY_NAME.get(bug, ("", PoolMachine, ""))
    constants, steps = Graph.frozen(model).constants, 0
    with only(guarantee):
        for walk in random_walks(constants, checked(machine), WALKS_OF_BUG if bug else WALKS):
            try:
                for _ in walk:
                    steps += 1
            except GuaranteeViolationError as error:
                return model, bug, steps, str(error).splitlines()[0]
            except UnmappedError:
                if not bug:
                    raise
                # This walk cannot go on, and no contract was broken. Another walk may break one.
    return model, bug, steps, ""


def debug_mode() -> Report:
    """Check the contracts of the machine, and of the machines with a bug."""
    jobs = [*((model, "") for model in FROZEN), *((m, bug) for bug, (_, _, m) in BY_NAME.items())]
    found = list(spread(walked, jobs))
    said = {bug: message for _, bug, _, message in found if bug}
    caught = [bug for bug, message in said.items() if f" broke {BY_NAME[bug][0]}:" in message]
    wrong = [f"{model}: {message}" for model, bug, _, message in found if not bug and message]
    wrong += [f"{bug}: {m or 'broke no contract'}" for bug, m in said.items() if bug not in caught]
    steps, every = sum(steps for _, bug, steps, _ in found if not bug), len(actions(PoolMachine))
    wrong += [] if steps > ENOUGH else [f"only {steps} steps"]
    return Report(
        "contracts",
        f"{steps:,} random steps of the contract-checked machine along {len(FROZEN)} models, no "
        f"contract broken; {len(caught)} machines with a bug found, each by the contracts of the "
        "guarantee that it breaks, these alone",
        {
            name: f"{'every step' if number == every else plural(number, 'step')}, "
            f"{killed(name, caught)}"
            for name, number in contracts().items()
        },
        f"ServesNewestFirst: {said['ServesNewestFirst']}",
        wrong,
    )


RUNS = {"Combined": 400, "Checked": 800, "Wide": 400, "Deep": 400, "Rotating": 200, "": 2_400}
"""Random runs of the real pool within the bounds of a model, and of the bare machine."""

RUNS_ON_POOL, RUNS_ON_MACHINE = 200, 3_000  # that may catch a machine with a bug


def stateful(model: str, bug: str, examples: int) -> tuple[str, str, int, int, str]:
    """Run Hypothesis on the pool, or on the bare machine if no model is named."""
    from hypothesis import HealthCheck, Phase, settings
    from hypothesis.stateful import run_state_machine_as_test

    from nodetool.concurrency.verify._machine_rules import machine_rules_for
    from nodetool.concurrency.verify._rules import rules_for

    logging.getLogger("nodetool.concurrency.pool").disabled = True
    # A pool whose machine raises in the middle of a step may drop a coroutine.
    warnings.simplefilter("ignore", RuntimeWarning)
    _, machine, _ = BY_NAME.get(bug, ("", PoolMachine, ""))
    rules: Any = rules_for(model, machine) if model else machine_rules_for(machine)
    chosen = settings(
        database=None,
        deadline=None,
        derandomize=bool(bug),
        max_examples=examples,
        stateful_step_count=50,
        suppress_health_check=list(HealthCheck),
        phases=[Phase.generate] if bug else list(Phase),
        report_multiple_bugs=False,
    )
    said = ""
    try:
        run_state_machine_as_test(rules, settings=chosen)
    except BaseException as error:
        if isinstance(error, KeyboardInterrupt):
            raise
        said = f"{type(error).__name__}: {str(error).splitlines()[0] if str(error) else ''}"
    taken = rules.followed if model else rules.taken
    return model, bug, rules.examples, taken.total(), said


def hypothesis() -> Report:
    """Run random users of the real pool, and random steps of the bare machine, also with bugs.

    A machine with a bug must be caught by the runs of the real pool or by those of the bare
    machine. The real pool's users have no contexts, and few of their limits.
    """
    jobs = [(model, "", examples) for model, examples in RUNS.items()]
    jobs += [(model, bug, RUNS_ON_POOL) for bug, (_, _, model) in BY_NAME.items()]
    jobs += [("", bug, RUNS_ON_MACHINE) for bug in BY_NAME]
    found = {(model, bug): rest for model, bug, *rest in spread(stateful, jobs)}
    runs = {model: found[model, ""] for model in RUNS}
    wrong = [
        f"{model or 'the bare machine'}: {said}" for model, (_, _, said) in runs.items() if said
    ]
    wrong += [
        f"{model or 'the bare machine'}: only {examples} runs with {steps} steps"
        for model, (examples, steps, _) in runs.items()
        if examples < RUNS[model] or steps < 5 * examples
    ]
    took = [
        (bug, "" if model else " (machine)", examples)
        for (model, bug), (examples, _, said) in found.items()
        if bug and said
    ]
    caught = {bug for bug, _, _ in took}
    wrong += [f"{bug} is not caught" for bug in BY_NAME if bug not in caught]
    random_runs = sum(RUNS.values()) - RUNS[""]
    _, _, message = found[BY_NAME["ForgetsHandedOver"][2], "ForgetsHandedOver"]
    return Report(
        "Hypothesis",
        f"{random_runs:,} random runs of the real pool with every contract on, whose steps are "
        f"edges of the graph wherever a run stays within its bound; {RUNS['']:,} of the bare "
        f"machine against the counting model, beyond the graphs' bounds; {len(caught)} machines "
        "with a bug caught, by the runs of the real pool or of the bare machine",
        {name: f"{random_runs:,} runs, {killed(name, caught)}" for name in places()["Hypothesis"]},
        f"ForgetsHandedOver: {message}",
        wrong,
        f"steps followed {sum(runs[model][1] for model in RUNS if model):,}, of the bare machine "
        f"{runs[''][1]:,}; runs that it took to catch "
        + ", ".join(f"{bug}{where} {examples}" for bug, where, examples in took),
    )


PYTEST = (sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "tests/concurrency")
NOT_STATEFUL = "--ignore=tests/concurrency/test_stateful.py"


def pytest_of(*options: str) -> subprocess.CompletedProcess[str]:
    """Run the pool's tests, except those of another column."""
    environment = os.environ | {"PYTEST_ADDOPTS": ""}
    command = [*PYTEST, NOT_STATEFUL, *options]
    return subprocess.run(
        command, cwd=ROOT, env=environment, stdout=subprocess.PIPE, text=True, check=False
    )


def tested(bug: str) -> tuple[str, str]:
    """Find the first test that fails on a machine with a bug, of its guarantee."""
    failed = re.search(
        r"^FAILED \S+::(\S+)", pytest_of("-x", f"--broken={bug}").stdout, re.MULTILINE
    )
    return bug, failed[1] if failed else ""


def tests() -> Report:
    """Run the tests of the pool, and those of each guarantee on the machines with its bugs."""
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "guarantees.json"
        done = pytest_of("-n", str(AT_ONCE), f"--guarantees={file}")
        counts = json.loads(file.read_text()) if file.exists() else {}
    wrong = [f"{name}: {c['failed']} failed" for name, c in counts.items() if c["failed"]]
    if done.returncode:
        wrong.append(f"pytest ends with {done.returncode}: {done.stdout.splitlines()[-1:]}")
    failed = dict(spread(tested, [(bug,) for bug in BY_NAME]))
    caught = [bug for bug, test in failed.items() if test]
    wrong += [f"{bug} fails no test of {BY_NAME[bug][0]}" for bug in BY_NAME if bug not in caught]
    return Report(
        "tests",
        "tests of the runtime and the machine in virtual time, marked with what they check "
        "(in how many situations), bugs of well-known pools re-enacted, random load; "
        f"{len(caught)} machines with a bug fail a test of the guarantee that they break",
        {rule.name: killed(rule.name, caught) for rule in RULES}
        | {
            name: f"{len(marked()[name])} tests ({count['passed']}), {killed(name, caught)}"
            for name, count in counts.items()
            if count["passed"]
        },
        f"ServesNewestFirst: {failed['ServesNewestFirst']}",
        wrong,
    )


CHECKERS: dict[str, Callable[[], Report]] = {
    "TLC": tlc,
    "graph equality": graph_equality,
    "CrossHair": crosshair,
    "Z3": z3,
    "CrossHair search": search,
    "contracts": debug_mode,
    "Hypothesis": hypothesis,
    "schedules": schedules,
    "tests": tests,
    "mutants": mutants.report,
}
