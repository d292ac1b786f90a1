"""Choosers: they choose the next schedule."""

from __future__ import annotations

import random
from collections import defaultdict, deque
from dataclasses import dataclass, field
from functools import cached_property

from ._events import Option
from ._fingerprint import Fingerprints
from ._run import JUMP, BrokenError, Run

__all__ = ["NonDeterminismError", "PrunedError", "ReplayChooser", "Search", "name_deviations"]

END = b"end"  # stands for all states in which a run has ended
MOST_DEVIATIONS = 2  # of the runs of the first stage
FEW_RUNS = 5_000  # most runs of the first stage
RANDOM_RUNS = 1_000
CHANGE = 0.1  # how often a random run changes a priority


class NonDeterminismError(AssertionError):
    """A second run with the same choices that differs from the first one."""


def name_deviations(count: int) -> str:
    """Say how many deviations a schedule has."""
    return f"{count} deviation{'s' * (count != 1)}"


class PrunedError(Exception):
    """The end of a run in a state that was explored before."""


class ReplayChooser:
    """A chooser that follows a list of choices.

    Args:
        choices: The choices.
        fingerprints: If given, the trace also has the fingerprint of each state with a choice.
        is_open: Whether to choose the first option after the last choice. If not, the run ends.
    """

    def __init__(
        self,
        choices: list[int],
        fingerprints: Fingerprints | None = None,
        *,
        is_open: bool = True,
    ) -> None:
        self.choices = choices
        self.is_open = is_open
        self.indices: list[int] = []
        self.fingerprints = fingerprints
        self.trace: list[object] = []  # the options of each choice, and the state

    def __call__(self, run: Run, options: tuple[Option, ...]) -> int:
        place = len(self.indices)
        if place == len(self.choices) and not self.is_open:
            raise PrunedError
        index = self.choices[place] if place < len(self.choices) else 0
        if index >= len(options):
            raise ValueError(
                f"choice {place + 1} is number {index} of {len(options)}: this schedule is of "
                "another scenario, or of another version of it"
            )
        self.indices.append(index)
        self.trace.append(options)
        if self.fingerprints is not None:
            self.trace.append(None if run.is_inside else self.fingerprints.compare(*run.state()))
        if not run.is_inside:
            run.check_state()
        return index

    def assert_complete(self) -> None:
        """Raise a ValueError if the run ended before the schedule did."""
        if len(self.indices) < len(self.choices):
            raise ValueError(
                f"there were only {len(self.indices)} choices: is it of another scenario?"
            )


@dataclass
class Branch:
    """A run whose other options are not explored yet.

    Attributes:
        path: The index of the option that was chosen, for each choice.
        options: The options of each choice.
        states: The fingerprint at each choice. It is empty if states are not compared.
        start: The first choice that no earlier run made.
        deviations: How often the run left the path of an earlier run.
    """

    path: list[int] = field(default_factory=list)
    options: list[tuple[Option, ...]] = field(default_factory=list)
    states: list[bytes] = field(default_factory=list)
    start: int = 0
    deviations: int = 0

    @cached_property
    def rest(self) -> list[tuple[int, int]]:
        """List the options that are left, as pairs of choice and index, the last one first."""
        return [
            (place, index)
            for place in reversed(range(self.start, len(self.path)))
            for index in reversed(range(len(self.options[place])))
            if index != self.path[place]
        ]

    def leave(self, place: int, index: int) -> Branch:
        """Return the beginning of a run that takes another option at one choice."""
        return Branch(
            [*self.path[:place], index],
            self.options[: place + 1],
            self.states[: place + 1],
            place + 1,
            self.deviations + 1,
        )


