"""Ray actors in a pool: where one machine is not enough, the resources live on a cluster.

A simulated cluster of three nodes loses one of them in the middle of the work. Calls that were on
their way to it fail with Ray's error, which their caller sees and answers by trying again; the pool
closes the dead actors and makes new ones, which Ray puts on the nodes that are left.

Needs Ray: pip install 'nodetool-concurrency[ray]'

Output:
    3 nodes, 6 actors on 3 of them
    a node is lost after 100 of 300 calls
    ...
    300 answers to 300 calls, none of them wrong
    some calls failed with the node, and were tried again: True
    ...
    2 nodes, 6 actors on 2 of them, none dead
    ...
"""

from __future__ import annotations

import asyncio
import logging
import os
import sys
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from tempfile import TemporaryDirectory
from typing import Any

from nodetool.concurrency import INTERRUPTIONS, AsyncResourcePool

try:
    os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
    import ray
    from ray.cluster_utils import Cluster
    from ray.exceptions import ActorDiedError, RayError
except ImportError:
    print("This needs Ray: pip install 'nodetool-concurrency[ray]'", file=sys.stderr)
    sys.exit(2)

ACTORS, CALLS, TASKS = 6, 300, 18


class Squares:
    """What runs on the cluster."""

    def node(self) -> str:
        """Where it is."""
        return str(ray.get_runtime_context().get_node_id())

    async def square(self, number: int) -> int:
        """Some work."""
        await asyncio.sleep(0.02)
        return number * number


async def create() -> Any:
    """An actor that is there: Ray itself answers before the actor lives."""
    while True:
        actor = ray.remote(Squares).options(num_cpus=0.1, scheduling_strategy="SPREAD").remote()
        try:
            await actor.node.remote()
        except ActorDiedError:  # put on a node of which Ray does not know yet that it is lost
            continue
        except BaseException:
            ray.kill(actor)
            raise
        return actor


async def alive(actor: Any) -> None:
    """Raises if it is not: a node takes its actors with it, and nobody is told."""
    async with asyncio.timeout(5):
        await actor.node.remote()


def cluster_pool() -> AsyncResourcePool[Any]:
    return AsyncResourcePool(
        create,
        ray.kill,
        max_size=ACTORS,
        check=alive,
        check_after_idle=1,  # not before each of many short calls
        discard_on=(*INTERRUPTIONS, RayError),  # dead, or perhaps still busy with the call
        creation_timeout=60,
        acquisition_timeout=120,
        name="squares",
    )


class Caller:
    """Calls actors, and tries again if it has to."""

    def __init__(self, pool: AsyncResourcePool[Any]) -> None:
        self.pool = pool
        self.answers: dict[int, int] = {}
        self.failures: Counter[int] = Counter()  # by call
        self.attempts = 0
        self.hundred = asyncio.Event()

    async def call(self, number: int) -> None:
        """Square a number; squaring it twice does no harm, so it may be tried again."""
        while number not in self.answers:
            self.attempts += 1
            try:
                async with self.pool.acquire_context() as actor:
                    self.answers[number] = await actor.square.remote(number)
            except RayError:
                self.failures[number] += 1
        if len(self.answers) >= 100:
            self.hundred.set()

    async def work(self, numbers: Iterator[int]) -> None:
        for number in numbers:  # the tasks share them
            await self.call(number)


async def homes(pool: AsyncResourcePool[Any]) -> Counter[str]:
    """How many actors each node has: all of them are taken at once."""
    ready = asyncio.Barrier(ACTORS)

    async def home() -> str:
        async with pool.acquire_context() as actor:
            await ready.wait()
            return str(await actor.node.remote())

    async with asyncio.TaskGroup() as group:
        tasks = [group.create_task(home()) for _ in range(ACTORS)]
    return Counter(task.result() for task in tasks)


async def main(cluster: Cluster) -> None:
    async with cluster_pool() as pool:
        before = await homes(pool)
        print(f"{len(nodes())} nodes, {before.total()} actors on {len(before)} of them")

        caller, numbers = Caller(pool), iter(range(CALLS))
        async with asyncio.TaskGroup() as group:
            for _ in range(TASKS):
                group.create_task(caller.work(numbers))
            await caller.hundred.wait()
            lost = cluster.list_all_nodes()[-1]
            await asyncio.to_thread(cluster.remove_node, lost, allow_graceful=False)
            print(f"a node is lost after 100 of {CALLS} calls")

        right = sum(answer == number**2 for number, answer in caller.answers.items())
        wrong = len(caller.answers) - right
        print(f"{right} answers to {CALLS} calls, {wrong or 'none'} of them wrong")
        again = caller.attempts == CALLS + caller.failures.total() > CALLS
        print(f"some calls failed with the node, and were tried again: {again}")

        await pool.retire_all(wait=True)  # for a fresh look at where Ray puts them now
        after = await homes(pool)
        dead = after.keys() - nodes()
        print(
            f"{len(nodes())} nodes, {after.total()} actors on {len(after)} of them, "
            f"{len(dead) or 'none'} dead"
        )


# From here on: the cluster.


def nodes() -> set[str]:
    """The nodes that are alive."""
    return {node["NodeID"] for node in ray.nodes() if node["Alive"]}


@contextmanager
def a_cluster() -> Iterator[Cluster]:
    """Three nodes of one processor each, all of them on this machine."""
    each: dict[str, Any] = {"num_cpus": 1, "object_store_memory": 80 * 2**20}
    health = {"health_check_period_ms": 500, "health_check_failure_threshold": 4}
    with TemporaryDirectory(dir="/tmp") as folder:  # its sockets want a short path
        os.environ["RAY_TMPDIR"] = folder
        head = {**each, "include_dashboard": False, "_system_config": health}
        cluster = Cluster(initialize_head=True, head_node_args=head)
        try:
            for _ in range(2):
                cluster.add_node(**each)
            ray.init(cluster.address, log_to_driver=False, logging_level=logging.CRITICAL)
            yield cluster
        finally:
            ray.shutdown()
            cluster.shutdown()


if __name__ == "__main__":
    with a_cluster() as running:
        asyncio.run(main(running))
