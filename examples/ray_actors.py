"""Ray actors in a pool: where one machine is not enough, the resources live on a cluster.

A cluster of three nodes, all of them simulated here, loses one in the middle of the work. The calls
that were under way there fail with Ray's error: their callers see it and call again. The pool
closes the dead actors and makes new ones, and Ray puts them on the nodes that are left.

Needs Ray: pip install 'nodetool-concurrency[ray]'

Output:
    a node is lost after 90 of 180 calls
    an idle actor dies
    calls      181 made, 181 answered
    attempts   ... made, 181 answered, ... failed and seen, 0 lost
    actors     before  after
      node 1        2      3
      node 2        2      3
      node 3        2   lost
    pool       ... created, ... interrupted, ... failed a check, 0 left
"""

from __future__ import annotations

import asyncio
import os
import shutil
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import AsyncExitStack, contextmanager, suppress
from tempfile import TemporaryDirectory
from typing import Any

from nodetool.concurrency import INTERRUPTIONS, AsyncResourcePool

os.environ |= {
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_BACKEND_LOG_LEVEL": "error",
    "RAY_DEDUP_LOGS_SKIP_REGEX": ".",  # its messages would be printed among ours
}
try:
    import ray
    from ray.cluster_utils import Cluster
    from ray.exceptions import RayActorError
except ImportError:
    print("This needs Ray: pip install 'nodetool-concurrency[ray]'", file=sys.stderr)
    sys.exit(2)

NODES, SEATS, ACTORS = 3, 3, 6  # what two of the nodes have room for
CALLS, USERS, ATTEMPTS = 180, 12, 5


class Squares:
    """What lives on the cluster."""

    def node(self) -> str:
        """Where it is."""
        return str(ray.get_runtime_context().get_node_id())

    def square(self, number: int) -> int:
        """Work, of 0.1 to 0.3 s."""
        time.sleep(0.1 + number % 5 * 0.05)
        return number**2

    def die(self) -> None:
        """As if the system had run out of memory."""
        os._exit(1)


async def start() -> Any:
    """An actor that is ready: of one that is not, its handle does not even say whether it has a
    place. It may be given one on a node that Ray does not know yet to be lost.
    """
    options = {"num_cpus": 0.1, "resources": {"seat": 1}, "scheduling_strategy": "SPREAD"}
    while True:  # until creation_timeout
        actor = ray.remote(Squares).options(**options).remote()
        try:
            await actor.node.remote()
        except BaseException as error:
            ray.kill(actor)  # it may still be waiting
            if not isinstance(error, RayActorError) or error.actor_init_failed:
                raise
        else:
            return actor


async def ping(actor: Any) -> None:
    """Raises if the actor is dead."""
    await actor.node.remote()


def actors() -> AsyncResourcePool[Any]:
    """A pool of actors, to be opened with ``async with``."""
    return AsyncResourcePool(
        start,
        ray.kill,
        max_size=ACTORS,
        min_size=ACTORS,
        acquisition_timeout=60,
        creation_timeout=50,
        check=ping,
        check_timeout=5,  # of one that is cut off
        check_after_idle=0,  # nodes are lost at any moment, so actors are asked before every use
        discard_on=(*INTERRUPTIONS, RayActorError),  # still busy with the call; dead or cut off
        name="actors",
    )


async def ask(actor: Any, number: int, tally: Counter[str]) -> int:
    """One attempt: it ends in an answer or in an error, and both are counted."""
    tally["made"] += 1
    try:
        answer = await actor.square.remote(number)
    except RayActorError:
        tally["failed"] += 1
        raise
    tally["answered"] += 1
    return int(answer)


async def square(pool: AsyncResourcePool[Any], number: int, tally: Counter[str]) -> int:
    """Have it squared. An actor that died may have done it already: whether to ask again is the
    caller's to decide, and to square twice does no harm.
    """
    attempts = 0
    while True:
        attempts += 1
        try:
            async with pool.acquire_context() as actor:
                return await ask(actor, number, tally)
        except RayActorError:
            if attempts == ATTEMPTS:
                raise


async def homes(pool: AsyncResourcePool[Any]) -> Counter[str]:
    """How many actors each node has: all of them are taken, and asked."""
    async with AsyncExitStack() as stack:
        taken = [await stack.enter_async_context(pool.acquire_context()) for _ in range(ACTORS)]
        return Counter([await actor.node.remote() for actor in taken])


async def main(cluster: Cluster, nodes: list[Any]) -> None:
    """Work, and lose a node meanwhile."""
    tally: Counter[str] = Counter()
    answers: dict[int, int] = {}
    half = asyncio.Event()
    numbers = iter(range(CALLS))

    async def user() -> None:
        for number in numbers:
            answers[number] = await square(pool, number, tally)
            if len(answers) == CALLS // 2:
                half.set()

    async with actors() as pool:
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
        answers[CALLS] = await square(pool, CALLS, tally)  # the check notices, the caller does not

        after = await homes(pool)
    right = sum(answer == number**2 for number, answer in answers.items())
    lost = tally["made"] - tally["answered"] - tally["failed"]
    print(f"calls      {CALLS + 1} made, {right} answered")
    print(
        f"attempts   {tally['made']} made, {tally['answered']} answered, "
        f"{tally['failed']} failed and seen, {lost} lost"
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


# ------------------------------------------------------------ only for this example: the cluster


@contextmanager
def simulated() -> Iterator[tuple[Cluster, list[Any]]]:
    """Nodes that are processes here."""
    with TemporaryDirectory(prefix="ray-", dir="/tmp") as folder:  # its sockets need a short path
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
    """Go on with a network and processes of our own, if the system lets us.

    Ray listens at the machine's address, and has no use for 127.0.0.1 while there is another one.
    And what it has started ends with us, even if we are killed.
    """
    apart = ["unshare", "--user", "--map-root-user", "--net"]
    apart += ["--pid", "--fork", "--kill-child", "--mount-proc"]
    apart += ["sh", "-c", 'ip link set lo up && exec "$@"', "sh"]
    if shutil.which("unshare") and not subprocess.run([*apart, "true"], check=False).returncode:
        os.execvp(apart[0], [*apart, sys.executable, *sys.argv, "--isolated"])


if __name__ == "__main__":
    if sys.argv[1:] != ["--isolated"]:
        isolate()
    with simulated() as (simulation, members):
        asyncio.run(main(simulation, members))
