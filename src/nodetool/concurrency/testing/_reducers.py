"""Which objects are constants, and what tells the parts of the others.

Objects of classes written in Python are their attributes; for objects of C there is a function in
``_parts``, or they are refused.
"""

from __future__ import annotations

import asyncio
import contextvars
import functools
import gc
import itertools
import logging
import struct
import types
import weakref
from collections import OrderedDict, deque
from collections.abc import Callable
from datetime import date, time, timedelta, timezone
from decimal import Decimal
from enum import Enum
from re import Pattern
from typing import Any, TypeAlias

from nodetool.concurrency._shell import PoolShell
from nodetool.concurrency._state import PoolState
from nodetool.concurrency.verify._graph import Graph

from . import _parts as parts
from ._events import Call

__all__ = [
    "FingerprintError",
    "Reducer",
    "Unordered",
    "is_constant",
    "may_be_constant",
    "reducer",
]

Reducer: TypeAlias = "Callable[[Any], list[Any]]"

POINTER = struct.calcsize("P")


class FingerprintError(TypeError):
    """The state of a scenario has something in it whose own state cannot be seen."""


class Unordered(list[Any]):
    """Children whose order means nothing."""


# Constants: objects that are what they are, by identity.

CONSTANTS = (
    types.ModuleType,
    types.CodeType,
    types.WrapperDescriptorType,
    types.MethodDescriptorType,
    types.ClassMethodDescriptorType,
    types.GetSetDescriptorType,
    types.MemberDescriptorType,
    Enum,
    Graph,
    Pattern,
    logging.Logger,
)


def is_constant(value: object) -> bool:
    """Whether it is, and all that belongs to it, the same in every run."""
    if isinstance(value, (type, types.FunctionType)):
        return "<locals>" not in value.__qualname__
    if isinstance(value, types.BuiltinFunctionType):
        return value.__self__ is None or isinstance(value.__self__, types.ModuleType)
    return isinstance(value, CONSTANTS)


def may_be_constant(kind: type) -> bool:
    """Whether an object of this type may be a constant."""
    return issubclass(kind, (type, types.FunctionType, types.BuiltinFunctionType, *CONSTANTS))


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
    "TaskStepMethWrapper": gc.get_referents,
    "method-wrapper": parts.of_method,
    "_abc_data": parts.of_nothing,
}

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
    types.MappingProxyType: parts.of_dict,
    contextvars.Context: parts.of_context,
    contextvars.ContextVar: parts.of_context_variable,
    BaseException: parts.of_exception,
    type: parts.of_class,
    property: parts.of_accessor,
    staticmethod: parts.of_wrapper,
    classmethod: parts.of_wrapper,
    functools.partial: parts.of_partial,
    weakref.ref: parts.of_reference,
    weakref.WeakSet: Unordered,
    dict: parts.of_dict,
    OrderedDict: parts.of_dict,
    list: list,
    tuple: list,
    set: Unordered,
    frozenset: Unordered,
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
    **dict.fromkeys((range, slice, date, time, timedelta, timezone, Decimal), parts.of_as_text),
    Call: parts.of_call,
    PoolShell: parts.of_pool,
    PoolState: parts.of_machine,
}


_WHOLE = (BaseException, PoolShell, PoolState, type)  # their reducers see to subclasses as well


def reducer(kind: type) -> Reducer:
    """What tells the parts of an object of this very type.

    Raises:
        FingerprintError: There are parts that cannot be seen from Python.
    """
    own = _OF_TYPE.get(kind) or _OF_NAME.get(kind.__name__)
    if own is not None:
        return own
    base = next(one for one in kind.__mro__ if one in _OF_TYPE)
    inner = _OF_TYPE[base]
    if base in _WHOLE:
        return inner
    seen = base.__basicsize__ + POINTER * len(set(parts.slots(kind)) - set(parts.slots(base)))
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

    slots = len(parts.slots(kind))

    def reduce(value: Any) -> list[Any]:
        names, values = [], inner(value)
        for name, part in parts.attributes(value):
            names.append(name)
            values.append(part)
        values.append(" ".join(names[slots:]))  # the slots are always the same
        return values

    return reduce