class Search:
    """A chooser that takes each schedule once, and explores no state twice.

    A run that comes to a new state takes its first option. The other options wait. Each later run
    begins with an option that waits. So the number of runs does not depend on their order. The
    order has three stages:

    1. Runs with few deviations first. A run deviates when it does not take the first option. Most
       bugs need one or two deviations, at any moment of the run.
    2. Random runs. Each one begins at a random option that waits. It gives a random priority to
       each event, and takes the option with the highest priority in each new state.
    3. All others, depth first, because this order needs little memory.

    Args:
        fingerprints: The fingerprints of states. None means that states are not compared.
    """

    def __init__(self, fingerprints: Fingerprints | None) -> None:
        self.fingerprints = fingerprints
        self.run = Branch()  # the current run
        self.place = 0  # the number of choices so far in this run
        self.choices = 0
        self.stage = "deviations"  # later "random", then "exhaustive"
        self.origins: dict[bytes, tuple[bytes, int]] = {}  # the state and choice before a state
        self.successors: dict[bytes, list[bytes]] = {}
        self._waiting: deque[Branch] = deque()  # those with fewest deviations first
        self._followed = 0  # choices of this run after a known state
        self._runs = 0  # of this stage
        self._random = random.Random(0)
        self._priorities: defaultdict[Option, float] | None = None  # in a random run

    @property
    def path(self) -> list[int]:
        """Return the choices of this run so far."""
        return self.run.path[: self.place] + [0] * self._followed

    def found(self) -> str:
        """Describe how the search has found the current run."""
        if self.stage == "random":
            return "at random"
        if self.stage == "exhaustive":
            return "by exhaustive search"
        return f"with {name_deviations(self.run.deviations)}"

    def __call__(self, run: Run, options: tuple[Option, ...]) -> int:
        if self._followed:
            return self._follow(run)
        place = self.place
        self.place += 1
        if place < len(self.run.path):
            if options != self.run.options[place]:
                raise BrokenError(
                    "nondeterministic",
                    NonDeterminismError(f"now {options}, before {self.run.options[place]}"),
                )
            return self.run.path[place]
        self.choices += 1
        if self.fingerprints is not None:
            state = self._state(self.fingerprints, run)
            if self._record_state(state):
                self.place -= 1
                if run.is_lonely and (options[0] is JUMP or state in self.run.states):
                    return self._follow(run)
                raise PrunedError
            self.run.states.append(state)
        if not run.is_inside:
            run.check_state()
        index = self._prefer(options)
        self.run.options.append(options)
        self.run.path.append(index)
        return index

    def _follow(self, run: Run) -> int:
        """Go on from a known state in which only the loop and its timers can go on.

        If they repeat this state for ever, the run finds that out, which pruning would prevent.
        """
        if not run.is_lonely:
            raise PrunedError
        self._followed += 1
        return 0

    def _state(self, fingerprints: Fingerprints, run: Run) -> bytes:
        """Return the fingerprint of a state. One that cannot be compared equals no other."""
        if run.is_inside:
            return b"%d" % self.choices
        return fingerprints.compare(*run.state()) or b"%d" % self.choices

    def _record_state(self, state: bytes) -> bool:
        """Record the step to a state. Return whether the state is known."""
        is_known = state in self.successors
        states = self.run.states
        if states:
            self.successors[states[-1]].append(state)
        if not is_known:
            self.successors[state] = []
            if states:
                self.origins[state] = states[-1], self.run.path[-1]
        return is_known

    def _prefer(self, options: tuple[Option, ...]) -> int:
        """Return the index of the option that a run takes in a new state."""
        priorities = self._priorities
        if priorities is None:
            return 0
        best = max(range(len(options)), key=lambda index: priorities[options[index]])
        if self._random.random() < CHANGE:
            del priorities[options[best]]
        return best

    def end_run(self) -> None:
        """Record that a run has ended.

        Raises:
            BrokenError: It ended earlier than the last run, which made the same choices.
            PrunedError: It ended after a known state.
        """
        if self._followed:
            raise PrunedError
        if self.place < len(self.run.path):
            error = NonDeterminismError("the scenario has ended, but the last run continued here")
            raise BrokenError("nondeterministic", error)
        if self.run.states:
            self.successors[self.run.states[-1]].append(END)

    def advance(self) -> bool:
        """Move to the next schedule. Return False if there is none."""
        self.place = self._followed = 0
        if self.run.rest:
            self._waiting.append(self.run)
        if not self._waiting:
            return False
        self._change_stage()
        place = 0 if self.stage == "deviations" else -1
        if self.stage == "random":
            place = self._random.randrange(len(self._waiting))
            self._random.shuffle(self._waiting[place].rest)
            self._priorities = defaultdict(self._random.random)
        branch = self._waiting[place]
        self.run = branch.leave(*branch.rest.pop())
        if not branch.rest:
            del self._waiting[place]
        return True

    def _change_stage(self) -> None:
        """Begin the next stage if this one has had its runs."""
        self._runs += 1
        is_deep = self._waiting[0].deviations >= MOST_DEVIATIONS
        if self.stage == "deviations" and (is_deep or self._runs >= FEW_RUNS):
            self.stage, self._runs = "random", 0
        elif self.stage == "random" and self._runs >= RANDOM_RUNS:
            self.stage, self._priorities = "exhaustive", None

    def find_livelock(self) -> list[int] | None:
        """Return the choices that lead to a state from which the run can never end.

        Returns:
            The choices, or None if there is no such state.
        """
        predecessors: dict[bytes, list[bytes]] = {}
        for state, successors in self.successors.items():
            for other in successors:
                predecessors.setdefault(other, []).append(state)
        ending, queue = {END}, [END]
        while queue:
            for state in predecessors.get(queue.pop(), ()):
                if state not in ending:
                    ending.add(state)
                    queue.append(state)
        endless = next((state for state in self.successors if state not in ending), None)
        if endless is None:
            return None
        choices = []
        while endless in self.origins:
            endless, choice = self.origins[endless]
            choices.append(choice)
        return choices[::-1]
