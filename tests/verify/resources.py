"""Resources of a user, good ones and bad ones, for ``--factory`` and its like to name."""

from __future__ import annotations

import asyncio
import sys
import time
from collections.abc import AsyncIterator, Coroutine, Iterator
from contextlib import asynccontextmanager, contextmanager
from itertools import count
from typing import Any

NUMBERS = count()
NOT_A_FUNCTION = 3


class Thing:
    """A resource that knows whether it lives."""

    def __init__(self) -> None:
        self.number = next(NUMBERS)
        self.closed = False

    def close(self) -> None:
        assert not self.closed
        self.closed = True


class Opaque(type):
    """Nothing can be said about how its classes are called."""

    __signature__ = "none"


class Unknown(Thing, metaclass=Opaque):
    pass


SHARED = Thing()


def shared() -> Thing:
    return SHARED


def keep(_: Thing) -> None:
    """Close nothing: what is shared lives on."""


async def make() -> Thing:
    await asyncio.sleep(0)
    return Thing()


async def close(thing: Thing) -> None:
    await asyncio.sleep(0)
    thing.close()


async def check(thing: Thing) -> bool:
    await asyncio.sleep(0)
    return not thing.closed


def sometimes(thing: Thing) -> bool:
    """A check that says no now and then, or raises; never to the first few."""
    if thing.number % 5 == 4:
        raise OSError("cannot be reached")
    return thing.number % 3 != 2


async def reset(thing: Thing) -> None:
    await asyncio.sleep(0)
    if thing.number % 7 == 6:
        raise OSError("cannot be tidied")


def needs_more(url: str) -> Thing:
    raise AssertionError(url)


def fails() -> Thing:
    raise ConnectionError("nobody listens there")


async def yields(*_: Thing) -> AsyncIterator[Thing]:
    yield Thing()


def yields_at_once(*_: Thing) -> Iterator[Thing]:
    yield Thing()


async_context = asynccontextmanager(yields)
context = contextmanager(yields_at_once)


def leaves(*_: Thing) -> Thing:
    sys.exit(0)


def stops_the_loop(thing: Thing) -> None:
    thing.close()
    asyncio.get_running_loop().stop()


def nothing() -> None:
    pass


async def too_asynchronous(*_: Thing) -> Coroutine[Any, Any, Thing]:
    return make()


async def for_ever(*_: Thing) -> None:
    await asyncio.get_running_loop().create_future()


def refuses(_: Thing) -> bool:
    return False


def breaks(_: Thing) -> None:
    raise OSError("cannot be closed")


class Later:
    """Functions that work when they are tried once, and not any more after that."""

    def __init__(self) -> None:
        self.calls = 0

    def again(self) -> bool:
        self.calls += 1
        return self.calls > 4

    def make(self) -> Thing:
        if self.again() and self.calls % 3 == 0:
            raise ConnectionError("too many connections")
        return Thing()

    def hardly_ever(self) -> Thing:
        if self.again():
            raise ConnectionError("too many connections")
        return Thing()

    def refuses(self, _: Thing) -> bool:
        return not self.again()

    def make_or_leave(self) -> Thing:
        return leaves() if self.again() else Thing()

    async def close_or_leave(self, thing: Thing) -> None:
        thing.close()
        if self.again():
            await asyncio.sleep(0)
            leaves()

    def leaves_later(self, thing: Thing) -> None:
        thing.close()
        if self.again():
            asyncio.get_running_loop().call_soon(leaves)

    def stops_the_loop(self, thing: Thing) -> None:
        thing.close()
        if self.again():
            asyncio.get_running_loop().stop()

    def cancels_all(self, thing: Thing) -> None:
        thing.close()
        if self.again():
            for task in asyncio.all_tasks():
                task.cancel()

    def leaky(self, thing: Thing) -> None:
        if self.again() and self.calls % 5 == 0:
            raise OSError("cannot be closed")
        thing.close()

    async def hangs(self, thing: Thing) -> None:
        if self.again():
            await for_ever()
        thing.close()

    def blocks(self, thing: Thing) -> None:
        if self.again():
            time.sleep(3600)
        thing.close()

    def leaves_a_task(self, thing: Thing) -> None:
        if self.again() and self.calls < 10:
            self.task = asyncio.create_task(for_ever(), name="left over")
        thing.close()

    def complains(self, thing: Thing) -> None:
        if self.again():
            context = {"message": "something was never awaited"}
            asyncio.get_running_loop().call_exception_handler(context)
        thing.close()


later = Later()
