"""Trace validation: an observer that looks up each step of a real run in a graph.

The observer names tasks and slots as the specification does. If time passes between two steps,
edges of the environment must lead from one state to the other. A run that needs more tasks than the
model has leaves the model's bounds. The observer does not look up the rest of such a run.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from nodetool.concurrency._errors import ResourcePoolError
from nodetool.concurrency._machine import guarantees
from nodetool.concurrency._machine.contracts import checked
from nodetool.concurrency._machine.machine import PoolMachine
from nodetool.concurrency._machine.observe import Observer, make
from nodetool.concurrency._recorder import recorded
from nodetool.concurrency._tracking import tracked
from nodetool.concurrency.async_resource_pool import AsyncResourcePool

from ._graph import Graph, State
from ._mapping import Mapping
from ._walk import OUTPUTS, POOL_STEPS, STEP_OUTPUTS, TIME, OutputError


class NotAnEdgeError(AssertionError):
    """Error of a step of a real run that the specification does not have."""


class Follower(Observer):
    """An observer that looks up the steps of one machine in a graph, with their outputs."""

    def __init__(self, graph: Graph, clock: Callable[[], float]) -> None:
        self.graph: Graph | None = graph  # None: the run has left the model's bounds
        self.clock = clock
        self.trail: list[str] = []  # the actions that were looked up
        self.unfollowed = 0  # steps beyond the bounds of the model
        self.failure: Exception | None = None  # the first one; a caller may catch it
        self.mapping: Mapping | None = None
        self.last = graph.initial

    # What the machine calls.

    def before(self, machine: PoolMachine[Any], action: str, args: tuple[Any, ...]) -> Any:
        """Check that only time has passed since the last step."""
        if self.graph is None:
            return None
        return self._watched(lambda: self._before(machine, action, args))

    def after(
        self,
        machine: PoolMachine[Any],
        action: str,
        args: tuple[Any, ...],
        memory: Any,
        result: Any,
    ) -> None:
        """Look up the step in the graph."""
        if self.graph is None:
            self.unfollowed += 1
        else:
            self._watched(lambda: self._after(machine, action, args, memory, result))

    def refused(
        self,
        machine: PoolMachine[Any],
        action: str,
        args: tuple[Any, ...],
        memory: Any,
        error: BaseException,
    ) -> None:
        """Check that a refused step has changed nothing."""
        if not isinstance(error, ResourcePoolError):
            self.failure = self.failure or (error if isinstance(error, Exception) else None)
        elif self.graph is not None:
            self._watched(lambda: self._refused(machine, action))

    def tasks_left(self) -> int:
        """Count the model's tasks that hold nothing and do not wait."""
        if self.mapping is None:
            return 0 if self.graph is None else len(self.graph.initial.task)
        return sum(got is None for got in self.mapping.got.values())

    def _watched(self, look: Callable[[], Any]) -> Any:
        try:
            return look()
        except Exception as error:
            self.failure = self.failure or error
            raise

    def _begin(self, machine: PoolMachine[Any], graph: Graph) -> Mapping:
        """Begin in the initial state with the machine's limits."""
        c: Any = graph.constants
        options = machine.options()
        limits = options["max_size"], options["min_size"]
        starts = (state for state in graph.starts if (state.max_size, state.min_size) == limits)
        self.last = next(starts, graph.initial)
        return Mapping(machine, tuple(sorted(c["Tasks"])), tuple(sorted(c["Resources"])))

    def _before(self, machine: PoolMachine[Any], action: str, args: tuple[Any, ...]) -> Any:
        if self.mapping is None:
            assert self.graph is not None
            self.mapping = self._begin(machine, self.graph)
        self.last = self._reached_by_time(self.last, self.mapping.state(self.clock()))
        return guarantees.before(machine, action, args)

    def _reached_by_time(self, start: State, now: State) -> State:
        """Return the state `now` if edges on which time passes lead to it."""
        assert self.graph is not None
        reached, todo = {start}, [start]
        while now not in reached and todo:
            for action, to in self.graph.edges[todo.pop()]:
                if action in TIME and to not in reached:
                    reached.add(to)
                    todo.append(to)
        if now not in reached:
            raise NotAnEdgeError(f"time made {now}\n  of {start}\n  after {self.trail}")
        return now

    def _after(
        self,
        machine: PoolMachine[Any],
        action: str,
        args: tuple[Any, ...],
        memory: Any,
        result: Any,
    ) -> None:
        predicates = (*OUTPUTS, *STEP_OUTPUTS.get(action, ()))
        if wrong := [p.__name__ for p in predicates if not p(machine, memory, result)]:
            raise OutputError(f"{action}: {' and '.join(wrong)} does not hold")
        assert self.mapping is not None
        if not self._assign(self.mapping, action, args, result):
            self.graph = None
            self.unfollowed += 1
            return
        assert self.graph is not None
        self.mapping.notice()
        before, now = self.last, self.mapping.state(self.clock())
        if now == before:
            if not self.may_do_nothing(action, args, before):
                raise NotAnEdgeError(f"{action} did nothing\n  in {before}\n  after {self.trail}")
            return
        self.trail.append(action)
        if (action, now) not in self.graph.edges[before]:
            raise NotAnEdgeError(
                f"{action} is no edge\n  from {before}\n  to   {now}\n  after {self.trail}"
            )
        self.last = now

    def may_do_nothing(self, action: str, args: tuple[Any, ...], state: State) -> bool:
        """Tell whether a step may change nothing. No action of the specification does that.

        Some calls are allowed at any time, and so is a resize to the present limits.
        """
        assert self.graph is not None
        if action == "Resize":
            return args == (state.max_size, state.min_size)
        is_possible = any(action == other for other, _ in self.graph.edges[state])
        return action in POOL_STEPS and not is_possible

    def _refused(self, machine: PoolMachine[Any], action: str) -> None:
        if self.mapping is not None and self.mapping.state(self.clock()) != self.last:
            raise NotAnEdgeError(f"{action} was refused but changed {self.last}")

    def _assign(self, mapping: Mapping, action: str, args: tuple[Any, ...], result: Any) -> bool:
        """Record what a task has after the step. Return False if there are too many tasks."""
        got = mapping.got
        if action == "Acquire":
            free = next((task for task, has in got.items() if has is None), None)
            if free is None:
                return False
            got[free] = result
        elif args and (task := mapping.owner_of(args[0])) is not None:
            got[task] = result if action == "Resume" else None
        return True


def watch(
    pool: AsyncResourcePool[Any],
    *observers: Observer,
    kind: type[PoolMachine[Any]] | None = None,
    contracts: bool = False,
) -> PoolMachine[Any]:
    """Let observers watch the steps of an unused pool. Return its new machine."""
    machine = pool._machine
    if not machine.is_unused():
        raise ValueError(f"{pool!r} was used already: watch it before its first use")
    present = tuple(getattr(machine, "observers", ()))
    tracker = getattr(machine, "tracker", None)
    recorder = getattr(machine, "recorder", None)
    if kind is None:
        kind = next(one for one in type(machine).__mro__ if not hasattr(one, "observers"))
    if contracts:
        kind = checked(kind)
    if recorder is not None and not hasattr(kind, "recorder"):
        kind = recorded(kind)
    if tracker is not None and not hasattr(kind, "tracker"):
        kind = tracked(kind)
    made: PoolMachine[Any] = make(kind, (*present, *observers), **machine.options())
    if tracker is not None:
        tracker.track(made)
    if recorder is not None:
        recorder.attach(made)
    pool._replace_machine(made)
    return made
