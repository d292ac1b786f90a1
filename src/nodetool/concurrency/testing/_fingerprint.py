"""A digest of everything that decides what can happen from now on.

Two states with one fingerprint have the same future, so only one of them need be explored. It is
the digest of one traversal, breadth first, of all objects that can be reached from the roots: the
ready queue, the timers, the tasks, the pending outside calls, and what the scenario registered.
Objects are numbered in the order of their first visit, so identity counts and addresses do not.

Why nothing that decides is left out: code that runs later is a callback in one of the queues, or
is called by one. All it can read is its arguments, its closure, what its coroutine keeps (variables
by name, evaluation stack, exception being handled), context variables, attributes of these, and so
on; of each kind of object ``_parts`` says what it consists of, and one that it does not know is
an error. These are left out, since they are not state of the scenario:

* Modules, and what they have under its own name: functions, classes, enumerations. A scenario that
  keeps state there, in a global say, must `Events.watch` the object that changes.
* Attributes that the scenario sets on the loop. On its events it can set none.
* Tracebacks, default names of tasks, the loop's and the events' own records.
* The order of a set whose elements have addresses for hashes: it is another one in every run. Tasks
  have one hash, all of them: their order in a set is part of the state, as that of numbers is.

Two digests of 128 bits may agree by chance: among n states with a chance of about n * n / 2**129.
A float's zero has no sign here.
"""

from __future__ import annotations

import hashlib
from array import array
from collections import deque
from collections.abc import Sequence
from types import CodeType
from typing import Any

from ._lasting import has_lasting_hash, is_constant, may_be_constant
from ._parts import MISSING, Unordered
from ._reducers import FingerprintError, Reducer, reducer

__all__ = ["Fingerprints"]

OWN = -(2**40)  # codes of our own objects, below those of all atoms
LATE = object()  # stands for the elements of a set that is visited last


class Fingerprints:
    """Takes fingerprints that can be compared with each other.

    Args:
        constants: Types whose objects never change.

    Attributes:
        layouts: Whether sets show their layout, too: where they have had elements. As soon as any
            set has an element whose hash is an address, they do not.
    """

    def __init__(self, constants: tuple[type, ...] = ()) -> None:
        self.layouts = True
        self._constants = constants
        # Atoms have negative codes, other objects have their numbers, from 0.
        self._atoms: dict[type, dict[Any, int]] = {
            kind: {} for kind in (int, str, float, bytes, complex)
        }
        self._fixed: dict[int, int] = {}  # identities of constants, and their codes
        self._kept: list[object] = []  # the constants, so that nothing else gets their identities
        self._code_of: dict[CodeType, int] = {}  # equal code may be compiled again in every run
        self._plain: set[type] = set()  # types whose objects are no constants
        self._reducers: dict[type, Reducer] = {}  # of types that are constants themselves
        self._codes = 0
        for value in (None, True, False, ..., NotImplemented, MISSING, LATE):
            self._fix(value)
        self._nan = self._fix(object())

    def take(self, roots: Sequence[object], own: Sequence[object]) -> bytes:
        """The digest of what the roots refer to; `own` are objects that are no part of it."""
        return self._digest(roots, {id(one): OWN - place for place, one in enumerate(own)})

    def _atom(self, value: Any) -> int:
        """The code of an atom that was not met before."""
        if value != value:  # it would never be found again
            return self._nan
        self._codes -= 1
        code = self._atoms[type(value)][value] = self._codes
        return code

    def _fix(self, constant: object) -> int:
        self._codes -= 1
        code = self._fixed[id(constant)] = self._codes
        self._kept.append(constant)
        return code

    def _constant(self, value: Any, kind: type) -> int | None:
        """The code of a constant; None if it is none."""
        if kind is CodeType:
            code = self._code_of.get(value)
            if code is None:
                code = self._code_of[value] = self._fix(value)
            return code
        if not (may_be_constant(kind) or issubclass(kind, self._constants)):
            if is_constant(kind):
                self._plain.add(kind)
            return None
        if is_constant(value) or isinstance(value, self._constants):
            return self._fix(value)
        return None

    def _reducer(self, kind: type, near: object, passing: dict[type, Reducer]) -> Reducer:
        """What tells the parts; a type that is made anew in every run must not be kept."""
        known = self._reducers if is_constant(kind) else passing
        found = known.get(kind)
        if found is None:
            try:
                found = known[kind] = reducer(kind)
            except FingerprintError as error:
                error.add_note(f"It was found near {object.__repr__(near)}.")
                raise
        return found

    def _digest(
        self, roots: Sequence[object], numbered: dict[int, int], *, nested: bool = False
    ) -> bytes:
        atoms, plain, reducers = self._atoms, self._plain, self._reducers
        numbers = self._fixed | numbered
        passing: dict[type, Reducer] = {}
        todo: list[Any] = []
        done = 0
        late: deque[Unordered] = deque()
        out: list[int] = [len(roots)]
        append = out.append
        children = roots
        number: int | None
        kind: type
        parent: object = self
        while True:
            for child in children:
                kind = type(child)
                table = atoms.get(kind)
                if table is not None:
                    code = table.get(child)
                    append(self._atom(child) if code is None else code)
                    continue
                number = numbers.get(id(child))
                if number is None:
                    if kind not in plain:
                        number = self._constant(child, kind)
                    if number is None:
                        number = len(todo)
                        todo.append(child)
                    numbers[id(child)] = number
                append(number)
            if done == len(todo):
                if not late:
                    return hashlib.blake2b(array("q", out), digest_size=16).digest()
                children = self._sorted(late.popleft(), numbers, nested)
                append(len(children))
                continue
            above, parent = parent, todo[done]
            done += 1
            kind = type(parent)
            reduce = reducers.get(kind)
            if reduce is None:
                reduce = self._reducer(kind, above, passing)
            parts = reduce(parent)
            if type(parts) is Unordered:
                if all(map(has_lasting_hash, parts)):
                    parts = [parts.layout if self.layouts else None, *parts]
                else:
                    self.layouts = False
                    late.append(parts)
                    parts = [LATE]
            append(len(parts))
            parts.append(kind)
            children = parts

    def _sorted(self, parts: list[Any], numbers: dict[int, int], nested: bool) -> list[Any]:
        """Put the elements of a set into an order: any is sound, this is the same in each run."""
        lasting = [part for part in parts if has_lasting_hash(part)]
        others = [part for part in parts if not has_lasting_hash(part)]
        is_new = sum(id(part) not in numbers for part in others) > 1

        def rank(part: object) -> tuple[int, bytes]:
            number = numbers.get(id(part), OWN)
            # Not visited yet: by what it consists of. A set inside of that keeps its order.
            new = number == OWN and is_new and not nested
            return number, self._digest([part], numbers, nested=True) if new else b""

        return [len(lasting), *lasting, *sorted(others, key=rank)]
