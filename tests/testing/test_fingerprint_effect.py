"""Taking a fingerprint does not change what a program does."""

from __future__ import annotations

import weakref

import pytest

from nodetool.concurrency.testing import Events, explore


class TooMuchError(Exception):
    """The end of a count that only a fingerprint can see."""


class Plain:
    pass


@pytest.mark.parametrize("prune", [True, False])
def test_the_dict_of_locals_keeps_its_content(prune: bool) -> None:
    async def user(events: Events) -> None:
        one = 1
        known = locals()
        known["more"] = 2
        before = list(known.items())
        one = 3
        await events.call("work")
        await events.call("work")
        assert list(known.items()) == before
        again = locals()
        assert again["one"] == one

    async def scenario(events: Events) -> None:
        events.task(user(events))
        events.task(user(events))
        await events.join()

    result = explore(scenario, prune=prune, repeat_every=1)
    assert result.exhausted, result


@pytest.mark.parametrize("prune", [True, False])
def test_the_dict_of_locals_is_part_of_the_state(prune: bool) -> None:
    async def scenario(events: Events) -> None:
        known = locals()
        known[0] = 0  # type: ignore[index]  # the key is no name
        while await events.call("more", results=("stop",)) is None:
            known[0] += 1  # type: ignore[index]
            if known[0] == 3:  # type: ignore[index]
                raise TooMuchError

    result = explore(scenario, prune=prune, max_schedules=100)
    assert result.failure is not None
    assert isinstance(result.failure.error, TooMuchError), result


def test_a_fingerprint_keeps_nothing_alive() -> None:
    async def user(events: Events) -> None:
        value = Plain()
        reference = weakref.ref(value)
        await events.call("work")
        await events.call("work")
        del value
        await events.call("work")
        assert reference() is None

    async def scenario(events: Events) -> None:
        events.task(user(events))
        await events.call("other")
        await events.join()

    assert explore(scenario, repeat_every=1).exhausted


def test_a_dictionary_may_change_while_it_is_iterated_over() -> None:
    async def scenario(events: Events) -> None:
        known = {1: 1}

        async def reader() -> None:
            for _ in known:
                await events.call("read")

        async def writer() -> None:
            await events.call("write")
            known[2] = 2

        events.task(reader())
        events.task(writer())
        await events.join()

    for prune in (True, False):
        result = explore(scenario, prune=prune)
        assert result.failure is not None
        assert "changed size" in str(result.failure.error)
