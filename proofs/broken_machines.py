"""Machines with one bug each. Every checker must tell them apart from the machine of the pool.

The table `BROKEN` has for each machine the guarantee or the rule that it breaks, and a model in
whose bounds the bug shows. There is at least one machine for each guarantee and each rule.

python -m proofs.broken_machines    compare all of them with the graphs of the specification
"""

from __future__ import annotations

from collections.abc import Iterable
from functools import cache
from typing import Any

from nodetool.concurrency._machine.counts import Phase
from nodetool.concurrency._machine.machine import PoolMachine
from nodetool.concurrency._machine.observe import action
from nodetool.concurrency._machine.slots import NEVER, Slot, SlotState, Waiter, WaiterState
from nodetool.concurrency.verify._graph import Graph
from nodetool.concurrency.verify._walk import OutputError, RefusalError, by_contents, compare

# Machines whose hand-overs, leases, closings or outcomes are wrong.


class ForgetsHandedOver(PoolMachine[Any]):
    """A machine that loses a resource whose acquirer is cancelled after the hand-over."""

    @action("Cancel")
    def cancel(self, waiter: Waiter[Any], now: float) -> None:
        if waiter.state is WaiterState.HANDED:
            self._cancelled += 1
            waiter.state, waiter.slot = WaiterState.DONE, None
        else:
            super().cancel(waiter, now)


class ServesNewestFirst(PoolMachine[Any]):
    """A machine that hands a resource to the acquirer that came last."""

    def _hand_to(self, waiter: Waiter[Any], slot: Slot[Any]) -> None:
        if self._queue:
            newest = self._queue.take_last()
            assert newest is not None
            self._queue.appendleft(waiter)
            waiter = newest
        super()._hand_to(waiter, slot)


class DoesNotCountClosing(PoolMachine[Any]):
    """A machine that creates as if each closer had ended when it starts."""

    def _settle(self, failed: bool = False) -> None:
        size = self._max_size
        self._max_size += self._closing
        try:
            super()._settle(failed)
        finally:
            self._max_size = size


class KeepsFailureToItself(PoolMachine[Any]):
    """A machine that passes a failed creation's slot on to nobody."""

    @action("CreateFailed")
    def create_failed(self, slot: Slot[Any], error: BaseException) -> bool:
        if slot.state is not SlotState.CREATING:
            raise self._refusal("create_failed", slot)
        self._creating -= 1
        self._creation_failures += 1
        self._retired_creations -= slot.generation != self._generation
        self._free(slot)
        self._cap_disowned()
        return False


def make_current(machine: PoolMachine[Any], slot: Slot[Any]) -> None:
    """Move a slot to the present generation."""
    machine._alive[slot.generation] -= 1
    if not machine._alive[slot.generation]:
        del machine._alive[slot.generation]
    slot.generation = machine._generation
    machine._alive[slot.generation] = machine._alive.get(slot.generation, 0) + 1


class StampsGenerationLate(PoolMachine[Any]):
    """A machine that gives a resource the generation in which its creation ends."""

    @action("CreateSucceeded")
    def create_succeeded(
        self, slot: Slot[Any], resource: Any, now: float, expires_at: float = NEVER
    ) -> None:
        if slot.state is SlotState.CREATING and slot.generation != self._generation:
            make_current(self, slot)
            self._retired_creations -= 1
        super().create_succeeded(slot, resource, now, expires_at)


class PrunesBelowFloor(PoolMachine[Any]):
    """A machine that prunes without looking at the minimum size."""

    def _sweep(self, now: float) -> list[Slot[Any]]:
        least, self._min_size = self._min_size, 0
        try:
            return super()._sweep(now)
        finally:
            self._min_size = least


class HandsOutOld(PoolMachine[Any]):
    """A machine that keeps a resource that has expired in use."""

    @action("Release")
    def release(self, slot: Slot[Any], now: float) -> bool:
        expires_at, slot.expires_at = slot.expires_at, NEVER
        try:
            return super().release(slot, now)
        finally:
            slot.expires_at = expires_at


