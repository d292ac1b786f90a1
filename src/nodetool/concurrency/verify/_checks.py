"""The checks of the installed package: graphs, contracts, and real runs of the pool.

Each check yields one `CheckResult` for each model. Functions import Hypothesis and icontract
themselves, because `compare` needs neither.
"""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import starmap
from multiprocessing import get_context
from pathlib import Path
from random import Random
from tempfile import TemporaryDirectory
from time import perf_counter, process_time
from typing import Any

from nodetool.concurrency._errors import ResourcePoolError
from nodetool.concurrency._machine.machine import PoolMachine

from . import _graph
from ._graph import FROZEN, MODELS, Graph, limits_of
from ._named import said
from ._walk import STEPS, World
from ._walk import compare as compare_with

CHECKED_SHARE = 0.3  # of the time, for the contracts; the real runs get the rest
PROCESSES = min(os.cpu_count() or 1, 2)
LONGEST = 900.0  # seconds that the walk of one graph may take in another process
WALK = 60  # moves of a random walk, refused ones included
ENDS = ("Close", "Terminate")
FURTHER = 1_000_000  # seeds between the first rounds and those for missing actions
MORE_EXAMPLES = 3_000  # of a model, to follow its rarest action
EXAMPLES = 20  # of a round; the seed of a round repeats its failure

Machine = type[PoolMachine[Any]]


@dataclass(frozen=True)
class CheckResult:
    """The result of one check, with its problem if it failed."""

    name: str
    figures: str
    seconds: float
    problem: str = ""


def compare(name: str, path: Path, machine: Machine) -> CheckResult:
    """Walk the machine through all its states, and compare the walk with a frozen graph."""
    start = perf_counter()
    figures, problem = "not compared", ""
    try:
        graph = Graph.load(path)
        figures = f"{len(graph.edges):,} states, {graph.steps:,} edges"
        found = compare_with(graph, machine)
        figures += f", {found.worlds:,} worlds"
        if found.unvisited or found.untaken:
            figures += f" ({found.unvisited} states, {found.untaken} edges that no clock takes)"
        problem = found.problem
    except Exception as error:  # a machine with a bug may fail in any way
        problem = said(error)
    return CheckResult(name, figures, perf_counter() - start, problem)


def graphs(machine: Machine, processes: int) -> Iterator[CheckResult]:
    """Compare the machine with all frozen graphs, in this process or in several others."""
    jobs = [(name, _graph.GRAPHS / f"{name}.graph.gz", machine) for name in FROZEN]
    if processes == 1:
        yield from starmap(compare, jobs)
        return
    ignore = (signal.SIGINT, signal.SIG_IGN)  # only this process reacts to Ctrl-C
    with get_context("spawn").Pool(processes, signal.signal, ignore) as pool:
        for answer in [pool.apply_async(compare, job) for job in jobs]:
            yield answer.get(LONGEST)


def contracts(machine: Machine, seconds: float, seed: int) -> Iterator[CheckResult]:
    """Take random walks of the machine with contracts on, within the bounds of each model."""
    for name in MODELS:
        yield checked_walks(name, machine, seconds / len(MODELS), seed)


def checked_walks(name: str, machine: Machine, seconds: float, seed: int) -> CheckResult:
    """Take random walks from the initial states until the time is used, at least one."""
    from nodetool.concurrency._machine.contracts import checked

    graph = Graph.frozen(name)
    random = Random(f"{seed} {name}")
    start, begun = perf_counter(), process_time()  # the limit is on processor time
    steps, seen, problem = 0, set(graph.starts), ""
    while not problem and (steps == 0 or process_time() - begun < seconds):
        sizes = random.choice(limits_of(graph.constants))
        world = World(graph.constants, sizes, checked(machine))
        trail: list[str] = []
        for _ in range(WALK):
            move = random.choice(list(world.moves()))
            if move.action in ENDS and random.random() < 0.9:
                continue  # an end must be rare, because little can happen after it
            trail.append(str(move))
            try:
                world.make(move)
                seen.add(world.state(world.now))
            except ResourcePoolError:
                trail.pop()
                continue
            except Exception as error:  # a violated contract, or any other consequence of a bug
                problem = f"{said(error)}\n  after {', '.join(trail)}"
                break
            steps += move.action in STEPS
    figures = f"{steps:,} steps checked, {len(seen):,} of {len(graph.edges):,} states"
    return CheckResult(name, figures, perf_counter() - start, problem)


