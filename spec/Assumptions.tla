------------------------------ MODULE Assumptions ------------------------------
(***************************************************************************)
(* What each assumption is for.  Each formula leaves one assumption out.   *)
(* A model named Without... has one property that needs this assumption,   *)
(* and the manifest demands that TLC refutes the property.                 *)
(***************************************************************************)
EXTENDS AsyncResourcePool

\* A task that was woken need not run: its acquire does not end.
WithoutRunning ==
    /\ Safe /\ UsersGiveBack /\ CreationsEnd /\ ChecksEnd /\ ResetsEnd /\ ClosersEnd
    /\ BackoffEnds /\ RetirementEnds /\ ResizingEnds

\* A user need not give back: another waits for ever, and the pool does not close or shrink.
WithoutGivingBack ==
    /\ Safe /\ TasksRun /\ CreationsEnd /\ ChecksEnd /\ ResetsEnd /\ ClosersEnd
    /\ BackoffEnds /\ RetirementEnds /\ ResizingEnds

\* A creation may hang: the waiter that relies on it waits until its deadline.
WithoutCreationsEnding ==
    /\ Safe /\ TasksRun /\ UsersGiveBack /\ ChecksEnd /\ ResetsEnd /\ ClosersEnd
    /\ BackoffEnds /\ RetirementEnds /\ ResizingEnds

\* A check may hang: so does the waiter that relies on it.
WithoutChecksEnding ==
    /\ Safe /\ TasksRun /\ UsersGiveBack /\ CreationsEnd /\ ResetsEnd /\ ClosersEnd
    /\ BackoffEnds /\ RetirementEnds /\ ResizingEnds

\* A closer may hang: its slot stays, and closing does not end.
WithoutClosersEnding ==
    /\ Safe /\ TasksRun /\ UsersGiveBack /\ CreationsEnd /\ ChecksEnd /\ ResetsEnd
    /\ BackoffEnds /\ RetirementEnds /\ ResizingEnds

\* retire_all may be called for ever: a task that was handed a resource waits again.
WithoutRetirementEnding ==
    /\ Safe /\ TasksRun /\ UsersGiveBack /\ CreationsEnd /\ ChecksEnd /\ ResetsEnd
    /\ ClosersEnd /\ BackoffEnds /\ ResizingEnds

\* resize may be called for ever: what is created for a waiter exceeds the limit when it
\* comes, again and again.
WithoutResizingEnding ==
    /\ Safe /\ TasksRun /\ UsersGiveBack /\ CreationsEnd /\ ChecksEnd /\ ResetsEnd
    /\ ClosersEnd /\ BackoffEnds /\ RetirementEnds

\* The back-off of the minimum size may last for ever.
WithoutBackoffEnding ==
    /\ Safe /\ TasksRun /\ UsersGiveBack /\ CreationsEnd /\ ChecksEnd /\ ResetsEnd
    /\ ClosersEnd /\ RetirementEnds /\ ResizingEnds
    /\ \A r \in Resources : <>[](~CanEndCreation(r)) \/ []<><<CreateSucceeded(r)>>_vars
===============================================================================