class ServesWhileClosing(PoolMachine[Any]):
    """A machine that lets waiters wait on when closing starts."""

    @action("Close")
    def close(self) -> None:
        waiting = self.waiters()
        super().close()
        for waiter in waiting:
            waiter.state = WaiterState.WAITING
            self._queue.append(waiter)


class TrustsAfterFailedCheck(PoolMachine[Any]):
    """A machine that goes on to trust idle resources after a failed check."""

    @action("CheckFailed")
    def check_failed(self, slot: Slot[Any], error: BaseException | None = None) -> None:
        if slot.state is not SlotState.CHECKING:
            raise self._refusal("check_failed", slot)
        self._end_check(slot)
        self._close((slot,), "check failed")
        self._cap_disowned()
        self._settle(failed=True)


class KeepsOnTheWrongSide(PoolMachine[Any]):
    """A machine that puts a returned resource where the coldest one belongs."""

    @action("Release")
    def release(self, slot: Slot[Any], now: float) -> bool:
        has_effects = super().release(slot, now)
        if slot.state is SlotState.IDLE:
            (self._ready if slot.ready else self._unchecked).rotate(1)
        return has_effects


class HandsToTwo(PoolMachine[Any]):
    """A machine that hands a resource over and keeps it idle, too."""

    def _hand_to(self, waiter: Waiter[Any], slot: Slot[Any]) -> None:
        super()._hand_to(waiter, slot)
        self._ready.append(slot)


class ClosesTwice(PoolMachine[Any]):
    """A machine that makes a closed resource idle, so that it is closed again."""

    @action("CloserEnded")
    def closer_ended(self, slot: Slot[Any], error: BaseException | None = None) -> None:
        if slot.state is not SlotState.CLOSING:
            raise self._refusal("closer_ended", slot)
        slot.state, slot.ready = SlotState.IDLE, True
        self._closing -= 1
        self._ready.append(slot)


class TimesOutAndStays(PoolMachine[Any]):
    """A machine that leaves an acquirer in the queue after its deadline."""

    def _leave(self, waiter: Waiter[Any]) -> None:
        pass


class ReleasesWhatIsIdle(PoolMachine[Any]):
    """A machine that takes a second release for a first."""

    @action("Release")
    def release(self, slot: Slot[Any], now: float) -> bool:
        if slot.state is SlotState.IDLE:
            (self._ready if slot.ready else self._unchecked).remove(slot)
            slot.state = SlotState.HELD
        return super().release(slot, now)


class FailsEverybody(PoolMachine[Any]):
    """A machine that gives the error of one failed creation to all waiters."""

    @action("CreateFailed")
    def create_failed(self, slot: Slot[Any], error: BaseException) -> bool:
        failed = super().create_failed(slot, error)
        while failed and self._queue:
            self._fail(self._queue.take_first(), error)
        return failed


class Miscounts(PoolMachine[Any]):
    """A machine that counts a discarded resource as released, too."""

    @action("Discard")
    def discard(
        self, slot: Slot[Any], reason: str = "discarded", error: BaseException | None = None
    ) -> None:
        super().discard(slot, reason, error)
        self._closed_for["discarded"] -= 1


class ClosedTooEarly(PoolMachine[Any]):
    """A machine that is closed although creations are in flight."""

    @action("Close")
    def close(self) -> None:
        super().close()
        if self._size == self._creating:
            self._phase = Phase.CLOSED


class LetsWaitersSleep(PoolMachine[Any]):
    """A machine that offers the slot of an ended closer to nobody."""

    @action("CloserEnded")
    def closer_ended(self, slot: Slot[Any], error: BaseException | None = None) -> None:
        if self._phase is Phase.OPEN and slot.state is SlotState.CLOSING:
            self._closing -= 1
            self._free(slot)
        else:
            super().closer_ended(slot, error)


class NeverClosed(PoolMachine[Any]):
    """A machine whose closing does not end with the last closer."""

    @action("CloserEnded")
    def closer_ended(self, slot: Slot[Any], error: BaseException | None = None) -> None:
        super().closer_ended(slot, error)
        if self._phase is Phase.CLOSED:
            self._phase = Phase.CLOSING


