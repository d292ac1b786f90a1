"""Habits that other libraries teach: each mistake gets a sentence that shows the right form."""

from __future__ import annotations

import asyncio
import logging
import types
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Generator, Iterator
from contextlib import (
    AsyncExitStack,
    aclosing,
    asynccontextmanager,
    closing,
    contextmanager,
    nullcontext,
)
from functools import lru_cache, partial
from typing import Any
from unittest import mock

import pytest

from nodetool.concurrency import (
    AsyncResourcePool,
    DuplicateResourceError,
    InvalidReleaseError,
    ResourcePoolClosedError,
)
from tests.virtual_time import run, turns

FROM_CONTEXT = (
    "pass a function decorated with contextlib.asynccontextmanager to "
    "AsyncResourcePool.from_context"
)


class Connection:
    """A resource that is a context manager, as many real ones are."""

    async def __aenter__(self) -> Connection:
        return self

    async def __aexit__(self, *_: object) -> None: ...

    def __repr__(self) -> str:
        raise AssertionError("the pool must not call this")

    async def ping(self) -> bool:
        return True

    def close(self) -> None: ...

    def is_live(self) -> bool:
        return True

    @asynccontextmanager
    async def cursor(self) -> AsyncIterator[int]:
        yield 1


async def connect() -> Connection:
    return Connection()


async def stream() -> AsyncGenerator[Connection, None]:
    yield Connection()


def yielded() -> Iterator[Connection]:
    yield Connection()


@asynccontextmanager
async def connected() -> AsyncIterator[Connection]:
    yield Connection()


@contextmanager
def opened() -> Iterator[Connection]:
    yield Connection()


@types.coroutine
def old_style() -> Generator[Any, None, Connection]:
    yield
    return Connection()


class Opener:
    """A callable object whose call is an async generator."""

    async def __call__(self) -> AsyncIterator[Connection]:
        yield Connection()


def calling(function: Callable[[], Any]) -> Callable[[], Any]:
    """Return a plain function that returns the result of a call."""

    def call() -> Any:
        return function()

    return call


# A factory that makes no resource.


@pytest.mark.parametrize(
    ("factory", "kind"),
    [
        (stream, "an async generator function"),
        (partial(stream), "an async generator function"),
        (yielded, "a generator function"),
        (connected, "a function decorated with asynccontextmanager"),
        (opened, "a function decorated with contextmanager"),
        (Connection().cursor, "a function decorated with asynccontextmanager"),
    ],
)
def test_a_factory_that_cannot_return_a_resource_is_refused_at_construction(
    factory: Any, kind: str
) -> None:
    with pytest.raises(TypeError) as caught:
        AsyncResourcePool(factory)
    text = f"factory must return a resource, and this is {kind}: {FROM_CONTEXT}"
    assert str(caught.value) == text


@pytest.mark.parametrize(
    ("factory", "result", "advice"),
    [
        (calling(stream), "an async generator", ""),
        (Opener(), "an async generator", ""),
        (calling(yielded), "a generator", ""),
        (calling(connected), "an async context manager that nobody has entered", ""),
        (calling(opened), "a context manager that nobody has entered", ""),
        (lambda: stream, "an async generator function", ""),
        (lambda: connected, "a function decorated with asynccontextmanager", ""),
        (
            lambda: connect,
            "a coroutine function",
            "call it in the factory; for a context manager, ",
        ),
        (
            lambda: Connection().ping,
            "a coroutine function",
            "call it in the factory; for a context manager, ",
        ),
        (
            lambda: partial(connect),
            "a coroutine function",
            "call it in the factory; for a context manager, ",
        ),
        (lambda: Connection().cursor, "a function decorated with asynccontextmanager", ""),
        (
            lambda: aclosing(stream()),
            "an `aclosing` object",
            "return the resource itself, and pass a closer; or ",
        ),
        (
            lambda: closing(Connection()),
            "a `closing` object",
            "return the resource itself, and pass a closer; or ",
        ),
        (
            lambda: nullcontext(Connection()),
            "a `nullcontext` object",
            "return the resource itself, and pass a closer; or ",
        ),
    ],
)
@pytest.mark.parametrize("is_async", [False, True])
def test_a_factory_whose_result_is_no_resource_fails_the_acquire(
    factory: Callable[[], Any], result: str, advice: str, is_async: bool
) -> None:
    async def make() -> Any:
        return factory()

    async def scenario() -> None:
        pool: AsyncResourcePool[Any] = AsyncResourcePool(make if is_async else factory, name="db")
        with pytest.raises(TypeError) as caught:
            await pool.acquire()
        assert str(caught.value) == (
            f"pool 'db': the factory returned {result}, not a resource: {advice}{FROM_CONTEXT}"
        )
        stats = pool.stats()
        assert (stats.size, stats.created, stats.creation_failures) == (0, 0, 1)
        await pool.close()

    run(scenario())


