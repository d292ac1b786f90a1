"""This example shows worker processes. Each lives long, and answers one request at a time.

If a caller leaves, its worker still computes. So the pool ends this worker.

Output:
    squares by 2 workers: [0, 1, 4, 9]
    a caller left: 1 worker ended, the next answer: 12.0
"""

import asyncio
import json
import sys
from asyncio.subprocess import PIPE, Process, create_subprocess_exec
from contextlib import suppress
from pathlib import Path
from typing import Any

from nodetool.concurrency import AsyncResourcePool

PROGRAM = Path(__file__).with_name("servers") / "worker.py"


async def start() -> Process:
    command = sys.executable, PROGRAM  # in a session of its own, which Ctrl-C does not reach
    return await create_subprocess_exec(*command, stdin=PIPE, stdout=PIPE, start_new_session=True)


async def stop(worker: Process) -> None:
    with suppress(ProcessLookupError):  # it has ended already
        worker.kill()
    await worker.wait()


async def main() -> None:
    async with AsyncResourcePool(
        start,
        stop,
        max_size=2,  # not more than there are cores
        max_waiting=100,
        acquisition_timeout=10,
        creation_timeout=10,
        check=lambda worker: worker.returncode is None,
        check_after_idle=0,  # the check costs nothing, so it runs before every use
        discard_on=BaseException,  # a late answer must not reach the next caller
    ) as pool:

        async def call(*request: Any) -> Any:
            async with pool.acquire_context() as worker:
                worker.stdin.write(json.dumps(request).encode() + b"\n")  # type: ignore[union-attr]
                return json.loads(await worker.stdout.readline())[0]  # type: ignore[union-attr]

        squares = await asyncio.gather(*(call("pow", number, 2) for number in range(4)))
        print(f"squares by {pool.stats().size} workers: {squares}")
        with suppress(TimeoutError):
            await asyncio.wait_for(call("sleep", 60), 0.2)
        print("a caller left:", pool.stats().interrupted, "worker ended, the next answer:", end=" ")
        print(await call("divide", 144, 12))


asyncio.run(main())