class TellsNobodyAtClose(PoolMachine[Any]):
    """A machine that drops the waiters when closing starts, without an error."""

    @action("Close")
    def close(self) -> None:
        before = len(self._outbox.woken)
        super().close()
        while len(self._outbox.woken) > before:
            self._outbox.woken.pop().error = None


class DeafToDeadlines(PoolMachine[Any]):
    """A machine that hears the deadline of the longest-waiting acquirer only."""

    @action("Timeout")
    def timeout(self, waiter: Waiter[Any], error: BaseException | None = None) -> None:
        if waiter.state is WaiterState.WAITING and waiter is not self._queue[0]:
            self._timeouts += 1
        else:
            super().timeout(waiter, error)


class RetiresIdleOnly(PoolMachine[Any]):
    """A machine whose retire_all leaves held resources current."""

    @action("RetireAll")
    def retire_all(self) -> int:
        held = [slot for slot in self.slots() if slot.state is SlotState.HELD]
        generation = super().retire_all()
        for slot in held:
            make_current(self, slot)
        return generation


class WakesNobodyAtHandOver(PoolMachine[Any]):
    """A machine that hands a resource over and does not wake the acquirer."""

    def _hand_to(self, waiter: Waiter[Any], slot: Slot[Any]) -> None:
        super()._hand_to(waiter, slot)
        self._outbox.woken.pop()


class WakesNobodyAtFailure(PoolMachine[Any]):
    """A machine that ends an acquire with an error and does not wake the acquirer."""

    def _fail(self, waiter: Waiter[Any], error: BaseException) -> None:
        super()._fail(waiter, error)
        self._outbox.woken.pop()


class AsksForNoCloser(PoolMachine[Any]):
    """A machine that closes a discarded resource and asks for no closer."""

    @action("Discard")
    def discard(
        self, slot: Slot[Any], reason: str = "discarded", error: BaseException | None = None
    ) -> None:
        super().discard(slot, reason, error)
        self._outbox.work.remove(slot)


class AsksForNoCreation(PoolMachine[Any]):
    """A machine that counts a creation for a new acquirer and asks for none."""

    @action("Acquire")
    def acquire(self, now: float) -> Slot[Any] | Waiter[Any]:
        got = super().acquire(now)
        for slot in [s for s in self._outbox.work if s.state is SlotState.CREATING]:
            self._outbox.work.remove(slot)
        return got


class KeepsLeaseMark(PoolMachine[Any]):
    """A machine that lets a context keep its lease after the release."""

    @action("Release")
    def release(self, slot: Slot[Any], now: float) -> bool:
        context = slot.context
        has_effects = super().release(slot, now)
        slot.context = context
        return has_effects


class LosesLeaseMark(PoolMachine[Any]):
    """A machine whose sweep takes the leases away from contexts."""

    @action("Sweep")
    def sweep(self, now: float) -> list[Slot[Any]]:
        for slot in self.slots():
            slot.context = None
        return super().sweep(now)


class DeniesEffects(PoolMachine[Any]):
    """A machine whose release says that the runtime has nothing to do."""

    @action("Release")
    def release(self, slot: Slot[Any], now: float) -> bool:
        super().release(slot, now)
        return False


class SweepsInSilence(PoolMachine[Any]):
    """A machine whose sweep does not say what it has closed."""

    @action("Sweep")
    def sweep(self, now: float) -> list[Slot[Any]]:
        super().sweep(now)
        return []


class DeniesFailure(PoolMachine[Any]):
    """A machine that says that nobody got the error of a failed creation."""

    @action("CreateFailed")
    def create_failed(self, slot: Slot[Any], error: BaseException) -> bool:
        super().create_failed(slot, error)
        return False


class SkewsAge(PoolMachine[Any]):
    """A machine that gives a resource a longer life than it was told."""

    @action("CreateSucceeded")
    def create_succeeded(
        self, slot: Slot[Any], resource: Any, now: float, expires_at: float = NEVER
    ) -> None:
        super().create_succeeded(slot, resource, now, expires_at + 1)