@pytest.mark.parametrize(
    "factory",
    [
        Connection,
        connect,
        old_style,
        calling(connect),
        lambda: print,
        lambda: lambda: None,
        mock.Mock,
        mock.AsyncMock,
        partial(connect),
        lambda: partial(print),
        lambda: Connection().is_live,
        AsyncExitStack,
    ],
)
def test_real_resources_are_taken_also_if_they_are_context_managers(factory: Any) -> None:
    async def scenario() -> None:
        async with AsyncResourcePool(factory) as pool, pool.acquire_context():
            assert pool.in_use_count == 1

    run(scenario())


def test_a_context_manager_that_the_factory_has_entered_is_a_resource() -> None:
    async def enter() -> Any:
        manager = connected()
        await manager.__aenter__()
        return manager

    def enter_now() -> Any:
        manager = opened()
        manager.__enter__()
        return manager

    async def scenario() -> None:
        async with AsyncResourcePool(enter, lambda m: m.__aexit__(None, None, None)) as pool:
            await pool.release(await pool.acquire())
        async with AsyncResourcePool(enter_now, lambda m: m.__exit__(None, None, None)) as pool:
            await pool.release(await pool.acquire())
        assert pool.stats().closer_failures == 0

    run(scenario())


def test_a_context_may_return_a_generator() -> None:
    async def scenario() -> None:
        async with (
            AsyncResourcePool.from_context(lambda: aclosing(stream())) as pool,
            pool.acquire_context() as numbers,
        ):
            assert isinstance(await anext(numbers), Connection)

    run(scenario())


@pytest.mark.parametrize(
    ("function", "kind", "advice"),
    [
        (stream, "an async generator function", "decorate it with contextlib.asynccontextmanager"),
        (yielded, "a generator function", "decorate it with contextlib.asynccontextmanager"),
        (
            opened,
            "a function decorated with contextmanager",
            "make it `async def`, and decorate it with contextlib.asynccontextmanager",
        ),
        (
            connect,
            "a coroutine function",
            "if it returns a resource, pass it to AsyncResourcePool(...)",
        ),
    ],
)
def test_from_context_refuses_functions_that_make_no_context_manager(
    function: Any, kind: str, advice: str
) -> None:
    with pytest.raises(TypeError) as caught:
        AsyncResourcePool.from_context(function)
    assert str(caught.value) == (
        f"make_context_manager must return an async context manager, and this is {kind}: {advice}"
    )


# A closer, check or reset that does nothing.

WORK = ("closer", "check", "reset")


async def streams(connection: Connection) -> AsyncIterator[None]:
    await connection.ping()
    yield


def yields(connection: Connection) -> Iterator[None]:
    connection.is_live()
    yield


@asynccontextmanager
async def manages(_: Connection) -> AsyncIterator[None]:
    yield


