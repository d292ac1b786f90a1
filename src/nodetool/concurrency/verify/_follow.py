"""Follow a machine that somebody else drives: is every step of it an edge of the graph?

`FollowedMachine` takes the place of a pool's machine, contracts included.
"""

from __future__ import annotations

from typing import Any

from nodetool.concurrency._contracts import CheckedMachine

from ._following import STEPS, Following, NotAnEdgeError

__all__ = ["STEPS", "FollowedMachine", "NotAnEdgeError"]


class FollowedMachine(Following, CheckedMachine[Any]):
    """A machine with contracts, whose steps are looked up in a graph."""
