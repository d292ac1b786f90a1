"""The parts of an object, kind by kind, as a fingerprint sees them.

Each function returns a new list of everything that code can read from an object and that decides
anything. A docstring says what a function leaves out on purpose.
"""

from __future__ import annotations

import abc
import contextvars
import ctypes
import functools
import gc
import random
import re
import struct
import sys
import types
import weakref
from collections.abc import Callable, Iterator, Sequence
from operator import length_hint
from typing import Any, TypeAlias

from ._events import Call

Slots: TypeAlias = "Sequence[tuple[str, Callable[[Any], Any]]]"

MISSING = object()  # stands for an attribute, variable or cell without a value


# Objects of classes written in Python.


def slots(kind: type) -> list[tuple[str, Any]]:
    """Return the slots of a class, each with the function that reads it."""
    return [
        (name, slot.__get__)
        for one in kind.__mro__
        for name, slot in vars(one).items()
        if type(slot) is types.MemberDescriptorType
    ]


def attributes(value: object, slots: Slots) -> Iterator[tuple[str, Any]]:
    """Iterate over all attributes of an object: first the slots, then the others."""
    for name, get in slots:
        try:
            part = get(value)
        except AttributeError:
            part = MISSING
        yield name, part
    yield from getattr(value, "__dict__", {}).items()


def attributes_except(kind: type, *names: str) -> Callable[[Any], list[Any]]:
    """Make a reducer that lists the attributes of an object, except some.

    Args:
        kind: The class of the objects.
        names: The attributes to leave out.

    Returns:
        A function of an object of this class.

    Since version 0.2.0.
    """
    own = slots(kind)
    return lambda value: [part for name, part in attributes(value, own) if name not in names]


# Frames.


def _frame_parts(code: types.CodeType, frame: types.FrameType | None, whole: object) -> list[Any]:
    """List the parts of a coroutine or generator: its position, its variables, all its referents.

    The collector visits the frame, the variables, the evaluation stack, and then the exception that
    is being handled. It skips what is not set. The depth of the stack follows from the position in
    the code. The exception may be None or missing, so a None at the end means nothing.
    """
    if frame is None:
        return [code]
    parts = gc.get_referents(whole)
    place = parts.index(frame)
    names = _variable_names(frame, parts, place)
    while parts[-1] is None:
        parts.pop()
    return [code, frame.f_lasti, names, *parts[:place], *parts[place + 1 :]]


def _names_from_locals(frame: types.FrameType, parts: list[Any], place: int) -> str:
    """Return the names of the variables that are set.

    ``f_locals`` may be the very dict that the code got from ``locals()``. That dict gets back its
    content, because the code may use it. A new dict must keep no object alive.
    """
    known: dict[Any, Any] = {}
    if type(parts[place + 1]) is dict:
        known = parts.pop(place + 1)
    before = known.copy()
    known.clear()
    variables: Any = frame.f_locals
    names = " ".join(variables)
    variables.clear()
    variables.update(before)
    return names


_variable_names: Callable[[types.FrameType, list[Any], int], str] = (
    _names_from_locals
    if sys.version_info < (3, 13)
    else lambda frame, parts, place: " ".join(frame.f_locals)
)


def coroutine_parts(value: types.CoroutineType[Any, Any, Any]) -> list[Any]:
    return _frame_parts(value.cr_code, value.cr_frame, value)


def generator_parts(value: types.GeneratorType[Any, Any, Any]) -> list[Any]:
    return _frame_parts(value.gi_code, value.gi_frame, value)


def async_generator_parts(value: types.AsyncGeneratorType[Any, Any]) -> list[Any]:
    return [value.ag_running, *_frame_parts(value.ag_code, value.ag_frame, value)]


def function_parts(value: types.FunctionType) -> list[Any]:
    """List the parts of a function. Leave out the globals of a module."""
    own = value.__globals__
    return [
        value.__code__,
        value.__defaults__,
        value.__kwdefaults__,
        value.__closure__,
        None if "__spec__" in own else own,
        *dict_parts(value.__dict__),
    ]


def cell_parts(value: types.CellType) -> list[Any]:
    try:
        return [value.cell_contents]
    except ValueError:
        return [MISSING]


def method_parts(value: Any) -> list[Any]:
    return [value.__name__, value.__self__]


# asyncio.


def future_parts(value: Any) -> list[Any]:
    return _future_parts(value, gc.get_referents(value))


def _future_parts(value: Any, referents: list[Any]) -> list[Any]:
    """List the parts of a future.

    Only the collector shows the attributes, and the error that a cancelled future will raise.
    """
    callbacks = value._callbacks or ()
    result = value._result if value._state == "FINISHED" else None
    parts = [value._state, result]
    parts += [value._exception, value._cancel_message, value._log_traceback, len(callbacks)]
    for callback, context in callbacks:
        parts += callback, context
    for part in referents:
        if isinstance(part, BaseException):
            parts.append(part)
        elif type(part) is dict and part is not result:
            parts += dict_parts(part)
    return parts


