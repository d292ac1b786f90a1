"""User code that raises where the pool only looks, logs or tells changes nothing.

A story goes through everything that a pool logs. Its record must be the same whether or not such
code raises: logging handlers, listeners, representations, comparisons, names of tasks.
"""

from __future__ import annotations

import asyncio
import gc
import logging
import sys
from collections.abc import Callable, Coroutine, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any
from unittest.mock import MagicMock

import pytest

from nodetool.concurrency import AsyncResourcePool, PoolEvent, ResourcePoolClosedError
from tests import inside
from tests.concurrency.test_isolation import run_in_spite_of_interrupts
from tests.virtual_time import VirtualTimeLoop, turns

LOGGER = logging.getLogger("nodetool.concurrency.pool")

Record = list[tuple[Any, ...]]


class Story:
    """A life of a pool in which the pool logs each of its messages.

    Args:
        options: Options of the pool.
        make: Makes a resource.
        fail: Makes the errors of callbacks.
    """

    def __init__(
        self,
        *,
        make: Callable[[], Any] = object,
        fail: Callable[[], BaseException] = OSError,
        **options: Any,
    ) -> None:
        self.record: Record = []
        self.fail = fail
        self.make = make
        self.answers: dict[str, list[Callable[[], Any]]] = {}
        self.pool: AsyncResourcePool[Any] = AsyncResourcePool(
            lambda: self._call("factory", make),
            lambda _: self._call("closer"),
            max_size=2,
            check=lambda _: self._call("check"),
            check_after_idle=0,
            reset=lambda _: self._call("reset"),
            acquisition_timeout=5,
            exit_timeout=1,
            leak_threshold=10,
            discard_on=lambda _: self._call("discard_on"),
            **options,
        )

    def _call(self, kind: str, otherwise: Callable[[], Any] = lambda: None) -> Any:
        answers = self.answers.get(kind)
        return answers.pop(0)() if answers else otherwise()

    def raises(self) -> None:
        raise self.fail()

    async def note(self, what: str, call: Any = None) -> Any:
        """Let a call end, and note how, when, and what has changed."""
        result = how = None
        try:
            result = None if call is None else await call
        except BaseException as error:
            how = type(error).__name__
        await turns()
        inside.assert_consistent(self.pool)
        stats = {name: value for name, value in self.pool.stats()._asdict().items() if value}
        self.record.append((what, how, asyncio.get_running_loop().time(), stats))
        return result

    async def context(self) -> None:
        async with self.pool.acquire_context():
            self.raises()

    async def leave(self, resource: list[Any]) -> None:
        async with self.pool:
            resource.append(await self.pool.acquire())
            self.raises()

    async def tell(self) -> None:
        """Go through everything that a pool logs."""
        pool, answers = self.pool, self.answers
        answers["factory"] = [self.raises, self.raises]
        await self.note("an acquire gets the error of the factory", pool.acquire())
        await self.note("nobody gets the error of a creation", pool.acquire(timeout=0))
        thing = await self.note("a lease", pool.acquire())
        await asyncio.sleep(12)
        await self.note("a long lease ends", pool.release(thing))
        answers["check"] = [lambda: 0]
        thing = await self.note("an odd check", pool.acquire())
        answers["reset"] = [self.raises]
        await self.note("a reset fails", pool.release(thing))
        thing = await self.note("another lease", pool.acquire())
        await self.note("a release", pool.release(thing))
        answers["check"], answers["closer"] = [self.raises], [self.raises]
        thing = await self.note("a check and a closer fail", pool.acquire())
        answers["discard_on"] = [self.raises]
        await self.note("discard_on fails", self.context())
        answers["factory"] = [lambda: blocked_factory(self.make)]
        second = await self.note("a factory blocks", pool.acquire())
        await self.note("a time-out", pool.acquire(timeout=1))
        asyncio.get_running_loop().call_later(7, asyncio.ensure_future, pool.release(second))
        await self.note("a release", pool.release(thing))
        thing = await self.note("a lease", pool.acquire())
        retiring = asyncio.ensure_future(pool.retire_all(wait=True))
        await asyncio.sleep(8)
        await self.note("a discard", pool.discard(thing))
        await self.note("a long wait", retiring)
        await self.note("a second release", pool.release(thing))
        left: list[Any] = []
        await self.note("the end of async with fails", self.leave(left))
        await self.note("a release after the end", pool.release(left[0]))
        del thing, second, left
        await asyncio.sleep(1)
        inside.assert_nothing_kept(pool)

    def play(self) -> tuple[Record, int]:
        """Tell the story. Return the record, and how often something stopped the loop."""
        stops = run_in_spite_of_interrupts(asyncio.wait_for(self.tell(), 1000))
        gc.collect()
        return self.record, stops