@pytest.mark.parametrize("name", WORK)
@pytest.mark.parametrize(
    ("function", "kind"),
    [
        (streams, "an async generator function"),
        (partial(streams), "an async generator function"),
        (yields, "a generator function"),
        (manages, "a function decorated with asynccontextmanager"),
    ],
)
def test_a_function_whose_call_does_nothing_is_refused(name: str, function: Any, kind: str) -> None:
    options: dict[str, Any] = {name: function}
    with pytest.raises(TypeError) as caught:
        AsyncResourcePool(Connection, **options)
    assert str(caught.value) == (
        f"{name} must do its work when the pool calls or awaits it, and this is {kind}: "
        "pass a plain function or a coroutine function, without `yield`"
    )


def later(function: Callable[[Any], Any]) -> Callable[[Any], Any]:
    """Return a coroutine function with the same result."""

    async def call(connection: Any) -> Any:
        return function(connection)

    return call


@pytest.mark.guarantees("FaultIsolation")
@pytest.mark.parametrize("is_async", [False, True])
@pytest.mark.parametrize("name", WORK)
@pytest.mark.parametrize(
    ("function", "what"),
    [
        (lambda c: streams(c), "an async generator"),  # noqa: PLW0108
        (lambda c: yields(c), "a generator"),  # noqa: PLW0108
        (lambda c: manages(c), "an async context manager that nobody has entered"),  # noqa: PLW0108
        (lambda c: c.ping, "a coroutine function"),
        (lambda c: partial(c.ping), "a coroutine function"),
        (lambda c: c.is_live, "a method of the resource"),
        (aclosing, "an `aclosing` object"),
    ],
)
def test_a_function_that_has_done_nothing_has_failed_and_the_log_says_so(
    caplog: pytest.LogCaptureFixture, name: str, function: Any, what: str, is_async: bool
) -> None:
    options: dict[str, Any] = {name: later(function) if is_async else function}

    async def scenario() -> None:
        pool = AsyncResourcePool(Connection, name="db", check_after_idle=0, **options)
        await pool.release(await pool.acquire())
        await turns()
        await pool.release(await pool.acquire())
        await turns()
        await pool.close()
        stats = pool.stats()
        failures = {
            "closer": stats.closer_failures == 1,
            "check": stats.check_failed == 1,
            "reset": stats.reset_failed == 2,
        }
        assert [name for name, failed in failures.items() if failed] == [name]

    run(scenario())
    text = (
        f"pool 'db': the {name} returned {what}, and has done nothing else: "
        f"let the {name} call, await, iterate or enter it"
    )
    warned = [one for one in caplog.records if one.levelno == logging.WARNING]
    assert all(text in one.getMessage() for one in warned)
    assert warned


@pytest.mark.parametrize("name", WORK)
@pytest.mark.parametrize(
    "function", [lambda _: print, lambda _: Connection().is_live, lambda c: c, lambda _: [1]]
)
def test_other_results_of_a_function_are_no_mistake(
    caplog: pytest.LogCaptureFixture, name: str, function: Any
) -> None:
    async def scenario() -> None:
        options: dict[str, Any] = {name: function}
        pool = AsyncResourcePool(Connection, check_after_idle=0, **options)
        for _ in range(2):
            await pool.release(await pool.acquire())
            await turns()
        await pool.close()
        assert pool.stats().created == 1

    run(scenario())
    assert not caplog.records


# Plain functions.


@pytest.mark.parametrize("name", ["discard_on", "listener"])
@pytest.mark.parametrize(
    ("function", "kind"),
    [
        (streams, "an async generator function"),
        (yields, "a generator function"),
        (later(print), "a coroutine function"),
        (partial(later(print)), "a coroutine function"),
        (mock.AsyncMock(), "a coroutine function"),
    ],
)
def test_a_plain_function_is_needed(name: str, function: Any, kind: str) -> None:
    options: dict[str, Any] = {name: function}
    with pytest.raises(TypeError) as caught:
        AsyncResourcePool(Connection, **options)
    assert str(caught.value) == (
        f"{name} must be a plain function: it is called, and never awaited or iterated, and "
        f"this is {kind}"
    )


