"""Descriptions of tasks: where each one goes on, what it waits for, and who holds that."""

from __future__ import annotations

import asyncio
import concurrent.futures
import contextlib
import gc
import linecache
from collections.abc import Iterable, Iterator
from itertools import pairwise
from pathlib import Path
from types import FrameType, FunctionType, MethodType
from typing import Any

from ._loop import owner
from ._parts import attributes, slots
from ._story import handle_name

__all__ = ["await_stack", "list_waits", "tell", "waits_for_thread"]

LIBRARY = Path(asyncio.__file__).parent
HIDDEN = (str(LIBRARY), contextlib.__file__, str(Path(__file__).parent))  # not the user's code

# The words for the purpose of a method of asyncio. The name of its object follows them.
PURPOSES = {
    "Barrier.wait": "more tasks at",
    "Condition.wait": "a notification of",
    "Event.wait": "",
    "Lock.acquire": "",
    "Queue.get": "an item from",
    "Queue.join": "the end of all work of",
    "Queue.put": "room in",
    "Semaphore.acquire": "a permit of",
    "TaskGroup.__aexit__": "the tasks of",
}
MISSING_CALLS = {
    "Condition.wait": ", which nobody has notified",
    "Event.wait": ", which nobody has set",
}
CALLS = ("Events.call", "Events.thread")
HELD = ("Lock.acquire", "Semaphore.acquire")


class Place:
    """A point where a coroutine is suspended, or one that the coroutine awaits."""

    def __init__(self, coroutine: Any, frame: FrameType) -> None:
        code = frame.f_code
        self.coroutine = coroutine
        self.frame = frame
        self.method = code.co_qualname
        self.line = linecache.getline(code.co_filename, frame.f_lineno).strip()
        self.is_hidden = code.co_filename.startswith(HIDDEN)
        self.where = f"{Path(code.co_filename).name}:{frame.f_lineno}"
        self.text = f"{code.co_name} ({self.where})"
        self.has_words = code.co_filename != contextlib.__file__


def await_stack(coroutine: Any) -> tuple[list[Place], Any]:
    """List where a coroutine is suspended, outermost first, and the object that it awaits.

    The chain also goes through asynchronous generators, and through objects that only pass values
    on.
    """
    places: list[Place] = []
    while True:
        for kind, link in (("cr", "cr_await"), ("gi", "gi_yieldfrom"), ("ag", "ag_await")):
            frame = getattr(coroutine, f"{kind}_frame", None)
            if frame is not None:
                places.append(Place(coroutine, frame))
                coroutine = getattr(coroutine, link)
                break
        else:
            inner = None if asyncio.isfuture(coroutine) else _passed_on(coroutine)
            if inner is None:
                return places, coroutine
            coroutine = inner


def _passed_on(awaitable: Any) -> Any:
    """Return the coroutine, generator or future behind an object that only passes values on."""
    return next((one for one in gc.get_referents(awaitable) if _is_awaitable(one)), None)


def _is_awaitable(one: Any) -> bool:
    return asyncio.isfuture(one) or hasattr(one, "cr_frame") or hasattr(one, "ag_frame")


def list_waits(tasks: list[asyncio.Task[Any]], now: float) -> str:
    """Describe where each task waits, and for what."""
    return "\n".join(line for task in tasks for line in _describe(task, tasks, now))


def _describe(task: asyncio.Task[Any], tasks: list[asyncio.Task[Any]], now: float) -> Iterator[str]:
    places, awaited = await_stack(task.get_coro())
    stack = " > ".join(place.text for place in places if place.has_words)
    yield f"  {task.get_name()!r} waits in {stack}"
    own = [place.line for place in places if not place.is_hidden and place.line]
    if own:
        yield f"    at   {own[-1]}"
    others = [one for one in tasks if one is not task]
    if words := _purpose(places, awaited, others, now):
        yield f"    for  {words}"


