"""Arguments of a pool, its name and what it logs."""

from __future__ import annotations

import asyncio
import logging
import math
from collections import namedtuple
from datetime import timedelta
from typing import Any

import pytest

from nodetool import concurrency
from nodetool.concurrency import AsyncResourcePool, ResourcePoolError
from tests.concurrency.world import World, played
from tests.virtual_time import turns

start = asyncio.create_task
LOGGER = "nodetool.concurrency.pool"

DURATIONS = (
    "max_age",
    "max_age_jitter",
    "max_idle_time",
    "acquisition_timeout",
    "creation_timeout",
    "closer_timeout",
    "check_after_idle",
    "check_timeout",
    "reset_timeout",
)
POSITIVE = (
    "max_age",
    "max_idle_time",
    "creation_timeout",
    "closer_timeout",
    "check_timeout",
    "reset_timeout",
)


def check(_: object) -> None: ...


# Arguments.


@pytest.mark.parametrize("option", ["factory", "closer", "check", "reset"])
@pytest.mark.parametrize("bad", [1, "f", object()])
def test_a_callback_that_cannot_be_called_is_named(option: str, bad: object) -> None:
    options: dict[str, Any] = {"factory": object, option: bad}
    with pytest.raises(TypeError, match=f"^{option} must be callable, not "):
        AsyncResourcePool(**options)


def test_passing_a_call_instead_of_a_function_is_explained() -> None:
    async def connect() -> object:
        return object()

    called = connect()
    with pytest.raises(TypeError, match=r"factory=f, not factory=f\(\)"):
        AsyncResourcePool(called)  # type: ignore[call-overload]
    called.close()


@pytest.mark.parametrize(
    ("option", "bad"),
    [
        *(("max_size", bad) for bad in (0, -1)),
        ("min_size", -1),
        *(("max_creating", bad) for bad in (0, -1)),
        *(("max_waiting", bad) for bad in (0, -1)),
    ],
)
def test_a_count_out_of_range_is_named(option: str, bad: int) -> None:
    with pytest.raises(ValueError, match=f"^{option} must be [01] or more, not {bad}$"):
        AsyncResourcePool(object, **{option: bad})  # type: ignore[call-overload]


@pytest.mark.parametrize("option", ["max_size", "min_size", "max_creating", "max_waiting"])
@pytest.mark.parametrize("bad", [1.0, "1", True, math.inf])
def test_a_count_that_is_no_whole_number_is_named(option: str, bad: object) -> None:
    with pytest.raises(TypeError, match=f"^{option} must be a whole number, not "):
        AsyncResourcePool(object, **{option: bad})  # type: ignore[call-overload]


@pytest.mark.parametrize("option", ["max_size", "min_size"])
def test_max_size_and_min_size_cannot_be_none(option: str) -> None:
    with pytest.raises(TypeError, match=f"^{option} must be a whole number, not None"):
        AsyncResourcePool(object, **{option: None})  # type: ignore[call-overload]


def test_min_size_above_max_size_is_refused() -> None:
    with pytest.raises(ValueError, match=r"^min_size=3 must not be above max_size=2$"):
        AsyncResourcePool(object, min_size=3, max_size=2)


@pytest.mark.parametrize("option", DURATIONS)
@pytest.mark.parametrize("bad", [-1, -0.5, math.nan, -math.inf, timedelta(seconds=-1)])
def test_a_duration_out_of_range_is_named(option: str, bad: float | timedelta) -> None:
    with pytest.raises(ValueError, match=f"^{option} must be (more than 0|0 or more) seconds"):
        AsyncResourcePool(object, check=check, **{option: bad})  # type: ignore[call-overload]


@pytest.mark.parametrize("option", POSITIVE)
@pytest.mark.parametrize("zero", [0, 0.0, timedelta()])
def test_a_duration_of_zero_is_refused_where_it_makes_no_sense(
    option: str, zero: float | timedelta
) -> None:
    with pytest.raises(ValueError, match=f"^{option} must be more than 0 seconds"):
        AsyncResourcePool(object, **{option: zero})  # type: ignore[call-overload]


