------------------------------- MODULE BrokenPool -------------------------------
(***************************************************************************)
(* Pools that must fail.  Each definition below is one bug.  Its comment   *)
(* names the operator of AsyncResourcePool that the bug replaces.  A model *)
(* named Broken... makes the replacement.  The manifest demands that TLC   *)
(* refutes the property that guards against the bug.  If TLC finds no      *)
(* error in such a model, the property is too weak.                        *)
(***************************************************************************)
EXTENDS AsyncResourcePool

\* For StartCreations: a slot is free as soon as its closer starts.
CreateBesideClosing(s) ==
    Put(s, LowestFree(At(s, "free"),
                      Counts!CreationsToStart([Numbers(s) EXCEPT !.closing = 0])), "creating")

\* For Release: the resource becomes idle, and its lease goes on.
ReleaseTwice(t) ==
    /\ task[t] = "holding"
    /\ Become([Now EXCEPT !.place[lease[t]] = "idle", !.idle = Append(@, lease[t])])

\* For Cancel: the resource that a cancelled task was handed belongs to no task.
CancelAndLose(t) ==
    task[t] \in {"waiting", "handed"} /\ Become(Settle(Send(Now, t, "out", None), FALSE))

\* For Swept: the pool hands out overdue resources.
NotSwept(s) == s

\* For Settle: a resource that needs a check is handed over unchecked.
SettleUnchecked(s, failed) ==
    LET all == [s EXCEPT !.trusted = @ \cup Elements(s.idle)]
    IN  StartCreations(HandOver(all))

\* For ResetFailed: a resource whose reset failed is used again.
ResetFailedUnnoticed(r) == CanEndReset(r) /\ Become(Settle(Return(Now, r), FALSE))

\* For CheckFailed: the other idle resources stay trusted.
CheckFailedAlone(r) ==
    CanEndCheck(r) /\ Become(Settle(Capped(Put(Now, {r}, "closing")), TRUE))

\* For CheckFailed: the pool checks the next idle resource although there is room for a
\* creation.
CheckFailedCheckNext(r) ==
    /\ CanEndCheck(r)
    /\ Become(Settle(Capped([Put(Now, {r}, "closing") EXCEPT !.trusted = {}]), FALSE))

\* For Retire: creations in flight belong to the new generation.
RetireWithoutCreations(s) ==
    LET left == {r \in Resources : s.place[r] \in {"checking", "inUse", "resetting"}}
    IN  [Put(s, Elements(s.idle), "closing") EXCEPT
            !.retired = @ \cup left, !.old = {}, !.trusted = {}, !.disowned = 0]

\* For Retire: checks in flight belong to the new generation.
RetireWithoutChecks(s) ==
    LET left == {r \in Resources : s.place[r] \in {"creating", "inUse", "resetting"}}
    IN  [Put(s, Elements(s.idle), "closing") EXCEPT
            !.retired = @ \cup left, !.old = {}, !.trusted = {}, !.disowned = 0]

\* For Fit: a retired resource that comes back becomes idle.
FitUnlessOld(s, r) == r \notin s.old

\* For Shut: waiters stay in the queue of a closing pool.
ShutKeepingWaiters(s) == [Retire(s) EXCEPT !.phase = "closing", !.floor = "off"]

\* For Shut: only the longest-waiting acquirer gets an error.
ShutFailingOne(s) ==
    LET failed == IF Waiting(s) = << >> THEN {} ELSE {Head(Waiting(s))}
    IN  [Retire(s) EXCEPT !.phase = "closing", !.floor = "off",
                          !.queue = Without(@, failed),
                          !.task = [t \in Tasks |-> IF t \in failed THEN "out" ELSE @[t]]]

\* For Close: the pool is closed although work is in flight.
CloseAtOnce ==
    /\ phase = "open"
    /\ Become([Shut(Now) EXCEPT !.phase = "closed"])

\* For Discard: the slot is freed, but no closer runs.
DiscardUnclosed(t) ==
    /\ Leaves /\ task[t] = "holding"
    /\ Become(Settle(Put(Send(Now, t, "out", None), {lease[t]}, "free"), FALSE))

\* For Send: a task that has left keeps its position in the queue.
SendKeepingPlace(s, t, w, r) ==
    [s EXCEPT !.task[t] = w, !.lease[t] = r,
              !.queue = IF t \in Elements(@) THEN @ ELSE Append(@, t)]

