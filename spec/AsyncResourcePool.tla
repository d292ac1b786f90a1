--------------------------- MODULE AsyncResourcePool ---------------------------
(***************************************************************************)
(* A pool of reusable resources, as its users and its state machine see    *)
(* it.  The Python class PoolMachine has one method for each action below  *)
(* that the pool performs, registered under the same name.  At the bounds  *)
(* of the models, its graph is compared with the graph of this module.     *)
(*                                                                         *)
(* The model has tasks that acquire, wait, are handed a resource, go on    *)
(* and release it.  They can be cancelled or time out at every point.  It  *)
(* has a first come, first served queue, idle resources that are reused    *)
(* last in, first out, creations and closers that take time and may fail,  *)
(* checks and resets, age and idle time, the minimum size, generations,    *)
(* and closing.                                                            *)
(*                                                                         *)
(* Abstractions:                                                           *)
(*  - Time.  A limit that can pass is an action of the environment         *)
(*    (GrowOld, GrowStale, TrustExpires).  Limits pass in any order.  A    *)
(*    deadline may pass at any moment.                                     *)
(*  - An acquire that ended in an error holds nothing.  So its task is     *)
(*    "out" at once, although its coroutine resumes a little later.        *)
(*  - Refused calls (a foreign release, an acquire of a closed pool)       *)
(*    change nothing, so they are no actions.  The comparison of the       *)
(*    graphs checks that the machine refuses what is not enabled here.     *)
(*  - Resources have recycled names: a creation takes the lowest free one. *)
(***************************************************************************)
EXTENDS Integers, Sequences, FiniteSets

CONSTANTS
    Tasks,        \* the acquirers; each has one acquire at a time
    Resources,    \* names 1 .. n, with n > MaxSize so that S1 could fail
    MaxSize, MinSize, MaxCreating, MaxWaiting,    \* as in PoolCounts
    Ages,         \* max_age is set
    Idles,        \* max_idle_time is set
    Checks,       \* a check is set
    CheckSkips,   \* check_after_idle > 0: a resource used recently is not checked
    Resets,       \* a reset is set
    Retires,      \* retire_all is called, at any time
    Leaves        \* discard, detach and terminate are called, at any time

ASSUME /\ Resources = 1 .. Cardinality(Resources)
       /\ Cardinality(Resources) > MaxSize
       /\ {Ages, Idles, Checks, CheckSkips, Resets, Retires, Leaves} \subseteq BOOLEAN
       /\ CheckSkips => Checks

None == 0  \* no resource

VARIABLES
    phase,    \* "open", "closing" or "closed"
    floor,    \* the upkeep of the minimum size: "off", "on" or "backoff"
    place,    \* where each resource is; "free" is a name without a resource
    task,     \* the state of each task's acquire
    lease,    \* the resource that each task has, or None
    queue,    \* acquires under way, first come first: waiting, handed over, checking
    idle,     \* idle resources; the one used last is at the end
    old,      \* resources whose max_age has passed
    stale,    \* idle resources whose max_idle_time has passed
    trusted,  \* idle or handed-over resources that need no check now
    retired   \* creations and resources of an old generation

vars == <<phase, floor, place, task, lease, queue, idle, old, stale, trusted, retired>>

TypeOK ==
    /\ phase \in {"open", "closing", "closed"}
    /\ floor \in {"off", "on", "backoff"}
    /\ place \in [Resources -> {"free", "creating", "idle", "inUse", "closing"}]
    /\ task \in [Tasks -> {"out", "waiting", "handed", "checking", "holding", "resetting"}]
    /\ lease \in [Tasks -> Resources \cup {None}]
    /\ queue \in Seq(Tasks)
    /\ idle \in Seq(Resources)
    /\ old \subseteq Resources
    /\ stale \subseteq Resources
    /\ trusted \subseteq Resources
    /\ retired \subseteq Resources

-------------------------------------------------------------------------------
(* The numbers behind the state, and the rules that PoolCounts states on   *)
(* them: when to create, whether a waiter gets an error, how much to       *)
(* prune, when closing is complete.                                        *)