class SweepsLate(PoolMachine[Any]):
    """A machine that does not lower its deadline when a resource becomes idle."""

    @action("Release")
    def release(self, slot: Slot[Any], now: float) -> bool:
        deadline = self._deadline
        has_effects = super().release(slot, now)
        self._deadline = self._outbox.sweep_at = deadline
        return has_effects


class LosesEarlyExpiry(PoolMachine[Any]):
    """A machine that never expires a resource that came out of the order of expiry."""

    @action("CreateSucceeded")
    def create_succeeded(
        self, slot: Slot[Any], resource: Any, now: float, expires_at: float = NEVER
    ) -> None:
        super().create_succeeded(slot, resource, now, expires_at)
        self._ages._early.clear()


class CountsRefusedReleases(PoolMachine[Any]):
    """A machine whose refused release changes a number."""

    @action("Release")
    def release(self, slot: Slot[Any], now: float) -> bool:
        self._acquired += 1
        has_effects = super().release(slot, now)
        self._acquired -= 1
        return has_effects


# Work, checks and trust.


class KeepsItsDisowned(PoolMachine[Any]):
    """A machine that never disowns work."""

    def _leave(self, waiter: Waiter[Any]) -> None:
        super()._leave(waiter)
        self._disowned = 0


class DisownsForEver(PoolMachine[Any]):
    """A machine that goes on to disown work that has ended."""

    def _cap_disowned(self) -> None:
        pass


class RetiresNoChecks(PoolMachine[Any]):
    """A machine that takes a check in flight for current after retire_all."""

    def _retire(self) -> None:
        super()._retire()
        self._retired_checks = 0


class AsksForNoCheck(PoolMachine[Any]):
    """A machine that changes a slot's state, and asks for no work."""

    def _settle(self, failed: bool = False) -> None:
        super()._settle(failed)
        work = [slot for slot in self._outbox.work if slot.state is not SlotState.CHECKING]
        self._outbox.work.clear()
        self._outbox.work.extend(work)


class CreatesBeforeItChecks(PoolMachine[Any]):
    """A machine that always starts a creation before a check."""

    def _settle(self, failed: bool = False) -> None:
        super()._settle(failed=True)


class ChecksOnAfterFailure(PoolMachine[Any]):
    """A machine that starts the next check after a failed one, though a creation has room."""

    def _settle(self, failed: bool = False) -> None:
        super()._settle(failed=False)


class StartsNoCheck(PoolMachine[Any]):
    """A machine that starts no check while the limit leaves no room for a creation."""

    def _settle(self, failed: bool = False) -> None:
        if self._queue.live and self._size == self._max_size:
            return
        super()._settle(failed)


class TrustsForEver(PoolMachine[Any]):
    """A machine that trusts a resource for as long as it is idle."""

    def _expire_trust(self, now: float) -> None:
        pass


class SkewsTrust(PoolMachine[Any]):
    """A machine that trusts a resource for longer than it was told."""

    def _return(self, slot: Slot[Any], now: float) -> None:
        super()._return(slot, now)
        slot.trusted_until += 1


class ChecksAgainAtResume(PoolMachine[Any]):
    """A machine whose failed check withdraws the trust in resources that are handed over, too."""

    def _hand_to(self, waiter: Waiter[Any], slot: Slot[Any]) -> None:
        super()._hand_to(waiter, slot)
        slot.reason = ""

    @action("CheckFailed")
    def check_failed(self, slot: Slot[Any], error: BaseException | None = None) -> None:
        super().check_failed(slot, error)
        for other in self.slots():
            if other.state is SlotState.HANDED:
                other.reason = "in doubt"

    @action("Resume")
    def resume(self, waiter: Waiter[Any], now: float) -> Slot[Any] | Waiter[Any] | None:
        slot = waiter.slot
        if slot is None or not slot.reason or slot.generation != self._generation:
            return super().resume(waiter, now)
        waiter.slot = slot.waiter = None
        self._handed -= 1
        slot.state = SlotState.CHECKING
        self._checking += 1
        self._outbox.work.append(slot)
        self._wait(waiter)
        return waiter


