--------------------------- MODULE AsyncResourcePool ---------------------------
(***************************************************************************)
(* A pool of reusable resources, as its users and its state machine see    *)
(* it.                                                                     *)
(*                                                                         *)
(* The pool creates, checks, resets and closes resources itself, not in    *)
(* its users' tasks.  A user's task waits for its turn in the queue and    *)
(* for nothing else.                                                       *)
(*                                                                         *)
(* The specification has three layers.  PoolCounts has the numbers and     *)
(* decides about them.  PoolQueue adds the order of the waiters.  This     *)
(* module adds the resources, and refines both.                            *)
(*                                                                         *)
(* Abstractions:                                                           *)
(*  - Time.  The passing of a limit is an action of the environment        *)
(*    (GrowOld, GrowStale, TrustExpires).  Limits of different kinds pass  *)
(*    in any order.  A deadline may pass at any moment.                    *)
(*  - An acquire that ended in an error holds nothing.  So its task is     *)
(*    "out" at once, although its coroutine resumes a little later.        *)
(*  - Refused calls change nothing, so they are no actions.  Examples are  *)
(*    a release of a resource that nobody holds, and an acquire of a       *)
(*    closed pool.                                                         *)
(*  - Any task may call release for a holder.  This is the holder's        *)
(*    Release, because the pool knows the resource and not the caller.     *)
(*  - The names of resources are reused: a creation takes the lowest free  *)
(*    name.                                                                *)
(***************************************************************************)
EXTENDS Integers, Sequences, FiniteSets

CONSTANTS
    Tasks,        \* the acquirers; each has one acquire at a time
    Resources,    \* names 1 .. n; n exceeds every max_size, so that S1 can fail
    MaxSizes, MinSizes, MaxCreating, MaxWaiting,    \* as in PoolCounts
    Ages,         \* there is a max_age
    Idles,        \* there is a max_idle_time
    Checks,       \* there is a check
    CheckSkips,   \* check_after_idle > 0: a recent use makes a check needless
    Resets,       \* there is a reset
    Fifo,         \* reuse = "fifo": the resource idle for longest is used next
    Retires,      \* users may call retire_all, at any time
    Leaves        \* users may call discard, detach and terminate, at any time

ASSUME /\ Resources = 1 .. Cardinality(Resources)
       /\ \A size \in MaxSizes : Cardinality(Resources) > size
       /\ {Ages, Idles, Checks, CheckSkips, Resets, Fifo, Retires, Leaves} \subseteq BOOLEAN
       /\ CheckSkips => Checks

None == 0  \* no resource

VARIABLES
    phase,     \* "open", "closing" or "closed"
    floor,     \* the upkeep of the minimum size: "off", "on" or "backoff"
    place,     \* the state of each resource; "free" is a name without a resource
    task,      \* the state of each task's acquire
    lease,     \* the resource that each task has, or None
    queue,     \* the tasks that wait or were handed a resource, first come first
    idle,      \* idle resources; the one used last is at the end
    old,       \* resources whose max_age has passed
    stale,     \* idle resources whose max_idle_time has passed
    trusted,   \* idle resources that need no check now, if CheckSkips
    retired,   \* creations and resources of an old generation
    disowned,  \* how many creations and checks in flight no waiter relies on
    maxSize, minSize    \* the limits in force

vars == <<phase, floor, place, task, lease, queue, idle, old, stale, trusted, retired,
          disowned, maxSize, minSize>>

TypeOK ==
    /\ phase \in {"open", "closing", "closed"}
    /\ floor \in {"off", "on", "backoff"}
    /\ place \in [Resources -> {"free", "creating", "checking", "idle", "inUse",
                                "resetting", "closing"}]
    /\ task \in [Tasks -> {"out", "waiting", "handed", "holding"}]
    /\ lease \in [Tasks -> Resources \cup {None}]
    /\ queue \in Seq(Tasks)
    /\ idle \in Seq(Resources)
    /\ old \subseteq {r \in Resources : place[r] \in {"checking", "idle", "inUse", "resetting"}}
    /\ stale \subseteq {r \in Resources : place[r] = "idle"}
    /\ trusted \subseteq {r \in Resources : CheckSkips /\ place[r] = "idle"}
    /\ retired \subseteq {r \in Resources :
                            place[r] \in {"creating", "checking", "inUse", "resetting"}}
    /\ disowned \in Nat

-------------------------------------------------------------------------------
(* The numbers of the state.  The rules of PoolCounts take them.           *)

\* The tasks that wait, longest-waiting first.
Waiting(s) == SelectSeq(s.queue, LAMBDA t : s.task[t] = "waiting")

At(s, p) == {r \in Resources : s.place[r] = p}

\* An idle resource that is not ready needs a check before its next use.
IsReady(s, r) == ~Checks \/ r \in s.trusted
Ready(s) == SelectSeq(s.idle, LAMBDA r : IsReady(s, r))
Unchecked(s) == SelectSeq(s.idle, LAMBDA r : ~IsReady(s, r))

Numbers(s) ==
    [creating |-> Cardinality(At(s, "creating")),
     retiredCreations |-> Cardinality(At(s, "creating") \cap s.retired),
     checking |-> Cardinality(At(s, "checking")),
     retiredChecks |-> Cardinality(At(s, "checking") \cap s.retired),
     ready |-> Len(Ready(s)), unchecked |-> Len(Unchecked(s)),
     inUse |-> Cardinality(At(s, "inUse")), resetting |-> Cardinality(At(s, "resetting")),
     closing |-> Cardinality(At(s, "closing")), waiting |-> Len(Waiting(s)),
     disowned |-> s.disowned, maxSize |-> s.maxSize, minSize |-> s.minSize,
     phase |-> s.phase, floor |-> s.floor]

\* The present state as one value.
Now == [phase |-> phase, floor |-> floor, place |-> place, task |-> task,
        lease |-> lease, queue |-> queue, idle |-> idle, old |-> old,
        stale |-> stale, trusted |-> trusted, retired |-> retired,
        disowned |-> disowned, maxSize |-> maxSize, minSize |-> minSize]

Become(s) ==
    /\ phase' = s.phase
    /\ floor' = s.floor
    /\ place' = s.place
    /\ task' = s.task
    /\ lease' = s.lease
    /\ queue' = s.queue
    /\ idle' = s.idle
    /\ old' = s.old
    /\ stale' = s.stale
    /\ trusted' = s.trusted
    /\ retired' = s.retired
    /\ disowned' = s.disowned
    /\ maxSize' = s.maxSize
    /\ minSize' = s.minSize

Counts == INSTANCE PoolCounts WITH numbers <- Numbers(Now)

\* PoolQueue has the numbers, the tasks and their order, and no resources.
Queue == INSTANCE PoolQueue WITH numbers <- Numbers(Now)

-------------------------------------------------------------------------------
(* Pieces of steps: functions from state to state.                         *)

Last(seq) == seq[Len(seq)]
Elements(seq) == {seq[i] : i \in 1 .. Len(seq)}
Without(seq, set) == SelectSeq(seq, LAMBDA x : x \notin set)
Lowest(set) == CHOOSE x \in set : \A y \in set : x <= y

\* The first n elements of a sequence, as a set.
FirstOf(seq, n) == {seq[i] : i \in 1 .. n}

\* The n lowest free names.
RECURSIVE LowestFree(_, _)
LowestFree(free, n) ==
    IF n = 0 THEN {}
    ELSE {Lowest(free)} \cup LowestFree(free \ {Lowest(free)}, n - 1)

\* Of a sequence of idle resources, the one that is used next.
NextUse(seq) == IF Fifo THEN Head(seq) ELSE Last(seq)

\* Resource r goes to p, and stays as old and as retired as it is.
Move(s, r, p) ==
    [s EXCEPT !.place[r] = p, !.idle = Without(@, {r}), !.stale = @ \ {r},
              !.trusted = @ \ {r}]

\* The resources in set go to p: "closing", "free" or "creating".  They are neither old
\* nor retired there.
Put(s, set, p) ==
    [s EXCEPT !.place = [r \in Resources |-> IF r \in set THEN p ELSE @[r]],
              !.idle = Without(@, set),
              !.old = @ \ set, !.stale = @ \ set,
              !.trusted = @ \ set, !.retired = @ \ set]

\* Task t goes to state w, with resource r or None.  It keeps its position in the order
\* of arrival until its acquire ends.
Send(s, t, w, r) ==
    [s EXCEPT !.task[t] = w, !.lease[t] = r,
              !.queue = IF w \in {"out", "holding"} THEN Without(@, {t})
                        ELSE IF t \in Elements(@) THEN @ ELSE Append(@, t)]

\* Task t gets the idle resource r.
Give(s, t, w, r) == Send(Move(s, r, "inUse"), t, w, r)

\* Hand ready resources over to the tasks that have waited longest.
RECURSIVE HandOver(_)
HandOver(s) ==
    IF s.phase = "open" /\ Waiting(s) # << >> /\ Ready(s) # << >>
    THEN HandOver(Give(s, Head(Waiting(s)), "handed", NextUse(Ready(s))))
    ELSE s

RECURSIVE StartChecks(_, _)
StartChecks(s, n) ==
    IF n = 0 THEN s
    ELSE StartChecks(Move(s, NextUse(Unchecked(s)), "checking"), n - 1)

StartCreations(s) ==
    Put(s, LowestFree(At(s, "free"), Counts!CreationsToStart(Numbers(s))), "creating")

\* The end of every step that may give the pool something to do: hand over, start work,
\* and see whether closing is complete.
Settle(s, failed) ==
    LET handed == HandOver(s)
        checked == StartChecks(handed, Counts!ChecksToStart(Numbers(handed), failed))
        done == StartCreations(checked)
    IN  IF Counts!ClosingComplete(Numbers(done)) THEN [done EXCEPT !.phase = "closed"]
                                               ELSE done

\* The overdue idle resources: every old one, and the stale ones that the minimum size
\* does not need, longest idle first.
Overdue(s) ==
    LET aged == s.old \cap Elements(s.idle)
        young == Without(s.idle, aged)
        spare == Counts!Prunable(Numbers(Put(s, aged, "closing")))
    IN  aged \cup {young[i] : i \in {j \in 1 .. Len(young) :
                                         j <= spare /\ young[j] \in s.stale}}

Swept(s) == Put(s, Overdue(s), "closing")

\* Whether resource r may be used again.
Fit(s, r) == r \notin s.retired /\ r \notin s.old

\* Resource r comes back and has no holder.  It becomes idle if it is fit and within the
\* limit.  Otherwise it is closed.  It was used, created, checked or handed over a moment
\* ago, so it is trusted for a while.
Return(s, r) ==
    IF ~Fit(s, r) \/ Counts!IsSurplus(Numbers(s))
    THEN Put(s, {r}, "closing")
    ELSE [Move(s, r, "idle") EXCEPT !.idle = Append(@, r),
                                    !.trusted = IF CheckSkips THEN @ \cup {r} ELSE @]

\* A creation or a check has made resource r ready.  If tasks wait, the first of them
\* gets the resource without a check.
Deliver(s, r) ==
    LET back == Return(s, r)
    IN  IF back.place[r] = "idle" /\ Waiting(back) # << >>
        THEN Give(back, Head(Waiting(back)), "handed", r)
        ELSE back

\* Task t has left the queue unserved.
Leave(s, t) ==
    LET left == Send(s, t, "out", None)
    IN  [left EXCEPT !.disowned = Counts!Disown(Numbers(left)).disowned]

\* Work has ended.  So at most the remaining work is disowned.
Capped(s) == [s EXCEPT !.disowned = Counts!Capped(Numbers(s)).disowned]

-------------------------------------------------------------------------------
(* The guards of the actions that end something.  An action and its fairness *)
(* assumption share a guard.  So the assumption demands nothing in a state   *)
(* in which the guard does not hold.  In each state in which the guard       *)
(* holds, the action is possible: tests/spec/test_progress.py shows this.    *)

CanResume(t) == task[t] = "handed"
CanTimeout(t) == task[t] = "waiting"
CanRelease(t) == task[t] = "holding"
CanEndCreation(r) == place[r] = "creating"
CanEndCheck(r) == place[r] = "checking"
CanEndReset(r) == place[r] = "resetting"
CanEndCloser(r) == place[r] = "closing"
CanRetryFloor == phase = "open" /\ floor = "backoff"

-------------------------------------------------------------------------------
(* Steps of tasks.                                                         *)

\* A task acquires.  The pool is open, and the queue is not full.  The task gets a ready
\* resource, or waits.
Acquire(t) ==
    /\ phase = "open" /\ task[t] = "out"
    /\ Ready(Now) # << >> \/ Counts!MayWait(Numbers(Now))
    /\ LET on == Swept([Now EXCEPT !.floor = IF @ = "off" THEN "on" ELSE @])
       IN  IF Ready(on) # << >>
           THEN Become(Settle(Give(on, t, "holding", NextUse(Ready(on))), FALSE))
           ELSE Become(Settle(Send(on, t, "waiting", None), FALSE))

\* A task that was handed a resource runs again, and holds the resource.  If the resource
\* was retired meanwhile, the task waits again at its place in the queue.  In this case the
\* pool first closes the overdue idle resources, as for an acquire.  If the pool is
\* closing, the task gets an error instead.
Resume(t) ==
    /\ CanResume(t)
    /\ LET r == lease[t]
           closed == Put(Now, {r}, "closing")
       IN  IF r \notin retired
           THEN Become(Send(Now, t, "holding", r))
           ELSE IF phase = "open"
           THEN Become(Settle(Send(Swept(closed), t, "waiting", None), FALSE))
           ELSE Become(Settle(Send(closed, t, "out", None), FALSE))

\* The deadline of a waiter passes.
Timeout(t) ==
    /\ CanTimeout(t)
    /\ Become(Settle(Leave(Now, t), FALSE))

\* The task is cancelled during its acquire.  If it was handed a resource, the resource
\* comes back.
Cancel(t) ==
    \/ /\ task[t] = "waiting"
       /\ Become(Settle(Leave(Now, t), FALSE))
    \/ /\ task[t] = "handed"
       /\ Become(Settle(Return(Send(Now, t, "out", None), lease[t]), FALSE))

\* A holder releases its resource.  If there is a reset, the pool resets the resource.
Release(t) ==
    /\ CanRelease(t)
    /\ LET r == lease[t]
           left == Send(Now, t, "out", None)
       IN  IF Resets THEN Become(Settle(Move(left, r, "resetting"), FALSE))
                     ELSE Become(Settle(Return(left, r), FALSE))

\* A holder gives its resource back to be closed.
Discard(t) ==
    /\ Leaves /\ task[t] = "holding"
    /\ Become(Settle(Put(Send(Now, t, "out", None), {lease[t]}, "closing"), FALSE))

\* A holder takes its resource out of the pool for good, unclosed.
Detach(t) ==
    /\ Leaves /\ task[t] = "holding"
    /\ Become(Settle(Put(Send(Now, t, "out", None), {lease[t]}, "free"), FALSE))

-------------------------------------------------------------------------------
(* Steps of the pool's work.                                               *)

\* A creation succeeds.  A fresh resource needs no check if it is handed over at once.
\* A resource of an old generation is closed.
CreateSucceeded(r) ==
    /\ CanEndCreation(r)
    /\ IF r \in retired
       THEN Become(Settle(Put(Now, {r}, "closing"), FALSE))
       ELSE Become(Settle(Capped(Deliver([Now EXCEPT !.floor = "on"], r)), FALSE))

\* A creation is lost.  The longest-waiting acquirer gets the error, unless the work that
\* waiters rely on can serve all of them.  Settle starts new work for the others.  If the
\* minimum size lacks this creation, its upkeep backs off.
Lost(s) ==
    LET failed == IF Counts!FailsWaiter(Numbers(s))
                  THEN Send(s, Head(Waiting(s)), "out", None)
                  ELSE s
        short == Counts!UsableSize(Numbers(failed)) < minSize
    IN  IF short THEN [failed EXCEPT !.floor = "backoff"] ELSE failed

\* A creation fails.
CreateFailed(r) ==
    /\ CanEndCreation(r)
    /\ LET lost == Capped(Put(Now, {r}, "free"))
       IN  Become(Settle(IF r \in retired THEN lost ELSE Lost(lost), FALSE))

\* A creation returns a resource after its limit.  The creation has failed, and the
\* resource is closed.  A retired creation succeeds or fails, but it is never late.
CreateLate(r) ==
    /\ CanEndCreation(r) /\ r \notin retired
    /\ Become(Settle(Lost(Capped(Put(Now, {r}, "closing"))), FALSE))

\* A check passed.  The longest-waiting acquirer gets the resource, or the resource
\* becomes idle.  If it was retired or has expired during the check, it is closed.
CheckPassed(r) ==
    /\ CanEndCheck(r)
    /\ Become(Settle(Capped(Deliver(Now, r)), FALSE))

\* A check failed or exceeded its limit: the resource is closed, and no idle resource
\* is trusted any more.  A waiter without work gets a creation, if there is room.
CheckFailed(r) ==
    /\ CanEndCheck(r)
    /\ Become(Settle(Capped([Put(Now, {r}, "closing") EXCEPT !.trusted = {}]), TRUE))

\* The reset passed.
ResetPassed(r) == CanEndReset(r) /\ Become(Settle(Return(Now, r), FALSE))

\* The reset failed or exceeded its limit: the resource is closed.
ResetFailed(r) == CanEndReset(r) /\ Become(Settle(Put(Now, {r}, "closing"), FALSE))

\* A closer has ended, failed, or exceeded its limit: the slot is free.
CloserEnded(r) == CanEndCloser(r) /\ Become(Settle(Put(Now, {r}, "free"), FALSE))

-------------------------------------------------------------------------------
(* Steps of the pool as a whole.                                           *)

\* The pool keeps the minimum size from now on.
Open ==
    /\ phase = "open" /\ floor = "off"
    /\ Become(Settle([Now EXCEPT !.floor = "on"], FALSE))

\* The timer or prune() closes the overdue idle resources.
Sweep ==
    /\ phase = "open" /\ Overdue(Now) # {}
    /\ Become(Settle(Swept(Now), FALSE))

\* The back-off ends: the upkeep of the minimum size goes on.
RetryFloor ==
    /\ CanRetryFloor
    /\ Become(Settle([Now EXCEPT !.floor = "on"], FALSE))

\* The limits change.  A lowered limit closes idle resources, longest idle first.
Resize(max, min) ==
    /\ phase = "open" /\ min <= max
    /\ <<max, min>> # <<maxSize, minSize>>
    /\ LET resized == [Now EXCEPT !.maxSize = max, !.minSize = min]
           closed == FirstOf(idle, Counts!Surplus(Numbers(resized)))
       IN  Become(Settle(Put(resized, closed, "closing"), FALSE))

\* All resources that exist or are being created are now of an old generation.  Idle ones
\* are closed now, and the others when they come back.
Retire(s) ==
    LET left == {r \in Resources :
                   s.place[r] \in {"creating", "checking", "inUse", "resetting"}}
        shut == Put(s, Elements(s.idle), "closing")
    IN  [shut EXCEPT !.retired = left, !.old = {}, !.trusted = {}, !.disowned = 0]

RetireAll ==
    /\ Retires /\ phase = "open"
    /\ Retire(Now) # Now
    /\ Become(Settle(Retire(Now), FALSE))

\* Closing begins: waiters fail, and all resources are retired.
Shut(s) ==
    [Retire(s) EXCEPT !.phase = "closing", !.floor = "off",
                      !.queue = Without(@, Elements(Waiting(s))),
                      !.task = [t \in Tasks |-> IF @[t] = "waiting" THEN "out" ELSE @[t]]]

Close ==
    /\ phase = "open"
    /\ Become(Settle(Shut(Now), FALSE))

\* Closing begins without waiting for users: the pool forgets the resources that they
\* hold, and does not close them.
Terminate ==
    /\ Leaves /\ phase # "closed"
    /\ LET held == {t \in Tasks : task[t] = "holding"}
           shut == Put(Shut(Now), {lease[t] : t \in held}, "free")
           next == [shut EXCEPT !.task = [t \in Tasks |-> IF t \in held THEN "out" ELSE @[t]],
                                !.lease = [t \in Tasks |-> IF t \in held THEN None ELSE @[t]]]
       IN  /\ next # Now
           /\ Become(Settle(next, FALSE))

-------------------------------------------------------------------------------
(* Time passes.                                                            *)

Unchanged == UNCHANGED <<phase, floor, place, task, lease, queue, idle, retired, disowned,
                         maxSize, minSize>>

\* max_age passes for a resource that may still be used.
GrowOld(r) ==
    /\ Ages /\ phase = "open"
    /\ place[r] \in {"checking", "idle", "inUse", "resetting"} /\ Fit(Now, r)
    /\ old' = old \cup {r}
    /\ Unchanged /\ UNCHANGED <<stale, trusted>>

\* max_idle_time passes for the longest-idle resource that is not stale yet.
GrowStale(r) ==
    /\ Idles /\ phase = "open"
    /\ LET fresh == Without(idle, stale)
       IN  fresh # << >> /\ r = Head(fresh)
    /\ stale' = stale \cup {r}
    /\ Unchanged /\ UNCHANGED <<old, trusted>>

\* check_after_idle passes for the trusted resource that has been idle for longest.
TrustExpires(r) ==
    /\ phase = "open" /\ CheckSkips
    /\ Ready(Now) # << >> /\ r = Head(Ready(Now))
    /\ trusted' = trusted \ {r}
    /\ Unchanged /\ UNCHANGED <<old, stale>>

-------------------------------------------------------------------------------

Init ==
    /\ phase = "open" /\ floor = "off"
    /\ place = [r \in Resources |-> "free"]
    /\ task = [t \in Tasks |-> "out"]
    /\ lease = [t \in Tasks |-> None]
    /\ queue = << >> /\ idle = << >>
    /\ old = {} /\ stale = {} /\ trusted = {} /\ retired = {} /\ disowned = 0
    /\ \E limit \in Counts!Limits : maxSize = limit[1] /\ minSize = limit[2]

Next ==
    \/ \E t \in Tasks : Acquire(t)
    \/ \E t \in Tasks : Resume(t)
    \/ \E t \in Tasks : Timeout(t)
    \/ \E t \in Tasks : Cancel(t)
    \/ \E t \in Tasks : Release(t)
    \/ \E t \in Tasks : Discard(t)
    \/ \E t \in Tasks : Detach(t)
    \/ \E r \in Resources : CreateSucceeded(r)
    \/ \E r \in Resources : CreateFailed(r)
    \/ \E r \in Resources : CreateLate(r)
    \/ \E r \in Resources : CheckPassed(r)
    \/ \E r \in Resources : CheckFailed(r)
    \/ \E r \in Resources : ResetPassed(r)
    \/ \E r \in Resources : ResetFailed(r)
    \/ \E r \in Resources : CloserEnded(r)
    \/ Open
    \/ Sweep
    \/ RetryFloor
    \/ \E max \in MaxSizes, min \in MinSizes : Resize(max, min)
    \/ RetireAll
    \/ Close
    \/ Terminate
    \/ \E r \in Resources : GrowOld(r)
    \/ \E r \in Resources : GrowStale(r)
    \/ \E r \in Resources : TrustExpires(r)

\* Safety needs no fairness.
Safe == Init /\ [][Next]_vars

-------------------------------------------------------------------------------
(* Fairness: the assumptions about the world outside of the pool.  They do   *)
(* not say that a task acquires, is cancelled, or times out.                 *)
(*                                                                           *)
(* Most assumptions are weak fairness of actions: an action that stays       *)
(* possible happens.  They contain the guards, because TLC evaluates ENABLED *)
(* a thousand times more slowly.  Some actions always end their own guard.   *)
(* For such an action, weak fairness means that the guard does not hold for  *)
(* ever.  The module Assumptions shows that each assumption is needed.       *)

\* A task that was woken runs.
TasksRun == \A t \in Tasks : []<>(~CanResume(t)) \/ []<><<Resume(t)>>_vars

\* Users give back what they hold.
UsersGiveBack == \A t \in Tasks : []<>(~CanRelease(t))

\* Creations, checks, resets and closers end, well or badly, or reach their limits.
CreationsEnd ==
    \A r \in Resources :
       \/ []<>(~CanEndCreation(r))
       \/ []<><<CreateSucceeded(r) \/ CreateFailed(r) \/ CreateLate(r)>>_vars
ChecksEnd ==
    \A r \in Resources :
       []<>(~CanEndCheck(r)) \/ []<><<CheckPassed(r) \/ CheckFailed(r)>>_vars
ResetsEnd == \A r \in Resources : []<>(~CanEndReset(r))
ClosersEnd == \A r \in Resources : []<>(~CanEndCloser(r))

\* The timer of the back-off fires.
BackoffEnds == []<>(~CanRetryFloor)

\* In the end, nobody calls retire_all or resize again.
RetirementEnds == <>[][~RetireAll]_vars
ResizingEnds == <>[][UNCHANGED <<maxSize, minSize>>]_vars

Fair ==
    /\ Safe /\ TasksRun /\ UsersGiveBack /\ CreationsEnd /\ ChecksEnd /\ ResetsEnd
    /\ ClosersEnd /\ BackoffEnds /\ RetirementEnds /\ ResizingEnds

\* The factory recovers: creations do not fail for ever (strong fairness).  Checks and
\* resets may fail for ever.
Recovering ==
    /\ Fair
    /\ \A r \in Resources :
          \/ <>[](~CanEndCreation(r))
          \/ []<><<CreateSucceeded(r)>>_vars

\* The factory recovers.  In the end, no resource is discarded or detached, grows old, or
\* fails its check or reset.
Settling ==
    /\ Recovering
    /\ <>[][\A t \in Tasks : ~Discard(t) /\ ~Detach(t)]_vars
    /\ <>[][\A r \in Resources : ~GrowOld(r) /\ ~CheckFailed(r) /\ ~ResetFailed(r)]_vars

\* Perhaps nothing ends, and no user gives back.  Deadlines still pass.
Stuck ==
    /\ Safe
    /\ \A t \in Tasks : []<>(~CanTimeout(t)) \/ []<><<Timeout(t)>>_vars

\* Users keep coming, give up at their deadlines, and give back what they get.  All other
\* work than that on hung resources ends, and creations succeed again and again.  In the
\* end, no user calls retire_all, resize or close, and no task is cancelled that was handed
\* a resource.
OthersGoOn(hungCreation, hungCheck) ==
    /\ \A t \in Tasks :
          /\ []<>(~CanResume(t)) \/ []<><<Resume(t)>>_vars
          /\ []<>(~CanRelease(t))
          /\ []<>(task[t] # "out") \/ []<><<Acquire(t)>>_vars
          /\ []<>(~CanTimeout(t)) \/ []<><<Timeout(t)>>_vars
    /\ \A r \in Resources \ hungCreation :
          /\ <>[](~CanEndCreation(r)) \/ []<><<CreateSucceeded(r)>>_vars
          /\ []<>(~CanEndCreation(r)) \/ []<><<CreateSucceeded(r) \/ CreateFailed(r)>>_vars
    /\ \A r \in Resources \ hungCheck : []<>(~CanEndCheck(r))
    /\ \A r \in Resources : []<>(~CanEndReset(r)) /\ []<>(~CanEndCloser(r))
    /\ <>[][/\ \A t \in Tasks : task[t] = "handed" => ~Cancel(t)
            /\ ~RetireAll /\ phase' = phase]_vars
    /\ <>[][UNCHANGED <<maxSize, minSize>>]_vars

\* Deadlines leave time for checks: a resource that is checked again and again passes
\* again and again while somebody waits.
TimeForChecks(hungCheck) ==
    \A r \in Resources \ hungCheck :
       <>[](~CanEndCheck(r)) \/ []<><<CheckPassed(r) /\ Waiting(Now) # <<>>>>_vars

\* The creation of resource 1 hangs: it never ends.
CreationHangs == Init /\ [][Next /\ ~(place[1] = "creating" /\ place'[1] # "creating")]_vars
Hanging == CreationHangs /\ OthersGoOn({1}, {}) /\ TimeForChecks({})

\* Each check of resource 1 hangs.
CheckHangs == Init /\ [][Next /\ ~(place[1] = "checking" /\ place'[1] # "checking")]_vars
HangingCheck == CheckHangs /\ OthersGoOn({}, {1}) /\ TimeForChecks({1})

-------------------------------------------------------------------------------
(* Safety.  The part of a guarantee about states has the guarantee's name.  *)
(* The part about steps has this name with Steps at its end.                *)

\* S1: the number of resources that may exist outside never grows beyond max_size.  The
\* resources that exceed a lowered limit are in use, in work or being closed.
SizeWithinLimit == Counts!SizeWithinLimit
SizeWithinLimitSteps ==
    [][Counts!Size(Numbers(Now)') > Counts!Size(Numbers(Now)) =>
          Counts!Size(Numbers(Now)') <= maxSize']_vars

\* S2: a resource is in one place and has at most one holder.
SingleHolder ==
    /\ \A t, u \in Tasks : lease[t] = lease[u] /\ lease[t] # None => t = u
    /\ \A t \in Tasks : lease[t] # None => place[lease[t]] = "inUse"
    /\ Elements(idle) = At(Now, "idle")
    /\ Len(idle) = Cardinality(Elements(idle))

\* R9: the ready resources were idle for less time than the unchecked ones.  So the
\* machine can keep the order in two queues, one for each kind.
ReadyAreLast == idle = Unchecked(Now) \o Ready(Now)

\* S3: every resource in use belongs to a task, ...
NothingLost ==
    \A r \in Resources : place[r] = "inUse" => \E t \in Tasks : lease[t] = r

\* ... and a slot becomes free only by a failed creation, by the end of a closer, or
\* because a user keeps the resource.
NothingLostSteps ==
    [][\A r \in Resources :
          /\ place[r] = "creating" /\ place'[r] = "free" => CreateFailed(r)
          /\ place[r] = "closing" /\ place'[r] # "closing" => CloserEnded(r)
          /\ place[r] \in {"idle", "checking", "resetting"} =>
                place'[r] \notin {"free", "creating"}
          /\ place[r] = "inUse" /\ place'[r] \in {"free", "creating"} =>
                \E t \in Tasks :
                   /\ lease[t] = r
                   /\ task[t] = "holding"
                   /\ (Detach(t) \/ Terminate)]_vars

\* S4: no old, retired or unchecked resource is handed over.  A stale one is handed
\* over only if the minimum size keeps it.  acquire returns no retired resource.
OnlyFitHandedOutSteps ==
    [][\A t \in Tasks : LET r == lease'[t] IN
          /\ r # None /\ r # lease[t] =>
                /\ Fit(Now, r)
                /\ place[r] = "idle" => IsReady(Now, r)
                /\ place[r] = "inUse" => ~Checks \/ CheckSkips
                /\ r \in stale => Counts!UsableSize(Numbers(Now)') <= minSize
          /\ task[t] # "holding" /\ task'[t] = "holding" => r \notin retired]_vars

\* S4, R7: a dirty resource is closed: it was discarded, or its check or reset failed.
DirtyIsClosedSteps ==
    [][/\ \A t \in Tasks : Discard(t) => place'[lease[t]] = "closing"
       /\ \A r \in Resources : CheckFailed(r) \/ ResetFailed(r) => place'[r] = "closing"]_vars

\* S4, R6: a failed check withdraws the trust in all idle resources.
FailedCheckWithdrawsTrustSteps ==
    [][\A r \in Resources : CheckFailed(r) => trusted' = {}]_vars

\* S4, L7, R8: retire_all retires every resource that exists or whose creation has
\* started.  It stays retired until its closer starts or its name is free.
RetiredStaysRetiredSteps ==
    [][/\ RetireAll => \A r \in Resources :
             place[r] \in {"creating", "checking", "inUse", "resetting"} => r \in retired'
       /\ \A r \in retired \ retired' :
             \/ CreateFailed(r)
             \/ place'[r] \in {"closing", "free"}
             \/ place[r] = "inUse" /\ place'[r] = "creating" \* detached, and the name is reused
       ]_vars

\* S5: once closing starts, nothing becomes idle, no task waits, ...
NothingAfterClose == Counts!NothingAfterClose

\* ... and no acquire succeeds.
NothingAfterCloseSteps ==
    [][phase # "open" =>
          \A t \in Tasks : task'[t] = "holding" => task[t] = "holding"]_vars

\* S6: the closer runs once, to its end, and never while the resource is in use.  After a
\* step of the task that had it, a resource is in use, in work, idle, or being closed.  So
\* its closer runs in the end.  Only Detach and Terminate free its name without its closer.
ClosedExactlyOnceSteps ==
    [][/\ \A r \in Resources :
             /\ place[r] = "closing" => place'[r] = "closing" \/ CloserEnded(r)
             /\ place'[r] = "closing" => \A t \in Tasks : lease'[t] # r
       /\ \A t \in Tasks :
             lease[t] # None /\ (Resume(t) \/ Cancel(t) \/ Release(t) \/ Discard(t)) =>
                place'[lease[t]] \in {"inUse", "resetting", "checking", "idle", "closing"}]_vars

\* S7: an acquire that has not ended is in the queue once.  A task has a resource if and
\* only if the pool has handed it one and the task has not given it back.
OneOutcome ==
    /\ \A t \in Tasks : (lease[t] = None) = (task[t] \in {"out", "waiting"})
    /\ Elements(queue) = {t \in Tasks : task[t] \in {"waiting", "handed"}}
    /\ Len(queue) = Cardinality(Elements(queue))

\* S8: a resource stays in use until the lease of its task ends.  So a second release
\* finds nothing to release.
NoDoubleReleaseSteps ==
    [][\A r \in Resources : place[r] = "inUse" =>
          \/ \E t \in Tasks : lease[t] = r /\ lease'[t] = r /\ place'[r] = "inUse"
          \/ /\ \E t \in Tasks : lease[t] = r /\ lease'[t] # r
             /\ \A t \in Tasks : lease'[t] = r => task'[t] = "handed"]_vars

\* S9: the pool serves only the first of the tasks that wait.  No task overtakes a waiter,
\* and the order of arrival never changes.
FifoServiceSteps ==
    [][/\ SelectSeq(queue, LAMBDA t : t \in Elements(queue'))
             = SelectSeq(queue', LAMBDA t : t \in Elements(queue))
       /\ \A t \in Tasks :
             /\ task[t] = "waiting" /\ task'[t] = "handed" =>
                   \A u \in Elements(Waiting(Now)) : task'[u] = "waiting" =>
                      \E i, j \in 1 .. Len(queue) : queue[i] = t /\ queue[j] = u /\ i < j
             /\ task[t] = "out" /\ lease'[t] # None => Waiting(Now) = << >>
             /\ task[t] = "out" /\ task'[t] = "waiting" => t = Last(queue')]_vars

\* Whether resource r has been idle for longer than resource q.
IdleLonger(r, q) == \E i, j \in 1 .. Len(idle) : idle[i] = r /\ idle[j] = q /\ i < j

\* R1: the order of reuse.  An acquire takes the resource that NextUse names, of those
\* that are ready and not overdue.  A check takes the resource that NextUse names, of
\* those that need a check.
ReuseOrderSteps ==
    [][/\ \A t \in Tasks : Acquire(t) /\ lease'[t] # None =>
             lease'[t] = NextUse(Ready(Swept(Now)))
       /\ \A r, q \in Elements(idle) :
             place'[r] = "checking" /\ place'[q] = "idle" /\ ~IsReady(Now, q)' =>
                IF Fifo THEN IdleLonger(r, q) ELSE IdleLonger(q, r)]_vars

\* R2: a waiter gets a check before a creation: while an idle resource needs a check, only
\* the minimum size starts creations.  After a failed check a creation comes first: another
\* check starts only if there is no room for a creation.
CreationAfterFailedCheckSteps ==
    [][IF \E r \in Resources : CheckFailed(r)
       THEN \A q \in Elements(idle) :
               place'[q] = "checking" => Counts!Room(Numbers(Now)') = 0
       ELSE \A q \in Resources :
               place[q] # "creating" /\ place'[q] = "creating" /\ Unchecked(Now)' # << >> =>
                  Counts!UsableSize(Numbers(Now)') <= minSize']_vars

\* S10: a callback that fails changes only its own resource and the longest-waiting
\* acquirer.  That acquirer may get the error of a creation.  The failure of a check or
\* a reset changes no task.
FaultIsolationSteps ==
    [][\A r \in Resources :
          /\ CreateFailed(r) \/ CreateLate(r) =>
                /\ lease' = lease
                /\ \A t \in Tasks : task'[t] # task[t] => t = Head(Waiting(Now))
          /\ CheckFailed(r) \/ ResetFailed(r) => lease' = lease /\ task' = task]_vars

\* S11: every step changes the numbers as PoolCounts says, and the tasks as PoolQueue
\* says.
CountsAgree == Counts!Spec
QueueAgrees == Queue!Spec

\* S12: closed means that nothing is left.
CloseWaits == Counts!CloseWaits

\* L1 as a state.
NoLostWakeup == Counts!NoLostWakeup

\* L4 as a state: during upkeep, creations fill the minimum size.
FloorKept == Counts!FloorKept

\* R3: pruning keeps the minimum size.  Pruning and a lowered limit close the resources
\* that have been idle for longest.
PruningKeepsFloorSteps ==
    [][/\ Sweep =>
             /\ \/ Elements(idle) \ Elements(idle') \subseteq old
                \/ Counts!UsableSize(Numbers(Now)') >= minSize
             /\ \A r, q \in stale \ old :
                   place'[r] = "closing" /\ place'[q] = "idle" => IdleLonger(r, q)
       /\ <<maxSize', minSize'>> # <<maxSize, minSize>> =>
             \A r, q \in Elements(idle) :
                place'[r] = "closing" /\ place'[q] = "idle" => IdleLonger(r, q)]_vars

\* R4: without a reset, a fit resource that is released is not closed, unless it exceeds a
\* lowered limit.
FitIsReusedSteps ==
    [][\A t \in Tasks :
          Release(t) /\ ~Resets /\ Fit(Now, lease[t]) /\ ~Counts!IsSurplus(Numbers(Now)) =>
             place'[lease[t]] # "closing"]_vars

\* R5: terminate() forgets the resources that users hold.
TerminateForgetsSteps ==
    [][Terminate => \A t \in Tasks : task[t] = "holding" => task'[t] = "out"]_vars

\* L2: the slot of a failed creation goes to a waiter without work.
FailureFreesSlotSteps ==
    [][\A r \in Resources :
          (CreateFailed(r) /\ Counts!Uncovered(Numbers(Now)') > 0) =>
              Counts!Room(Numbers(Now)') = 0]_vars

\* L5: when closing starts, every waiter gets an error at once.
WaitersFailAtCloseSteps ==
    [][phase = "open" /\ phase' # "open" =>
          \A t \in Tasks : task[t] = "waiting" => task'[t] = "out"]_vars

-------------------------------------------------------------------------------
(* Liveness.                                                               *)

\* L1, L2 (Fair): each waiter is served or gets an error, even if creations and checks fail
\* for ever.
WaiterServed == \A t \in Tasks : task[t] = "waiting" ~> task[t] # "waiting"

\* L1 (Fair): each acquire ends in one of its three outcomes.
AcquireEnds == \A t \in Tasks : task[t] = "waiting" ~> task[t] \in {"out", "holding"}

\* L1 (Hanging, HangingCheck): although one call hangs for ever, users are served again and
\* again.
SomebodyServed == []<>(\E t \in Tasks : task[t] = "holding")

\* L3 (Fair): closing ends.
CloseCompletes == phase = "closing" ~> phase = "closed"

\* L4 (Settling): a pool below its minimum size reaches it.
FloorRestored ==
    (phase = "open" /\ floor # "off") ~>
        \/ phase # "open"
        \/ Counts!Idle(Numbers(Now)) + Numbers(Now).inUse >= minSize

\* L6 (Stuck): a deadline is kept even if nothing else ever happens again.
DeadlineKept == \A t \in Tasks : task[t] = "waiting" ~> task[t] # "waiting"

\* L7 (Fair): all retired resources are closed in the end.
RetireAllCompletes ==
    \A r \in Resources :
       (r \in retired \/ place[r] = "closing") ~> ~(r \in retired \/ place[r] = "closing")

\* L8 (Fair): once users give back, the size is within the limit.
ShrinkCompletes ==
    Counts!Size(Numbers(Now)) > maxSize ~> Counts!Size(Numbers(Now)) <= maxSize

-------------------------------------------------------------------------------
(* The claims.  TLC checks each line at the bounds of the models.  The       *)
(* models Without... show which property breaks without which assumption.    *)

THEOREM Safe => [](/\ TypeOK /\ SizeWithinLimit /\ SingleHolder /\ NothingLost
                   /\ NothingAfterClose /\ OneOutcome /\ CloseWaits /\ NoLostWakeup
                   /\ FloorKept /\ ReadyAreLast)
THEOREM Safe => /\ SizeWithinLimitSteps /\ NothingLostSteps /\ OnlyFitHandedOutSteps
                /\ DirtyIsClosedSteps /\ FailedCheckWithdrawsTrustSteps
                /\ RetiredStaysRetiredSteps /\ NothingAfterCloseSteps
                /\ ClosedExactlyOnceSteps /\ NoDoubleReleaseSteps /\ FifoServiceSteps
                /\ ReuseOrderSteps /\ CreationAfterFailedCheckSteps
                /\ FaultIsolationSteps /\ PruningKeepsFloorSteps /\ FitIsReusedSteps
                /\ TerminateForgetsSteps /\ FailureFreesSlotSteps
                /\ WaitersFailAtCloseSteps
THEOREM Safe => QueueAgrees
THEOREM Safe => CountsAgree
THEOREM Fair => WaiterServed /\ AcquireEnds
THEOREM Hanging \/ HangingCheck => SomebodyServed
THEOREM Fair => CloseCompletes /\ RetireAllCompletes /\ ShrinkCompletes
THEOREM Settling => FloorRestored
THEOREM Stuck => DeadlineKept

-------------------------------------------------------------------------------
(* Reachability.  Each property says that a case never happens, and TLC     *)
(* must refute it.  Otherwise the properties above would say nothing about  *)
(* the case.                                                                *)

\* No task has to wait again because its resource was retired.
NobodyWaitsAgainSteps ==
    [][\A t \in Tasks : ~(task[t] = "handed" /\ task'[t] = "waiting")]_vars

\* No task is turned away because too many wait.
NobodyIsTurnedAway ==
    phase = "open" => Ready(Now) # << >> \/ Counts!MayWait(Numbers(Now))

\* No waiter gets the error of a creation.
NobodyGetsAnErrorSteps ==
    [][(\E r \in Resources : CreateFailed(r)) => task' = task]_vars

\* No work in flight is disowned.
NothingIsDisowned == disowned = 0

\* The pool never has to shrink.
NothingExceedsTheLimit == Counts!Lasting(Numbers(Now)) <= maxSize

\* No waiter is handed a resource that has just passed its check.
NobodyIsHandedAfterACheckSteps ==
    [][\A r \in Resources : place[r] = "checking" => place'[r] # "inUse"]_vars

===============================================================================
