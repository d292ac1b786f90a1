"""The real pool, with contracts on, on the real event loop, against a user's own resource."""

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
from nodetool.concurrency._call import LimitPassedError, call

from ._named import ExitError, UsageError, said
from ._outside import Functions, Outside
from ._users import Users

PATIENCE = 10.0  # seconds without any movement that are too long
BLOCKED = 20.0  # seconds for which a callback may block the event loop; then the process ends
GRACE = 1.0  # seconds for tasks to end that are left at the end
ATTEMPTS = 100  # to let the tasks end of a trial that was ended from within
BEAT = 0.02  # seconds between two looks at the pool
PHASES = ("close", "terminate")
CHECKED = "close"  # with a check, whose faults are made if the user has none; the other without any
BY_GENERATOR = (contextlib._GeneratorContextManager, contextlib._AsyncGeneratorContextManager)

Say = Callable[[str], None]


@dataclass(frozen=True)
class Load:
    """How much is to be done."""

    max_size: int
    users: int
    seconds: float
    seed: int


class BrokenResourceError(Exception):
    """A function of the user's fails at its first use, with nothing around it."""


class Phase:
    """One pool from its beginning to its end."""

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
            acquisition_timeout=None,
            closer_timeout=None,  # nothing is given up: the watchdog would tell
            check=outside.check if ending == CHECKED else None,
            reset=None if functions.reset is None else outside.reset,
            name=f"verify, {ending}",
            debug=True,
        )
        self.users = Users(self.pool, outside, random)
        self.looks = 0
        self.left: list[str] = []

    async def run(self) -> bool:
        """The whole phase; False if it got stuck."""
        try:
            return await self._run()
        except BaseException:
            self.pool._forked = True  # the trial is over: no warning about it
            raise

    async def _run(self) -> bool:
        loop = asyncio.get_running_loop()
        loop.set_exception_handler(self._reported)
        before = asyncio.all_tasks()
        work = asyncio.create_task(self._work(), name="verify: work")
        problem = ""
        try:
            if await self._watch(work):
                work.result()
            else:
                problem = f"nothing moved for {PATIENCE:g} s; the pool is terminated now"
        except Exception as error:  # a violated contract, say
            problem = said(error)
        gc.collect()  # an error that nobody asked a task for is reported now
        left = {work, *asyncio.all_tasks()} - before
        if not problem:
            _, left = await asyncio.wait(left, timeout=GRACE)
            self.left = [where(task) for task in left]
            return True
        stuck = "\n".join(sorted(f"    {where(task)}" for task in left if not task.done()))
        self.outside.problems.append(f"{problem}. Stuck are:\n{stuck}")
        with suppress(Exception):  # a pool with a bug may not even do that
            self.pool.terminate()
        self.pool._forked = True  # no warning about it
        for task in left:
            task.cancel()
        await asyncio.wait(left, timeout=GRACE)
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
        """Look at the numbers until the work is done; False if nothing moves for too long."""
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
            self.looks += 1
            if not outside.size <= size <= self.load.max_size:
                outside.problems.append(f"{outside.size} lived while stats() said {size}")
            await asyncio.wait([work], timeout=BEAT)
        return True

    def _reported(self, _: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
        error = context.get("exception")
        reason = "" if error is None else f": {type(error).__name__}: {error}"
        self.outside.problems.append(f"the event loop reported: {context['message']}{reason}")

    def disagreements(self) -> Iterator[str]:
        """Where the pool's numbers at the end are not those that were counted outside."""
        counts = self.outside.counts
        try:
            stats = self.pool.stats()
        except Exception as error:  # a violated contract, again
            yield f"{self.ending}: {said(error)}"
            return
        names = ["created", "acquired", "released", "discarded", "detached", "closer_failures"]
        if self.ending == "close":  # terminate() cuts calls short, some before they begin
            names += ["creation_failures", "check_failures", "reset_failures"]
        for name in names:
            told, counted = getattr(stats, name), counts[name.replace("_", " ")]
            if told != counted:
                yield f"{self.ending}: stats() says {name}={told}, outside it was {counted}"
        if not stats.closed or stats.size:
            yield f"{self.ending}: stats() says closed={stats.closed}, size={stats.size}"


def guard() -> None:
    """End the process with a traceback if the event loop is blocked for too long from now on."""
    faulthandler.dump_traceback_later(BLOCKED, exit=True, file=sys.__stderr__ or 2)


def where(task: asyncio.Task[Any]) -> str:
    """A task, and what it is waiting in: one function calls the next."""
    lines: list[str] = []
    inner: Any = task.get_coro()
    while (frame := getattr(inner, "cr_frame", None)) is not None:
        lines.append(f"{frame.f_code.co_filename}:{frame.f_lineno} in {frame.f_code.co_name}")
        inner = inner.cr_await
    return f"{task.get_name()}: {' > '.join(lines[-2:])}"


def refuse_unfinished(name: str, answer: Any) -> None:
    """What was returned stands for something that has not been done: nothing would be tested."""
    if inspect.iscoroutine(answer):
        answer.close()
        raise UsageError(f"what the {name} returned, awaited once, has to be awaited once more")
    if isinstance(answer, BY_GENERATOR):
        raise UsageError(
            f"the {name} returned a context manager that nobody has entered: pass a function that "
            "enters it and returns what that gives, and a closer that leaves it"
        )
    if inspect.isgenerator(answer) or inspect.isasyncgen(answer):
        raise UsageError(
            f"the {name} returned a generator, of which nothing has run: it must return, not yield"
        )


async def try_once(functions: Functions) -> None:
    """Each function once, with nothing around it: who fails here fails by itself."""
    guard()
    try:
        resource = await call(PATIENCE, functions.factory)
    except LimitPassedError:
        raise UsageError(f"the factory did not return within {PATIENCE:g} s") from None
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
        guard()
        try:
            answer = await call(PATIENCE, function, resource)
        except LimitPassedError:
            raise BrokenResourceError(f"the {name} did not return within {PATIENCE:g} s") from None
        except Exception as error:
            raise BrokenResourceError(f"the {name} fails by itself: {said(error)}") from error
        except SystemExit as error:
            raise ExitError(name, error) from error
        refuse_unfinished(name, answer)
        if name == "check" and answer is False:
            raise BrokenResourceError("the check says no to a resource fresh from the factory")


async def trial(functions: Functions, load: Load, say: Say) -> list[Phase]:
    """Try the functions once, then use them in all ways; the phases that were run."""
    await try_once(functions)
    say("each function was called once, with nothing around it: fine")
    phases: list[Phase] = []
    for ending in PHASES:
        phase = Phase(functions, load, ending)
        phases.append(phase)
        going_on = await phase.run()
        acquired = phase.outside.counts["acquired"]
        checked = "with a check" if ending == CHECKED else "without a check"
        say(f"{acquired:,} leases by {load.users} users {checked}, until {ending}()")
        if not going_on or phase.outside.problems:
            break
    return phases


def drain(loop: asyncio.AbstractEventLoop) -> None:
    """Let all tasks and callbacks end, however often what they call ends the loop meanwhile."""
    for _ in range(ATTEMPTS):
        tasks = asyncio.all_tasks(loop)
        for task in tasks:
            task.cancel()
        with suppress(SystemExit, RuntimeError):
            rest = asyncio.wait(tasks, timeout=GRACE) if tasks else asyncio.sleep(0)
            loop.run_until_complete(rest)
            if not tasks:
                return


def run(functions: Functions, load: Load, say: Say) -> list[Phase]:
    """Run the trial on an event loop of its own. What blocks the loop ends the process."""
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
        raise BrokenResourceError(f"something of yours tried to exit: {error!r}") from error
    except (asyncio.CancelledError, Exception) as error:
        raise BrokenResourceError(
            f"the trial was ended from within, {said(error)}: does a function stop the event loop, "
            "or cancel tasks that are not its own?"
        ) from error
    finally:
        faulthandler.cancel_dump_traceback_later()