class SkipsReset(PoolMachine[Any]):
    """A machine that uses a released resource again without its reset."""

    @action("Release")
    def release(self, slot: Slot[Any], now: float) -> bool:
        resets, self._resets = self._resets, False
        try:
            return super().release(slot, now)
        finally:
            self._resets = resets


class ReusesAfterFailedReset(PoolMachine[Any]):
    """A machine that keeps a resource whose reset failed."""

    @action("ResetFailed")
    def reset_failed(self, slot: Slot[Any], error: BaseException | None = None) -> None:
        if self._phase is Phase.OPEN:
            self.reset_passed(slot, 0.0)
        else:
            super().reset_failed(slot, error)


# Limits, the order of reuse, reasons and the end.


class ResizesOnly(PoolMachine[Any]):
    """A machine whose lowered limit closes nothing."""

    @action("Resize")
    def resize(self, max_size: int, min_size: int) -> list[Slot[Any]]:
        if self._phase is Phase.OPEN:
            self._max_size, self._min_size = max_size, min_size
            self._settle()
            return []
        return super().resize(max_size, min_size)


class ShrinksNewestFirst(PoolMachine[Any]):
    """A machine whose lowered limit closes the resource that was used last."""

    @action("Resize")
    def resize(self, max_size: int, min_size: int) -> list[Slot[Any]]:
        for queue in (self._ready, self._unchecked):
            queue.reverse()
        closed = super().resize(max_size, min_size)
        for queue in (self._ready, self._unchecked):
            queue.reverse()
        return closed


class IgnoresResize(PoolMachine[Any]):
    """A machine whose limits stay as they are."""

    @action("Resize")
    def resize(self, max_size: int, min_size: int) -> list[Slot[Any]]:
        return super().resize(self._max_size, self._min_size)


class KeepsSurplus(PoolMachine[Any]):
    """A machine that keeps a resource that comes back, although the limit was lowered."""

    def _return(self, slot: Slot[Any], now: float) -> None:
        size, self._max_size = self._max_size, self._size + 1
        try:
            super()._return(slot, now)
        finally:
            self._max_size = size


class CreatesBeyondLimit(PoolMachine[Any]):
    """A machine that creates for a waiter while more exists than the limit allows."""

    def _settle(self, failed: bool = False) -> None:
        size = self._max_size
        if self._size > size:
            self._max_size = self._size + 1
        try:
            super()._settle(failed)
        finally:
            self._max_size = size


class ResizesInSilence(PoolMachine[Any]):
    """A machine whose resize does not say what it has closed."""

    @action("Resize")
    def resize(self, max_size: int, min_size: int) -> list[Slot[Any]]:
        super().resize(max_size, min_size)
        return []


class ForgetsDeadlineAtResize(PoolMachine[Any]):
    """A machine that forgets the resources that the minimum size kept, when it is lowered."""

    @action("Resize")
    def resize(self, max_size: int, min_size: int) -> list[Slot[Any]]:
        deadline = self._deadline
        closed = super().resize(max_size, min_size)
        self._deadline = self._outbox.sweep_at = deadline
        return closed


class TakesTheWrongEnd(PoolMachine[Any]):
    """A machine that reuses idle resources in the opposite order."""

    def _take(self, queue: Any) -> Slot[Any] | None:
        self._fifo = not self._fifo
        try:
            return super()._take(queue)
        finally:
            self._fifo = not self._fifo


class IgnoresFifo(PoolMachine[Any]):
    """A machine that reuses the resource used last, whatever its options say."""

    def _take(self, queue: Any) -> Slot[Any] | None:
        slot: Slot[Any] | None = queue.take_last()
        return slot


class PrunesNewestFirst(PoolMachine[Any]):
    """A machine that prunes the resource that became idle last."""

    def _sweep(self, now: float) -> list[Slot[Any]]:
        self._ready.reverse()
        swept = super()._sweep(now)
        self._ready.reverse()
        return swept


