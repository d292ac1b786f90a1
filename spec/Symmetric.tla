------------------------------- MODULE Symmetric -------------------------------
(***************************************************************************)
(* The tasks are interchangeable: no formula tells one from another except *)
(* by what it does.  So TLC may treat states as one if they differ only in *)
(* the names of the tasks.  A model that does so has model values as tasks *)
(* and properties of safety only, and it can be larger.  Resources are not *)
(* interchangeable, because a creation takes the lowest free name.         *)
(***************************************************************************)
EXTENDS AsyncResourcePool, TLC

TaskSymmetry == Permutations(Tasks)
===============================================================================
