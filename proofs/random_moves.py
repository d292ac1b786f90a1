"""Random steps of a machine, for the checkers of its contracts."""

from __future__ import annotations

import random
from collections.abc import Iterator

from nodetool.concurrency._errors import ResourcePoolError
from nodetool.concurrency.verify._walk import World

__all__ = ["random_moves"]


def random_moves(world: World, seed: int) -> Iterator[str]:
    """Make up to 60 random moves, few of them the end. Yield the action of each allowed move."""
    rng = random.Random(seed)
    for _ in range(60):
        move = rng.choice(list(world.moves()))
        if move.action in ("Close", "Terminate") and rng.random() < 0.9:
            continue
        try:
            world.make(move)
        except ResourcePoolError:
            continue
        yield move.action
