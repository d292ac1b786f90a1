"""The lines of a trace: a recorded machine writes one line for each of its steps.

A line has the number of the pool, the action, the time, the arguments, the sign ``>``, the answer
and the effects::

    1 Acquire 17.25 > w4 s2:creating
    1 CreateSucceeded 17.5 s2 r0 inf > - w4=s2
    1 Release 18.0 s2 > no

``s2`` is a slot, numbered in the order of creations. ``w4`` is a waiter, with its ticket. ``r0`` is
a new resource. Any other number is that of the slot that has the same object already. ``e`` is an
error, and ``-`` is nothing.

The first effects are the waiters to wake, with their slot or with ``!`` for an error. Then come the
slots whose work starts, and the time of the next sweep, if it has changed. If the step may have
ended a phase of the pool, the present phase is the last effect. A refused step has the class of its
error as the answer, as in ``!InvalidReleaseError``.

The line ``1 State 17.25 {…}`` has the whole state of a pool, as JSON.
"""

from __future__ import annotations

import functools
import inspect
import json
from collections.abc import Callable
from itertools import islice
from typing import TYPE_CHECKING, Any, NamedTuple

from ._machine.counts import Phase
from ._machine.machine import PoolMachine
from ._machine.observe import actions
from ._machine.slots import Slot, SlotState, Waiter
from ._machine.snapshot import capture
from ._runtime.callbacks import ignore

if TYPE_CHECKING:
    from ._runtime.binding import Binding
    from ._trace_writer import TraceWriter

CLOSED = Phase.CLOSED.value
CLOSING, FREE, HELD = SlotState.CLOSING, SlotState.FREE, SlotState.HELD

RECORDED = {**actions(PoolMachine), "grow_old": "GrowOld"}
"""The methods whose calls are lines: all that change the state. The values are the actions."""

PARAMETERS = {
    action: tuple(
        (parameter.name, parameter.default)
        for parameter in inspect.signature(getattr(PoolMachine, method)).parameters.values()
    )[1:]
    for method, action in RECORDED.items()
}
"""The parameters of each action, with their defaults. A parameter's name says how to write it."""

STATE = "State"


class Before(NamedTuple):
    """The part of the state before a step that the line of the step needs."""

    woken: int  # how many waiters were in the outbox
    work: int  # how many slots were in the outbox
    sweep_at: float  # the time of the next sweep


class Numbers:
    """The numbers of the slots that are not free, in the order of creations."""

    def __init__(self, known: dict[Slot[Any], int] | None = None, last: int = 0) -> None:
        self.known = {} if known is None else known
        self.last = last

    def of(self, slot: Slot[Any]) -> int:
        """Return the number of a slot. A new slot gets the next number."""
        number = self.known.get(slot)
        if number is None:
            number = self.last = self.known[slot] = self.last + 1
        return number

    def slot(self, number: int) -> Slot[Any] | None:
        """Return the slot with a number."""
        return next((slot for slot, known in self.known.items() if known == number), None)

    def forget(self, action: str, args: tuple[Any, ...]) -> None:
        """Drop the slots that a step has freed."""
        if action == "Terminate":
            for slot in [slot for slot in self.known if slot.state is FREE]:
                del self.known[slot]
        elif args and args[0].__class__ is Slot and args[0].state is FREE:
            self.known.pop(args[0], None)


def before_step(machine: Any) -> Before:
    """Record the state before a step."""
    outbox = machine.outbox
    return Before(len(outbox.woken), len(outbox.work), outbox.sweep_at)