NO_ANSWER: list[tuple[Any, str]] = [
    (lambda _: connect(), "an awaitable"),
    (lambda _: stream(), "an async generator"),
    (lambda _: later, ""),
    (lambda _: connect, "a coroutine function"),
]


@pytest.mark.guarantees("FaultIsolation")
@pytest.mark.parametrize(
    ("answers", "what"),
    [*NO_ANSWER, (lambda _: asyncio.get_running_loop().create_future(), "an awaitable")],
)
def test_an_answer_of_discard_on_that_is_always_true_is_logged(
    caplog: pytest.LogCaptureFixture, answers: Any, what: str
) -> None:
    async def scenario() -> None:
        pool = AsyncResourcePool(Connection, name="db", discard_on=answers)
        with pytest.raises(ValueError, match="bad"):
            async with pool.acquire_context():
                raise ValueError("bad")
        assert pool.stats().interrupted == 1
        await pool.close()

    run(scenario())
    text = f"discard_on returned {what}: pass a plain function, which is never awaited"
    assert [text in one.getMessage() for one in caplog.records] == ([True] if what else [])


@pytest.mark.parametrize("answer", [0, 1, None, "", "yes", False, True])
def test_other_answers_of_discard_on_count_by_their_truth(answer: Any) -> None:
    async def scenario() -> None:
        pool = AsyncResourcePool(Connection, discard_on=lambda _: answer)
        with pytest.raises(ValueError, match="bad"):
            async with pool.acquire_context():
                raise ValueError("bad")
        assert pool.stats().interrupted == bool(answer)
        await pool.close()

    run(scenario())


@pytest.mark.guarantees("FaultIsolation")
@pytest.mark.parametrize(("answers", "what"), NO_ANSWER)
def test_a_listener_that_has_done_nothing_is_logged(
    caplog: pytest.LogCaptureFixture, answers: Any, what: str
) -> None:
    async def scenario() -> None:
        pool = AsyncResourcePool(Connection, name="db", listener=answers)
        await pool.release(await pool.acquire())
        await pool.close()

    run(scenario())
    text = f"listener returned {what}: pass a plain function, which is never awaited"
    assert all(text in one.getMessage() for one in caplog.records)
    assert bool(caplog.records) == bool(what)


def test_a_listener_may_start_a_task(caplog: pytest.LogCaptureFixture) -> None:
    done: list[str] = []

    async def note(kind: str) -> None:
        done.append(kind)

    async def scenario() -> None:
        pool = AsyncResourcePool(
            Connection, listener=lambda event: asyncio.create_task(note(event.kind))
        )
        await pool.release(await pool.acquire())
        await pool.close()
        await turns()

    run(scenario())
    assert done == ["creation", "wait", "use", "close"]
    assert not caplog.records


# `with` instead of `async with`.


def test_with_a_pool_shows_async_with() -> None:
    pool: Any = AsyncResourcePool(object)
    with pytest.raises(TypeError) as caught, pool:
        pass
    assert str(caught.value) == "use `async with pool`, because `with` cannot wait"


def test_with_a_context_shows_async_with() -> None:
    pool: Any = AsyncResourcePool(object)
    with pytest.raises(TypeError) as caught, pool.acquire_context():
        pass
    assert str(caught.value) == (
        "use `async with pool.acquire_context() as resource`, because `with` cannot wait"
    )


# A pool is used once.


