"""Import of functions that are named on the command line, as ``module:function``."""

from __future__ import annotations

import importlib
import inspect
from collections.abc import Callable
from difflib import get_close_matches
from typing import Any


class UsageError(Exception):
    """A command that cannot be carried out. The message says how to correct it."""


class ExitError(SystemExit):
    """An attempt of a user's function to end the process.

    It is a `SystemExit`, because otherwise the pool would treat it as a failure of the function.
    """

    def __init__(self, name: str, error: SystemExit) -> None:
        super().__init__(f"the {name} tried to exit: {error!r}")


def said(error: BaseException) -> str:
    """Return an error with its notes as text."""
    return "\n".join([f"{type(error).__name__}: {error}", *getattr(error, "__notes__", ())])


def named(option: str, text: str, *arguments: str) -> Callable[..., Any]:
    """Import a function, and check that it accepts exactly these arguments."""
    module, _, path = text.partition(":")
    if not module or not path:
        raise UsageError(f"{option} must be module:function, not {text!r}")
    try:
        found: Any = importlib.import_module(module)
    except (Exception, SystemExit) as error:
        raise UsageError(f"{option}: cannot import {module!r}: {said(error)}") from error
    for name in path.split("."):
        if not hasattr(found, name):
            close = " or ".join(map(repr, get_close_matches(name, dir(found))))
            hint = f"; did you mean {close}?" if close else ""
            raise UsageError(f"{option}: {module!r} has no {path!r}{hint}")
        found = getattr(found, name)
    if not callable(found):
        raise UsageError(f"{option}: {text} cannot be called, it is of {type(found)}")
    try:
        signature = inspect.signature(found)
    except (TypeError, ValueError):  # some callables that are written in C have no signature
        return found  # type: ignore[no-any-return]
    try:
        signature.bind(*arguments)
    except TypeError as error:
        given = " and ".join(arguments) or "no argument"
        reason = f"{error}: it is {path}{signature}, and is called with {given}"
        raise UsageError(f"{option}: {text}: {reason}") from error
    return found  # type: ignore[no-any-return]
