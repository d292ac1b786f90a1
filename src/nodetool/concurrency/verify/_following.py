"""What makes a machine look each of its steps up in a graph: a mixin, without dependencies.

It names tasks and resources as the specification does. Between two steps time may have passed:
then the environment's edges must lead from the one state to the other. A run that needs more tasks
than the model has is out of its bound, and is not followed any further.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from nodetool.concurrency._errors import ResourcePoolError
from nodetool.concurrency._machine import PoolMachine
from nodetool.concurrency._records import Place

from ._graph import Graph, State
from ._reading import Reading

TIME = {"GrowOld", "GrowStale", "Doubt"}
STEPS = {
    "acquire": "Acquire",
    "resume": "Resume",
    "check_passed": "CheckPassed",
    "check_failed": "CheckFailed",
    "timeout": "Timeout",
    "cancel": "Cancel",
    "release": "Release",
    "reset_passed": "ResetPassed",
    "reset_failed": "ResetFailed",
    "discard": "Discard",
    "detach": "Detach",
    "open": "Open",
    "create_succeeded": "CreateSucceeded",
    "create_failed": "CreateFailed",
    "closer_ended": "CloserEnded",
    "sweep": "Sweep",
    "retry_floor": "RetryFloor",
    "retire_all": "RetireAll",
    "close": "Close",
    "terminate": "Terminate",
}
# What the machine lets anybody call at any time: then it is none of the specification's steps.
MAY_DO_NOTHING = {"Open", "Sweep", "RetryFloor", "RetireAll", "Close", "Terminate"}


class NotAnEdgeError(AssertionError):
    """A step of a real run is none of the specification's."""


class Following(PoolMachine[Any]):
    """A machine whose steps are looked up in a graph, once `follow` was called.

    Comes before the machine that takes the steps: ``class Followed(Following, ThatMachine)``.
    """

    graph: Graph | None = None
    unfollowed = 0  # how many steps were taken once there were more tasks than the model has
    failure: Exception | None = None  # the first: whoever drives the machine may not look at it

    def follow(self, graph: Graph, clock: Callable[[], float]) -> None:
        """Look every step up from now on; the machine must be in its initial state."""
        tasks: Any = graph.constants["Tasks"]
        resources: Any = graph.constants["Resources"]
        self.reading = Reading(self, tuple(sorted(tasks)), tuple(sorted(resources)))
        self.clock = clock
        self.trail: list[str] = []  # the actions taken, as the graph has them
        self.graph = graph
        self.state = self.reading.read(clock())
        if self.state != graph.initial:
            raise NotAnEdgeError(f"the run starts in {self.state}")

    def before(self) -> State:
        """The state now, which time alone must have made of the one after the last step."""
        assert self.graph is not None
        now = self.reading.read(self.clock())
        reached, todo = {self.state}, [self.state]
        while now not in reached and todo:
            for action, to in self.graph.edges[todo.pop()]:
                if action in TIME and to not in reached:
                    reached.add(to)
                    todo.append(to)
        if now not in reached:
            raise NotAnEdgeError(f"time made {now}\n  of {self.state}\n  after {self.trail}")
        return now

    def taken(self, action: str, before: State) -> None:
        """Look up the step that was just taken."""
        assert self.graph is not None
        self.reading.notice()
        self.state = self.reading.read(self.clock())
        edges = self.graph.edges[before]
        if self.state == before:  # no action of the specification leaves the state as it was
            if action not in MAY_DO_NOTHING or any(action == other for other, _ in edges):
                raise NotAnEdgeError(f"{action} did nothing\n  in {before}\n  after {self.trail}")
            return
        self.trail.append(action)
        if (action, self.state) not in edges:
            raise NotAnEdgeError(
                f"{action} is no edge\n  from {before}\n  to   {self.state}\n  after {self.trail}"
            )

    def assign(self, method: str, subject: Any, got: Any) -> bool:
        """Note what a task has after the step; False if there are too many tasks."""
        tasks = self.reading.got
        if method == "acquire":
            free = next((t for t, has in tasks.items() if has is None), None)
            if free is None:
                return False
            tasks[free] = got
        elif subject is not None:
            owner = next((t for t, has in tasks.items() if has is subject), None)
            if owner is not None:
                released = method == "release" and subject.place is Place.RESETTING
                tasks[owner] = subject if released else got
        return True


def _followed(method: str, action: str) -> Callable[..., Any]:
    def step(self: Following, *args: Any, **options: Any) -> Any:
        try:
            return look_up(self, *args, **options)
        except ResourcePoolError:
            raise
        except Exception as error:
            self.failure = self.failure or error
            raise

    def look_up(self: Following, *args: Any, **options: Any) -> Any:
        bare = getattr(super(Following, self), method)
        if self.graph is None:
            got = bare(*args, **options)
            self.unfollowed += 1
            return got
        before = self.before()
        try:
            got = bare(*args, **options)
        except ResourcePoolError:
            if self.reading.read(self.clock()) != before:
                raise NotAnEdgeError(f"{action} was refused but changed {before}") from None
            raise
        subject = args[0] if args and not isinstance(args[0], float) else None
        gives = method in ("acquire", "resume", "check_passed", "check_failed")
        if self.assign(method, subject, got if gives else None):
            self.taken(action, before)
        else:
            self.graph = None
            self.unfollowed += 1
        return got

    return step


for _method, _action in STEPS.items():
    setattr(Following, _method, _followed(_method, _action))