def _purpose(places: list[Place], awaited: Any, others: list[asyncio.Task[Any]], now: float) -> str:
    """Describe what a task waits for. Only methods of asyncio and of the explorer have a purpose.

    Args:
        places: Where the task is suspended.
        awaited: The object that the innermost coroutine awaits.
        others: The other tasks, which may hold what the task waits for.
        now: The time.
    """
    own = [place for place in places if not place.is_hidden]
    last = max((depth for depth, place in enumerate(places) if not place.is_hidden), default=-1)
    inner = places[last + 1 :]
    if inner and inner[-1].method == "Lock.acquire":  # perhaps at the end of `Condition.wait`
        inner = inner[-1:]
    for place in inner:
        known, method = place.frame.f_locals, place.method
        if method in PURPOSES:
            owner = known["self"]
            words = f"{PURPOSES[method]} {_name(owner, own)}".strip() + MISSING_CALLS.get(
                method, ""
            )
            holders = [repr(one.get_name()) for one in others if _holds(one, owner)]
            is_held = holders and method in HELD
            return f"{words}, held by {' and '.join(holders)}" if is_held else words
        if method == "sleep" and "h" in known:
            return f"a timer, in {known['h'].when() - now:g} s"
        if method in CALLS and "call" in known:
            return f"the outside call {known['call'].name!r}"
        if method == "Events.join" and "task" in known:
            return f"the task {known['task'].get_name()!r}"
        if method == "_wait":
            return _describe_futures(known["fs"], own)
    return _describe_futures([awaited], own) if asyncio.isfuture(awaited) else ""


def _describe_futures(futures: Iterable[Any], places: list[Place]) -> str:
    """Describe those futures that have no result yet."""
    words = (_describe_future(one, places) for one in futures if not one.done())
    return " and ".join(sorted(words))  # the futures may be in a set, whose order varies


def _describe_future(future: Any, places: list[Place]) -> str:
    if waits_for_thread(future):
        return "a thread"
    if isinstance(future, asyncio.Task):
        return f"the task {future.get_name()!r}"
    if children := getattr(future, "_children", None):
        return _describe_futures(children, places)
    return f"{_name(future, places)}, which nobody has resolved"


def _name(value: object, places: list[Place]) -> str:
    """Return the class of an object, and the expression under which a function has it."""
    kind = type(value).__name__
    for place in reversed(places):
        known = place.frame.f_locals
        found = [name for name, one in known.items() if one is value]
        found += [
            f"{name}.{attribute}"
            for name, one in known.items()
            for attribute, part in attributes(one, slots(type(one)))
            if part is value
        ]
        if found:
            return f"{kind} `{found[0]}`"
    return kind


def _holds(task: asyncio.Task[Any], value: object) -> bool:
    """Return whether a task is in the body of an ``async with`` of a lock or its condition."""
    places, _ = await_stack(task.get_coro())
    entered = [
        place.frame.f_locals["self"] for place in places if place.method.endswith("__aenter__")
    ]
    return any(
        value is owner or value is getattr(owner, "_lock", None)
        for place in places
        for owner in _owners_of_exits(gc.get_referents(place.coroutine))
        if not any(owner is one for one in entered)
    )


def _owners_of_exits(referents: Iterable[Any]) -> Iterator[Any]:
    """List the objects whose ``__aexit__`` is on the stack. From 3.14 on, the object follows it."""
    for one, after in pairwise([*referents, None]):
        if isinstance(one, MethodType | FunctionType) and one.__name__ == "__aexit__":
            yield getattr(one, "__self__", after)


def waits_for_thread(future: Any) -> bool:
    """Return whether a future gets its result from a future of a thread pool."""
    cells = [
        cell.cell_contents
        for callback, _ in future._callbacks or ()
        for cell in getattr(callback, "__closure__", None) or ()
    ]
    return any(isinstance(one, concurrent.futures.Future) for one in cells)


def tell(handle: asyncio.Handle) -> str:
    """Describe for a story what a handle runs. Return nothing if it is only the explorer's."""
    callback: Any = handle._callback  # type: ignore[attr-defined]
    task = owner(callback)
    if isinstance(task, asyncio.Task):
        is_step = getattr(callback, "__name__", "step") != "cancel"
        return tell_task(task) if is_step else ""
    if isinstance(task, asyncio.Timeout):
        sleeper: Any = task._task  # type: ignore[attr-defined]
        return f"the timeout of {tell_task(sleeper)}"
    module = str(getattr(getattr(callback, "func", callback), "__module__", ""))
    if module.startswith(__name__.rpartition(".")[0]):
        return ""
    if module.startswith("asyncio."):
        arguments: Any = handle._args
        wakers = [
            owner(waker)
            for argument in arguments
            for waker, _ in getattr(argument, "_callbacks", None) or ()
        ]
        sleepers = [one for one in wakers if isinstance(one, asyncio.Task)]
        return ", ".join(f"the timer of {tell_task(one)}" for one in sleepers)
    return handle_name(handle)


def tell_task(task: asyncio.Task[Any]) -> str:
    """Return the name of a task, or of its coroutine, and where its own code goes on."""
    name = task.get_name()
    coroutine: Any = task.get_coro()
    if name.startswith("Task-"):
        name = getattr(coroutine, "__name__", name)
    places = [place for place in await_stack(coroutine)[0] if not place.is_hidden]
    return f"{name} at {places[-1].where}" if places else name
