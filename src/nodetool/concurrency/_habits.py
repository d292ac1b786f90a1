"""Errors for calls that other libraries allow and that cannot work here.

Each message says what to do instead. These functions describe an object by its type, and compare
types by identity. So they call no user code.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import (
    _AsyncGeneratorContextManager,
    _GeneratorContextManager,
    aclosing,
    asynccontextmanager,
    closing,
    contextmanager,
    nullcontext,
)
from functools import partial
from inspect import CO_ASYNC_GENERATOR, CO_COROUTINE, CO_GENERATOR, CO_ITERABLE_COROUTINE
from types import (
    AsyncGeneratorType,
    BuiltinMethodType,
    CodeType,
    FunctionType,
    GeneratorType,
    MethodType,
)
from typing import Any, TypeVar

Kind = TypeVar("Kind", bound=type)

DECORATORS: tuple[Any, ...] = (asynccontextmanager, contextmanager)
DECORATED: dict[CodeType, str] = {
    decorate(print).__code__: decorate.__name__ for decorate in DECORATORS
}
"""The code that all functions of a decorator share, and the name of the decorator."""

COROUTINE_FUNCTION = "a coroutine function"

GENERATORS = ((AsyncGeneratorType, "an async generator"), (GeneratorType, "a generator"))
"""Types whose objects are no resources."""

MANAGERS: tuple[tuple[type[Any], str], ...] = (
    (_AsyncGeneratorContextManager, "an async context manager that nobody has entered"),
    (_GeneratorContextManager, "a context manager that nobody has entered"),
)
"""Types whose objects are no resources before somebody enters them.

