------------------------------- MODULE Symmetric -------------------------------
(***************************************************************************)
(* The tasks are interchangeable: no formula tells one from another, except *)
(* by what it does.  So TLC may treat states as one if they differ only in  *)
(* the names of the tasks.  A model that does so has tasks that are model   *)
(* values, and can be larger.  Resources have an order, so they are not     *)
(* interchangeable.                                                         *)
(***************************************************************************)
EXTENDS AsyncResourcePool, TLC

TaskSymmetry == Permutations(Tasks)
===============================================================================
