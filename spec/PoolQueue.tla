------------------------------- MODULE PoolQueue -------------------------------
(***************************************************************************)
(* The queue: tasks that acquire, wait in order, are handed a resource,    *)
(* hold it and give it back.  Each step changes the numbers as PoolCounts  *)
(* says.  This module adds which task the step serves or fails.            *)
(*                                                                         *)
(* Resources have no identity here.  So this module does not say which     *)
(* resource is checked, reset or old.  A step about a resource changes the *)
(* numbers, and may serve waiters.                                         *)
(*                                                                         *)
(* AsyncResourcePool refines this module, and this module refines          *)
(* PoolCounts.                                                             *)
(***************************************************************************)
EXTENDS Integers, Sequences, FiniteSets

CONSTANTS Tasks, MaxSizes, MinSizes, MaxCreating, MaxWaiting

VARIABLES
    numbers,  \* as in PoolCounts
    task,     \* "out", "waiting", "handed" or "holding"
    queue     \* the tasks that wait or were handed a resource, first come first

vars == <<numbers, task, queue>>

Counts == INSTANCE PoolCounts

Elements(seq) == {seq[i] : i \in 1 .. Len(seq)}
Without(seq, set) == SelectSeq(seq, LAMBDA x : x \notin set)
Waiting(q) == SelectSeq(q.queue, LAMBDA t : q.task[t] = "waiting")
In(state) == {t \in Tasks : task[t] = state}

\* The tasks as a value: their states and their order.
Now == [task |-> task, queue |-> queue]

\* Task t goes to w.
Send(q, t, w) ==
    [q EXCEPT !.task[t] = w,
              !.queue = IF w \in {"out", "holding"} THEN Without(@, {t})
                        ELSE IF t \in Elements(@) THEN @ ELSE Append(@, t)]

\* The first n waiters are handed a resource.
Hand(q, n) ==
    LET served == {Waiting(q)[i] : i \in 1 .. n}
    IN  [q EXCEPT !.task = [t \in Tasks |-> IF t \in served THEN "handed" ELSE @[t]]]

\* The numbers become c, and the tasks become q.  The pool hands a resource to the
\* waiters that c does not count any more.
Become(c, q) ==
    LET n == Len(Waiting(q)) - c.waiting
    IN  /\ n >= 0
        /\ numbers' = c
        /\ task' = Hand(q, n).task
        /\ queue' = Hand(q, n).queue

-------------------------------------------------------------------------------

\* A task acquires.  It waits, or it holds a resource at once.
Acquire(t) ==
    /\ task[t] = "out"
    /\ \E c \in Counts!AfterAcquire(numbers) :
          IF c.waiting > Len(Waiting(Now))
          THEN Become(c, Send(Now, t, "waiting"))
          ELSE Waiting(Now) = << >> /\ Become(c, Send(Now, t, "holding"))

\* A waiter leaves unserved.
Leave(t) ==
    /\ task[t] = "waiting"
    /\ \E c \in Counts!AfterLeave(numbers) : Become(c, Send(Now, t, "out"))

\* A task that was handed a resource runs again, and holds the resource.  If the resource
\* was retired meanwhile, the task waits again at its place.  If the pool is closing, the
\* task gets an error instead.
Resume(t) ==
    /\ task[t] = "handed"
    /\ \/ Become(numbers, Send(Now, t, "holding"))
       \/ \E c \in Counts!AfterRequeue(numbers) : Become(c, Send(Now, t, "waiting"))
       \/ numbers.phase # "open" /\
          \E c \in Counts!AfterDiscard(numbers) : Become(c, Send(Now, t, "out"))

\* A task that was handed a resource is cancelled.
CancelHanded(t) ==
    /\ task[t] = "handed"
    /\ \E c \in Counts!AfterReturn(numbers) \cup Counts!AfterDiscard(numbers) :
          Become(c, Send(Now, t, "out"))

\* A holder gives its resource back.
GiveBack(t) ==
    /\ task[t] = "holding"
    /\ \E c \in UNION {Counts!AfterReturn(numbers), Counts!AfterReset(numbers),
                       Counts!AfterDiscard(numbers), Counts!AfterDetach(numbers)} :
          Become(c, Send(Now, t, "out"))

