------------------------------- MODULE Symmetric -------------------------------
(***************************************************************************)
(* The tasks are interchangeable: no formula depends on the name of a      *)
(* task.  So TLC may treat two states as one if they differ only in the    *)
(* names of the tasks.  A model with this symmetry can be larger.  Its     *)
(* tasks are model values.  Its properties are about safety only, because  *)
(* TLC cannot check liveness with symmetry.  Resources are not             *)
(* interchangeable: a creation takes the lowest free name.                 *)
(***************************************************************************)
EXTENDS AsyncResourcePool, TLC

TaskSymmetry == Permutations(Tasks)
===============================================================================