@pytest.mark.parametrize("option", DURATIONS)
@pytest.mark.parametrize("bad", ["1", True, [1], object()])
def test_a_duration_of_the_wrong_kind_is_named(option: str, bad: object) -> None:
    with pytest.raises(TypeError, match=f"^{option} must be seconds, a timedelta or None, not "):
        AsyncResourcePool(object, check=check, **{option: bad})  # type: ignore[call-overload]


@pytest.mark.parametrize("option", sorted({*POSITIVE, "acquisition_timeout"}))
@pytest.mark.parametrize("good", [None, math.inf, 1, 0.5, timedelta(minutes=1)])
def test_durations_may_be_seconds_timedeltas_or_none(
    option: str, good: float | timedelta | None
) -> None:
    pool = AsyncResourcePool(object, **{option: good})  # type: ignore[call-overload]
    assert pool.size == 0


@pytest.mark.parametrize("jitter", [10, 11, timedelta(minutes=1)])
def test_a_jitter_that_is_not_below_max_age_is_refused(jitter: float | timedelta) -> None:
    with pytest.raises(ValueError, match=r"^max_age_jitter=.* must be below max_age, which is 10$"):
        AsyncResourcePool(object, max_age=10, max_age_jitter=jitter)


def test_a_jitter_without_max_age_is_refused() -> None:
    with pytest.raises(ValueError, match=r"^max_age_jitter needs a max_age"):
        AsyncResourcePool(object, max_age_jitter=1)


@pytest.mark.parametrize("trust", [None, 0, 1, timedelta(hours=1)])
async def test_check_after_idle_without_check_has_no_effect(trust: Any) -> None:
    async with AsyncResourcePool(object, check_after_idle=trust) as pool:
        used = await pool.acquire()
        await pool.release(used)
        assert await pool.acquire() is used
        await pool.release(used)
        assert pool.stats().created == 1


@pytest.mark.parametrize("bad", ["LIFO", "", None, 1, True, ["lifo"]])
def test_reuse_must_be_lifo_or_fifo(bad: object) -> None:
    options: dict[str, Any] = {"reuse": bad}
    with pytest.raises(ValueError, match=r'^reuse must be "lifo" or "fifo", not '):
        AsyncResourcePool(object, **options)


@pytest.mark.parametrize("trust", [None, math.inf])
def test_a_trust_without_a_limit_is_refused_beside_a_check(trust: Any) -> None:
    with pytest.raises(ValueError, match="without a limit would skip every check"):
        AsyncResourcePool(object, check=print, check_after_idle=trust)


@pytest.mark.parametrize("bad", [1, "ValueError", [ValueError], (ValueError, 1), int, ValueError()])
def test_discard_on_must_be_exception_classes_or_a_function(bad: object) -> None:
    with pytest.raises(TypeError, match=r"^discard_on must be an exception class, a tuple of them"):
        AsyncResourcePool(object, discard_on=bad)  # type: ignore[call-overload]


def test_a_list_for_discard_on_gets_the_advice_to_pass_a_tuple() -> None:
    with pytest.raises(TypeError) as caught:
        AsyncResourcePool(object, discard_on=[OSError])  # type: ignore[call-overload]
    assert str(caught.value) == (
        "discard_on must be an exception class, a tuple of them, or a function that gets the "
        "exception, not [<class 'OSError'>]; pass a tuple"
    )


@pytest.mark.parametrize("bad", [1, b"db", object()])
def test_a_name_must_be_a_string(bad: object) -> None:
    with pytest.raises(TypeError, match=r"^name must be a string, not "):
        AsyncResourcePool(object, name=bad)  # type: ignore[call-overload]


def test_an_unknown_argument_is_refused() -> None:
    with pytest.raises(TypeError, match="max_seize"):
        AsyncResourcePool(object, max_seize=1)  # type: ignore[call-overload]


@played
async def test_a_duration_beyond_all_floats_is_named(world: World) -> None:
    pool = world.pool()
    with pytest.raises(ValueError, match=r"timeout is too large: use math.inf"):
        await pool.acquire(timeout=10**400)


