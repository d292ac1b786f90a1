"""Debug mode: what its contracts find and what its messages say. Production has none of it."""

from __future__ import annotations

import asyncio
import logging
import os
import subprocess
import sys

import icontract
import pytest

from nodetool.concurrency import (
    AsyncResourcePool,
    InvalidReleaseError,
    ResourcePoolError,
    ResourcePoolTimeoutError,
)
from tests import inside
from tests.inside import ClosesNothingAtOpen, GuaranteeViolationError, ServesNewestFirst, checked
from tests.virtual_time import run, turns

IMPORT = f"from {AsyncResourcePool.__module__} import AsyncResourcePool\n"


def python(code: str, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-W", "error", "-c", code],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
        env={"PATH": "", "PYTHONPATH": os.pathsep.join(sys.path), **environment},
    )


def test_without_debug_mode_nothing_of_icontract_is_imported() -> None:
    done = python(
        f"{IMPORT}import sys\n"
        "AsyncResourcePool(object), AsyncResourcePool(object, debug=False)\n"
        "print([name for name in sys.modules if 'icontract' in name or 'hypothesis' in name])\n"
    )
    assert done.stdout == "[]\n", done.stderr


def test_without_debug_mode_a_pool_has_the_bare_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("NODETOOL_POOL_DEBUG", raising=False)
    assert inside.machine_kind(AsyncResourcePool(object)) == "bare"
    assert inside.machine_kind(AsyncResourcePool(object, debug=False)) == "bare"
    assert inside.machine_kind(AsyncResourcePool(object, debug=True)) == "debug"


def test_debug_mode_without_icontract_says_what_to_install() -> None:
    done = python(
        "import sys\n"
        f"sys.modules['icontract'] = None\n{IMPORT}"
        "AsyncResourcePool(object, debug=True)\n"
    )
    assert done.returncode == 1
    assert "pip install 'nodetool-concurrency[debug]'" in done.stderr


@pytest.mark.parametrize(("value", "checked"), [("1", True), ("0", False), ("", False)])
def test_the_environment_switches_debug_mode_on_for_the_process(value: str, checked: bool) -> None:
    done = python(
        f"{IMPORT}from tests.inside import machine_kind\n"
        "print(machine_kind(AsyncResourcePool(object)))\n"
        "print(machine_kind(AsyncResourcePool(object, debug=False)))\n",
        NODETOOL_POOL_DEBUG=value,
    )
    assert done.stdout.split() == ["debug" if checked else "bare", "bare"], done.stderr


