"""What is passed to the explorer, and what is refused."""

from __future__ import annotations

from inspect import iscoroutinefunction, signature
from typing import Any

__all__ = ["exceptions", "how_often", "listed", "of_events", "plain", "seconds", "types", "whole"]


def whole(name: str, value: object, least: int) -> None:
    """Refuse with a ValueError what is no whole number, or less than the least."""
    if not isinstance(value, int) or isinstance(value, bool) or value < least:
        raise ValueError(f"{name} must be a whole number, at least {least}, not {value!r}")


def seconds(name: str, value: object) -> None:
    """Refuse with a ValueError what is no duration, and not None."""
    if not (value is None or (isinstance(value, int | float) and value >= 0)):
        raise ValueError(f"{name} must be a number, at least 0, not {value!r}")


def types(name: str, value: object) -> None:
    """Refuse with a ValueError what is no tuple of types."""
    if not (isinstance(value, tuple) and all(isinstance(kind, type) for kind in value)):
        raise ValueError(f"{name} must be a tuple of types, not {value!r}")


def how_often(name: str, value: object) -> int:
    """Refuse with a ValueError what is no number of times, not even True or False."""
    if not isinstance(value, int) or value < 0:
        raise ValueError(f"{name} must be True, False, or how often (0, 1, 2...), not {value!r}")
    return int(value)


def plain(name: str, value: object) -> None:
    """Refuse with a TypeError what is no function, or would only make a coroutine."""
    if not callable(value) or iscoroutinefunction(value):
        raise TypeError(f"{name} must be a plain function, not {value!r}")


def of_events(value: Any) -> None:
    """Refuse with a TypeError what cannot be called with the events alone."""
    said = f"a scenario must be an async function of the events, not {value!r}"
    if not callable(value):
        raise TypeError(said)
    try:
        signature(value).bind(None)
    except TypeError as error:
        raise TypeError(f"{said}: {error}") from error
    except ValueError:
        """Of some builtins, it is not known."""


def listed(name: str, value: Any) -> tuple[Any, ...]:
    """Refuse with a TypeError what is one thing where several are meant."""
    if isinstance(value, str | bytes | type) or not hasattr(value, "__iter__"):
        raise TypeError(f"{name} must be a list, not {value!r}")
    return tuple(value)


def exceptions(name: str, value: Any) -> tuple[Any, ...]:
    """Refuse with a TypeError what cannot be raised."""
    faults = listed(name, value)
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
