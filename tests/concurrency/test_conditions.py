"""Conditions alone: who waits for what, and who is woken when."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from functools import partial
from typing import Any

import pytest

from tests.concurrency.fakes import NOTHING, FakeMachine
from tests.inside import Condition, Conditions, Phase, fits, is_closed, is_filled
from tests.virtual_time import run


class Lab:
    """Conditions, a machine, and the questions that were asked about it."""

    def __init__(self) -> None:
        self.machine: Any = FakeMachine([])
        self.conditions = Conditions()
        self.asked: list[str] = []

    def condition(self, name: str, answers: dict[str, bool]) -> Condition:
        """Make a condition whose answer is in a dictionary."""

        def is_true(machine: object) -> bool:
            assert machine is self.machine
            self.asked.append(name)
            return answers[name]

        return Condition(is_true)

    def wait(self, condition: Condition, in_line: bool = False) -> asyncio.Future[bool]:
        """Let one more caller wait."""
        future = asyncio.get_running_loop().create_future()
        self.conditions.add(condition, future, in_line=in_line)
        return future

    def check(self) -> list[str]:
        """Check the conditions. Return which of them were asked."""
        self.asked = []
        self.conditions.check(self.machine)
        return self.asked


def note(notes: list[int], number: int, _: object) -> None:
    notes.append(number)


@pytest.mark.parametrize("in_line", [False, True])
def test_the_callers_of_one_condition_share_one_question_and_wake_in_order(in_line: bool) -> None:
    async def main() -> None:
        lab, answers = Lab(), {"a": False}
        condition = lab.condition("a", answers)
        assert not lab.conditions
        futures = [lab.wait(condition, in_line) for _ in range(5)]
        woken: list[int] = []
        for number, future in enumerate(futures):
            future.add_done_callback(partial(note, woken, number))
        assert (len(lab.conditions), lab.conditions.is_awaited) == (5, True)
        assert lab.check() == ["a"]
        assert not any(future.done() for future in futures)
        answers["a"] = True
        assert lab.check() == ["a"]
        assert [future.result() for future in futures] == [True] * 5
        assert (len(lab.conditions), lab.conditions.is_awaited) == (0, False)
        await asyncio.sleep(0)
        assert woken == [0, 1, 2, 3, 4]
        for future in futures:
            lab.conditions.remove(condition, future)  # as each caller does at its end
        assert lab.check() == []

    run(main())


def test_of_a_line_only_the_first_condition_is_asked() -> None:
    async def main() -> None:
        lab = Lab()
        names = [str(number) for number in range(100)]
        answers = dict.fromkeys(names, False)
        futures = [lab.wait(lab.condition(name, answers), in_line=True) for name in names]
        other = lab.wait(lab.condition("other", answers | {"other": False}))
        assert lab.check() == ["other", "0"]
        answers |= {"0": True, "1": True, "2": True}
        assert lab.check() == ["other", "0", "1", "2", "3"]
        assert [future.done() for future in futures] == [True] * 3 + [False] * 97
        assert not other.done()
        assert lab.check() == ["other", "3"]

    run(main())


@pytest.mark.parametrize("in_line", [False, True])
def test_a_condition_is_forgotten_with_its_last_caller(in_line: bool) -> None:
    async def main() -> None:
        lab, answers = Lab(), {"a": False, "b": False, "c": False}
        conditions = [lab.condition(name, answers) for name in answers]
        futures = [[lab.wait(one, in_line) for _ in range(2)] for one in conditions]
        for future in futures[1]:
            assert len(lab.check()) == (1 if in_line else 3)
            lab.conditions.remove(conditions[1], future)
            lab.conditions.remove(conditions[1], future)  # once more does no harm
        assert len(lab.conditions) == 4
        assert lab.check() == (["a"] if in_line else ["a", "c"])
        answers["a"] = answers["b"] = answers["c"] = True
        assert lab.check() == ["a", "c"]
        assert not lab.conditions

    run(main())


def test_many_callers_that_leave_from_the_middle_of_a_line_leave_nothing_behind() -> None:
    async def main() -> None:
        lab, answers = Lab(), {"stays": False, "goes": False}
        first = lab.wait(lab.condition("stays", answers), in_line=True)
        last = None
        for _ in range(1000):  # one after the other, and each one leaves after the next came
            condition = lab.condition("goes", answers)
            future = lab.wait(condition, in_line=True)
            if last is not None:
                lab.conditions.remove(*last)
            last = condition, future
        assert len(lab.conditions) == 2
        answers["stays"] = True
        assert lab.check() == ["stays", "goes"]
        assert first.done()

    run(main())


def test_a_condition_can_be_waited_for_again() -> None:
    async def main() -> None:
        lab, answers = Lab(), {"a": True}
        condition = lab.condition("a", answers)
        first = lab.wait(condition)
        lab.check()
        assert first.done()
        answers["a"] = False
        second = lab.wait(condition)
        lab.conditions.remove(condition, first)  # it leaves late
        lab.check()
        assert not second.done()
        answers["a"] = True
        lab.check()
        assert second.done()

    run(main())


@pytest.mark.parametrize("in_line", [False, True])
def test_a_caller_that_was_cancelled_is_not_woken(in_line: bool) -> None:
    async def main() -> None:
        lab = Lab()
        condition = lab.condition("a", {"a": True})
        cancelled, other = lab.wait(condition, in_line), lab.wait(condition, in_line)
        cancelled.cancel()
        lab.check()
        assert cancelled.cancelled()
        assert other.result() is True

    run(main())


class DeepFuture:
    """A future at whose depth the stack has no room left, once."""

    def __init__(self, future: asyncio.Future[bool]) -> None:
        self.future = future
        self.refusals = 1

    def done(self) -> bool:
        return self.future.done()

    def set_result(self, result: bool) -> None:
        if self.refusals:
            self.refusals -= 1
            raise RecursionError
        self.future.set_result(result)


@pytest.mark.guarantees("CloseCompletes")
@pytest.mark.parametrize("in_line", [False, True])
def test_a_caller_that_the_stack_has_no_room_to_wake_is_woken_by_the_next_step(
    in_line: bool,
) -> None:
    async def main() -> None:
        lab = Lab()
        condition = lab.condition("a", {"a": True})
        first = lab.wait(condition, in_line)
        inner = asyncio.get_running_loop().create_future()
        deep: Any = DeepFuture(inner)
        lab.conditions.add(condition, deep, in_line=in_line)
        last = lab.wait(condition, in_line)
        with pytest.raises(RecursionError):
            lab.check()
        assert (first.done(), inner.done(), last.done()) == (True, False, False)
        lab.check()
        assert (inner.result(), last.result(), lab.conditions.is_awaited) == (True, True, False)

    run(main())


# The questions.


@pytest.mark.parametrize("phase", Phase)
def test_closed_means_that_nothing_is_left(phase: Phase) -> None:
    machine: Any = FakeMachine([])
    machine.phase = phase
    assert is_closed(machine) is (phase is Phase.CLOSED)


@pytest.mark.parametrize(
    ("ask", "numbers", "expected"),
    [
        (is_filled, {}, True),
        (is_filled, {"min_size": 1}, False),
        (is_filled, {"min_size": 1, "creating": 1}, False),  # it may fail
        (is_filled, {"min_size": 1, "creating": 1, "retired_creations": 1}, False),
        (is_filled, {"min_size": 1, "creating": 2, "retired_creations": 1, "ready": 1}, True),
        (is_filled, {"min_size": 1, "closing": 1}, False),
        (is_filled, {"min_size": 1, "checking": 1}, True),
        (is_filled, {"min_size": 1, "checking": 1, "retired_checks": 1}, False),
        (is_filled, {"min_size": 2, "ready": 1, "unchecked": 1}, True),
        (is_filled, {"min_size": 2, "in_use": 1, "resetting": 1}, True),
        (is_filled, {"min_size": 3, "in_use": 1, "resetting": 1}, False),
        (fits, {"max_size": 1}, True),
        (fits, {"max_size": 1, "ready": 1}, True),
        (fits, {"max_size": 1, "ready": 1, "closing": 1}, False),
        (fits, {"max_size": 1, "creating": 1, "resetting": 1}, False),
    ],
)
def test_the_questions_about_numbers(
    ask: Callable[[Any], bool], numbers: dict[str, Any], expected: bool
) -> None:
    machine: Any = FakeMachine([])
    machine.numbers = NOTHING._replace(**numbers)
    assert ask(machine) is expected
    machine.phase = Phase.CLOSING
    assert ask(machine) is (expected or ask is is_filled), "a pool that closes never fills"