class ClosesTheFit(PoolMachine[Any]):
    """A machine that closes each resource that comes back."""

    @action("Release")
    def release(self, slot: Slot[Any], now: float) -> bool:
        keeps, self._max_size = self._max_size, 0
        if slot.state is not SlotState.HELD:
            self._max_size = keeps
            raise self.invalid_release(slot.state)
        slot.context = None
        self._return(slot, now)
        self._max_size = keeps
        self._settle()
        return True


class SwapsReasons(PoolMachine[Any]):
    """A machine that takes what has expired for pruned."""

    def _close(self, slots: Iterable[Slot[Any]], reason: str) -> None:
        super()._close(slots, "pruned" if reason == "expired" else reason)


class CountsTwoReasons(PoolMachine[Any]):
    """A machine that counts each retired resource as closed, too."""

    def _close(self, slots: Iterable[Slot[Any]], reason: str) -> None:
        super()._close(slots, reason)
        self._closed_for["closed down"] += reason == "retired" and self._phase is Phase.OPEN


class FailsNewest(PoolMachine[Any]):
    """A machine that gives the error of a failed creation to the acquirer that came last."""

    def _fail(self, waiter: Waiter[Any], error: BaseException) -> None:
        if self._phase is Phase.OPEN and not isinstance(error, TimeoutError) and self._queue:
            newest = self._queue.take_last()
            assert newest is not None
            self._queue.appendleft(waiter)
            waiter = newest
        super()._fail(waiter, error)


class GivesUpFloor(PoolMachine[Any]):
    """A machine whose back-off of the minimum size does not end."""

    @action("RetryFloor")
    def retry_floor(self) -> None:
        pass


class TerminatesGently(PoolMachine[Any]):
    """A machine whose terminate waits for the users."""

    @action("Terminate")
    def terminate(self) -> None:
        self.close()


class TerminateCloses(PoolMachine[Any]):
    """A machine whose terminate closes what users hold."""

    @action("Terminate")
    def terminate(self) -> None:
        if self._phase is Phase.OPEN:
            self._begin_closing()
        for slot in self.slots():
            if slot.state is SlotState.HELD:
                slot.context = None
                self._close((slot,), "retired")
        self._settle()


Broken = tuple[str, type[PoolMachine[Any]], str]