@pytest.mark.parametrize("use", ["open", "open and wait", "async with"])
@pytest.mark.parametrize("phase", ["closed", "closing"])
def test_a_pool_cannot_be_opened_again(use: str, phase: str) -> None:
    async def enter(pool: AsyncResourcePool[Any]) -> None:
        async with pool:
            raise AssertionError("it was entered")

    uses: dict[str, Callable[[AsyncResourcePool[Any]], Awaitable[None]]] = {
        "open": lambda pool: pool.open(),
        "open and wait": lambda pool: pool.open(wait=True),
        "async with": enter,
    }

    async def scenario() -> None:
        pool = AsyncResourcePool(object, name="db")
        async with pool:
            thing = await pool.acquire()
            closing = asyncio.create_task(pool.close())
            await turns()
            if phase == "closed":
                await pool.release(thing)
                await closing
            with pytest.raises(ResourcePoolClosedError) as caught:
                await uses[use](pool)
            assert str(caught.value) == (
                f"pool 'db' is {phase}: a pool cannot be opened again, so make a new one"
            )
            if phase == "closing":
                await pool.release(thing)
                await closing

    run(scenario())


def test_a_wait_for_the_minimum_size_that_a_close_ends_is_told_so() -> None:
    async def scenario() -> None:
        async def never() -> object:
            await asyncio.get_running_loop().create_future()
            return object()

        pool = AsyncResourcePool(never, name="db", min_size=1)
        opening = asyncio.create_task(pool.open(wait=True))
        await turns()
        pool.terminate()
        with pytest.raises(ResourcePoolClosedError, match=r"^pool 'db' is clos"):
            await opening

    run(scenario())


# Objects that are not of the pool.

FOREIGN = (
    "it is not of this pool: never leased here, or closed, discarded, detached or forgotten by "
    "terminate() since; release each acquired resource exactly once"
)


@pytest.mark.parametrize("resource", [Connection(), None, "db", Connection], ids=type)
@pytest.mark.parametrize("way", ["release", "discard", "detach", "release_nowait"])
def test_a_foreign_release_shows_the_type_and_never_calls_the_repr(resource: Any, way: str) -> None:
    async def scenario() -> None:
        pool = AsyncResourcePool(connect, name="db")
        with pytest.raises(InvalidReleaseError) as caught:
            await getattr(pool, way)(resource)
        assert str(caught.value) == (
            f"pool 'db': cannot release {object.__repr__(resource)}: {FOREIGN}"
        )
        assert type(resource).__name__ in str(caught.value)

    run(scenario())


ONE_OBJECT = (
    "equal strings, small integers and None are one object, "
    "so return a wrapper: an object of a class of your own"
)


@pytest.mark.parametrize(
    ("resource", "advice"),
    [
        *((shared, ONE_OBJECT) for shared in ("db", 1, None, (), True, Connection)),
        (Connection(), "it must return a new one each time"),
    ],
    ids=lambda value: type(value).__name__,
)
@pytest.mark.parametrize("way", ["factory", "context"])
def test_a_duplicate_says_how_to_return_a_new_object(
    resource: object, advice: str, way: str
) -> None:
    @asynccontextmanager
    async def context() -> AsyncIterator[object]:
        yield resource

    async def scenario() -> None:
        pool: AsyncResourcePool[object]
        if way == "factory":
            pool, maker = AsyncResourcePool(lambda: resource, name="db"), "the factory"
        else:
            pool = AsyncResourcePool.from_context(context, name="db")
            maker = "entering a context"
        async with pool, pool.acquire_context():
            with pytest.raises(DuplicateResourceError) as caught:
                await pool.acquire()
        assert str(caught.value) == (
            f"pool 'db': {maker} returned an object that is in the pool already, "
            f"{object.__repr__(resource)}; {advice}"
        )

    run(scenario())


def test_a_bound_method_of_any_callable_can_be_a_factory() -> None:
    class Maker:
        @lru_cache(maxsize=1)  # noqa: B019  # the method of a C class
        def make(self) -> object:
            return object()

    AsyncResourcePool(Maker().make)
    AsyncResourcePool(types.MethodType(print, "x"))
