---------------------------- MODULE CountsByEvent ----------------------------
(***************************************************************************)
(* PoolCounts with a name for each event.  So the edges of the graph that  *)
(* TLC writes have names.  proofs/counts_graph.py compares this graph with *)
(* the rules in Python.                                                    *)
(***************************************************************************)
EXTENDS PoolCounts

Open == numbers' \in AfterOpen(numbers)
Acquire == numbers' \in AfterAcquire(numbers)
Leave == numbers' \in AfterLeave(numbers)
Return == numbers' \in AfterReturn(numbers)
Reset == numbers' \in AfterReset(numbers)
Discard == numbers' \in AfterDiscard(numbers)
Detach == numbers' \in AfterDetach(numbers)
Requeue == numbers' \in AfterRequeue(numbers)
ResetPassed == numbers' \in AfterResetPassed(numbers)
ResetUnfit == numbers' \in AfterResetUnfit(numbers)
CreateSucceeded == numbers' \in AfterCreateSucceeded(numbers)
CreateFailed == numbers' \in AfterCreateFailed(numbers)
CreateLate == numbers' \in AfterCreateLate(numbers)
CheckPassed == numbers' \in AfterCheckPassed(numbers)
CheckUnfit == numbers' \in AfterCheckUnfit(numbers)
CheckFailed == numbers' \in AfterCheckFailed(numbers)
CloserEnded == numbers' \in AfterCloserEnded(numbers)
Sweep == numbers' \in AfterSweep(numbers)
TrustExpires == numbers' \in AfterTrustExpires(numbers)
RetryFloor == numbers' \in AfterRetryFloor(numbers)
RetireAll == numbers' \in AfterRetireAll(numbers)
Resize == numbers' \in AfterResize(numbers)
Close == numbers' \in AfterClose(numbers)
Terminate == numbers' \in AfterTerminate(numbers)

NamedNext ==
    \/ Open \/ Acquire \/ Leave \/ Return \/ Reset \/ Discard \/ Detach \/ Requeue
    \/ ResetPassed \/ ResetUnfit \/ CreateSucceeded \/ CreateFailed \/ CreateLate
    \/ CheckPassed \/ CheckUnfit \/ CheckFailed \/ CloserEnded \/ Sweep \/ TrustExpires
    \/ RetryFloor \/ RetireAll \/ Resize \/ Close \/ Terminate

NamedSpec == Init /\ [][NamedNext]_numbers

THEOREM NamedSpec => Spec
===============================================================================