def stateful(machine: Machine, seconds: float, seed: int) -> Iterator[CheckResult]:
    """Let Hypothesis use the real pool within each model's bounds, and the machine beyond them."""
    from hypothesis.configuration import set_hypothesis_home_dir

    from ._machine_rules import machine_rules_for
    from ._rules import rules_for

    share = seconds / (len(MODELS) + 1)
    with TemporaryDirectory() as folder:
        set_hypothesis_home_dir(folder)
        try:
            pools = {name: rules_for(name, machine) for name in MODELS}
            found = []
            for name, rules in pools.items():
                found.append(rounds(f"pool, {name}", rules, share, seed))
                yield found[-1]
            # A failure ends the rounds early. Then they say nothing about the actions.
            if not any(result.problem for result in found):
                yield actions_followed(pools, seed + FURTHER)
            bare = machine_rules_for(machine)
            yield rounds("machine alone", bare, share, seed)
        finally:
            set_hypothesis_home_dir(None)


def actions_followed(pools: Mapping[str, Any], seed: int) -> CheckResult:
    """Check that each action that the models allow was followed at least once.

    Rare actions need more examples. So the rounds go on where an action is missing.
    """
    from ._pool_world import frozen

    start, number = perf_counter(), seed
    allowed = {name: actions_of(frozen(name)) for name in pools}
    limits = {name: rules.examples + MORE_EXAMPLES for name, rules in pools.items()}
    problem = ""
    while not problem:
        followed = {action for rules in pools.values() for action in rules.followed}
        lacking = [
            name
            for name, rules in pools.items()
            if allowed[name] - followed and rules.examples < limits[name]
        ]
        if not lacking:
            break
        for name in lacking:
            problem = problem or rounds(name, pools[name], 0.0, number).problem
        number += 1
    every = set().union(*allowed.values())
    if not problem and every - followed:
        problem = f"no example followed {', '.join(sorted(every - followed))}"
    figures = f"{len(every & followed)} of the {len(every)} actions that the models allow"
    return CheckResult("actions followed", figures, perf_counter() - start, problem)


def actions_of(graph: Graph) -> set[str]:
    """List the actions of the registry that a graph has."""
    return {action for edges in graph.edges.values() for action, _ in edges if action in STEPS}


def rounds(name: str, rules: Any, seconds: float, seed: int) -> CheckResult:
    """Run rounds of examples, each with the next seed, until the time is used, at least one."""
    start, begun = perf_counter(), process_time()
    number = seed
    while not (problem := failing_example(rules, number, EXAMPLES)):
        if process_time() - begun >= seconds:
            break
        number += 1
    figures = f"{rules.examples:,} examples, {rules.figures()}"
    if problem:
        problem += f"\nto repeat it: python -m nodetool.concurrency.verify --seed {number}"
    return CheckResult(name, figures, perf_counter() - start, problem)


def failing_example(rules: Any, seed: int, examples: int) -> str:
    """Return the shortest failing example that Hypothesis finds, as text; empty if none fails."""
    from hypothesis import HealthCheck, Phase, settings
    from hypothesis import seed as seeded
    from hypothesis.stateful import run_state_machine_as_test

    chosen = settings(
        database=None,
        deadline=None,
        derandomize=False,
        max_examples=examples,
        phases=[Phase.generate, Phase.shrink],
        print_blob=False,
        report_multiple_bugs=False,
        stateful_step_count=50,
        suppress_health_check=list(HealthCheck),
    )
    try:
        run_state_machine_as_test(seeded(seed)(rules), settings=chosen)
    except Exception as error:
        return said(error)
    return ""
