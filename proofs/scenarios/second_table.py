"""The scenarios that are explored on the pool of the second semantics.

They are built like those of `proofs.scenarios.table`. Every step is looked up in the graph of a
model of ``spec/second``.
"""

from __future__ import annotations

from proofs.scenarios.contexts import crashes, lasting
from proofs.scenarios.outside import (
    User,
    acquires,
    closes,
    closes_impatiently,
    detach,
    discard,
    fails,
    grows_old,
    held,
    opens_twice,
    prunes,
    release_twice,
    retires,
    retires_and_waits,
    terminates,
    uses,
    uses_briefly,
    uses_twice,
)
from proofs.scenarios.second import (
    SecondInContexts,
    Stubborn,
    holds_both,
    opens_and_waits,
    resizes,
    tries,
    uses_briefly_twice,
)
from proofs.scenarios.second import SecondScenario as Scenario

ALL = (0, 1, 2, 3)
FACTORY, CLOSER = frozenset({"factory"}), frozenset({"closer"})
CHECK, RESET = frozenset({"check"}), frozenset({"reset"})
ANY = FACTORY | CLOSER | CHECK | RESET
AGED, IDLE = {"max_age": 10}, {"max_idle_time": 10}

SCENARIOS = (
    # Taking turns.
    Scenario("two take turns", "Single", (uses, uses), ALL),
    Scenario("three take turns", "Single", (uses, uses, uses), ALL),
    Scenario("one comes back for more", "Single", (uses_twice, uses_twice), ALL),
    Scenario("a body fails", "Single", (fails, uses), ALL),
    Scenario("released twice", "Single", (held(release_twice), uses), ALL),
    Scenario("discarded while another waits", "Single", (held(discard), uses), ALL),
    Scenario("detached while another waits", "Single", (held(detach), uses), ALL),
    # Deadlines.
    Scenario("a deadline passes", "Single", (uses, acquires(5)), ALL),
    Scenario("two deadlines pass", "Single", (uses, acquires(5), acquires(3))),
    Scenario("tried twice", "Single", (tries, uses), ALL, FACTORY),
    Scenario("tried with a check", "SingleChecked", (uses_briefly, tries), ALL, CHECK),
    # Failures.
    Scenario("creations fail", "Single", (uses, uses), ALL, FACTORY),
    Scenario("creations fail for three", "Single", (uses, uses, uses), (), FACTORY),
    Scenario("closers fail", "Single", (held(discard), uses), ALL, CLOSER),
    Scenario("all fails", "Single", (held(discard), uses), (1,), FACTORY | CLOSER),
    # Disowned work.
    Scenario("a creation is disowned", "Doubtful", (acquires(5), uses, uses), (1,), FACTORY),
    Scenario("a check is disowned", "SingleChecked", (uses_twice, acquires(5), uses), (), CHECK),
    # The end.
    Scenario("closed in the middle", "Single", (uses, uses, closes), (1, 2)),
    Scenario("closed while a creation fails", "Single", (uses, closes), ALL, FACTORY),
    Scenario("closed by two", "Single", (uses, closes, closes), (1,)),
    Scenario("closed in a hurry", "Single", (uses, closes_impatiently), ALL),
    Scenario("terminated", "Single", (uses, uses, terminates), (0, 1)),
    Scenario("terminated while it closes", "Single", (uses, closes, terminates), (1,)),
    # Generations, age, the minimum size.
    Scenario("retired", "Single", (uses, uses, retires), (0, 1)),
    Scenario("retired until gone", "Single", (uses_twice, retires_and_waits), ALL),
    Scenario("retired and closed", "Single", (uses, retires_and_waits, closes), (1,)),
    Scenario("too old while another waits", "Single", (uses, uses, grows_old), (0,), extras=AGED),
    Scenario("pruned", "Single", (uses_twice, prunes, grows_old), (1,), extras=AGED),
    Scenario("two idle for too long", "Pruning", (uses, uses, grows_old), extras=IDLE),
    Scenario("filled", "Restoring", (opens_and_waits, uses_briefly), ALL, FACTORY),
    Scenario("the minimum size is restored", "Deep", (opens_twice, held(discard)), (1,), FACTORY),
    # Checks and resets.
    Scenario("checked", "SingleChecked", (uses_twice, uses), ALL),
    Scenario("checks fail", "SingleChecked", (uses_twice, uses_briefly), ALL, CHECK),
    Scenario("resets fail", "SingleChecked", (uses, uses), ALL, RESET),
    Scenario("checked within a time", "SingleChecked", (uses_briefly, acquires(5)), ALL, CHECK),
    Scenario("closed while checked", "SingleChecked", (uses_twice, closes), ALL, CHECK),
    Scenario("terminated while checked", "SingleChecked", (uses_twice, terminates), (0,), CHECK),
    Scenario("retired while checked", "SingleChecked", (uses_twice, retires), (0,), CHECK | RESET),
    Scenario("trusted", "Doubtful", (uses_twice, uses_briefly), ALL, CHECK),
    Scenario("the longest idle first", "Rotating", (holds_both, uses_briefly_twice), ALL, CHECK),
    # Limits of work.
    Scenario("a creation exceeds its limit", "Single", (uses, uses), ALL, FACTORY,
             {"creation_timeout": 5}),
    Scenario("a check exceeds its limit", "SingleChecked", (uses_briefly, uses_briefly), ALL,
             CHECK, {"check_timeout": 5}),
    Scenario("a reset exceeds its limit", "SingleChecked", (uses, uses), ALL, RESET,
             {"reset_timeout": 5}),
    Scenario("a closer exceeds its limit", "Single", (held(discard), uses), ALL, CLOSER,
             {"closer_timeout": 5}),
    Scenario("a late creation succeeds", "Single", (uses_briefly, uses_briefly), (1,),
             extras={"creation_timeout": 5}, world=Stubborn),
    Scenario("late checks and resets succeed", "SingleChecked", (uses_briefly, uses_briefly), (1,),
             extras={"check_timeout": 5, "reset_timeout": 5}, world=Stubborn),
    Scenario("a late closer ends", "Single", (held(discard), uses_briefly), (1,),
             extras={"closer_timeout": 5}, world=Stubborn),
    Scenario("all work is cancelled and succeeds", "SingleChecked", (uses_twice, terminates), (0,),
             world=Stubborn),
    # Limits that change.
    Scenario("grown while another waits", "Combined", (uses, uses, resizes((2, 0))), (1, 2)),
    Scenario("shrunk in use", "Combined", (uses, uses, resizes((1, 0), wait=True)), (1, 2),
             extras={"max_size": 2}),
    Scenario("shrunk while all fails", "Combined",
             (uses_briefly, uses_briefly, resizes((1, 0), wait=True)), (), ANY, {"max_size": 2}),
    Scenario("the minimum size changes", "Resizing", (uses, resizes((3, 1), (1, 0))), (),
             FACTORY | CHECK),
    # Contexts, each with a task of its own.
    Scenario("contexts take turns", "Single", (uses_briefly, uses_briefly), ALL,
             world=SecondInContexts),
    Scenario("closed while a context is entered", "Single", (uses, closes), ALL,
             FACTORY | CLOSER, world=SecondInContexts),
    Scenario("terminated while a context is entered", "Single", (uses, terminates), ALL,
             FACTORY, world=SecondInContexts),
    Scenario("entering takes too long", "Single", (uses_briefly, uses_briefly), (1,),
             FACTORY, {"creation_timeout": 5}, world=SecondInContexts),
    Scenario("a context ends by itself", "Single",
             (lasting(uses), lasting(uses_briefly), crashes), (1,), world=SecondInContexts),
    Scenario("a checked context ends by itself", "SingleChecked",
             (lasting(uses_briefly), lasting(uses_briefly), crashes), (), CHECK | RESET,
             world=SecondInContexts),
)  # fmt: skip

# The users of the pairs: each public call runs against each other one.
CALLS: tuple[User, ...] = (
    uses,
    acquires(5),
    held(discard),
    held(detach),
    held(release_twice),
    tries,
    opens_twice,
    prunes,
    retires,
    retires_and_waits,
    resizes((2, 1), (1, 0)),
    resizes((1, 0), wait=True),
    closes,
    closes_impatiently,
    terminates,
)
