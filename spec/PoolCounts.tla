------------------------------ MODULE PoolCounts ------------------------------
(***************************************************************************)
(* The counting model: how many resources are in each state.               *)
(*                                                                         *)
(* It has no identities, no order and no time.  An event changes a few     *)
(* numbers.  Then comes Settle: the pool hands over resources, starts      *)
(* checks and creations, and sees whether closing is complete.  Only the   *)
(* rules of this module decide about numbers.                              *)
(*                                                                         *)
(* PoolQueue refines this module: it adds the order of the waiters.        *)
(***************************************************************************)
EXTENDS Integers

CONSTANTS
    MaxSizes,     \* the values of max_size that resize may choose
    MinSizes,     \* the values of min_size that resize may choose
    MaxCreating,  \* how many creations may be in flight at once
    MaxWaiting    \* how many acquirers may wait without work for them

\* The pairs of max_size and min_size that resize accepts.
Limits == {limit \in MaxSizes \X MinSizes : limit[2] <= limit[1]}

ASSUME /\ MaxSizes \subseteq Nat \ {0} /\ MinSizes \subseteq Nat /\ Limits # {}
       /\ MaxCreating \in Nat \ {0}
       /\ MaxWaiting \in Nat \ {0}

VARIABLE
    numbers  \* a record with these fields:
             \*   creating          creations in flight
             \*   retiredCreations  creations in flight that were retired
             \*   checking          checks in flight
             \*   retiredChecks     checks in flight whose resource was retired
             \*   ready             idle resources that need no check now
             \*   unchecked         idle resources that need a check before their next use
             \*   inUse             resources handed over or held
             \*   resetting         resources whose reset is in flight
             \*   closing           resources whose closing is in flight
             \*   waiting           acquirers in the queue
             \*   disowned          work in flight that no waiter relies on
             \*   maxSize, minSize  the limits in force
             \*   phase             "open", "closing" or "closed"
             \*   floor             the upkeep of the minimum size: "off" before the first
             \*                     use and after closing has started, "on", or "backoff"
             \*                     after a failure

-------------------------------------------------------------------------------
(* The rules.  Each rule is a function of the numbers alone.               *)

Min(a, b) == IF a < b THEN a ELSE b
Max(a, b) == IF a > b THEN a ELSE b

Idle(c) == c.ready + c.unchecked

\* The slots that count against max_size: one for everything that may exist outside.
Size(c) == c.creating + c.checking + Idle(c) + c.inUse + c.resetting + c.closing

\* The size that is left when all closers in flight have ended.
Lasting(c) == Size(c) - c.closing

UsableCreations(c) == c.creating - c.retiredCreations
UsableChecks(c) == c.checking - c.retiredChecks

\* The work in flight whose result may be handed over.
InFlight(c) == UsableCreations(c) + UsableChecks(c)

\* The work in flight that waiters rely on.
ReliedOn(c) == InFlight(c) - c.disowned

\* The part of the size that counts towards the minimum size.
UsableSize(c) == InFlight(c) + Idle(c) + c.inUse + c.resetting

\* How many waiters have no work in flight for them.
Uncovered(c) == Max(0, c.waiting - ReliedOn(c))

\* How many more creations may start.
Room(c) == Max(0, Min(c.maxSize - Size(c), MaxCreating - c.creating))

\* How many checks to start.  Checks come before creations.  After a failed check,
\* creations come before checks, because the checks of other idle resources are then
\* likely to fail, too.
ChecksToStart(c, failed) ==
    IF c.phase # "open" THEN 0
    ELSE LET wanted == IF failed THEN Uncovered(c) - Room(c) ELSE Uncovered(c)
         IN  Max(0, Min(wanted, c.unchecked))

\* How many creations to start after the checks have started: one for each waiter
\* without work, or as many as the minimum size lacks, if that is more.
CreationsToStart(c) ==
    IF c.phase # "open" THEN 0
    ELSE LET forFloor == IF c.floor = "on" THEN c.minSize - UsableSize(c) ELSE 0
         IN  Max(0, Min(Max(Uncovered(c), forFloor), Room(c)))

