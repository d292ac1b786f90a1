"""The machines of `proofs.broken_machines`, for tests that still import them from here."""

from proofs.broken_machines import (
    BROKEN,
    DoesNotCountClosing,
    FailsEverybody,
    ForgetsHandedOver,
    HandsToTwo,
    LetsWaitersSleep,
    ServesNewestFirst,
    ServesWhileClosing,
)

__all__ = [
    "BROKEN",
    "DoesNotCountClosing",
    "FailsEverybody",
    "ForgetsHandedOver",
    "HandsToTwo",
    "LetsWaitersSleep",
    "ServesNewestFirst",
    "ServesWhileClosing",
]