\* A creation fails, or comes too late.  At most one task gets the error: the one that
\* has waited longest.
CreateFailed ==
    \E c \in Counts!AfterCreateFailed(numbers) \cup Counts!AfterCreateLate(numbers) :
       IF c.waiting < Len(Waiting(Now))
       THEN Become(c, Send(Now, Head(Waiting(Now)), "out"))
       ELSE Become(c, Now)

\* The pool's other work, and the passing of time.
Work ==
    \E c \in UNION {Counts!AfterOpen(numbers), Counts!AfterCreateSucceeded(numbers),
                    Counts!AfterCheckPassed(numbers), Counts!AfterCheckUnfit(numbers),
                    Counts!AfterCheckFailed(numbers), Counts!AfterResetPassed(numbers),
                    Counts!AfterResetUnfit(numbers), Counts!AfterCloserEnded(numbers),
                    Counts!AfterSweep(numbers), Counts!AfterTrustExpires(numbers),
                    Counts!AfterRetryFloor(numbers), Counts!AfterRetireAll(numbers),
                    Counts!AfterResize(numbers)} :
       Become(c, Now)

\* When closing starts, every waiter gets an error.
Shut(set) ==
    [task |-> [t \in Tasks |-> IF t \in set THEN "out" ELSE task[t]],
     queue |-> Without(queue, set)]

Close ==
    \E c \in Counts!AfterClose(numbers) : Become(c, Shut(In("waiting")))

Terminate ==
    \E c \in Counts!AfterTerminate(numbers) :
       /\ c.inUse = Cardinality(In("handed"))
       /\ Become(c, Shut(In("waiting") \cup In("holding")))

Init ==
    /\ Counts!Init
    /\ task = [t \in Tasks |-> "out"]
    /\ queue = << >>

Next ==
    \/ \E t \in Tasks :
          Acquire(t) \/ Leave(t) \/ Resume(t) \/ CancelHanded(t) \/ GiveBack(t)
    \/ CreateFailed \/ Work \/ Close \/ Terminate

Spec == Init /\ [][Next]_vars

-------------------------------------------------------------------------------

\* The numbers agree with the tasks.
TypeOK ==
    /\ Counts!TypeOK
    /\ numbers.waiting = Cardinality(In("waiting"))
    /\ numbers.inUse = Cardinality(In("handed") \cup In("holding"))

\* S7: an acquire under way is in the queue once.
OneOutcome ==
    /\ Elements(queue) = In("waiting") \cup In("handed")
    /\ Len(queue) = Cardinality(Elements(queue))

\* S9: the pool serves only the first ones of the tasks that wait.  No task overtakes a
\* waiter, and the order of arrival never changes.
FifoServiceSteps ==
    [][/\ SelectSeq(queue, LAMBDA t : t \in Elements(queue'))
             = SelectSeq(queue', LAMBDA t : t \in Elements(queue))
       /\ \A t \in Tasks :
             /\ task[t] = "waiting" /\ task'[t] = "handed" =>
                   \A u \in Elements(Waiting(Now)) : task'[u] = "waiting" =>
                      \E i, j \in 1 .. Len(queue) : queue[i] = t /\ queue[j] = u /\ i < j
             /\ task[t] = "out" /\ task'[t] # "out" =>
                   IF task'[t] = "holding" THEN Waiting(Now) = << >> ELSE t = queue'[Len(queue')]]_vars

\* S10: a failed creation changes at most the task that has waited longest.
FaultIsolationSteps ==
    [][CreateFailed => \A t \in Tasks : task'[t] # task[t] => t = Head(Waiting(Now))]_vars

\* L5: when closing starts, every waiter gets an error at once.
WaitersFailAtCloseSteps ==
    [][numbers.phase = "open" /\ numbers'.phase # "open" =>
          \A t \in Tasks : task[t] = "waiting" => task'[t] = "out"]_vars

\* S11: every step changes the numbers as PoolCounts says.
CountsAgree == Counts!Spec

\* L1 as a state.
NoLostWakeup == Counts!NoLostWakeup

THEOREM Spec => CountsAgree
THEOREM Spec => [](TypeOK /\ OneOutcome)
THEOREM Spec => FifoServiceSteps /\ FaultIsolationSteps /\ WaitersFailAtCloseSteps
===============================================================================
