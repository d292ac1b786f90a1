"""How the next schedule is chosen."""

from __future__ import annotations

from ._events import Option
from ._fingerprint import Fingerprints
from ._run import BrokenError, Run

__all__ = ["NonDeterminismError", "PrunedError", "Replaying", "Search"]

END = b"end"  # stands for all states in which a run is over


class NonDeterminismError(AssertionError):
    """The same choices have led to something else."""


class PrunedError(Exception):
    """Ends a run: all that could follow was explored before."""


class Replaying:
    """Chooses as told, and then always the first option, or ends the run."""

    def __init__(
        self,
        choices: list[int],
        fingerprints: Fingerprints | None = None,
        *,
        goes_on: bool = True,
    ) -> None:
        self.choices = choices
        self.goes_on = goes_on
        self.taken: list[int] = []
        self.fingerprints = fingerprints
        self.trace: list[object] = []  # what there was to choose from, in which states

    def __call__(self, run: Run, options: tuple[Option, ...]) -> int:
        place = len(self.taken)
        if place == len(self.choices) and not self.goes_on:
            raise PrunedError
        index = self.choices[place] if place < len(self.choices) else 0
        if index >= len(options):
            raise ValueError(
                f"choice {place + 1} is number {index} of {len(options)}: this schedule is of "
                "another scenario, or of another version of it"
            )
        self.taken.append(index)
        self.trace.append(options)
        if self.fingerprints is not None:
            self.trace.append(self.fingerprints.take(run.roots(), run.own()))
        run.check_state()
        return index

    def assert_all_taken(self) -> None:
        """Refuse a schedule that goes on where the run is over."""
        if len(self.taken) < len(self.choices):
            raise ValueError(f"there were only {len(self.taken)} choices: another scenario's?")


class Search:
    """Chooses so that every schedule comes once, depth first, but none from a known state twice."""

    def __init__(self, fingerprints: Fingerprints | None) -> None:
        self.fingerprints = fingerprints
        self.options: list[tuple[Option, ...]] = []  # at each choice of the present run
        self.path: list[int] = []  # what was chosen there
        self.states: list[bytes] = []  # and in which state, if fingerprints are taken
        self.place = 0
        self.choices = 0
        self.came_from: dict[bytes, tuple[bytes, int]] = {}  # by which choice it was first met
        self.leads_to: dict[bytes, list[bytes]] = {}

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
            state = self.fingerprints.take(run.roots(), run.own())
            if self._arrived(state):
                self.place -= 1
                raise PrunedError
            self.states.append(state)
        run.check_state()
        self.options.append(options)
        self.path.append(0)
        return 0

    def _arrived(self, state: bytes) -> bool:
        """Note the step to a state; whether it was met before."""
        is_known = state in self.leads_to
        if self.states:
            self.leads_to[self.states[-1]].append(state)
        if not is_known:
            self.leads_to[state] = []
            if self.states:
                self.came_from[state] = self.states[-1], self.path[-1]
        return is_known

    def ended(self) -> None:
        """The run has come to its end.

        Raises:
            BrokenError: Earlier than the run before it, which made the same choices.
        """
        if self.place < len(self.path):
            error = NonDeterminismError("the scenario is over, where before it went on")
            raise BrokenError("nondeterministic", error)
        if self.states:
            self.leads_to[self.states[-1]].append(END)

    def advance(self) -> bool:
        """Go on to the next schedule; False if there is none."""
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

    def livelock(self) -> list[int] | None:
        """The choices that lead to a state from which no end can be reached, if there is one."""
        before: dict[bytes, list[bytes]] = {}
        for state, following in self.leads_to.items():
            for other in following:
                before.setdefault(other, []).append(state)
        ends, todo = {END}, [END]
        while todo:
            for state in before.get(todo.pop(), ()):
                if state not in ends:
                    ends.add(state)
                    todo.append(state)
        endless = next((state for state in self.leads_to if state not in ends), None)
        if endless is None:
            return None
        choices = []
        while endless in self.came_from:
            endless, choice = self.came_from[endless]
            choices.append(choice)
        return choices[::-1]
