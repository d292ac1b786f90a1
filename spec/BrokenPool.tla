------------------------------- MODULE BrokenPool -------------------------------
(***************************************************************************)
(* Pools that must fail.  Each definition below puts one real bug into     *)
(* AsyncResourcePool: a model named Broken... replaces the right operator  *)
(* by it, and the manifest demands that TLC refutes exactly the property   *)
(* that guards against it.  A checker that lets one of them pass is broken *)
(* itself.                                                                 *)
(***************************************************************************)
EXTENDS AsyncResourcePool

\* For GiveBack: the resource that a cancelled task was handed belongs to no task.
LoseGivenBack(s, t) ==
    IF s.task[t] = "handed" THEN Send(s, t, "out", None)
    ELSE LET r == s.lease[t]
             left == Send(s, t, "out", None)
         IN  IF Fit(s, r) THEN Shelve(left, r, TRUE) ELSE Put(left, {r}, "closing")

\* For CreateFailed: the slot is freed, and no new creation starts.
FailAndForget(r) ==
    /\ place[r] = "creating"
    /\ LET lost == Put(Now, {r}, "free")
       IN  Become(IF Counts!FailsWaiter(Numbers(lost))
                  THEN Send(lost, Head(Waiting(lost)), "out", None)
                  ELSE lost)

\* For Over: the pool is closed although a creation is in flight.
OverBeforeCreationsEnd(s) ==
    s.phase = "closing" /\ \A r \in Resources : s.place[r] \in {"free", "creating"}

\* For Missing: a slot is free as soon as its closer starts.
MissingBesideClosing(s) ==
    Counts!CreationsToStart([Numbers(s) EXCEPT !.closing = 0])

\* For Shut: waiters stay in the queue of a closing pool.
ShutKeepingWaiters(s) == [Retire(s) EXCEPT !.phase = "closing", !.floor = "off"]

\* For Release: the resource is idle, and still leased.
ReleaseTwice(t) ==
    /\ task[t] = "holding"
    /\ Become([Now EXCEPT !.place[lease[t]] = "idle", !.idle = Append(@, lease[t])])

\* For HandOver: last come, first served.
HandOverToLast(s) ==
    IF s.phase = "open" /\ Waiting(s) # << >> /\ s.idle # << >>
    THEN Give(s, Last(Waiting(s)), "handed", Last(s.idle))
    ELSE s

\* For Retire: creations in flight belong to the new generation.
RetireWithoutCreations(s) ==
    LET used == {r \in Resources : s.place[r] = "inUse"}
    IN  [Put(s, Elements(s.idle), "closing") EXCEPT
            !.retired = @ \cup used, !.old = @ \ used, !.trusted = {}]

\* For Swept: no limit in time is compared when a resource is handed out.
NotSwept(s) == s

\* For RetryFloor: after one failure the upkeep of the minimum size ends for good.
GiveUpFloor ==
    /\ phase = "open" /\ floor = "backoff"
    /\ Become([Now EXCEPT !.floor = "off"])

\* For CanTimeout: the deadline covers the queue, not the check after it.
CanTimeoutInQueueOnly(t) == task[t] = "waiting"

\* For CanEndCloser: closers end only while the pool is open.
CanEndCloserWhileOpen(r) == place[r] = "closing" /\ phase = "open"

\* For Discard: the slot is freed, but no closer runs.
DiscardUnclosed(t) ==
    /\ Leaves /\ task[t] = "holding"
    /\ Become(Settle(Put(Send(Now, t, "out", None), {lease[t]}, "free")))

\* For ResetFailed: a resource whose reset failed is used again.
ResetFailedUnnoticed(t) == CanEndReset(t) /\ Become(Settle(GiveBack(Now, t)))

\* For Send: a task that has left keeps its position in the queue.
SendKeepingPlace(s, t, w, r) ==
    [s EXCEPT !.task[t] = w, !.lease[t] = r,
              !.queue = IF t \in Elements(@) THEN @ ELSE Append(@, t)]

\* For Release: a task that holds nothing can release another task's resource.
ReleaseAnothers(t) ==
    \/ task[t] = "holding" /\ Become(Settle(GiveBack(Now, t)))
    \/ /\ task[t] = "out"
       /\ \E u \in Tasks :
             task[u] = "holding" /\ Become(Settle(Shelve(Now, lease[u], TRUE)))

\* For CreateFailed: one failure fails every waiter.
FailEverybody(r) ==
    /\ place[r] = "creating"
    /\ LET told == Elements(Waiting(Now))
       IN  Become(Settle([Put(Now, {r}, "free") EXCEPT
               !.queue = Without(@, told),
               !.task = [t \in Tasks |-> IF t \in told THEN "out" ELSE @[t]]]))

\* For Shut: only the longest-waiting acquirer gets an error.
ShutTellingOne(s) ==
    LET told == IF Waiting(s) = << >> THEN {} ELSE {Head(Waiting(s))}
    IN  [Retire(s) EXCEPT !.phase = "closing", !.floor = "off",
                          !.queue = Without(@, told),
                          !.task = [t \in Tasks |-> IF t \in told THEN "out" ELSE @[t]]]

\* For Fit: a retired resource that comes back becomes idle.
FitUnlessOld(s, r) == r \notin s.old
===============================================================================