def answer(machine: Any, action: str, before: Before, result: Any, numbers: Numbers) -> str:
    """Write the answer and the effects of a step.

    If the step may have ended the closing of the pool, the phase of the pool is the last effect.
    """
    outbox = machine.outbox
    parts = [written(result, numbers)]
    for waiter in islice(outbox.woken, before.woken, None) if outbox.woken else ():
        to = "!" if waiter.error is not None else written(waiter.slot, numbers)
        parts.append(f"w{waiter.ticket}={to}")
    for slot in islice(outbox.work, before.work, None) if outbox.work else ():
        reason = f":{word(slot.reason)}" if slot.state is CLOSING else ""
        parts.append(f"s{numbers.of(slot)}:{slot.state.value}{reason}")
    if outbox.sweep_at != before.sweep_at:
        parts.append(f"@{outbox.sweep_at!r}")
    if action in ("Close", "Terminate", "CloserEnded") or not machine.size():
        parts.append(machine.counts().phase.value)
    return " ".join(parts)


def refusal(error: BaseException) -> str:
    """Write the answer of a refused step."""
    return f"!{type(error).__name__}"


def word(reason: str) -> str:
    """Write the reason of a closing."""
    return reason.replace(" ", "_")


def written(value: Any, numbers: Numbers) -> str:
    """Write the result of a step."""
    kind = type(value)
    if kind is Slot:
        return f"s{numbers.of(value)}"
    if kind is Waiter:
        return f"w{value.ticket}"
    if kind is bool:
        return "yes" if value else "no"
    if kind is list:
        return f"[{','.join(written(one, numbers) for one in value)}]"
    return "-" if value is None else str(value)


def state_of(machine: Any, numbers: Numbers) -> dict[str, Any]:
    """Return the whole state of a pool, as values of JSON."""
    return {**capture(machine, numbers.known), "last": numbers.last}


class Recorder:
    """The object that writes the lines of one pool."""

    def __init__(self, file: TraceWriter, binding: Binding) -> None:
        self.file = file
        self.pool = file.new_number()
        self.numbers = Numbers()
        self.part = 0  # the part of the trace in which this pool has written its state
        self.outbox: Any = None  # of the machine
        self._binding = binding
        self._is_over = False  # whether the pool has written its final state
        self._follows = True  # whether the trace has all steps since the last state

    def attach(self, made: Any) -> None:
        """Record the steps of an unused machine, whose class is `recorded`."""
        made.recorder = self
        self.outbox = made.outbox

    def before(self, machine: Any) -> Before:
        """Record the state before a step. In a new part of the trace, write the state first."""
        if self.part != self.file.part:
            self.part = self.file.part
            try:
                self._write_state(machine)
            except BaseException as error:
                self.lose(error)
        return before_step(machine)

    def after(
        self,
        machine: Any,
        action: str,
        args: tuple[Any, ...],
        before: Before,
        result: Any,
        twin: int = 0,
    ) -> None:
        """Write the line of a step.

        Args:
            machine: The machine.
            action: The action.
            args: The arguments of the step.
            before: The record of the state before the step.
            result: The answer of the step, or the error that refused it.
            twin: The number of the slot that had the new resource before the step, if there is one.
        """
        try:
            if isinstance(result, BaseException):
                told = refusal(result)
            else:
                told = answer(machine, action, before, result, self.numbers)
            now, arguments = self._written(action, args, twin)
            if self.part:  # otherwise the state before the step could not be written
                self.file.write(f"{self.pool} {action} {now!r} {arguments}> {told}")
            self.numbers.forget(action, args)
            # Write the final state, so that a check compares all numbers.
            if told.endswith(CLOSED) and not self._is_over:
                self._is_over = True
                self._write_state(machine)
        except BaseException as error:
            self.lose(error)

    def _written(self, action: str, args: tuple[Any, ...], twin: int) -> tuple[float, str]:
        """Return the time of a step, and its other arguments as text."""
        now, texts = None, []
        for at, (name, default) in enumerate(PARAMETERS[action]):
            value = args[at] if at < len(args) else default
            match name:
                case "now":
                    now = value
                case "slot":
                    texts.append(f"s{self.numbers.known.get(value, 0)} ")
                case "waiter":
                    texts.append(f"w{value.ticket} ")
                case "resource":
                    texts.append(f"r{twin} ")
                case "error":
                    texts.append("- " if value is None else "e ")
                case "reason":
                    texts.append(f"{word(value)} ")
                case _:  # a number
                    texts.append(f"{value!r} ")
        return self._binding.clock() if now is None else now, "".join(texts)

    def _write_state(self, machine: Any) -> None:
        state = state_of(machine, self.numbers) | {"follows": self._follows}
        text = json.dumps(state)
        self.file.write_state(f"{self.pool} {STATE} {self._binding.clock()!r} {text}")
        self._follows = True

    def lose(self, error: BaseException) -> None:
        """Leave out a line that cannot be written, because the step itself has succeeded.

        Before its next step, the pool writes its state again. That state follows no earlier line.
        """
        self.part, self._follows = 0, False
        ignore(error)


