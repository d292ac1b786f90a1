"""Worker processes in a pool: each lives long, and answers one line of JSON with another.

A worker whose caller was cancelled is ended, not reused: it is still busy, and its late answer
would be taken for the next caller's. One that has died, or has done enough, is replaced.

Output:
    squares by 2 workers: [0, 1, 4, 9, 16, 25, 36, 49]
    an error inside: ZeroDivisionError: division by zero
    too slow: ended after 0.2 s, 1 closed
    died: a worker has died, 2 closed
    as if nothing had happened: 12.0, 3 workers were started
"""

from __future__ import annotations

import asyncio
import json
import os
import sys
import time
from asyncio.subprocess import PIPE, Process
from contextlib import suppress
from operator import truediv
from queue import SimpleQueue
from threading import Thread
from typing import Any

from nodetool.concurrency import AsyncResourcePool


class Worker:
    """A process of our own that computes."""

    def __init__(self, process: Process) -> None:
        self.process = process
        self.calls = 0

    @classmethod
    async def start(cls) -> Worker:
        """Start one. In a session of its own Ctrl-C does not reach it: the pool ends it."""
        command = [sys.executable, __file__, "--worker"]
        return cls(
            await asyncio.create_subprocess_exec(
                *command, stdin=PIPE, stdout=PIPE, limit=2**24, start_new_session=True
            )
        )

    async def stop(self) -> None:
        """Its input ends, and so should it."""
        assert self.process.stdin
        self.process.stdin.close()
        try:
            with suppress(TimeoutError):
                async with asyncio.timeout(2):
                    await self.process.wait()
        finally:
            if self.process.returncode is None:
                self.process.kill()
                await self.process.wait()

    async def call(self, name: str, *arguments: Any) -> Any:
        """Have something computed."""
        assert self.process.stdin
        assert self.process.stdout
        self.calls += 1
        self.process.stdin.write(json.dumps([name, *arguments]).encode() + b"\n")
        await self.process.stdin.drain()
        answer = await self.process.stdout.readline()
        if not answer:
            raise ConnectionError("a worker has died")
        return json.loads(answer)

    def fit(self) -> bool:
        """Whether to go on with it."""
        return self.process.returncode is None and self.calls < 1_000


def workers() -> AsyncResourcePool[Worker]:
    """A pool of workers, to be opened with ``async with``."""
    return AsyncResourcePool(
        Worker.start,
        Worker.stop,
        max_size=2,  # not more than there are cores, if they compute
        max_waiting=100,
        max_idle_time=60,
        acquisition_timeout=10,
        closer_timeout=5,
        check=Worker.fit,
        check_after_idle=0,  # the check costs nothing, so it runs before every use
        discard_on=BaseException,  # whatever stops an exchange may leave an answer behind
        name="workers",
    )


async def call(pool: AsyncResourcePool[Worker], name: str, *arguments: Any) -> Any:
    """Have something computed by any of them."""
    async with pool.acquire_context() as worker:
        result, error = await worker.call(name, *arguments)
    if error is not None:  # a whole answer: this worker is as good as before
        raise RuntimeError(error)
    return result


async def main() -> None:
    """Use it, and let things go wrong."""
    async with workers() as pool:
        squares = await asyncio.gather(*(call(pool, "pow", number, 2) for number in range(8)))
        print(f"squares by {pool.stats().size} workers: {squares}")
        try:
            await call(pool, "divide", 1, 0)
        except RuntimeError as error:
            print(f"an error inside: {error}")
        try:
            async with asyncio.timeout(0.2):
                await call(pool, "sleep", 60)
        except TimeoutError:
            print(f"too slow: ended after 0.2 s, {pool.stats().interrupted} closed")
        try:
            await call(pool, "die", 1)
        except ConnectionError as error:
            print(f"died: {error}, {pool.stats().interrupted} closed")
        result = await call(pool, "divide", 144, 12)
        print(f"as if nothing had happened: {result}, {pool.stats().created} workers were started")


# ---------------------------------------------------------------------- what runs in the processes


def work() -> None:
    """Answer line by line, and end with the input, however busy: then whoever asked is gone."""
    functions = {"pow": pow, "divide": truediv, "sleep": time.sleep, "die": os._exit}
    lines: SimpleQueue[bytes] = SimpleQueue()

    def read() -> None:
        for line in sys.stdin.buffer:
            lines.put(line)
        os._exit(0)

    Thread(target=read, daemon=True).start()
    while True:
        name, *arguments = json.loads(lines.get())
        try:
            answer = [functions[name](*arguments), None]  # type: ignore[operator]
        except Exception as error:
            answer = [None, f"{type(error).__name__}: {error}"]
        print(json.dumps(answer), flush=True)


if __name__ == "__main__":
    if sys.argv[1:] == ["--worker"]:
        work()
    else:
        asyncio.run(main())