\* Start the checks and then the creations that are needed.
StartWork(c, failed) ==
    LET n == ChecksToStart(c, failed)
        checked == [c EXCEPT !.checking = @ + n, !.unchecked = @ - n]
    IN  [checked EXCEPT !.creating = @ + CreationsToStart(checked)]

\* Whether one more acquirer may wait.  The pool would first start work for it.  Then at
\* most MaxWaiting acquirers may be without work.
MayWait(c) ==
    LET joined == [c EXCEPT !.waiting = @ + 1,
                            !.floor = IF @ = "off" THEN "on" ELSE @]
    IN  Uncovered(StartWork(joined, FALSE)) <= MaxWaiting

\* A failed creation fails the longest-waiting acquirer only if the work that
\* waiters rely on cannot serve all of them.
FailsWaiter(c) == Uncovered(c) > 0

\* Work has ended.  So at most the remaining work is disowned.
Capped(c) == [c EXCEPT !.disowned = Min(@, InFlight(c))]

\* A waiter has left unserved.  If more work is in flight than the others need, one piece
\* is disowned.  So the next acquirer does not rely on this piece, which may hang.
Disown(c) == IF ReliedOn(c) > c.waiting THEN [c EXCEPT !.disowned = @ + 1] ELSE c

\* Whether a resource that comes back is closed, because the limit was lowered.
IsSurplus(c) == Lasting(c) > c.maxSize

\* How many idle resources a lowered limit closes at once.
Surplus(c) == Max(0, Min(Lasting(c) - c.maxSize, Idle(c)))

\* How many idle resources pruning may close so that the minimum size remains.
Prunable(c) == Max(0, Min(Idle(c), UsableSize(c) - c.minSize))

ClosingComplete(c) == c.phase = "closing" /\ Size(c) = 0

\* Hand over, start work, and see whether closing is complete.
Settle(c, failed) ==
    LET n == IF c.phase = "open" THEN Min(c.waiting, c.ready) ELSE 0
        handed == [c EXCEPT !.waiting = @ - n, !.ready = @ - n, !.inUse = @ + n]
        started == StartWork(handed, failed)
    IN  IF ClosingComplete(started) THEN [started EXCEPT !.phase = "closed"]
                                    ELSE started

-------------------------------------------------------------------------------
(* The events.  After...(c) is the set of the numbers to which the event   *)
(* may lead from c.  It is empty if the event cannot happen.  PoolQueue    *)
(* uses these sets.                                                        *)

\* The ways to take k resources out of the idle ones.
Taken(c, k) ==
    {[c EXCEPT !.ready = @ - i, !.unchecked = @ - (k - i)] :
        i \in Max(0, k - c.unchecked) .. Min(k, c.ready)}

\* k idle resources go to their closers.
Closed(c, k) == {[d EXCEPT !.closing = @ + k] : d \in Taken(c, k)}

\* A resource comes back, and c no longer counts it.  It is closed if it exceeds a lowered
\* limit.  Otherwise it is idle.  It may be handed over only if it needs no check.
Back(c) ==
    IF Lasting(c) + 1 > c.maxSize
    THEN {[c EXCEPT !.closing = @ + 1]}
    ELSE {[c EXCEPT !.ready = @ + 1], [c EXCEPT !.unchecked = @ + 1]}

\* The same after a creation or a check: a waiter gets the resource without a check.
Made(c) == {d \in Back(c) : c.waiting > 0 => d.unchecked = c.unchecked}

Settled(set) == {Settle(c, FALSE) : c \in set}

AfterOpen(c) ==
    IF c.phase = "open" /\ c.floor = "off"
    THEN Settled({[c EXCEPT !.floor = "on"]}) ELSE {}

