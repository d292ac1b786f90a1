"""The story of a failure names tasks, shows where they go on, and leaves out internals."""

from __future__ import annotations

import asyncio

from nodetool.concurrency.testing import Events, explore
from nodetool.concurrency.testing._run import Scenario


def story(scenario: Scenario) -> list[str]:
    failure = explore(scenario).failure
    assert failure is not None
    return failure.schedule


async def query(events: Events) -> None:
    await events.call("query")


async def fails(events: Events) -> None:
    events.task(query(events), name="named")
    nameless = asyncio.create_task(query(events))
    await events.join()
    await nameless
    raise OSError


def test_a_story_has_names_and_places_but_no_internals() -> None:
    inner, outer = query.__code__.co_firstlineno, fails.__code__.co_firstlineno
    assert story(fails) == [
        f"run scenario at test_story.py:{outer}",
        f"run named at test_story.py:{inner}, query at test_story.py:{inner}",
        "query #1 returns",
        f"run named at test_story.py:{inner + 1}",
        f"run scenario at test_story.py:{outer + 3}",
        "query #2 returns",
        f"run query at test_story.py:{inner + 1}",
        f"run scenario at test_story.py:{outer + 4}",
    ]


def test_a_story_names_the_tasks_of_timers() -> None:
    async def sleeper() -> None:
        await asyncio.sleep(5)

    async def scenario(events: Events) -> None:
        tasks = asyncio.gather(sleeper(), asyncio.sleep(6))
        asyncio.get_running_loop().call_later(4, list)
        try:
            async with asyncio.timeout(3):
                await asyncio.Event().wait()
        except TimeoutError:
            await tasks
        raise OSError

    told = story(scenario)
    line = sleeper.__code__.co_firstlineno + 1
    assert f"at 1005 run the timer of sleeper at test_story.py:{line}" in told
    assert "at 1006 run the timer of sleep" in told
    assert any(words.startswith("at 1003 run the timeout of scenario at") for words in told)
    assert "at 1004 run list" in told


def test_a_story_in_ready_mode_leaves_out_internals_too() -> None:
    failure = explore(fails, mode="ready").failure
    assert failure is not None
    starts = ("run scenario at", "run named at", "run query at", "query #")
    assert all(words.startswith(starts) for words in failure.schedule)
