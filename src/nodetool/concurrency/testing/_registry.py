"""Plug-ins: knowledge about classes that the explorer does not know itself."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager, nullcontext
from typing import Any, Protocol, TypeAlias

__all__ = ["Monitor", "Plugin", "Reducer", "Registry", "register", "registry"]

Reducer: TypeAlias = "Callable[[Any], list[Any]]"
"""A function that lists the parts of an object: everything that decides what the object does.

Since version 0.2.0.
"""


class Monitor(Protocol):
    """Checks of one object of a scenario, for `Events.add_monitor`.

    Since version 0.2.0.
    """

    @property
    def subject(self) -> object:
        """Return the object that is checked. It becomes part of the scenario's state."""

    @property
    def steps(self) -> Sequence[str]:
        """Return the names of the steps that the object took so far. A failure shows them."""

    def failure(self) -> Exception | None:
        """Return the error of a wrong step, even if the scenario caught it.

        The explorer calls this after every callback, and fails the run with kind "specification".
        """

    def check_state(self) -> None:
        """Check the state between two callbacks.

        The explorer calls this in every new state with a choice, and at the end of a run.

        Raises:
            AssertionError: The state is wrong. The run fails with kind "guarantee".
        """

    def leftovers(self) -> list[str]:
        """Describe each thing that the scenario took from the object and never gave back."""

    def snapshot(self) -> object:
        """Return a value that must be equal in the same run on asyncio's own loop."""


class Plugin:
    """Knowledge about some classes. A subclass overrides what it needs.

    Attributes:
        constants: Types whose objects never change.
        constant_bases: Classes whose subclasses never change, even if a function creates them.

    Since version 0.2.0.
    """

    constants: tuple[type, ...] = ()
    constant_bases: tuple[type, ...] = ()

    def reducer(self, kind: type) -> Reducer | None:
        """Return the function that lists the parts of an object of exactly this class.

        Args:
            kind: A class that the explorer does not know itself.

        Returns:
            The function, or None if the plug-in does not know the class.
        """
        return None

    def run_context(self, loop: asyncio.AbstractEventLoop) -> AbstractContextManager[None]:
        """Return a context that encloses one run: for global state that must not leak.

        The explorer leaves the context when the loop is closed, before it drops the tasks.

        Args:
            loop: The loop of the run.
        """
        return nullcontext()


class Registry:
    """The plug-ins that were registered, and their common knowledge."""

    def __init__(self) -> None:
        self.plugins: list[Plugin] = []
        self.constants: tuple[type, ...] = ()
        self.constant_bases: tuple[type, ...] = ()

    def add(self, plugin: Plugin) -> None:
        """Add a plug-in."""
        self.plugins.append(plugin)
        self.constants += plugin.constants
        self.constant_bases += plugin.constant_bases

    def reducer(self, kind: type) -> Reducer | None:
        """Return the reducer of the first plug-in that knows the class."""
        for plugin in self.plugins:
            if (found := plugin.reducer(kind)) is not None:
                return found
        return None

    @contextmanager
    def run_context(self, loop: asyncio.AbstractEventLoop) -> Iterator[None]:
        """Enter the contexts of all plug-ins."""
        with ExitStack() as stack:
            for plugin in self.plugins:
                stack.enter_context(plugin.run_context(loop))
            yield


registry = Registry()


def register(plugin: Plugin) -> None:
    """Use a plug-in in every later exploration.

    Args:
        plugin: The plug-in. Its module registers it when it is imported.

    Since version 0.2.0.
    """
    registry.add(plugin)
