"""A trial of a user's own resource: a real pool with contracts, on a real event loop."""

from __future__ import annotations

import asyncio
import contextlib
import faulthandler
import gc
import inspect
import sys
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from random import Random
from typing import Any

from nodetool.concurrency import AsyncResourcePool

from ._named import ExitError, UsageError, said
from ._outside import Functions, Outside, called
from ._users import Users

PATIENCE = 10.0  # seconds without progress after which a phase counts as stuck
BLOCKED = 20.0  # seconds for which a callback may block the event loop before the process is ended
GRACE = 1.0  # seconds in which the last tasks must end
ATTEMPTS = 100  # number of times that `drain` cancels the remaining tasks
BEAT = 0.02  # seconds between two samples of the pool's numbers
PHASES = ("close", "terminate")
# The phase with a check. If the user has no check, this phase has one that only injects faults.
CHECKED = "close"
BY_GENERATOR = (contextlib._GeneratorContextManager, contextlib._AsyncGeneratorContextManager)

Say = Callable[[str], None]


@dataclass(frozen=True)
class Load:
    """The size of a trial."""

    max_size: int
    users: int
    seconds: float
    seed: int


class BrokenResourceError(Exception):
    """A failure of a user's function without an injected fault."""


class Phase:
    """The life of one pool: its users, and its end by `close` or by `terminate`."""

    def __init__(self, functions: Functions, load: Load, ending: str) -> None:
        random = Random(f"{load.seed} {ending}")
        self.load = load
        self.ending = ending
        self.outside = outside = Outside(functions, random)
        self.pool: AsyncResourcePool[Any] = AsyncResourcePool(
            outside.create,
            outside.close,
            max_size=load.max_size,
            min_size=load.max_size // 2,
            max_age=1.0,
            max_age_jitter=0.9,
            max_idle_time=0.1,
            # The watchdog finds a call that hangs, and the wrappers cancel calls.
            acquisition_timeout=None,
            creation_timeout=None,
            check_timeout=None,
            reset_timeout=None,
            closer_timeout=None,
            check=outside.check if ending == CHECKED else None,
            check_after_idle=0,  # so that there are many checks
            reset=None if functions.reset is None else outside.reset,
            name=f"verify, {ending}",
            debug=True,
        )
        self.users = Users(self.pool, outside, random)
        self.samples = 0
        self.leftover_tasks: list[str] = []

    async def run(self) -> bool:
        """Run the whole phase. Return False if it got stuck."""
        try:
            return await self._run()
        except BaseException:
            self.pool._binding.forked = (
                True  # suppresses the warning about a pool that is not closed
            )
            raise

    async def _run(self) -> bool:
        loop = asyncio.get_running_loop()
        loop.set_exception_handler(self._record_loop_error)
        before = asyncio.all_tasks()
        work = asyncio.create_task(self._work(), name="verify: work")
        problem = ""
        try:
            if await self._watch(work):
                work.result()
            else:
                problem = f"nothing moved for {PATIENCE:g} s; the pool is terminated now"
        except Exception as error:  # for example a violated contract
            problem = said(error)
        gc.collect()  # reports each error of a task that was never retrieved
        remaining = {work, *asyncio.all_tasks()} - before
        if not problem:
            _, remaining = await asyncio.wait(remaining, timeout=GRACE)
            self.leftover_tasks = [describe_task(task) for task in remaining]
            return True
        stuck = "\n".join(
            sorted(f"    {describe_task(task)}" for task in remaining if not task.done())
        )
        self.outside.problems.append(f"{problem}. These tasks are stuck:\n{stuck}")
        with suppress(Exception):  # a pool with a bug may fail here too
            self.pool.terminate()
        self.pool._binding.forked = True  # suppresses the same warning
        for task in remaining:
            task.cancel()
        await asyncio.wait(remaining, timeout=GRACE)
        return False

    async def _work(self) -> None:
        users = self.users
        tasks = [asyncio.create_task(users.live()) for _ in range(self.load.users)]
        tasks.append(asyncio.create_task(users.care()))
        await asyncio.wait(tasks, timeout=self.load.seconds / len(PHASES))  # a problem ends them
        await getattr(users, self.ending)()
        await asyncio.gather(*tasks)
        await asyncio.gather(*users.others, return_exceptions=True)

    async def _watch(self, work: asyncio.Task[None]) -> bool:
        """Sample the pool's numbers until the work is done. Return False if the work gets stuck."""
        loop = asyncio.get_running_loop()
        outside = self.outside
        moves, since = -1, 0.0
        while not work.done():
            guard()
            if moves != outside.moves:
                moves, since = outside.moves, loop.time()
            elif loop.time() - since > PATIENCE:
                return False
            size = self.pool.stats().size
            self.samples += 1
            if not outside.size <= size <= self.load.max_size:
                outside.problems.append(f"{outside.size} lived while stats() said {size}")
            await asyncio.wait([work], timeout=BEAT)
        return True

    def _record_loop_error(self, _: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
        error = context.get("exception")
        reason = "" if error is None else f": {type(error).__name__}: {error}"
        self.outside.problems.append(f"the event loop reported: {context['message']}{reason}")

    def disagreements(self) -> Iterator[str]:
        """Yield each final number of the pool that differs from the count outside."""
        counts = self.outside.counts
        try:
            stats = self.pool.stats()
        except Exception as error:  # for example a violated contract
            yield f"{self.ending}: {said(error)}"
            return
        names = {
            name: name.replace("_", " ")
            for name in (
                *("created", "acquired", "released", "discarded", "interrupted", "detached"),
                *("forgotten", "closer_failures"),
            )
        }
        if self.ending == "close":  # terminate() cancels calls, some before they start
            names["creation_failures"] = "creation failures"
            names |= {"check_failed": "check failures", "reset_failed": "reset failures"}
        for name, count in names.items():
            reported, counted = getattr(stats, name), counts[count]
            if reported != counted:
                yield f"{self.ending}: stats() says {name}={reported}, outside it was {counted}"
        if not stats.closed or stats.size:
            yield f"{self.ending}: stats() says closed={stats.closed}, size={stats.size}"


def guard() -> None:
    """Schedule the end of the process with a traceback, in case the event loop is blocked."""
    faulthandler.dump_traceback_later(BLOCKED, exit=True, file=sys.__stderr__ or 2)


def describe_task(task: asyncio.Task[Any]) -> str:
    """Describe a task and the two innermost functions that it waits in."""
    lines: list[str] = []
    inner: Any = task.get_coro()
    while (frame := getattr(inner, "cr_frame", None)) is not None:
        lines.append(f"{frame.f_code.co_filename}:{frame.f_lineno} in {frame.f_code.co_name}")
        inner = inner.cr_await
    return f"{task.get_name()}: {' > '.join(lines[-2:])}"


def refuse_unfinished(name: str, answer: Any) -> None:
    """Refuse a returned object whose code has not run, because nothing would be tested."""
    if inspect.iscoroutine(answer):
        answer.close()
        raise UsageError(
            f"the {name} returned a coroutine that nobody awaits: await it inside the function"
        )
    if isinstance(answer, BY_GENERATOR):
        raise UsageError(
            f"the {name} returned a context manager that nobody has entered: pass a function that "
            "enters it and returns the result, and a closer that exits it"
        )
    if inspect.isgenerator(answer) or inspect.isasyncgen(answer):
        raise UsageError(
            f"the {name} returned a generator, of which nothing has run: it must return, not yield"
        )


class HangingError(Exception):
    """A call of a user's function that did not end in time."""


async def called_once(function: Callable[..., Any], *arguments: Any) -> Any:
    """Call a function without the pool, and wait for its end for a limited time."""
    guard()
    limit = asyncio.timeout(PATIENCE)
    try:
        async with limit:
            return await called(function, *arguments)
    except Exception:
        if limit.expired():
            raise HangingError(f"did not return within {PATIENCE:g} s") from None
        raise


async def try_once(functions: Functions) -> None:
    """Call each function once, without the pool and without faults."""
    try:
        resource = await called_once(functions.factory)
    except HangingError as error:
        raise UsageError(f"the factory {error}") from None
    except Exception as error:
        raise UsageError(f"the factory fails by itself: {said(error)}") from error
    except SystemExit as error:
        raise ExitError("factory", error) from error
    if resource is None:
        raise UsageError("the factory returned None: does it lack a return?")
    refuse_unfinished("factory", resource)
    steps = {"check": functions.check, "reset": functions.reset, "closer": functions.closer}
    for name, function in steps.items():
        if function is None:
            continue
        try:
            answer = await called_once(function, resource)
        except HangingError as error:
            raise BrokenResourceError(f"the {name} {error}") from None
        except Exception as error:
            raise BrokenResourceError(f"the {name} fails by itself: {said(error)}") from error
        except SystemExit as error:
            raise ExitError(name, error) from error
        refuse_unfinished(name, answer)
        if name == "check" and answer is False:
            raise BrokenResourceError("the check returned False for a new resource of the factory")


async def trial(functions: Functions, load: Load, say: Say) -> list[Phase]:
    """Call each function once, then run the phases. Return the phases that ran."""
    await try_once(functions)
    say("each function works when it is called once, without the pool")
    phases: list[Phase] = []
    for ending in PHASES:
        phase = Phase(functions, load, ending)
        phases.append(phase)
        completed = await phase.run()
        acquired = phase.outside.counts["acquired"]
        checked = "with a check" if ending == CHECKED else "without a check"
        say(f"{acquired:,} leases by {load.users} users {checked}, until {ending}()")
        if not completed or phase.outside.problems:
            break
    return phases


def drain(loop: asyncio.AbstractEventLoop) -> None:
    """Cancel all tasks until none is left, even if their code stops the loop again and again."""
    for _ in range(ATTEMPTS):
        tasks = asyncio.all_tasks(loop)
        for task in tasks:
            task.cancel()
        with suppress(SystemExit, RuntimeError):
            end_of_tasks = asyncio.wait(tasks, timeout=GRACE) if tasks else asyncio.sleep(0)
            loop.run_until_complete(end_of_tasks)
            if not tasks:
                return


def run(functions: Functions, load: Load, say: Say) -> list[Phase]:
    """Run the trial on an event loop of its own. A blocked loop ends the process."""
    try:
        with asyncio.Runner() as runner:
            try:
                return runner.run(trial(functions, load, say))
            finally:
                drain(runner.get_loop())
    except (UsageError, BrokenResourceError):
        raise
    except ExitError as error:
        raise BrokenResourceError(str(error)) from error
    except SystemExit as error:
        raise BrokenResourceError(f"a callback of yours tried to exit: {error!r}") from error
    except (asyncio.CancelledError, Exception) as error:
        raise BrokenResourceError(
            f"the trial was ended from within, {said(error)}: does a function stop the event loop, "
            "or cancel tasks of others?"
        ) from error
    finally:
        faulthandler.cancel_dump_traceback_later()
