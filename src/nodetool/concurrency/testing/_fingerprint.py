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

* Modules, and what modules define: functions, classes, enumerations. A scenario that keeps state
  there, in a global say, must `Events.watch` it.
* Tracebacks, default names of tasks, the loop's and the events' own records.

Two digests of 128 bits may agree by chance: among n states with a chance of about n * n / 2**129.
A float's zero has no sign here.
"""

from __future__ import annotations

import hashlib
from array import array
from collections.abc import Sequence
from typing import Any

from ._parts import MISSING
from ._reducers import (
    FingerprintError,
    Reducer,
    Unordered,
    is_constant,
    may_be_constant,
    reducer,
)

__all__ = ["Fingerprints"]

OWN = -(2**40)  # codes of our own objects, below those of all atoms


class Fingerprints:
    """Takes fingerprints that can be compared with each other.

    Args:
        constants: Types whose objects never change.
    """

    def __init__(self, constants: tuple[type, ...] = ()) -> None:
        self._constants = constants
        # Atoms have negative codes, other objects have their numbers, from 0.
        self._atoms: dict[type, dict[Any, int]] = {
            kind: {} for kind in (int, str, float, bytes, complex)
        }
        self._fixed: dict[int, int] = {}  # identities of constants, and their codes
        self._kept: list[object] = []  # the constants, so that nothing else gets their identities
        self._plain: set[type] = set()  # types whose objects are no constants
        self._reducers: dict[type, Reducer] = {}
        self._codes = 0
        for value in (None, True, False, ..., NotImplemented, MISSING):
            self._fix(value)

    def take(self, roots: Sequence[object], own: Sequence[object]) -> bytes:
        """The digest of what the roots refer to; `own` are objects that are no part of it."""
        return self._digest(roots, {id(one): OWN - place for place, one in enumerate(own)})

    def _code(self) -> int:
        self._codes -= 1
        return self._codes

    def _fix(self, constant: object) -> int:
        code = self._fixed[id(constant)] = self._code()
        self._kept.append(constant)
        return code

    def _is_constant(self, value: object, kind: type) -> bool:
        if not (may_be_constant(kind) or issubclass(kind, self._constants)):
            self._plain.add(kind)
            return False
        return is_constant(value) or isinstance(value, self._constants)

    def _reducer(self, kind: type, near: object) -> Reducer:
        try:
            found = self._reducers[kind] = reducer(kind)
        except FingerprintError as error:
            error.add_note(f"It was found near {object.__repr__(near)}.")
            raise
        return found

    def _digest(
        self, roots: Sequence[object], numbered: dict[int, int], *, nested: bool = False
    ) -> bytes:
        atoms, plain, reducers = self._atoms, self._plain, self._reducers
        numbers = self._fixed | numbered
        todo: list[Any] = []
        done = 0
        out: list[int] = [len(roots)]
        append = out.append
        children = roots
        kind: type
        parent: object = self
        while True:
            for child in children:
                kind = type(child)
                table = atoms.get(kind)
                if table is not None:
                    code = table.get(child)
                    if code is None:
                        code = table[child] = self._code()
                    append(code)
                    continue
                number = numbers.get(id(child))
                if number is None:
                    if kind not in plain and self._is_constant(child, kind):
                        number = numbers[id(child)] = self._fix(child)
                    else:
                        number = numbers[id(child)] = len(todo)
                        todo.append(child)
                append(number)
            if done == len(todo):
                return hashlib.blake2b(array("q", out), digest_size=16).digest()
            above, parent = parent, todo[done]
            done += 1
            kind = type(parent)
            reduce = reducers.get(kind)
            if reduce is None:
                reduce = self._reducer(kind, above)
            parts = reduce(parent)
            if type(parts) is Unordered:
                parts = self._sorted(parts, numbers, nested)
            append(len(parts))
            parts.append(kind)
            children = parts

    def _sorted(self, parts: list[Any], numbers: dict[int, int], nested: bool) -> list[Any]:
        """Put the elements of a set into an order: any is sound, this is the same in each run."""

        def rank(part: object) -> tuple[int, bytes]:
            table = self._atoms.get(type(part))
            if table is not None:
                code = table.get(part)
                if code is None:
                    code = table[part] = self._code()
                return code, b""
            number = numbers.get(id(part), OWN)
            # Not visited yet: by what it consists of. A set inside of that keeps its order.
            new = number == OWN and not nested
            return number, self._digest([part], numbers, nested=True) if new else b""

        return sorted(parts, key=rank)