\* The tasks that wait, longest-waiting first.
Waiting(s) == SelectSeq(s.queue, LAMBDA t : s.task[t] = "waiting")

Numbers(s) ==
    LET at(p) == Cardinality({r \in Resources : s.place[r] = p})
    IN  [creating |-> at("creating"),
         retiredCreations |-> Cardinality({r \in s.retired : s.place[r] = "creating"}),
         idle |-> at("idle"), inUse |-> at("inUse"), closing |-> at("closing"),
         waiting |-> Len(Waiting(s)), phase |-> s.phase, floor |-> s.floor]

\* The state as a value, and the step to such a value.
Now == [phase |-> phase, floor |-> floor, place |-> place, task |-> task,
        lease |-> lease, queue |-> queue, idle |-> idle, old |-> old,
        stale |-> stale, trusted |-> trusted, retired |-> retired]

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

Counts == INSTANCE PoolCounts WITH
    creating <- Numbers(Now).creating, retiredCreations <- Numbers(Now).retiredCreations,
    idle <- Numbers(Now).idle, inUse <- Numbers(Now).inUse,
    closing <- Numbers(Now).closing, waiting <- Numbers(Now).waiting

Missing(s) == Counts!CreationsToStart(Numbers(s))
Over(s) == Counts!ClosingComplete(Numbers(s))

-------------------------------------------------------------------------------
(* Pieces of steps: functions from state to state.                         *)

Last(seq) == seq[Len(seq)]
Elements(seq) == {seq[i] : i \in 1 .. Len(seq)}
Without(seq, set) == SelectSeq(seq, LAMBDA x : x \notin set)
Lowest(set) == CHOOSE x \in set : \A y \in set : x <= y

\* The n lowest free names.
RECURSIVE LowestFree(_, _)
LowestFree(free, n) ==
    IF n = 0 THEN {}
    ELSE {Lowest(free)} \cup LowestFree(free \ {Lowest(free)}, n - 1)

\* The resources in set go to p, which is neither idle nor in use.
Put(s, set, p) ==
    [s EXCEPT !.place = [r \in Resources |-> IF r \in set THEN p ELSE @[r]],
              !.idle = Without(@, set),
              !.old = @ \ set, !.stale = @ \ set,
              !.trusted = @ \ set, !.retired = @ \ set]

\* Task t goes to w, with resource r or None.  It keeps its position in the order
\* of arrival until its acquire is over.  So if it waits again, it waits there.
Send(s, t, w, r) ==
    [s EXCEPT !.task[t] = w, !.lease[t] = r,
              !.queue = IF w \notin {"waiting", "handed", "checking"} THEN Without(@, {t})
                        ELSE IF t \in Elements(@) THEN @ ELSE Append(@, t)]

\* Task t gets resource r, which was idle or is handed over.
Give(s, t, w, r) ==
    Send([s EXCEPT !.place[r] = "inUse", !.idle = Without(@, {r}),
                   !.stale = @ \ {r},
                   !.trusted = IF w = "handed" THEN @ ELSE @ \ {r}], t, w, r)

\* Hand the idle resource, if there is one, to the task that has waited longest.
\* No step leaves more than one idle resource beside a waiter.
HandOver(s) ==
    IF s.phase = "open" /\ Waiting(s) # << >> /\ s.idle # << >>
    THEN Give(s, Head(Waiting(s)), "handed", Last(s.idle))
    ELSE s

StartCreations(s) ==
    LET free == {r \in Resources : s.place[r] = "free"}
    IN  Put(s, LowestFree(free, Missing(s)), "creating")

\* Every step of the pool ends like this: hand over, start creations, and see
\* whether closing is complete.
Settle(s) ==
    LET done == StartCreations(HandOver(s))
    IN  IF Over(done) THEN [done EXCEPT !.phase = "closed"] ELSE done