# The steps of a recorded machine.


def _recorded(method: str, action: str, bare: Callable[..., Any]) -> Callable[..., Any]:
    takes_resource = any(name == "resource" for name, _ in PARAMETERS[action])

    @functools.wraps(bare)
    def step(self: Any, *args: Any) -> Any:
        recorder: Recorder = self.recorder
        before, twin = recorder.before(self), 0
        if takes_resource:
            twin = recorder.numbers.known.get(self.finder()(id(args[1])), 0)
        try:
            result = bare(self, *args)
        except BaseException as error:
            recorder.after(self, action, args, before, error, twin)
            raise
        recorder.after(self, action, args, before, result, twin)
        return result

    return step


def _acquire(bare: Callable[..., Any], recorded: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(bare)
    def step(self: Any, now: float) -> Any:
        recorder = self.recorder
        outbox = recorder.outbox
        if outbox.work or outbox.woken or recorder.part != recorder.file.part:
            return recorded(self, now)
        sweep_at = outbox.sweep_at
        try:
            got = bare(self, now)
        except BaseException as error:
            recorder.after(self, "Acquire", (now,), Before(0, 0, sweep_at), error)
            raise
        if got.state is HELD and not outbox.work and outbox.sweep_at == sweep_at:
            try:
                number = recorder.numbers.known.get(got)
                recorder.file.write(f"{recorder.pool} Acquire {now!r} > s{number}")
            except BaseException as error:
                recorder.lose(error)
        else:
            recorder.after(self, "Acquire", (now,), Before(0, 0, sweep_at), got)
        return got

    return step


def _release(bare: Callable[..., Any], recorded: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(bare)
    def step(self: Any, slot: Any, now: float) -> Any:
        recorder = self.recorder
        if slot.state is not HELD or recorder.part != recorder.file.part:
            return recorded(self, slot, now)
        outbox = recorder.outbox
        woken, work, sweep_at = len(outbox.woken), len(outbox.work), outbox.sweep_at
        try:
            result = bare(self, slot, now)
        except BaseException as error:
            recorder.after(self, "Release", (slot, now), Before(woken, work, sweep_at), error)
            raise
        if result:
            recorder.after(self, "Release", (slot, now), Before(woken, work, sweep_at), result)
        else:
            try:
                number = recorder.numbers.known.get(slot)
                recorder.file.write(f"{recorder.pool} Release {now!r} s{number} > no")
            except BaseException as error:
                recorder.lose(error)
        return result

    return step


COMMON = {"Acquire": _acquire, "Release": _release}
"""The actions that mostly move one idle resource. Their lines are written more quickly."""


def recorded(kind: type[Any]) -> type[Any]:
    """Return a subclass of the machine that calls its `recorder` at each step."""
    if kind not in _kinds:
        body: dict[str, Any] = {"recorder": None, "__module__": kind.__module__}
        for method, action in RECORDED.items():
            bare = getattr(kind, method)
            step = _recorded(method, action, bare)
            body[method] = COMMON[action](bare, step) if action in COMMON else step
        _kinds[kind] = type(f"Recorded{kind.__name__}", (kind,), body)
    return _kinds[kind]


_kinds: dict[type[Any], type[Any]] = {}
