------------------------------ MODULE PoolCounts ------------------------------
(***************************************************************************)
(* The counting model: how many resources, in which phase.                 *)
(*                                                                         *)
(* It has no identities, no order, no time.  An event moves a few numbers. *)
(* Then the pool Settles: it hands idle resources to waiters, starts the   *)
(* creations that are needed, and is closed when nothing is left.          *)
(* Settle is the only place where the pool decides anything.               *)
(*                                                                         *)
(* AsyncResourcePool refines this module.  `_machine/counts.py` has the    *)
(* same rules in Python, and the machine calls them.                       *)
(***************************************************************************)
EXTENDS Integers

CONSTANTS
    MaxSize,      \* how many resources may exist at once
    MinSize,      \* the minimum size: how many the pool keeps, even unused
    MaxCreating,  \* how many creations may be in flight at once
    MaxWaiting    \* how many acquirers may wait without a creation for them

ASSUME /\ MaxSize \in Nat \ {0}
       /\ MinSize \in 0 .. MaxSize
       /\ MaxCreating \in 1 .. MaxSize
       /\ MaxWaiting \in Nat \ {0}

VARIABLES
    creating,  \* creations in flight
    retiredCreations,    \* those of them that were retired: their results will be closed
    idle,      \* resources that nobody uses
    inUse,     \* resources handed over, checking, held or resetting
    closing,   \* resources whose closer runs
    waiting,   \* acquirers in the queue
    phase,     \* "open", "closing" or "closed"
    floor      \* the upkeep of the minimum size: "off" before the first use and
               \* after closing has started, "on", or "backoff" after a failure

vars == <<creating, retiredCreations, idle, inUse, closing, waiting, phase, floor>>

\* The state as a value, and the step to such a value.
Now == [creating |-> creating, retiredCreations |-> retiredCreations, idle |-> idle,
        inUse |-> inUse, closing |-> closing, waiting |-> waiting,
        phase |-> phase, floor |-> floor]

Become(c) ==
    /\ creating' = c.creating
    /\ retiredCreations' = c.retiredCreations
    /\ idle' = c.idle
    /\ inUse' = c.inUse
    /\ closing' = c.closing
    /\ waiting' = c.waiting
    /\ phase' = c.phase
    /\ floor' = c.floor

-------------------------------------------------------------------------------
(* The rules.  Each is a function of the numbers alone.                    *)

Min(a, b) == IF a < b THEN a ELSE b
Max(a, b) == IF a > b THEN a ELSE b

\* Everything that may exist outside counts against MaxSize.
Size(c) == c.creating + c.idle + c.inUse + c.closing

\* Creations whose result can be handed out.
UsableCreations(c) == c.creating - c.retiredCreations

\* The number that counts towards the minimum size.
UsableSize(c) == UsableCreations(c) + c.idle + c.inUse

\* How many creations to start now: one for each waiter without one, or as many
\* as the minimum size lacks, as far as there is room.
CreationsToStart(c) ==
    LET forWaiters == c.waiting - UsableCreations(c)
        forFloor == IF c.floor = "on" THEN MinSize - UsableSize(c) ELSE 0
        wanted == Max(forWaiters, forFloor)
        room == Min(MaxSize - Size(c), MaxCreating - c.creating)
    IN  IF c.phase = "open" THEN Max(0, Min(wanted, room)) ELSE 0

\* One more acquirer may wait unless more than MaxWaiting would wait without a
\* creation for them, after the creations that this acquirer would start.
MayWait(c) ==
    LET joined == [c EXCEPT !.waiting = @ + 1,
                            !.floor = IF @ = "off" THEN "on" ELSE @]
    IN  joined.waiting - UsableCreations(joined) - CreationsToStart(joined) <= MaxWaiting

\* A failed creation fails the longest-waiting acquirer only if the creations in
\* flight cannot serve all waiters.
FailsWaiter(c) == c.waiting > UsableCreations(c)

\* How many idle resources pruning may close without going below the minimum size.
Prunable(c) == Max(0, Min(c.idle, UsableSize(c) - MinSize))

ClosingComplete(c) == c.phase = "closing" /\ Size(c) = 0

\* Hand over, then start creations, then see whether closing is complete.
Settle(c) ==
    LET n == IF c.phase = "open" THEN Min(c.waiting, c.idle) ELSE 0
        handed == [c EXCEPT !.waiting = @ - n, !.idle = @ - n, !.inUse = @ + n]
        started == [handed EXCEPT !.creating = @ + CreationsToStart(handed)]
    IN  IF ClosingComplete(started) THEN [started EXCEPT !.phase = "closed"]
                                    ELSE started

-------------------------------------------------------------------------------
(* The events.                                                             *)

Init ==
    /\ creating = 0 /\ retiredCreations = 0 /\ idle = 0
    /\ inUse = 0 /\ closing = 0 /\ waiting = 0
    /\ phase = "open" /\ floor = "off"

\* The pool keeps the minimum size from now on.
Open ==
    /\ phase = "open" /\ floor = "off"
    /\ Become(Settle([Now EXCEPT !.floor = "on"]))

\* An acquirer arrives.  The pool closes k overdue idle resources first.
Acquire ==
    /\ phase = "open"
    /\ idle > 0 \/ MayWait(Now)
    /\ \E k \in 0 .. idle :
          Become(Settle([Now EXCEPT !.idle = @ - k, !.closing = @ + k,
                                    !.waiting = @ + 1,
                                    !.floor = IF @ = "off" THEN "on" ELSE @]))

\* A waiter gives up: cancelled or timed out.
Leave ==
    /\ waiting > 0
    /\ Become(Settle([Now EXCEPT !.waiting = @ - 1]))