def blocked_factory(make: Callable[[], Any]) -> Any:
    loop: Any = asyncio.get_running_loop()
    loop.now += 61
    return make()


MESSAGES = 13
"""The story causes so many messages."""


@pytest.fixture(scope="module")
def expected() -> Record:
    """Return the record of the story when nothing raises."""
    record, stops = Story().play()
    assert stops == 0
    return record


@contextmanager
def logging_to(*handlers: logging.Handler) -> Iterator[None]:
    """Let the pool log to these handlers only."""
    before, level_before = (LOGGER.handlers, LOGGER.propagate), LOGGER.level
    LOGGER.handlers, LOGGER.propagate = [*handlers], False
    LOGGER.setLevel(logging.DEBUG)
    try:
        yield
    finally:
        LOGGER.handlers, LOGGER.propagate = before
        LOGGER.setLevel(level_before)


debug_slowly = pytest.mark.parametrize(
    "debug", [False, pytest.param(True, marks=pytest.mark.slow)], ids=["plain", "debug"]
)
debug_too = pytest.mark.parametrize("debug", [False, True], ids=["plain", "debug"])
isolated = pytest.mark.guarantees("FaultIsolation", "NothingLost")


class Keeping(logging.Handler):
    """A handler that formats and keeps messages."""

    def __init__(self) -> None:
        super().__init__()
        self.messages: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.messages.append(self.format(record))


@debug_too
def test_the_story_logs_each_message(debug: bool, expected: Record) -> None:
    handler = Keeping()
    with logging_to(handler):
        assert Story(debug=debug).play() == (expected, 0)
    texts = {
        "a creation failed, and no acquirer gets this error": 1,
        "is held for more than leak_threshold=10 s": 2,
        "after the leak warning": 2,
        "a check returned 0, which counts as passed": 1,
        "a reset failed": 1,
        "a check failed": 1,
        "a closer failed": 1,
        "discard_on failed": 1,
        "blocked the event loop for 61.000 s": 1,
        "retire_all(wait=True) has waited for 5.0 s": 1,
        "the end of `async with` has waited for 1.0 s": 1,
    }
    assert texts == {text: sum(text in one for one in handler.messages) for text in texts}
    assert sum(texts.values()) == MESSAGES
    assert len(handler.messages) == MESSAGES


# Logging.

ERRORS = (ZeroDivisionError, RecursionError, asyncio.CancelledError, GeneratorExit)
STOPS = (KeyboardInterrupt, SystemExit)
PARTS = ["emit", "filter", "format", "handle"]
if sys.version_info < (3, 13):
    PARTS.append("acquire")  # later versions use the handler's lock directly


class Raising(Keeping):
    """A handler in which one part raises."""

    def __init__(self, error: type[BaseException], part: str) -> None:
        super().__init__()
        self.error = error
        self.calls = 0
        setattr(self, part, self.fail)

    def fail(self, *_: object) -> Any:
        self.calls += 1
        raise self.error


@isolated
@debug_slowly
@pytest.mark.parametrize("error", [*ERRORS, *STOPS])
@pytest.mark.parametrize("part", PARTS)
def test_a_logging_handler_that_raises_changes_nothing(
    part: str, error: type[BaseException], debug: bool, expected: Record
) -> None:
    handler = Raising(error, part)
    with logging_to(handler):
        record, stops = Story(debug=debug).play()
    assert record == expected
    assert handler.calls == MESSAGES
    assert stops == (MESSAGES if error in STOPS else 0)


