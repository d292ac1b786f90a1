"""Random steps of a machine, as whoever looks at its contracts takes them."""

from __future__ import annotations

import random
from collections.abc import Iterator

from nodetool.concurrency._errors import ResourcePoolError
from nodetool.concurrency.verify._walk import World

__all__ = ["random_moves"]


def random_moves(world: World, seed: int) -> Iterator[str]:
    """Make up to 60 moves at random, the end rarely; tell the action of each that was allowed."""
    rng = random.Random(seed)
    for _ in range(60):
        move = rng.choice(list(world.moves()))
        if move[0] in ("Close", "Terminate") and rng.random() < 0.9:
            continue
        try:
            world.make(move)
        except ResourcePoolError:
            continue
        yield move[0]
