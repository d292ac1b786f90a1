"""The result of an exploration, and schedules as text."""

from __future__ import annotations

import re
from dataclasses import dataclass, field

from ._run import Mode

__all__ = ["Exploration", "Failure", "parse_schedule", "schedule_text"]

MODES: dict[str, Mode] = {"e": "events", "r": "ready"}
NUMBER = re.compile("[0-9]{1,9}")


def schedule_text(mode: Mode, choices: list[int]) -> str:
    """Write a schedule as one word: the choices in order, without first options at the end."""
    last = max((place for place, choice in enumerate(choices, 1) if choice), default=0)
    return f"{mode[0]}:{'.'.join(map(str, choices[:last]))}"


def parse_schedule(text: object) -> tuple[Mode, list[int]]:
    """Read the mode and the choices of a schedule.

    Raises:
        ValueError: The text is no schedule.
    """
    if not isinstance(text, str):
        raise ValueError(f"{text!r} is no schedule: it is a string like e:0.2.1, or r:0.2.1")
    letter, colon, numbers = text.partition(":")
    words = numbers.split(".") if numbers else []
    if letter not in MODES or not colon or not all(map(NUMBER.fullmatch, words)):
        short = text if len(text) < 60 else f"{text[:60]}..."
        raise ValueError(f"{short!r} is no schedule: it looks like e:0.2.1, or r:0.2.1")
    return MODES[letter], [int(word) for word in words]


@dataclass
class Failure:
    """A run that went wrong.

    Attributes:
        kind: The kind of failure:

            * "raised": the scenario raised an exception.
            * "unretrieved": nobody retrieved the exception of a task or future.
            * "callback": a callback of the loop raised an exception.
            * "invariant": an invariant of the scenario does not hold.
            * "guarantee": a monitor found a wrong state.
            * "specification": a monitor found a wrong step.
            * "deadlock": nothing can happen, but a task waits.
            * "livelock": the run can never end from here.
            * "left over": the scenario left something behind at its end.
            * "real I/O": the scenario called a method of the loop for real I/O.
            * "nondeterministic": two runs of one schedule differ.
            * "stock loop": asyncio's own loop does something else.
        error: The exception. For a deadlock, its text says where each task waits.
        scenario: The name of the scenario.
        about: Details about the origin of the error.
        schedule: The events in order, in words.
        actions: The steps that the monitors recorded.
        replay: The schedule for `replay`.
        deviations: The numbers of the events in which the run deviates from the usual order,
            counted from 1. In the usual order the loop runs as long as it can, and then the oldest
            call ends with its first result.
        trace: The traceback of the error as text. The error itself has none, because a traceback
            would keep the objects of the run alive.

    Since version 0.1.0.
    """

    kind: str
    error: BaseException
    scenario: str
    about: str = ""
    schedule: list[str] = field(default_factory=list)
    actions: list[str] = field(default_factory=list)
    replay: str = ""
    deviations: list[int] = field(default_factory=list)
    trace: str = ""

    def __str__(self) -> str:
        lines = [f"{self.scenario}: {self.kind}", *self.about.splitlines()]
        lines += self.trace.splitlines()
        has_marks = " (deviations from the usual order have a mark *)" if self.deviations else ""
        lines += [f"what happened{has_marks}:"]
        lines += [
            f"{'*' if number in self.deviations else ' '} {number}. {words}"
            for number, words in enumerate(self.schedule, 1)
        ]
        if self.actions:
            lines.append(f"monitored steps: {' '.join(self.actions)}")
        return "\n".join([*lines, f"replay: {self.replay}"])


@dataclass
class Exploration:
    """The result of `explore` or `replay`.

    Attributes:
        scenario: The name of the scenario.
        mode: "events" or "ready".
        schedules: The number of runs.
        pruned: The number of runs that stopped in a known state.
        choices: The number of choices.
        states: The number of different states with a choice. It is 0 without pruning.
        depth: The number of steps of the longest run.
        seconds: The duration of the exploration.
        bound: The bound that stopped the exploration, or "replay" for a single schedule. If it is
            set, the exploration is not complete.
        failure: The first failure. It ended the exploration.
        found: How the search found the failure: with how many deviations, or in which stage.
        waits: Where each task waited when `max_depth` stopped the first run, in words.
        opaque: The first reason why the explorer could not compare a state, if there is one. It
            has explored such states as if all were different.

    Since version 0.1.0.
    """

    scenario: str
    mode: Mode
    schedules: int = 0
    pruned: int = 0
    choices: int = 0
    states: int = 0
    depth: int = 0
    seconds: float = 0.0
    bound: str | None = None
    failure: Failure | None = None
    found: str = ""
    waits: str = ""
    opaque: str = ""

    @property
    def exhausted(self) -> bool:
        """Return whether every schedule was run and none failed."""
        return self.bound is None and self.failure is None

    @property
    def is_complete(self) -> bool:
        """Return whether no bound stopped the exploration, or the single run of a replay.

        Since version 0.2.0.
        """
        return self.bound in (None, "replay")

    def raise_for_failure(self, *, allow_bound: bool = False) -> None:
        """Raise an error if a run failed, or if a bound stopped the exploration.

        A `replay` is complete when its one run has ended.

        Args:
            allow_bound: Whether an exploration that is not complete is good enough.

        Raises:
            AssertionError: A run failed, or the exploration is not complete. The text has the
                whole story.
        """
        if self.failure is not None:
            raise AssertionError(str(self)) from self.failure.error
        if not (self.is_complete or allow_bound):
            raise AssertionError(
                f"{self}\nnot every schedule was explored: raise the bound {self.bound}, make the "
                "scenario smaller, or pass allow_bound=True (--allow-bound on the command line)"
            )

    def __str__(self) -> str:
        how = f"stopped by {self.bound}" if self.bound else "exhausted"
        if self.bound == "replay":
            how = "replay ended"
        if self.failure is not None:
            how = "failed"
        text = (
            f"{self.scenario}, mode {self.mode}: {how} after {self.schedules} schedules "
            f"({self.pruned} pruned), {self.choices} choices in {self.states} states, "
            f"up to {self.depth} steps, {self.seconds:.2f} s"
        )
        lines = [text]
        if self.opaque:
            lines.append(
                f"some states were not compared: {self.opaque}. Use a class written in Python, "
                "pass constants=(...) if it never changes, or register a plug-in for it"
            )
        if self.waits:
            lines.append(f"where the first run was stopped by max_depth:\n{self.waits}")
        if self.failure is not None:
            lines += [f"found {self.found}"] if self.found else []
            lines.append(str(self.failure))
        return "\n".join(lines)