\* An acquirer arrives.  The pool closes overdue idle resources first.
AfterAcquire(c) ==
    IF c.phase = "open" /\ (c.ready > 0 \/ MayWait(c))
    THEN LET swept == UNION {Closed(c, k) : k \in 0 .. Idle(c)}
         IN  Settled({[d EXCEPT !.waiting = @ + 1,
                                !.floor = IF @ = "off" THEN "on" ELSE @] : d \in swept})
    ELSE {}

\* A waiter is cancelled or times out.
AfterLeave(c) ==
    IF c.waiting > 0 THEN Settled({Disown([c EXCEPT !.waiting = @ - 1])}) ELSE {}

\* A resource in use comes back and may be used again.
AfterReturn(c) ==
    IF c.phase = "open" /\ c.inUse > 0
    THEN Settled(Back([c EXCEPT !.inUse = @ - 1])) ELSE {}

\* A resource in use is given back, and its reset starts.
AfterReset(c) ==
    IF c.inUse > 0 THEN {[c EXCEPT !.inUse = @ - 1, !.resetting = @ + 1]} ELSE {}

\* A resource in use comes back and must not be used again.
AfterDiscard(c) ==
    IF c.inUse > 0 THEN Settled({[c EXCEPT !.inUse = @ - 1, !.closing = @ + 1]}) ELSE {}

\* A resource in use leaves the pool for good, unclosed.
AfterDetach(c) == IF c.inUse > 0 THEN Settled({[c EXCEPT !.inUse = @ - 1]}) ELSE {}

\* A resource was retired while it was handed over: it is closed, and its acquirer
\* waits again.  The pool closes overdue idle resources first.
AfterRequeue(c) ==
    IF c.phase = "open" /\ c.inUse > 0
    THEN LET closed == [c EXCEPT !.inUse = @ - 1, !.closing = @ + 1]
             swept == UNION {Closed(closed, k) : k \in 0 .. Idle(c)}
         IN  Settled({[d EXCEPT !.waiting = @ + 1] : d \in swept})
    ELSE {}

AfterResetPassed(c) ==
    IF c.phase = "open" /\ c.resetting > 0
    THEN Settled(Back([c EXCEPT !.resetting = @ - 1])) ELSE {}

\* A reset failed, or its resource is retired or expired.
AfterResetUnfit(c) ==
    IF c.resetting > 0
    THEN Settled({[c EXCEPT !.resetting = @ - 1, !.closing = @ + 1]}) ELSE {}

AfterCreateSucceeded(c) ==
    (IF UsableCreations(c) > 0
     THEN Settled(Made(Capped([c EXCEPT !.creating = @ - 1, !.floor = "on"]))) ELSE {})
    \cup
    (IF c.retiredCreations > 0
     THEN Settled({[c EXCEPT !.creating = @ - 1, !.retiredCreations = @ - 1,
                             !.closing = @ + 1]}) ELSE {})

\* A creation is lost.  A waiter gets its error, unless the work that waiters rely on can
\* serve all of them.  If the minimum size lacks the creation, its upkeep backs off.
Lost(c) ==
    LET failed == IF FailsWaiter(c) THEN [c EXCEPT !.waiting = @ - 1] ELSE c
    IN  IF UsableSize(failed) < failed.minSize
        THEN [failed EXCEPT !.floor = "backoff"] ELSE failed

\* A creation fails.  If it was retired, its failure only frees its slot.
AfterCreateFailed(c) ==
    (IF UsableCreations(c) > 0
     THEN Settled({Lost(Capped([c EXCEPT !.creating = @ - 1]))}) ELSE {})
    \cup
    (IF c.retiredCreations > 0
     THEN Settled({[c EXCEPT !.creating = @ - 1, !.retiredCreations = @ - 1]}) ELSE {})

