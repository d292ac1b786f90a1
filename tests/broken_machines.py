"""The machines of `proofs.broken_machines`, for tests that still import them from here."""

from proofs.broken_machines import (
    BROKEN,
    ClosesAndClosesAgain,
    ClosesNothingAtOpen,
    ClosesWhatIsHeld,
    DoesNotCountClosing,
    FailsEverybody,
    ForgetsHandedOver,
    HandsToTwo,
    LetsWaitersSleep,
    ServesNewestFirst,
    ServesWhileClosing,
    TakesAnyRelease,
)

__all__ = [
    "BROKEN",
    "ClosesAndClosesAgain",
    "ClosesNothingAtOpen",
    "ClosesWhatIsHeld",
    "DoesNotCountClosing",
    "FailsEverybody",
    "ForgetsHandedOver",
    "HandsToTwo",
    "LetsWaitersSleep",
    "ServesNewestFirst",
    "ServesWhileClosing",
    "TakesAnyRelease",
]
