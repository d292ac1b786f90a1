"""Trace validation of recorded runs: each line of a trace is a step of a machine with contracts.

A replayed machine takes the recorded steps. Its contracts must hold, and its answers and effects
must be those of the trace. Where the trace has the whole state of a pool, the states must be equal.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator
from math import inf, isnan
from pathlib import Path
from typing import Any, NamedTuple

from nodetool.concurrency._errors import ResourcePoolError
from nodetool.concurrency._machine.counts import Phase
from nodetool.concurrency._machine.guarantees import (
    EVERY_STEP,
    STATE_PREDICATES,
    STEP_PREDICATES,
    before,
)
from nodetool.concurrency._machine.machine import REASONS, PoolMachine
from nodetool.concurrency._machine.slots import Slot, SlotState, Waiter, WaiterState
from nodetool.concurrency._machine.snapshot import restore
from nodetool.concurrency._recorder import (
    PARAMETERS,
    RECORDED,
    STATE,
    Numbers,
    answer,
    before_step,
    refusal,
    state_of,
)
from nodetool.concurrency._trace_writer import VERSION, parts_of

from ._answers import guarantee_of_answer, guarantee_of_state
from ._named import UsageError, said

METHODS = {action: method for method, action in RECORDED.items()}
CONTRACTS = {action: (*EVERY_STEP, *tests) for action, tests in STEP_PREDICATES.items()}
CONTRACTS["GrowOld"] = ()
HEAD = '{"trace": '  # the beginning of a file
UNREADABLE = (
    AttributeError,
    IndexError,
    KeyError,
    OverflowError,
    RecursionError,
    TypeError,
    ValueError,
)
"""Errors of lines that no pool has written."""

LEASE = "lease"  # the context of each held slot, so that the contracts see who clears it


class Head(NamedTuple):
    """The first line of a file."""

    path: Path
    run: str
    process: int
    file: int  # the number of the file in its run, from 1
    follows: bool  # whether the steps follow those of the last file, without a gap


class Failure(NamedTuple):
    """A line that is no behaviour of the specification."""

    guarantee: str  # or a few words
    pool: str
    where: str
    detail: str


class DeviationError(Exception):
    """Error of a step that the specification does not have."""

    def __init__(self, guarantee: str, detail: str) -> None:
        super().__init__(detail)
        self.guarantee = guarantee


class ReplayedPool:
    """One pool of a trace, and the machine that takes its steps."""

    def __init__(self, state: dict[str, Any], kind: type[Any]) -> None:
        self.machine, known = restore(state, kind)
        self.numbers = Numbers(known, int(state["last"]))
        self.name: str = self.machine.name
        self._time = -inf  # of the last step
        for slot in self.machine.lent():
            slot.context = LEASE
        self._check_state()

    def compare(self, state: dict[str, Any]) -> None:
        """Compare the state in the trace with the state of the machine."""
        own = state_of(self.machine, self.numbers)
        if state.keys() != own.keys():
            raise KeyError("this is no state of a pool")
        if state != own:
            guarantee, difference = guarantee_of_state(state, own)
            raise DeviationError(guarantee, f"steps are missing or wrong: {difference}")

    def step(self, action: str, time: float, words: list[str], told: str) -> None:
        """Let the machine take a step, and compare its answer and effects."""
        args = self._arguments(action, time, words)
        if time < self._time and self.machine.counts().phase is Phase.OPEN:
            raise DeviationError("time", f"the time goes back from {self._time!r} to {time!r}")
        self._time = time
        expected = self._take(action, args)
        if told != expected:
            raise DeviationError(
                guarantee_of_answer(action, told, expected),
                f"the pool answered         {told}\nthe specification answers {expected}",
            )

    def _take(self, action: str, args: tuple[Any, ...]) -> str:
        machine = self.machine
        effects, memory = before_step(machine), before(machine, action, args)
        try:
            result = getattr(machine, METHODS[action])(*args)
        except ResourcePoolError as error:
            told = refusal(error)
        except Exception as error:
            raise DeviationError("no step", f"the step is impossible: {said(error)}") from error
        else:
            told = answer(machine, action, effects, result, self.numbers)
            for name, holds in CONTRACTS[action]:
                if not holds(machine, memory, result):
                    raise DeviationError(name, f"the contract {holds.__name__} does not hold")
            if isinstance(result, Slot):
                result.context = LEASE
        self._check_state()
        self.numbers.forget(action, args)
        machine.outbox.woken.clear()
        machine.outbox.work.clear()
        return told

    def _check_state(self) -> None:
        for name, holds in STATE_PREDICATES:
            if not holds(self.machine):
                raise DeviationError(name, f"the contract {holds.__name__} does not hold")

    def _arguments(self, action: str, time: float, words: list[str]) -> tuple[Any, ...]:
        read: dict[str, Callable[[str], Any]] = {
            "slot": self._slot,
            "waiter": self._waiter,
            "resource": self._resource,
            "error": {"-": None, "e": RuntimeError("recorded")}.__getitem__,
            "reason": {reason.replace(" ", "_"): reason for reason in REASONS}.__getitem__,
            "expires_at": number,
            "max_size": int,
            "min_size": int,
        }
        names = [name for name, _ in PARAMETERS[action]]
        expected = len(names) - ("now" in names)
        if len(words) != expected:
            raise ValueError(f"there are {len(words)} arguments, not {expected}")
        given = iter(words)
        return tuple(time if name == "now" else read[name](next(given)) for name in names)

    def _slot(self, text: str) -> Slot[Any]:
        """Find a slot. A slot that the machine does not have is free."""
        slot = self.numbers.slot(numbered("s", text))
        if slot is None:
            slot = Slot(0)
            slot.state = SlotState.FREE
        return slot

    def _waiter(self, text: str) -> Waiter[Any]:
        """Find a waiter. A waiter that the machine does not have is done."""
        ticket = numbered("w", text)
        handed = (slot.waiter for slot in self.numbers.known if slot.waiter is not None)
        for waiter in (*self.machine.waiters(), *handed):
            if waiter.ticket == ticket:
                return waiter  # type: ignore[no-any-return]
        waiter = Waiter()
        waiter.ticket, waiter.state = ticket, WaiterState.DONE
        waiter.slot = waiter.error = None
        return waiter

    def _resource(self, text: str) -> Any:
        """Return a new resource, or the one that a slot has already."""
        twin = numbered("r", text)
        return object() if twin == 0 else self._slot(f"s{twin}").resource


class Replay:
    """The pools of a trace, and what was found in them."""

    def __init__(self, kind: type[PoolMachine[Any]] = PoolMachine) -> None:
        self._kind = kind
        self._pools: dict[tuple[str, int], ReplayedPool | None] = {}  # None: it has failed
        self._followed: set[tuple[str, int]] = set()
        self.failures: list[Failure] = []
        self.steps = 0  # that were checked
        self.unchecked = 0  # steps before the first state of their pool
        self.gaps = 0  # where steps are missing, as the trace says or because files are missing
        self.cut: list[Path] = []  # files that end in the middle of a line
        self._last: Head | None = None  # the file that was read last

    @property
    def pools(self) -> int:
        """How many pools had steps that were checked."""
        return len(self._followed)

    def read(self, head: Head) -> Iterator[int]:
        """Check the steps of a file. Yield the number of each line before it is checked."""
        last, self._last = self._last, head
        expected = None if last is None or last.run != head.run else last.file + 1
        if not head.follows or head.file != expected:
            self.gaps += expected is not None
            self._pools = {key: pool for key, pool in self._pools.items() if key[0] != head.run}
        for number, text in lines_of(head.path, self.cut):
            if number > 1:
                yield number
                try:
                    self._line(head, f"{head.path.name}, line {number}", text)
                except UNREADABLE as error:
                    raise unreadable(head.path, number, text, error) from error

    def _line(self, head: Head, where: str, text: str) -> None:
        digits, action, time_text, rest = f"{text} ".split(" ", 3)
        key, time = (head.run, int(digits)), number(time_text)
        if action == STATE:
            self._guard(key, where, text, lambda: self._state(key, json.loads(rest)))
            return
        left, sign, told = rest.rstrip(" ").rpartition("> ")
        if not sign or action not in METHODS:
            raise ValueError("this is no step")
        if key not in self._pools:
            if head.file == 1:
                raise ValueError("the pool has no state before its first step")
            self.unchecked += 1
        elif pool := self._pools[key]:
            self._guard(key, where, text, lambda: pool.step(action, time, left.split(), told))
            self.steps += 1
            self._followed.add(key)

    def _state(self, key: tuple[str, int], state: dict[str, Any]) -> None:
        if not state.pop("follows"):  # the recorder has lost a line
            self._pools.pop(key, None)
            self.gaps += 1
        if key not in self._pools:
            self._pools[key] = None  # unless the state is possible
            self._pools[key] = ReplayedPool(state, self._kind)
        elif pool := self._pools[key]:
            pool.compare(state)

    def _guard(
        self, key: tuple[str, int], where: str, text: str, check: Callable[[], None]
    ) -> None:
        """Check a line. After a failure, follow this pool no longer."""
        try:
            check()
        except DeviationError as error:
            pool = self._pools[key]
            name = f"pool {key[1]}" if pool is None else f"pool {pool.name!r}"
            self._pools[key] = None
            line = text if len(text) < 200 else f"{text[:200]}…"
            self.failures.append(Failure(error.guarantee, name, where, f"{line}\n{error}"))


def number(text: str) -> float:
    """Read a time. A whole number stays one, because a float could not hold it exactly."""
    value = int(text) if text.isdigit() else float(text)
    if isnan(value):
        raise ValueError("nan is no time")
    return value


def numbered(letter: str, text: str) -> int:
    """Read the number of a slot, of a waiter or of a resource."""
    if not text.startswith(letter):
        raise ValueError(f"{text!r} does not begin with {letter!r}")
    return int(text[1:])


def lines_of(path: Path, cut: list[Path]) -> Iterator[tuple[int, str]]:
    """Yield the complete lines of a file, with their numbers. Note a file that is cut off."""
    with path.open("rb") as file:
        for at, line in enumerate(file, 1):
            if not line.endswith(b"\n"):
                cut.append(path)
            else:
                yield at, line[:-1].decode("ascii", "backslashreplace")


def unreadable(path: Path, at: int, text: str, error: Exception) -> UsageError:
    """Make the error of a line that is no line of a trace."""
    line = text if len(text) < 100 else f"{text[:100]}…"
    return UsageError(f"{path}, line {at} is no line of a trace ({said(error)}): {line!r}")


def heads(names: Iterable[str]) -> list[Head]:
    """Read the first lines of all files, in the order in which they were written.

    A name is a file, or the path of a `TraceFile`, which stands for all of its files.

    Raises:
        UsageError: There is no such file, or it is no trace.
    """
    paths: dict[Path, None] = {}
    for name in names:
        path = Path(name)
        found = [path] if path.is_file() else []
        if not found and path.parent.is_dir():
            found = [part.file for part in parts_of(path)]
        if not found:
            raise UsageError(f"--trace: there is neither {name} nor {name}-<process>-<number>")
        paths.update((path.resolve(), None) for path in found)
    read = [head for path in paths if (head := head_of(path)) is not None]
    runs = list(dict.fromkeys(head.run for head in read))
    return sorted(read, key=lambda head: (runs.index(head.run), head.file))


def head_of(path: Path) -> Head | None:
    """Read the first line of a file. Return None if the file is cut off in this line."""
    try:
        with path.open("rb") as file:
            line = file.readline(1000).decode("ascii", "backslashreplace")
    except OSError as error:
        raise UsageError(f"--trace: {path} cannot be read: {said(error)}") from error
    if not line.endswith("\n") and (HEAD.startswith(line) or line.startswith(HEAD)):
        return None
    try:
        found = json.loads(line)
        if found["trace"] != VERSION:
            raise ValueError(f"its version is {found['trace']!r}, and this is version {VERSION}")
        process, number = int(found["process"]), int(found["file"])
        return Head(path, str(found["run"]), process, number, found["follows"] is True)
    except UNREADABLE as error:
        raise UsageError(f"--trace: {path} is no trace of pools: {said(error)}") from error