\* For Release: a task that holds nothing can release another task's resource.
ReleaseAnothers(t) ==
    \/ /\ task[t] = "holding"
       /\ Become(Settle(Return(Send(Now, t, "out", None), lease[t]), FALSE))
    \/ /\ task[t] = "out"
       /\ \E u \in Tasks :
             task[u] = "holding" /\ Become(Settle(Return(Now, lease[u]), FALSE))

\* For HandOver: last come, first served.
RECURSIVE HandOverToLast(_)
HandOverToLast(s) ==
    IF s.phase = "open" /\ Waiting(s) # << >> /\ Ready(s) # << >>
    THEN HandOverToLast(Give(s, Last(Waiting(s)), "handed", NextUse(Ready(s))))
    ELSE s

\* For Acquire: a newcomer takes the resource that was idle for longest, not the one used
\* last.
AcquireColdest(t) ==
    /\ phase = "open" /\ task[t] = "out"
    /\ Ready(Now) # << >> \/ Counts!MayWait(Numbers(Now))
    /\ LET on == Swept([Now EXCEPT !.floor = IF @ = "off" THEN "on" ELSE @])
       IN  IF Ready(on) # << >>
           THEN Become(Settle(Give(on, t, "holding", Head(Ready(on))), FALSE))
           ELSE Become(Settle(Send(on, t, "waiting", None), FALSE))

\* For StartChecks: the pool checks the resource that reuse would take last.
RECURSIVE StartChecksAtOtherEnd(_, _)
StartChecksAtOtherEnd(s, n) ==
    IF n = 0 THEN s
    ELSE LET all == Unchecked(s)
             r == IF Fifo THEN Last(all) ELSE Head(all)
         IN  StartChecksAtOtherEnd(Move(s, r, "checking"), n - 1)

\* For Settle: creations come before checks, and not only after a failed check.
SettleCreatingFirst(s, failed) ==
    LET handed == HandOver(s)
    IN  StartCreations(StartChecks(handed, Counts!ChecksToStart(Numbers(handed), TRUE)))

\* For CreateFailed: one failure fails every waiter.
FailEverybody(r) ==
    /\ place[r] = "creating"
    /\ LET failed == Elements(Waiting(Now))
       IN  Become(Settle([Capped(Put(Now, {r}, "free")) EXCEPT
               !.queue = Without(@, failed),
               !.task = [t \in Tasks |-> IF t \in failed THEN "out" ELSE @[t]]], FALSE))

\* For CreateFailed: the error goes to the acquirer that came last.
FailNewest(r) ==
    /\ place[r] = "creating"
    /\ LET lost == Capped(Put(Now, {r}, "free"))
       IN  Become(Settle(IF Counts!FailsWaiter(Numbers(lost))
                         THEN Send(lost, Last(Waiting(lost)), "out", None)
                         ELSE lost, FALSE))

\* For CreateFailed: the slot is freed, and no new creation starts.
FailAndForget(r) ==
    /\ place[r] = "creating"
    /\ LET lost == Capped(Put(Now, {r}, "free"))
       IN  Become(IF Counts!FailsWaiter(Numbers(lost))
                  THEN Send(lost, Head(Waiting(lost)), "out", None)
                  ELSE lost)

\* For Overdue: pruning does not keep the minimum size.
OverdueBelowFloor(s) == (s.old \cup s.stale) \cap Elements(s.idle)

\* For Overdue: of the stale resources, the pool closes the one used last.
OverdueNewest(s) ==
    LET idling == Elements(s.idle)
        spare == Counts!Prunable(Numbers(s))
        young == Without(s.idle, idling \ s.stale)
        few == Len(young) - spare
    IN  {young[i] : i \in {j \in 1 .. Len(young) : j > few}}

\* For Resize: a lowered limit closes the idle resources that were used last.
ResizeNewest(max, min) ==
    /\ phase = "open" /\ min <= max /\ <<max, min>> # <<maxSize, minSize>>
    /\ LET resized == [Now EXCEPT !.maxSize = max, !.minSize = min]
           few == Len(idle) - Counts!Surplus(Numbers(resized))
           closed == {idle[i] : i \in {j \in 1 .. Len(idle) : j > few}}
       IN  Become(Settle(Put(resized, closed, "closing"), FALSE))

