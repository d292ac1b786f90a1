"""What an object consists of, kind by kind, as a fingerprint sees it.

Each function answers with a new list of everything that an object can be asked for and that decides
anything. What gets left out on purpose is said where it is.
"""

from __future__ import annotations

import abc
import contextvars
import ctypes
import functools
import gc
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
    """The slots of a class, and how to read them."""
    return [
        (name, slot.__get__)
        for one in kind.__mro__
        for name, slot in vars(one).items()
        if type(slot) is types.MemberDescriptorType
    ]


def attributes(value: object, slots: Slots) -> Iterator[tuple[str, Any]]:
    """All attributes that are set, those in slots first."""
    for name, get in slots:
        try:
            part = get(value)
        except AttributeError:
            part = MISSING
        yield name, part
    yield from getattr(value, "__dict__", {}).items()


def attributes_except(kind: type, *names: str) -> Callable[[Any], list[Any]]:
    """Make a function that lists the attributes of an object of a class, except some.

    Args:
        kind: The class.
        names: The attributes to leave out.
    """
    own = slots(kind)
    return lambda value: [part for name, part in attributes(value, own) if name not in names]


# Frames.


def _suspended(code: types.CodeType, frame: types.FrameType | None, whole: object) -> list[Any]:
    """A coroutine or generator: where it is, which variables are set, and all that it refers to.

    The collector visits the frame, the variables, then the evaluation stack, then the exception
    that is being handled, and leaves out what is not set. How deep the stack is follows from where
    the code is. No exception may be None, or nothing: so a None at the end says nothing.
    """
    if frame is None:
        return [code]
    parts = gc.get_referents(whole)
    place = parts.index(frame)
    names = _names(frame, parts, place)
    while parts[-1] is None:
        parts.pop()
    return [code, frame.f_lasti, names, *parts[:place], *parts[place + 1 :]]


def _names_from_a_copy(frame: types.FrameType, parts: list[Any], place: int) -> str:
    """Which variables are set; the code may have the very dict that f_locals is, by locals().

    That dict stays as it was; it is no part of the frame. A new one must keep nothing alive.
    """
    known: dict[Any, Any] = {}
    if type(parts[place + 1]) is dict:
        known = parts.pop(place + 1)
    before = known.copy()
    known.clear()
    shown: Any = frame.f_locals
    names = " ".join(shown)
    shown.clear()
    shown.update(before)
    return names


_names: Callable[[types.FrameType, list[Any], int], str] = (
    _names_from_a_copy
    if sys.version_info < (3, 13)
    else lambda frame, parts, place: " ".join(frame.f_locals)
)


def of_coroutine(value: types.CoroutineType[Any, Any, Any]) -> list[Any]:
    return _suspended(value.cr_code, value.cr_frame, value)


def of_generator(value: types.GeneratorType[Any, Any, Any]) -> list[Any]:
    return _suspended(value.gi_code, value.gi_frame, value)


def of_async_generator(value: types.AsyncGeneratorType[Any, Any]) -> list[Any]:
    return [value.ag_running, *_suspended(value.ag_code, value.ag_frame, value)]


def of_function(value: types.FunctionType) -> list[Any]:
    """Its globals only if they are no module's."""
    own = value.__globals__
    return [
        value.__code__,
        value.__defaults__,
        value.__kwdefaults__,
        value.__closure__,
        None if "__spec__" in own else own,
        *of_dict(value.__dict__),
    ]


def of_cell(value: types.CellType) -> list[Any]:
    try:
        return [value.cell_contents]
    except ValueError:
        return [MISSING]


def of_method(value: Any) -> list[Any]:
    return [value.__name__, value.__self__]


# asyncio.


def of_future(value: Any) -> list[Any]:
    return _future(value, gc.get_referents(value))


def _future(value: Any, referents: list[Any]) -> list[Any]:
    """Only the collector sees attributes, and the error that will tell of a cancellation."""
    callbacks = value._callbacks or ()
    result = value._result if value._state == "FINISHED" else None
    children = [value._state, result]
    children += [value._exception, value._cancel_message, value._log_traceback, len(callbacks)]
    for callback, context in callbacks:
        children += callback, context
    for part in referents:
        if isinstance(part, BaseException):
            children.append(part)
        elif type(part) is dict and part is not result:
            children += of_dict(part)
    return children


def of_task(value: Any) -> list[Any]:
    """All but a name that only says how many tasks were made before."""
    name = value.get_name()
    referents = gc.get_referents(value)
    children = _future(value, referents)
    children += [None if name.startswith("Task-") else name, value._must_cancel]
    children += [value.cancelling(), value._fut_waiter, value.get_coro()]
    children += [one for one in referents if type(one) is contextvars.Context]
    return children


