"""What tells the parts of objects.

Objects of classes written in Python are their attributes; for objects of C there is a function in
``_parts``, or they are refused.
"""

from __future__ import annotations

import asyncio
import contextvars
import functools
import gc
import itertools
import struct
import types
import typing
import weakref
from collections import OrderedDict, deque
from collections.abc import Callable
from datetime import date, datetime, time, timedelta, timezone
from decimal import Decimal
from re import Pattern
from typing import Any
from zoneinfo import ZoneInfo

from . import _parts as parts
from ._events import Call
from ._lasting import is_c_type
from ._registry import Reducer, registry

__all__ = ["FingerprintError", "Reducer", "reducer"]

POINTER = struct.calcsize("P")


class FingerprintError(TypeError):
    """The state of a scenario has something in it whose own state cannot be seen."""


# Types of C without a public name go by the names that they have in modules of C.

_OF_NAME: dict[str, Reducer] = dict.fromkeys(
    (
        "FutureIter",
        "TaskStepMethWrapper",
        "anext_awaitable",
        "async_generator_asend",
        "async_generator_athrow",
        "coroutine_wrapper",
    ),
    gc.get_referents,
)
"""Objects between a coroutine and what it awaits: they only pass on, and have no public type."""

_OF_NAME |= dict.fromkeys(
    (
        "list_iterator",
        "list_reverseiterator",
        "tuple_iterator",
        "range_iterator",
        "dict_keyiterator",
        "dict_valueiterator",
        "dict_itemiterator",
        "set_iterator",
        "str_ascii_iterator",
        "str_iterator",
        "bytes_iterator",
    ),
    parts.of_iterator,
)

_OF_NAME |= {
    "method-wrapper": parts.of_method,
    "_tuplegetter": lambda value: [value.__reduce__()],
}

_OF_NAME |= dict.fromkeys(
    (
        "dict_keys",
        "dict_values",
        "dict_items",
        "odict_keys",
        "odict_values",
        "odict_items",
        "mappingproxy",
    ),
    gc.get_referents,
)
"""Views: they have nothing of their own."""

_MODULES = ("builtins", "collections", "_collections", "_asyncio")

_OF_TYPE: dict[type, Reducer] = {
    object: parts.of_nothing,
    asyncio.Future: parts.of_future,
    asyncio.Task: parts.of_task,
    asyncio.Handle: parts.of_handle,
    asyncio.TimerHandle: parts.of_timer,
    types.CoroutineType: parts.of_coroutine,
    types.GeneratorType: parts.of_generator,
    types.AsyncGeneratorType: parts.of_async_generator,
    types.FunctionType: parts.of_function,
    types.MethodType: lambda value: [value.__func__, value.__self__],
    types.BuiltinFunctionType: parts.of_method,
    types.CellType: parts.of_cell,
    types.ModuleType: lambda value: parts.of_dict(vars(value)),
    types.GenericAlias: lambda value: [value.__origin__, value.__args__],
    contextvars.Context: parts.of_context,
    contextvars.ContextVar: gc.get_referents,
    contextvars.Token: parts.of_token,
    type: parts.of_class,
    property: parts.of_accessor,
    staticmethod: parts.of_wrapper,
    classmethod: parts.of_wrapper,
    functools.partial: parts.of_partial,
    weakref.ref: parts.of_reference,
    weakref.WeakSet: parts.of_weak_set,
    weakref.WeakKeyDictionary: parts.of_dict,
    dict: parts.of_dict,
    OrderedDict: parts.of_ordered_dict,
    list: list,
    tuple: list,
    set: parts.of_set,
    frozenset: parts.of_set,
    parts.Unordered: lambda value: value,
    deque: lambda value: [value.maxlen, *value],
    bytearray: lambda value: [bytes(value)],
    int: lambda value: [int(value)],
    str: lambda value: [str.__str__(value)],
    float: lambda value: [float(value)],
    enumerate: parts.of_iterator,
    zip: parts.of_iterator,
    map: parts.of_iterator,
    filter: parts.of_iterator,
    itertools.count: parts.of_as_text,
    slice: lambda value: [value.start, value.stop, value.step],
    Pattern: lambda value: [value.pattern, value.flags],
    **dict.fromkeys((range, date, timedelta, timezone, Decimal, ZoneInfo), parts.of_as_text),
    **dict.fromkeys((datetime, time), parts.of_moment),
    **dict.fromkeys((types.GetSetDescriptorType, types.MemberDescriptorType), parts.of_descriptor),
    **dict.fromkeys((typing.TypeVar, typing.ParamSpec, typing.TypeVarTuple), parts.of_as_text),
    Call: parts.of_call,
}

_OF_FAMILY: dict[type, Callable[[type], Reducer]] = {
    BaseException: parts.of_exceptions,
    type: lambda kind: parts.of_class,
}
"""What makes reducers for types and all that derive from them."""


def reducer(kind: type) -> Reducer:
    """What tells the parts of an object of this very type.

    Raises:
        FingerprintError: There are parts that cannot be seen from Python.
    """
    own = _OF_TYPE.get(kind)
    if own is None and is_c_type(kind) and kind.__module__ in _MODULES:
        own = _OF_NAME.get(kind.__name__)
    if own is not None:
        return own
    if (known := registry.reducer(kind)) is not None:
        return known
    base = next(one for one in kind.__mro__ if one in _OF_TYPE or one in _OF_FAMILY)
    if base in _OF_FAMILY:
        return _OF_FAMILY[base](kind)
    inner = _OF_TYPE[base]
    slots = parts.slots(kind)
    seen = base.__basicsize__ + POINTER * (len(slots) - len(parts.slots(base)))
    for name in ("__dictoffset__", "__weakrefoffset__"):
        offset = getattr(kind, name)  # negative: outside of the object, if that has a fixed size
        inside = offset > 0 or (offset < 0 and kind.__itemsize__ > 0)
        seen += POINTER * (inside and not getattr(base, name))
    if kind.__basicsize__ > seen:
        raise FingerprintError(
            f"a {kind.__module__}.{kind.__qualname__} has a state that cannot be seen: use "
            "something written in Python instead, or say constants=(...) if it never changes, or "
            "prune=False to explore without comparing states"
        )

    count = len(slots)

    def reduce(value: Any) -> list[Any]:
        names, values = [], inner(value)
        if type(values) is parts.Unordered:
            values = [values]
        for name, part in parts.attributes(value, slots):
            names.append(name)
            values.append(part)
        values.append(" ".join(names[count:]))  # the slots are always the same
        return values

    return reduce