\* A creation returns a resource after its limit.  The creation has failed, and the
\* resource is closed.
AfterCreateLate(c) ==
    IF UsableCreations(c) > 0
    THEN Settled({Lost(Capped([c EXCEPT !.creating = @ - 1, !.closing = @ + 1]))}) ELSE {}

AfterCheckPassed(c) ==
    IF UsableChecks(c) > 0
    THEN Settled(Made(Capped([c EXCEPT !.checking = @ - 1]))) ELSE {}

\* The resource was retired or has expired during its check.
AfterCheckUnfit(c) ==
    (IF UsableChecks(c) > 0
     THEN Settled({Capped([c EXCEPT !.checking = @ - 1, !.closing = @ + 1])}) ELSE {})
    \cup
    (IF c.retiredChecks > 0
     THEN Settled({[c EXCEPT !.checking = @ - 1, !.retiredChecks = @ - 1,
                             !.closing = @ + 1]}) ELSE {})

\* A check failed: no idle resource is trusted any more.
AfterCheckFailed(c) ==
    LET distrusted == [c EXCEPT !.ready = 0, !.unchecked = @ + c.ready,
                                !.checking = @ - 1, !.closing = @ + 1]
    IN  (IF UsableChecks(c) > 0 THEN {Settle(Capped(distrusted), TRUE)} ELSE {})
        \cup
        (IF c.retiredChecks > 0
         THEN {Settle([distrusted EXCEPT !.retiredChecks = @ - 1], TRUE)} ELSE {})

\* A closer has ended, or has exceeded its limit.
AfterCloserEnded(c) ==
    IF c.closing > 0 THEN Settled({[c EXCEPT !.closing = @ - 1]}) ELSE {}

\* Overdue idle resources are closed.
AfterSweep(c) ==
    IF c.phase = "open" THEN Settled(UNION {Closed(c, k) : k \in 1 .. Idle(c)}) ELSE {}

\* The trust in an idle resource expires.
AfterTrustExpires(c) ==
    IF c.phase = "open" /\ c.ready > 0
    THEN {[c EXCEPT !.ready = @ - 1, !.unchecked = @ + 1]} ELSE {}

\* The back-off ends.
AfterRetryFloor(c) ==
    IF c.phase = "open" /\ c.floor = "backoff"
    THEN Settled({[c EXCEPT !.floor = "on"]}) ELSE {}

\* All resources that exist or are being created are now of an old generation.
Retired(c) ==
    [c EXCEPT !.retiredCreations = c.creating, !.retiredChecks = c.checking,
              !.disowned = 0, !.ready = 0, !.unchecked = 0, !.closing = @ + Idle(c)]

AfterRetireAll(c) ==
    IF c.phase = "open" /\ Size(c) > 0 THEN Settled({Retired(c)}) ELSE {}

\* The limits change.  A lowered limit closes idle resources.
AfterResize(c) ==
    IF c.phase = "open"
    THEN LET resized(limit) == [c EXCEPT !.maxSize = limit[1], !.minSize = limit[2]]
         IN  Settled(UNION {Closed(resized(limit), Surplus(resized(limit))) :
                               limit \in Limits \ {<<c.maxSize, c.minSize>>}})
    ELSE {}

\* The pool serves no acquirer any more.  Resources in use are closed when they come back.
Shut(c) == [Retired(c) EXCEPT !.phase = "closing", !.floor = "off", !.waiting = 0]

AfterClose(c) == IF c.phase = "open" THEN Settled({Shut(c)}) ELSE {}

\* Like Close, and the pool forgets the resources that users hold.
AfterTerminate(c) ==
    IF c.phase # "closed"
    THEN Settled({[Shut(c) EXCEPT !.inUse = @ - k] : k \in 0 .. c.inUse}) ELSE {}