def task_parts(value: Any) -> list[Any]:
    """List the parts of a task. Leave out a default name, because it only counts earlier tasks."""
    name = value.get_name()
    referents = gc.get_referents(value)
    parts = _future_parts(value, referents)
    parts += [None if name.startswith("Task-") else name, value._must_cancel]
    parts += [value.cancelling(), value._fut_waiter, value.get_coro()]
    parts += [one for one in referents if type(one) is contextvars.Context]
    return parts


def handle_parts(value: Any) -> list[Any]:
    return [value._callback, value._args, value._context, value._cancelled]


def timer_parts(value: Any) -> list[Any]:
    return [value._when, *handle_parts(value)]


def context_parts(value: contextvars.Context) -> list[Any]:
    return [part for item in sorted(value.items(), key=lambda item: item[0].name) for part in item]


def token_parts(value: contextvars.Token[Any]) -> list[Any]:
    return [repr(value).startswith("<Token used"), *gc.get_referents(value)]


# Sets.


class SetElements(list[Any]):
    """The elements of a set, in its order."""

    layout: object = None  # what else decides the order of these and later elements


def set_parts(value: Any) -> SetElements:
    elements = SetElements(value)
    elements.layout = _layout(value)
    return elements


def weak_set_parts(value: Any) -> SetElements:
    elements = SetElements(value)
    elements.layout = _layout(value.data)
    return elements


WORD = struct.calcsize("P")
REMOVED = 256**WORD - 1  # stands in the table instead of a hash; no hash is -1


def _words(address: int, count: int) -> memoryview[int]:
    return memoryview(ctypes.string_at(address, count * WORD)).cast("P")


def _layout(value: object) -> bytes:
    """Return where the next ``pop`` begins to search, and which places of the table were used.

    A removed element leaves its place used.
    """
    used, _, mask, table, _, finger = _words(id(value) + object.__basicsize__, 6)
    if not used:
        return b"%d" % finger
    entries = _words(table, 2 * (mask + 1)).tolist()
    pairs = zip(entries[::2], entries[1::2], strict=True)
    return b"%d:" % finger + bytes([key and (1 if code == REMOVED else 2) for key, code in pairs])


# Other types of C.


def exception_reducer(kind: type) -> Callable[[Any], list[Any]]:
    """Make the reducer of a class of exceptions.

    It leaves out the traceback and the context. Each retry would add to them, so a state would
    never repeat.
    """
    found: dict[str, Any] = {}
    for one in kind.__mro__:
        for name, part in vars(one).items():
            if type(part) in (types.MemberDescriptorType, types.GetSetDescriptorType):
                found.setdefault(name, part.__get__)
    for name in ("__traceback__", "__context__", "__weakref__", "__dict__"):
        found.pop(name, None)
    own, count = list(found.items()), len(found)

    def reduce(value: Any) -> list[Any]:
        items = list(attributes(value, own))
        return [*(part for _, part in items[:count]), *dict_parts(dict(items[count:]))]

    return reduce


def dict_parts(value: Any) -> list[Any]:
    return [part for item in value.items() for part in item]


def ordered_dict_parts(value: Any) -> list[Any]:
    return [value.__dict__, *dict_parts(value)]


def partial_parts(value: functools.partial[Any]) -> list[Any]:
    return [value.func, value.args, value.keywords, *dict_parts(value.__dict__)]


def class_parts(value: Any) -> list[Any]:
    """List the parts of a class that a function made. Leave out how its objects store values."""
    stores = (types.GetSetDescriptorType, types.MemberDescriptorType)
    parts = {name: part for name, part in vars(value).items() if not isinstance(part, stores)}
    if isinstance(value, abc.ABCMeta):
        parts["_abc_impl"] = abc._get_dump(value)[0]  # type: ignore[attr-defined]  # registrations
    return [value.__qualname__, value.__bases__, *dict_parts(parts)]


def property_parts(value: Any) -> list[Any]:
    return [value.fget, value.fset, value.fdel]


def method_wrapper_parts(value: Any) -> list[Any]:
    return [value.__func__, *dict_parts(value.__dict__)]


def reference_parts(value: weakref.ref[Any]) -> list[Any]:
    return [value(), value.__callback__]


def iterator_parts(value: Any) -> list[Any]:
    """List the container and the position; for a set or dict also the elements that follow."""
    try:
        rest = value.__reduce__()
    except RuntimeError:  # the container has changed its size
        rest = None
    parts = [part for part in gc.get_referents(value) if type(part) is not tuple]
    return [rest, length_hint(value, -1), *parts]


def no_parts(value: object) -> list[Any]:
    return []


def match_parts(value: re.Match[Any]) -> list[Any]:
    return [value.re, value.string, value.pos, value.endpos, str(value.regs)]


def lock_parts(value: Any) -> list[Any]:
    """List the state of a lock of threads: its text without the address."""
    return [repr(value).rpartition(" at ")[0]]


def random_parts(value: random.Random) -> list[Any]:
    return [hash(value.getstate())]


def text_parts(value: object) -> list[Any]:
    return [repr(value)]


def moment_parts(value: Any) -> list[Any]:
    return [repr(value.replace(tzinfo=None)), value.tzinfo]


def descriptor_parts(value: Any) -> list[Any]:
    return [value.__objclass__, value.__name__]


# The explorer's own classes.


def call_parts(value: Call) -> list[Any]:
    return [value.name, value.future, value.results, value.faults, value.work]
