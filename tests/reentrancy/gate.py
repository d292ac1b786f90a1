"""The private state that this package needs: the gate of a pool, and the size of batches."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any
from unittest import mock

from nodetool.concurrency import AsyncResourcePool
from nodetool.concurrency._runtime import work
from tests.inside import Driver


def is_closed(pool: AsyncResourcePool[Any]) -> bool:
    """Tell whether a step of the pool is in progress."""
    return pool._driver.busy


@contextmanager
def ignored() -> Iterator[None]:
    """Run all pools with a gate that is always open."""
    always_open = property(lambda _: False, lambda _, closed: None)
    with mock.patch.object(Driver, "busy", always_open):
        yield


@contextmanager
def batches_of(count: int) -> Iterator[None]:
    """Start at most so many pieces of queued work in one turn of the loop."""
    with mock.patch.object(work, "BATCH", count):
        yield