\* All numbers to which one event may lead.
Successors(c) ==
    UNION {AfterOpen(c), AfterAcquire(c), AfterLeave(c), AfterReturn(c), AfterReset(c),
           AfterDiscard(c), AfterDetach(c), AfterRequeue(c), AfterResetPassed(c),
           AfterResetUnfit(c), AfterCreateSucceeded(c), AfterCreateFailed(c),
           AfterCreateLate(c), AfterCheckPassed(c), AfterCheckUnfit(c), AfterCheckFailed(c),
           AfterCloserEnded(c), AfterSweep(c), AfterTrustExpires(c), AfterRetryFloor(c),
           AfterRetireAll(c), AfterResize(c), AfterClose(c), AfterTerminate(c)}

Init ==
    \E limit \in Limits :
       numbers = [creating |-> 0, retiredCreations |-> 0, checking |-> 0, retiredChecks |-> 0,
                  ready |-> 0, unchecked |-> 0, inUse |-> 0, resetting |-> 0, closing |-> 0,
                  waiting |-> 0, disowned |-> 0, maxSize |-> limit[1], minSize |-> limit[2],
                  phase |-> "open", floor |-> "off"]

Next == numbers' \in Successors(numbers)

Spec == Init /\ [][Next]_numbers

-------------------------------------------------------------------------------
(* Invariants.                                                             *)

TypeOK ==
    /\ \A count \in {numbers.creating, numbers.checking, numbers.ready, numbers.unchecked,
                      numbers.inUse, numbers.resetting, numbers.closing, numbers.waiting} :
          count \in Nat
    /\ numbers.retiredCreations \in 0 .. numbers.creating
    /\ numbers.retiredChecks \in 0 .. numbers.checking
    /\ numbers.disowned \in 0 .. InFlight(numbers)
    /\ <<numbers.maxSize, numbers.minSize>> \in Limits
    /\ numbers.phase \in {"open", "closing", "closed"}
    /\ numbers.floor \in {"off", "on", "backoff"}

\* S1 as a state: the resources that exceed a lowered limit are in use, in work or being
\* closed.
SizeWithinLimit == Lasting(numbers) > numbers.maxSize => Idle(numbers) = 0

\* S1 as a step: the size never grows beyond the limit in force.
SizeWithinLimitSteps ==
    [][Size(numbers') > Size(numbers) => Size(numbers') <= numbers'.maxSize]_numbers

\* S1: no more than max_creating factory calls at once.
CreatingWithinLimit == numbers.creating <= MaxCreating

\* L1 as a state: no acquirer waits beside a resource that needs no check.  Beside
\* another idle resource, or beside free room, it waits only if work that is not
\* disowned is in flight for it.
NoLostWakeup ==
    numbers.waiting > 0 =>
        /\ numbers.ready = 0
        /\ Uncovered(numbers) > 0 => numbers.unchecked = 0 /\ Room(numbers) = 0

\* L4 as a state: during upkeep, creations fill the minimum size if there is room.
FloorKept ==
    (numbers.phase = "open" /\ numbers.floor = "on") =>
        UsableSize(numbers) >= numbers.minSize \/ Room(numbers) = 0

\* S5: once closing starts, nothing is idle, no acquirer waits, and all work in flight
\* is retired.
NothingAfterClose ==
    numbers.phase # "open" =>
        Idle(numbers) = 0 /\ numbers.waiting = 0 /\ InFlight(numbers) = 0

\* S12: a closed pool has nothing left, and a closing pool has something left.
CloseWaits ==
    numbers.phase # "open" => (numbers.phase = "closed") = (Size(numbers) = 0)

\* S5: the phases only go forward.
PhaseForwardSteps ==
    [][/\ numbers.phase = "closing" => numbers'.phase # "open"
       /\ numbers.phase = "closed" => numbers'.phase = "closed"]_numbers

THEOREM Spec => [](/\ TypeOK /\ SizeWithinLimit /\ CreatingWithinLimit /\ NoLostWakeup
                   /\ FloorKept /\ NothingAfterClose /\ CloseWaits)
THEOREM Spec => SizeWithinLimitSteps /\ PhaseForwardSteps
===============================================================================