@isolated
@pytest.mark.parametrize("raises", [True, False])
def test_logging_that_prints_its_errors_changes_nothing(
    raises: bool, expected: Record, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(logging, "raiseExceptions", raises)

    class Broken:
        def write(self, _: str) -> None:
            raise ZeroDivisionError

    handler: logging.Handler = logging.StreamHandler(Broken())
    with logging_to(handler):
        assert Story().play() == (expected, 0)


@isolated
def test_a_factory_of_log_records_that_raises_changes_nothing(expected: Record) -> None:
    def fail(*_: object, **__: object) -> Any:
        raise ZeroDivisionError

    before = logging.getLogRecordFactory()
    logging.setLogRecordFactory(fail)
    try:
        with logging_to(Keeping()):
            assert Story().play() == (expected, 0)
    finally:
        logging.setLogRecordFactory(before)


@isolated
@debug_too
def test_a_logging_handler_that_stops_the_program_loses_nothing_on_a_closed_loop(
    debug: bool,
) -> None:
    """No loop is running, so the interruption comes at the end of the call."""
    story = Story(debug=debug)

    async def hold() -> None:
        await story.pool.acquire()
        await story.pool.acquire()
        await asyncio.sleep(12)

    with logging_to(Raising(KeyboardInterrupt, "emit")):
        assert run_in_spite_of_interrupts(hold()) == 2
        with pytest.raises(KeyboardInterrupt):
            story.pool.terminate()
    assert story.pool.closed
    inside.assert_nothing_kept(story.pool)


# Listeners.


@isolated
@debug_too
@pytest.mark.parametrize("error", [*ERRORS, *STOPS])
def test_a_listener_that_raises_changes_nothing(
    error: type[BaseException], debug: bool, expected: Record
) -> None:
    calls: list[PoolEvent] = []

    def listener(event: PoolEvent) -> None:
        calls.append(event)
        raise error

    with logging_to(Keeping()):
        record, stops = Story(debug=debug, listener=listener).play()
    assert record == expected
    assert stops == (len(calls) if error in STOPS else 0)


@isolated
@debug_too
def test_a_listener_and_a_logging_handler_that_raise_change_nothing(
    debug: bool, expected: Record
) -> None:
    def listener(event: PoolEvent) -> None:
        raise ZeroDivisionError

    with logging_to(Raising(asyncio.CancelledError, "emit")):
        assert Story(debug=debug, listener=listener).play() == (expected, 0)


# Resources.


class Hostile:
    """A resource that fails every look at more than its identity."""

    def fail(self, *_: object) -> Any:
        raise AssertionError("looked at")

    __eq__ = __ne__ = __lt__ = __bool__ = __len__ = __iter__ = __contains__ = __getitem__ = fail
    __repr__ = __str__ = __format__ = __call__ = __getattr__ = __reduce_ex__ = fail
    __hash__ = fail
    __class__ = property(fail, lambda *_: None)


class NoText(Hostile):
    """A resource whose representation is no string."""

    def fail(self, *_: object) -> Any:
        return 5

    __repr__ = __str__ = fail


class Mortal:
    """A resource whose destructor raises."""

    def __del__(self) -> None:
        raise ZeroDivisionError


@isolated
@debug_too
@pytest.mark.parametrize("make", [Hostile, NoText, MagicMock], ids=lambda make: make.__name__)
def test_the_pool_asks_a_resource_nothing(
    make: Callable[[], Any], debug: bool, expected: Record
) -> None:
    handler = Keeping()
    with logging_to(handler):
        assert Story(make=make, debug=debug).play() == (expected, 0)
    assert len(handler.messages) == MESSAGES


@isolated
@debug_too
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_a_destructor_that_raises_changes_nothing(debug: bool, expected: Record) -> None:
    with logging_to(Keeping()):
        assert Story(make=Mortal, debug=debug).play() == (expected, 0)


# Errors.


class UnprintableError(OSError):
    """An error whose text cannot be made."""

    def __str__(self) -> str:
        raise ZeroDivisionError

    __repr__ = __str__


class InterruptingError(OSError):
    """An error whose text is a cancellation."""

    def __str__(self) -> str:
        raise asyncio.CancelledError

    __repr__ = __str__


class NoTextError(OSError):
    """An error whose text is no string."""

    def fail(self) -> Any:
        return 5

    __repr__ = __str__ = fail


@dataclass(frozen=True)
class FrozenError(Exception):
    """An error that takes no notes."""


class FalsyError(OSError):
    """An error that is falsy, as an empty collection of problems."""

    def __len__(self) -> int:
        return 0


class RefusingError(OSError):
    """An error whose methods raise."""

    def fail(self, *_: object) -> Any:
        raise ZeroDivisionError

    with_traceback = add_note = __eq__ = __hash__ = __bool__ = fail


class PretendingError(OSError):
    """An error that hides its class."""

    @property
    def __class__(self) -> Any:
        raise ZeroDivisionError

    @__class__.setter
    def __class__(self, _: Any) -> None: ...


@isolated
@debug_too
@pytest.mark.parametrize(
    "fail",
    [
        UnprintableError,
        InterruptingError,
        NoTextError,
        FrozenError,
        FalsyError,
        RefusingError,
        PretendingError,
    ],
)
def test_what_an_error_does_when_it_is_looked_at_changes_nothing(
    fail: type[BaseException], debug: bool, expected: Record
) -> None:
    handler = Keeping()
    with logging_to(handler):
        record, stops = Story(fail=fail, debug=debug).play()
    same = [
        (what, "OSError" if how == fail.__name__ else how, *rest) for what, how, *rest in record
    ]
    assert (same, stops) == (expected, 0)
    if fail in (RefusingError, PretendingError):
        return  # Python cannot make a text of their traceback
    assert len(handler.messages) == MESSAGES, "each error is logged"
    assert sum("in raises" in message for message in handler.messages) == 4, "and where it was"


# Awaitables.


class Hidden:
    """An awaitable that hides its class."""

    def fail(self, *_: object) -> Any:
        raise ZeroDivisionError

    def __await__(self) -> Any:
        yield from asyncio.sleep(1).__await__()
        return object()

    __class__ = property(fail, lambda *_: None)


class Unclosable(Coroutine[Any, Any, object]):
    """A coroutine of a user's class that cannot be closed."""

    error: type[BaseException] = ZeroDivisionError

    def __await__(self) -> Any:
        yield from asyncio.sleep(1).__await__()
        return object()

    def send(self, value: Any) -> Any:
        raise StopIteration

    def throw(self, *_: Any) -> Any:
        raise StopIteration

    def close(self) -> None:
        raise self.error


class Uncancellable(asyncio.Future[object]):
    """A future that cannot be cancelled."""

    def cancel(self, msg: Any = None) -> bool:
        raise asyncio.CancelledError


@isolated
@debug_too
@pytest.mark.parametrize("kind", ["factory", "check", "reset"])
@pytest.mark.parametrize("make", [Hidden, Unclosable, Uncancellable], ids=lambda m: m.__name__)
def test_an_awaitable_that_cannot_be_ended_hinders_no_end(
    make: Callable[[], Any], kind: str, debug: bool
) -> None:
    """The pool is terminated before the task of the callback has begun to await."""
    answered: list[str] = []

    def answer(name: str) -> Any:
        if name != kind or answered:
            return object() if name == "factory" else None
        answered.append(name)
        asyncio.get_running_loop().call_soon(pool.terminate)
        return make()

    pool: AsyncResourcePool[Any] = AsyncResourcePool(
        lambda: answer("factory"),
        check=lambda _: answer("check"),
        check_after_idle=0,
        reset=lambda _: answer("reset"),
        debug=debug,
    )

    async def main() -> None:
        for _ in range(2):
            try:
                await pool.release(await pool.acquire())
            except ResourcePoolClosedError:
                break
            await turns()
        await turns()
        loop = asyncio.get_running_loop()
        assert isinstance(loop, VirtualTimeLoop)
        assert [error["message"] for error in loop.errors] == expected
        loop.errors.clear()
        assert answered
        assert pool.closed
        inside.assert_nothing_kept(pool)

    expected = ["a cancellation failed"] if make is Uncancellable else []
    assert run_in_spite_of_interrupts(main()) == 0


@isolated
@pytest.mark.parametrize("make", [Hidden, Unclosable, Uncancellable], ids=lambda m: m.__name__)
def test_an_awaitable_that_cannot_be_ended_hinders_no_end_without_a_loop(
    make: Callable[[], Any],
) -> None:
    loop = VirtualTimeLoop()

    def closer(_: object) -> Any:
        return make(loop=loop) if make is Uncancellable else make()

    pool: AsyncResourcePool[Any] = AsyncResourcePool(object, closer, max_size=2)

    async def main() -> None:
        for thing in [await pool.acquire() for _ in range(2)]:
            await pool.release(thing)

    loop.run_until_complete(main())
    loop.close()
    pool.terminate()
    loop.errors.clear()
    assert pool.closed
    assert pool.stats().closer_failures == 2
    inside.assert_nothing_kept(pool)


# Tasks.


class Anonymous(asyncio.Task[Any]):
    """A task without a usable name."""

    error: BaseException | None = ZeroDivisionError()

    def get_name(self) -> Any:
        if self.error is not None:
            raise self.error
        return 5


class Numbered(Anonymous):
    """A task whose name is no string."""

    error = None


class Interrupting(Anonymous):
    """A task whose name is a cancellation."""

    error = asyncio.CancelledError()


@isolated
@debug_too
@pytest.mark.parametrize("listens", [False, True])
@pytest.mark.parametrize("kind", [Anonymous, Numbered, Interrupting])
def test_the_name_of_a_task_may_fail(
    kind: type[Anonymous], listens: bool, debug: bool, expected: Record
) -> None:
    names: set[str] = set()
    options: dict[str, Any] = {"listener": lambda event: names.add(event.task)} if listens else {}
    story = Story(debug=debug, **options)

    async def main() -> None:
        loop = asyncio.get_running_loop()
        loop.set_task_factory(lambda loop, coroutine, **how: kind(coroutine, loop=loop, **how))
        await asyncio.wait_for(loop.create_task(story.tell()), 1000)

    with logging_to(Keeping()):
        assert run_in_spite_of_interrupts(main()) == 0
    assert story.record == expected
    assert names <= {""}


# Debug mode without a loop and without a task.


@isolated
@pytest.mark.parametrize("end", ["close", "collect"])
@pytest.mark.parametrize("state", ["waiting", "handed over", "held in a context"])
@pytest.mark.parametrize(
    "options",
    [
        {"debug": True},
        {"debug": True, "listener": int},  # a listener that raises TypeError
        {"leak_threshold": 5, "leak_stack": True},
    ],
    ids=["debug", "listener", "tracked"],
)
def test_a_coroutine_may_end_where_no_loop_runs(
    options: dict[str, Any], state: str, end: str
) -> None:
    pool: AsyncResourcePool[Any] = AsyncResourcePool(object, max_size=1, **options)
    coroutines: list[Any] = []
    lent: list[Any] = []

    async def use() -> None:
        async with pool.acquire_context():
            await asyncio.get_running_loop().create_future()

    async def begin() -> None:
        if state != "held in a context":
            lent.append(await pool.acquire())
        coroutines.append(use())
        future = coroutines[0].send(None)
        if state == "held in a context":
            await turns()
            assert future.done()
            coroutines[0].send(None)
        elif state == "handed over":
            await pool.release(lent.pop())
        await asyncio.sleep(7)

    async def go_on() -> None:
        for thing in lent:
            await pool.release(thing)
        await pool.release(await pool.acquire(timeout=1))
        await pool.close(timeout=1)

    with asyncio.Runner(loop_factory=VirtualTimeLoop) as runner:
        runner.run(begin())
        if end == "close":
            coroutines.pop().close()
        else:
            coroutines.clear()
            gc.collect()
        inside.assert_consistent(pool)
        runner.run(go_on())
    inside.assert_nothing_kept(pool)
