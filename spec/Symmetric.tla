------------------------------- MODULE Symmetric -------------------------------
(***************************************************************************)
(* The tasks are interchangeable: no formula tells one from another except *)
(* by what it does.  So TLC may treat states as one if they differ only in *)
(* the names of the tasks.  A model with this symmetry can be larger.  Its *)
(* tasks are model values, and its properties are of safety only, because  *)
(* TLC cannot check liveness with symmetry.  Resources are not             *)
(* interchangeable: a creation takes the lowest free name.                 *)
(***************************************************************************)
EXTENDS AsyncResourcePool, TLC

TaskSymmetry == Permutations(Tasks)
===============================================================================
