"""Concurrency tools: a generic, formally specified asyncio resource pool."""

from ._errors import (
    DuplicateResourceError,
    InvalidReleaseError,
    ResourcePoolClosedError,
    ResourcePoolError,
    ResourcePoolExhaustedError,
    ResourcePoolLoopError,
    ResourcePoolTimeoutError,
)
from ._stats import PoolStats
from .async_resource_pool import AsyncResourcePool

__all__ = [
    "AsyncResourcePool",
    "DuplicateResourceError",
    "InvalidReleaseError",
    "PoolStats",
    "ResourcePoolClosedError",
    "ResourcePoolError",
    "ResourcePoolExhaustedError",
    "ResourcePoolLoopError",
    "ResourcePoolTimeoutError",
]
