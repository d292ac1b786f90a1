"""Concurrency tools: a generic, formally specified asyncio resource pool."""

from typing import TYPE_CHECKING, Any

from ._errors import (
    DuplicateResourceError,
    InvalidReleaseError,
    ResourcePoolClosedError,
    ResourcePoolError,
    ResourcePoolExhaustedError,
    ResourcePoolLoopError,
    ResourcePoolTimeoutError,
)
from ._interruptions import INTERRUPTIONS, is_interruption
from ._stats import PoolLease, PoolSettings, PoolStats
from .async_resource_pool import AsyncResourcePool

if TYPE_CHECKING:
    from .listener import PoolEvent, PoolGauges, PoolListener

__all__ = [
    "INTERRUPTIONS",
    "AsyncResourcePool",
    "DuplicateResourceError",
    "InvalidReleaseError",
    "PoolEvent",
    "PoolGauges",
    "PoolLease",
    "PoolListener",
    "PoolSettings",
    "PoolStats",
    "ResourcePoolClosedError",
    "ResourcePoolError",
    "ResourcePoolExhaustedError",
    "ResourcePoolLoopError",
    "ResourcePoolTimeoutError",
    "is_interruption",
]


def __getattr__(name: str) -> Any:
    """Import on demand what only pools with a listener need."""
    if name in ("PoolEvent", "PoolGauges", "PoolListener"):
        from . import listener

        return getattr(listener, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    """List the public names, also those that are imported on demand."""
    return sorted({*globals(), *__all__})