def of_handle(value: Any) -> list[Any]:
    return [value._callback, value._args, value._context, value._cancelled]


def of_timer(value: Any) -> list[Any]:
    return [value._when, *of_handle(value)]


def of_context(value: contextvars.Context) -> list[Any]:
    return [part for item in sorted(value.items(), key=lambda item: item[0].name) for part in item]


def of_token(value: contextvars.Token[Any]) -> list[Any]:
    return [repr(value).startswith("<Token used"), *gc.get_referents(value)]


# Sets.


class Unordered(list[Any]):
    """The elements of a set, as they come."""

    layout: object = None  # what else decides in which order they, and others, will come


def of_set(value: Any) -> Unordered:
    elements = Unordered(value)
    elements.layout = _layout(value)
    return elements


def of_weak_set(value: Any) -> Unordered:
    elements = Unordered(value)
    elements.layout = _layout(value.data)
    return elements


WORD = struct.calcsize("P")
REMOVED = 256**WORD - 1  # stands instead of a hash; no hash is -1


def _words(address: int, count: int) -> memoryview[int]:
    return memoryview(ctypes.string_at(address, count * WORD)).cast("P")


def _layout(value: object) -> bytes:
    """Where the next ``pop`` looks first, and which places of the table were used.

    A removed element leaves its place used.
    """
    used, _, mask, table, _, finger = _words(id(value) + object.__basicsize__, 6)
    if not used:
        return b"%d" % finger
    entries = _words(table, 2 * (mask + 1)).tolist()
    pairs = zip(entries[::2], entries[1::2], strict=True)
    return b"%d:" % finger + bytes([key and (1 if code == REMOVED else 2) for key, code in pairs])


# Others of C.


def of_exceptions(kind: type) -> Callable[[Any], list[Any]]:
    """All that such exceptions have, but the traceback."""
    found: dict[str, Any] = {}
    for one in kind.__mro__:
        for name, part in vars(one).items():
            if type(part) in (types.MemberDescriptorType, types.GetSetDescriptorType):
                found.setdefault(name, part.__get__)
    for name in ("__traceback__", "__weakref__", "__dict__"):
        found.pop(name, None)
    own, count = list(found.items()), len(found)

    def reduce(value: Any) -> list[Any]:
        items = list(attributes(value, own))
        return [*(part for _, part in items[:count]), *of_dict(dict(items[count:]))]

    return reduce


def of_dict(value: Any) -> list[Any]:
    return [part for item in value.items() for part in item]


def of_ordered_dict(value: Any) -> list[Any]:
    return [value.__dict__, *of_dict(value)]


def of_partial(value: functools.partial[Any]) -> list[Any]:
    return [value.func, value.args, value.keywords, *of_dict(value.__dict__)]


def of_class(value: Any) -> list[Any]:
    """A class that a function has made: all but how its instances store what they have."""
    stores = (types.GetSetDescriptorType, types.MemberDescriptorType)
    parts = {name: part for name, part in vars(value).items() if not isinstance(part, stores)}
    if isinstance(value, abc.ABCMeta):
        parts["_abc_impl"] = abc._get_dump(value)[0]  # type: ignore[attr-defined]  # registered
    return [value.__qualname__, value.__bases__, *of_dict(parts)]


def of_accessor(value: Any) -> list[Any]:
    return [value.fget, value.fset, value.fdel]


def of_wrapper(value: Any) -> list[Any]:
    return [value.__func__, *of_dict(value.__dict__)]


def of_reference(value: weakref.ref[Any]) -> list[Any]:
    return [value(), value.__callback__]


def of_iterator(value: Any) -> list[Any]:
    """What it goes over, and where; one of a set or dict tells what is still to come."""
    try:
        rest = value.__reduce__()
    except RuntimeError:  # what it goes over has changed its size
        rest = None
    parts = [part for part in gc.get_referents(value) if type(part) is not tuple]
    return [rest, length_hint(value, -1), *parts]


def of_nothing(value: object) -> list[Any]:
    return []


def of_as_text(value: object) -> list[Any]:
    return [repr(value)]


def of_moment(value: Any) -> list[Any]:
    return [repr(value.replace(tzinfo=None)), value.tzinfo]


def of_descriptor(value: Any) -> list[Any]:
    return [value.__objclass__, value.__name__]


# Ours.


def of_call(value: Call) -> list[Any]:
    return [value.name, value.future, value.results, value.faults]