def test_another_value_in_the_environment_is_an_error_that_says_so(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("NODETOOL_POOL_DEBUG", "yes")
    with pytest.raises(ValueError, match="NODETOOL_POOL_DEBUG must be 0, 1 or empty, not 'yes'"):
        AsyncResourcePool(object)
    with pytest.raises(TypeError, match="debug must be True, False or None"):
        AsyncResourcePool(object, debug="yes")  # type: ignore[call-overload]


def test_a_violation_names_the_guarantee_and_prints_the_last_steps() -> None:
    async def main() -> None:
        pool = AsyncResourcePool(object, max_size=1, name="broken", debug=True)
        inside.use_machine_with_contracts(pool, ServesNewestFirst)
        resource = await pool.acquire()
        waiters = [asyncio.create_task(pool.acquire()) for _ in range(2)]
        await turns()
        with pytest.raises(GuaranteeViolationError) as caught:
            await pool.release(resource)
        message = str(caught.value)
        assert message.startswith("pool 'broken' broke FifoService: this is a bug in the pool.")
        steps = [line.strip().split("(")[0] for line in message.splitlines()[3:]]
        assert steps == ["Acquire", "CreateSucceeded", "Resume", "Acquire", "Acquire", "Release"]
        for waiter in waiters:
            waiter.cancel()
        await asyncio.wait(waiters)
        pool.terminate()

    run(main())


def test_a_violation_is_no_mistake_of_the_user_and_mistakes_are_no_violations() -> None:
    assert issubclass(GuaranteeViolationError, icontract.ViolationError)
    assert not issubclass(GuaranteeViolationError, ResourcePoolError)

    async def main() -> None:
        async with AsyncResourcePool(object, debug=True) as pool:
            resource = await pool.acquire()
            await pool.release(resource)
            for mistake in (pool.release, pool.discard, pool.detach):
                with pytest.raises(InvalidReleaseError, match="it was released already"):
                    await mistake(resource)
                with pytest.raises(InvalidReleaseError, match="it is not of this pool"):
                    await mistake(object())

    run(main())


def test_a_timeout_names_the_holders_and_where_they_acquired() -> None:
    async def takes_it(pool: AsyncResourcePool[object]) -> object:
        return await pool.acquire()

    async def main() -> None:
        pool = AsyncResourcePool(object, max_size=1, debug=True)
        holder = asyncio.create_task(takes_it(pool), name="the holder")
        resource = await holder
        with pytest.raises(ResourcePoolTimeoutError) as caught:
            await pool.acquire(timeout=1)
        assert "held by task 'the holder' for " in str(caught.value)
        assert "in takes_it" in str(caught.value)
        with pytest.raises(ResourcePoolTimeoutError) as caught:
            await pool.close(timeout=1)
        assert "held by task 'the holder' for " in str(caught.value)
        assert "in takes_it" in str(caught.value)
        await pool.release(resource)
        await pool.close()

    run(main())


def test_a_second_release_names_the_last_holder() -> None:
    async def main() -> None:
        async with AsyncResourcePool(object, debug=True) as pool:
            resource = await pool.acquire()
            await pool.release(resource)
            with pytest.raises(InvalidReleaseError, match="was last held by task 'Task-"):
                await pool.release(resource)

    run(main())


def test_a_worker_may_give_back_what_others_took_again_and_again() -> None:
    async def main() -> None:
        async with AsyncResourcePool(object, max_size=1, debug=True) as pool:
            queue: asyncio.Queue[object] = asyncio.Queue()

            async def works() -> None:
                for _ in range(3):
                    await pool.release(await queue.get())

            worker = asyncio.create_task(works())
            for _ in range(3):
                await queue.put(await pool.acquire())
            await worker
            assert pool.stats().released == 3

    run(main())


@pytest.mark.guarantees("NoDoubleRelease")
def test_a_release_by_a_former_holder_is_caught() -> None:
    async def main() -> None:
        async with AsyncResourcePool(object, max_size=1, debug=True) as pool:
            resource = await pool.acquire()
            await pool.release(resource)
            others: list[object] = []

            async def holds() -> None:
                others.append(await pool.acquire())
                await asyncio.sleep(1)

            other = asyncio.create_task(holds(), name="the other")
            await turns()
            assert others == [resource]
            with pytest.raises(
                InvalidReleaseError, match="this task had it before, and another task holds it now"
            ) as caught:
                await pool.release(resource)
            assert "held by task 'the other'" in str(caught.value)
            assert pool.in_use_count == 1
            # A third task may give it back: it was never its holder.
            await asyncio.create_task(pool.release(resource))
            await other
            # And the former holder may hold it, and give it back, again; or have it acquired.
            assert await pool.acquire() is resource
            await pool.release(resource)
            assert await asyncio.create_task(pool.acquire()) is resource
            await pool.release(resource)

    run(main())


def test_a_long_lease_is_logged_once_and_again_when_it_ends(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async def main() -> None:
        async with AsyncResourcePool(object, debug=True, leak_threshold=10) as pool:
            quick = await pool.acquire()
            await asyncio.sleep(9)
            await pool.release(quick)
            slow = await pool.acquire()
            await asyncio.sleep(30)
            assert [record.levelname for record in caplog.records] == ["WARNING"]
            assert "held for more than leak_threshold=10 s" in caplog.text
            assert "held by task" in caplog.text
            await pool.discard(slow)
            assert "a lease ended 20.0 s after the leak warning" in caplog.text

    with caplog.at_level(logging.WARNING, "nodetool.concurrency.pool"):
        run(main())
    assert len(caplog.records) == 2


def test_detach_and_terminate_end_a_watched_lease(caplog: pytest.LogCaptureFixture) -> None:
    async def main() -> None:
        pool = AsyncResourcePool(object, debug=True, leak_threshold=10)
        await pool.detach(await pool.acquire())
        kept = await pool.acquire()
        pool.terminate()
        await asyncio.sleep(30)
        assert kept is not None
        assert not caplog.records

    run(main())


def test_a_resource_acquired_after_a_wait_or_a_check_is_watched_too() -> None:
    async def main() -> None:
        answers = iter([True, False, True])
        async with AsyncResourcePool(
            object, max_size=2, debug=True, check=lambda _: next(answers), check_after_idle=0
        ) as pool:
            first, second = await pool.acquire(), await pool.acquire()
            await pool.release(first)
            await pool.release(second)
            for _ in range(2):  # one whose check says yes, one whose check says no
                assert "held by task" in inside.holder_of(pool, await pool.acquire())

            for resource in inside.resources_at(pool, "held"):
                await pool.release(resource)

    run(main())


def test_a_resource_acquired_outside_of_any_task_is_held_by_none() -> None:
    async def main() -> None:
        async with AsyncResourcePool(object, debug=True) as pool:
            await pool.release(await pool.acquire())
            got: list[object] = []

            def acquire_in_a_callback() -> None:
                try:
                    pool.acquire().send(None)
                except StopIteration as done:
                    got.append(done.value)

            asyncio.get_running_loop().call_soon(acquire_in_a_callback)
            await turns()
            assert "held by no task" in inside.holder_of(pool, got[0])
            await pool.release(got[0])

    run(main())


def test_a_missing_package_is_named_in_this_process_too(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, inside.DEBUG_MODULE, None)
    with pytest.raises(ImportError, match="debug mode needs icontract"):
        AsyncResourcePool(object, debug=True)


def test_contracts_are_still_on() -> None:
    machine = inside.new_machine("contracts", 1, kind=checked(ClosesNothingAtOpen))
    with pytest.raises(GuaranteeViolationError):
        machine.open()


@pytest.mark.guarantees("NoDoubleRelease")
@pytest.mark.parametrize("way", ["leaving", "release", "discard", "detach"])
def test_every_way_to_end_the_lease_of_a_context_ends_it_for_the_contracts(way: str) -> None:
    async def main() -> None:
        async with AsyncResourcePool(object, max_size=1, debug=True) as pool:
            async with pool.acquire_context() as resource:
                if way != "leaving":
                    await getattr(pool, way)(resource)
                    await pool.acquire()  # another's, which leaving leaves alone
            assert pool.in_use_count == (way != "leaving")
            pool.terminate()

    run(main())