BROKEN: tuple[Broken, ...] = (
    ("SizeWithinLimit", DoesNotCountClosing, "Wide"),
    ("SingleHolder", HandsToTwo, "Wide"),
    ("NothingLost", ForgetsHandedOver, "Wide"),
    ("RetiredStaysRetired", StampsGenerationLate, "Wide"),
    ("OnlyFitHandedOut", HandsOutOld, "Deep"),
    ("FailedCheckWithdrawsTrust", TrustsAfterFailedCheck, "Fifo"),
    ("NothingAfterClose", ServesWhileClosing, "Wide"),
    ("ClosedExactlyOnce", ClosesTwice, "Wide"),
    ("OneOutcome", TimesOutAndStays, "Wide"),
    ("NoDoubleRelease", ReleasesWhatIsIdle, "Wide"),
    ("FifoService", ServesNewestFirst, "Wide"),
    ("FaultIsolation", FailsEverybody, "Wide"),
    ("CountsAgree", Miscounts, "Wide"),
    ("CloseWaits", ClosedTooEarly, "Wide"),
    ("WaiterServed", LetsWaitersSleep, "Wide"),
    ("FailureFreesSlot", KeepsFailureToItself, "Wide"),
    ("CloseCompletes", NeverClosed, "Wide"),
    ("PruningKeepsFloor", PrunesBelowFloor, "Deep"),
    ("WaitersFailAtClose", TellsNobodyAtClose, "Wide"),
    ("DeadlineKept", DeafToDeadlines, "Wide"),
    ("RetireAllCompletes", RetiresIdleOnly, "Wide"),
    ("ReadyAreLast", KeepsOnTheWrongSide, "Deep"),
    ("OneOutcome", WakesNobodyAtHandOver, "Wide"),
    ("OneOutcome", WakesNobodyAtFailure, "Wide"),
    ("ClosedExactlyOnce", AsksForNoCloser, "Wide"),
    ("CountsAgree", AsksForNoCreation, "Wide"),
    ("NoDoubleRelease", KeepsLeaseMark, "Wide"),
    ("NoDoubleRelease", LosesLeaseMark, "Wide"),
    ("WaiterServed", DeniesEffects, "Wide"),
    ("ClosedExactlyOnce", SweepsInSilence, "Deep"),
    ("FaultIsolation", DeniesFailure, "Wide"),
    ("OnlyFitHandedOut", SkewsAge, "Deep"),
    ("OnlyFitHandedOut", SweepsLate, "Pruning"),
    ("OnlyFitHandedOut", LosesEarlyExpiry, "Deep"),
    ("WaiterServed", KeepsItsDisowned, "Shrinking"),
    ("CountsAgree", DisownsForEver, "Shrinking"),
    ("CountsAgree", RetiresNoChecks, "Checked"),
    ("CountsAgree", AsksForNoCheck, "Shrinking"),
    ("CreationAfterFailedCheck", CreatesBeforeItChecks, "Resizing"),
    ("CreationAfterFailedCheck", ChecksOnAfterFailure, "Resizing"),
    ("WaiterServed", StartsNoCheck, "Shrinking"),
    ("OnlyFitHandedOut", TrustsForEver, "Fifo"),
    ("OnlyFitHandedOut", SkewsTrust, "Fifo"),
    ("WaiterServed", ChecksAgainAtResume, "Doubtful"),
    ("DirtyIsClosed", SkipsReset, "Checked"),
    ("DirtyIsClosed", ReusesAfterFailedReset, "Checked"),
    ("SizeWithinLimit", ResizesOnly, "Resizing"),
    ("ShrinkCompletes", ShrinksNewestFirst, "Resizing"),
    ("ShrinkCompletes", IgnoresResize, "Resizing"),
    ("ShrinkCompletes", KeepsSurplus, "Resizing"),
    ("ShrinkCompletes", CreatesBeyondLimit, "Shrinking"),
    ("ClosedExactlyOnce", ResizesInSilence, "Resizing"),
    ("OnlyFitHandedOut", ForgetsDeadlineAtResize, "Lowering"),
    ("ReuseOrder", TakesTheWrongEnd, "Deep"),
    ("ReuseOrder", IgnoresFifo, "Fifo"),
    ("PruningKeepsFloor", PrunesNewestFirst, "Pruning"),
    ("FitIsReused", ClosesTheFit, "Wide"),
    ("OneReason", SwapsReasons, "Deep"),
    ("CountsAgree", CountsTwoReasons, "Wide"),
    ("FaultIsolation", FailsNewest, "Wide"),
    ("FloorRestored", GivesUpFloor, "Deep"),
    ("TerminateForgets", TerminatesGently, "Wide"),
    ("TerminateForgets", TerminateCloses, "Wide"),
)
"""A guarantee or a rule, a machine that breaks it, and a model that shows it."""

REFUSALS: tuple[type[PoolMachine[Any]], ...] = (CountsRefusedReleases,)
"""Machines that a walk finds and no contract, because contracts are about allowed steps."""


def difference(graph: Graph, machine: type[PoolMachine[Any]]) -> str:
    """Say how a machine with a bug leaves a graph. Return nothing if it does not.

    The second walk takes long if there is no difference. It tells worlds apart by what a state of
    the graph does not show.
    """
    try:
        return compare(graph, machine).problem or compare(graph, machine, key=by_contents).problem
    except RefusalError as error:
        return f"refusal: {error}"
    except OutputError as error:
        return f"output: {error}"
    except (AssertionError, AttributeError, IndexError, KeyError, ValueError) as error:
        return f"crash: {error!r}"  # no state of the specification any more


if __name__ == "__main__":
    graphs = cache(Graph.frozen)
    for guarantee, broken, model in BROKEN:
        print(guarantee, broken.__name__, model, difference(graphs(model), broken), flush=True)
    for broken in REFUSALS:
        print("refusal", broken.__name__, "Wide", difference(graphs("Wide"), broken), flush=True)
