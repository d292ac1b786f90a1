"""Injection of one call after the k-th bytecode of the pool.

A run is traced by ``sys.settrace`` with opcode events. An opcode event comes before its bytecode,
so event k stands between bytecode k and the one before. At the chosen event the injector stops the
tracing and calls the injected action. The rest of the run is untraced.

An activation is one entry from outside into the pool's code: from its first bytecode until it
returns, raises or suspends. The points just before and just after each activation are the
references: there the same action runs outside of every call of the pool.

A call of the pool may take several steps, for example Acquire and Timeout. The gate is open between
them. So the points at which an activation has just opened the gate are references, too.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from types import FrameType
from typing import Any, Literal, NamedTuple

import nodetool.concurrency

SOURCE = Path(nodetool.concurrency.__file__).parent
TOOLS = ("verify", "testing", "timeline")  # packages beside the pool, not parts of it

Kind = Literal["none", "count", "start", "bytecode", "before", "after", "event", "record"]


class Point(NamedTuple):
    """A moment in a run at which the injected action is called.

    The number counts from 0: bytecodes, activations, calls of the listener, or log records.
    """

    kind: Kind
    number: int = 0


NOWHERE = Point("none")  # the run records its bytecodes
COUNT = Point("count")  # the run only counts activations, calls of the listener and log records


class Place(NamedTuple):
    """The bytecode that comes next at a point."""

    file: str
    function: str
    line: int
    offset: int
    activation: int
    stack: int  # the hash of the function and the bytecode of each frame of the pool

    def __str__(self) -> str:
        return f"{self.file}:{self.line} in {self.function}, bytecode at {self.offset}"


class Files:
    """The set of files whose bytecodes are points."""

    def __init__(self) -> None:
        self._known: dict[str, bool] = {}

    def has(self, name: str) -> bool:
        """Tell whether a file is part of the pool."""
        known = self._known.get(name)
        if known is None:
            path = Path(name)
            known = path.is_relative_to(SOURCE)
            known = known and path.relative_to(SOURCE).parts[0] not in TOOLS
            self._known[name] = known
        return known


FILES = Files()


class Injector:
    """A trace function that calls an action at one point of a run."""

    def __init__(
        self, point: Point, action: Callable[[], None], gate_is_closed: Callable[[], bool]
    ) -> None:
        self.point = point
        self.fired = False
        self.places: list[Place] = []  # of all bytecodes; only if the point is NOWHERE
        self.events: list[int] = []  # the activation of each call of the listener
        self.records: list[int] = []  # the activation of each log record
        self.openings: list[int] = []  # the bytecodes at which the gate has just been opened
        self.activations = 0  # that have begun
        self._action = action
        self._gate_is_closed = gate_is_closed
        self._left = point.number  # bytecodes before the point
        self._outermost: FrameType | None = None  # of the activation in progress
        self._was_closed = False  # whether the gate was closed at the last bytecode
        self._active = False

    def start(self) -> None:
        """Start to trace this thread. No frame of the pool may be on the stack."""
        self._active = True
        if self.point.kind == "start":
            self._fire()
        elif self.point.kind not in ("event", "record"):
            sys.settrace(self._enter)

    def stop(self) -> None:
        """Stop to trace."""
        self._active = False
        sys.settrace(None)

    def note_event(self) -> None:
        """Count a call of the listener."""
        self._note("event", self.events)

    def note_record(self) -> None:
        """Count a log record."""
        self._note("record", self.records)

    def _note(self, kind: Kind, seen: list[int]) -> None:
        if self._active:
            seen.append(self.activations - 1)
            if self.point == (kind, len(seen) - 1):
                self._fire()

    def _fire(self) -> None:
        self.fired = True
        self.stop()
        self._action()

    def _enter(self, frame: FrameType, event: str, argument: Any) -> Any:
        if not FILES.has(frame.f_code.co_filename):
            frame.f_trace_lines = False
            return None
        trace = self._count if self.point.kind == "bytecode" else self._trace
        # Since Python 3.13 only a frame that has a trace function can get opcode events.
        frame.f_trace = trace
        frame.f_trace_lines = False
        frame.f_trace_opcodes = True
        if self._outermost is None and self.point.kind != "bytecode":
            self._begin(frame)
        return trace

    def _count(self, frame: FrameType, event: str, argument: Any) -> Any:
        """Count bytecodes, and nothing else, because this is most of the time of a sweep."""
        if event == "opcode":
            if self._left:
                self._left -= 1
            elif not self.fired:
                self._fire()
        return self._count

    def _trace(self, frame: FrameType, event: str, argument: Any) -> Any:
        if event == "opcode":
            if self._outermost is None:  # an exception was thrown into the frame
                self._begin(frame)
            if self.point == NOWHERE:
                self._record(frame)
        elif event == "return" and frame is self._outermost:
            self._outermost = None
            if self.point == ("after", self.activations - 1):
                self._fire()
        return self._trace

    def _begin(self, frame: FrameType) -> None:
        outer: FrameType | None = frame
        while outer is not None:
            if FILES.has(outer.f_code.co_filename):
                frame = outer
            outer = outer.f_back
        self._outermost = frame
        self.activations += 1
        if self.point == ("before", self.activations - 1):
            self._fire()

    def _record(self, frame: FrameType) -> None:
        code = frame.f_code
        file = str(Path(code.co_filename).relative_to(SOURCE))
        is_closed = self._gate_is_closed()
        if self._was_closed and not is_closed:
            self.openings.append(len(self.places))
        self._was_closed = is_closed
        stack = []
        caller: FrameType | None = frame
        while caller is not None:
            if FILES.has(caller.f_code.co_filename):
                stack.append((caller.f_code.co_qualname, caller.f_lasti))
            caller = caller.f_back
        place = Place(
            file,
            code.co_qualname,
            frame.f_lineno,
            frame.f_lasti,
            self.activations - 1,
            hash(tuple(stack)),  # a number, because tuples would slow down the collector
        )
        self.places.append(place)
