"""Reducers: for each type, the function that lists the parts of its objects.

The parts of an object of a class written in Python are its attributes. For a type written in C
there is a function in ``_parts``, or its objects are refused.
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
from random import Random
from re import Match, Pattern
from threading import Lock, RLock
from typing import Any
from zoneinfo import ZoneInfo

from . import _parts as parts
from ._constants import is_c_type
from ._events import Call
from ._registry import Reducer, registry

__all__ = ["FingerprintError", "Reducer", "make_reducer"]

POINTER = struct.calcsize("P")


class FingerprintError(Exception):
    """An object in the state of a scenario whose own state cannot be seen."""


# Types of C without a public name are found by their name, and only in modules of C.

_BY_NAME: dict[str, Reducer] = dict.fromkeys(
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
"""Objects between a coroutine and its awaitable: they only pass values on."""

_BY_NAME |= dict.fromkeys(
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
    parts.iterator_parts,
)

_BY_NAME |= {
    "method-wrapper": parts.method_parts,
    "_tuplegetter": lambda value: [value.__reduce__()],
}

_BY_NAME |= dict.fromkeys(
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
"""Views have no parts except the object that they show."""

_MODULES = ("builtins", "collections", "_collections", "_asyncio")

_BY_TYPE: dict[type, Reducer] = {
    object: parts.no_parts,
    asyncio.Future: parts.future_parts,
    asyncio.Task: parts.task_parts,
    asyncio.Handle: parts.handle_parts,
    asyncio.TimerHandle: parts.timer_parts,
    types.CoroutineType: parts.coroutine_parts,
    types.GeneratorType: parts.generator_parts,
    types.AsyncGeneratorType: parts.async_generator_parts,
    types.FrameType: parts.no_parts,  # a suspended call is visited through its coroutine
    types.TracebackType: parts.no_parts,
    types.FunctionType: parts.function_parts,
    types.MethodType: lambda value: [value.__func__, value.__self__],
    types.BuiltinFunctionType: parts.method_parts,
    types.CellType: parts.cell_parts,
    types.ModuleType: lambda value: parts.dict_parts(vars(value)),
    types.GenericAlias: lambda value: [value.__origin__, value.__args__],
    contextvars.Context: parts.context_parts,
    contextvars.ContextVar: gc.get_referents,
    contextvars.Token: parts.token_parts,
    type: parts.class_parts,
    property: parts.property_parts,
    staticmethod: parts.method_wrapper_parts,
    classmethod: parts.method_wrapper_parts,
    functools.partial: parts.partial_parts,
    weakref.ref: parts.reference_parts,
    weakref.WeakSet: parts.weak_set_parts,
    weakref.WeakKeyDictionary: parts.dict_parts,
    dict: parts.dict_parts,
    OrderedDict: parts.ordered_dict_parts,
    list: list,
    tuple: list,
    set: parts.set_parts,
    frozenset: parts.set_parts,
    parts.SetElements: lambda value: value,
    deque: lambda value: [value.maxlen, *value],
    bytearray: lambda value: [bytes(value)],
    int: lambda value: [int(value)],
    str: lambda value: [str.__str__(value)],
    float: lambda value: [float(value)],
    enumerate: parts.iterator_parts,
    zip: parts.iterator_parts,
    map: parts.iterator_parts,
    filter: parts.iterator_parts,
    itertools.count: parts.text_parts,
    slice: lambda value: [value.start, value.stop, value.step],
    Pattern: lambda value: [value.pattern, value.flags],
    Match: parts.match_parts,
    Random: parts.random_parts,
    **dict.fromkeys((type(Lock()), type(RLock())), parts.lock_parts),
    **dict.fromkeys((range, date, timedelta, timezone, Decimal, ZoneInfo), parts.text_parts),
    **dict.fromkeys((datetime, time), parts.moment_parts),
    **dict.fromkeys(
        (types.GetSetDescriptorType, types.MemberDescriptorType), parts.descriptor_parts
    ),
    **dict.fromkeys((typing.TypeVar, typing.ParamSpec, typing.TypeVarTuple), parts.text_parts),
    Call: parts.call_parts,
}

_BY_BASE: dict[type, Callable[[type], Reducer]] = {
    BaseException: parts.exception_reducer,
    type: lambda kind: parts.class_parts,
}
"""Functions that make the reducer of a type or of any subclass."""


def make_reducer(kind: type) -> Reducer:
    """Return the function that lists the parts of an object of exactly this type.

    Raises:
        FingerprintError: Objects of this type have parts that Python code cannot see.
    """
    own = _BY_TYPE.get(kind)
    if own is None and is_c_type(kind) and kind.__module__ in _MODULES:
        own = _BY_NAME.get(kind.__name__)
    if own is not None:
        return own
    if (known := registry.reducer(kind)) is not None:
        return known
    base = next(one for one in kind.__mro__ if one in _BY_TYPE or one in _BY_BASE)
    if base in _BY_BASE:
        return _BY_BASE[base](kind)
    inner = _BY_TYPE[base]
    slots = parts.slots(kind)
    visible = base.__basicsize__ + POINTER * (len(slots) - len(parts.slots(base)))
    for name in ("__dictoffset__", "__weakrefoffset__"):
        offset = getattr(kind, name)  # if negative and of a fixed size: outside of the object
        inside = offset > 0 or (offset < 0 and kind.__itemsize__ > 0)
        visible += POINTER * (inside and not getattr(base, name))
    if kind.__basicsize__ > visible:
        raise FingerprintError(
            f"nobody can see the state of a {kind.__module__}.{kind.__qualname__}"
        )

    count = len(slots)

    def reduce(value: Any) -> list[Any]:
        names, values = [], inner(value)
        if type(values) is parts.SetElements:
            values = [values]
        for name, part in parts.attributes(value, slots):
            names.append(name)
            values.append(part)
        values.append(" ".join(names[count:]))  # every object has the same slots
        return values

    return reduce
