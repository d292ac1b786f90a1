"""What an object consists of, kind by kind, as a fingerprint sees it.

Each function answers with a new list of everything that an object can be asked for and that decides
anything. What gets left out on purpose is said where it is.
"""

from __future__ import annotations

import contextvars
import functools
import gc
import sys
import types
import weakref
from collections.abc import Callable, Iterator
from typing import Any

from nodetool.concurrency._shell import PoolShell
from nodetool.concurrency._state import PoolState

from ._events import Call

MISSING = object()  # stands for an attribute, variable or cell without a value


# Objects of classes written in Python.


@functools.cache
def slots(kind: type) -> list[tuple[str, Any]]:
    """The slots of a class, and how to read them."""
    return [
        (name, slot.__get__)
        for one in kind.__mro__
        for name, slot in vars(one).items()
        if type(slot) is types.MemberDescriptorType
    ]


def attributes(value: object) -> Iterator[tuple[str, Any]]:
    """All attributes that are set, those in slots first."""
    kind: Any = type(value)
    for name, get in slots(kind):
        try:
            part = get(value)
        except AttributeError:
            part = MISSING
        yield name, part
    yield from getattr(value, "__dict__", {}).items()


# Frames.

# What f_locals shows is a copy before 3.13, and must not keep alive what it shows.
_forget: Callable[[Any], object] = dict.clear if sys.version_info < (3, 13) else id


def _suspended(code: types.CodeType, frame: types.FrameType | None, whole: object) -> list[Any]:
    """A coroutine or generator: where it is, which variables are set, and all that it refers to.

    The collector visits the variables, then the evaluation stack, then the exception that is being
    handled, and leaves out what is not set. How deep the stack is follows from where the code is.
    """
    if frame is None:
        return [code]
    names = frame.f_locals
    children = [code, frame.f_lasti, " ".join(names)]
    _forget(names)
    parts = gc.get_referents(whole)
    return children + [part for part in parts if part is not frame and part is not names]


def of_coroutine(value: types.CoroutineType[Any, Any, Any]) -> list[Any]:
    return _suspended(value.cr_code, value.cr_frame, value)


def of_generator(value: types.GeneratorType[Any, Any, Any]) -> list[Any]:
    return _suspended(value.gi_code, value.gi_frame, value)


def of_async_generator(value: types.AsyncGeneratorType[Any, Any]) -> list[Any]:
    return [value.ag_running, *_suspended(value.ag_code, value.ag_frame, value)]


def of_function(value: types.FunctionType) -> list[Any]:
    return [
        value.__code__,
        value.__defaults__,
        value.__kwdefaults__,
        value.__closure__,
        *value.__dict__.items(),
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
    children = [value._state, value._result if value._state == "FINISHED" else None]
    children += [value._exception, value._cancel_message, value._log_traceback]
    for callback, context in value._callbacks or ():
        children += callback, context
    return children


def of_task(value: Any) -> list[Any]:
    name = value.get_name()
    children = of_future(value)
    children += [None if name.startswith("Task-") else name, value._must_cancel]
    children += [value.cancelling(), value._fut_waiter, value.get_coro()]
    children += [one for one in gc.get_referents(value) if type(one) is contextvars.Context]
    return children


def of_handle(value: Any) -> list[Any]:
    return [value._callback, value._args, value._context, value._cancelled]


def of_timer(value: Any) -> list[Any]:
    return [value._when, *of_handle(value)]


def of_context(value: contextvars.Context) -> list[Any]:
    return [part for item in sorted(value.items(), key=lambda item: item[0].name) for part in item]


def of_context_variable(value: contextvars.ContextVar[Any]) -> list[Any]:
    return [value.name]


# Others of C.


def of_exception(value: BaseException) -> list[Any]:
    """All but the traceback; None is the same as nothing."""
    unseen = (types.NoneType, types.TracebackType)
    parts = [part for part in gc.get_referents(value) if not isinstance(part, unseen)]
    return [value.__cause__ is None, value.__suppress_context__, *parts]


def of_dict(value: Any) -> list[Any]:
    return [part for item in value.items() for part in item]


def of_partial(value: functools.partial[Any]) -> list[Any]:
    return [value.func, value.args, value.keywords]


def of_class(value: Any) -> list[Any]:
    """A class that a function has made: all but how its instances store what they have."""
    stores = (types.GetSetDescriptorType, types.MemberDescriptorType)
    parts = {name: part for name, part in vars(value).items() if not isinstance(part, stores)}
    return [value.__qualname__, value.__bases__, *of_dict(parts)]


def of_accessor(value: Any) -> list[Any]:
    return [value.fget, value.fset, value.fdel]


def of_wrapper(value: Any) -> list[Any]:
    return [value.__func__]


def of_reference(value: weakref.ref[Any]) -> list[Any]:
    return [value()]


def of_iterator(value: Any) -> list[Any]:
    return list(value.__reduce__())


def of_nothing(value: object) -> list[Any]:
    return []


def of_as_text(value: object) -> list[Any]:
    return [repr(value)]


# Ours.


def of_call(value: Call) -> list[Any]:
    return [value.name, value.future, value.results, value.faults]


def of_pool(value: PoolShell[Any]) -> list[Any]:
    """`_leased` is the machine's."""
    return [part for name, part in attributes(value) if name != "_leased"]


def of_machine(value: PoolState[Any]) -> list[Any]:
    """`leased` is keyed by identities, and its values say all of it; `trail` is the past."""
    children = [list(value.leased.values())]
    for name, part in attributes(value):
        if name not in ("leased", "trail"):
            children.append(part)
    return children
