------------------------------ MODULE Assumptions ------------------------------
(***************************************************************************)
(* This module shows that each assumption is needed.  Each formula below   *)
(* is Fair without one of its assumptions, and the last one is Hanging     *)
(* without one.  A model named Without... has one property that needs this *)
(* assumption.  The manifest demands that TLC refutes the property: TLC    *)
(* shows a run in which the other assumptions hold and the property fails. *)
(***************************************************************************)
EXTENDS AsyncResourcePool

\* A task that the pool has woken may never run: its acquire does not end.
WithoutRunning ==
    /\ Safe /\ UsersGiveBack /\ CreationsEnd /\ ChecksEnd /\ ResetsEnd /\ ClosersEnd
    /\ BackoffEnds /\ RetirementEnds /\ ResizingEnds

\* A user may never give back: another task waits for ever, and the pool does not close.
WithoutGivingBack ==
    /\ Safe /\ TasksRun /\ CreationsEnd /\ ChecksEnd /\ ResetsEnd /\ ClosersEnd
    /\ BackoffEnds /\ RetirementEnds /\ ResizingEnds

\* A creation may hang: the waiter that relies on it waits until its deadline.
WithoutCreationsEnding ==
    /\ Safe /\ TasksRun /\ UsersGiveBack /\ ChecksEnd /\ ResetsEnd /\ ClosersEnd
    /\ BackoffEnds /\ RetirementEnds /\ ResizingEnds

\* A check may hang: the waiter that relies on it waits until its deadline.
WithoutChecksEnding ==
    /\ Safe /\ TasksRun /\ UsersGiveBack /\ CreationsEnd /\ ResetsEnd /\ ClosersEnd
    /\ BackoffEnds /\ RetirementEnds /\ ResizingEnds

\* A reset may hang: its resource is never closed, and closing does not end.
WithoutResetsEnding ==
    /\ Safe /\ TasksRun /\ UsersGiveBack /\ CreationsEnd /\ ChecksEnd /\ ClosersEnd
    /\ BackoffEnds /\ RetirementEnds /\ ResizingEnds

\* A closer may hang: its slot stays, and closing does not end.
WithoutClosersEnding ==
    /\ Safe /\ TasksRun /\ UsersGiveBack /\ CreationsEnd /\ ChecksEnd /\ ResetsEnd
    /\ BackoffEnds /\ RetirementEnds /\ ResizingEnds

\* retire_all may be called for ever: a task that was handed a resource waits again, and
\* again.
WithoutRetirementEnding ==
    /\ Safe /\ TasksRun /\ UsersGiveBack /\ CreationsEnd /\ ChecksEnd /\ ResetsEnd
    /\ ClosersEnd /\ BackoffEnds /\ ResizingEnds

\* resize may be called for ever: a resource that is created for a waiter exceeds the
\* limit when it comes, again and again.
WithoutResizingEnding ==
    /\ Safe /\ TasksRun /\ UsersGiveBack /\ CreationsEnd /\ ChecksEnd /\ ResetsEnd
    /\ ClosersEnd /\ BackoffEnds /\ RetirementEnds

\* The back-off of the minimum size may last for ever.  The factory recovers, as in
\* Recovering.
WithoutBackoffEnding ==
    /\ Safe /\ TasksRun /\ UsersGiveBack /\ CreationsEnd /\ ChecksEnd /\ ResetsEnd
    /\ ClosersEnd /\ RetirementEnds /\ ResizingEnds
    /\ \A r \in Resources : <>[](~CanEndCreation(r)) \/ []<><<CreateSucceeded(r)>>_vars

\* Each deadline may pass before a check ends: nobody is served, although every check
\* passes in the end.
WithoutTimeForChecks ==
    CreationHangs /\ OthersGoOn({1}, {})
===============================================================================
