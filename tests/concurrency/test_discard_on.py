"""`discard_on` and `context.discard()`: after which ends of a body its resource is not reused."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from typing import Any, Protocol

import anyio
import pytest

from nodetool.concurrency import (
    INTERRUPTIONS,
    AsyncResourcePool,
    ResourcePoolExhaustedError,
    ResourcePoolTimeoutError,
    is_interruption,
)
from tests.virtual_time import run

closes_once = pytest.mark.guarantees("ClosedExactlyOnce")


async def ended_by(error: BaseException | None, **options: Any) -> str:
    """Return "kept" or "closed": the fate of a resource whose context ends with the error."""
    pool: AsyncResourcePool[Any] = AsyncResourcePool(object, max_size=1, **options)
    caught: BaseException | None = None
    try:
        async with pool.acquire_context():
            if error is not None:
                raise error
    except BaseException as raised:
        caught = raised
    assert caught is error, "the context never masks the error of the body"
    stats = pool.stats()
    assert stats.idle + stats.interrupted == 1
    await pool.close()
    return "kept" if stats.idle else "closed"


@closes_once
@pytest.mark.parametrize(
    ("error", "fate"),
    [
        (None, "kept"),
        (ValueError(), "kept"),
        (asyncio.CancelledError(), "closed"),
        (GeneratorExit(), "closed"),
        (TimeoutError(), "closed"),
        (ExceptionGroup("", [ValueError()]), "closed"),
        (BaseExceptionGroup("", [asyncio.CancelledError()]), "closed"),
        (ResourcePoolTimeoutError("another pool"), "kept"),
        (ResourcePoolExhaustedError("another pool"), "kept"),
    ],
    ids=repr,
)
def test_by_default_what_may_interrupt_a_protocol_closes(
    error: BaseException | None, fate: str
) -> None:
    assert run(ended_by(error)) == fate
    assert error is None or is_interruption(error) == (fate == "closed")


@closes_once
@pytest.mark.parametrize(
    ("error", "fate"),
    [
        (ValueError(), "kept"),
        (TimeoutError(), "kept"),
        (ConnectionResetError(), "closed"),
        (ExceptionGroup("", [ValueError()]), "kept"),
        (ExceptionGroup("", [ValueError(), ConnectionResetError()]), "closed"),
        (ExceptionGroup("", [ExceptionGroup("", [ConnectionResetError()])]), "closed"),
    ],
    ids=repr,
)
@pytest.mark.parametrize("listed", [ConnectionError, (LookupError, ConnectionError)], ids=repr)
def test_classes_also_mean_groups_that_contain_them(
    error: BaseException, fate: str, listed: Any
) -> None:
    assert run(ended_by(error, discard_on=listed)) == fate


def test_the_default_can_be_extended() -> None:
    listed = (*INTERRUPTIONS, ConnectionError)
    for error in (TimeoutError(), ConnectionError(), ExceptionGroup("", [ValueError()])):
        assert run(ended_by(error, discard_on=listed)) == "closed"
    assert run(ended_by(ValueError(), discard_on=listed)) == "kept"


@closes_once
@pytest.mark.parametrize("busy", [ResourcePoolTimeoutError, ResourcePoolExhaustedError])
@pytest.mark.parametrize(
    ("listed", "fate"),
    [
        (TimeoutError, "kept"),
        (OSError, "kept"),
        ((*INTERRUPTIONS, OSError), "kept"),
        (ResourcePoolTimeoutError, "closed"),
        ((TimeoutError, Exception), "closed"),
    ],
    ids=repr,
)
def test_a_listed_time_out_does_not_mean_that_another_pool_is_busy(
    busy: type[Exception], listed: Any, fate: str
) -> None:
    assert run(ended_by(busy("another pool"), discard_on=listed)) == fate


@closes_once
@pytest.mark.parametrize(("answer", "fate"), [(True, "closed"), (1, "closed"), (None, "kept")])
def test_a_function_decides_about_each_exception(answer: object, fate: str) -> None:
    asked: list[BaseException] = []
    error = ValueError()

    def is_fatal(error: BaseException) -> object:
        asked.append(error)
        return answer

    assert run(ended_by(error, discard_on=is_fatal)) == fate
    assert run(ended_by(None, discard_on=is_fatal)) == "kept"
    assert asked == [error], "a body that ends well asks nobody"


class UnreadableError(Exception):
    """An error whose attributes cannot be read."""


@closes_once
def test_a_function_that_fails_closes_the_resource(caplog: pytest.LogCaptureFixture) -> None:
    def is_fatal(error: BaseException) -> bool:
        raise UnreadableError("no code")

    assert run(ended_by(ValueError(), discard_on=is_fatal, name="db")) == "closed"
    assert "pool 'db': discard_on failed, the resource is closed" in caplog.text


@closes_once
def test_an_interruption_of_the_function_loses_nothing() -> None:
    def is_fatal(error: BaseException) -> bool:
        raise KeyboardInterrupt

    async def main() -> None:
        pool: AsyncResourcePool[Any] = AsyncResourcePool(object, discard_on=is_fatal)
        with pytest.raises(KeyboardInterrupt):
            async with pool.acquire_context():
                raise ValueError
        assert pool.in_use_count == 0
        assert pool.stats().interrupted == 1
        await pool.close()

    run(main())


@pytest.mark.parametrize(
    "bad", [None, 5, "OSError", [OSError], {OSError}, (OSError, 5), int, (int,)], ids=repr
)
def test_anything_else_is_refused(bad: Any) -> None:
    message = r"^discard_on must be an exception class, a tuple of them, or a function that gets "
    with pytest.raises(TypeError, match=message) as refused:
        AsyncResourcePool(object, discard_on=bad)
    assert ("pass a tuple" in str(refused.value)) == isinstance(bad, (list, set))


def test_a_coroutine_function_is_refused() -> None:
    async def is_fatal(error: BaseException) -> bool:
        return True

    with pytest.raises(TypeError, match=r"^discard_on must be a plain function"):
        AsyncResourcePool(object, discard_on=is_fatal)


# Somebody else's answer.


class Connection:
    """A connection that answers in order, one second after the request."""

    patience = 0.5  # how long users wait for an answer, in seconds

    def __init__(self) -> None:
        self.requests: list[str] = []

    def send(self, request: str) -> None:
        self.requests.append(request)

    async def receive(self) -> str:
        await asyncio.sleep(1)
        return f"answer to {self.requests.pop(0)}"

    async def ask(self, request: str) -> str:
        self.send(request)
        return await self.receive()


class Asking(Protocol):
    """A connection that answers requests."""

    patience: float

    async def ask(self, request: str) -> str:
        """Send a request and receive the answer."""


async def fail(connection: Asking) -> None:
    await asyncio.sleep(connection.patience)
    raise ConnectionResetError("another server")


async def in_a_group(connection: Asking) -> None:
    async with asyncio.TaskGroup() as group:
        group.create_task(connection.ask("mine"))
        group.create_task(fail(connection))


async def in_nested_groups(connection: Asking) -> None:
    async with asyncio.TaskGroup() as outer, asyncio.TaskGroup():
        outer.create_task(in_a_group(connection))


async def in_a_group_of_anyio(connection: Asking) -> None:
    async with anyio.create_task_group() as group:
        group.start_soon(connection.ask, "mine")
        group.start_soon(fail, connection)


async def in_a_group_whose_other_errors_are_handled(connection: Asking) -> None:
    try:
        await in_a_group(connection)
    except* LookupError:
        pass


async def in_a_timeout(connection: Asking) -> None:
    async with asyncio.timeout(connection.patience):
        await connection.ask("mine")


async def in_a_timeout_in_a_group(connection: Asking) -> None:
    async with asyncio.TaskGroup() as group:
        group.create_task(in_a_timeout(connection))


async def in_wait_for(connection: Asking) -> None:
    await asyncio.wait_for(connection.ask("mine"), connection.patience)


async def in_fail_after(connection: Asking) -> None:
    with anyio.fail_after(connection.patience):
        await connection.ask("mine")


async def in_a_cancelled_task(connection: Asking) -> None:
    task = asyncio.current_task()
    assert task is not None
    asyncio.get_running_loop().call_later(connection.patience, task.cancel)
    await connection.ask("mine")


INTERRUPTED: list[Callable[[Asking], Awaitable[None]]] = [
    in_a_group,
    in_nested_groups,
    in_a_group_of_anyio,
    in_a_group_whose_other_errors_are_handled,
    in_a_timeout,
    in_a_timeout_in_a_group,
    in_wait_for,
    in_fail_after,
    in_a_cancelled_task,
]


@closes_once
@pytest.mark.parametrize("options", [{}, {"discard_on": (*INTERRUPTIONS, ConnectionError)}])
@pytest.mark.parametrize("interrupted", INTERRUPTED)
def test_the_next_user_never_gets_somebody_elses_answer(
    interrupted: Callable[[Asking], Awaitable[None]], options: dict[str, Any]
) -> None:
    async def use(pool: AsyncResourcePool[Connection]) -> None:
        async with pool.acquire_context() as connection:
            await interrupted(connection)

    async def main() -> None:
        pool = AsyncResourcePool(Connection, max_size=1, **options)
        with suppress(BaseException):
            await asyncio.create_task(use(pool))
        async with pool.acquire_context() as connection:
            assert await connection.ask("yours") == "answer to yours"
        assert pool.stats().interrupted == 1
        await pool.close()

    run(main())


@closes_once
def test_a_listed_error_in_a_group_closes_although_the_group_is_not_listed() -> None:
    async def main() -> None:
        pool = AsyncResourcePool(Connection, max_size=1, discard_on=ConnectionError)
        with pytest.raises(ExceptionGroup):
            async with pool.acquire_context() as connection:
                await in_a_group(connection)
        async with pool.acquire_context() as connection:
            assert await connection.ask("yours") == "answer to yours"
        await pool.close()

    run(main())


class Socket:
    """A connection to a real server, which holds back its answer to "mine" for a while."""

    patience = 0.02

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader = reader
        self.writer = writer

    async def ask(self, request: str) -> str:
        self.writer.write(f"{request}\n".encode())
        await self.writer.drain()
        return (await self.reader.readline()).decode().strip()

    async def close(self) -> None:
        self.writer.close()
        await self.writer.wait_closed()


async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Answer each request in order, but "mine" not before the next request comes."""
    held = b""
    while request := await reader.readline():
        held += b"answer to " + request
        if request != b"mine\n":
            writer.write(held)
            held = b""
    writer.close()