\* The overdue idle resources: every old one, and of the others the stale
\* ones, longest idle first, as far as the minimum size allows.
Overdue(s) ==
    LET aged == s.old \cap Elements(s.idle)
        young == Without(s.idle, aged)
        spare == Counts!Prunable(Numbers(Put(s, aged, "closing")))
    IN  aged \cup {young[i] : i \in {j \in 1 .. Len(young) :
                                         j <= spare /\ young[j] \in s.stale}}

Swept(s) == Put(s, Overdue(s), "closing")

\* Task t tries to get a resource: an idle one that is fit, at once.  If there is
\* none, the task waits.
Seek(s, t) ==
    LET w == Swept(s)
    IN  IF w.idle # << >>
        THEN LET r == Last(w.idle)
             IN  Give(w, t, IF Checks /\ r \notin w.trusted THEN "checking"
                                                            ELSE "holding", r)
        ELSE Send(w, t, "waiting", None)

\* Resource r becomes idle (Settle may hand it over).  If it was used, it is trusted.
\* If not, it is trusted as much as before.
Shelve(s, r, used) ==
    [s EXCEPT !.place[r] = "idle", !.idle = Append(@, r),
              !.trusted = IF ~CheckSkips THEN @ \ {r}
                          ELSE IF used THEN @ \cup {r} ELSE @]

\* Fit to be used again, as far as the pool can tell.
Fit(s, r) == r \notin s.retired /\ r \notin s.old