\* For Release: every resource is closed when it comes back.
ReleaseToCloser(t) ==
    /\ task[t] = "holding"
    /\ Become(Settle(Put(Send(Now, t, "out", None), {lease[t]}, "closing"), FALSE))

\* For Terminate: users keep their leases.
TerminateKeepingHolders ==
    /\ Leaves /\ phase = "open"
    /\ Become(Settle(Shut(Now), FALSE))

\* For Return: a resource that comes back becomes idle although the limit was lowered.
ReturnBeyondLimit(s, r) ==
    IF ~Fit(s, r) THEN Put(s, {r}, "closing")
    ELSE [Move(s, r, "idle") EXCEPT !.idle = Append(@, r)]

\* For Return: a resource that comes back counts as idle for longest.
ReturnToFront(s, r) ==
    IF ~Fit(s, r) \/ Counts!IsSurplus(Numbers(s)) THEN Put(s, {r}, "closing")
    ELSE [Move(s, r, "idle") EXCEPT !.idle = <<r>> \o @,
                                    !.trusted = IF CheckSkips THEN @ \cup {r} ELSE @]

\* For Leave: the next acquirer relies on the work of the waiter that has left.
LeaveOwned(s, t) == Send(s, t, "out", None)

\* For Give and Resume: a livelock.  A failed check withdraws the trust in resources that
\* are handed over, too.  TLC finds a run that goes round for ever:
\*  1. One resource is in its check, and the pool hands a fresh one to a waiter.
\*  2. Before the waiter's task runs, the check fails.  So the fresh resource is no longer
\*     trusted.
\*  3. The task runs.  The pool checks the fresh resource, and the task waits again.
\*  4. A creation makes another fresh resource in the slot of the one that failed.  The
\*     pool hands it to a waiter, as in 1.
\* Each creation, check and closer ends, and every task runs.  So Fair holds, and yet one
\* acquire never ends.  In AsyncResourcePool only idle resources are trusted, so a failed
\* check takes nothing from a task.
GiveMarked(s, t, w, r) ==
    LET marked == IF w = "handed" THEN {r} ELSE {}
    IN  Send([Move(s, r, "inUse") EXCEPT !.trusted = @ \cup marked], t, w, r)

ResumeWithTrust(t) ==
    /\ CanResume(t)
    /\ LET r == lease[t]
       IN  IF r \in retired
           THEN Become(Settle(Send(Put(Now, {r}, "closing"), t,
                                   IF phase = "open" THEN "waiting" ELSE "out", None), FALSE))
           ELSE IF Checks /\ r \notin trusted
           THEN Become(Move(Send(Now, t, "waiting", None), r, "checking"))
           ELSE Become([Send(Now, t, "holding", r) EXCEPT !.trusted = @ \ {r}])

\* For CanEndCloser: closers end only while the pool is open.
CanEndCloserWhileOpen(r) == place[r] = "closing" /\ phase = "open"

\* For RetryFloor: after one failure the upkeep of the minimum size ends for good.
GiveUpFloor ==
    /\ phase = "open" /\ floor = "backoff"
    /\ Become([Now EXCEPT !.floor = "off"])

\* For CanTimeout: the deadline covers only the first waiter.
CanTimeoutFirst(t) == queue # << >> /\ Head(queue) = t /\ task[t] = "waiting"

\* For Resize: a lowered limit closes nothing.
ResizeOnly(max, min) ==
    /\ phase = "open" /\ min <= max /\ <<max, min>> # <<maxSize, minSize>>
    /\ Become(Settle([Now EXCEPT !.maxSize = max, !.minSize = min], FALSE))

\* For CanEndCreation: a retired creation never ends.
CanEndCurrentCreation(r) == place[r] = "creating" /\ r \notin retired

\* For Settle: no step starts work, and closing is never complete.
SettleLazily(s, failed) == HandOver(s)

\* For HandOver: the last ready resource is not handed over.
HandOverLater(s) ==
    IF s.phase = "open" /\ Waiting(s) # << >> /\ Len(Ready(s)) > 1
    THEN Give(s, Head(Waiting(s)), "handed", NextUse(Ready(s)))
    ELSE s
===============================================================================