@asynccontextmanager
async def pool_of_sockets(**options: Any) -> AsyncIterator[AsyncResourcePool[Socket]]:
    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]

    async def connect() -> Socket:
        return Socket(*await asyncio.open_connection("127.0.0.1", port))

    async with server, AsyncResourcePool(connect, Socket.close, max_size=1, **options) as pool:
        yield pool


async def interrupt_and_ask(
    pool: AsyncResourcePool[Socket], interrupted: Callable[[Asking], Awaitable[None]]
) -> str:
    """Let one user be interrupted, and return the answer that the next user reads."""

    async def use() -> None:
        async with pool.acquire_context() as connection:
            await interrupted(connection)

    with suppress(BaseException):
        await asyncio.create_task(use())
    async with pool.acquire_context() as connection:
        return await connection.ask("yours")


@closes_once
@pytest.mark.parametrize("interrupted", INTERRUPTED)
async def test_a_real_connection_never_gives_somebody_elses_answer(
    interrupted: Callable[[Asking], Awaitable[None]],
) -> None:
    async with pool_of_sockets() as pool:
        assert await interrupt_and_ask(pool, interrupted) == "answer to yours"
        assert pool.stats().interrupted == 1


@pytest.mark.parametrize("interrupted", INTERRUPTED)
async def test_without_discard_on_the_next_user_reads_somebody_elses_answer(
    interrupted: Callable[[Asking], Awaitable[None]],
) -> None:
    async with pool_of_sockets(discard_on=lambda _: False) as pool:
        assert await interrupt_and_ask(pool, interrupted) == "answer to mine"