\* Task t is done with its resource, which may be used again if it is fit.
GiveBack(s, t) ==
    LET r == s.lease[t]
        left == Send(s, t, "out", None)
    IN  IF Fit(s, r) THEN Shelve(left, r, s.task[t] # "handed") ELSE Put(left, {r}, "closing")

\* Task t is done with its resource, which must not be used again.
CloseLeased(s, t) == Put(Send(s, t, "out", None), {s.lease[t]}, "closing")

\* The resource of task t has turned out to be unfit: close it.  The task tries
\* again, ahead of all tasks that came later.
Again(s, t) ==
    LET without == Put([s EXCEPT !.lease[t] = None], {s.lease[t]}, "closing")
    IN  IF s.phase = "open" THEN Seek(without, t) ELSE CloseLeased(s, t)

-------------------------------------------------------------------------------
(* The guards of everything that has begun and can end.  The fairness        *)
(* assumptions use these guards, so they cannot assume away an action that   *)
(* can no longer happen.  tests/spec/test_progress.py checks on the graphs   *)
(* that the actions can happen whenever their guards hold.                   *)

CanResume(t) == task[t] = "handed"
CanEndCheck(t) == task[t] = "checking"
CanTimeout(t) == task[t] \in {"waiting", "checking"}
CanRelease(t) == task[t] = "holding"
CanEndReset(t) == task[t] = "resetting"
CanEndCreation(r) == place[r] = "creating"
CanEndCloser(r) == place[r] = "closing"
CanRetryFloor == phase = "open" /\ floor = "backoff"

-------------------------------------------------------------------------------
(* Steps of tasks.                                                         *)

\* A task acquires; the pool is open and the queue is not full.  The task gets
\* the idle resource used last, or waits.
Acquire(t) ==
    /\ phase = "open" /\ task[t] = "out"
    /\ idle # << >> \/ Counts!MayWait(Numbers(Now))
    /\ LET on == [Now EXCEPT !.floor = IF @ = "off" THEN "on" ELSE @]
       IN  Become(Settle(Seek(on, t)))

\* A task that was handed a resource runs again.  It holds the resource, or has to
\* check it first, or finds that it was retired or that the pool closes.
Resume(t) ==
    /\ CanResume(t)
    /\ LET r == lease[t]
       IN  IF r \in retired
           THEN Become(Settle(Again(Now, t)))
           ELSE Become(Give(Now, t, IF Checks /\ r \notin trusted THEN "checking"
                                                                  ELSE "holding", r))

\* The check passed: the task holds the resource, unless it was retired or has
\* expired during the check, or the pool closes.
CheckPassed(t) ==
    /\ CanEndCheck(t)
    /\ IF Fit(Now, lease[t])
       THEN Become(Send(Now, t, "holding", lease[t]))
       ELSE Become(Settle(Again(Now, t)))

\* The check failed: the resource is closed, and no resource is trusted any more.
\* The task tries again, ahead of all tasks that came later.
CheckFailed(t) ==
    /\ CanEndCheck(t)
    /\ Become(Settle(Again([Now EXCEPT !.trusted = {}], t)))

\* The deadline passes.  A waiter leaves the queue.  A resource in a check is in an
\* unknown state, so it is closed.
Timeout(t) ==
    /\ CanTimeout(t)
    /\ IF task[t] = "waiting"
       THEN Become(Settle(Send(Now, t, "out", None)))
       ELSE Become(Settle(CloseLeased(Now, t)))

\* The task is cancelled inside the pool.  A waiter leaves the queue.  A resource
\* that was handed over goes to the next waiter or becomes idle.  The time since
\* the hand-over may have ended the trust in it.  A resource in a check or a reset
\* is in an unknown state, so it is closed.
Cancel(t) ==
    /\ task[t] \in {"waiting", "handed", "checking", "resetting"}
    /\ CASE task[t] = "waiting" ->
              Become(Settle(Send(Now, t, "out", None)))
         [] task[t] = "handed" ->
              \E lost \in SUBSET (trusted \cap {lease[t]}) :
                 Become(Settle(GiveBack([Now EXCEPT !.trusted = @ \ lost], t)))
         [] OTHER -> Become(Settle(CloseLeased(Now, t)))

\* A holder releases its resource.  If there is a reset, the resource is in use
\* until the reset ends.
Release(t) ==
    /\ CanRelease(t)
    /\ IF Resets THEN Become(Send(Now, t, "resetting", lease[t]))
                 ELSE Become(Settle(GiveBack(Now, t)))

\* The reset passed.
ResetPassed(t) == CanEndReset(t) /\ Become(Settle(GiveBack(Now, t)))

\* The reset failed or took too long: the resource is closed.
ResetFailed(t) == CanEndReset(t) /\ Become(Settle(CloseLeased(Now, t)))

\* A holder gives its resource back to be closed.
Discard(t) == Leaves /\ task[t] = "holding" /\ Become(Settle(CloseLeased(Now, t)))

\* A holder takes its resource out of the pool for good, unclosed.
Detach(t) ==
    /\ Leaves /\ task[t] = "holding"
    /\ Become(Settle(Put(Send(Now, t, "out", None), {lease[t]}, "free")))

-------------------------------------------------------------------------------
(* Steps of the pool.                                                      *)

\* The pool is opened: it keeps the minimum size from now on.
Open ==
    /\ phase = "open" /\ floor = "off"
    /\ Become(Settle([Now EXCEPT !.floor = "on"]))

\* A creation succeeds.  A fresh resource needs no check if it is handed over at
\* once.  A resource of an old generation is closed.
CreateSucceeded(r) ==
    /\ CanEndCreation(r)
    /\ IF r \in retired
       THEN Become(Settle(Put(Now, {r}, "closing")))
       ELSE LET new == Shelve([Now EXCEPT !.floor = "on"], r, TRUE)
            IN  Become(Settle(IF Checks /\ Waiting(Now) # << >>
                              THEN [new EXCEPT !.trusted = @ \cup {r}] ELSE new))

\* A creation fails.  Unless the others in flight can serve all waiters, the
\* longest-waiting acquirer gets the error, and the next one gets a new creation.
\* If the minimum size lacks this one, its upkeep backs off.
CreateFailed(r) ==
    /\ CanEndCreation(r)
    /\ LET lost == Put(Now, {r}, "free")
           told == IF Counts!FailsWaiter(Numbers(lost))
                   THEN Send(lost, Head(Waiting(lost)), "out", None)
                   ELSE lost
           short == Counts!UsableSize(Numbers(told)) < MinSize
       IN  Become(Settle(IF r \in retired THEN lost
                         ELSE IF short THEN [told EXCEPT !.floor = "backoff"]
                         ELSE told))

\* A closer has ended, failed, or exceeded its limit: the slot is free.
CloserEnded(r) ==
    /\ CanEndCloser(r)
    /\ Become(Settle(Put(Now, {r}, "free")))

\* The overdue idle resources are closed, by the timer or by prune().
Sweep ==
    /\ phase = "open" /\ Overdue(Now) # {}
    /\ Become(Settle(Swept(Now)))

\* The back-off ends: the upkeep of the minimum size goes on.
RetryFloor ==
    /\ CanRetryFloor
    /\ Become(Settle([Now EXCEPT !.floor = "on"]))

\* Everything that exists, or whose creation has started, is of an old generation.
\* Idle resources are closed now, the others when they come back.
Retire(s) ==
    LET left == {r \in Resources : s.place[r] \in {"creating", "inUse"}}
        shut == Put(s, Elements(s.idle), "closing")
    IN  [shut EXCEPT !.retired = left, !.old = @ \ left, !.trusted = {}]

RetireAll ==
    /\ Retires /\ phase = "open"
    /\ Retire(Now) # Now
    /\ Become(Settle(Retire(Now)))

\* Closing begins: waiters fail, everything is retired.
Shut(s) ==
    [Retire(s) EXCEPT !.phase = "closing", !.floor = "off",
                      !.queue = Without(@, Elements(Waiting(s))),
                      !.task = [t \in Tasks |-> IF @[t] = "waiting" THEN "out" ELSE @[t]]]

Close ==
    /\ phase = "open"
    /\ Become(Settle(Shut(Now)))

\* Closing without waiting for users: the pool forgets what they hold, unclosed.
Terminate ==
    /\ Leaves /\ phase # "closed"
    /\ LET held == {t \in Tasks : task[t] = "holding"}
           shut == Put(Shut(Now), {lease[t] : t \in held}, "free")
           next == [shut EXCEPT !.task = [t \in Tasks |-> IF t \in held THEN "out" ELSE @[t]],
                                !.lease = [t \in Tasks |-> IF t \in held THEN None ELSE @[t]]]
       IN  /\ next # Now
           /\ Become(Settle(next))

-------------------------------------------------------------------------------
(* Time passes.                                                            *)

\* max_age passes for a resource that may still be used.
GrowOld(r) ==
    /\ Ages /\ phase = "open"
    /\ place[r] \in {"idle", "inUse"} /\ Fit(Now, r)
    /\ old' = old \cup {r}
    /\ UNCHANGED <<phase, floor, place, task, lease, queue, idle, stale, trusted, retired>>

\* max_idle_time passes for the longest-idle resource for which it has not.
GrowStale(r) ==
    /\ Idles /\ phase = "open"
    /\ LET fresh == Without(idle, stale)
       IN  fresh # << >> /\ r = Head(fresh)
    /\ stale' = stale \cup {r}
    /\ UNCHANGED <<phase, floor, place, task, lease, queue, idle, old, trusted, retired>>

\* check_after_idle passes for an idle resource since its last use.  Whether a
\* resource that is handed over needs a check is decided at the hand-over.
TrustExpires(r) ==
    /\ phase = "open" /\ CheckSkips /\ r \in trusted /\ place[r] = "idle"
    /\ trusted' = trusted \ {r}
    /\ UNCHANGED <<phase, floor, place, task, lease, queue, idle, old, stale, retired>>

-------------------------------------------------------------------------------

Init ==
    /\ phase = "open" /\ floor = "off"
    /\ place = [r \in Resources |-> "free"]
    /\ task = [t \in Tasks |-> "out"]
    /\ lease = [t \in Tasks |-> None]
    /\ queue = << >> /\ idle = << >>
    /\ old = {} /\ stale = {} /\ trusted = {} /\ retired = {}

Next ==
    \/ \E t \in Tasks : Acquire(t)
    \/ \E t \in Tasks : Resume(t)
    \/ \E t \in Tasks : CheckPassed(t)
    \/ \E t \in Tasks : CheckFailed(t)
    \/ \E t \in Tasks : Timeout(t)
    \/ \E t \in Tasks : Cancel(t)
    \/ \E t \in Tasks : Release(t)
    \/ \E t \in Tasks : ResetPassed(t)
    \/ \E t \in Tasks : ResetFailed(t)
    \/ \E t \in Tasks : Discard(t)
    \/ \E t \in Tasks : Detach(t)
    \/ Open
    \/ \E r \in Resources : CreateSucceeded(r)
    \/ \E r \in Resources : CreateFailed(r)
    \/ \E r \in Resources : CloserEnded(r)
    \/ Sweep
    \/ RetryFloor
    \/ RetireAll
    \/ Close
    \/ Terminate
    \/ \E r \in Resources : GrowOld(r)
    \/ \E r \in Resources : GrowStale(r)
    \/ \E r \in Resources : TrustExpires(r)

\* Safety needs no fairness.
Safe == Init /\ [][Next]_vars

-------------------------------------------------------------------------------
(* Fairness: callbacks end or reach their limits.  A task that was woken    *)
(* runs.  Users give back what they hold.  The timer of the back-off fires. *)
(* retire_all is not called for ever.  No task has to acquire, to be        *)
(* cancelled, or to time out.  This is weak fairness of the actions.  Their *)
(* guards are written out, because TLC evaluates ENABLED a thousand times   *)
(* more slowly.  Where an action ends the state of its own guard, fairness  *)
(* means "the guard does not hold for ever".                                *)

Fair ==
    /\ Safe
    /\ \A t \in Tasks :
          /\ []<>(~CanResume(t))
          /\ []<>(~CanEndCheck(t))
          /\ []<>(~CanRelease(t))
          /\ []<>(~CanEndReset(t))
    /\ \A r \in Resources :
          /\ []<>(~CanEndCloser(r))
          /\ \/ []<>(~CanEndCreation(r))
             \/ []<><<CreateSucceeded(r) \/ CreateFailed(r)>>_vars
    /\ []<>(~CanRetryFloor)
    /\ <>[][~RetireAll]_vars

\* The factory recovers: creations do not fail for ever (strong fairness).
Recovering ==
    /\ Fair
    /\ \A r \in Resources :
          \/ <>[](~CanEndCreation(r))
          \/ []<><<CreateSucceeded(r)>>_vars

\* The factory recovers, and resources are not taken away for ever.
Settling ==
    /\ Recovering
    /\ <>[][\A t \in Tasks : ~Discard(t) /\ ~Detach(t)]_vars
    /\ <>[][\A r \in Resources : ~GrowOld(r)]_vars

\* The factory may fail for ever, but acquirers do not give up for ever.
Patient ==
    /\ Fair
    /\ <>[][\A t \in Tasks : ~Timeout(t) /\ ~Cancel(t)]_vars

\* Nothing ends, and no user gives back.  Only deadlines pass.
Stuck ==
    /\ Safe
    /\ \A t \in Tasks :
          \/ []<>(~CanTimeout(t))
          \/ []<><<Timeout(t)>>_vars

-------------------------------------------------------------------------------
(* Safety.  The part of a guarantee about states has the guarantee's name.  *)
(* The part about steps has the name with Steps.                            *)

\* S1: the resources that may exist outside stay within max_size.
SizeWithinLimit == Counts!SizeWithinLimit

\* S8: a resource stops being in use only because its holder gives it back.  So a
\* second release finds nothing to release.
NoDoubleReleaseSteps ==
    [][\A r \in Resources : place[r] = "inUse" =>
          \/ \E t \in Tasks : lease[t] = r /\ lease'[t] = r /\ place'[r] = "inUse"
          \/ /\ \E t \in Tasks : lease[t] = r /\ lease'[t] # r
             /\ \A t \in Tasks : lease'[t] = r => task'[t] = "handed"]_vars

\* S12: closed means that nothing is creating, in use or closing.
CloseWaits == Counts!CloseWaits

\* S2: a resource is in one place and has at most one holder.
SingleHolder ==
    /\ \A t, u \in Tasks : lease[t] = lease[u] /\ lease[t] # None => t = u
    /\ \A t \in Tasks : lease[t] # None => place[lease[t]] = "inUse"
    /\ Elements(idle) = {r \in Resources : place[r] = "idle"}
    /\ Len(idle) = Cardinality(Elements(idle))

\* S3: every resource in use is with a live operation, ...
NothingLost ==
    \A r \in Resources : place[r] = "inUse" => \E t \in Tasks : lease[t] = r

\* ... and a slot is freed only by a failed creation, by a closer that ended,
\* or by a user who keeps the resource.
NothingLostSteps ==
    [][\A r \in Resources :
          /\ place[r] = "creating" /\ place'[r] = "free" => CreateFailed(r)
          /\ place[r] = "closing" /\ place'[r] # "closing" => CloserEnded(r)
          /\ place[r] = "idle" => place'[r] \in {"idle", "inUse", "closing"}
          /\ place[r] = "inUse" /\ place'[r] \in {"free", "creating"} =>
                \E t \in Tasks :
                   /\ lease[t] = r
                   /\ task[t] = "holding"
                   /\ (Detach(t) \/ Terminate)]_vars

\* S4: no old, retired or untrusted resource is handed out.  A stale one is handed
\* out only if the minimum size keeps it.  acquire returns no retired resource.
OnlyFitHandedOutSteps ==
    [][\A t \in Tasks : LET r == lease'[t] IN
          /\ r # None /\ r # lease[t] =>
                /\ Fit(Now, r)
                /\ r \in stale => Counts!UsableSize(Numbers(Now)') <= MinSize
          /\ task[t] # "holding" /\ task'[t] = "holding" =>
                /\ r \notin retired
                /\ task[t] = "checking" => r \notin old
                /\ Checks => task[t] = "checking" \/ r \in trusted]_vars

\* The steps after which the state of the task's resource is unknown.
Dirties(t) ==
    \/ Discard(t)
    \/ CheckFailed(t)
    \/ ResetFailed(t)
    \/ task[t] \in {"checking", "resetting"} /\ (Cancel(t) \/ Timeout(t))

\* S4: a dirty resource is closed: it was discarded, its check or reset failed, or
\* one of them was interrupted.
DirtyIsClosedSteps ==
    [][\A t \in Tasks : Dirties(t) => place'[lease[t]] = "closing"]_vars

\* S4, L7: retire_all retires all that exists and all whose creation has started.
\* A retired slot stays retired until its closer starts or it is free.
RetiredStaysRetiredSteps ==
    [][/\ RetireAll => \A r \in Resources :
             place[r] \in {"creating", "inUse"} => r \in retired'
       /\ \A r \in retired \ retired' :
             \/ CreateFailed(r)
             \/ place'[r] \in {"closing", "free"}
             \/ place[r] = "inUse" /\ place'[r] = "creating" \* detached, name reused
       ]_vars

\* S5: once closing starts, nothing becomes idle, no task waits, ...
NothingAfterClose == Counts!NothingAfterClose

\* ... and no acquire succeeds.
NothingAfterCloseSteps ==
    [][phase # "open" =>
          \A t \in Tasks : task'[t] = "holding" => task[t] = "holding"]_vars

\* The steps by which a task gives up its resource, or may do so.
LetsGo(t) ==
    /\ lease[t] # None
    /\ \/ Resume(t) \/ CheckPassed(t) \/ CheckFailed(t) \/ Timeout(t) \/ Cancel(t)
       \/ Release(t) \/ ResetPassed(t) \/ ResetFailed(t) \/ Discard(t)

\* S6: the closer runs once, to its end, never while the resource is in use.  And
\* it does run: a resource that a task gives up, except by Detach and Terminate,
\* is in use again, idle, or being closed.
ClosedExactlyOnceSteps ==
    [][/\ \A r \in Resources :
             /\ place[r] = "closing" =>
                   \/ place'[r] = "closing"
                   \/ CloserEnded(r)
             /\ place'[r] = "closing" => \A t \in Tasks : lease'[t] # r
       /\ \A t \in Tasks :
             LetsGo(t) => place'[lease[t]] \in {"inUse", "idle", "closing"}]_vars

\* S7: an acquire under way is in the queue once, and a task that waits holds
\* nothing.
OneOutcome ==
    /\ \A t \in Tasks : (lease[t] = None) = (task[t] \in {"out", "waiting"})
    /\ Elements(queue) = {t \in Tasks : task[t] \in {"waiting", "handed", "checking"}}
    /\ Len(queue) = Cardinality(Elements(queue))

\* S9: of the tasks that wait, only the first one is served.  No task passes a
\* waiter, and the order of arrival never changes.
FifoServiceSteps ==
    [][/\ SelectSeq(queue, LAMBDA t : t \in Elements(queue'))
             = SelectSeq(queue', LAMBDA t : t \in Elements(queue))
       /\ \A t \in Tasks :
             /\ task[t] = "waiting" /\ task'[t] = "handed" => t = Head(Waiting(Now))
             /\ task[t] = "out" /\ lease'[t] # None => Waiting(Now) = << >>
             /\ task[t] = "out" /\ task'[t] = "waiting" => t = Last(queue')]_vars

\* S10: a callback that fails changes only the operation that it belongs to.
FaultIsolationSteps ==
    [][/\ \A r \in Resources : CreateFailed(r) =>
             /\ lease' = lease /\ idle' = idle
             /\ Cardinality({t \in Tasks : task'[t] # task[t]}) <= 1
       /\ \A t \in Tasks : CheckFailed(t) \/ ResetFailed(t) =>
             \A u \in Tasks \ {t} : task'[u] = task[u] /\ lease'[u] = lease[u]]_vars

\* S11: every step moves the numbers exactly as PoolCounts says.
CountsAgree == Counts!Spec

\* L1 as a state: no task waits beside an idle resource or free room.
NoLostWakeup == Counts!NoLostWakeup

\* L4 as a state: during upkeep, creations fill the minimum size.
FloorKept == Counts!FloorKept

\* L2: the slot of a failed creation goes to a waiter without a creation.
FailureFreesSlotSteps ==
    [][\A r \in Resources :
          (/\ CreateFailed(r)
           /\ Numbers(Now).waiting' > Counts!UsableCreations(Numbers(Now))') =>
              Numbers(Now).creating' >= Numbers(Now).creating]_vars

\* L5: when closing starts, every waiter gets an error at once.
WaitersFailAtCloseSteps ==
    [][phase = "open" /\ phase' # "open" =>
          \A t \in Tasks : task[t] = "waiting" => task'[t] = "out"]_vars

-------------------------------------------------------------------------------
(* Liveness.                                                               *)

\* L1 (Recovering): each waiter is served or gets an error.  L2 (Patient): each
\* waiter gets an error even if every creation fails.
WaiterServed == \A t \in Tasks : task[t] = "waiting" ~> task[t] # "waiting"

\* L3 (Fair): closing ends.
CloseCompletes == phase = "closing" ~> phase = "closed"

\* L4 (Settling): below the minimum size leads to the minimum size.
FloorRestored ==
    (phase = "open" /\ floor # "off") ~>
        (phase # "open" \/ Numbers(Now).idle + Numbers(Now).inUse >= MinSize)

\* L6 (Stuck): a deadline is kept even if nothing else ever happens again.
DeadlineKept ==
    \A t \in Tasks : task[t] \in {"waiting", "checking"} ~>
                         task[t] \notin {"waiting", "checking"}

\* L7 (Fair): all retired resources are closed in the end.
RetireAllCompletes ==
    \A r \in Resources :
       (r \in retired \/ place[r] = "closing") ~> ~(r \in retired \/ place[r] = "closing")

===============================================================================
