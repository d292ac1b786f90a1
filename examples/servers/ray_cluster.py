"""A cluster of Ray with three nodes, all simulated here, that loses one of them."""

from __future__ import annotations

import asyncio
import os
import shutil
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Iterator
from contextlib import AsyncExitStack, contextmanager, suppress
from tempfile import TemporaryDirectory
from typing import Any

from nodetool.concurrency import AsyncResourcePool

os.environ |= {
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_BACKEND_LOG_LEVEL": "error",
    "RAY_DEDUP_LOGS_SKIP_REGEX": ".",  # otherwise Ray prints messages of its own
}
try:
    import ray
    from ray.cluster_utils import Cluster
    from ray.exceptions import RayActorError
except ImportError:
    print("This needs Ray: pip install 'nodetool-concurrency[ray]'", file=sys.stderr)
    sys.exit(2)

__all__ = ["Actor", "RayActorError", "Squares", "ask", "ray", "run"]

NODES, SEATS, ACTORS = 3, 3, 6  # two of the nodes have room for the actors
CALLS, USERS = 180, 12

Actor = Any
Pool = AsyncResourcePool[Actor]
attempts: Counter[str] = Counter()  # by their outcome


class Squares:
    """A class whose objects live on the cluster."""

    def node(self) -> str:
        """Return the node."""
        return str(ray.get_runtime_context().get_node_id())

    def square(self, number: int) -> int:
        """Work for 0.1 to 0.3 s."""
        time.sleep(0.1 + number % 5 * 0.05)
        return number**2

    def die(self) -> None:
        """End the process, as the system does if memory runs out."""
        os._exit(1)


async def ask(actor: Actor, number: int) -> int:
    """Make one attempt, and count how it ends."""
    attempts["made"] += 1
    try:
        answer = await actor.square.remote(number)
    except RayActorError:
        attempts["failed"] += 1
        raise
    attempts["answered"] += 1
    return int(answer)


async def homes(pool: Pool) -> Counter[str]:
    """Count the actors of each node: take all of them, and ask them."""
    async with AsyncExitStack() as stack:
        taken = [await stack.enter_async_context(pool.acquire_context()) for _ in range(ACTORS)]
        return Counter([await actor.node.remote() for actor in taken])


async def use(
    cluster: Cluster,
    nodes: list[Any],
    pool: Pool,
    square: Callable[[Pool, int], Awaitable[int]],
) -> None:
    """Let users call, and lose a node meanwhile. Print what has become of the calls."""
    answers: dict[int, int] = {}
    half = asyncio.Event()
    numbers = iter(range(CALLS))

    async def user() -> None:
        for number in numbers:
            answers[number] = await square(pool, number)
            if len(answers) == CALLS // 2:
                half.set()

    async with pool:
        before = await homes(pool)
        async with asyncio.TaskGroup() as users:
            for _ in range(USERS):
                users.create_task(user())
            await half.wait()
            await asyncio.to_thread(cluster.remove_node, nodes[-1], allow_graceful=False)
            print(f"a node is lost after {CALLS // 2} of {CALLS} calls")

        async with pool.acquire_context() as actor:
            pass
        with suppress(RayActorError):
            await actor.die.remote()
        print("an idle actor dies")
        answers[CALLS] = await square(pool, CALLS)  # the check notices, and the caller does not

        after = await homes(pool)
    right = sum(answer == number**2 for number, answer in answers.items())
    lost = attempts["made"] - attempts["answered"] - attempts["failed"]
    print(f"calls      {CALLS + 1} made, {right} answered")
    print(
        f"attempts   {attempts['made']} made, {attempts['answered']} answered, "
        f"{attempts['failed']} failed and seen, {lost} lost"
    )
    print("actors     before  after")
    alive = {node["NodeID"] for node in ray.nodes() if node["Alive"]}
    for number, node in enumerate(nodes, 1):
        left = after[node.node_id] if node.node_id in alive else "lost"
        print(f"  node {number} {before[node.node_id]:8} {left:>6}")
    stats = pool.stats()
    print(
        f"pool       {stats.created} created, {stats.interrupted} interrupted, "
        f"{stats.check_failed} failed a check, {stats.size} left"
    )


@contextmanager
def simulated() -> Iterator[tuple[Cluster, list[Any]]]:
    """Start nodes, which are processes of this machine."""
    with TemporaryDirectory(prefix="ray-", dir="/tmp") as folder:  # sockets need a short path
        os.environ["RAY_TMPDIR"] = folder
        each = {"num_cpus": 1, "resources": {"seat": SEATS}, "object_store_memory": 80 * 2**20}
        head = {
            "include_dashboard": False,
            "_system_config": {"health_check_period_ms": 500, "health_check_failure_threshold": 4},
        }
        cluster = Cluster()
        try:
            nodes = [cluster.add_node(**head, **each)]
            nodes += [cluster.add_node(wait=False, **each) for _ in range(NODES - 1)]
            cluster.wait_for_nodes()
            ray.init(cluster.address, log_to_driver=False, logging_level="ERROR")
            yield cluster, nodes
        finally:
            ray.shutdown()
            cluster.shutdown()


def isolate() -> None:
    """Start this program again in a network and a process space of its own, if this is possible.

    Ray listens at the machine's address, and ignores 127.0.0.1 while there is another address. In
    a process space of its own, everything that Ray has started ends with this program.
    """
    apart = ["unshare", "--user", "--map-root-user", "--net"]
    apart += ["--pid", "--fork", "--kill-child", "--mount-proc"]
    apart += ["sh", "-c", 'ip link set lo up && exec "$@"', "sh"]
    if shutil.which("unshare") and not subprocess.run([*apart, "true"], check=False).returncode:
        os.execvp(apart[0], [*apart, sys.executable, *sys.argv, "--isolated"])


def run(make_pool: Callable[[], Pool], square: Callable[[Pool, int], Awaitable[int]]) -> None:
    """Use the pool on a cluster."""
    if sys.argv[1:] != ["--isolated"]:
        isolate()
    with simulated() as (cluster, nodes):
        asyncio.run(use(cluster, nodes, make_pool(), square))
