"""Choosers: they choose the next schedule."""

from __future__ import annotations

from ._events import Option
from ._fingerprint import Fingerprints
from ._run import BrokenError, Run

__all__ = ["NonDeterminismError", "PrunedError", "ReplayChooser", "Search"]

END = b"end"  # stands for all states in which a run has ended


class NonDeterminismError(AssertionError):
    """A second run with the same choices that differs from the first one."""


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
            self.trace.append(self.fingerprints.take(run.roots(), run.internals()))
        run.check_state()
        return index

    def assert_complete(self) -> None:
        """Raise a ValueError if the run ended before the schedule did."""
        if len(self.indices) < len(self.choices):
            raise ValueError(
                f"there were only {len(self.indices)} choices: is it of another scenario?"
            )


class Search:
    """A chooser that takes each schedule once, depth first, and explores no state twice.

    Args:
        fingerprints: The fingerprints of states. None means that states are not compared.
    """

    def __init__(self, fingerprints: Fingerprints | None) -> None:
        self.fingerprints = fingerprints
        self.options: list[tuple[Option, ...]] = []  # of each choice in this run
        self.path: list[int] = []  # the index of the option that was chosen
        self.states: list[bytes] = []  # the fingerprint at each choice
        self.place = 0  # the number of choices so far in this run
        self.choices = 0
        self.origins: dict[bytes, tuple[bytes, int]] = {}  # the state and choice before a state
        self.successors: dict[bytes, list[bytes]] = {}

    def __call__(self, run: Run, options: tuple[Option, ...]) -> int:
        place = self.place
        self.place += 1
        if place < len(self.path):
            if options != self.options[place]:
                raise BrokenError(
                    "nondeterministic",
                    NonDeterminismError(f"now {options}, before {self.options[place]}"),
                )
            return self.path[place]
        self.choices += 1
        if self.fingerprints is not None:
            state = self.fingerprints.take(run.roots(), run.internals())
            if self._record_state(state):
                self.place -= 1
                raise PrunedError
            self.states.append(state)
        run.check_state()
        self.options.append(options)
        self.path.append(0)
        return 0

    def _record_state(self, state: bytes) -> bool:
        """Record the step to a state. Return whether the state is known."""
        is_known = state in self.successors
        if self.states:
            self.successors[self.states[-1]].append(state)
        if not is_known:
            self.successors[state] = []
            if self.states:
                self.origins[state] = self.states[-1], self.path[-1]
        return is_known

    def end_run(self) -> None:
        """Record that a run has ended.

        Raises:
            BrokenError: It ended earlier than the last run, which made the same choices.
        """
        if self.place < len(self.path):
            error = NonDeterminismError("the scenario has ended, but the last run continued here")
            raise BrokenError("nondeterministic", error)
        if self.states:
            self.successors[self.states[-1]].append(END)

    def advance(self) -> bool:
        """Move to the next schedule. Return False if there is none."""
        self.place = 0
        while self.path:
            if self.path[-1] + 1 < len(self.options[-1]):
                self.path[-1] += 1
                return True
            self.path.pop()
            self.options.pop()
            if self.states:
                self.states.pop()
        return False

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
