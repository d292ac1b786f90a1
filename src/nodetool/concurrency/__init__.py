"""Concurrency tools: a generic, formally specified asyncio resource pool."""

from typing import TYPE_CHECKING, Any

from ._acquire_context import AcquireContext
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
from ._stats import PoolGauges, PoolLease, PoolSettings, PoolStats
from .async_resource_pool import AsyncResourcePool

if TYPE_CHECKING:
    from ._types import Seconds
    from .listener import PoolEvent, PoolListener

__all__ = [
    "INTERRUPTIONS",
    "AcquireContext",
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
    "Seconds",
    "is_interruption",
]

__version__ = "0.2.0"

# Tracebacks, `repr` and documentation show these names, so they must not show private modules.
for _public in (
    AcquireContext,
    DuplicateResourceError,
    InvalidReleaseError,
    PoolGauges,
    PoolLease,
    PoolSettings,
    PoolStats,
    ResourcePoolClosedError,
    ResourcePoolError,
    ResourcePoolExhaustedError,
    ResourcePoolLoopError,
    ResourcePoolTimeoutError,
    is_interruption,
):
    _public.__module__ = __name__
    for _member in vars(_public).values():
        if str(getattr(_member, "__module__", "")).startswith(f"{__name__}._"):
            _member.__module__ = __name__


def __getattr__(name: str) -> Any:
    """Import on demand what few programs need at run time."""
    if name == "Seconds":
        from datetime import timedelta

        return float | timedelta
    if name in ("PoolEvent", "PoolListener"):
        from . import listener

        return getattr(listener, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    """List the public names, also those that are imported on demand."""
    return sorted({*globals(), *__all__})
