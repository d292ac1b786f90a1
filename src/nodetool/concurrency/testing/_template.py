"""The program that `plain_program` fills in."""

__all__ = ["PROGRAM"]

PROGRAM = '''\
"""Repeats one schedule of a scenario on asyncio's own loop, and says what goes wrong."""

from __future__ import annotations

import asyncio
import contextvars
import random
import selectors
import sys

# The scenario.

SCENARIO_SOURCE

# What happens, in order: what the loop runs in a turn, which call ends in which way, which task is
# cancelled, and when the clock jumps to the next timer.

STEPS = []
INSIDE = []
START = 0.0


class Selector(selectors.SelectSelector):
    """A selector without files. The loop calls it once in each turn."""

    def select(self, timeout=None):
        for check in events.checks:
            assert check() is not False, f"{check!r} does not hold"
        for kind, number, way in steps:
            if kind == "jump":
                loop.now = min(one.when() for one in loop._scheduled if not one.cancelled())
            if kind in ("run", "jump"):
                break
            loop.call_soon(events.take(kind, number, way))
        else:
            loop.stop()
        return []


class Loop(asyncio.SelectorEventLoop):
    """The stock loop with a virtual clock."""

    now = START

    def time(self):
        return self.now


class Task(asyncio.Task):
    """A task whose place in a set does not depend on its address."""

    def __hash__(self):
        return 0


class Events:
    """The outside world of the scenario. It does what the steps say."""

    def __init__(self):
        self.calls, self.tasks, self.checks = [], [], []

    def task(self, coro, *, name=None, cancellable=False):
        self.tasks.append(loop.create_task(coro, name=name))
        return self.tasks[-1]

    async def join(self):
        for task in self.tasks:
            if not (task.done() or task is asyncio.current_task()):
                end = loop.create_future()
                task.add_done_callback(lambda _, end=end: end.done() or end.set_result(None))
                await end

    async def call(self, name, *, result=None, results=(), faults=(), may_end_at_once=False):
        future = loop.create_future()
        self.calls.append((future, [result, *results], list(faults)))
        if may_end_at_once and (index := INSIDE.pop(0)):
            self.take("call", len(self.calls) - 1, index - 1)()
        return await future

    async def thread(self, function, *args, **options):
        future = loop.create_future()
        context = contextvars.copy_context()
        self.calls.append((future, lambda: context.run(function, *args, **options), []))
        return await future

    def take(self, kind, number, way):
        """Return the callback of an event."""
        if kind == "cancel":
            return self.tasks[number].cancel
        future, results, faults = self.calls[number]
        if callable(results):
            try:
                results = [results()]
            except Exception as error:
                results, faults = [], [error]
        if way < len(results):
            return lambda: future.done() or future.set_result(results[way])
        return lambda: future.done() or future.set_exception(faults[way - len(results)])

    def check(self, invariant):
        self.checks.append(invariant)

    def watch(self, *objects):
        pass

    def time(self):
        return loop.time()


def make_task(loop, coro, **options):
    options["name"] = options.get("name") or f"Task-{len(tasks) + 1}"
    tasks.append(Task(coro, loop=loop, **options))
    return tasks[-1]


random.seed(0)
steps = iter(STEPS)
tasks = []
events = Events()
loop = Loop(Selector())
loop.set_task_factory(make_task)
main = loop.create_task(scenario(events), name="scenario")
try:
    loop.run_forever()
finally:
    loop.close()
    wrong = [task for task in tasks if not task.done()]
    for task in wrong:
        task._log_destroy_pending = False
for task in wrong:
    task.print_stack()
if main.done():
    main.result()
for task in tasks:
    if task.done() and task._log_traceback:
        task.result()  # nobody has retrieved its exception
if wrong:
    sys.exit(f"these tasks wait for ever: {', '.join(task.get_name() for task in wrong)}")
'''
