"""Checks of the arguments that the explorer's users pass."""

from __future__ import annotations

from inspect import iscoroutinefunction, signature
from typing import Any

__all__ = [
    "read_count",
    "read_faults",
    "read_list",
    "require_function",
    "require_scenario",
    "require_seconds",
    "require_types",
    "require_whole_number",
]


def require_whole_number(name: str, value: object, minimum: int) -> None:
    """Raise a ValueError unless the value is a whole number, and at least the minimum."""
    if not isinstance(value, int) or isinstance(value, bool) or value < minimum:
        raise ValueError(f"{name} must be a whole number, at least {minimum}, not {value!r}")


def require_seconds(name: str, value: object) -> None:
    """Raise a ValueError unless the value is a duration or None."""
    if not (value is None or (isinstance(value, int | float) and value >= 0)):
        raise ValueError(f"{name} must be a number, at least 0, not {value!r}")


def require_types(name: str, value: object) -> None:
    """Raise a ValueError unless the value is a tuple of types."""
    if not (isinstance(value, tuple) and all(isinstance(kind, type) for kind in value)):
        raise ValueError(f"{name} must be a tuple of types, not {value!r}")


def read_count(name: str, value: object) -> int:
    """Return a number of times; True counts as 1. Raise a ValueError for anything else."""
    if not isinstance(value, int) or value < 0:
        raise ValueError(f"{name} must be True, False, or a number (0, 1, 2...), not {value!r}")
    return int(value)


def require_function(name: str, value: object) -> None:
    """Raise a TypeError unless the value is a function, and no async function."""
    if not callable(value) or iscoroutinefunction(value):
        raise TypeError(f"{name} must be a plain function, not {value!r}")


def require_scenario(value: Any) -> None:
    """Raise a TypeError unless the value can be called with the events as its only argument."""
    message = f"a scenario must be an async function of the events, not {value!r}"
    if not callable(value):
        raise TypeError(message)
    try:
        signature(value).bind(None)
    except TypeError as error:
        raise TypeError(f"{message}: {error}") from error
    except ValueError:
        """Some builtins have no signature."""


def read_list(name: str, value: Any) -> tuple[Any, ...]:
    """Return the elements of a list. Raise a TypeError for a single object, such as a string."""
    if isinstance(value, str | bytes | type) or not hasattr(value, "__iter__"):
        raise TypeError(f"{name} must be a list, not {value!r}")
    return tuple(value)


def read_faults(name: str, value: Any) -> tuple[Any, ...]:
    """Return the exceptions of a list. Raise a TypeError if one of them cannot be raised."""
    faults = read_list(name, value)
    for fault in faults:
        kind = fault if isinstance(fault, type) else type(fault)
        if not issubclass(kind, BaseException):
            raise TypeError(f"{name} must be exceptions, or classes of them, not {fault!r}")
        if issubclass(kind, StopIteration):
            raise TypeError(f"{name}: no coroutine can raise {fault!r}, nor a future have it")
        if kind is not fault:
            continue
        try:
            fault()
        except Exception as error:
            raise TypeError(f"{fault!r} needs arguments: pass an object of it") from error
    return faults