# What only the body knows.


async def in_move_on_after(connection: Asking) -> bool:
    with anyio.move_on_after(connection.patience) as scope:
        await connection.ask("mine")
    return scope.cancelled_caught


async def in_a_group_whose_error_is_handled(connection: Asking) -> bool:
    has_failed = False
    try:
        await in_a_group(connection)
    except* ConnectionError:
        has_failed = True
    return has_failed


async def in_a_timeout_that_is_handled(connection: Asking) -> bool:
    try:
        await in_a_timeout(connection)
    except TimeoutError:
        return True
    return False


@closes_once
@pytest.mark.parametrize("discards", [True, False])
@pytest.mark.parametrize(
    "swallowed",
    [in_move_on_after, in_a_group_whose_error_is_handled, in_a_timeout_that_is_handled],
)
async def test_a_body_that_swallows_an_interruption_has_to_discard_a_real_connection(
    swallowed: Callable[[Asking], Awaitable[bool]], discards: bool
) -> None:
    async with pool_of_sockets() as pool:
        context = pool.acquire_context()
        async with context as connection:
            if await swallowed(connection) and discards:
                context.discard()
        async with pool.acquire_context() as connection:
            answer = await connection.ask("yours")
        assert answer == ("answer to yours" if discards else "answer to mine")
        assert pool.stats().interrupted == discards