# The name.


def test_pools_without_a_name_are_numbered() -> None:
    first, second = AsyncResourcePool(object), AsyncResourcePool(object)
    assert "'pool-" in repr(first)
    assert repr(first) != repr(second)


@played
async def test_the_representation_tells_the_name_the_phase_and_the_numbers(world: World) -> None:
    pool = world.pool(name="db", max_size=2)
    assert repr(pool) == ("<AsyncResourcePool 'db' open: size 0 of 2, 0 idle, 0 in use, 0 waiting>")
    first, second = await pool.acquire(), await pool.acquire()
    await pool.release(first)
    closing = start(pool.close())
    await turns()
    assert repr(pool) == (
        "<AsyncResourcePool 'db' closing: size 1 of 2, 0 idle, 1 in use, 0 waiting>"
    )
    await pool.release(second)
    await closing
    assert repr(pool) == (
        "<AsyncResourcePool 'db' closed: size 0 of 2, 0 idle, 0 in use, 0 waiting>"
    )


# What it says.


@played
async def test_every_failure_is_logged_and_nothing_is_printed(
    world: World, caplog: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture[str]
) -> None:
    caplog.set_level(logging.DEBUG)
    pool = world.checked_pool(min_size=1, reset=world.clean, closer_timeout=5, name="db")
    world.creation.fail(OSError("factory"))
    await pool.open()
    await asyncio.sleep(0.1)
    await pool.release(await pool.acquire())
    await turns()
    world.check.fail(OSError("check"))
    thing = await pool.acquire()
    world.reset.fail(OSError("reset"))
    world.closing.fail(OSError("closer"))
    await pool.release(thing)
    await turns()
    world.closing.shut()
    await pool.discard(await pool.acquire())
    await asyncio.sleep(10)
    assert {record.name for record in caplog.records if record.name != "asyncio"} == {LOGGER}
    messages = [record.getMessage() for record in caplog.records if record.name == LOGGER]
    assert all(message.startswith("pool 'db': ") for message in messages)
    for cause in ("factory", "check", "reset", "closer"):
        assert sum(f"OSError('{cause}')" in message for message in messages) == 1
    assert sum("closer_timeout=5 s" in message for message in messages) == 1
    assert capfd.readouterr() == ("", "")


@played
async def test_what_goes_well_is_not_logged(world: World, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG, LOGGER)
    pool = world.checked_pool(min_size=1, max_size=2, max_age=10, reset=world.clean)
    async with pool:
        for _ in range(3):
            async with pool.acquire_context(), pool.acquire_context():
                await asyncio.sleep(6)
    assert caplog.records == []


def test_every_error_has_the_common_base_and_a_documented_name() -> None:
    errors = [
        value
        for name in concurrency.__all__
        if isinstance(value := getattr(concurrency, name), type) and issubclass(value, Exception)
    ]
    assert len(errors) == 7
    assert all(issubclass(error, ResourcePoolError) and error.__doc__ for error in errors)


Point = namedtuple("Point", "x y")


@played
async def test_resources_that_are_tuples_do_not_confuse_messages(
    world: World, caplog: pytest.LogCaptureFixture
) -> None:
    def check(_: object) -> bool:
        raise ValueError("%s %d")

    pool = AsyncResourcePool(lambda: Point(1, 2), check=check, check_after_idle=0, name="100% db")
    await pool.release(await pool.acquire())
    caplog.set_level(logging.INFO, LOGGER)
    await pool.acquire()
    pool.terminate()
    assert caplog.messages == ["pool '100% db': a check failed: ValueError('%s %d')"]


async def test_a_pool_tells_its_name_its_phase_and_its_settings() -> None:
    pool = AsyncResourcePool(object, name="db", max_age=60, closer_timeout=None)
    assert (pool.name, pool.phase) == ("db", "open")
    assert pool.settings.max_age == 60
    assert pool.settings.closer_timeout == math.inf
    assert pool.settings.max_creating is None
    await pool.close()
    assert pool.phase == "closed"
