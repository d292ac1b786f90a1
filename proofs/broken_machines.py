"""Machines with one bug each, at least one for each guarantee. Every checker must tell them apart.

The third column names a model in whose bounds the bug shows.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from nodetool.concurrency._machine.counts import Phase
from nodetool.concurrency._machine.machine import PoolMachine
from nodetool.concurrency._machine.observe import action
from nodetool.concurrency._machine.slots import NEVER, Slot, SlotState, Waiter, WaiterState
from nodetool.concurrency.verify._graph import Graph
from nodetool.concurrency.verify._mapping import UnmappedError
from nodetool.concurrency.verify._walk import (
    OutputError,
    RefusalError,
    by_contents,
    by_order,
    compare,
)


class ForgetsHandedOver(PoolMachine[Any]):
    """A machine that loses a resource whose acquirer is cancelled after the hand-over."""

    @action("Cancel")
    def cancel(self, subject: Waiter[Any] | Slot[Any], now: float) -> None:
        if isinstance(subject, Waiter) and subject.state is WaiterState.HANDED:
            subject.state, subject.slot = WaiterState.DONE, None
        else:
            super().cancel(subject, now)


class ServesNewestFirst(PoolMachine[Any]):
    """A machine that hands a resource to the acquirer that came last."""

    def _hand_to(self, waiter: Waiter[Any], slot: Slot[Any], now: float) -> None:
        if self._queue:
            newest = self._queue.take_last()
            assert newest is not None
            self._queue.appendleft(waiter)
            waiter = newest
        super()._hand_to(waiter, slot, now)


class DoesNotCountClosing(PoolMachine[Any]):
    """A machine that frees a slot when its closer starts."""

    def _close(self, slots: Iterable[Slot[Any]], reason: str = "retired") -> None:
        before = self._closing
        super()._close(slots, reason)
        self._size -= self._closing - before

    @action("CloserEnded")
    def closer_ended(self, slot: Slot[Any]) -> None:
        if slot.state is SlotState.CLOSING:
            self._size += 1
        super().closer_ended(slot)


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
        limits, self._limits = self._limits, self._limits._replace(min_size=0)
        try:
            return super()._sweep(now)
        finally:
            self._limits = limits


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
        waiting = self._queue.members()
        super().close()
        for waiter in waiting:
            waiter.state = WaiterState.WAITING
            self._queue.append(waiter)


class TrustsAfterFailedCheck(PoolMachine[Any]):
    """A machine that goes on to trust idle resources after a failed check."""

    @action("CheckFailed")
    def check_failed(self, slot: Slot[Any], now: float) -> Any:
        epoch = self._epoch
        got = super().check_failed(slot, now)
        self._epoch = epoch
        return got


class KeepsOnTheWrongSide(PoolMachine[Any]):
    """A machine that puts a returned resource where the coldest one belongs."""

    @action("Release")
    def release(self, slot: Slot[Any], now: float) -> bool:
        answer = super().release(slot, now)
        if slot.state is SlotState.IDLE:
            self._idle.rotate(1)
        return answer


class HandsToTwo(PoolMachine[Any]):
    """A machine that hands a resource over and keeps it idle, too."""

    def _hand_to(self, waiter: Waiter[Any], slot: Slot[Any], now: float) -> None:
        super()._hand_to(waiter, slot, now)
        self._idle.append(slot)


class ClosesTwice(PoolMachine[Any]):
    """A machine that makes a closed resource idle, so that it is closed again."""

    @action("CloserEnded")
    def closer_ended(self, slot: Slot[Any]) -> None:
        if slot.state is not SlotState.CLOSING:
            raise self._refusal("closer_ended", slot)
        slot.state = SlotState.IDLE
        self._closing -= 1
        self._idle.append(slot)


class TimesOutAndStays(PoolMachine[Any]):
    """A machine that leaves an acquirer in the queue after its deadline."""

    def _leave_queue(self, waiter: Waiter[Any]) -> None:
        pass


class ReleasesWhatIsIdle(PoolMachine[Any]):
    """A machine that takes a second release for a first."""

    @action("Release")
    def release(self, slot: Slot[Any], now: float) -> bool:
        if slot.state is SlotState.IDLE:
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
    def discard(self, slot: Slot[Any]) -> None:
        super().discard(slot)
        self._discarded -= 1


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
    def closer_ended(self, slot: Slot[Any]) -> None:
        if self._phase is Phase.OPEN and slot.state is SlotState.CLOSING:
            self._closing -= 1
            self._free(slot)
        else:
            super().closer_ended(slot)


class NeverClosed(PoolMachine[Any]):
    """A machine whose closing does not end with the last closer."""

    @action("CloserEnded")
    def closer_ended(self, slot: Slot[Any]) -> None:
        super().closer_ended(slot)
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
    """A machine whose deadlines do not end a check."""

    @action("Timeout")
    def timeout(self, subject: Waiter[Any] | Slot[Any], error: BaseException | None = None) -> None:
        if isinstance(subject, Slot) and subject.state is SlotState.CHECKING:
            self._timeouts += 1
        else:
            super().timeout(subject, error)


class RetiresIdleOnly(PoolMachine[Any]):
    """A machine whose retire_all leaves held resources current."""

    @action("RetireAll")
    def retire_all(self) -> int:
        held = [slot for slot in self.slots() if slot.state is SlotState.HELD]
        generation = super().retire_all()
        for slot in held:
            make_current(self, slot)
        return generation


class CountsRefusedReleases(PoolMachine[Any]):
    """A machine whose refused release changes a number."""

    @action("Release")
    def release(self, slot: Slot[Any], now: float) -> bool:
        self._acquired += 1
        answer = super().release(slot, now)
        self._acquired -= 1
        return answer


# Machines whose states are right, and whose answers or effects are wrong.


class WakesNobodyAtHandOver(PoolMachine[Any]):
    """A machine that hands a resource over and does not wake the acquirer."""

    def _hand_to(self, waiter: Waiter[Any], slot: Slot[Any], now: float) -> None:
        super()._hand_to(waiter, slot, now)
        self._outbox.woken.pop()


class WakesNobodyAtFailure(PoolMachine[Any]):
    """A machine that ends an acquire with an error and does not wake the acquirer."""

    def _fail(self, waiter: Waiter[Any], error: BaseException) -> None:
        super()._fail(waiter, error)
        self._outbox.woken.pop()


class AsksForNoCloser(PoolMachine[Any]):
    """A machine that closes a discarded resource and asks for no closer."""

    @action("Discard")
    def discard(self, slot: Slot[Any]) -> None:
        super().discard(slot)
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
        answer = super().release(slot, now)
        slot.context = context
        return answer


class LosesLeaseMark(PoolMachine[Any]):
    """A machine whose sweep takes the leases away from contexts."""

    @action("Sweep")
    def sweep(self, now: float) -> list[Slot[Any]]:
        for slot in self.slots():
            slot.context = None
        return super().sweep(now)


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
        later = expires_at + 1 if expires_at < NEVER else expires_at
        super().create_succeeded(slot, resource, now, later)


class SweepsLate(PoolMachine[Any]):
    """A machine that does not lower its deadline when a resource becomes idle."""

    @action("Release")
    def release(self, slot: Slot[Any], now: float) -> bool:
        deadline = self._deadline
        answer = super().release(slot, now)
        self._deadline = self._outbox.sweep_at = deadline
        return answer


class LosesEarlyExpiry(PoolMachine[Any]):
    """A machine that never expires a resource that came out of the order of expiry."""

    @action("CreateSucceeded")
    def create_succeeded(
        self, slot: Slot[Any], resource: Any, now: float, expires_at: float = NEVER
    ) -> None:
        super().create_succeeded(slot, resource, now, expires_at)
        self._ages._early.clear()


Broken = tuple[str, type[PoolMachine[Any]], str]

BROKEN: list[Broken] = [
    ("SizeWithinLimit", DoesNotCountClosing, "Wide"),
    ("SingleHolder", HandsToTwo, "Wide"),
    ("NothingLost", ForgetsHandedOver, "Wide"),
    ("OnlyFitHandedOut", StampsGenerationLate, "Wide"),
    ("OnlyFitHandedOut", HandsOutOld, "Wide"),
    ("OnlyFitHandedOut", TrustsAfterFailedCheck, "Checked"),
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
    ("FloorRestored", PrunesBelowFloor, "Deep"),
    ("WaitersFailAtClose", TellsNobodyAtClose, "Wide"),
    ("DeadlineKept", DeafToDeadlines, "Checked"),
    ("RetireAllCompletes", RetiresIdleOnly, "Wide"),
    ("OneOutcome", WakesNobodyAtHandOver, "Wide"),
    ("OneOutcome", WakesNobodyAtFailure, "Wide"),
    ("ClosedExactlyOnce", AsksForNoCloser, "Wide"),
    ("CountsAgree", AsksForNoCreation, "Wide"),
    ("NoDoubleRelease", KeepsLeaseMark, "Wide"),
    ("NoDoubleRelease", LosesLeaseMark, "Wide"),
    ("ClosedExactlyOnce", SweepsInSilence, "Wide"),
    ("FaultIsolation", DeniesFailure, "Wide"),
    ("OnlyFitHandedOut", SkewsAge, "Wide"),
    ("OnlyFitHandedOut", SweepsLate, "Pruning"),
    ("OnlyFitHandedOut", LosesEarlyExpiry, "Wide"),
]

# Machines whose states and edges are those of the specification. Only their outputs are wrong.
WRONG_OUTPUTS = (
    *(WakesNobodyAtHandOver, WakesNobodyAtFailure, AsksForNoCloser, AsksForNoCreation),
    *(KeepsLeaseMark, LosesLeaseMark, SweepsInSilence, DeniesFailure, SkewsAge),
    *(Miscounts, TellsNobodyAtClose),
)


def difference(graph: Graph, machine: type[PoolMachine[Any]]) -> str:
    """Say how a machine with a bug leaves a graph. Return nothing if it does not.

    The second walk takes long if there is no difference. It sees a wrong deadline, which changes
    no state before the limit passes and another step comes.
    """
    try:
        return (
            compare(graph, machine, by_order).problem
            or compare(graph, machine, by_contents).problem
        )
    except RefusalError as error:
        return f"refusal: {error}"
    except OutputError as error:
        return f"output: {error}"
    except (AttributeError, IndexError, KeyError, ValueError, UnmappedError) as error:
        return f"crash: {error!r}"  # no state of the specification any more
