"""Random steps of a machine, for the checkers of its contracts."""

from __future__ import annotations

import random
from collections.abc import Iterator, Mapping
from typing import Any

from nodetool.concurrency._errors import ResourcePoolError
from nodetool.concurrency.verify._graph import limits_of
from nodetool.concurrency.verify._walk import Move, World

__all__ = ["BareWorld", "random_moves", "random_walks"]

WEIGHTS = {
    "Close": 0.03,
    "Terminate": 0.03,
    "RetireAll": 0.2,
    "Resize": 0.3,
    "Sweep": 0.3,
    "Open": 0.1,
    "RetryFloor": 0.3,
    "Timeout": 0.4,
    "Cancel": 0.4,
    "CreateFailed": 0.4,
    "CreateLate": 0.3,
    "Detach": 0.2,
    "Resume": 3.0,
    "Release": 1.5,
}
STATES = {
    "Resume": "handed",
    "Timeout": "waiting",
    "CreateSucceeded": "creating",
    "CreateFailed": "creating",
    "CreateLate": "creating",
    "CheckPassed": "checking",
    "CheckFailed": "checking",
    "ResetPassed": "resetting",
    "ResetFailed": "resetting",
    "CloserEnded": "closing",
}
"""The states of the subjects without which an action is refused. Other actions try their luck."""


def is_likely(world: World, move: Move) -> bool:
    """Tell whether a move is worth a try: whether it is not surely refused."""
    if move.action not in STATES:
        return True
    subject = world.got[move.on] if isinstance(move.on, str) else world.named[move.on]
    return subject is not None and subject.state.value == STATES[move.action]


def random_moves(world: World, seed: int) -> Iterator[str]:
    """Make up to 60 random moves of a world, few of them the end. Yield each allowed action.

    Each action is equally likely, however many subjects it has, but weighted.
    """
    rng = random.Random(seed)
    for _ in range(60):
        choices: dict[str, list[Move]] = {}
        for move in world.moves():
            if is_likely(world, move):
                choices.setdefault(move.action, []).append(move)
        names = list(choices)
        (action,) = rng.choices(names, [WEIGHTS.get(name, 1.0) for name in names])
        try:
            world.make(rng.choice(choices[action]))
        except ResourcePoolError:
            continue
        yield action


class BareWorld(World):
    """A world that leaves it to the contracts to look at outputs."""

    def step(self, move: Move, args: tuple[Any, ...]) -> Any:
        return self.take(move.action, args)


def random_walks(
    constants: Mapping[str, Any], machine: type[Any], count: int
) -> Iterator[Iterator[str]]:
    """Yield so many random walks of a machine, each pair of limits in its turn."""
    sizes = limits_of(constants)
    for seed in range(count):
        yield random_moves(BareWorld(constants, sizes[seed % len(sizes)], machine), seed)
