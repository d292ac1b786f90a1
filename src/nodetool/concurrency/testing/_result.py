"""What an exploration has found, and how much it has seen."""

from __future__ import annotations

import re
import traceback
from dataclasses import dataclass, field

from ._run import Mode

__all__ = ["Exploration", "Failure", "parse_schedule", "schedule_text"]

MODES: dict[str, Mode] = {"e": "events", "r": "ready"}
NUMBER = re.compile("[0-9]{1,9}")


def schedule_text(mode: Mode, choices: list[int]) -> str:
    """A schedule as one word: the choices in order, but those of the first option at the end."""
    last = max((place for place, choice in enumerate(choices, 1) if choice), default=0)
    return f"{mode[0]}:{'.'.join(map(str, choices[:last]))}"


def parse_schedule(text: object) -> tuple[Mode, list[int]]:
    """The mode and the choices of a schedule.

    Raises:
        ValueError: It is none.
    """
    if not isinstance(text, str):
        raise ValueError(f"{text!r} is no schedule: it is a string like e:0.2.1, or r:0.2.1")
    letter, colon, numbers = text.partition(":")
    words = numbers.split(".") if numbers else []
    if letter not in MODES or not colon or not all(map(NUMBER.fullmatch, words)):
        shown = text if len(text) < 60 else f"{text[:60]}..."
        raise ValueError(f"{shown!r} is no schedule: it looks like e:0.2.1, or r:0.2.1")
    return MODES[letter], [int(word) for word in words]


@dataclass
class Failure:
    """A run that went wrong.

    Attributes:
        kind: "raised" by the scenario, "unretrieved" exception of a task, "callback" that raised,
            "invariant" of the scenario, "guarantee" or "specification" of a monitor, "deadlock",
            "livelock", "left over" at the end, "real I/O", "nondeterministic", or different on a
            "stock loop".
        error: The exception; of a deadlock, it says who waits where.
        scenario: The name of the scenario.
        about: More on where the error came from.
        schedule: What happened, step by step, in words.
        actions: The steps that monitors have seen.
        replay: The schedule for `replay`.
    """

    kind: str
    error: BaseException
    scenario: str
    about: str = ""
    schedule: list[str] = field(default_factory=list)
    actions: list[str] = field(default_factory=list)
    replay: str = ""

    def __str__(self) -> str:
        lines = [f"{self.scenario}: {self.kind}", *self.about.splitlines()]
        lines += "".join(traceback.format_exception(self.error)).splitlines()
        lines += ["what happened:"]
        lines += [f"  {number}. {words}" for number, words in enumerate(self.schedule, 1)]
        if self.actions:
            lines.append(f"monitored steps: {' '.join(self.actions)}")
        return "\n".join([*lines, f"replay: {self.replay}"])


@dataclass
class Exploration:
    """What `explore` has done.

    Attributes:
        scenario: The name of the scenario.
        mode: "events" or "ready".
        schedules: How many runs there were.
        pruned: How many of them stopped in a state that was known.
        choices: How many choices were met, each time anew.
        states: How many different states there were to choose in; 0 without pruning.
        depth: The most steps of a run.
        seconds: How long it took.
        bound: Which of the bounds was met, if any, or "replay", if only one schedule was run: then
            not everything was seen.
        failure: The first failure, which ended the exploration.
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

    @property
    def exhausted(self) -> bool:
        """Whether all was seen that can happen, and nothing failed."""
        return self.bound is None and self.failure is None

    def raise_for_failure(self) -> None:
        """Do nothing if no run failed.

        Raises:
            AssertionError: A run failed: with the whole story.
        """
        if self.failure is not None:
            raise AssertionError(str(self)) from self.failure.error

    def __str__(self) -> str:
        how = f"stopped by {self.bound}" if self.bound else "exhausted"
        if self.bound == "replay":
            how = "replayed, and over"
        if self.failure is not None:
            how = "failed"
        text = (
            f"{self.scenario}, mode {self.mode}: {how} after {self.schedules} schedules "
            f"({self.pruned} pruned), {self.choices} choices in {self.states} states, "
            f"up to {self.depth} steps, {self.seconds:.2f} s"
        )
        return text if self.failure is None else f"{text}\n{self.failure}"