Many real resources are context managers, too, but of other types."""

WRAPPERS: tuple[tuple[type[Any], str], ...] = (
    (aclosing, "an `aclosing` object"),
    (closing, "a `closing` object"),
    (nullcontext, "a `nullcontext` object"),
)
"""Types of context managers that only wrap the resource. An exit stack is not one of them."""

FUNCTIONS = (FunctionType, MethodType, partial)
METHODS = (MethodType, BuiltinMethodType)

# Identities, because a set of the types would call the `__hash__` of a user's metaclass.
SUSPECTS = frozenset(
    id(kind) for kind in (*dict(GENERATORS), *dict(WRAPPERS), *dict(MANAGERS), *FUNCTIONS)
)

SHARED = (str, bytes, int, float, complex, bool, type(None), tuple, frozenset, type, FunctionType)
"""Types whose equal objects can be the same object, and types whose objects exist only once."""

USE_FROM_CONTEXT = (
    "pass a function decorated with contextlib.asynccontextmanager to "
    "AsyncResourcePool.from_context"
)


def kind_of_function(function: Any) -> str:
    """Describe a function whose call does not return its result. Return "" for other callables."""
    while type(function) is partial:
        function = function.func
    if type(function) is MethodType:
        function = function.__func__
    if type(function) is not FunctionType:
        return ""  # never ask an object of a user's class for an attribute
    code = function.__code__
    if code in DECORATED:
        return f"a function decorated with {DECORATED[code]}"
    flags = code.co_flags
    if flags & CO_ASYNC_GENERATOR:
        return "an async generator function"
    if flags & CO_GENERATOR and not flags & CO_ITERABLE_COROUTINE:
        return "a generator function"
    return COROUTINE_FUNCTION if flags & CO_COROUTINE else ""


def kind_of_result(result: object) -> str:
    """Describe a result that does nothing until someone calls, awaits, iterates or enters it.

    Return "" for other results.
    """
    kind = type(result)
    if id(kind) not in SUSPECTS:  # the common case
        return ""
    for wrong, words in (*GENERATORS, *WRAPPERS):
        if kind is wrong:
            return words
    for manager, words in MANAGERS:
        if kind is manager and "args" in vars(result):  # entering deletes this attribute
            return words
    return kind_of_function(result) if any(kind is one for one in FUNCTIONS) else ""


def refuse_factory(factory: Any) -> None:
    """Refuse a factory that cannot return a resource."""
    kind = kind_of_function(factory)
    if kind not in ("", COROUTINE_FUNCTION):
        raise TypeError(f"factory must return a resource, and this is {kind}: {USE_FROM_CONTEXT}")


def refuse_callback(name: str, function: Any) -> None:
    """Refuse a closer, check or reset whose call does nothing."""
    kind = kind_of_function(function)
    if kind not in ("", COROUTINE_FUNCTION):
        raise TypeError(
            f"{name} must do its work when the pool calls or awaits it, and this is {kind}: "
            "pass a plain function or a coroutine function, without `yield`"
        )


def refuse_context_maker(function: Any) -> None:
    """Refuse a function whose result `async with` cannot enter."""
    kind = kind_of_function(function)
    if kind == COROUTINE_FUNCTION:
        raise TypeError(
            "make_context_manager must return an async context manager, and this is "
            f"{kind}: if it returns a resource, pass it to AsyncResourcePool(...)"
        )
    if kind.endswith("generator function"):
        raise TypeError(
            "make_context_manager must return an async context manager, and this is "
            f"{kind}: decorate it with contextlib.asynccontextmanager"
        )
    if kind == f"a function decorated with {contextmanager.__name__}":
        raise TypeError(
            "make_context_manager must return an async context manager, and this is "
            f"{kind}: make it `async def`, and decorate it with contextlib.asynccontextmanager"
        )


def wrong_result(name: str, result: object) -> TypeError | None:
    """Make the error of a factory whose result is no resource, or return None."""
    what, advice = kind_of_result(result), USE_FROM_CONTEXT
    if not what:
        return None
    if what == COROUTINE_FUNCTION:
        advice = f"call it in the factory; for a context manager, {advice}"
    elif any(type(result) is wrapper for wrapper, _ in WRAPPERS):
        advice = f"return the resource itself, and pass a closer; or {advice}"
    return TypeError(f"pool {name!r}: the factory returned {what}, not a resource: {advice}")


def unfinished(name: str, function: str, result: object, slot: Any) -> TypeError | None:
    """Make the error of a closer, check or reset that has done nothing, or return None.

    Args:
        name: The pool's name.
        function: The name of the argument.
        result: The result of the function.
        slot: The slot of the resource. It has no resource any more if the pool has abandoned it.
    """
    if result is None:  # the common case
        return None
    what = kind_of_result(result)
    if any(type(result) is kind for kind in METHODS):
        method: Any = result
        if method.__self__ is getattr(slot, "resource", None):
            what = what or "a method of the resource"
    if not what:
        return None
    return TypeError(
        f"pool {name!r}: the {function} returned {what}, and has done nothing else: "
        f"let the {function} call, await, iterate or enter it"
    )


def refuse_answer(name: str, answer: object, is_awaitable: bool) -> None:
    """Refuse the answer of a plain function that nobody awaits or iterates."""
    what = "an awaitable" if is_awaitable else kind_of_result(answer)
    if what:
        raise TypeError(f"{name} returned {what}: pass a plain function, which is never awaited")


def advice_for_duplicate(resource: object) -> str:
    """Say how a factory can return a new object each time."""
    if any(type(resource) is shared for shared in SHARED):
        return (
            "equal strings, small integers and None are one object, "
            "so return a wrapper: an object of a class of your own"
        )
    return "it must return a new one each time"


def only_async(right_form: str) -> Callable[[Kind], Kind]:
    """Return a class decorator that lets `with` raise an error. The error shows the right form.

    Type checkers do not see the methods that the decorator adds. So they still report `with`.
    """

    def decorate(kind: Kind) -> Kind:
        def refuse(self: object, *_: object) -> None:
            raise TypeError(f"use `{right_form}`, because `with` cannot wait")

        for method in ("__enter__", "__exit__"):
            setattr(kind, method, refuse)
        return kind

    return decorate
