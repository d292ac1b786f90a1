"""Worker processes that answer line by line and are expensive to start."""

from __future__ import annotations

import asyncio
import json
import sys
from asyncio.subprocess import PIPE, Process
from decimal import Decimal

from bench.gains.work import (
    Measured,
    Source,
    Way,
    Work,
    WrongError,
    new_each_time,
    nothing_lacks,
    pooled,
    timed,
)
from bench.size import Size

MAX_SIZE = 2
PROGRAM = """
import json, sys
from decimal import Decimal

for line in sys.stdin:
    print(json.dumps(str(Decimal(json.loads(line)).sqrt())), flush=True)
"""


async def start() -> Process:
    """Start a worker in a session of its own, so that Ctrl-C does not reach it. It ends with us."""
    return await asyncio.create_subprocess_exec(
        sys.executable, "-c", PROGRAM, stdin=PIPE, stdout=PIPE, start_new_session=True
    )


async def stop(worker: Process) -> None:
    """Close the worker's input, which ends the worker."""
    try:
        await worker.communicate(b"")
    except BaseException:
        if worker.returncode is None:
            worker.kill()
        await worker.wait()
        raise
    if worker.returncode:
        raise WrongError(f"a worker ended with {worker.returncode}")


async def ask(worker: Process, number: int) -> None:
    """Send one request and check the answer."""
    assert worker.stdin is not None
    assert worker.stdout is not None
    worker.stdin.write(f"{json.dumps(number)}\n".encode())
    await worker.stdin.drain()
    answer = await worker.stdout.readline()
    if not answer or json.loads(answer) != str(Decimal(number).sqrt()):
        raise WrongError(f"the square root of {number}: {answer!r}")


async def requests(way: Way[Process], size: Size) -> Measured:
    """Measure requests: each use of a worker is one request."""
    tasks, rounds = size.count(8, least=4), size.count(5)
    return await timed(Source(start, stop), way, tasks, rounds, ask)


POOL = f"pool of {MAX_SIZE}"

WORKERS = Work(
    "worker processes",
    f"40 requests by 8 tasks to Python processes, {MAX_SIZE} at once either way",
    requests,
    {"a new process for each": new_each_time(at_once=MAX_SIZE), POOL: pooled(MAX_SIZE)},
    POOL,
    nothing_lacks,
)
