"""This example shows actors of Ray in a pool, on a cluster of three nodes that loses one.

Calls on the lost node fail, and their callers call again. The pool replaces the dead actors.

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

from nodetool.concurrency import INTERRUPTIONS, AsyncResourcePool
from servers.ray_cluster import Actor, RayActorError, Squares, ask, ray, run

PLACE = {"num_cpus": 0.1, "resources": {"seat": 1}, "scheduling_strategy": "SPREAD"}


async def start() -> Actor:
    while True:  # until creation_timeout, because Ray may choose a node that is lost already
        actor = ray.remote(Squares).options(**PLACE).remote()
        try:
            await actor.node.remote()  # returns when the actor is ready
            return actor
        except BaseException as error:
            ray.kill(actor)
            if not isinstance(error, RayActorError) or error.actor_init_failed:
                raise


def make_pool() -> AsyncResourcePool[Actor]:
    return AsyncResourcePool(
        start,
        ray.kill,
        max_size=6,  # two of the three nodes have room for so many
        min_size=6,
        acquisition_timeout=60,
        creation_timeout=50,
        check=lambda actor: actor.node.remote(),  # raises if the actor is dead
        check_after_idle=0,  # a node can be lost at any moment, so the check runs before every use
        discard_on=(*INTERRUPTIONS, RayActorError),  # busy with the call, dead, or cut off
    )


async def square(pool: AsyncResourcePool[Actor], number: int, attempts: int = 5) -> int:
    try:
        async with pool.acquire_context() as actor:
            return await ask(actor, number)
    except RayActorError:  # the actor may have done the work, but doing it twice is harmless
        if attempts == 1:
            raise
    return await square(pool, number, attempts - 1)


run(make_pool, square)