\* A fit resource comes back.
GiveBack ==
    /\ phase = "open" /\ inUse > 0
    /\ Become(Settle([Now EXCEPT !.inUse = @ - 1, !.idle = @ + 1]))

\* A resource comes back that must not be used again.
Discard ==
    /\ inUse > 0
    /\ Become(Settle([Now EXCEPT !.inUse = @ - 1, !.closing = @ + 1]))

\* A resource leaves the pool for good, unclosed.
Detach ==
    /\ inUse > 0
    /\ Become(Settle([Now EXCEPT !.inUse = @ - 1]))

\* An acquirer's resource is unfit: it is closed, and the acquirer tries again.
Requeue ==
    /\ phase = "open" /\ inUse > 0
    /\ \E k \in 0 .. idle :
          Become(Settle([Now EXCEPT !.inUse = @ - 1, !.closing = @ + k + 1,
                                    !.idle = @ - k, !.waiting = @ + 1]))

\* A creation succeeds.  The result of a retired one goes straight to its closer.
CreateSucceeded ==
    \/ /\ UsableCreations(Now) > 0
       /\ Become(Settle([Now EXCEPT !.creating = @ - 1, !.idle = @ + 1,
                                    !.floor = "on"]))
    \/ /\ retiredCreations > 0
       /\ Become(Settle([Now EXCEPT !.creating = @ - 1, !.retiredCreations = @ - 1,
                                    !.closing = @ + 1]))

\* A creation fails.  If the minimum size lacks it, its upkeep backs off.  The
\* failure of a retired creation has no other effect than to free its slot.
CreateFailed ==
    \/ /\ UsableCreations(Now) > 0
       /\ LET lost == [Now EXCEPT !.creating = @ - 1]
              told == IF FailsWaiter(lost) THEN [lost EXCEPT !.waiting = @ - 1]
                                           ELSE lost
          IN  Become(Settle(IF UsableSize(told) < MinSize
                            THEN [told EXCEPT !.floor = "backoff"]
                            ELSE told))
    \/ /\ retiredCreations > 0
       /\ Become(Settle([Now EXCEPT !.creating = @ - 1, !.retiredCreations = @ - 1]))

\* A closer has ended, or has exceeded its limit: the slot is free.
CloserEnded ==
    /\ closing > 0
    /\ Become(Settle([Now EXCEPT !.closing = @ - 1]))

\* k overdue idle resources are closed.
Sweep ==
    /\ phase = "open"
    /\ \E k \in 1 .. idle :
          Become(Settle([Now EXCEPT !.idle = @ - k, !.closing = @ + k]))

\* The back-off ends.
RetryFloor ==
    /\ phase = "open" /\ floor = "backoff"
    /\ Become(Settle([Now EXCEPT !.floor = "on"]))

\* All that exists or is being created is of the old generation.
RetireAll ==
    /\ phase = "open" /\ Size(Now) > 0
    /\ Become(Settle([Now EXCEPT !.retiredCreations = creating,
                                 !.idle = 0, !.closing = @ + idle]))

\* No acquirer is served any more.  Resources in use are closed as they come back.
Shut(c) == [c EXCEPT !.phase = "closing", !.floor = "off", !.retiredCreations = c.creating,
                     !.waiting = 0, !.idle = 0, !.closing = @ + c.idle]

Close ==
    /\ phase = "open"
    /\ Become(Settle(Shut(Now)))

\* Like Close, and k resources that users hold are forgotten.
Terminate ==
    /\ phase # "closed"
    /\ \E k \in 0 .. inUse :
          Become(Settle([Shut(Now) EXCEPT !.inUse = @ - k]))

Next ==
    \/ Open \/ Acquire \/ Leave \/ GiveBack \/ Discard \/ Detach \/ Requeue
    \/ CreateSucceeded \/ CreateFailed \/ CloserEnded \/ Sweep \/ RetryFloor
    \/ RetireAll \/ Close \/ Terminate

Spec == Init /\ [][Next]_vars

-------------------------------------------------------------------------------
(* Invariants.                                                             *)

TypeOK ==
    /\ creating \in Nat /\ retiredCreations \in 0 .. creating
    /\ idle \in Nat /\ inUse \in Nat /\ closing \in Nat /\ waiting \in Nat
    /\ phase \in {"open", "closing", "closed"}
    /\ floor \in {"off", "on", "backoff"}

\* S1: the resources that may exist outside stay within max_size.
SizeWithinLimit == Size(Now) <= MaxSize

\* No more than max_creating factory calls at once.
CreatingWithinLimit == creating <= MaxCreating

\* L1 as a state: no acquirer waits beside an idle resource or free room.
NoLostWakeup ==
    waiting > 0 => /\ idle = 0
                   /\ \/ Size(Now) = MaxSize
                      \/ creating = MaxCreating
                      \/ UsableCreations(Now) >= waiting

\* L4 as a state: during upkeep, creations fill the minimum size if there is room.
FloorKept ==
    (phase = "open" /\ floor = "on") =>
        \/ UsableSize(Now) >= MinSize
        \/ Size(Now) = MaxSize
        \/ creating = MaxCreating

\* S5: once closing starts, nothing is idle and no acquirer waits.
NothingAfterClose == phase # "open" => idle = 0 /\ waiting = 0 /\ retiredCreations = creating

\* S12: a closed pool has nothing left, and a closing pool has something left.
CloseWaits == phase # "open" => (phase = "closed") = (Size(Now) = 0)

\* The phases only go forward.
PhaseForward ==
    [][/\ phase = "closing" => phase' # "open"
       /\ phase = "closed" => phase' = "closed"]_vars
===============================================================================