@closes_once
def test_a_body_that_swallows_an_interruption_can_discard() -> None:
    async def main() -> None:
        pool = AsyncResourcePool(Connection, max_size=1)
        context = pool.acquire_context()
        async with context as connection:
            with anyio.move_on_after(0.5) as scope:
                await connection.ask("mine")
            if scope.cancelled_caught:
                context.discard()
            assert pool.in_use_count == 1, "the resource stays usable until the end of the body"
        assert pool.stats().interrupted == 1
        async with context as connection:
            assert await connection.ask("yours") == "answer to yours"
        assert pool.available_count == 1, "each use of a context decides for itself"
        await pool.close()

    run(main())


@closes_once
@pytest.mark.parametrize("discards", [True, False])
@pytest.mark.parametrize("interrupted", [in_a_group, in_a_timeout])
async def test_a_body_that_replaces_an_interruption_by_another_error_has_to_discard(
    interrupted: Callable[[Asking], Awaitable[None]], discards: bool
) -> None:
    async def use(context: Any) -> None:
        async with context as connection:
            try:
                await interrupted(connection)
            except* (ConnectionError, TimeoutError):
                if discards:
                    context.discard()
                raise LookupError("no answer") from None

    async with pool_of_sockets() as pool:
        with pytest.raises(LookupError):
            await use(pool.acquire_context())
        async with pool.acquire_context() as connection:
            answer = await connection.ask("yours")
        assert answer == ("answer to yours" if discards else "answer to mine")


def test_discard_needs_an_entered_context() -> None:
    async def main() -> None:
        pool: AsyncResourcePool[Any] = AsyncResourcePool(object, max_size=1)
        context = pool.acquire_context()
        with pytest.raises(RuntimeError, match="not entered"):
            context.discard()
        async with context as resource:
            await pool.release(resource)
            context.discard()
        with pytest.raises(RuntimeError, match="not entered"):
            context.discard()
        assert pool.available_count == 1, "the lease was over before"
        await pool.close()

    run(main())
